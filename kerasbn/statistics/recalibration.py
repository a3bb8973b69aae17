"""recalibrate: the moving statistics replaced by those of the data, with the weights as they are."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.progress import reporting
from kerasbn.statistics.batches import Batches
from kerasbn.statistics.graph import batch_normalizations
from kerasbn.statistics.staleness import averages
from kerasbn.statistics.tally import Tally, tallied
from kerasbn.statistics.watching import Enough, Layers, run_watched

ESTIMATORS = ("population", "mean_of_unbiased")
ORDERS = ("layerwise", "one_pass")
# A layer that is called several times may depend on itself; then the layers are gone through until none moves by
# more than this many deviations, but not for ever.
_SETTLED = 1e-6
_MOST_SWEEPS = 20

Layer: TypeAlias = keras.layers.BatchNormalization
Values: TypeAlias = Mapping[str, np.ndarray]  # of a layer's statistics, by name


@dataclass(frozen=True)
class LayerChange:
    """What recalibration did to one layer.

    Args:
        layer: Path of the layer in the model, such as "encoder/bn_1".
        values: How many values were counted, of the channel that has most.
        mean_change: Largest distance between old and new mean of a channel, in new deviations.
        variance_ratio: Largest ratio of old and new variance (with epsilon) of a channel, the greater over the
            smaller; 1 where nothing changed.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), BatchNormalization(name="bn")])
        >>> round(recalibrate(model, np.array([[1.0], [3.0]])).layers[0].mean_change, 3)  # from 0 to 2 deviations
        1.999
    """

    layer: str
    values: int
    mean_change: float
    variance_ratio: float


@dataclass(frozen=True)
class Recalibration:
    """What `recalibrate` did.

    Args:
        layers: The layers that have new statistics, in the order in which the model calls them.
        left: The layers that were left as they were, by path, and why.
        sweeps: How often the layers were gone through; above 1 only where a layer is called several times.

    Example:
        >>> recalibrate(keras.Sequential([keras.Input((1,)), BatchNormalization()]), np.ones((4, 1))).sweeps
        1
    """

    layers: tuple[LayerChange, ...]
    left: Mapping[str, str]
    sweeps: int


def recalibrate(
    model: keras.Model,
    data: Any,
    *,
    estimator: str = "population",
    order: str = "layerwise",
    batch_size: int | None = None,
    steps: int | None = None,
    frozen: bool = False,
    verbose: bool = False,
) -> Recalibration:
    """Replace the moving statistics of a model's BatchNormalization layers by those of the data.

    The weights stay, dropout and other noise are off, and each layer's statistics become those of what really comes
    into it. Of n values x in batches b of m_b values with mean mu_b and biased variance var_b:

        population         mean = 1/n sum x         variance = 1/n sum (x - mean)^2, or 1/(n - 1) for a layer with
                                                    `variance_estimator="unbiased"`
        mean_of_unbiased   mean = E_b[mu_b]         variance = E_b[m / (m - 1) var_b]

    The second is the paper's; batches of unequal size weigh by their values: sum m_b var_b / sum (m_b - 1).

    In which order:

        layerwise   The data go through the model once for each layer, as far as to that layer, and the layers before
                    have their new statistics: what a layer is calibrated on is what it will see at inference. Where
                    a layer is called several times its calls count together, and the layers are gone through again
                    until none moves by more than 1e-6 deviations, since such a layer may depend on itself; twice,
                    where none does.
        one_pass    The data go through the model once, and meanwhile each layer normalises by the batch's own
                    statistics, as in training. Costs one pass instead of about 1 + layers / 2, and is less exact in
                    deeper layers, more so the smaller the batches; with all examples in one batch, if there is
                    memory for it, the result is that of "layerwise".

    "population" with "layerwise" does not depend on how the data is cut into batches, but for the rounding of the
    model itself. The others depend on the size of the batches by what they are; with `batch_size` they do not depend
    on how the given data was cut.

    Inputs are summed up in float64, with exact counts of what masks let through; a channel of which nothing counts
    keeps its statistics. If anything fails, or is interrupted, the model is left as it was. All that changes is
    moving_mean and moving_variance, and with `renorm` moving_stddev, renorm_mean and renorm_stddev.

    Args:
        model: Any kind of built model; compiled or not. Keras's own BatchNormalization and kerasbn's; nested,
            shared, and in layers and models of the user's own.
        data: The training data, as `model.fit` takes it: an array, a list or dict of arrays for several inputs; a
            tuple (x, y) or (x, y, sample_weight) of these; or batches of them: a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a generator (kept in memory), a list of tuples. Labels and weights are not used.
            A dataset that shuffles or augments anew gives each pass something else; what comes of it varies likewise.
        estimator: "population" or "mean_of_unbiased".
        order: "layerwise" or "one_pass".
        batch_size: Examples in a batch, at least 1. Batches of other sizes are put together and cut anew. None:
            batches as they come, and arrays in batches of 128.
        steps: Batches of the given data to use, at least 1; None: all. Needed for data that may have no end.
        frozen: Whether layers with `trainable=False`, or `freeze` "statistics" or "all", are recalibrated too, as for
            data from another domain; they are left otherwise.
        verbose: Whether to report progress, layer by layer, on standard error.

    Returns:
        What changed by how much, and what was left and why.

    Raises:
        InputError: If the model has no BatchNormalization to recalibrate or is not built; if the data has an unknown
            form, no examples, no end, or does not fit the model; if what comes into a layer is NaN, infinite or
            too few values for a variance; if an argument is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), BatchNormalization()])
        >>> done = recalibrate(model, np.array([[1.0], [2.0], [3.0], [4.0]]))
        >>> model.layers[0].moving_mean.numpy(), model.layers[0].moving_variance.numpy()
        (array([2.5], dtype=float32), array([1.25], dtype=float32))
        >>> done.layers[0].values
        4

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 2; Wu and Johnson (2021), arXiv:2105.07576,
    section 3 (PreciseBN).
    """
    checks.one_of("estimator", estimator, ESTIMATORS)
    checks.one_of("order", order, ORDERS)
    layers, left = layers_to_recalibrate(model, frozen)
    batches = data if isinstance(data, Batches) else Batches(data, batch_size, steps)
    # All of it, since a layer of the user's own may have state that changes whenever it is called.
    state = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    old = {path: _values(layer) for path, layer in layers.items()}
    task = _Task(model, layers, batches, estimator, old)
    try:
        counts, sweeps = (_in_one_pass(task), 1) if order == "one_pass" else _layerwise(task, verbose)
        if not counts:
            remedy = "Look at which inputs the layers get; others may not run at inference."
            raise InputError("data", "examples that come to a BatchNormalization", "none", remedy)
    except BaseException:
        give_back(state)
        raise
    recalibrated = {id(variable) for path in counts for variable in statistics_of(layers[path]).values()}
    give_back((variable, value) for variable, value in state if id(variable) not in recalibrated)
    changes = (
        LayerChange(path, count, *_distance(layers[path], old[path], _values(layers[path])))
        for path, count in counts.items()
    )
    left |= {path: "nothing of the data comes to it" for path in layers if path not in counts}
    return Recalibration(tuple(changes), left, sweeps)


def layers_to_recalibrate(model: keras.Model, frozen: bool = False) -> tuple[dict[str, Layer], dict[str, str]]:
    """Return the layers that `recalibrate` would recalibrate, by path, and those it would leave, with the reason.

    Args:
        model: A built model.
        frozen: Whether those with frozen statistics are recalibrated, too.

    Returns:
        The layers, and the reasons.

    Raises:
        InputError: If `model` is no built model, or has no such layer.
    """
    if not isinstance(model, keras.Model):
        raise InputError("model", "a keras.Model", type(model).__name__)
    if not model.built:
        raise InputError("model", "one that is built", "one without weights", "Call it once on a batch, or train it.")
    found = batch_normalizations(model)
    if not found:
        raise InputError(
            "model",
            "at least one BatchNormalization",
            f"{model.name!r} without any",
            "There is nothing to recalibrate.",
        )
    left = {path: "it has no weights yet" for path, layer in found.items() if not layer.built}
    if not frozen:
        left |= {path: "its statistics are frozen" for path, layer in found.items() if not averages(layer)}
    layers = {path: layer for path, layer in found.items() if path not in left}
    if not layers:
        reasons = ", ".join(sorted(set(left.values())))
        unbuilt = not any(layer.built for layer in found.values())
        remedy = "Call the model once on a batch." if unbuilt else "frozen=True recalibrates frozen ones all the same."
        raise InputError("model", "a BatchNormalization that may be recalibrated", f"{len(left)}: {reasons}", remedy)
    return layers, left


def statistics_of(layer: Layer) -> dict[str, keras.Variable]:
    """Return the weights that hold a layer's moving statistics, by name."""
    names = ["moving_mean", "moving_variance"]
    if getattr(layer, "renorm", False):  # which Keras 3.12 has not
        names += ["moving_stddev", "renorm_mean", "renorm_stddev"]
    return {name: getattr(layer, name) for name in names}


