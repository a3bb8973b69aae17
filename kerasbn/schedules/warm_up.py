"""WarmUp: a small rate that grows, before another schedule starts."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.arithmetic import Arithmetic
from kerasbn.schedules.base import Schedule, check_schedule

_SHAPES = ("linear", "exponential", "constant")


@dataclass(frozen=True, repr=False)
class WarmUp(Schedule):
    """A warm-up to the first rate of a schedule, and then the schedule from its beginning.

        a(t) = w(t)           t < W
        a(t) = b(t - W)       t >= W, with b the schedule
        w(t) = i + (b(0) - i) t / W (linear), i (b(0) / i)^(t / W) (exponential), i (constant)

    The schedule starts after the warm-up, as it does in Keras's CosineDecay and in optax: `Cosine(a0, 90)` after a
    warm-up of 10 epochs ends at epoch 100. The momentum, where it is cycled, is the schedule's first one till then.

    Args:
        schedule: b, what comes after the warm-up.
        warmup_steps: W, epochs or steps, above 0.
        shape: "linear", "exponential" or "constant".
        initial_learning_rate: i, at least 0, and above 0 if the shape is not linear. With 0 the first step of all
            changes nothing.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> schedule = WarmUp(InverseTime(0.2), warmup_steps=4)
        >>> [round(schedule(epoch), 3) for epoch in (0, 1, 2, 4, 5)]
        [0.0, 0.05, 0.1, 0.2, 0.1]

    Source: Goyal et al. (2017), arXiv:1706.02677, section 2.2.
    """

    name: ClassVar[str] = "warm_up"
    schedule: Schedule
    warmup_steps: float
    shape: str = "linear"
    initial_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        check_schedule("schedule", self.schedule)
        self._check("warmup_steps", 0, open_low=True)
        checks.one_of("shape", self.shape, _SHAPES)
        grows = self.shape == "linear"
        remedy = "" if grows else f"A warm-up that is {self.shape} cannot start from 0."
        self._check("initial_learning_rate", 0, open_low=not grows, remedy=remedy)
        if self.shape == "exponential" and self._target == 0:
            raise InputError("schedule", "a first rate above 0", self.schedule, "Use the shape 'linear'.")

    @functools.cached_property
    def _target(self) -> float:
        return self.schedule(0)

    @property
    def cycles_momentum(self) -> bool:
        """Whether the schedule does."""
        return self.schedule.cycles_momentum

    @property
    def length(self) -> float | None:
        """The schedule's, later by the warm-up."""
        return None if self.schedule.length is None else self.warmup_steps + self.schedule.length

    @property
    def horizon(self) -> float:
        """The schedule's, later by the warm-up."""
        return self.warmup_steps + (self.schedule.horizon if self.schedule.length != 0 else self.warmup_steps)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate of the warm-up or of the schedule."""
        warm = xp.minimum(t, self.warmup_steps) / self.warmup_steps
        first, target = self.initial_learning_rate, self._target
        if self.shape == "linear":
            rate = first + (target - first) * warm
        elif self.shape == "exponential":
            rate = first * xp.power(target / first, warm)
        else:
            rate = first + 0 * warm
        after = self.schedule.formula(xp.maximum(t - self.warmup_steps, 0.0), xp)
        return xp.where(t < self.warmup_steps, rate, after)

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the momentum of the schedule, the first one in the warm-up."""
        return self.schedule.momentum_formula(xp.maximum(t - self.warmup_steps, 0.0), xp)
