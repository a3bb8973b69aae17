"""Values of config fields: checked against the field's type when a config is made, from YAML or from Python."""

import contextlib
import dataclasses
import os
import types
import typing
from typing import Any, Literal, Union

from kerasbn import checks, schedules
from kerasbn.checks import InputError
from kerasbn.schedules import Schedule


def without_none(hint: Any) -> Any:
    """Return the T of `T | None`, and any other type as it is."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        (hint,) = (argument for argument in typing.get_args(hint) if argument is not type(None))
    return hint


def checked(hint: Any, value: Any, subject: str) -> Any:
    """Return `value` as a field of type `hint` holds it: lists as tuples, whole numbers as floats, paths as text.

    Args:
        hint: The field's type.
        value: What was given.
        subject: The field's dotted name, for the message.

    Returns:
        A value of that type.

    Raises:
        InputError: If it is none.
    """
    if value is None and type(None) in typing.get_args(hint):
        return None
    hint = without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return checks.one_of(subject, value, arguments)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(subject, "a list, such as [a, b]", repr(value))
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise InputError(subject, f"a list of {len(arguments)}", repr(value))
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(checked(kind, item, subject) for kind, item in zip(kinds, value, strict=True))
    if hint is Schedule:
        return value if isinstance(value, Schedule) else schedules.from_dict(value, subject)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, typing.cast(type, hint)):
            raise InputError(subject, f"a {typing.cast(type, hint).__name__}", repr(value))
        return value
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-3 as text
            return float(value)
    if hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if hint is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and "\0" in value:  # the operating system ends names there
        raise InputError(subject, "a text without NUL characters", repr(value))
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]
        raise InputError(subject, kind, repr(value))
    return value


def check_fields(config: Any, prefix: str = "") -> None:
    """Check all fields of a config that is being made, and put them as their types have them.

    Args:
        config: A frozen dataclass, in its `__post_init__`.
        prefix: What stands before the fields' names in messages: "data.", "model.", ...

    Raises:
        InputError: If a value does not fit.
    """
    hints = typing.get_type_hints(type(config))
    for f in dataclasses.fields(config):
        value = checked(hints[f.name], getattr(config, f.name), prefix + f.name)
        object.__setattr__(config, f.name, value)  # frozen from here on
