"""Arguments of `keras_tuner.RandomSearch` that `RandomSearch` does not have: each is refused with what to do."""

import types
from collections.abc import Mapping
from typing import Any

from kerasbn.checks import InputError

# Name: the one value that changes nothing, and what to do instead of another.
_REFUSED: Mapping[str, tuple[Any, str]] = types.MappingProxyType(
    {
        "max_retries_per_trial": (0, "A trial comes out the same each time: what failed would fail again."),
        "logger": (None, "Use on_trial and on_epoch."),
        "tuner_id": (None, "One search at a time runs in a directory; there is nothing to tell apart."),
    }
)


def refuse(**arguments: Any) -> None:
    """Raise an error if an argument is not what changes nothing.

    Args:
        **arguments: Arguments of `keras_tuner.RandomSearch` that are not supported, and any that nobody knows.

    Raises:
        InputError: For the first one of KerasTuner's that would change something.
        TypeError: For the first one that nobody knows, as Python does.
    """
    for name, value in arguments.items():
        if name not in _REFUSED:
            raise TypeError(f"RandomSearch.__init__() got an unexpected keyword argument {name!r}")
        neutral, remedy = _REFUSED[name]
        if value != neutral:
            raise InputError(f"{name} of KerasTuner", f"{neutral!r}: RandomSearch does without it", repr(value), remedy)
