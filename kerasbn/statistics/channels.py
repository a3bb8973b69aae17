"""What is to be said of the channels of one BatchNormalization: gaps, dead ones, small variances."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from scipy import stats

from kerasbn.statistics.graph import Graph
from kerasbn.statistics.lint import Finding
from kerasbn.statistics.moments import SampleMoments

# A channel is off if its mean lies this many deviations from the moving one, or its variance is this many times the
# moving one, or one of so many parts of it; weights that still move, and short averages, make less than that.
MEAN_OFF, VARIANCE_OFF = 0.5, 1.5
# Share of its channels from which on a layer is off. Of the factory's default models, trained on scikit-learn's digits
# for two epochs at rates from 0.001 to 0.01, at most 0.06 are; of those where more than 0.1 were, at rates too high
# for them, recalibrating won 0.4 to 14 points of accuracy.
SHARE_OFF = 0.1
# Odds at which noise alone may make a channel look that far off.
ERROR_RATE = 0.001
# A layer whose median channel is nearer than this is as good as recalibrated, whatever its momentum and steps.
MEAN_SETTLED, VARIANCE_SETTLED = 0.1, 1.1
# Fewer examples have seen too little of a distribution's tails to know its variance, or that a channel never speaks.
FEWEST_EXAMPLES = 100
# Outputs are about 1: what varies by less than this does not vary.
CONSTANT = 1e-6
# A variance below this share of epsilon: epsilon shrinks the channel to less than a third of its size.
SMALL_VARIANCE = 0.1


class Gap(NamedTuple):
    """How far the inputs of a layer are from its moving statistics, by channel.

    Args:
        mean: |mean of the data - moving mean| / sqrt(moving variance + epsilon).
        variance: (variance of the data + epsilon) / (moving variance + epsilon).
        off: Whether one of them is beyond the limits by more than noise makes.
    """

    mean: np.ndarray
    variance: np.ndarray
    off: np.ndarray

    @property
    def is_finding(self) -> bool:
        """Whether so many channels are off that the layer is."""
        return bool(self.off.any() and self.off.mean() >= SHARE_OFF)

    @property
    def is_settled(self) -> bool:
        """Whether the median channel is so near that the averages are right."""
        factor = np.exp(np.median(np.abs(np.log(self.variance))))
        return bool(np.median(self.mean) < MEAN_SETTLED and factor < VARIANCE_SETTLED)


def moving_statistics(layer: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return the moving mean and variance of a layer as (channels,) float64."""
    mean, variance = (np.asarray(w.numpy(), np.float64).ravel() for w in (layer.moving_mean, layer.moving_variance))
    return mean, variance


def gap_of(layer: keras.layers.BatchNormalization, moments: SampleMoments) -> Gap:
    """Compare what came into a layer with its moving statistics.

    Args:
        layer: Keras's or kerasbn's.
        moments: Of its inputs; channels of which nothing counted have no gap.

    Returns:
        The gaps. A channel is off where its gap is beyond a limit by more than noise explains, at odds of 1 in 1000: by
        Student's t, with its standard error and the examples' degrees of freedom. One example shows nothing, and fewer
        than 100 say nothing of variances.
    """
    moving_mean, moving_variance = moving_statistics(layer)
    deviation = np.sqrt(moving_variance + layer.epsilon)
    variance = moments.variance + layer.epsilon
    known = moments.count > 0
    mean_gap = np.where(known, np.abs(moments.mean - moving_mean) / deviation, 0)
    ratio = np.where(known, variance / deviation**2, 1)
    noise = stats.t.isf(ERROR_RATE / 2, np.maximum(moments.examples - 1, 1))
    off = mean_gap - noise * moments.mean_error / deviation > MEAN_OFF
    # log: a ratio of 2/3 is as far off as one of 3/2; d log v = dv / v carries the error over.
    far = np.abs(np.log(ratio)) - noise * moments.variance_error / variance > np.log(VARIANCE_OFF)
    return Gap(mean_gap, ratio, off | (far & (moments.examples >= FEWEST_EXAMPLES)))


def dead_channels(layer: keras.layers.BatchNormalization, moments: SampleMoments, before_relu: bool) -> np.ndarray:
    """Return the channels whose output is the same for all data that came to a layer.

    The output is gamma (x - moving mean) / sqrt(moving variance + epsilon) + beta, and max(0, that) before a ReLU.
    It is the same for all x where gamma is 0, where x is the same, or where a ReLU lets none through.

    Args:
        layer: Keras's or kerasbn's.
        moments: Of its inputs.
        before_relu: Whether the output goes to nothing but a ReLU.

    Returns:
        Indices; none of channels with fewer than 100 examples.
    """
    moving_mean, moving_variance = moving_statistics(layer)
    gamma, beta = (
        default if weight is None else np.asarray(weight.numpy(), np.float64).ravel()
        for weight, default in ((layer.gamma, 1.0), (layer.beta, 0.0))
    )
    slope = gamma / np.sqrt(moving_variance + layer.epsilon)
    known = moments.examples >= FEWEST_EXAMPLES
    ends = np.where(known, [moments.low, moments.high], [[0.0], [1.0]])
    outputs = slope * (ends - moving_mean) + beta
    if before_relu:
        outputs = np.maximum(outputs, 0)
    return np.flatnonzero(known & (np.ptp(outputs, axis=0) <= CONSTANT))


