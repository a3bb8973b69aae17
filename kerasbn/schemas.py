"""The schema of a model's inputs, as data.json and an artefact's description hold it: checked where it is read."""

from collections.abc import Collection, Mapping
from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError


def check_schema(schema: Any, inputs: Collection[str], subject: str = "schema") -> None:
    """Raise an `InputError` if a schema is none, or not that of a model's inputs.

    Args:
        schema: {"kind": "array", "shape": [64]}, {"kind": "image", "shape": [28, 28] or [height, width, channels]}
            or {"kind": "table", "columns": [{"name": "age", "type": "numeric" or "categorical"}]}; other keys
            are left alone.
        inputs: Names of the model's inputs: a table has a column for each.
        subject: What to call it in the message.
    """
    if not isinstance(schema, Mapping):
        raise InputError(subject, "an object", repr(schema))
    kind = checks.one_of(f"kind in the {subject}", schema.get("kind"), ("array", "image", "table"))
    if kind == "table":
        _check_columns(schema.get("columns"), inputs, subject)
        return
    shape = schema.get("shape")
    if (
        not isinstance(shape, list | tuple)
        or not all(type(size) is int and size > 0 for size in shape)
        or (kind == "image" and len(shape) not in (2, 3))
    ):
        image = "[height, width] or [height, width, channels]"
        expected = image if kind == "image" else "a list of whole numbers above 0"
        raise InputError(f"shape in the {subject}", expected, repr(shape))


def _check_columns(columns: Any, inputs: Collection[str], subject: str) -> None:
    if not isinstance(columns, list | tuple) or not all(isinstance(column, Mapping) for column in columns):
        raise InputError(f"columns in the {subject}", "a list of objects", repr(columns))
    for column in columns:
        checks.one_of(f"type of a column in the {subject}", column.get("type"), ("numeric", "categorical"))
    names = [str(column.get("name")) for column in columns]
    if sorted(names) != sorted(inputs):
        expected = f"the model's inputs {', '.join(inputs)}"
        raise InputError(f"columns in the {subject}", expected, ", ".join(names) or "none")
