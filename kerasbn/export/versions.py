"""Numbered version directories of a model: where the next one goes."""

from pathlib import Path

from kerasbn import checks, layout
from kerasbn.checks import InputError


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
    existing = layout.versions_in(path)
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
