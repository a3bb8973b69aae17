"""The arithmetic of batch normalization: moments, the normalised value, and its derivatives, from scratch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def statistics_dtype(dtype: Any) -> tf.DType:
    """Return the dtype that statistics of inputs of `dtype` are kept in.

    float16 ends at 65504, which a sum of squares soon passes, and bfloat16 has 8 bits, which a sum of 256
    ones exhausts; both get float32, and so do whole numbers.
    """
    dtype = tf.as_dtype(dtype)
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def aligned_mask(mask: Any, rank: int, axis: int) -> tf.Tensor:
    """Return a boolean mask with one axis for each axis of the inputs.

    Args:
        mask: True (or nonzero) where a value counts. Of the inputs' rank; or of one less, without the
            channel axis, as Keras passes it.
        rank: Number of axes of the inputs.
        axis: The channel axis, from 0.

    Returns:
        A boolean tensor that can be broadcast to the inputs.
    """
    mask = tf.cast(mask, tf.bool)
    return tf.expand_dims(mask, axis) if len(mask.shape) == rank - 1 else mask


def _across_replicas(total: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, total)


def _local(total: tf.Tensor) -> tf.Tensor:
    return total


def normalize(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axis: int = -1,
) -> tf.Tensor:
    """Normalise by given statistics, as at inference.

        y = (x - mean) / sqrt(variance + epsilon) * gamma + beta

    Args:
        x: Inputs of any rank of at least 2.
        mean: (channels,), in `statistics_dtype(x.dtype)`, as are the next three.
        variance: (channels,).
        gamma: (channels,), or None for ones.
        beta: (channels,), or None for zeros.
        epsilon: Added to the variance under the root, above 0.
        axis: The channel axis, the one that is kept.

    Returns:
        y, of the shape and dtype of `mean` broadcast to `x`; the caller casts it back if it wants to.

    Example:
        >>> normalize(tf.constant([[3.0]]), tf.constant([1.0]), tf.constant([4.0]), None, None, 0.0).numpy()
        array([[1.]], dtype=float32)
    """
    shape = [1] * len(x.shape)
    shape[axis] = -1
    inverse = tf.math.rsqrt(variance + epsilon)
    scale = inverse if gamma is None else inverse * gamma
    # Centred before it is scaled: x * scale + (beta - mean * scale) is the same on paper, but takes two large
    # numbers from each other where the mean is large against the deviation.
    y = (tf.cast(x, mean.dtype) - tf.reshape(mean, shape)) * tf.reshape(scale, shape)
    return y if beta is None else y + tf.reshape(beta, shape)


def batch_normalize(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axis: int = -1,
    mask: tf.Tensor | None = None,
    synchronized: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalise by the statistics of the batch itself, with hand-derived derivatives.

    For each channel, with the sums over its m values (those that the mask counts; w_i is 1 for them, else 0):

        mu    = 1/m sum_i w_i x_i
        var   = 1/m sum_i w_i (x_i - mu)^2
        x^_i  = (x_i - mu) / sqrt(var + epsilon)
        y_i   = gamma x^_i + beta

    and backwards, with the sums over all values, since masked ones are normalised too:

        dL/dbeta  = sum_i dL/dy_i
        dL/dgamma = sum_i dL/dy_i x^_i
        dL/dx_i   = gamma / sqrt(var + epsilon) (dL/dy_i - w_i/m (dL/dbeta + x^_i dL/dgamma))

    Args:
        x: Inputs of any rank of at least 2, any floating dtype; statistics of float16 and bfloat16 are taken
            in float32.
        gamma: (channels,), in `statistics_dtype(x.dtype)`, or None for ones.
        beta: (channels,), likewise, or None for zeros.
        epsilon: Added to the variance under the root, above 0.
        axis: The channel axis, the one that is kept.
        mask: True where a value counts, broadcastable to `x`, one axis for each of its axes; None: all count.
        synchronized: Whether sums run over all replicas of a `tf.distribute` strategy.

    Returns:
        y: The shape of `x`, dtype of the statistics.
        mean: (channels,).
        variance: (channels,), biased: the sum of squares divided by m.
        count: The m of each channel: (channels,) with a mask, and (1,) without, where all have the same. A
            channel of which nothing counts is taken to have mean 0 and variance 1, and its count of 0 tells
            the caller not to average these in.

    Example:
        >>> y, mean, variance, count = batch_normalize(tf.constant([[1.0], [3.0]]), None, None, 1e-3)
        >>> float(mean[0]), float(variance[0]), float(count[0])
        (2.0, 1.0, 2.0)

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 1 and section 3.
    """
    rank, axis = len(x.shape), axis % len(x.shape)
    reduction_axes = [a for a in range(rank) if a != axis]
    broadcast = [1] * rank
    broadcast[axis] = -1
    across: Callable[[tf.Tensor], tf.Tensor] = _across_replicas if synchronized else _local
    dtype = statistics_dtype(x.dtype)
    weights = None if mask is None else tf.cast(mask, dtype)

    def total(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(values, reduction_axes, keepdims=True)

    def channels(values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, [-1])

    @tf.custom_gradient
    def normalized(x: tf.Tensor, *parameters: tf.Tensor) -> Any:
        remaining = iter(parameters)
        scale = None if gamma is None else tf.reshape(next(remaining), broadcast)
        offset = None if beta is None else tf.reshape(next(remaining), broadcast)
        values = tf.cast(x, dtype)
        if weights is None:
            counted = tf.cast(tf.size(x, out_type=tf.int64), dtype) / tf.cast(tf.shape(x)[axis], dtype)
            count = across(tf.reshape(counted, [1] * rank))
            mean = across(total(values)) / tf.maximum(count, 1)
        else:
            count = across(total(tf.broadcast_to(weights, tf.shape(x))))
            # A choice, not a product: what is masked may be infinite or NaN, and 0 * NaN is NaN.
            mean = across(total(tf.where(weights > 0, values, 0))) / tf.maximum(count, 1)
        m = tf.maximum(count, 1)
        # Two passes: E[x^2] - mu^2 takes two large numbers from each other and can even come out negative.
        centred = values - mean
        squares = tf.square(centred) if weights is None else tf.where(weights > 0, tf.square(centred), 0)
        variance = tf.where(count > 0, across(total(squares)) / m, 1)
        inverse = tf.math.rsqrt(variance + epsilon)
        slope = inverse if scale is None else inverse * scale
        y = centred * slope
        y = y if offset is None else y + offset

        def gradients(dy: tf.Tensor, d_mean: tf.Tensor, d_variance: tf.Tensor, _: tf.Tensor) -> Any:
            # y_i depends on x_j directly, through mu and through var:
            #   dy_i/dx_j = slope ([i = j] - dmu/dx_j) - 1/2 slope inverse^2 (x_i - mu) dvar/dx_j
            #   dmu/dx_j  = w_j/m
            #   dvar/dx_j = 2 w_j/m (x_j - mu); its share through mu, -2/m sum_i w_i (x_i - mu), is zero.
            # Times dL/dy_i and summed over i, two sums remain, and with them
            #   dL/dx_j = slope dL/dy_j - w_j/m slope (sum_dy + inverse^2 (x_j - mu) sum_dy_centred).
            # (No NaN from where dy is 0: that is how a loss leaves out what is masked, which may be NaN.)
            product = dy * centred if weights is None else tf.math.multiply_no_nan(centred, dy)
            sum_dy, sum_dy_centred = total(dy), total(product)
            # mu and var are results too, and what depends on them directly comes back as d_mean, d_variance.
            # Every replica's y depends on every x through the common mu and var, so these sums run over all
            # replicas; those of gamma and beta do not, since the optimizer adds up the replicas' gradients.
            d_mean, d_variance = tf.reshape(d_mean, broadcast), tf.reshape(d_variance, broadcast)
            through_mean = across(d_mean - slope * sum_dy) / m
            through_variance = across(2 * d_variance - slope * tf.square(inverse) * sum_dy_centred) / m
            through_statistics = centred * through_variance + through_mean
            if weights is not None:
                through_statistics = tf.where(weights > 0, through_statistics, 0)
            derivatives = [tf.cast(dy * slope + through_statistics, x.dtype)]
            if gamma is not None:
                derivatives.append(channels(sum_dy_centred * inverse))
            if beta is not None:
                derivatives.append(channels(sum_dy))
            return derivatives

        return (y, channels(mean), channels(variance), channels(count)), gradients

    y, mean, variance, count = normalized(x, *(p for p in (gamma, beta) if p is not None))
    y.set_shape(x.shape)
    return y, mean, variance, tf.stop_gradient(count)
