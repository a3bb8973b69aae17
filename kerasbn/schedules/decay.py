"""Formulas of decay that has no end: constant, inverse time, exponential, inverse square root, staircase."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn.schedules.arithmetic import Arithmetic, periods
from kerasbn.schedules.base import Schedule


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The same rate at all times.

        a(t) = a0

    Args:
        initial_learning_rate: a0, above 0.

    Raises:
        InputError: If it is out of range.

    Example:
        >>> Constant(0.1)(7)
        0.1
    """

    name: ClassVar[str] = "constant"
    initial_learning_rate: float

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")

    @property
    def length(self) -> float | None:
        """0."""
        return 0.0

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return a0."""
        return self.initial_learning_rate + 0 * t


@dataclass(frozen=True, repr=False)
class InverseTime(Schedule):
    """Inverse-time decay.

        a(t) = a0 / (1 + d t / s);  with a staircase  a0 / (1 + d floor(t / s))

    Args:
        initial_learning_rate: a0, above 0.
        decay_rate: d, an amount for each s epochs or steps, at least 0.
        decay_steps: s, epochs or steps, above 0.
        staircase: Whether the rate changes only every s epochs or steps.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> schedule = InverseTime(0.2, decay_rate=1.0)
        >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 3, 4)]
        [0.2, 0.1, 0.067, 0.05, 0.04]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    name: ClassVar[str] = "inverse_time"
    initial_learning_rate: float
    decay_rate: float = 1.0
    decay_steps: float = 1.0
    staircase: bool = False

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("decay_rate", 0)
        self._check("decay_steps", 0, open_low=True)
        self._check_truth("staircase")

    @property
    def length(self) -> float | None:
        """None, unless d = 0."""
        return None if self.decay_rate else 0.0

    @property
    def horizon(self) -> float:
        """Where the rate is a tenth of the first one."""
        return 9 * self.decay_steps / (self.decay_rate or 1)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return a0 / (1 + d t / s)."""
        times = periods(t, self.decay_steps, xp) if self.staircase else t / self.decay_steps
        return self.initial_learning_rate / (1 + self.decay_rate * times)


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    """Exponential decay.

        a(t) = d^(t / s) a0;  with a staircase  d^floor(t / s) a0

    Args:
        initial_learning_rate: a0, above 0.
        decay_rate: d, a factor for each s epochs or steps, in (0, 1].
        decay_steps: s, epochs or steps, above 0.
        staircase: Whether the rate changes only every s epochs or steps.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [round(Exponential(0.2, decay_rate=0.95)(epoch), 4) for epoch in (0, 1, 2)]
        [0.2, 0.19, 0.1805]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    name: ClassVar[str] = "exponential"
    initial_learning_rate: float
    decay_rate: float = 0.95
    decay_steps: float = 1.0
    staircase: bool = False

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("decay_rate", 0, 1, open_low=True)
        self._check("decay_steps", 0, open_low=True)
        self._check_truth("staircase")

    @property
    def length(self) -> float | None:
        """None, unless d = 1."""
        return None if self.decay_rate < 1 else 0.0

    @property
    def horizon(self) -> float:
        """Where the rate is a fiftieth of the first one."""
        return self.decay_steps * (math.log(0.02) / math.log(self.decay_rate) if self.decay_rate < 1 else 10)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return d^(t / s) a0."""
        times = periods(t, self.decay_steps, xp) if self.staircase else t / self.decay_steps
        return self.initial_learning_rate * xp.power(self.decay_rate, times)


@dataclass(frozen=True, repr=False)
class InverseSqrt(Schedule):
    """Decay with the square root of time.

        a(t) = k / sqrt(max(t, 1)) a0

    The course counts epochs from 1, so that the formula starts at k a0. Positions here start at 0, where
    1 / sqrt(t) has no value; t is held at 1 below 1, and the first two epochs have the rate k a0.

    Args:
        initial_learning_rate: a0, above 0.
        k: Factor, above 0.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [round(InverseSqrt(0.2)(epoch), 3) for epoch in (0, 1, 4, 16)]
        [0.2, 0.2, 0.1, 0.05]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    name: ClassVar[str] = "inverse_sqrt"
    initial_learning_rate: float
    k: float = 1.0

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("k", 0, open_low=True)

    @property
    def horizon(self) -> float:
        """Where the rate is a tenth of the first one."""
        return 100.0

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return k / sqrt(max(t, 1)) a0."""
        return self.k * self.initial_learning_rate / xp.sqrt(xp.maximum(t, 1.0))


@dataclass(frozen=True, repr=False)
class Staircase(Schedule):
    """A rate that is multiplied by a factor every so many epochs or steps: `Exponential` with a staircase.

        a(t) = d^floor(t / s) a0

    Args:
        initial_learning_rate: a0, above 0.
        decay_steps: s, epochs or steps from one change to the next, above 0.
        decay_rate: d, the factor, in (0, 1].

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [Staircase(0.2, decay_steps=10)(epoch) for epoch in (0, 9, 10, 20)]
        [0.2, 0.2, 0.1, 0.05]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    name: ClassVar[str] = "staircase"
    initial_learning_rate: float
    decay_steps: float
    decay_rate: float = 0.5

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("decay_steps", 0, open_low=True)
        self._check("decay_rate", 0, 1, open_low=True)

    @property
    def length(self) -> float | None:
        """None, unless d = 1."""
        return None if self.decay_rate < 1 else 0.0

    @property
    def horizon(self) -> float:
        """Five steps of the stairs."""
        return 5 * self.decay_steps

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return d^floor(t / s) a0."""
        return self.initial_learning_rate * xp.power(self.decay_rate, periods(t, self.decay_steps, xp))
