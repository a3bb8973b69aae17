"""The arithmetic of batch normalization: moments, the normalised value, and its derivatives, from scratch."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# From so many values on, care for their sums is worth the operations that it takes: for the first estimate of a mean,
# and under XLA.
SEVERAL, MANY = 10_000, 100_000
# Under XLA such sums are taken in slices, see `_sum`. Of 2, 4, 8 and 16, 8 is best for 64 x 32 x 32 rows, but three
# times as slow as 4 for 256; 4 is never worse than no slices.
XLA_SLICES = 4


def statistics_dtype(dtype: Any) -> tf.DType:
    """Return the dtype that statistics of inputs of `dtype` are kept in.

    float16 ends at 65504, which a sum of squares soon passes, and bfloat16 has 8 bits, which a sum of 256
    ones exhausts; both get float32, and so do whole numbers.
    """
    dtype = tf.as_dtype(dtype)
    return dtype if dtype in (tf.float32, tf.float64) else tf.float32


def kept_axes(axis: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return the channel axes from 0 and in ascending order; `kept_axes((-1, 1), 4)` is (1, 3)."""
    axes = (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(a % rank for a in axes))


def aligned_mask(mask: Any, rank: int, axis: int | Sequence[int]) -> tf.Tensor:
    """Return a boolean mask with one axis for each axis of the inputs.

    Args:
        mask: True (or nonzero) where a value counts. Of the inputs' rank; or without the channel axes, as Keras
            passes it.
        rank: Number of axes of the inputs.
        axis: The channel axis, or axes.

    Returns:
        A boolean tensor that can be broadcast to the inputs.
    """
    mask = tf.cast(mask, tf.bool)
    if len(mask.shape) != rank:
        for a in kept_axes(axis, rank):
            mask = tf.expand_dims(mask, a)
    return mask


def in_xla() -> bool:
    """Return whether what is traced now will be compiled by XLA (`jit_compile=True`)."""
    return tf.__internal__.get_enclosing_xla_context() is not None


def likely_size(shape: Sequence[int | None]) -> int:
    """Return how many values there are in a shape; where a size is not known, it is taken to be 32."""
    return math.prod(32 if size is None else size for size in shape)


def normalize(
    x: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axis: int | Sequence[int] = -1,
) -> tf.Tensor:
    """Normalise by given statistics, as at inference.

        y = (x - mean) / sqrt(variance + epsilon) * gamma + beta

    Args:
        x: Inputs of any rank of at least 2.
        mean: (channels,), in `statistics_dtype(x.dtype)`, as are the next three. With several channel axes, all of
            these have the sizes of those axes, in ascending order.
        variance: (channels,).
        gamma: (channels,), or None for ones.
        beta: (channels,), or None for zeros.
        epsilon: Added to the variance under the root, above 0.
        axis: The channel axis, the one that is kept, or several.

    Returns:
        y, of the shape of `x` and the dtype of `mean`; the caller casts it back if it wants to.

    Example:
        >>> normalize(tf.constant([[3.0]]), tf.constant([1.0]), tf.constant([4.0]), None, None, 0.0).numpy()
        array([[1.]], dtype=float32)
    """
    axes, rank = kept_axes(axis, len(x.shape)), len(x.shape)
    shape = None if axes == tuple(range(rank - len(axes), rank)) else broadcastable(x, axes)

    def aligned(values: tf.Tensor) -> tf.Tensor:
        return values if shape is None else tf.reshape(values, shape)

    inverse = tf.math.rsqrt(variance + epsilon)
    scale = inverse if gamma is None else inverse * gamma
    # Centred before it is scaled: x * scale + (beta - mean * scale) is the same on paper, but takes two large
    # numbers from each other where the mean is large against the deviation.
    y = (tf.cast(x, mean.dtype) - aligned(mean)) * aligned(scale)
    return y if beta is None else y + aligned(beta)


