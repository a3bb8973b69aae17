"""Argument checks: one message form, which says what was expected, what was received and what to do."""

import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any


class InputError(ValueError):
    """What the user gave cannot be used; the message says what was expected, what came, and what to do.

    The command line prints the message alone and exits with 2. From Python it is a `ValueError`.

    Args:
        subject: What the message is about: an argument, a key, a file, a column.
        expected: What would have been right.
        received: What came.
        remedy: What to do about it, a whole sentence; may be empty.

    Example:
        >>> raise InputError("momentum", "a number in [0, 1)", 1.5, "The usual value is 0.99.")
        Traceback (most recent call last):
        kerasbn.checks.InputError: momentum: expected a number in [0, 1); received 1.5. The usual value is 0.99.
    """

    ag_pass_through = True  # TensorFlow raises it out of a tf.function as it is, not as a StagingError

    def __init__(self, subject: str, expected: str | None = None, received: Any = None, remedy: str = "") -> None:
        # Keras makes what a layer's call raises anew, with one text: that is the message as it stands.
        message = subject if expected is None else f"{subject}: expected {expected}; received {received}."
        super().__init__(f"{message} {remedy}" if remedy else message)
        self.subject, self.expected, self.received, self.remedy = subject, expected, received, remedy

    def __reduce__(self) -> tuple[type["InputError"], tuple[Any, ...]]:
        return type(self), (self.subject, self.expected, self.received, self.remedy)


class TaskError(RuntimeError):
    """The input was right, and yet the task cannot be done: every trial failed, an export differs from its model.

    The command line prints the message alone and exits with 1.

    Example:
        >>> raise TaskError("All 5 trials failed.")
        Traceback (most recent call last):
        kerasbn.checks.TaskError: All 5 trials failed.
    """


def in_range(
    subject: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    integer: bool = False,
    remedy: str = "",
) -> Any:
    """Return `value` if it is a finite number between `low` and `high`, and raise `InputError` otherwise.

    Args:
        subject: Name of the argument, for the message.
        value: What the user gave.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Whether `low` itself is refused.
        open_high: Whether `high` itself is refused.
        integer: Whether only whole numbers are allowed.
        remedy: What to do, a whole sentence.

    Returns:
        `value`, unchanged.

    Raises:
        InputError: If it is not such a number.

    Example:
        >>> in_range("dropout", 0.5, 0, 1, open_high=True)
        0.5
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number and hasattr(value, "item") and getattr(value, "shape", None) == ():
        number = isinstance(value.item(), int | float) and not isinstance(value.item(), bool)
    if (
        not number
        or value != value
        or abs(value) == math.inf
        or (integer and int(value) != value)
        or value < low
        or value > high
        or (open_low and value == low)
        or (open_high and value == high)
    ):
        kind = "a whole number" if integer else "a number"
        if math.isinf(low) and math.isinf(high):
            bounds = ""
        elif math.isinf(high):
            bounds = f" {'above' if open_low else 'of at least'} {low}"
        elif math.isinf(low):
            bounds = f" {'below' if open_high else 'of at most'} {high}"
        else:
            bounds = f" in {'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
        raise InputError(subject, kind + bounds, repr(value), remedy)
    return value


def nearest(word: object, words: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the one of `words` that is most like `word`, or "" if none is."""
    close = difflib.get_close_matches(str(word), list(words), n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


def one_of(subject: str, value: Any, choices: Collection[str]) -> Any:
    """Return `value` if it is one of `choices`, and raise an `InputError` that offers the nearest otherwise."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise InputError(subject, f"one of {listed}", repr(value), nearest(value, choices))
    return value


def known_keys(subject: str, keys: Iterable[str], valid: Collection[str]) -> None:
    """Raise an `InputError` that offers the nearest valid key, if one of `keys` is not among `valid`."""
    for key in keys:
        if key not in valid:
            listed = ", ".join(repr(name) for name in valid)
            raise InputError(subject, f"keys out of {listed}", repr(key), nearest(key, valid))
