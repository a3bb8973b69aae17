"""Labels: from the names of the classes, as they stand in a file, to their positions."""

import numpy as np

from kerasbn.checks import InputError

_SHOWN = 5  # names listed in a message


def listed(names: list[str]) -> str:
    """Return the first few names with quotes, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def encode(raw: np.ndarray, subject: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return each label as its position in the sorted class names, and the names.

    Whole numbers are sorted by value, everything else as text.

    Args:
        raw: (n,) labels: texts, whole numbers or booleans.
        subject: Where they stand, for the messages.

    Returns:
        (n,) int32 positions, and the class names.

    Raises:
        InputError: If there are fewer than two classes, or a class has a single example.
    """
    values = np.asarray(raw)
    if values.dtype.kind in "OUST":
        try:
            numbers = np.array([int(str(value)) for value in values], dtype=np.int64)
            # "07" and "7" are two names: numbers only sort them if they are written as such
            values = numbers if all(map(_same_text, numbers, values)) else values.astype(str)
        except (ValueError, OverflowError):
            values = values.astype(str)
    elif values.dtype.kind == "f" and np.all(values == np.round(values)):
        values = values.astype(np.int64)
    classes, labels, counts = np.unique(values, return_inverse=True, return_counts=True)
    names = tuple(str(name) for name in classes)
    if len(names) < 2:
        raise InputError(subject, "at least two classes", f"{len(names)} ({listed(list(names))})")
    single = [name for name, number in zip(names, counts, strict=True) if number == 1]
    if len(single) > len(names) / 2:
        raise InputError(
            subject,
            "classes with several examples each",
            f"{len(names)} different values in {len(values)} examples",
            "It looks like a quantity or an identifier; choose a column of classes.",
        )
    if single:
        raise InputError(
            subject,
            "at least two examples of each class",
            f"one of {listed(single)}",
            "Leave those rows out, or join the classes with others.",
        )
    return labels.astype(np.int32).reshape(-1), names


def _same_text(number: np.int64, text: object) -> bool:
    return str(number) == str(text)
