"""Learning curves of all trials: the objective by epoch."""

from collections.abc import Mapping
from typing import Any

from kerasbn.tuning.report.figures import (
    BEST,
    COLORS,
    RAMP,
    SIGNS,
    Section,
    epochs_of,
    escape,
    fifths,
    figure,
    place,
    ramp_key,
    rounded,
    score_axis,
    scored,
)
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_MOST_POINTS = 40_000  # in the picture: longer curves have every second, third, ... epoch

Curve = list[tuple[int, float | None]]  # the epoch, from 1, and the objective; None where it is not finite


def _curves(trial: TrialRecord, objective: str) -> list[Curve]:
    """Return the objective by epoch of each execution; none of an execution that did not report it."""
    executions: dict[int, Curve] = {}
    for row in trial.history:
        if objective in row:
            curve = executions.setdefault(int(row.get("execution", 0)), [])
            curve.append((int(row["epoch"]) + 1, rounded(row[objective])))
    return [curve for curve in executions.values() if any(value is not None for _, value in curve)]


def _thinned(curve: Curve, most: int) -> Curve:
    step = -(-len(curve) // most)
    return curve if step == 1 else [*curve[:-1:step], curve[-1]]


def _lines(curves: list[tuple[int, Curve]], color: str, width: float, dash: str = "solid") -> dict[str, Any]:
    """Return curves as one trace with gaps between them: hundreds of traces would take seconds to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for number, curve in curves:
        x += [*(epoch for epoch, _ in curve), None]
        y += [*(value for _, value in curve), None]
        numbers += [number] * len(curve) + [None]
    line = {"color": color, "width": width, "dash": dash}
    # A curve of a single epoch is a point.
    alone = any(len(curve) == 1 for _, curve in curves)
    marker = {"size": 5, "color": color}
    mode = "lines+markers" if alone or len(curves) == 1 else "lines"
    return {
        "type": "scatter",
        "mode": mode,
        "x": x,
        "y": y,
        "customdata": numbers,
        "hoverinfo": "none",
        "line": line,
        "marker": marker,
    }


def _ends(trials: list[TrialRecord], curves: Mapping[int, list[Curve]], status: str) -> dict[str, Any]:
    """Return the signs at the ends of curves that ended before their time."""
    ends = [(t.number, curve[-1]) for t in trials if t.status == status for curve in curves[t.number]]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [epoch for _, (epoch, _) in ends],
        "y": [value for _, (_, value) in ends],
        "customdata": [number for number, _ in ends],
        "hoverinfo": "none",
        "marker": {"symbol": SIGNS[status], "size": 9, "color": COLORS[status], "line": {"width": 1, "color": "#fff"}},
    }


def _missing(content: StudyContent) -> str:
    names = dict.fromkeys(name for t in content.trials for row in t.history for name in row)
    reported = [name for name in names if name not in ("execution", "epoch")]
    instead = f"Reported each epoch: {', '.join(reported)}." if reported else "Nothing was reported by epoch."
    name = escape(content.objective.name)
    return f'<p class="note">No trial has a value of {name} for each epoch. {escape(instead)}</p>'


def section(content: StudyContent) -> Section:
    """Return the learning curves of all trials, finished and waiting."""
    objective = content.objective
    trials = [*content.trials, *content.waiting]
    curves = {trial.number: _curves(trial, objective.name) for trial in trials}
    count = sum(len(each) for each in curves.values())
    if not count:
        return Section("curves", "Learning curves", _missing(content))
    if all(len(curve) == 1 for each in curves.values() for curve in each):
        note = f"Of each trial {objective.name} is known for one epoch only, so that there is no curve to draw."
        return Section("curves", "Learning curves", f'<p class="note">{escape(note)}</p>')
    most = max(20, _MOST_POINTS // count)
    curves = {number: [_thinned(curve, most) for curve in each] for number, each in curves.items()}
    rank, best = fifths(content), next(iter(scored(content)), None)
    traces = []
    broken = [(t.number, curve) for t in trials if t.number not in rank for curve in curves[t.number]]
    if broken:
        traces.append(_lines(broken, COLORS["failed"], 1.2, "dot"))
    for fifth, color in enumerate(RAMP):
        group = [
            (number, curve)
            for number, each in curves.items()
            if rank.get(number) == fifth and (best is None or number != best.number)
            for curve in each
        ]
        if group:
            traces.append(_lines(group, color, 1.2) | {"opacity": min(1.0, 200 / count)})
    if best is not None and curves[best.number]:
        traces.append(_lines([(best.number, curve) for curve in curves[best.number]], BEST, 3))
    for status in ("stopped", "waiting"):
        if any(trial.status == status and curves[trial.number] for trial in trials):
            traces.append(_ends(trials, curves, status))
    values = [value for each in curves.values() for curve in each for _, value in curve]
    # The axis is made for the later half of the epochs, in which trials differ least.
    late = [value for each in curves.values() for curve in each for _, value in curve[len(curve) // 2 :]]
    few = sum(map(bool, curves.values())) <= 3  # there is room for all of them
    y, left_out = score_axis(values if few else late, objective.name, objective.direction, values)
    x = {"title": "epoch", "rangemode": "tozero", "zeroline": False}
    if max((epochs_of(trial) for trial in trials), default=0) <= 15:
        x["dtick"] = 1
    executions = max(len(each) for each in curves.values())
    words = f"{objective.name} at the end of each epoch, a line a trial"
    words += f", or {executions} where it was trained {executions} times." if executions > 1 else "."
    if any(trial.status == "stopped" for trial in trials):
        words += " A triangle stands where a trial was stopped, since others were better."
    if content.waiting:
        words += " A diamond: waits for others of its rung."
    gaps = sum(value is None for value in values)
    if gaps:
        words += f" Lines have gaps where the value was not finite ({gaps} {'times' if gaps > 1 else 'time'})."
    body = f"<p>{escape(words)} {escape(left_out)}</p>{ramp_key(bool(broken))}{place('plot-curves', 440)}"
    return Section("curves", "Learning curves", body, {"plot-curves": figure(traces, x, y)})