def give_back(values: Iterable[tuple[keras.Variable, np.ndarray]]) -> None:
    """Assign to each variable its value."""
    for variable, value in values:
        variable.assign(value)


class _Task(NamedTuple):
    """What is to be done."""

    model: keras.Model
    layers: Layers
    batches: Batches
    estimator: str
    old: Mapping[str, Values]


def _in_one_pass(task: _Task) -> dict[str, int]:
    """Set the statistics by one pass, in which the batch's own normalise; return how many values were counted."""

    def normalise_by_it(path: str, tally: Tally) -> None:
        variance = tally.variance("population")
        _check_several(path, tally, variance, " in a batch", 'Pass a larger batch_size, or order="layerwise".')
        _set(task.layers[path], tally, variance, task.old[path])

    tallies = _tallies(task, task.layers, normalise_by_it)
    return {path: _settle(task, path, tally) for path, tally in tallies.items()}


def _layerwise(task: _Task, verbose: bool) -> tuple[dict[str, int], int]:
    """Set the statistics layer by layer; return how many values were counted, and the sweeps."""
    calls = _calls(task)

    def enough(path: str, _: Tally) -> None:
        if calls[path] == 1:
            raise Enough

    counts: dict[str, int] = {}
    with reporting("recalibrating", len(calls), "layer") if verbose else contextlib.nullcontext() as report:
        for sweep in range(1, _MOST_SWEEPS + 1):
            moved = 0.0
            for done, path in enumerate(calls):
                layer = task.layers[path]
                before = _values(layer)
                tally = _tallies(task, {path: layer}, enough).get(path)
                if tally is None:
                    raise InputError("data", "the same in each pass", f"nothing for {path} in a later one")
                counts[path] = _settle(task, path, tally)
                mean_change, variance_ratio = _distance(layer, before, _values(layer))
                moved = max(moved, mean_change, variance_ratio - 1)
                if report:
                    report(done + 1, path)
            if moved <= _SETTLED or max(calls.values()) == 1:
                return counts, sweep
    warnings.warn(
        f"After {_MOST_SWEEPS} sweeps the statistics still move by {moved:.1g} deviations: a layer that is called "
        'several times depends on itself, or the data is different each time. order="one_pass" needs no sweeps.',
        stacklevel=3,
    )
    return counts, _MOST_SWEEPS


