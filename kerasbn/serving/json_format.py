"""TensorFlow Serving's predict JSON: from a request's body to arrays, and from arrays to a reply."""

import base64
import itertools
import json
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from kerasbn.serving import json_values
from kerasbn.serving.artefact import TensorInfo
from kerasbn.serving.errors import RequestError
from kerasbn.serving.json_values import is_base64, value_text

# Types of numbers whose lists can be taken at once; everything else goes value by value.
_FAST: Mapping[str, tuple[Any, set[type]]] = types.MappingProxyType(
    {
        "float": (np.float32, {int, float}),
        "double": (np.float64, {int, float}),
        "int8": (np.int8, {int}),
        "int16": (np.int16, {int}),
        "int32": (np.int32, {int}),
        "int64": (np.int64, {int}),
        "uint8": (np.uint8, {int}),
        "uint32": (np.uint32, {int}),
        "uint64": (np.uint64, {int}),
        "bool": (np.bool_, {bool}),
        "string": (np.object_, {str}),
    }
)
# Levels of lists; NumPy before 2.0 has arrays of 32 dimensions at most, of which one is the batch.
_DEEPEST = 31


def _fast_array(value: list[Any], dtype: str) -> np.ndarray | None:
    """Return a nested list of plain values as an array, or None if anything about it needs a closer look."""
    shape = [len(value)]
    items = value
    while items and type(items[0]) is list:
        size = len(items[0])
        if set(map(type, items)) != {list} or set(map(len, items)) != {size}:
            return None
        shape.append(size)
        items = list(itertools.chain.from_iterable(items))
    if dtype not in _FAST or not items or len(shape) > _DEEPEST:
        return None
    numpy_dtype, allowed = _FAST[dtype]
    kinds = set(map(type, items))
    if not kinds <= allowed:
        return None
    if dtype == "string":
        try:
            values: Any = [text.encode("utf-8") for text in items]
        except UnicodeEncodeError:
            return None
    elif allowed == {int}:
        limits = np.iinfo(numpy_dtype)
        if min(items) < limits.min or max(items) > limits.max:
            return None
        values = items
    elif dtype == "bool":
        values = items
    else:
        values = np.array(items, np.float64)
        bounds = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        if bounds > (json_values.LARGEST_INTEGER[dtype] if int in kinds else np.finfo(numpy_dtype).max):
            return None
    return np.array(values, numpy_dtype).reshape(shape)


def _array(value: Any, dtype: str) -> np.ndarray:
    """Return a JSON value, a scalar or lists of equal length, as an array.

    Raises:
        RequestError: If a list is longer or deeper than its neighbours, or a value is of another type.
    """
    if isinstance(value, list):
        array = _fast_array(value, dtype)
        if array is not None:
            return array
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    if len(shape) > _DEEPEST:
        raise RequestError(f"Encountered list at unexpected level: {_DEEPEST} expected < {_DEEPEST}")
    items: list[Any] = []
    _fill(value, 0, shape, dtype, items)
    array = np.empty(len(items), json_values.NUMPY.get(dtype, object))
    array[:] = items
    return array.reshape(shape)


def _fill(value: Any, level: int, shape: list[int], dtype: str, items: list[Any]) -> None:
    """Append the values in nested lists, in TensorFlow Serving's order, so that its first error comes first."""
    if not isinstance(value, list):
        if level != len(shape):
            raise RequestError(
                f"JSON Value: {value_text(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        items.append(json_values.convert(value, dtype))
        return
    if level >= len(shape):
        raise RequestError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise RequestError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, items)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _columns_of_rows(rows: list[Any], inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    """Return the arrays of the row format: a list of values for one input, or of objects by input."""
    objects = isinstance(rows[0], dict) and not is_base64(rows[0])
    if not objects and len(inputs) > 1:
        raise RequestError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as "
            "per tensorinfo_map"
        )
    if not objects:
        (name,) = inputs
        array = _fast_array(rows, inputs[name].dtype)
        if array is not None:
            return {name: array}
    elif all(type(row) is dict and row.keys() == inputs.keys() for row in rows):
        fast = {name: _fast_array([row[name] for row in rows], info.dtype) for name, info in inputs.items()}
        whole = {name: array for name, array in fast.items() if array is not None}
        if len(whole) == len(inputs):
            return whole
    columns: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for position, row in enumerate(rows):
        if objects != (isinstance(row, dict) and not is_base64(row)):
            expected, got = ("object", "list") if objects else ("value/list", "object")
            raise RequestError(f"Expecting {expected} but got {got} at item {position} of input list")
        for name, value in row.items() if objects else [(next(iter(inputs)), row)]:
            try:
                if name not in inputs:
                    raise RequestError(f"JSON object: does not have named input: {name}")
                array = _array(value, inputs[name].dtype)
                first = columns[name][0] if columns[name] else array
                if array.size != first.size:
                    raise RequestError(f"Expecting tensor size: {first.size} but got: {array.size}")
                if array.shape != first.shape:
                    raise RequestError(
                        f"Expecting shape {_shape_text(first.shape)} but got: {_shape_text(array.shape)}"
                    )
            except RequestError as error:
                key = f" key: {name}" if objects else ""
                raise RequestError(
                    f"Failed to process element: {position}{key} of 'instances' list. "
                    f"Error: {error.code}: {error.message}"
                ) from error
            columns[name].append(array)
        if objects and row.keys() != inputs.keys():
            raise RequestError(
                f"Failed to process element: {position} of 'instances' list. JSON object: {value_text(row)} "
                f"keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {name: np.stack(arrays) for name, arrays in columns.items()}


def _columns(value: Any, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    """Return the arrays of the columnar format: one value, or an object with one for each input."""
    if not isinstance(value, dict) or is_base64(value):
        if len(inputs) > 1:
            raise RequestError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as "
                "per tensorinfo_map"
            )
        (name,) = inputs
        return {name: _array(value, inputs[name].dtype)}
    for name in inputs:
        if name not in value:
            raise RequestError(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], info.dtype) for name, info in inputs.items()}


