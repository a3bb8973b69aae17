"""Rates by a table: piecewise constant, and a list with one value for each epoch."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.arithmetic import Arithmetic
from kerasbn.schedules.base import Schedule, as_tuple, check_boundaries


def _check_values(values: Any) -> tuple[float, ...]:
    """Return rates as a tuple of Python's numbers, or raise an InputError."""
    values = as_tuple("values", values)
    for index, value in enumerate(values):
        checks.in_range(f"values[{index}]", value, 0)
    if not values:
        raise InputError("values", "at least one rate", "none")
    return values


@dataclass(frozen=True, repr=False)
class PiecewiseConstant(Schedule):
    """A rate for each interval of time.

        a(t) = values[i],   boundaries[i - 1] <= t < boundaries[i]

    At a boundary the next value begins, as at the milestones of PyTorch and optax and at the steps of `Staircase`.
    Keras's PiecewiseConstantDecay changes one step later: its boundaries are the last steps of the old rate.

    Args:
        boundaries: Epochs or steps, above 0 and increasing.
        values: Rates, each at least 0: one more than boundaries.

    Raises:
        InputError: If an argument is out of range, or the numbers of boundaries and values do not fit.

    Example:
        >>> schedule = PiecewiseConstant((30, 60), (0.1, 0.01, 0.001))
        >>> [schedule(epoch) for epoch in (0, 29, 30, 60, 90)]
        [0.1, 0.1, 0.01, 0.001, 0.001]
    """

    name: ClassVar[str] = "piecewise_constant"
    boundaries: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        self._hold("boundaries", as_tuple("boundaries", self.boundaries))
        self._hold("values", _check_values(self.values))
        check_boundaries(self.boundaries)
        if len(self.values) != len(self.boundaries) + 1:
            expected = f"one more than the {len(self.boundaries)} boundaries"
            raise InputError("values", expected, f"{len(self.values)}: {self.values}")

    @property
    def length(self) -> float | None:
        """The last boundary."""
        return float(self.boundaries[-1]) if self.boundaries else 0.0

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the value of the interval that t is in."""
        return xp.pick(t, self.boundaries, self.values)


@dataclass(frozen=True, repr=False)
class Manual(Schedule):
    """A list of rates, one for each epoch; the last one holds for all epochs after it.

        a(t) = values[min(floor(t), n - 1)]

    Args:
        values: The n rates, each at least 0.

    Raises:
        InputError: If there is none, or one is out of range.

    Example:
        >>> schedule = Manual((0.1, 0.1, 0.05, 0.01))
        >>> [schedule(epoch) for epoch in (0, 1.5, 2, 3, 100)]
        [0.1, 0.1, 0.05, 0.01, 0.01]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay ("manual decay").
    """

    name: ClassVar[str] = "manual"
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        self._hold("values", _check_values(self.values))

    @property
    def length(self) -> float | None:
        """The last epoch of the list, counted from 0."""
        return float(len(self.values) - 1)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the value of the epoch that t is in."""
        return xp.pick(t, range(1, len(self.values)), self.values)
