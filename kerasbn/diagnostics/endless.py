"""Batches of examples without end, out of data that `model.fit` takes and that can be gone through again."""

from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError

USUAL_BATCH_SIZE = 32  # of arrays, where no other is given: that of `model.fit`

_FORMS = (
    "a tuple (x, y) or (x, y, sample_weight) of arrays, or of lists or dicts of arrays, or batches of them: "
    "a tf.data.Dataset, a keras.utils.PyDataset, a list of tuples"
)

Batch: TypeAlias = tuple[Any, Any, Any]  # x, y, sample_weight: tensors in any structure; y and weight may be None


def endless(data: Any, batch_size: int | None, seed: int) -> Generator[Batch, None, None]:
    """Return batches of the data, which begins anew whenever it ends.

    Args:
        data: Arrays, which are shuffled anew each time by a generator of their own and cut into batches of the same
            size (an incomplete batch is left out, its examples come another time); or batches, which come as they
            are, but for empty ones.
        batch_size: Examples in a batch of arrays, at least 1; None: 32. Batches have theirs.
        seed: Of the shuffling of arrays.

    Returns:
        A generator of (x, y, sample_weight).

    Raises:
        InputError: If the data has another form, no examples, or can be gone through only once.

    Example:
        >>> batches = endless((np.arange(5.0), np.arange(5)), batch_size=2, seed=0)
        >>> [len(next(batches)[0]) for _ in range(4)]
        [2, 2, 2, 2]
    """
    if batch_size is not None:
        checks.in_range("batch_size", batch_size, 1, integer=True)
    if isinstance(data, tuple | dict) or hasattr(data, "shape"):
        return _of_arrays(_arrays(data), batch_size or USUAL_BATCH_SIZE, seed)
    if isinstance(data, Iterator):
        remedy = "Reading would use it up. Pass arrays, a list of batches, or tf.data.Dataset.from_generator."
        raise InputError("data", "data that can be gone through again", type(data).__name__, remedy)
    if not isinstance(data, Iterable) or (isinstance(data, list) and data and hasattr(data[0], "shape")):
        received = "a list of arrays" if isinstance(data, list) else type(data).__name__
        raise InputError("data", _FORMS, received)
    if batch_size is not None:
        raise InputError("batch_size", "None for data that comes in batches", batch_size, "Batch the data so instead.")
    return _of_batches(data)


def _arrays(data: Any) -> Any:
    """Return the data with arrays as leaves."""
    if isinstance(data, tuple) and not 1 <= len(data) <= 3:
        raise InputError("data", _FORMS, f"a tuple of {len(data)}")
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    for leaf in leaves:
        if not hasattr(leaf, "shape") or not len(leaf.shape):
            raise InputError("data", _FORMS, f"a {type(data).__name__} with {_brief(leaf)} in it")
    lengths = sorted({len(leaf) for leaf in leaves})
    if len(lengths) > 1:
        raise InputError("data", "arrays with the same number of examples", " and ".join(map(str, lengths)))
    if lengths in ([], [0]):
        raise InputError("data", "at least one example", "none")
    return keras.tree.map_structure(lambda leaf: None if leaf is None else np.asarray(leaf), data)


def _brief(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float) else type(value).__name__


def _of_arrays(data: Any, batch_size: int, seed: int) -> Generator[Batch, None, None]:
    generator = np.random.default_rng(seed)
    examples = next(len(leaf) for leaf in keras.tree.flatten(data) if leaf is not None)
    batch_size = min(batch_size, examples)
    while True:
        order = generator.permutation(examples)
        for start in range(0, examples - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield _unpacked(keras.tree.map_structure(lambda leaf: _rows(leaf, chosen), data))  # noqa: B023


def _rows(leaf: np.ndarray | None, chosen: np.ndarray) -> Any:
    if leaf is None:
        return None
    rows = leaf[chosen]
    # Fractions in Keras's precision, as `fit` has them.
    return tf.convert_to_tensor(rows.astype(keras.config.floatx()) if rows.dtype.kind == "f" else rows)


def _of_batches(data: Iterable[Any]) -> Generator[Batch, None, None]:
    while True:
        some = False
        for given in data:
            batch = _unpacked(keras.tree.map_structure(_tensor, given))
            some |= (full := _examples(batch) > 0)
            if full:
                yield batch
        if not some:
            raise InputError("data", "at least one batch with examples", "none")


def _tensor(leaf: Any) -> Any:
    return None if leaf is None else tf.convert_to_tensor(leaf)


def _unpacked(batch: Any) -> Batch:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    return x, y, sample_weight


def _examples(batch: Batch) -> int:
    """Return the number of examples, or raise `InputError` if these are no batches."""
    shape = next(leaf.shape for leaf in keras.tree.flatten(batch) if leaf is not None)
    if not len(shape):
        raise InputError("data", "batches", "single numbers", "Call .batch(32) on the dataset.")
    return int(shape[0])
