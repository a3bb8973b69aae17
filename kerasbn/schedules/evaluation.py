"""The arithmetic of floats and of NumPy's arrays, and calling a formula with it."""

import bisect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.arithmetic import Arithmetic

# Python's own functions are ten times faster on a float. NumPy's stand where IEEE 754 does not prescribe the last bit,
# so that a rate is the same bit for bit whether asked for alone or among others.
FLOATS = Arithmetic(
    where=lambda condition, a, b: a if condition else b,
    minimum=min,
    maximum=max,
    floor=math.floor,
    sin=np.sin,
    log=np.log,
    sqrt=math.sqrt,
    power=np.power,
    pick=lambda t, boundaries, values: values[bisect.bisect_right(boundaries, t)],
)
ARRAYS = Arithmetic(
    where=np.where,
    minimum=np.minimum,
    maximum=np.maximum,
    floor=np.floor,
    sin=np.sin,
    log=np.log,
    sqrt=np.sqrt,
    power=np.power,
    pick=lambda t, boundaries, values: np.asarray(values, np.float64)[np.searchsorted(boundaries, t, "right")],
)


def evaluate(formula: Callable[[Any, Arithmetic], Any], position: Any) -> Any:
    """Return the value of a formula at a position, or an array of values at an array of positions.

    Args:
        formula: Of a position t and the arithmetic for it.
        position: A number, or a NumPy array of numbers; each finite and at least 0.

    Returns:
        A float, or a new float64 array of the same shape.

    Raises:
        InputError: If a position is not such a number.
    """
    if not getattr(position, "shape", ()):
        return float(formula(float(checks.in_range("position", position, 0)), FLOATS))
    if not isinstance(position, np.ndarray) or position.dtype.kind not in "iuf":
        kind = f"{type(position).__name__} of {getattr(position, 'dtype', 'unknown type')}"
        raise InputError("position", "a number or a NumPy array of numbers", kind, "as_keras() takes tensors.")
    t = position.astype(np.float64)
    bad = ~((t >= 0) & (t < np.inf))
    if bad.any():
        raise InputError("position", "numbers of at least 0", f"{t[bad][0]} among {t.size}")
    return np.asarray(formula(t, ARRAYS))
