"""The input pipeline: batches of one fixed shape whose order is a function of the seed and the epoch alone."""

import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.data.augmentation import augmented, draws
from kerasbn.data.dataset import Features

_BLOCK_BYTES = 32 * 2**20  # gathered at a time


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    return options


def training_batches(
    data: Features,
    batch_size: int,
    steps: int,
    seed: int,
    first_epoch: int = 0,
    first_step: int = 0,
    *,
    flip: bool = False,
    shift: int = 0,
) -> tf.data.Dataset:
    """Return endless batches, `steps` of them an epoch, each epoch shuffled anew.

    The order in epoch e depends on the seed and e only, and what is done to an image on these and on its place in the
    epoch, so that a run resumed there sees what it would have seen.

    Args:
        data: Features and labels, kept in memory.
        batch_size: Examples in a batch, at least 1.
        steps: Batches in an epoch; `steps * batch_size` is at most the number of examples.
        seed: Of the shuffling.
        first_epoch: Epoch to begin with, from 0.
        first_step: Batch of that epoch to begin with, in [0, `steps`).
        flip: Whether half of the images, on average, are mirrored left to right.
        shift: Pixels by which images are shifted at most, at least 0, down or up and right or left.

    Returns:
        Batches (x, y) of a fixed shape.

    Raises:
        InputError: If examples that are no images are to be mirrored or shifted.

    Example:
        >>> data = Features(np.zeros((10, 4), np.float32), np.zeros(10, np.int32))
        >>> x, y = next(iter(training_batches(data, batch_size=5, steps=2, seed=0)))
        >>> x.shape, y.shape
        (TensorShape([5, 4]), TensorShape([5]))
    """
    changed = flip or shift > 0
    if changed and data.inputs.ndim != 4:
        remedy = "Leave training.flip and training.shift out."
        raise InputError("training.flip, training.shift", "images", f"examples {data.inputs.shape[1:]}", remedy)
    parts = (tf.constant(data.inputs), tf.constant(data.labels))
    # One gather for a block of batches: dispatching it for each small batch would cost more than the training step.
    bytes_per_batch = max(1, batch_size * data.inputs[:1].nbytes)
    block = max(1, min(steps, _BLOCK_BYTES // bytes_per_batch))

    def batches_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(data)), [tf.constant(seed, tf.int64), epoch])
        index = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        places: tuple[tf.Tensor, ...] = (index,)
        if changed:
            drawn = draws(steps * batch_size, seed, epoch, flip, shift)
            places = (index, tf.reshape(drawn, (steps, batch_size, 3)))
        first = tf.where(tf.equal(epoch, first_epoch), first_step, 0)
        rest = tuple(place[first:] for place in places)
        return tf.data.Dataset.from_tensor_slices(rest).batch(block).flat_map(gathered)

    def gathered(index: tf.Tensor, drawn: tf.Tensor | None = None) -> tf.data.Dataset:
        x, y = (tf.gather(part, index) for part in parts)
        if drawn is not None:
            flat = augmented(tf.reshape(x, (-1, *data.inputs.shape[1:])), tf.reshape(drawn, (-1, 3)))
            x = tf.reshape(flat, (-1, batch_size, *data.inputs.shape[1:]))
        return tf.data.Dataset.from_tensor_slices((x, y))

    epochs = tf.data.Dataset.counter(start=first_epoch)
    return epochs.flat_map(batches_of).with_options(_options()).prefetch(2)


def evaluation_batches(data: Features, batch_size: int) -> tf.data.Dataset:
    """Return all examples once, in order, in batches of a size and a smaller last one.

    Args:
        data: Features and labels, kept in memory.
        batch_size: Examples in a batch, at least 1.

    Returns:
        Batches (x, y).

    Example:
        >>> data = Features(np.zeros((10, 4), np.float32), np.zeros(10, np.int32))
        >>> [len(y) for x, y in evaluation_batches(data, batch_size=4)]
        [4, 4, 2]
    """
    parts = (data.inputs, data.labels)
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size).with_options(_options()).prefetch(2)
