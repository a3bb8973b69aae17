"""The operations that formulas are written with, so that each is written once for floats, arrays and tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_A_LITTLE_MORE = 1 + 2**-50


@dataclass(frozen=True)
class Arithmetic:
    """What a formula may use beside + - * / and comparisons, for one kind of numbers, all of float64.

    Args:
        where: (condition, a, b) to a where the condition holds, and to b elsewhere.
        minimum: The lesser of two.
        maximum: The greater of two.
        floor: The greatest whole number not above.
        sin: Sine of radians.
        log: Natural logarithm.
        sqrt: Square root.
        power: (a, b) to a^b.
        pick: (t, boundaries, values) to the value whose index is the number of boundaries that are at most t.
    """

    where: Callable[[Any, Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    floor: Callable[[Any], Any]
    sin: Callable[[Any], Any]
    log: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    power: Callable[[Any, Any], Any]
    pick: Callable[[Any, Sequence[float], Sequence[float]], Any]


def periods(t: Any, period: float, xp: Arithmetic) -> Any:
    """Return how many whole periods lie before the position t; a multiple of the period begins the next one.

    By a factor that is a little too large: t / period may round to just below a whole number, as 0.3 / 0.1 does, and
    XLA makes it t * (1 / period), which does so at many multiples of a whole period. A position that is less than
    1e-15 of itself below a multiple counts as there.
    """
    return xp.floor(t * (_A_LITTLE_MORE / period))
