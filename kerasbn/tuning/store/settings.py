"""What the trials of a study have in common, and what is said when somebody comes with something else."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasbn.checks import InputError

# Arguments of a fit that decide nothing about its scores, or that are code, of which nothing can be said.
_NO_MATTER = ("verbose", "callbacks")


def different_study(place: Path | str, different: Sequence[str]) -> InputError:
    """Return the error for a study that was started with other settings.

    Args:
        place: The study's.
        different: What differs, "name new instead of old".
    """
    return InputError(
        f"The study {place}",
        "the settings it was started with",
        ", ".join(different),
        "Choose another name for the new settings (--name NEW on the command line, project_name in Python), or "
        "delete that study.",
    )


def differences(stored: Any, given: Any, name: str = "") -> list[str]:
    """Return what differs between two nested settings, a line for each innermost key."""
    if isinstance(stored, dict) and isinstance(given, dict):
        lines = []
        for key in dict.fromkeys((*stored, *given)):
            lines += differences(stored.get(key), given.get(key), f"{name}.{key}".lstrip("."))
        return lines
    return [] if stored == given else [f"{name.removeprefix('fingerprint.')} {given!r} instead of {stored!r}"]


def _known(value: Any) -> Any:
    """Return JSON that stands for an argument of a fit: arrays by their content, what cannot be looked into by type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _known(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_known(part) for part in value]
    if isinstance(value, np.generic):
        return _known(value.item())
    if hasattr(value, "__array__"):  # a tensor, or a table of pandas
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        content = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
        return {"shape": list(value.shape), "dtype": str(value.dtype), "content": content}
    return type(value).__name__


def of_fit(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON that stands for the arguments of a fit, so that a study is not continued with other data.

    Args:
        arguments: Positional arguments.
        keywords: Keyword arguments; those that decide no score, and callbacks, are left out.

    Returns:
        Arguments by name or position: plain values, the shape, type and hash of arrays, the type of all else.
    """
    named = {str(position): value for position, value in enumerate(arguments)}
    named |= {name: value for name, value in keywords.items() if name not in _NO_MATTER}
    return json.loads(json.dumps({name: _known(value) for name, value in named.items()}))
