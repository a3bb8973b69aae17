"""Examples in NumPy files: .npz with inputs and labels, and .npy or .npz with inputs alone."""

from pathlib import Path
from typing import Any

import numpy as np

from kerasbn import files
from kerasbn.checks import InputError
from kerasbn.data import labels
from kerasbn.data.dataset import Dataset, Source


def as_inputs(array: np.ndarray, subject: str) -> np.ndarray:
    """Return inputs as uint8 or float32, or raise an `InputError` if they are not finite numbers.

    Args:
        array: (n, ...) numbers of any type.
        subject: Where they stand, for the messages.

    Returns:
        (n, ...) uint8 if they were, or were booleans; else float32.

    Raises:
        InputError: If they are no numbers, have no axis of features, are none, or are not all finite.
    """
    if array.dtype.kind not in "buif":
        remedy = "Turn it into real numbers first, such as with array.astype('float32')."
        raise InputError(subject, "an array of numbers", f"type {array.dtype}", remedy)
    if array.ndim < 2 or array.size == 0:
        remedy = "The first axis counts the examples; there must be at least one more."
        raise InputError(subject, "an array (examples, features...)", f"shape {array.shape}", remedy)
    if array.dtype.kind == "b" or array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
        array = array.astype(np.float32, copy=False)
    broken = array.size - np.count_nonzero(np.isfinite(array))
    if broken:
        remedy = "Fill or leave out those examples; missing values are understood in .csv files only."
        raise InputError(subject, "finite float32 numbers", f"{broken} that are not", remedy)
    return array


def schema_of(array: np.ndarray) -> dict[str, Any]:
    """Return the schema of array inputs: examples of rank 2 (gray) or 3 (with channels) are images."""
    return {"kind": "image" if array.ndim in (3, 4) else "array", "shape": list(array.shape[1:])}


def _class_numbers(array: np.ndarray, count: int, subject: str) -> np.ndarray:
    """Return labels as (count,) whole numbers, booleans or texts, or raise an `InputError`."""
    array = array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array
    numbers = array.dtype.kind in "buif"
    if array.ndim == 2 and numbers and np.isin(array, (0, 1)).all() and np.all(array.sum(axis=1) == 1):
        array = array.argmax(axis=1)  # one-hot
    if array.ndim != 1 or len(array) != count:
        remedy = "Give labels of shape (examples,), (examples, 1), or one-hot (examples, classes)."
        raise InputError(subject, f"one label for each of the {count} examples", f"shape {array.shape}", remedy)
    expected = "classes: whole numbers or texts"
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or np.any(array != np.round(array)):
            remedy = "Leave out examples without a label; put quantities into classes first."
            raise InputError(subject, expected, "fractions, or missing values", remedy)
        return array.astype(np.int64)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind not in "buiU":
        raise InputError(subject, expected, f"type {array.dtype}", "Number the classes from 0, or name them.")
    return array


def _read(path: Path, subject: str) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"inputs": content}
            arrays = {name: content[name] for name in content.files}
            if all(isinstance(array, np.ndarray) for array in arrays.values()):
                return arrays
            raise ValueError("a zip file with other things than arrays")
    except files.NOT_NUMPY as error:
        remedy = "Write it with numpy.savez; it may be damaged, empty, or hold Python objects."
        raise InputError(subject, f"{str(path)!r} to be a NumPy file", error, remedy) from error


def read_inputs(path: str | Path) -> np.ndarray:
    """Return the inputs in an .npy file, or in an .npz file under `inputs`, `x`, or the only name there is.

    Args:
        path: The file.

    Returns:
        (n, ...) uint8 or float32.

    Raises:
        InputError: If the file cannot be read or holds no such array.
    """
    content = _read(Path(path), "input")
    name = next((name for name in ("inputs", "x", *content) if name in content), None)
    if name is None or (name not in ("inputs", "x") and len(content) > 1):
        received = labels.listed(sorted(content)) or "none"
        raise InputError(
            "input", "an array named 'x' or 'inputs'", received, "Write it with numpy.savez(path, x=array)."
        )
    return as_inputs(content[name], f"input: {name}")


def read_npz(path: str | Path) -> Source:
    """Return the examples of an .npz file: x_train and y_train, with or without x_test and y_test; or x and y.

    Args:
        path: The file. Inputs are (n, ...) numbers, labels (n,), (n, 1) or one-hot.

    Returns:
        The source; with a test set if the file has one.

    Raises:
        InputError: If the file cannot be read or holds other arrays.
    """
    content = _read(Path(path), "data.source")
    if {"x_train", "y_train"} <= content.keys():
        x_name, y_name = "x_train", "y_train"
    elif {"x", "y"} <= content.keys():
        x_name, y_name = "x", "y"
    else:
        raise InputError(
            "data.source",
            "arrays x_train and y_train (with or without x_test and y_test), or x and y",
            labels.listed(sorted(content)) or "none",
            "Write them with numpy.savez(path, x=inputs, y=labels).",
        )
    with_test = content.keys() & {"x_test", "y_test"} if x_name == "x_train" else set()
    if len(with_test) == 1:
        remedy = "Write both, or leave both out: a share of the examples is kept for the test then."
        raise InputError("data.source", "x_test and y_test together, or neither", f"only {with_test.pop()}", remedy)
    test = (content["x_test"], content["y_test"]) if with_test else None
    return from_arrays(content[x_name], content[y_name], test, x_name, y_name)


def from_arrays(
    x: np.ndarray,
    y: np.ndarray,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    x_name: str = "x",
    y_name: str = "y",
    class_names: tuple[str, ...] | None = None,
) -> Source:
    """Return a source of arrays in memory.

    Args:
        x: (n, ...) inputs.
        y: (n,), (n, 1) or one-hot labels.
        test: Inputs and labels of a test set that comes with them.
        x_name: What to call the inputs in messages.
        y_name: What to call the labels in messages.
        class_names: Name of each class in ascending order; default: the labels themselves.

    Returns:
        The source.

    Raises:
        InputError: If shapes or types do not fit.
    """
    x = as_inputs(x, f"data.source: {x_name}")
    y = _class_numbers(y, len(x), f"data.source: {y_name}")
    if test is None:
        encoded, names = labels.encode(y, f"data.source: {y_name}")
        return Source(Dataset(x, encoded), class_names or names, schema_of(x))
    x_test = as_inputs(test[0], "data.source: x_test")
    if x_test.shape[1:] != x.shape[1:]:
        remedy = f"Prepare them as those of {x_name}."
        raise InputError("data.source: x_test", f"examples of shape {x.shape[1:]}", f"{x_test.shape[1:]}", remedy)
    y_test = _class_numbers(test[1], len(x_test), "data.source: y_test")
    encoded, names = labels.encode(y, f"data.source: {y_name}")
    position = {name: index for index, name in enumerate(names)}
    unknown = sorted({str(label) for label in y_test.tolist()} - position.keys())
    if unknown:
        remedy = f"Leave those examples out, or add some of these classes to {y_name}."
        raise InputError("data.source: y_test", f"classes of {y_name}", labels.listed(unknown), remedy)
    encoded_test = np.array([position[str(label)] for label in y_test.tolist()], np.int32)
    return Source(Dataset(x, encoded), class_names or names, schema_of(x), Dataset(x_test, encoded_test))
