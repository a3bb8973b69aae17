"""find_learning_rate: the exponential range test, on the user's model and data, which leaves no trace."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError, TaskError
from kerasbn.diagnostics.endless import Batch, endless
from kerasbn.diagnostics.rate_range import RateRange, lag_of, read_range
from kerasbn.diagnostics.untouched import copy_optimizer, untouched, updates_every

_FEWEST_STEPS = 10


def find_learning_rate(
    model: keras.Model,
    data: Any,
    *,
    batch_size: int | None = None,
    minimum: float = 1e-6,
    maximum: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
    stop_factor: float = 4.0,
    factor: float = 10.0,
    seed: int = 0,
    on_step: Callable[[int, float, float], None] | None = None,
) -> RateRange:
    """Train with ever greater learning rates, and tell from the losses which one to begin with.

    The exponential range test: update i = 0, 1, ..., n - 1 is made at the rate

        r_i = minimum (maximum / minimum)^(i / (n - 1))

    and the loss L_i of its batch, taken before the update, is smoothed by bias-corrected exponential averages

        a_i = beta a_{i-1} + (1 - beta) L_i,   s_i = a_i / (1 - beta^(i+1))

    The test ends early when s_i exceeds `stop_factor` times its minimum (for a loss below 0, when it has risen by
    `stop_factor` - 1 times the minimum's size), or L_i is not finite. Two rates are read off:

        steepest        where s falls fastest over log r, measured over 1 / (1 - beta) steps to either side
        below_minimum   where s is least, divided by `factor`

    and `below_minimum` is suggested: on digits and Fashion-MNIST (MLPs and convnets, SGD and Adam) it was mostly within
    a factor of 2 of the rate that trained best, and the steepest descent mostly 5 to 20 times below.

    Afterwards everything is bit for bit as it was, whatever happens: weights, BatchNormalization's statistics, seeds
    of dropout, optimizer, metrics, and the random states of Python and NumPy. The model's optimizer is not used but
    copied, with its state; a learning-rate schedule in it is left out of the copy, a gradient accumulation is kept,
    and an update then takes several batches, whose mean loss counts. A model without weights is built, as by `fit`.

    What cannot be seen from here is not restored: the order in which a `tf.data.Dataset` with `shuffle` will come the
    next time, the state of a data source of the user's own, random numbers of `keras.random` without a seed generator,
    and TensorFlow's stateful random operations.

    Args:
        model: Compiled. Its loss is that of `model.compute_loss`, with regularisation, and with layers in training
            mode; a `train_step` of its own is not called.
        data: The training data, as `model.fit` takes it: a tuple (x, y) or (x, y, sample_weight) of arrays, or of
            dicts or lists of arrays; or batches of them: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list of
            tuples. It begins anew whenever it ends.
        batch_size: Examples in a batch of arrays, at least 1; None: 32. It should be the one of training. Not for
            data that comes in batches.
        minimum: First rate, above 0.
        maximum: Last rate, above `minimum`.
        steps: Updates, at least 10 and 2 / (1 - smoothing).
        smoothing: beta, in [0, 1).
        stop_factor: Above 1.
        factor: Of `below_minimum`, at least 1.
        seed: Of the shuffling of arrays.
        on_step: Called after each update with its number, from 1, its rate and the smoothed loss.

    Returns:
        The rates, the losses and the suggestions, which are None if the loss never fell; see `RateRange`.

    Raises:
        InputError: If the model is not compiled or has nothing to train; if the data has an unknown form, no examples
            or can be gone through only once; if an argument is out of range.
        TaskError: If the loss is not finite before the first update.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> found = find_learning_rate(model, (x, x @ [[1.0], [2.0], [3.0], [4.0]]))
        >>> 0.01 < found.suggestion < 1  # it diverges from about 1 on
        True

    Source: Smith (2015), arXiv:1506.01186, section 3.3; Gugger, How do you find a good learning rate (2018).
    """
    _check_model(model)
    checks.in_range("minimum", minimum, 0, open_low=True)
    checks.in_range("maximum", maximum, minimum, open_low=True, remedy="It is the rate to end with, above minimum.")
    checks.in_range("smoothing", smoothing, 0, 1, open_high=True)
    lag = lag_of(smoothing)
    remedy = "Fewer say nothing with this smoothing; 200 is usual."
    checks.in_range("steps", steps, max(_FEWEST_STEPS, 2 * lag), integer=True, remedy=remedy)
    checks.in_range("stop_factor", stop_factor, 1, open_low=True)
    checks.in_range("factor", factor, 1)
    checks.in_range("seed", seed, 0, integer=True)
    batches = endless(data, batch_size, seed)
    rates = np.geomspace(minimum, maximum, steps)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    end = f"The test went through all {steps} rates."
    with untouched(model) as keep_new, contextlib.closing(batches):
        _build(model, next(batches))
        keep_new()
        for rate, loss in _train(model, batches, rates):
            if not math.isfinite(loss):
                if not losses:
                    raise TaskError(f"The loss is {loss} before the first update: look at the data and the weights.")
                end = f"The test ended at {rate:.2g}: the loss became {loss}."
                break
            losses.append(loss)
            average = smoothing * average + (1 - smoothing) * loss
            smoothed.append(average / (1 - smoothing ** len(losses)))
            if on_step is not None:
                on_step(len(losses), rate, smoothed[-1])
            least = min(smoothed[lag - 1 :], default=smoothed[-1])
            if smoothed[-1] - least > (stop_factor - 1) * abs(least):
                end = (
                    f"The test ended at {rate:.2g}, where the smoothed loss exceeded {stop_factor:g} times its minimum."
                )
                break
    return read_range(rates[: len(losses)].copy(), np.array(losses), np.array(smoothed), smoothing, factor, end)


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise InputError("model", "a keras.Model", type(model).__name__)
    if not model.compiled:
        raise InputError("model", "one that is compiled", f"{model.name!r}, which is not", "Call model.compile first.")
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise InputError("model", "one compiled for a single device", f"one for {replicas}")


def _build(model: keras.Model, batch: Batch) -> None:
    """Build what is not built, and raise `InputError` if there is nothing to train, or towards nothing."""
    if batch[1] is None and model.loss is not None:
        raise InputError("data", "labels for the model's loss, as in (x, y)", "x alone")
    _loss(model, batch, training=False)
    if not model.trainable_variables:
        raise InputError("model", "one with weights to train", f"{model.name!r} without any")


def _train(model: keras.Model, batches: Iterator[Batch], rates: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield each rate and the loss of its update, after it was made."""
    with model.distribute_strategy.scope():
        optimizer = copy_optimizer(model)
    update, together = _update(model, optimizer), updates_every(optimizer)
    for rate in rates.tolist():
        optimizer.learning_rate = rate
        yield rate, float(np.mean([float(update(*next(batches))) for _ in range(together)]))


def _loss(model: keras.Model, batch: Batch, training: bool) -> tf.Tensor:
    x, y, sample_weight = batch
    # Without `training`: a compute_loss of the user's own may not have it, and its default is True.
    return model.compute_loss(x, y, model(x, training=training), sample_weight)


def _update(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Callable[..., tf.Tensor]:
    """Return a function of a batch that makes an update and returns the loss before it; compiled as the model is."""

    def update(*batch: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = _loss(model, batch, training=True)
            scaled = optimizer.scale_loss(loss)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(scaled, variables), variables)
        return loss

    def run(*batch: Any) -> tf.Tensor:
        return model.distribute_strategy.run(update, batch)

    if model.run_eagerly:
        return run
    return tf.function(run, autograph=False, reduce_retracing=True, jit_compile=model.jit_compile)
