"""Arguments of KerasTuner's tuners that ours do not have: each is refused with what to do."""

import types
from collections.abc import Mapping
from typing import Any

from kerasbn.checks import InputError

# Name: the one value that changes nothing, and what to do instead of another.
_REFUSED: Mapping[str, tuple[Any, str]] = types.MappingProxyType(
    {
        "oracle": (None, "Give strategy=..., or take RandomSearch, BayesianOptimization or Hyperband."),
        "max_retries_per_trial": (0, "A trial comes out the same each time: what failed would fail again."),
        "logger": (None, "Use on_trial and on_epoch."),
        "tuner_id": (None, "One search at a time runs in a directory; there is nothing to tell apart."),
    }
)


def refuse(search: str, **arguments: Any) -> None:
    """Raise an error if an argument is not what changes nothing.

    Args:
        search: Name of the search that they were given to.
        **arguments: Arguments of KerasTuner's tuners that are not supported, and any that nobody knows.

    Raises:
        InputError: For the first one of KerasTuner's that would change something.
        TypeError: For the first one that nobody knows, as Python does.
    """
    for name, value in arguments.items():
        if name not in _REFUSED:
            raise TypeError(f"{search}.__init__() got an unexpected keyword argument {name!r}")
        neutral, remedy = _REFUSED[name]
        if value != neutral:
            raise InputError(f"{name} of KerasTuner", f"{neutral!r}: {search} does without it", repr(value), remedy)