def batch_normalize(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axis: int | Sequence[int] = -1,
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
        gamma: (channels,), in `statistics_dtype(x.dtype)`, or None for ones. With several channel axes, this and
            all that follows have the sizes of those axes, in ascending order.
        beta: (channels,), likewise, or None for zeros.
        epsilon: Added to the variance under the root, above 0.
        axis: The channel axis, the one that is kept, or several.
        mask: True where a value counts, broadcastable to `x`, one axis for each of its axes; None: all count.
        synchronized: Whether sums run over all replicas of a `tf.distribute` strategy.

    Returns:
        y: The shape of `x`, dtype of the statistics.
        mean: (channels,).
        variance: (channels,), biased: the sum of squares divided by m.
        count: The m of each channel, (channels,) with a mask; without one all have the same, and it is of shape
            (1,), or (1, 1) with two channel axes. A channel of which nothing counts is taken to have mean 0 and
            variance 1, and its count of 0 tells the caller not to average these in.

    Example:
        >>> y, mean, variance, count = batch_normalize(tf.constant([[1.0], [3.0]]), None, None, 1e-3)
        >>> float(mean[0]), float(variance[0]), float(count[0])
        (2.0, 1.0, 2.0)

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 1 and section 3.
    """
    rank = len(x.shape)
    axes = kept_axes(axis, rank)
    reduced = [a for a in range(rank) if a not in axes]
    shape = broadcastable(x, axes)
    dtype = statistics_dtype(x.dtype)
    weights = None if mask is None else tf.cast(mask, dtype)

    def channels(values: tf.Tensor) -> tf.Tensor:
        return tf.squeeze(values, reduced)

    def total(values: tf.Tensor) -> tf.Tensor:
        return _sum(values, reduced)

    def across(total: tf.Tensor) -> tf.Tensor:
        return over_replicas(total) if synchronized else total

    def counting(values: tf.Tensor) -> tf.Tensor:
        # A choice, not a product: what is masked may be infinite or NaN, and 0 * NaN is NaN.
        return values if weights is None else tf.where(weights > 0, values, tf.zeros([], dtype))

    @tf.custom_gradient
    def normalized(x: tf.Tensor, *parameters: tf.Tensor) -> Any:
        remaining = iter(parameters)
        scale = None if gamma is None else tf.reshape(next(remaining), shape)
        offset = None if beta is None else tf.reshape(next(remaining), shape)
        values = tf.cast(x, dtype)
        if weights is None:
            size = tf.math.reduce_prod([tf.shape(x, out_type=tf.int64)[a] for a in reduced])
            local_count = tf.reshape(tf.cast(size, dtype), [1] * rank)
        else:
            local_count = total(tf.broadcast_to(weights, tf.shape(x)))
        count = across(local_count)
        m = tf.maximum(count, 1)
        # First an estimate of the mean, then the mean of the distances from it: an offset of a million leaves float32
        # one digit behind the point, and the distances have all of theirs. The estimate is the plain mean; but of many
        # values, which TensorFlow adds one by one, that can be far off, and a value out of their midst is better.
        if weights is None and (in_xla() or likely_size(x.shape) >= SEVERAL):
            near = _middle_of_three(values, reduced)
        else:
            near = total(counting(values)) / tf.maximum(local_count, 1)
        distance = values - near
        local_sum = total(counting(distance))
        if synchronized:
            # Replicas have estimates of their own, which are brought together in the same two steps.
            common = across(near * local_count) / m
            correction = across((near - common) * local_count + local_sum) / m
            mean, apart = common + correction, (common - near) + correction
        else:
            apart = local_sum / m
            mean = near + apart
        # Two passes: E[x^2] - mu^2 takes two large numbers from each other and can even come out negative.
        centred = distance - apart
        variance = tf.where(count > 0, across(total(counting(tf.square(centred)))) / m, 1)
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
            d_mean, d_variance = tf.reshape(d_mean, shape), tf.reshape(d_variance, shape)
            through_mean = across(d_mean - slope * sum_dy) / m
            # Multiplied in this order, since inverse^3 overflows where a variance of 1e-30 itself does no harm.
            d_gamma = sum_dy_centred * inverse
            through_variance = across(2 * d_variance - slope * inverse * d_gamma) / m
            through_statistics = counting(centred * through_variance + through_mean)
            derivatives = [tf.cast(dy * slope + through_statistics, x.dtype)]
            if gamma is not None:
                derivatives.append(channels(d_gamma))
            if beta is not None:
                derivatives.append(channels(sum_dy))
            return derivatives

        return (y, channels(mean), channels(variance), channels(count)), gradients

    y, mean, variance, count = normalized(x, *(p for p in (gamma, beta) if p is not None))
    y.set_shape(x.shape)
    return y, mean, variance, tf.stop_gradient(count)


def merged(
    mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor, total: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Merge the statistics of parts of a batch into those of the whole.

        count    = sum_i count_i
        mean     = sum_i count_i mean_i / count
        variance = sum_i count_i (variance_i + (mean_i - mean)^2) / count

    Centred second moments are merged, not E[x^2] - E[x]^2, which loses the variance of a channel with a large mean.

    Args:
        mean: Of each part.
        variance: Of each part, biased.
        count: How many values each part has; with a shape that can be broadcast to theirs.
        total: Sums over the parts: over an axis, or over replicas.

    Returns:
        mean, variance and count of the whole; 0, 1 and 0 where there are no values at all.

    Source: Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances.
    """
    whole = total(count)
    divisor = tf.maximum(whole, 1)
    mean_of_all = total(count * mean) / divisor
    mean_of_all += total(count * (mean - mean_of_all)) / divisor  # what rounding took from a mean far from zero
    squares = total(count * (variance + tf.square(mean - mean_of_all)))
    return mean_of_all, tf.where(whole > 0, squares / divisor, 1), whole


def over_replicas(total: tf.Tensor) -> tf.Tensor:
    """Return the sum of what each replica of the `tf.distribute` strategy has for `total`."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, total)


def broadcastable(x: tf.Tensor, axes: tuple[int, ...]) -> list[Any]:
    """Return the shape that statistics of channel axes `axes` take to be broadcast to `x`."""
    sizes = tf.shape(x) if any(x.shape[a] is None for a in axes) else x.shape
    return [sizes[a] if a in axes else 1 for a in range(len(x.shape))]


def _middle_of_three(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """Return the median of three values of each channel, so that a single one far from the rest is not taken.

    Not of the first or the last ones: of images these are corners, which may be padding.
    """
    rank = len(values.shape)
    size = tf.shape(values) if None in values.shape else values.shape

    def value_at(position: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        slices = tuple(
            slice(position(size[a]), position(size[a]) + 1) if a in axes else slice(None) for a in range(rank)
        )
        return tf.reduce_sum(values[slices], axes, keepdims=True)  # of a single value; 0 if there is none

    a, b, c = value_at(lambda n: n // 4), value_at(lambda n: n // 2), value_at(lambda n: 3 * n // 4)
    return tf.maximum(tf.minimum(a, b), tf.minimum(tf.maximum(a, b), c))


def _sum(values: tf.Tensor, axes: list[int]) -> tf.Tensor:
    """Sum over `axes`, which are kept with size 1."""
    rank = len(values.shape)
    channels_last = axes == list(range(axes[0], rank - 1)) and axes[0] <= 1  # axis 0 may be one of ghost batches
    if not (in_xla() and channels_last and likely_size(values.shape) >= MANY):
        return tf.reduce_sum(values, axes, keepdims=True)
    # XLA sums an array over its rows at full speed, but an expression of arrays (a square, a product) value by value
    # and channel by channel: six times as long, measured. So the rows are laid over each other in slices first, an
    # elementwise expression that XLA does at full speed, and what is left is an array.
    shape = tf.shape(values)
    outer = shape[: axes[0]]
    rows = tf.reduce_prod(shape[axes[0] : -1])
    part = rows // XLA_SLICES
    flat = tf.reshape(values, tf.concat([outer, [rows], shape[-1:]], 0))
    before = (slice(None),) * axes[0]

    def between(first: tf.Tensor, last: tf.Tensor | None) -> tf.Tensor:
        return flat[before + (slice(first, last),)]  # noqa: RUF005 (a star in an index needs Python 3.11)

    slices = tf.add_n([between(k * part, (k + 1) * part) for k in range(XLA_SLICES)])
    total = tf.reduce_sum(slices, axes[0]) + tf.reduce_sum(between(XLA_SLICES * part, None), axes[0])
    return tf.reshape(total, tf.concat([outer, [1] * len(axes), shape[-1:]], 0))
