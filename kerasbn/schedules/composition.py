"""Schedules of schedules: join, scale, clip, repeat."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn.checks import InputError
from kerasbn.schedules.arithmetic import Arithmetic, periods
from kerasbn.schedules.base import Schedule, as_tuple, check_boundaries, check_schedule


def join(schedules: Sequence[Schedule], boundaries: Sequence[float]) -> Schedule:
    """Return one schedule after another, each from its own beginning.

        a(t) = schedules[i](t - boundaries[i - 1]),   boundaries[i - 1] <= t < boundaries[i]

    The momentum, where some schedules cycle it and others do not, is in these what the one before had at its end; the
    first ones of all have that with which it begins.

    Args:
        schedules: At least one.
        boundaries: Epochs or steps at which the second, the third, ... begin, above 0 and increasing.

    Returns:
        The joined schedule; the last one decides when it ends.

    Raises:
        InputError: If the boundaries do not increase, or do not fit the number of schedules.

    Example:
        >>> schedule = join([Constant(0.1), Linear(0.1, decay_steps=10)], [5])
        >>> [schedule(epoch) for epoch in (0, 5, 10, 15, 20)]
        [0.1, 0.1, 0.05, 0.0, 0.0]
    """
    return Joined(as_tuple("schedules", schedules), as_tuple("boundaries", boundaries))


def scale(schedule: Schedule, factor: float) -> Schedule:
    """Return a schedule with all rates multiplied by a factor; the momentum stays as it is.

        a(t) = factor b(t)

    Args:
        schedule: b.
        factor: Above 0, such as a `batch_size_factor`.

    Returns:
        The scaled schedule.

    Raises:
        InputError: If the factor is out of range.

    Example:
        >>> scale(InverseTime(0.1), batch_size_factor(256, 64))(1)
        0.2
    """
    return Scaled(schedule, factor)


def clip(schedule: Schedule, minimum: float | None = None, maximum: float | None = None) -> Schedule:
    """Return a schedule whose rates stay within limits; the momentum stays as it is.

        a(t) = min(max(b(t), minimum), maximum)

    Args:
        schedule: b.
        minimum: The least rate, at least 0; None: no limit.
        maximum: The greatest rate, above 0 and at least the minimum; None: no limit.

    Returns:
        The clipped schedule.

    Raises:
        InputError: If a limit is out of range, or there is none.

    Example:
        >>> [clip(InverseTime(0.2), minimum=0.05)(epoch) for epoch in (0, 1, 3, 10)]
        [0.2, 0.1, 0.05, 0.05]
    """
    return Clipped(schedule, minimum, maximum)


def repeat(schedule: Schedule, period: float, times: int | None = None) -> Schedule:
    """Return a schedule that starts again at each multiple of a period.

        a(t) = b(t mod period);   after the last time  b(period)

    Args:
        schedule: b.
        period: Epochs or steps, above 0.
        times: How often, at least 1; None: without end.

    Returns:
        The repeated schedule.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> schedule = repeat(Linear(0.4, decay_steps=4), period=4, times=2)
        >>> [schedule(epoch) for epoch in (0, 2, 3, 4, 6, 8, 9)]
        [0.4, 0.2, 0.1, 0.4, 0.2, 0.0, 0.0]
    """
    return Repeated(schedule, period, times)


class _Composition(Schedule):
    def __repr__(self) -> str:
        return self.name + super().__repr__().removeprefix(type(self).__name__)


@dataclass(frozen=True, repr=False)
class Joined(_Composition):
    """What `join` returns."""

    name: ClassVar[str] = "join"
    schedules: tuple[Schedule, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        self._hold("schedules", as_tuple("schedules", self.schedules))
        self._hold("boundaries", as_tuple("boundaries", self.boundaries))
        for index, schedule in enumerate(self.schedules):
            check_schedule(f"schedules[{index}]", schedule)
        check_boundaries(self.boundaries)
        if len(self.schedules) != len(self.boundaries) + 1:
            expected = f"one more than the {len(self.boundaries)} boundaries"
            raise InputError("schedules", expected, len(self.schedules))

    @property
    def cycles_momentum(self) -> bool:
        """Whether one of the schedules does."""
        return any(schedule.cycles_momentum for schedule in self.schedules)

    @property
    def length(self) -> float | None:
        """The last schedule's, from where it begins."""
        last = self.schedules[-1].length
        return None if last is None else (0.0, *self.boundaries)[-1] + last

    @property
    def horizon(self) -> float:
        """The last schedule's, from where it begins."""
        start = (0.0, *self.boundaries)[-1]
        return start + self.schedules[-1].horizon if self.schedules[-1].length != 0 else 1.2 * start or 1.0

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate of the schedule that t is in."""
        rate = self.schedules[0].formula(t, xp)
        for schedule, start in zip(self.schedules[1:], self.boundaries, strict=True):
            rate = xp.where(t < start, rate, schedule.formula(xp.maximum(t - start, 0.0), xp))
        return rate

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the momentum of the schedule that t is in, or the one that is held there."""
        momentum: Any = None
        for schedule, start, held in zip(self.schedules, (0.0, *self.boundaries), self._held, strict=True):
            into = xp.maximum(t - start, 0.0)
            own = schedule.momentum_formula(into, xp) if schedule.cycles_momentum else held + 0 * t
            momentum = own if momentum is None else xp.where(t < start, momentum, own)
        return momentum

    @functools.cached_property
    def _held(self) -> tuple[float, ...]:
        """For each schedule the momentum that stands before it: it is held by those that cycle none."""
        firsts = (schedule.momentum(0) for schedule in self.schedules)
        held = [next(first for first in firsts if first is not None)]
        for schedule, start, end in zip(self.schedules, (0.0, *self.boundaries), self.boundaries, strict=False):
            own = schedule.momentum(end - start)
            held.append(held[-1] if own is None else own)
        return tuple(held)


