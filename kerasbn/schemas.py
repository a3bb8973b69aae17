"""The schema of a model's inputs, as data.json and an artefact's description.json hold it: checked when it is read."""

from collections.abc import Collection, Mapping
from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError


def _check_shape(subject: str, shape: Any, lengths: Collection[int] | None) -> None:
    whole = isinstance(shape, list | tuple) and all(type(size) is int and size > 0 for size in shape)
    if not whole or (lengths is not None and len(shape) not in lengths):
        expected = "a list of whole numbers above 0" if lengths is None else "[height, width] or [height, width, channels]"
        raise InputError(subject, f"as 'shape' {expected}", repr(shape))


def check_schema(subject: str, schema: Any, inputs: Collection[str]) -> None:
    """Raise an `InputError` if a schema is none, or not that of a model's inputs.

    Args:
        subject: What the schema is part of, for the message.
        schema: {"kind": "array" | "image", "shape": [4]} or {"kind": "table", "columns": [{"name": "age",
            "type": "numeric" | "categorical"}]}; other keys are left alone.
        inputs: Names of the model's inputs: a table has a column for each.
    """
    if not isinstance(schema, Mapping):
        raise InputError(subject, "an object as schema", repr(schema))
    kind = checks.one_of(f"{subject}, kind of the schema", schema.get("kind"), ("array", "image", "table"))
    if kind != "table":
        _check_shape(f"{subject}, schema", schema.get("shape"), (2, 3) if kind == "image" else None)
        return
    columns = schema.get("columns")
    if not isinstance(columns, list | tuple) or not all(isinstance(column, Mapping) for column in columns):
        raise InputError(f"{subject}, schema", "as 'columns' a list of objects", repr(columns))
    for column in columns:
        checks.one_of(f"{subject}, type of a column", column.get("type"), ("numeric", "categorical"))
    names = [column.get("name") for column in columns]
    if len(names) != len(inputs) or any(name not in inputs for name in names):
        received = ", ".join(map(str, names)) or "none"
        raise InputError(f"{subject}, schema", f"the model's inputs {', '.join(inputs)} as columns", received)
