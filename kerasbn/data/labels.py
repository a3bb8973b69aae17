"""Labels: from the names of the classes, as they stand in a file, to their positions."""

import numpy as np
import pandas as pd

from kerasbn.checks import InputError

_SHOWN = 5  # names listed in a message


def listed(names: list[str]) -> str:
    """Return the first few names with quotes, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more


def _whole_number(name: str) -> bool:
    """Return whether a name is a whole number as it is usually written: "7" is, "07" is a text."""
    try:
        return str(int(name)) == name
    except ValueError:
        return False


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
    found, distinct = pd.factorize(raw)  # in order of appearance
    unsorted = [str(value) for value in distinct]
    by_value = all(map(_whole_number, unsorted))
    order = sorted(range(len(unsorted)), key=lambda i: int(unsorted[i]) if by_value else unsorted[i])
    names = tuple(unsorted[i] for i in order)
    labels = np.argsort(order)[found]
    if len(names) < 2:
        remedy = "Choose other labels, or add examples of another class."
        raise InputError(subject, "at least two classes", f"{len(names)} ({listed(list(names))})", remedy)
    counts = np.bincount(labels)
    single = [name for name, number in zip(names, counts, strict=True) if number == 1]
    if len(single) > len(names) / 2:
        raise InputError(
            subject,
            "classes with several examples each",
            f"{len(names)} different values in {len(labels)} examples",
            "It looks like a quantity or an identifier; choose a column of classes.",
        )
    if single:
        raise InputError(
            subject,
            "at least two examples of each class",
            f"one of {listed(single)}",
            "Leave those rows out, or join the classes with others.",
        )
    return labels.astype(np.int32), names
