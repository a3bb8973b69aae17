"""TensorFlow's fused kernel for batch normalization: where it can be used, and how its results are made the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasbn.layers import normalization

# The kernel adds up values one by one. Where the mean is many deviations away from zero, those sums lose the digits in
# which the deviation is: at a distance of 1e4, float32 and 65,536 values the variance is wrong in the fourth digit, at
# 1e6 in the first. Beyond this distance the from-scratch path, which takes the offset out first, does the work. Up to
# it the kernel's rounding is about twice that of TensorFlow's moments: 4e-5 in y at ten deviations and 65,536 values.
MOST_DEVIATIONS = 10.0

# It takes some 0.05 ms before the kernel begins, forward and backward each. From so many values on it is faster all the
# same: (128, 512) takes 0.22 ms with it and 0.14 ms from scratch, (256, 512) 0.31 and 0.52 ms.
# At inference TensorFlow's single operations win for longer: (256, 512) takes 0.06 ms with them and 0.11 ms with it,
# (4096, 256) 0.36 and 0.17 ms.
LEAST_SIZE_IN_TRAINING = 100_000
LEAST_SIZE_AT_INFERENCE = 200_000


@dataclass(frozen=True)
class Kernel:
    """Which path a layer takes in training, and why.

    Args:
        path: "fused" (TensorFlow's kernel), "scratch" (`layers.normalization`), or "undecided" before `build`.
        reason: Why, in words.

    As text it reads "path: reason".

    Example:
        >>> str(Kernel("scratch", "synchronized statistics"))
        'scratch: synchronized statistics'
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def reason_against(shape: Sequence[int | None], axes: tuple[int, ...], dtype: tf.DType, least_size: int) -> str:
    """Return why the fused kernel cannot, or should not, normalise such inputs; or "" if it can.

    Args:
        shape: Of the inputs. Where a size is not known, it is taken to be 32.
        axes: The channel axes, from 0 and ascending.
        dtype: Of the inputs.
        least_size: LEAST_SIZE_IN_TRAINING or LEAST_SIZE_AT_INFERENCE.
    """
    rank = len(shape)
    if 0 in shape[axes[0] :]:
        return "there are no channels"
    if axes != tuple(range(rank - len(axes), rank)):
        return f"the channel axes {axes} are not the last ones of {rank}"
    if dtype not in (tf.float16, tf.bfloat16, tf.float32):
        return f"the fused kernel takes float16, bfloat16 and float32, not {dtype.name}"
    if tf.config.list_physical_devices("GPU"):
        return "a GPU is visible, whose fused kernel keeps other values between forward and backward pass"
    size = normalization.likely_size(shape)
    if size < least_size:
        about = "about " if None in shape else ""
        return f"the fused kernel is slower on fewer than {least_size:,} values, and these are {about}{size:,}"
    return ""


def fused_normalize(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axes: tuple[int, ...],
) -> tf.Tensor:
    """Do as `normalization.normalize` does, in one pass, for channel axes that are the last ones; y has x's dtype."""
    mean, variance = tf.reshape(mean, [-1]), tf.reshape(variance, [-1])
    y = tf.raw_ops.FusedBatchNormV3(
        x=_as_images(x, axes),
        scale=tf.ones_like(mean) if gamma is None else tf.reshape(gamma, [-1]),
        offset=tf.zeros_like(mean) if beta is None else tf.reshape(beta, [-1]),
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y
    return _as_before(y, x, axes)


def fused_batch_normalize(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axes: tuple[int, ...],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Do as `normalization.batch_normalize` does without a mask, for channel axes that are the last ones.

    The kernel's own variance is Bessel-corrected, m/(m - 1) times the one it normalises by; the one returned is not.
    Its results are not taken where they are not finite, or where the mean is so far from zero that its sums lose
    digits: there, and for empty batches, the from-scratch path is run in its place.

    Args:
        x: Inputs of any rank of at least 2; float16, bfloat16 or float32, which y has too.
        gamma: As for `batch_normalize`, float32.
        beta: As for `batch_normalize`, float32.
        epsilon: Added to the variance under the root, above 0.
        axes: The channel axes, from 0 and ascending.

    Returns:
        y, mean, variance and count, as of `batch_normalize`.
    """
    images = _as_images(x, axes)
    channels = images.shape[-1]
    if None in x.shape:
        count = tf.cast(tf.size(images, out_type=tf.int64), tf.float32) / channels
        unbessel = tf.maximum(count - 1, 1) / tf.maximum(count, 1)
    else:  # known when the function is traced, and not computed again in each step
        known = x.shape.num_elements() // channels
        count, unbessel = tf.constant(known, tf.float32), max(known - 1, 1) / max(known, 1)

    @tf.custom_gradient
    def normalized(images: tf.Tensor, *given: tf.Tensor) -> Any:
        remaining = iter(given)
        scale = tf.ones([channels]) if gamma is None else tf.reshape(next(remaining), [channels])
        offset = tf.zeros([channels]) if beta is None else tf.reshape(next(remaining), [channels])
        fused = tf.raw_ops.FusedBatchNormV3(x=images, scale=scale, offset=offset, mean=[], variance=[], epsilon=epsilon)
        variance = fused.batch_variance * unbessel
        # NaN, which an empty batch and an overflow give, is not below any limit.
        far = tf.square(fused.batch_mean) - MOST_DEVIATIONS**2 * variance
        reliable = tf.reduce_max(far) < MOST_DEVIATIONS**2 * epsilon

        def from_scratch() -> list[tf.Tensor]:
            y, *statistics, _ = normalization.batch_normalize(images, scale, offset, epsilon)
            return [tf.cast(y, images.dtype), *statistics]

        y, mean, variance = tf.cond(reliable, lambda: [fused.y, fused.batch_mean, variance], from_scratch)

        def gradients(dy: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            # The statistics are there to be averaged; nothing is differentiated through them. On a CPU the kernel's
            # "reserved" values are the mean and the biased variance, so it takes those from scratch as well.
            d_images, d_scale, d_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy,
                x=images,
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=fused.reserve_space_3,
                epsilon=epsilon,
            )
            derivatives = [d_images]
            if gamma is not None:
                derivatives.append(tf.reshape(d_scale, gamma.shape))
            if beta is not None:
                derivatives.append(tf.reshape(d_offset, beta.shape))
            return derivatives

        return (y, mean, variance), gradients

    y, mean, variance = normalized(images, *(p for p in (gamma, beta) if p is not None))
    sizes = x.shape[axes[0] :]
    count = tf.reshape(count, [1] * len(axes))
    return _as_before(y, x, axes), tf.reshape(mean, sizes), tf.reshape(variance, sizes), count


def _is_image(x: tf.Tensor, axes: tuple[int, ...]) -> bool:
    return len(x.shape) == 4 and len(axes) == 1


def _as_images(x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """Return `x` with the four axes that the kernel takes, of which the last one holds all channels."""
    return x if _is_image(x, axes) else tf.reshape(x, [-1, 1, 1, x.shape[axes[0] :].num_elements()])


def _as_before(y: tf.Tensor, x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    if _is_image(x, axes):
        return y
    y = tf.reshape(y, tf.shape(x) if None in x.shape else x.shape)
    y.set_shape(x.shape)
    return y
