"""The format of config files: its number, and what a name may be made of."""

import re
from typing import Any

from kerasbn import checks
from kerasbn.checks import InputError

FORMAT = 1  # raised when an older kerasbn could misread a newer file

_NOT_IN_NAMES = re.compile(r"[^\w.-]")


def check_format(number: Any) -> None:
    """Raise an `InputError` if a config file is of a format newer than this kerasbn knows."""
    checks.in_range("format", number, 1, integer=True)
    if number > FORMAT:
        raise InputError(
            "format",
            f"a config of format {FORMAT} or older",
            number,
            "The file was written for a newer kerasbn: `pip install --upgrade kerasbn`.",
        )


def as_name(text: str) -> str:
    """Return `text` as `check_name` wants it: "my data" as "my_data"."""
    return _NOT_IN_NAMES.sub("_", text).lstrip(".") or "model"


def check_name(subject: str, name: str | None) -> None:
    """Raise an `InputError` if a model's name would not do as a directory and in a URL."""
    if name is not None and (not name or name.startswith(".") or _NOT_IN_NAMES.search(name)):
        raise InputError(subject, "a name of letters, digits, '.', '_' and '-'", repr(name))