def signature_name(document: Any) -> str:
    """Return the signature that a request asks for.

    Args:
        document: The parsed body.

    Returns:
        Its `signature_name`, or "serving_default".

    Raises:
        RequestError: If the body is no object or the name is no text.
    """
    if not isinstance(document, dict):
        raise RequestError(f"JSON Value: {value_text(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(
            f"JSON Value: {value_text(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or "serving_default"


def read_request(document: Mapping[str, Any], inputs: Mapping[str, TensorInfo]) -> tuple[dict[str, np.ndarray], bool]:
    """Return the arrays in a predict request.

    Row format: `instances`, a list with an item for each example; columnar: `inputs`, one array for all. With
    several inputs the items, or the whole, are objects by input.

    Args:
        document: The parsed body, an object.
        inputs: The signature's inputs.

    Returns:
        Arrays by input, examples first; and whether the request was in row format.

    Raises:
        RequestError: If the request is not of that form, or values do not fit the inputs' types or shapes.
    """
    row_format = "instances" in document
    if row_format and "inputs" in document:
        raise RequestError(
            f"JSON Value: {value_text(document)} Not formatted correctly expecting only one of 'inputs' or "
            "'instances' keys to exist "
        )
    if not row_format and "inputs" not in document:
        raise RequestError("Missing 'inputs' or 'instances' key")
    if row_format:
        rows = document["instances"]
        if not isinstance(rows, list):
            raise RequestError(f"JSON Value: {value_text(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise RequestError(f"JSON Value: {value_text(document)} No values in 'instances' array")
        arrays = _columns_of_rows(rows, inputs)
    else:
        arrays = _columns(document["inputs"], inputs)
    _check_shapes(arrays, inputs)
    return arrays, row_format


def _check_shapes(arrays: Mapping[str, np.ndarray], inputs: Mapping[str, TensorInfo]) -> None:
    # Here, for every engine: what a kernel deep in the graph says of a wrong shape names neither input nor size.
    for name, array in arrays.items():
        shape = inputs[name].shape
        if shape is not None and (
            len(shape) != array.ndim
            or any(size not in (None, given) for size, given in zip(shape, array.shape, strict=True))
        ):
            expected = _shape_text(tuple(-1 if size is None else size for size in shape))
            raise RequestError(
                f"Input {name!r}: expected shape {expected} (-1: any size); received {_shape_text(array.shape)}."
            )
    counts = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(counts.values())) > 1:
        low, high = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        raise RequestError(
            f"Inputs: expected the same number of examples in each; received {counts[low]} in {low!r} and "
            f"{counts[high]} in {high!r}."
        )


def _writable(name: str, array: np.ndarray) -> Any:
    """Return an output as something that orjson or json writes as TensorFlow Serving does."""
    if array.dtype == object:
        if name.endswith("_bytes"):  # the convention for outputs that are no text
            texts: Any = [{"b64": base64.b64encode(item).decode()} for item in array.ravel()]
        else:
            texts = [item.decode("utf-8", "replace") for item in array.ravel()]
        flat = np.empty(array.size, object)
        flat[:] = texts
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind not in "biuf" or array.dtype in (np.float16, np.uint16):
        kind = {"float16": "half"}.get(array.dtype.name, array.dtype.name)
        raise RequestError(f"Failed to write JSON value for tensor type: {kind}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # orjson would write null; through text, a float32 keeps its shortest form.
        return array.astype(str).astype(np.float64).tolist()
    return np.ascontiguousarray(array) if array.ndim else array[()]


def write_reply(outputs: Mapping[str, np.ndarray], row_format: bool) -> bytes:
    """Return the reply to a predict request.

    Row format: `{"predictions": [...]}` with an item for each example; columnar: `{"outputs": ...}`. With
    several outputs the items, or the whole, are objects by output. Floats are written at their shortest, whole
    ones as 1.0, and NaN and Infinity bare.

    Args:
        outputs: Arrays by output, examples first.
        row_format: Whether the request was in row format.

    Returns:
        JSON.

    Raises:
        RequestError: If an output cannot be written in that form.

    Example:
        >>> write_reply({"probabilities": np.float32([[0.1, 0.9]])}, row_format=True)
        b'{"predictions":[[0.1,0.9]]}'
    """
    values = {}
    batch_size = None
    for name, array in sorted(outputs.items()):
        if row_format and array.ndim == 0:
            raise RequestError(f"Tensor name: {name} has no shape information ")
        if row_format and batch_size not in (None, len(array)):
            raise RequestError(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}")
        batch_size = len(array) if row_format else None
        values[name] = _writable(name, array)
    if len(values) == 1:
        (content,) = values.values()
    elif row_format:
        content = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        content = values
    reply = {"predictions" if row_format else "outputs": content}
    if any(isinstance(value, list) for value in values.values()):
        # Not orjson, which would write NaN as null; arrays among the values become lists first.
        return json.dumps(reply, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()
    return orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    """Return an array or a NumPy number as lists and Python's numbers, floats at their own shortest."""
    if value.dtype.kind == "f":
        return value.astype(str).astype(np.float64).tolist()
    return value.tolist()