def _calls(task: _Task) -> dict[str, int]:
    """Return how often each layer is called in a batch, at most, in the order of the first calls."""
    calls: dict[str, int] = {}
    for x in task.batches:
        here: Counter[str] = Counter()
        run_watched(task.model, x, task.layers, lambda path, x, mask: here.update((path,)))  # noqa: B023
        calls |= {path: max(count, calls.get(path, 0)) for path, count in here.items()}
    return calls


def _tallies(task: _Task, layers: Layers, then: Callable[[str, Tally], None]) -> dict[str, Tally]:
    """Return the tallies of some layers over all data, in the order of the calls; `then` is told that of each call."""
    tallies: dict[str, Tally] = {}

    def see(path: str, x: tf.Tensor, mask: tf.Tensor | None) -> None:
        tally = tallied(x, layers[path].axis, mask)
        tallies[path] = tallies[path] + tally if path in tallies else tally
        then(path, tally)

    for x in task.batches:
        run_watched(task.model, x, layers, see)
        for path, tally in tallies.items():
            if not tally.is_finite():
                remedy = "Look for such values in the data, and for weights that diverged."
                raise InputError(f"{path}: inputs", "finite values", "NaN or infinite ones", remedy)
    return tallies


def _values(layer: Layer) -> Values:
    return {name: variable.numpy() for name, variable in statistics_of(layer).items()}


def _set(layer: Layer, tally: Tally, variance: np.ndarray, old: Values) -> None:
    """Give a layer new statistics; where nothing counted, the old ones."""
    deviation = np.sqrt(variance + layer.epsilon)
    new = {"moving_mean": tally.mean, "moving_variance": variance, "moving_stddev": deviation}
    new |= {"renorm_mean": tally.mean, "renorm_stddev": deviation}
    for name, variable in statistics_of(layer).items():
        variable.assign(tf.convert_to_tensor(np.where(tally.count > 0, new[name], old[name])))  # NumPy would warn


def _settle(task: _Task, path: str, tally: Tally) -> int:
    """Give a layer the statistics of the data; return how many values of a channel were counted."""
    layer, estimator = task.layers[path], task.estimator
    variance = tally.variance(estimator, getattr(layer, "variance_estimator", "biased") == "unbiased")
    where = " in a batch" if estimator == "mean_of_unbiased" else ""
    _check_several(path, tally, variance, where, "Pass more data, or larger batches.")
    _set(layer, tally, variance, task.old[path])
    if not all(np.isfinite(np.asarray(value, np.float64)).all() for value in _values(layer).values()):
        dtype = layer.moving_variance.dtype
        raise InputError(f"{path}: inputs", f"a mean and a variance within {dtype}", "greater ones")
    return int(tally.count.max())


def _check_several(path: str, tally: Tally, variance: np.ndarray, where: str, remedy: str) -> None:
    if ((tally.count > 0) & np.isfinite(tally.mean) & np.isnan(variance)).any():
        raise InputError(f"{path}: inputs", f"more than one value of each channel{where}", "one", remedy)


def _distance(layer: Layer, old: Values, new: Values) -> tuple[float, float]:
    """Return the largest change of a mean, in new deviations, and the largest ratio of the variances."""
    means = [np.asarray(values["moving_mean"], np.float64) for values in (old, new)]
    variances = [np.asarray(values["moving_variance"], np.float64) + layer.epsilon for values in (old, new)]
    ratio = variances[1] / variances[0]
    change = np.abs(means[1] - means[0]) / np.sqrt(variances[1])
    return float(change.max()), float(np.maximum(ratio, 1 / ratio).max())
