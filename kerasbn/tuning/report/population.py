"""Population-based training as pictures: what the members and their copies were trained with, over the epochs."""

import itertools
from collections.abc import Sequence
from typing import Any

from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.figures import BEST, COLORS, Figure, epochs_of, escape, figure, place, rounded, scored
from kerasbn.tuning.report.hyperparameters import plotly_axis
from kerasbn.tuning.schedule import schedule_of
from kerasbn.tuning.store.records import Segment, StudyContent, TrialRecord


def _trace(axis: Axis, lines: Sequence[Sequence[tuple[int, int]]], name: str, **style: Any) -> dict[str, Any]:
    """Return a trace of several lines, each through points of an epoch and the trial whose value it is."""
    points: list[tuple[int | None, int | None]] = []
    for line in lines:
        points += [*line, (None, None)]  # a gap
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [epoch for epoch, _ in points],
        "y": [None if number is None else rounded(axis.coordinate(axis.values[number])) for _, number in points],
        "customdata": [number for _, number in points],
        "hoverinfo": "none",
        "name": name,
        "showlegend": True,
        **style,
    }


def _figure(
    axis: Axis, schedules: Sequence[tuple[TrialRecord, Sequence[Segment]]], best: Sequence[TrialRecord]
) -> Figure:
    shown = [(record, schedule) for record, schedule in schedules if record.number in axis.values]
    own = [[(schedule[-1].epoch, record.number), (epochs_of(record), record.number)] for record, schedule in shown]
    copies = [
        [(schedule[-1].epoch, schedule[-2].trial), (schedule[-1].epoch, record.number)]
        for record, schedule in shown
        if len(schedule) > 1 and schedule[-2].trial in axis.values
    ]
    lines = []
    for record in best:
        schedule = schedule_of(record)
        ends = [*(segment.epoch for segment in schedule[1:]), epochs_of(record)]
        steps = [[(s.epoch, s.trial), (end, s.trial)] for s, end in zip(schedule, ends, strict=True)]
        lines = [[point for step in steps for point in step if step[0][1] in axis.values]]
    traces = [
        _trace(axis, own, "trials", line={"color": COLORS["completed"], "width": 1.5}),
        _trace(axis, copies, "copies", line={"color": COLORS["failed"], "width": 1, "dash": "dot"}),
        _trace(axis, lines, "the way to the best", line={"color": BEST, "width": 3.5}),
    ]
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    margin = {"l": 70, "r": 14, "t": 36, "b": 46}
    epochs = {"title": "epoch", "zeroline": False, "rangemode": "tozero"}
    return figure(traces, epochs, plotly_axis(axis), showlegend=True, legend=legend, margin=margin)


def population(content: StudyContent, axes: Sequence[Axis]) -> tuple[str, dict[str, Figure]]:
    """Return what copies of trials have varied: words, and a picture for each such hyperparameter.

    Args:
        content: The study.
        axes: Its hyperparameters.

    Returns:
        Both empty if no trial goes on from another.
    """
    schedules = [(record, schedule_of(record)) for record in (*content.trials, *content.waiting)]
    pairs = [pair for _, schedule in schedules for pair in itertools.pairwise(schedule)]
    varied = {name for one, other in pairs for name in other.values if one.values.get(name) != other.values[name]}
    drawn = [axis for axis in axes if axis.varies and axis.name in varied]
    if not drawn:
        return "", {}
    best = scored(content)[:1]
    figures = {f"plot-population-{index}": _figure(axis, schedules, best) for index, axis in enumerate(drawn)}
    copies = sum(len(schedule) > 1 for _, schedule in schedules)
    way = ", ".join(str(segment.trial) for record in best for segment in schedule_of(record))
    words = (
        f"<h3>What copies varied</h3><p>{copies} of {len(schedules)} trials are copies: they go on from the weights of "
        "a better trial, with other values. Each line is a trial, from the epoch it begins with to its last; dots lead "
        f"from a trial to its copies. The way to the best: trial {escape(way)}.</p>"
    )
    return words + f'<div class="grid">{"".join(place(name, 320) for name in figures)}</div>', figures
