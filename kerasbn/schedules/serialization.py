"""Schedules from dictionaries, as JSON and YAML have them."""

import contextlib
import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.annealing import Cosine, CosineRestarts, Linear, Polynomial
from kerasbn.schedules.base import Schedule
from kerasbn.schedules.composition import Clipped, Joined, Repeated, Scaled
from kerasbn.schedules.cycles import OneCycle, Triangular
from kerasbn.schedules.decay import Constant, Exponential, InverseSqrt, InverseTime, Staircase
from kerasbn.schedules.piecewise import Manual, PiecewiseConstant
from kerasbn.schedules.warm_up import WarmUp

_DECAYS = (Constant, InverseTime, Exponential, InverseSqrt, Staircase, PiecewiseConstant, Manual)
_CURVES = (Polynomial, Linear, Cosine, CosineRestarts, Triangular, OneCycle)
_COMPOSED = (WarmUp, Joined, Scaled, Clipped, Repeated)
_BY_NAME = types.MappingProxyType({kind.name: kind for kind in (*_DECAYS, *_CURVES, *_COMPOSED)})


def from_dict(values: Mapping[str, Any], subject: str = "schedule") -> Schedule:
    """Return the schedule that a dictionary describes, as `Schedule.to_dict` does.

    Args:
        values: "name", and the arguments by name; those with a default may be left out. Schedules within are
            dictionaries, too.
        subject: Where the dictionary stands, for the messages.

    Returns:
        The schedule.

    Raises:
        InputError: If the name or a key is unknown, an argument is missing, or a value does not fit.

    Example:
        >>> from_dict({"name": "inverse_time", "initial_learning_rate": 0.2})
        InverseTime(0.2)
    """
    if not isinstance(values, Mapping):
        raise InputError(subject, "a mapping with a name and arguments", repr(values))
    if "name" not in values:
        raise InputError(f"{subject}.name", f"one of {', '.join(map(repr, _BY_NAME))}", "no name")
    kind = _BY_NAME[checks.one_of(f"{subject}.name", values["name"], tuple(_BY_NAME))]
    fields = {f.name: f for f in dataclasses.fields(kind)}
    checks.known_keys(subject, values, ("name", *fields))
    for f in fields.values():
        if f.default is dataclasses.MISSING and f.name not in values:
            raise InputError(f"{subject}.{f.name}", "a value", "none", f"{values['name']!r} has no default for it.")
    try:
        given = {
            key: _value(value, fields[key].type is str, f"{subject}.{key}")
            for key, value in values.items()
            if key != "name"
        }
    except RecursionError:  # an anchor of YAML that stands within itself
        raise InputError("schedule", "one that does not contain itself", "one that does") from None
    try:
        return kind(**given)
    except InputError as error:
        raise InputError(f"{subject}.{error.subject}", error.expected, error.received, error.remedy) from None


def _value(value: Any, is_text: bool, subject: str) -> Any:
    """Return a value as a field holds it: mappings as schedules, lists as tuples, numbers that are text as numbers."""
    if isinstance(value, Mapping):
        return from_dict(value, subject)
    if isinstance(value, list | tuple):
        return tuple(_value(item, is_text, f"{subject}[{index}]") for index, item in enumerate(value))
    if isinstance(value, str) and not is_text:
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as text
            return float(value)
    return value
