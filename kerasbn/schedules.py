"""Learning-rate formulas: small values that map a position (an epoch or a step) to a rate."""

import math
from dataclasses import dataclass
from typing import Protocol

from kerasbn import checks


class Schedule(Protocol):
    """Anything that maps a position t >= 0, in epochs or steps from the start of training, to a rate."""

    def __call__(self, position: float, /) -> float:
        """Return the learning rate at `position`."""
        ...


def _position(position: float) -> float:
    return float(checks.in_range("position", position, 0))


def _check_initial(rate: float) -> None:
    checks.in_range("initial_learning_rate", rate, 0, open_low=True)


@dataclass(frozen=True)
class Constant:
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

    initial_learning_rate: float

    def __post_init__(self) -> None:
        _check_initial(self.initial_learning_rate)

    def __call__(self, position: float) -> float:
        """Return a0; InputError if `position` is below 0."""
        _position(position)
        return float(self.initial_learning_rate)


@dataclass(frozen=True)
class InverseTime:
    """Inverse-time decay.

        a(t) = a0 / (1 + d t)

    Args:
        initial_learning_rate: a0, above 0.
        decay_rate: d, an amount for each epoch or step, at least 0.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> schedule = InverseTime(0.2, decay_rate=1.0)
        >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 3, 4)]
        [0.2, 0.1, 0.067, 0.05, 0.04]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    initial_learning_rate: float
    decay_rate: float = 1.0

    def __post_init__(self) -> None:
        _check_initial(self.initial_learning_rate)
        checks.in_range("decay_rate", self.decay_rate, 0)

    def __call__(self, position: float) -> float:
        """Return a0 / (1 + d t); InputError if `position` is below 0."""
        return float(self.initial_learning_rate / (1 + self.decay_rate * _position(position)))


@dataclass(frozen=True)
class Exponential:
    """Exponential decay.

        a(t) = d^t a0

    Args:
        initial_learning_rate: a0, above 0.
        decay_rate: d, a factor for each epoch or step, in (0, 1].

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [round(Exponential(0.2, decay_rate=0.95)(epoch), 4) for epoch in (0, 1, 2)]
        [0.2, 0.19, 0.1805]

    Source: Ng, Improving Deep Neural Networks, week 2, learning rate decay.
    """

    initial_learning_rate: float
    decay_rate: float = 0.95

    def __post_init__(self) -> None:
        _check_initial(self.initial_learning_rate)
        checks.in_range("decay_rate", self.decay_rate, 0, 1, open_low=True)

    def __call__(self, position: float) -> float:
        """Return d^t a0; InputError if `position` is below 0."""
        return float(self.decay_rate ** _position(position) * self.initial_learning_rate)


@dataclass(frozen=True)
class InverseSqrt:
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

    initial_learning_rate: float
    k: float = 1.0

    def __post_init__(self) -> None:
        _check_initial(self.initial_learning_rate)
        checks.in_range("k", self.k, 0, open_low=True)

    def __call__(self, position: float) -> float:
        """Return k / sqrt(max(t, 1)) a0; InputError if `position` is below 0."""
        return float(self.k / math.sqrt(max(_position(position), 1.0)) * self.initial_learning_rate)
