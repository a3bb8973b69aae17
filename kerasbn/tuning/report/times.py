"""Where the time went: seconds by trial, and the best score so far."""

import datetime
import itertools
import math
from collections.abc import Sequence
from typing import Any

from kerasbn.tuning.report.figures import (
    BEST,
    COLORS,
    Figure,
    Section,
    escape,
    figure,
    finite_score,
    key,
    place,
    rounded,
    score_axis,
)
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_SECONDS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))


def duration(seconds: float) -> str:
    """Return a time as people say it: 12.3 s, 4 min 5 s, 3 h 20 min, 2 d 3 h."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    (large, of_large), (small, of_small) = next(pair for pair in itertools.pairwise(units) if whole >= pair[0][1])
    return f"{whole // of_large} {large} {whole % of_large // of_small} {small}"


def _unit(seconds: float) -> tuple[str, float]:
    """Return the unit in which so many seconds are more than one, and its length in seconds."""
    return next((unit for unit in _SECONDS if seconds >= 2 * unit[1]), _SECONDS[-1])


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.astimezone()


def total_seconds(content: StudyContent) -> float:
    """Return the sum of all trials' seconds."""
    return sum(trial.seconds for trial in (*content.trials, *content.waiting) if math.isfinite(trial.seconds))


def elapsed(content: StudyContent) -> float | None:
    """Return the seconds from the study's beginning to its last trial's end; None if one is not known."""
    ends = [_moment(trial.finished) for trial in content.trials]
    begun = _moment(content.created)
    known = [end for end in ends if end is not None]
    return (max(known) - begun).total_seconds() if begun and known else None


def by_end(content: StudyContent) -> list[TrialRecord]:
    """Return finished trials in the order in which they ended; by number where that is not known."""
    ends = {trial.number: _moment(trial.finished) for trial in content.trials}
    if any(end is None for end in ends.values()):
        return sorted(content.trials, key=lambda trial: trial.number)
    return sorted(content.trials, key=lambda trial: (ends[trial.number], trial.number))


def _best_so_far(content: StudyContent, ordered: Sequence[TrialRecord], at: Sequence[float]) -> list[dict[str, Any]]:
    """Return the best score so far as steps, with all trials as points."""
    x: list[float] = []
    y: list[float | None] = []
    numbers: list[int] = []
    best: TrialRecord | None = None
    better = content.objective.better_than
    for trial, place_ in zip(ordered, at, strict=True):
        if finite_score(trial) and (best is None or better(trial.score, best.score)):
            best = trial
        if best is not None:
            x.append(place_)
            y.append(rounded(best.score))
            numbers.append(best.number)
    points = [(p, t) for t, p in zip(ordered, at, strict=True) if finite_score(t)]
    trials = {
        "type": "scatter",
        "mode": "markers",
        "x": [rounded(p) for p, _ in points],
        "y": [rounded(t.score) for _, t in points],
        "customdata": [t.number for _, t in points],
        "hoverinfo": "none",
        "marker": {"size": 6, "color": "#9fb8ca"},
    }
    steps = {
        "type": "scatter",
        "mode": "lines",
        "x": [rounded(p) for p in x],
        "y": y,
        "customdata": numbers,
        "hoverinfo": "none",
        "line": {"shape": "hv", "color": BEST, "width": 2.5},
    }
    return [trials, steps]


def _bars(content: StudyContent) -> tuple[list[dict[str, Any]], str]:
    trials = [*content.trials, *content.waiting]
    unit, length = _unit(max((t.seconds for t in trials if math.isfinite(t.seconds)), default=0.0))
    traces = []
    for status, color in COLORS.items():
        group = [trial for trial in trials if trial.status == status]
        if group:
            traces.append(
                {
                    "type": "bar",
                    "x": [trial.number for trial in group],
                    "y": [rounded(trial.seconds / length) for trial in group],
                    "customdata": [trial.number for trial in group],
                    "hoverinfo": "none",
                    "marker": {"color": color},
                    "width": 0.8,
                }
            )
    return traces, unit


def section(content: StudyContent) -> Section:
    """Return the time of each trial, and the best score so far by trials and by time."""
    title, trials = "Time", [*content.trials, *content.waiting]
    if not trials:
        return Section("time", title, '<p class="note">There is no trial yet.</p>')
    total, wall = total_seconds(content), elapsed(content)
    workers = {trial.worker for trial in trials if trial.worker}
    words = f"Training took {duration(total)} in all, {duration(total / len(trials))} a trial on average."
    figures: dict[str, Figure] = {}
    if total > 0:
        bars, unit = _bars(content)
        whole = {"title": "trial", "zeroline": False} | ({"dtick": 1} if len(trials) <= 15 else {})
        height = {"title": f"time ({unit})", "rangemode": "tozero"}
        figures["plot-seconds"] = figure(bars, whole, height, barmode="overlay")
    else:
        words = "How long the trials took is not recorded."
    if wall is not None:
        words += f" From the beginning of the study to the end of its last trial: {duration(wall)}."
    if len(workers) > 1:
        words += f" {len(workers)} processes took part."
    if any(map(finite_score, content.trials)):
        ordered = by_end(content)
        scores = [trial.score for trial in ordered]
        y, left_out = score_axis(scores, content.objective.name, content.objective.direction)
        words += " Steps: the best score so far; points: each trial when it ended."
        words += f" {left_out}" if left_out else ""
        counted = {"title": "finished trials", "rangemode": "tozero", "zeroline": False}
        figures["plot-by-trials"] = figure(_best_so_far(content, ordered, range(1, len(ordered) + 1)), counted, y)
        if total > 0:
            sums = list(itertools.accumulate(t.seconds if math.isfinite(t.seconds) else 0.0 for t in ordered))
            unit, length = _unit(sums[-1])
            x = {"title": f"training time, cumulative ({unit})", "rangemode": "tozero", "zeroline": False}
            figures["plot-by-time"] = figure(_best_so_far(content, ordered, [s / length for s in sums]), x, y)
    places = "".join(place(name) for name in figures)
    return Section("time", title, f'<p>{escape(words)}</p>{key(content)}<div class="grid">{places}</div>', figures)