@dataclass(frozen=True, repr=False)
class _OfOne(_Composition):
    """A schedule made of one other, with its momentum and its length."""

    schedule: Schedule

    def __post_init__(self) -> None:
        check_schedule("schedule", self.schedule)

    @property
    def cycles_momentum(self) -> bool:
        """Whether the schedule does."""
        return self.schedule.cycles_momentum

    @property
    def length(self) -> float | None:
        """The schedule's."""
        return self.schedule.length

    @property
    def horizon(self) -> float:
        """The schedule's."""
        return self.schedule.horizon

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the schedule's."""
        return self.schedule.momentum_formula(t, xp)


@dataclass(frozen=True, repr=False)
class Scaled(_OfOne):
    """What `scale` returns."""

    name: ClassVar[str] = "scale"
    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("factor", 0, open_low=True)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate times the factor."""
        return self.factor * self.schedule.formula(t, xp)


@dataclass(frozen=True, repr=False)
class Clipped(_OfOne):
    """What `clip` returns."""

    name: ClassVar[str] = "clip"
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum is None and self.maximum is None:
            raise InputError("minimum, maximum", "a limit at least", "None for both")
        if self.minimum is not None:
            self._check("minimum", 0)
        if self.maximum is not None:
            self._check("maximum", self.minimum or 0, open_low=not self.minimum)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate within the limits."""
        rate = self.schedule.formula(t, xp)
        if self.minimum is not None:
            rate = xp.maximum(rate, float(self.minimum))
        return rate if self.maximum is None else xp.minimum(rate, float(self.maximum))


@dataclass(frozen=True, repr=False)
class Repeated(_OfOne):
    """What `repeat` returns."""

    name: ClassVar[str] = "repeat"
    period: float
    times: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("period", 0, open_low=True)
        if self.times is not None:
            self._check("times", 1, integer=True)

    @property
    def length(self) -> float | None:
        """The end of the last time."""
        return None if self.times is None else float(self.period * self.times)

    @property
    def horizon(self) -> float:
        """All times, or three."""
        return self.period * (3 if self.times is None else self.times + 0.2)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the schedule's rate at the position in the period."""
        return self.schedule.formula(self._into(t, xp), xp)

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the schedule's momentum at the position in the period."""
        return self.schedule.momentum_formula(self._into(t, xp), xp)

    def _into(self, t: Any, xp: Arithmetic) -> Any:
        index = periods(t, self.period, xp)
        if self.times is not None:
            index = xp.minimum(index, self.times - 1.0)
        return xp.minimum(xp.maximum(t - index * self.period, 0.0), float(self.period))
