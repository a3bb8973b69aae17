"""Curves from one rate to another in a given time: polynomial, linear, cosine, and cosine again and again."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn.schedules.arithmetic import Arithmetic, periods
from kerasbn.schedules.base import Schedule


def half_cosine(left: Any, xp: Arithmetic) -> Any:
    """Return the share of the way that is left when a share `left` of the time is: (1 - cos(pi left)) / 2.

    Written as a square, since the difference from 1 would have no correct digits near the end.
    """
    root = xp.sin(math.pi / 2 * left)
    return root * root


def between(start: float, end: float, way_left: Any) -> Any:
    """Return what lies between two rates where a share of the way is left; either of them exactly at its end."""
    return start * way_left + end * (1 - way_left)


@dataclass(frozen=True, repr=False)
class _Annealing(Schedule):
    """From the first rate to the last in `decay_steps`, and the last ever after."""

    initial_learning_rate: float
    decay_steps: float
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("decay_steps", 0, open_low=True)
        self._check("end_learning_rate", 0)

    @property
    def length(self) -> float | None:
        """T."""
        return float(self.decay_steps)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate between the first and the last."""
        # 1 - t / T, so that it is 0 exactly at the end under XLA, too, which multiplies by 1 / T.
        left = (self.decay_steps - xp.minimum(t, self.decay_steps)) / self.decay_steps
        return between(self.initial_learning_rate, self.end_learning_rate, self._way_left(left, xp))

    def _way_left(self, left: Any, xp: Arithmetic) -> Any:
        """Return the share of the way that is left when a share `left` of the time is."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class Polynomial(_Annealing):
    """Polynomial decay.

        a(t) = a1 + (a0 - a1) (1 - min(t, T) / T)^p

    Args:
        initial_learning_rate: a0, above 0.
        decay_steps: T, epochs or steps, above 0.
        end_learning_rate: a1, at least 0, from T on.
        power: p, above 0.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [Polynomial(0.1, decay_steps=100, power=2.0)(epoch) for epoch in (0, 50, 100)]
        [0.1, 0.025, 0.0]
    """

    name: ClassVar[str] = "polynomial"
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("power", 0, open_low=True)

    def _way_left(self, left: Any, xp: Arithmetic) -> Any:
        return xp.power(left, self.power)


@dataclass(frozen=True, repr=False)
class Linear(_Annealing):
    """A straight line, down or up.

        a(t) = a0 + (a1 - a0) min(t, T) / T

    Args:
        initial_learning_rate: a0, above 0.
        decay_steps: T, epochs or steps, above 0.
        end_learning_rate: a1, at least 0, from T on.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [Linear(0.4, decay_steps=100)(epoch) for epoch in (0, 50, 75, 100, 200)]
        [0.4, 0.2, 0.1, 0.0, 0.0]
    """

    name: ClassVar[str] = "linear"

    def _way_left(self, left: Any, xp: Arithmetic) -> Any:
        return left


@dataclass(frozen=True, repr=False)
class Cosine(_Annealing):
    """Half a period of a cosine.

        a(t) = a1 + (a0 - a1) (1 + cos(pi min(t, T) / T)) / 2

    Args:
        initial_learning_rate: a0, above 0.
        decay_steps: T, epochs or steps, above 0.
        end_learning_rate: a1, at least 0, from T on.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> [round(Cosine(0.1, decay_steps=100)(epoch), 4) for epoch in (0, 25, 50, 75, 100)]
        [0.1, 0.0854, 0.05, 0.0146, 0.0]

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983.
    """

    name: ClassVar[str] = "cosine"

    def _way_left(self, left: Any, xp: Arithmetic) -> Any:
        return half_cosine(left, xp)


@dataclass(frozen=True, repr=False)
class CosineRestarts(Schedule):
    """Cosines one after another, each as long as the one before times a factor: SGDR. It has no end.

        a(t) = a1 + (a0 - a1) m^i (1 + cos(pi (t - S_i) / (T f^i))) / 2,   S_i <= t < S_(i+1)
        S_i  = T (1 + f + ... + f^(i-1))

    Args:
        initial_learning_rate: a0, above 0.
        decay_steps: T, epochs or steps to the first restart, above 0.
        period_factor: f, at least 1.
        peak_factor: m, in (0, 1]: what is left at each restart of the first height above a1.
        end_learning_rate: a1, at least 0, towards which each cosine goes.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> schedule = CosineRestarts(0.1, decay_steps=10, peak_factor=0.5)
        >>> [round(schedule(epoch), 4) for epoch in (0, 5, 9.999, 10, 20, 30)]
        [0.1, 0.05, 0.0, 0.05, 0.025, 0.025]

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983.
    """

    name: ClassVar[str] = "cosine_restarts"
    initial_learning_rate: float
    decay_steps: float
    period_factor: float = 2.0
    peak_factor: float = 1.0
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("decay_steps", 0, open_low=True)
        self._check("period_factor", 1)
        self._check("peak_factor", 0, 1, open_low=True)
        self._check("end_learning_rate", 0)

    @property
    def horizon(self) -> float:
        """Three cosines."""
        return self.decay_steps * (1 + self.period_factor + self.period_factor**2)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate on the cosine that t is in."""
        if self.period_factor == 1:
            index = periods(t, self.decay_steps, xp)
            start, period = index * self.decay_steps, self.decay_steps
        else:
            grown = self.period_factor - 1
            # S_i / T = (f^i - 1) / (f - 1), solved for i; the logarithms' last bits must not put off a restart.
            index = xp.floor(xp.log(1 + t * (grown / self.decay_steps)) / math.log(self.period_factor) + 1e-9)
            times = xp.power(self.period_factor, index)
            start, period = self.decay_steps * ((times - 1) / grown), self.decay_steps * times
        left = (period - xp.maximum(t - start, 0.0)) / period
        height = (self.initial_learning_rate - self.end_learning_rate) * xp.power(self.peak_factor, index)
        return self.end_learning_rate + height * half_cosine(left, xp)
