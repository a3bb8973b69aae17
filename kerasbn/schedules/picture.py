"""Pictures of schedules: the rate by position, and the momentum where it is cycled."""

import os
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kerasbn import files
from kerasbn.schedules.base import Schedule

_RATE, _MOMENTUM = "#0072B2", "#D55E00"  # of Okabe and Ito, which the colour-blind too can tell apart
_POINTS = 2000


def draw(axes: Axes, schedule: Schedule, until: float) -> None:
    """Draw a schedule from 0 to `until`; the momentum with an axis of its own on the right.

    Args:
        axes: Where to.
        schedule: What.
        until: The last position, above 0.
    """
    positions = np.linspace(0, until, _POINTS, endpoint=False)  # what begins at `until` is not shown
    axes.plot(positions, schedule(positions), color=_RATE)
    axes.set(xlim=(0, until), ylim=(0, None))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    momentum = schedule.momentum(positions)
    if momentum is not None:
        right = axes.twinx()
        right.plot(positions, momentum, color=_MOMENTUM, linestyle="--")
        right.set_ylabel("momentum", color=_MOMENTUM)
        right.tick_params(axis="y", colors=_MOMENTUM)
        right.spines["top"].set_visible(False)


def plot(schedule: Schedule, until: float, path: str | os.PathLike[str] | None) -> Figure:
    """Return the figure of a schedule, and write it if there is a path; see `Schedule.plot`."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes, schedule, until)
    axes.set(xlabel="epoch or step", ylabel="learning rate")
    title = textwrap.fill(repr(schedule), 95, break_long_words=False)
    axes.set_title(title, fontsize="small", family="monospace", parse_math=False)
    if path is not None:
        with files.whole_file(path) as temporary:
            figure.savefig(temporary, dpi=110)
    return figure
