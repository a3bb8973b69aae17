"""JSON as TensorFlow Serving's parser takes it: NaN, Inf and Infinity are numbers, what follows is ignored."""

import json
import re
import types
from collections.abc import Mapping
from typing import Any

import orjson

from kerasbn.serving.errors import RequestError

# Strings are matched first, so that an Inf inside one is left alone.
_INF = re.compile(r'"(?:[^"\\]|\\.)*"|\bInf\b')
_MESSAGES: Mapping[str, str] = types.MappingProxyType(
    {
        "Expecting value": "Invalid value.",
        "Expecting property name enclosed in double quotes": "Missing a name for object member.",
        "Illegal trailing comma before end of object": "Missing a name for object member.",
        "Illegal trailing comma before end of array": "Invalid value.",
        "Expecting ':' delimiter": "Missing a colon after a name of object member.",
        "Unterminated string starting at": "Missing a closing quotation mark in string.",
        "Invalid control character at": "Invalid encoding in string.",
        "Invalid \\escape": "Invalid escape character in string.",
        "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    }
)


def _innermost(text: str) -> str:
    """Return the bracket that is open at the end of `text`."""
    brackets = re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))
    opened: list[str] = []
    for bracket in brackets:
        if bracket in "[{":
            opened.append(bracket)
        elif opened:
            opened.pop()
    return opened[-1] if opened else "{"


def _parse_error(text: str, error: json.JSONDecodeError) -> RequestError:
    message = error.msg.removesuffix(":")
    if message == "Expecting ',' delimiter":
        missing = (
            "a comma or ] after an array element"
            if _innermost(text[: error.pos]) == "["
            else "a comma or } after an object member"
        )
        message = f"Missing {missing}."
    offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
    return RequestError(f"JSON Parse error: {_MESSAGES.get(message, message)} at offset: {offset}")


def _integer(digits: str) -> int | float:
    # As in C++: what does not fit 64 bits is a double.
    number = int(digits) if len(digits) <= 20 else 2**64
    return number if -(2**63) <= number < 2**64 else float(digits)


def parse_json(body: bytes) -> Any:
    """Return the value at the beginning of a request's body.

    Args:
        body: UTF-8 JSON. The numbers NaN, Inf and Infinity are allowed with or without a minus; what follows
            the first value is ignored.

    Returns:
        Python's dicts, lists and scalars.

    Raises:
        RequestError: If it cannot be parsed.
    """
    try:
        return orjson.loads(body)  # several times faster, and so strict that most bodies need nothing else
    except orjson.JSONDecodeError:
        pass
    if not body:
        raise RequestError("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if not text.strip(" \t\r\n"):
        raise RequestError(f"JSON Parse error: The document is empty. at offset: {len(body)}")
    text = _INF.sub(lambda match: "Infinity" if match[0] == "Inf" else match[0], text)
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        return json.JSONDecoder(parse_int=_integer).raw_decode(text, start)[0]
    except json.JSONDecodeError as error:
        raise _parse_error(text, error) from error
    except RecursionError as error:
        raise RequestError("JSON Parse error: Nested too deeply") from error
