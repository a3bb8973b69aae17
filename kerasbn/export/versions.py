"""Numbered version directories of a model: which there are, and where the next one goes."""

from pathlib import Path

from kerasbn import checks
from kerasbn.checks import InputError


def existing_versions(path: Path) -> dict[int, Path]:
    """Return the version directories in `path` by their number; {} if there are none.

    A version is a directory whose name is a whole number, as TensorFlow Serving reads it: "007" is version 7.
    """
    if not path.is_dir():
        return {}
    return {
        int(entry.name): entry
        for entry in sorted(path.iterdir())
        if entry.is_dir() and entry.name.isascii() and entry.name.isdecimal()
    }


def next_version(path: Path, version: int | None) -> int:
    """Return the number of the version to write.

    Args:
        path: Directory of the model's versions; it need not exist.
        version: The number asked for, at least 1; None: one more than the newest, or 1 if there is none.

    Returns:
        The number.

    Raises:
        InputError: If that version is there already.
    """
    existing = existing_versions(path)
    following = max(existing, default=0) + 1
    if version is None:
        return following
    checks.in_range("version", version, 1, integer=True)
    if version in existing:
        raise taken(existing[version], following)
    return version


def taken(path: Path, following: int) -> InputError:
    """Return the error for a version that is there already."""
    return InputError(
        "version",
        "a version that does not exist yet",
        f"{path.name}, which is in {str(path.parent)!r}",
        f"The next free one is {following}.",
    )
