"""The format of config files: its version, and what a name may be made of."""

from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError

FORMAT_VERSION = 1  # raised when an older kerasbn could misread a newer file

_NOT_IN_NAMES = "/\\:?#%\"'<>| \t\n"


def check_version(version: Any) -> None:
    """Raise an `InputError` if a config file is of a format newer than this kerasbn knows."""
    checks.in_range("version", version, 1, integer=True)
    if version > FORMAT_VERSION:
        raise InputError(
            "version",
            f"a config of format {FORMAT_VERSION} or older",
            version,
            "The file was written for a newer kerasbn: `pip install --upgrade kerasbn`.",
        )


def as_name(text: str) -> str:
    """Return `text` as `check_name` wants it: "my data" as "my_data"."""
    return "".join("_" if c in _NOT_IN_NAMES else c for c in text).lstrip(".") or "model"


def check_name(subject: str, name: str | None) -> None:
    """Raise an `InputError` if a model's name would not do as a directory and in a URL."""
    if name is not None and (not name or name.startswith(".") or any(c in name for c in _NOT_IN_NAMES)):
        raise InputError(subject, "a name of letters, digits, '.', '_' and '-'", repr(name))
