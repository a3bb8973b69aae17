"""Whether a model's BatchNormalization layers are well: a row of figures for each, and what to mend."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kerasbn.checks import InputError
from kerasbn.statistics import channels
from kerasbn.statistics.batches import Batches
from kerasbn.statistics.graph import batch_normalizations
from kerasbn.statistics.lint import Finding, graphs_of, lint
from kerasbn.statistics.moments import SampleMoments, input_moments
from kerasbn.statistics.staleness import calls_of, staleness, steps_of, updates_of


@dataclass(frozen=True)
class LayerHealth:
    """The figures of one BatchNormalization layer; those that need data, or steps, are None without them.

    Args:
        layer: Path of the layer, such as "encoder/bn_1".
        channels: Number of channels.
        momentum: Weight of the old moving average at each step.
        updates: Batches averaged so far.
        staleness: Share of the initial value that is left in the moving averages, in [0, 1].
        examples: Examples of the data that came to the layer.
        mean_gap: |mean of the data - moving mean| / sqrt(moving variance + epsilon): median and largest over channels.
        variance_ratio: (variance of the data + epsilon) / (moving variance + epsilon): median over channels, and the
            one farthest from 1.
        dead: Channels whose output, after the ReLU if one follows, is the same for all data; None also for fewer than
            100 examples.
        small_variances: Channels whose moving variance is below a tenth of epsilon.

    Example:
        >>> round(health(create_model("mlp", (4,), 3, units=(2,)), training_steps=5).layers[0].staleness, 5)  # 0.9^5
        0.59049
    """

    layer: str
    channels: int
    momentum: float
    updates: int | None
    staleness: float | None
    examples: int | None
    mean_gap: tuple[float, float] | None
    variance_ratio: tuple[float, float] | None
    dead: tuple[int, ...] | None
    small_variances: tuple[int, ...]


@dataclass(frozen=True)
class Health:
    """What `health` says of a model; as text, a table of the layers, then findings and notes.

    Args:
        layers: The figures of each BatchNormalization layer, in the model's order.
        findings: What to mend.
        notes: What could not be told, and why: sentences.

    Example:
        >>> print(Health((), (Finding("dense", "bias-before-bn", "It does nothing.", "Drop it."),), ()))
        1 finding:
          dense [bias-before-bn]: It does nothing. Drop it.
    """

    layers: tuple[LayerHealth, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.findings)
        said = f"{count or 'No'} finding{'' if count == 1 else 's'}{':' if count else '.'}"
        lines = [*_table(self.layers), said, *(f"  {finding}" for finding in self.findings)]
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as dictionaries, tuples, numbers and texts, which JSON takes."""
        return dataclasses.asdict(self)


def health(
    model: keras.Model,
    data: Any = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    training_steps: int | None = None,
) -> Health:
    """Examine the BatchNormalization layers of a model, and what stands around them.

    The model runs on the data as at inference, and what comes into each layer is compared with the layer's moving
    statistics. Besides the findings of `lint`, which need no data, there are:

        gap              for a tenth of the channels or more the mean of the data lies more than half a deviation from
                         the moving mean, or the variance is more than 3/2 of the moving one, or less than 2/3; by more
                         than noise in that many examples explains (Student's t, odds of 1 in 1000)
        dead-channels    the output of a channel, after the ReLU if one follows, is the same for all data
        small-variance   the moving variance of a channel is below a tenth of epsilon
        never-updated    the moving statistics are the initial ones, though the model was trained
        not-finite       a moving statistic, or what comes into a layer, is NaN or infinite

    Variances and dead channels are judged from 100 examples on. Of a model that was not trained yet only `lint` has
    findings, and what is not finite. A "stale-average" is none where the data show that the averages are right all
    the same, as after `recalibrate`.

    Args:
        model: Of any kind, built if no data are given. Keras's own BatchNormalization and kerasbn's, nested and shared
            ones; of a shared one all inputs are taken together. Values that a mask leaves out are left out.
        data: What `model.fit` takes: an array, a list or dict of arrays for several inputs, a tuple (x, y), or batches
            of these such as a `tf.data.Dataset`. Training data, as the model gets them, show whether the averages
            are right; others show whether they are like these. None: what needs data is left out.
        batch_size: Examples that the model is called on at a time; None: batches as they come, arrays by 128.
        steps: How many of the given batches to take; None: all.
        training_steps: Training steps that the model has made, or is going to; None: those its optimizer counts.

    Returns:
        Rows by layer, findings, and notes on what could not be told.

    Raises:
        InputError: If `model` is no Keras model or not built, `data` have no examples, no end or another form or do not
            fit the model, or an argument is out of range.

    Example:
        >>> print(health(create_model("mlp", (4,), 3, units=(2,)), training_steps=5))
        layer  channels  momentum  updates  stale  mean gap  variance ratio  dead  small variance
        bn_1   2         0.9       5        59%    -         -               -     0
        1 finding:
          bn_1 [stale-average]: momentum 0.9 over 5 updates leaves 59% of the initial value in the moving averages; ...
        Note: The model has not been trained yet: its moving statistics are the initial ones.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167; Li et al. (2018), arXiv:1801.05134.
    """
    linted = lint(model, training_steps=training_steps)
    layers = batch_normalizations(model)
    moments = {} if data is None else input_moments(model, layers, Batches(data, batch_size, steps))
    for path, layer in layers.items():
        if layer.moving_mean is None:
            remedy = "Call the model once on data, or give it a keras.Input."
            raise InputError("model", "one that is built", f"the layer {path} without weights", remedy)
    counted = steps_of(model)
    trained = counted is not None or not all(channels.is_untouched(layer) for layer in layers.values())
    graphs, _ = graphs_of(model)
    rows, findings, excused = [], list(linted.findings), set()
    for path, layer in layers.items():
        updates = updates_of(layer, counted if training_steps is None else training_steps, calls_of(layer, graphs))
        of_layer, before_relu = moments.get(path), channels.relu_follows(layer, graphs)
        rows.append(_row(path, layer, updates, of_layer, before_relu))
        findings += channels.findings_of(path, layer, of_layer, before_relu, trained)
        if trained:
            # Right all the same; or a finding of its own, which momentum has nothing to do with.
            settled = of_layer is not None and channels.gap_of(layer, of_layer).is_settled
            if settled or channels.is_untouched(layer):
                excused.add(path)
    kept = (one for one in findings if one.rule != "stale-average" or one.layer not in excused)
    notes = (*linted.notes, *_notes(layers, trained, None if data is None else moments))
    return Health(tuple(rows), tuple(kept), notes)


