"""Single JSON values: which of them a tensor's type takes, and how messages quote them."""

import base64
import binascii
import json
import math
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasbn.serving.errors import RequestError

NUMPY: Mapping[str, Any] = types.MappingProxyType(
    {
        "float": np.float32,
        "double": np.float64,
        "bool": np.bool_,
        **{kind: np.dtype(kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")},
    }
)
# Whole numbers up to here are themselves in that type of float; larger ones would be rounded unseen.
LARGEST_INTEGER: Mapping[str, int] = types.MappingProxyType({"float": 2**24 - 1, "double": 2**53 - 1})
_LONGEST_QUOTE = 1000  # characters; a message need not give back a request of megabytes


def _float_text(value: float, dtype: type = np.float32) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    if dtype(float(text)) != dtype(value):
        text = f"{value:.{9 if dtype is np.float32 else 17}g}"
    return text if "." in text or "e" in text else text + ".0"


def value_text(value: Any) -> str:
    """Return a JSON value as TensorFlow Serving's messages quote it, abridged if it is long."""
    if isinstance(value, float):
        return _float_text(value, np.float32 if abs(value) <= float(np.finfo(np.float32).max) else np.float64)
    text = ""
    for piece in json.JSONEncoder(indent=4, ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) > _LONGEST_QUOTE:  # what comes then is not even written
            return f"{text[:_LONGEST_QUOTE]}..."
    return text


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def type_error(value: Any, dtype: str) -> RequestError:
    """Return the error for a value that a tensor's type does not take."""
    return RequestError(f"JSON Value: {value_text(value)} Type: {_kind(value)} is not of expected type: {dtype}")


def is_base64(value: Any) -> bool:
    """Return whether a value is bytes: an object with the one key "b64" and text behind it."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _decode(text: str) -> bytes:
    try:
        # Padding may be left out.
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("Unable to base64 decode") from error


def _to_bytes(value: Any) -> bytes:
    if isinstance(value, dict):
        if not is_base64(value):
            raise RequestError(f"JSON Value: {value_text(value)} not formatted correctly for base64 data")
        return _decode(value["b64"])
    if not isinstance(value, str):
        raise type_error(value, "string")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise RequestError("JSON Parse error: The surrogate pair in string is invalid.") from error


def _to_float(value: Any, dtype: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise type_error(value, dtype)
    lossy = (
        abs(value) > LARGEST_INTEGER[dtype]
        if isinstance(value, int)
        else (math.isfinite(value) and abs(value) > float(np.finfo(NUMPY[dtype]).max))
    )
    if lossy:
        raise RequestError(f"Cannot convert JSON value: {value_text(value)} to {dtype} without loss of precision.")
    return float(value)


def convert(value: Any, dtype: str) -> Any:
    """Return a JSON value as an element of a tensor.

    Args:
        value: A scalar or an object.
        dtype: The tensor's type, by TensorFlow's name.

    Returns:
        A number, a boolean, or bytes for "string".

    Raises:
        RequestError: If the type does not take the value, or JSON cannot express the type.
    """
    if dtype == "string":
        return _to_bytes(value)
    if isinstance(value, dict):
        raise type_error(value, dtype)
    if dtype in LARGEST_INTEGER:
        return _to_float(value, dtype)
    if dtype == "bool":
        if not isinstance(value, bool):
            raise type_error(value, dtype)
        return value
    if dtype in NUMPY:
        limits = np.iinfo(NUMPY[dtype])
        # Numbers beyond the type are refused too, where TensorFlow Serving lets int8, int16 and uint8 wrap.
        if isinstance(value, bool) or not isinstance(value, int) or not limits.min <= value <= limits.max:
            raise type_error(value, dtype)
        return value
    raise RequestError(f"Conversion of JSON Value: {value_text(value)} to type: {dtype}", "UNIMPLEMENTED")
