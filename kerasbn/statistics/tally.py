"""Sums over what comes into a BatchNormalization, and the population's mean and variance as estimated from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasbn.layers.normalization import aligned_mask, kept_axes

_VALUES_AT_ONCE = 1 << 21  # 16 MB of float64, so that a large activation is not copied as a whole


@dataclass(frozen=True)
class Tally:
    """Sums over the values of each channel, in float64, that can be added up over batches.

    Args:
        count: (channels,), how many values there are; with several channel axes, this and all that follows have the
            sizes of those axes, in ascending order.
        mean: (channels,), their mean; 0 where there are none.
        squares: (channels,), sum of their squared deviations from that mean.
        squares_within: (channels,), sum of their squared deviations from the mean of their own batch.
        degrees_within: (channels,), sum of the batches' counts, less one for each batch.

    Example:
        >>> tally = tallied(np.array([[1.0], [3.0]])) + tallied(np.array([[5.0], [7.0]]))
        >>> float(tally.mean[0]), float(tally.variance("population")[0]), float(tally.variance("mean_of_unbiased")[0])
        (4.0, 5.0, 2.0)
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    squares_within: np.ndarray
    degrees_within: np.ndarray

    def __add__(self, other: "Tally") -> "Tally":
        # d = mean_b - mean_a;  mean = mean_a + d n_b/n;  squares = squares_a + squares_b + d^2 n_a n_b/n.
        # (Chan, Golub and LeVeque (1983). E[x^2] - mean^2 would take two large numbers from each other.)
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(invalid="ignore", over="ignore"):  # of infinite values; see `is_finite`
            apart = other.mean - self.mean
            return Tally(
                count,
                self.mean + apart * share,
                self.squares + other.squares + np.square(apart) * self.count * share,
                self.squares_within + other.squares_within,
                self.degrees_within + other.degrees_within,
            )

    def is_finite(self) -> bool:
        """Return whether no value was NaN or infinite."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.squares).all())

    def variance(self, estimator: str, unbiased: bool = False) -> np.ndarray:
        """Return the variance of the population, of which the values are a sample.

            population         squares / count, or squares / (count - 1) if unbiased
            mean_of_unbiased   sum_b m_b var_b / sum_b (m_b - 1)

        where m_b values of batch b have the biased variance var_b; of batches of one size that is the paper's
        E_b[m / (m - 1) var_b].

        Args:
            estimator: "population" or "mean_of_unbiased".
            unbiased: Of "population": whether to divide by count - 1.

        Returns:
            (channels,) float64; NaN where there are too few values.
        """
        squares, degrees = self.squares, self.count - unbiased
        if estimator == "mean_of_unbiased":
            squares, degrees = self.squares_within, self.degrees_within
        return np.divide(squares, degrees, out=np.full_like(squares, np.nan), where=(degrees > 0) & (self.count > 1))


def tallied(x: Any, axis: int | Sequence[int] = -1, mask: Any = None) -> Tally:
    """Return the tally of one batch, by two passes in float64.

    Args:
        x: What comes into a BatchNormalization: any rank of at least 2, any floating dtype.
        axis: The channel axis, or axes.
        mask: True where a value counts: of the inputs' rank, or without the channel axes; None: all count.

    Returns:
        The tally. A value that counts, and is NaN or infinite, makes that of its channel so.

    Example:
        >>> tally = tallied(np.array([[1.0], [3.0], [9.0]]), mask=np.array([True, True, False]))
        >>> float(tally.count[0]), float(tally.mean[0]), float(tally.squares[0])
        (2.0, 2.0, 2.0)
    """
    x = tf.convert_to_tensor(x)
    kept = kept_axes(axis, len(x.shape))
    if mask is not None:
        mask = tf.broadcast_to(aligned_mask(mask, len(x.shape), axis), tf.shape(x))
    examples = x.shape[0]
    rows = examples if 0 in kept else _VALUES_AT_ONCE // max(math.prod(x.shape[1:]), 1)
    none = np.zeros([x.shape[a] for a in kept])
    total = Tally(none, none, none, none, none)
    for start in range(0, examples, max(rows, 1)):
        part = slice(start, start + max(rows, 1))
        count, mean, squares = _sums(x[part], kept, None if mask is None else mask[part])
        total += Tally(count, mean, squares, none, none)
    return Tally(total.count, total.mean, total.squares, total.squares, np.maximum(total.count - 1, 0))


def _sums(x: tf.Tensor, kept: tuple[int, ...], mask: tf.Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return count, mean and sum of squared deviations of each channel."""
    reduced = [a for a in range(len(x.shape)) if a not in kept]
    x = tf.cast(x, tf.float64)
    if mask is None:
        count = tf.fill([x.shape[a] for a in kept], tf.constant(math.prod(x.shape[a] for a in reduced), tf.float64))
    else:
        count = tf.reduce_sum(tf.cast(mask, tf.float64), reduced)
        x = tf.where(mask, x, 0)  # a choice, not a product: what is masked may be NaN
    mean = tf.reduce_sum(x, reduced) / tf.maximum(count, 1)
    apart = x - tf.reshape(mean, [size if a in kept else 1 for a, size in enumerate(x.shape)])
    squares = tf.square(apart) if mask is None else tf.where(mask, tf.square(apart), 0)
    return count.numpy(), mean.numpy(), tf.reduce_sum(squares, reduced).numpy()
