"""Batch renormalization: the batch's statistics corrected towards averages of them."""

import tensorflow as tf


def renormalize(
    y: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    renorm_mean: tf.Tensor,
    renorm_stddev: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    clipping: dict[str, float],
    shape: list[int],
) -> tf.Tensor:
    """Correct what is normalised by the batch, then apply gamma and beta.

        r = sqrt(variance + epsilon) / renorm_stddev, clipped to [rmin, rmax]
        d = (mean - renorm_mean) / renorm_stddev, clipped to [-dmax, dmax]
        y <- gamma (r y + d) + beta

    r and d are not differentiated. Unclipped, y is normalised by the averages, as it will be at inference.

    Args:
        y: What is normalised by the batch, without gamma and beta.
        mean: (channels,), of the batch.
        variance: (channels,), of the batch, biased.
        renorm_mean: (channels,), the average to correct towards.
        renorm_stddev: (channels,), likewise; taken to be at least sqrt(epsilon), since it can be near 0 early on.
        gamma: (channels,), or None for ones.
        beta: (channels,), or None for zeros.
        epsilon: Added to the variance under the root, above 0.
        clipping: Any of "rmin" (else 0), "rmax" and "dmax" (else none); None is none too.
        shape: That with which statistics are broadcast to y.

    Returns:
        y, in the dtype of the statistics.

    Source: Ioffe (2017), arXiv:1702.03275, algorithm 1.
    """
    deviation = tf.maximum(renorm_stddev, epsilon**0.5)
    r = tf.stop_gradient(tf.sqrt(variance + epsilon) / deviation)
    d = tf.stop_gradient((mean - renorm_mean) / deviation)
    low, high, most = (clipping.get(key) for key in ("rmin", "rmax", "dmax"))
    r = r if low is None else tf.maximum(r, low)
    r = r if high is None else tf.minimum(r, high)
    d = d if most is None else tf.clip_by_value(d, -most, most)
    scale, offset = (r, d) if gamma is None else (r * gamma, d * gamma)
    offset = offset if beta is None else offset + beta
    return tf.cast(y, scale.dtype) * tf.reshape(scale, shape) + tf.reshape(offset, shape)
