"""Augmentation: images of the training examples, mirrored and shifted at random."""

import tensorflow as tf


def draws(examples: int, seed: int, epoch: tf.Tensor, flip: bool, shift: int) -> tf.Tensor:
    """Return how each of an epoch's examples is changed: a function of the seed, the epoch and its position in it.

    Args:
        examples: Examples in the epoch.
        seed: Of the run.
        epoch: Its number, int64.
        flip: Whether half of them, on average, are mirrored left to right.
        shift: The greatest shift in pixels, at least 0, down or up and right or left.

    Returns:
        (examples, 3) int32: rows down, columns to the right, and 1 for a mirrored example.
    """
    # The order of the epoch is drawn with (seed, epoch), so these need keys of their own.
    key = tf.random.experimental.stateless_fold_in(tf.stack([tf.constant(seed, tf.int64), epoch]), 1)
    shifts = tf.random.stateless_uniform((examples, 2), key, -shift, shift + 1, tf.int32)
    key = tf.random.experimental.stateless_fold_in(key, 2)
    mirrored = tf.random.stateless_uniform((examples, 1), key, 0, 2 if flip else 1, tf.int32)
    return tf.concat([shifts, mirrored], axis=1)


def augmented(images: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Return images mirrored, then shifted; pixels that come in repeat the edge.

    Args:
        images: (n, height, width, channels).
        drawn: (n, 3), of `draws`.

    Returns:
        The same shape.
    """
    shape = tf.shape(images)
    n, height, width = shape[0], shape[1], shape[2]
    down, right, mirrored = drawn[:, 0:1], drawn[:, 1:2], drawn[:, 2:3]
    rows = tf.clip_by_value(tf.range(height) - down, 0, height - 1)
    columns = tf.clip_by_value(tf.range(width) - right, 0, width - 1)
    columns = tf.where(mirrored > 0, width - 1 - columns, columns)
    # One gather of pixels: by rows and then by columns it would be two copies.
    pixels = (tf.range(n)[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    return tf.gather(tf.reshape(images, (-1, images.shape[-1])), pixels)
