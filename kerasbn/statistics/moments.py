"""What comes into each BatchNormalization when a model runs on data: mean, variance, their errors, and the extremes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.layers import normalization
from kerasbn.statistics.watching import run_watched

_VALUES_AT_ONCE = 1 << 20  # 8 MB of float64, of which there are a few copies


class SampleMoments:
    """Moments of each channel over a sample of examples, in float64, with what is known of their errors.

    With n_e the number of values of example e that count, and s_e and q_e the sums of these and of their squares:

        mean     = sum_e s_e / sum_e n_e
        variance = sum_e q_e / sum_e n_e - mean^2

    Values within an example (the pixels of an image) are alike, so that many of them say little more than one; only
    examples are independent. The standard errors are therefore those of ratios of sums over E examples:

        error(mean)^2     = sum_e (s_e - n_e mean)^2 / (sum_e n_e)^2 * E / (E - 1)
        error(variance)^2 = sum_e (q_e - 2 mean s_e + n_e (mean^2 - variance))^2 / (sum_e n_e)^2 * E / (E - 1)

    Args:
        channels: Number of channels.

    Attributes:
        examples: E, the number of examples with any value that counts; (channels,), as are all others.
        low: Smallest value; inf where nothing counts.
        high: Largest value; -inf where nothing counts.

    Source: Cochran (1977), Sampling Techniques, section 2.11, for the error of a ratio.

    Example:
        >>> moments = SampleMoments(1)
        >>> moments.add(np.array([[[1.0], [3.0]], [[5.0], [7.0]]]))  # two examples of two values
        >>> float(moments.mean[0]), float(moments.variance[0]), float(moments.mean_error[0])
        (4.0, 5.0, 2.0)
    """

    def __init__(self, channels: int) -> None:
        self.examples = np.zeros(channels)
        self.low, self.high = np.full(channels, np.inf), np.full(channels, -np.inf)
        self._shift = np.full(channels, np.nan)  # NaN until there is a value
        self._sums = np.zeros((3, channels))  # of n_e, s_e, q_e
        self._products = np.zeros((3, 3, channels))  # of each of these with each

    def add(self, x: Any, axis: int | Sequence[int] = -1, mask: Any = None) -> None:
        """Take in a batch.

        Args:
            x: Values of any rank of at least 2 and any floating dtype. The first axis is that of the examples, or the
                next if the first holds channels.
            axis: The channel axis, or axes.
            mask: True where a value counts, of the shape of `x`; None: all count.
        """
        x = tf.convert_to_tensor(x)
        kept = normalization.kept_axes(axis, len(x.shape))
        if 0 in kept:
            order = [a for a in range(len(x.shape)) if a not in kept] + list(kept)
            x, mask = (None if part is None else tf.transpose(part, order) for part in (x, mask))
            kept = tuple(range(len(x.shape) - len(kept), len(x.shape)))
        rows = max(1, _VALUES_AT_ONCE // max(1, math.prod(x.shape[1:])))
        for start in range(0, x.shape[0], rows):
            part = slice(start, start + rows)
            self._add(tf.cast(x[part], tf.float64), kept, None if mask is None else tf.cast(mask[part], tf.bool))

    def _add(self, x: tf.Tensor, kept: tuple[int, ...], mask: tf.Tensor | None) -> None:
        others = [a for a in range(1, len(x.shape)) if a not in kept]
        counts = None if mask is None else self._by_example(tf.reduce_sum, tf.cast(mask, x.dtype), others)
        if counts is None:
            counts = np.full((x.shape[0], len(self.examples)), float(math.prod(x.shape[a] for a in others)))

        def reduced(function: Callable[..., tf.Tensor], values: tf.Tensor, rest: float) -> np.ndarray:
            # A choice, not a product: what is masked may be NaN.
            return self._by_example(function, values if mask is None else tf.where(mask, values, rest), others)

        self.low = np.minimum(self.low, reduced(tf.reduce_min, x, np.inf).min(0, initial=np.inf))
        self.high = np.maximum(self.high, reduced(tf.reduce_max, x, -np.inf).max(0, initial=-np.inf))
        number = counts.sum(0)
        with np.errstate(invalid="ignore"):  # of infinite values; whoever asks sees the NaN that comes of them
            # Sums of squares about a point near the mean lose no digits to an offset.
            near = reduced(tf.reduce_sum, x, 0).sum(0) / np.maximum(number, 1)
            self._shift = np.where(np.isnan(self._shift) & (number > 0), near, self._shift)
            centred = x - self._shift.reshape([x.shape[a] if a in kept else 1 for a in range(len(x.shape))])
            each = np.stack([counts, reduced(tf.reduce_sum, centred, 0), reduced(tf.reduce_sum, centred**2, 0)])
            self._sums += each.sum(1)
            self._products += np.einsum("iec,jec->ijc", each, each)
        self.examples += (counts > 0).sum(0)

    def _by_example(self, function: Callable[..., tf.Tensor], values: tf.Tensor, others: list[int]) -> np.ndarray:
        return function(values, others).numpy().reshape(-1, len(self.examples))

    @property
    def count(self) -> np.ndarray:
        """Number of values."""
        return self._sums[0]

    @property
    def mean(self) -> np.ndarray:
        """NaN where nothing counts."""
        return self._shift + self._offset

    @property
    def variance(self) -> np.ndarray:
        """The biased one: the squares divided by their number; 0 where nothing counts."""
        return np.maximum(self._sums[2] / np.maximum(self.count, 1) - self._offset**2, 0)

    @property
    def mean_error(self) -> np.ndarray:
        """The standard error of the mean; inf with fewer than two examples."""
        return self._error(-self._offset, 1, 0)

    @property
    def variance_error(self) -> np.ndarray:
        """The standard error of the variance; inf with fewer than two examples."""
        return self._error(self._offset**2 - self.variance, -2 * self._offset, 1)

    @property
    def _offset(self) -> np.ndarray:
        return self._sums[1] / np.maximum(self.count, 1)

    def _error(self, *weights: Any) -> np.ndarray:
        """Return the error of sum_e (w_0 n_e + w_1 s_e + w_2 q_e) / sum_e n_e, which is 0."""
        w = np.stack(np.broadcast_arrays(*weights))
        squares = np.maximum(np.einsum("ic,ijc,jc->c", w, self._products, w), 0)
        error = np.sqrt(squares * self.examples / np.maximum(self.examples - 1, 1)) / np.maximum(self.count, 1)
        return np.where(self.examples > 1, error, np.inf)


def input_moments(
    model: keras.Model, layers: Mapping[str, keras.layers.BatchNormalization], batches: Iterable[Any]
) -> dict[str, SampleMoments]:
    """Run a model as at inference, and return the moments of what comes into its BatchNormalization layers.

    Args:
        model: Of any kind.
        layers: The layers to watch, by path. What the calls of a shared one take is taken together.
        batches: What the model is called on.

    Returns:
        Moments by path, without what masks leave out; layers that no batch comes to are missing.

    Raises:
        InputError: If the model cannot be called on a batch.

    Example:
        >>> model = create_model("mlp", (4,), 3, units=(2,))
        >>> input_moments(model, {"bn_1": model.get_layer("bn_1")}, [np.zeros((5, 4))])["bn_1"].count
        array([5., 5.])
    """
    found: dict[str, SampleMoments] = {}

    def see(path: str, inputs: tf.Tensor, mask: tf.Tensor | None) -> None:
        axis, rank = layers[path].axis, len(inputs.shape)
        if mask is not None:
            mask = tf.broadcast_to(normalization.aligned_mask(mask, rank, axis), tf.shape(inputs))
        channels = math.prod(inputs.shape[a] for a in normalization.kept_axes(axis, rank))
        found.setdefault(path, SampleMoments(channels)).add(inputs, axis, mask)

    for batch in batches:
        run_watched(model, batch, layers, see)
    return found
