"""The inputs of a model in batches, out of any data that `model.fit` takes; as often as one likes."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError

EXAMPLES_AT_ONCE = 128  # of arrays, where no batch size is given

_FORMS = (
    "an array, a list or dict of arrays for several inputs, a tuple (x, y) of these, or batches of them: "
    "a tf.data.Dataset, a keras.utils.PyDataset, a generator, a list of tuples"
)


class Batches:
    """Data as batches of what the model is called on, without labels and weights; it can be gone through again.

    Args:
        data: What `keras.Model.fit` takes: an array, a list or dict of arrays for several inputs; a tuple (x, y) or
            (x, y, sample_weight) of these; or batches of them: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            generator, a list of tuples or anything else that can be iterated. What can be iterated only once, such
            as a generator, is kept in memory.
        batch_size: Examples in a batch, at least 1; the last has what is left. Batches that come in other sizes are
            put together and cut anew (as long as their shapes are the same but for the number of examples).
            None: batches as they come, and arrays in batches of 128.
        steps: How many of the given batches to take, at least 1; None: all. Needed for a generator and for anything
            else without an end.

    Raises:
        InputError: If the data has another form, no examples, or no end.

    Example:
        >>> [batch.shape for batch in Batches(np.zeros((5, 3)), batch_size=2)]
        [(2, 3), (2, 3), (1, 3)]
        >>> [len(batch) for batch in Batches([(np.zeros((1, 3)), None), (np.zeros((4, 3)), None)], batch_size=2)]
        [2, 2, 1]
    """

    def __init__(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        if batch_size is not None:
            checks.in_range("batch_size", batch_size, 1, integer=True)
        if steps is not None:
            checks.in_range("steps", steps, 1, integer=True)
        self._size, self._steps = batch_size, steps
        self._arrays = _are_arrays(data)
        if self._arrays:
            data = keras.utils.unpack_x_y_sample_weight(data)[0] if isinstance(data, tuple) else data
            _check_lengths(data)
        elif not isinstance(data, Iterable):
            raise InputError("data", _FORMS, f"{type(data).__name__}")
        elif steps is None and _is_endless(data):
            raise InputError(
                "steps", "a number of batches for data that may have no end", None, "Say how many batches to take."
            )
        elif isinstance(data, Iterator):
            data, self._steps = tuple(itertools.islice(data, steps)), None
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        if self._arrays:
            batches = _slices(self._data, self._size or EXAMPLES_AT_ONCE)
        else:
            batches = (x for x in map(_inputs, self._data) if _rows(x))
        batches = itertools.islice(batches, self._steps)
        return batches if self._size is None else _recut(batches, self._size)


def _are_arrays(data: Any) -> bool:
    if isinstance(data, list) and data and isinstance(data[0], tuple | dict):
        return False  # a list of batches
    # A tuple may hold None for labels or weights that are not there.
    leaves = [leaf for leaf in keras.tree.flatten(data) if leaf is not None]
    return bool(leaves) and all(hasattr(leaf, "shape") and len(leaf.shape) for leaf in leaves)


def _inputs(batch: Any) -> Any:
    if isinstance(batch, list) and not any(hasattr(leaf, "shape") for leaf in batch):
        raise InputError("data", _FORMS, "nested lists", "np.asarray makes an array of them.")
    x = keras.utils.unpack_x_y_sample_weight(batch)[0]
    if not _are_arrays(x):
        raise InputError("data", "batches of arrays", f"a batch whose inputs are {type(x).__name__}")
    return x


def _array(value: Any) -> Any:
    return value if tf.is_tensor(value) else np.asarray(value)  # a slice of a DataFrame is one


def _check_lengths(x: Any) -> None:
    lengths = sorted({len(leaf) for leaf in keras.tree.flatten(x)})
    if len(lengths) > 1:
        raise InputError("data", "inputs with the same number of examples", " and ".join(map(str, lengths)))
    if lengths == [0]:
        raise InputError("data", "at least one example", "none")


def _is_endless(data: Any) -> bool:
    if isinstance(data, tf.data.Dataset):
        return bool(data.cardinality() == tf.data.INFINITE_CARDINALITY)
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return isinstance(data, Iterator)


def _rows(x: Any) -> int:
    return len(keras.tree.flatten(x)[0])


def _slices(x: Any, size: int) -> Iterator[Any]:
    for start in range(0, _rows(x), size):
        yield keras.tree.map_structure(lambda leaf: _array(leaf[start : start + size]), x)  # noqa: B023


def _recut(batches: Iterator[Any], size: int) -> Iterator[Any]:
    held = None
    for batch in batches:
        x = keras.tree.map_structure(np.asarray, batch)
        if held is not None and _forms(held) != _forms(x):
            yield held
            held = None
        if held is not None:
            x = keras.tree.map_structure(lambda a, b: np.concatenate([a, b]), held, x)
        whole = _rows(x) - _rows(x) % size
        yield from _slices(keras.tree.map_structure(lambda leaf: leaf[:whole], x), size)  # noqa: B023
        held = keras.tree.map_structure(lambda leaf: leaf[whole:], x) if _rows(x) > whole else None  # noqa: B023
    if held is not None:
        yield held


def _forms(x: Any) -> list[tuple[int, ...]]:
    return [leaf.shape[1:] for leaf in keras.tree.flatten(x)]
