"""Ghost batches: normalise each group of a few examples by statistics of its own."""

import tensorflow as tf

from kerasbn.layers import normalization


def ghost_batch_normalize(
    x: tf.Tensor,
    gamma: tf.Tensor | None,
    beta: tf.Tensor | None,
    epsilon: float,
    axes: tuple[int, ...],
    virtual_batch_size: int,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalise each `virtual_batch_size` examples in a row as a batch of their own; the last group may be smaller.

    Args:
        x: As for `normalization.batch_normalize`, as are `gamma`, `beta`, `epsilon` and `mask`.
        gamma: See there.
        beta: See there.
        epsilon: See there.
        axes: The channel axes, from 0 and ascending; not the first axis, which holds the examples.
        virtual_batch_size: Examples in a group, at least 1.
        mask: See there.

    Returns:
        y, and the mean, biased variance and count of the whole batch: they do not depend on how it is grouped.

    Source: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741.
    """
    channels = [x.shape[a] for a in axes]
    least, most = (tf.minimum, tf.maximum) if x.shape[0] is None else (min, max)
    examples = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    size = least(virtual_batch_size, examples)
    groups = most(examples // most(size, 1), 1)  # never none: TensorFlow divides by their number
    if mask is not None:
        mask = tf.broadcast_to(mask, tf.shape(x))

    def normalized(part: slice, groups: tf.Tensor | int, size: tf.Tensor | int) -> list[tf.Tensor]:
        # Groups are one more channel axis to the arithmetic; gamma and beta are the same for all of them.
        def grouped(values: tf.Tensor) -> tf.Tensor:
            shape = tf.shape(values) if None in values.shape[1:] else values.shape
            return tf.reshape(values[part], [groups, size, *(shape[a] for a in range(1, len(values.shape)))])

        y, mean, variance, count = normalization.batch_normalize(
            grouped(x),
            None if gamma is None else tf.broadcast_to(gamma, [groups, *channels]),
            None if beta is None else tf.broadcast_to(beta, [groups, *channels]),
            epsilon,
            (0, *(a + 1 for a in axes)),
            None if mask is None else grouped(mask),
        )
        shape = tf.shape(x) if None in x.shape[1:] else x.shape
        y = tf.reshape(y, [groups * size, *(shape[a] for a in range(1, len(x.shape)))])
        return [y, mean, variance, count * tf.ones([groups] + [1] * len(axes), count.dtype)]

    def whole_groups() -> list[tf.Tensor]:
        return normalized(slice(None), groups, size)

    def with_rest() -> list[tf.Tensor]:
        full = groups * size
        parts = normalized(slice(full), groups, size), normalized(slice(full, None), 1, examples - full)
        return [tf.concat(pair, 0) for pair in zip(*parts, strict=True)]

    if not tf.is_tensor(examples):
        results = with_rest() if examples > groups * size else whole_groups()
    elif normalization.in_xla():
        results = with_rest()  # XLA knows the size when it compiles, and leaves out an empty rest
    else:
        results = tf.cond(examples > groups * size, with_rest, whole_groups)
    y, mean, variance, count = results
    y.set_shape(x.shape)
    return y, *normalization.merged(mean, variance, count, lambda values: tf.reduce_sum(values, 0))
