"""Where a schedule ends that is meant to end: training that goes on longer stays at its last rate."""

from collections.abc import Callable

from kerasbn.schedules.base import Schedule
from kerasbn.schedules.composition import Clipped, Joined, Scaled
from kerasbn.schedules.piecewise import Manual, PiecewiseConstant
from kerasbn.schedules.warm_up import WarmUp


def end_of(schedule: Callable[[float], float]) -> float | None:
    """Return where a schedule ends that is not meant to go on with its last rate; None if there is no such place."""
    if isinstance(schedule, Scaled | Clipped):
        return end_of(schedule.schedule)
    if isinstance(schedule, Joined | WarmUp):
        last = schedule.schedule if isinstance(schedule, WarmUp) else schedule.schedules[-1]
        end = end_of(last)
        return None if end is None else schedule.length - last.length + end  # type: ignore[operator]
    if not isinstance(schedule, Schedule) or isinstance(schedule, PiecewiseConstant) or not schedule.length:
        return None
    if isinstance(schedule, Manual):
        return schedule.length + 1  # the last epoch of the list is one of it
    falls = schedule(schedule.length) < schedule(0.99 * schedule.length)
    return schedule.length if falls else None