def small_variances(layer: keras.layers.BatchNormalization) -> np.ndarray:
    """Return the channels of a layer whose moving variance is below a tenth of epsilon."""
    return np.flatnonzero(moving_statistics(layer)[1] < SMALL_VARIANCE * layer.epsilon)


def is_untouched(layer: keras.layers.BatchNormalization) -> bool:
    """Return whether the moving statistics of a layer are those it was initialised with."""
    pairs = (
        (layer.moving_mean, layer.moving_mean_initializer),
        (layer.moving_variance, layer.moving_variance_initializer),
    )
    return all(np.array_equal(weight.numpy(), initializer(weight.shape, weight.dtype)) for weight, initializer in pairs)


def relu_follows(layer: keras.layers.BatchNormalization, graphs: Iterable[Graph]) -> bool:
    """Return whether the outputs of a layer go to nothing but ReLUs, as far as graphs tell."""
    found = False
    for graph in graphs:
        for call in graph.calls:
            if call.operation is layer:
                takers = graph.takers(call.outputs[0])
                if not takers or call.outputs[0] in graph.outputs or not all(_is_relu(t.operation) for t in takers):
                    return False
                found = True
    return found


def _is_relu(operation: Any) -> bool:
    if isinstance(operation, keras.layers.Activation):
        return getattr(operation.activation, "__name__", "") in ("relu", "relu6")
    if isinstance(operation, keras.layers.ReLU):
        return not operation.negative_slope and not operation.threshold
    return not isinstance(operation, keras.Layer) and type(operation).__name__ in ("Relu", "Relu6")


def findings_of(
    path: str, layer: keras.layers.BatchNormalization, moments: SampleMoments | None, before_relu: bool, trained: bool
) -> Iterator[Finding]:
    """Yield what is to be mended in a layer.

    Args:
        path: Path of the layer.
        layer: Keras's or kerasbn's.
        moments: Of its inputs; None without data.
        before_relu: As for `dead_channels`.
        trained: Whether the model was; if not, only values that are not finite are found.

    Yields:
        Findings by the rules of `health`.
    """
    finite = np.isfinite(moving_statistics(layer)).all()
    if not finite or (moments is not None and not np.isfinite(moments.variance).all()):
        what = "What comes into the layer" if finite else "A moving statistic"
        yield Finding(
            path,
            "not-finite",
            f"{what} is NaN or infinite.",
            "Look for such values in the data; if there are none the training diverged: lower the learning rate."
            if finite
            else "Train again with a lower learning rate, and look for such values in the training data.",
        )
        return
    if not trained:
        return
    if is_untouched(layer):
        yield Finding(
            path,
            "never-updated",
            "The moving statistics are the initial ones, though the model was trained.",
            "Let the layer be trainable, and pass `training` on to it where your own call() calls it; if it is to "
            "stay frozen, give it statistics first: kerasbn.statistics.recalibrate(model, training_data).",
        )
        return
    channels, dead = len(moving_statistics(layer)[0]), np.zeros(0, int)
    if moments is not None:
        gap, examples = gap_of(layer, moments), int(moments.examples.max())
        if gap.is_finding:
            yield Finding(
                path,
                "gap",
                f"On these {examples} examples {gap.off.sum()} of {channels} channels are off the moving statistics: "
                f"means by up to {gap.mean.max():.2g} deviations, variances by up to "
                f"{np.exp(np.abs(np.log(gap.variance)).max()):.2g} times.",
                "If these are the training data, as the model gets them, call kerasbn.statistics.recalibrate(model, "
                "data), and train with a lower momentum or learning rate; if they are not, they differ from the "
                "training data: look at how they are prepared.",
            )
        dead = dead_channels(layer, moments, before_relu)
        if dead.size:
            yield Finding(
                path,
                "dead-channels",
                f"{_listed(dead, channels)} the same output for all {examples} examples"
                f"{' after the ReLU' * before_relu}.",
                "If inputs are constant, drop them; otherwise train with a lower learning rate or weight decay, or "
                "with leaky_relu; a channel that stays dead can be left out.",
            )
    small = np.setdiff1d(small_variances(layer), dead)
    if small.size:
        least = moving_statistics(layer)[1][small].min()
        yield Finding(
            path,
            "small-variance",
            f"{_listed(small, channels)} a moving variance down to {least:.1g}, where "
            f"epsilon is {layer.epsilon:g}: epsilon decides their size.",
            "Scale the inputs up or drop those that are constant, or lower epsilon.",
        )


def _listed(indices: Sequence[int] | np.ndarray, channels: int) -> str:
    names = ", ".join(str(index) for index in indices[:8]) + ", ..." * (len(indices) > 8)
    return f"{len(indices)} of {channels} channels ({names}) {'has' if len(indices) == 1 else 'have'}"