def _row(
    path: str,
    layer: keras.layers.BatchNormalization,
    updates: int | None,
    moments: SampleMoments | None,
    before_relu: bool,
) -> LayerHealth:
    examples = mean_gap = variance_ratio = dead = None
    if moments is not None:
        examples, gap = int(moments.examples.max()), channels.gap_of(layer, moments)
        farthest = gap.variance[np.abs(np.log(gap.variance)).argmax()]
        mean_gap = float(np.median(gap.mean)), float(gap.mean.max())
        variance_ratio = float(np.median(gap.variance)), float(farthest)
        if examples >= channels.FEWEST_EXAMPLES:
            dead = tuple(channels.dead_channels(layer, moments, before_relu).tolist())
    return LayerHealth(
        layer=path,
        channels=layer.moving_mean.numpy().size,
        momentum=float(layer.momentum),
        updates=updates,
        staleness=staleness(layer, updates),
        examples=examples,
        mean_gap=mean_gap,
        variance_ratio=variance_ratio,
        dead=dead,
        small_variances=tuple(channels.small_variances(layer).tolist()),
    )


def _notes(
    layers: Mapping[str, keras.layers.BatchNormalization], trained: bool, moments: Mapping[str, SampleMoments] | None
) -> list[str]:
    if not layers:
        return ["There is no BatchNormalization in the model."]
    notes = []
    if not trained:
        notes.append("The model has not been trained yet: its moving statistics are the initial ones.")
    if moments is None:
        return notes
    missed = [path for path in layers if path not in moments]
    if missed:
        notes.append(f"The data did not come to {', '.join(missed)}.")
    few = [path for path, of_layer in moments.items() if of_layer.examples.max() < channels.FEWEST_EXAMPLES]
    if few:
        fewest = channels.FEWEST_EXAMPLES
        where = "the layers" if len(few) == len(moments) else ", ".join(few)
        notes.append(f"Fewer than {fewest} examples came to {where}: too few for variances and dead channels.")
    return notes


def _table(rows: tuple[LayerHealth, ...]) -> list[str]:
    """Return the rows as aligned text, with a header; nothing of no rows."""

    def text(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    def pair(values: tuple[float, float] | None) -> str:
        return "-" if values is None else f"{values[0]:.2g} ({values[1]:.2g})"

    header = (
        "layer",
        "channels",
        "momentum",
        "updates",
        "stale",
        "mean gap",
        "variance ratio",
        "dead",
        "small variance",
    )
    cells = [header] * bool(rows) + [
        (
            row.layer,
            str(row.channels),
            f"{row.momentum:g}",
            text(row.updates, "d"),
            text(row.staleness, ".0%"),
            pair(row.mean_gap),
            pair(row.variance_ratio),
            "-" if row.dead is None else str(len(row.dead)),
            str(len(row.small_variances)),
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
