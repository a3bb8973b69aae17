"""The order in which Keras's `fit` takes examples, known beforehand."""

import functools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf


class _Recorder(keras.Model):
    """A model that trains nothing and writes down the examples that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def _write(self, x: tf.Tensor) -> None:
        self.seen += x.numpy().ravel().astype(int).tolist()

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        tf.py_function(self._write, [data[0]], [])
        return {"loss": tf.constant(0.0)}


def keras_orders(examples: int, seeds: Sequence[int]) -> np.ndarray:
    """Return the orders in which `fit(shuffle=True)` takes examples, the same in each epoch of a fit.

    Keras shuffles arrays by `tf.random.shuffle` within a dataset. With `keras.utils.set_random_seed(seed)` before,
    TensorFlow gives that operation the seeds (seed, 0), and makes it anew in each epoch.

    Args:
        examples: Number of examples n.
        seeds: Of K fits, what `keras.utils.set_random_seed` was called with.

    Returns:
        (K, n) int32, a permutation of 0 ... n - 1 for each.

    Example:
        >>> keras_orders(5, [1]).tolist()
        [[2, 1, 4, 0, 3]]
    """
    # TensorFlow keeps an operation that was run, and it would go on with its numbers: this lets go of all of them.
    tf.random.set_seed(0)
    positions = tf.range(examples)
    orders = {seed: tf.raw_ops.RandomShuffle(value=positions, **_seeds(seed)).numpy() for seed in dict.fromkeys(seeds)}
    return np.stack([orders[seed] for seed in seeds])


def _seeds(seed: int) -> dict[str, int]:
    """Return the seeds that TensorFlow makes of a seed: never twice 0, with which an operation draws its own."""
    first = seed % (2**31 - 1)
    return {"seed": first, "seed2": 0 if first else 2**31 - 1}


@functools.cache
def is_keras_order() -> bool:
    """Return whether `keras_orders` is what the installed Keras and TensorFlow do, by a fit of two epochs."""
    seed, examples = 20, 50
    recorder = _Recorder()
    recorder.compile(jit_compile=False)
    keras.utils.set_random_seed(seed)
    recorder.fit(np.arange(examples, dtype="float32")[:, None], np.zeros(examples), batch_size=8, epochs=2, verbose=0)
    return recorder.seen == 2 * keras_orders(examples, [seed])[0].tolist()
