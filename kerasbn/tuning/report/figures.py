"""What all pictures of a report have in common: colours and signs of trials, the axis of scores, a figure's parts."""

import dataclasses
import html
import math
import statistics
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kerasbn.callbacks.keep_best import sign_of
from kerasbn.tuning.report.axes import short, steps_of_ten
from kerasbn.tuning.store.records import StudyContent, TrialRecord

# Okabe and Ito's colours, which colour-blind people can tell apart; each status has a sign of its own too.
BEST = "#d55e00"
COLORS = types.MappingProxyType(
    {"completed": "#0072b2", "stopped": "#e69f00", "waiting": "#cc79a7", "failed": "#222222"}
)
SIGNS = types.MappingProxyType(
    {"completed": "circle", "stopped": "triangle-down", "waiting": "diamond", "failed": "x-thin-open"}
)
# From the worst to the best fifth of the trials: lightness alone tells them apart.
RAMP = ("#c6ced6", "#a9c3d8", "#74a9cf", "#2b7bb9", "#08457e")
_FAR = 3  # distances from the best to the median trial below that from which on the axis is cut
_LOGARITHMIC = 20  # between the largest and the smallest score, from which the axis is logarithmic

Figure = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        anchor: Its id.
        title: Its heading.
        body: HTML; a figure's place is `place(name)`.
        figures: Pictures by name, as plotly has them: {"data": [...], "layout": {...}}.
    """

    anchor: str
    title: str
    body: str
    figures: Mapping[str, Figure] = dataclasses.field(default_factory=dict)


def escape(value: Any) -> str:
    """Return a value as text for HTML."""
    return html.escape(str(value))


def label(value: Any) -> str:
    """Return a value as text for plotly, which reads tags and a few entities, but not that of a quotation mark."""
    return html.escape(str(value), quote=False)


def place(name: str, height: int = 280) -> str:
    """Return the HTML of a picture's place, of a height in pixels."""
    return f'<div class="plot" id="{escape(name)}" style="height:{height}px"></div>'


def rounded(value: float | None) -> float | None:
    """Return a number with six significant digits, and None for what JSON and pictures cannot have."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def finite_score(trial: TrialRecord) -> bool:
    """Return whether a trial has a score that can be drawn."""
    return trial.score is not None and math.isfinite(trial.score)


def scored(content: StudyContent) -> list[TrialRecord]:
    """Return the trials with a score that is a number, the best first; waiting ones are among them."""
    return [trial for trial in content.ranked if finite_score(trial)]


def epochs_of(trial: TrialRecord) -> int:
    """Return how many epochs a trial was trained for, in its longest execution; 0 if that is not known."""
    return trial.epochs or max((int(row["epoch"]) + 1 for row in trial.history if "epoch" in row), default=0)


def fifths(content: StudyContent) -> Mapping[int, int]:
    """Return in which fifth of the ranking each trial with a score is, 4 for the best, by number."""
    ranked = scored(content)
    return {trial.number: 4 - place * 5 // len(ranked) for place, trial in enumerate(ranked)}


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def score_axis(
    values: Iterable[float | None], name: str, direction: str, others: Iterable[float | None] = ()
) -> tuple[dict[str, Any], str]:
    """Return an axis of scores on which the good ones can be told apart, and what it leaves out in words.

    A few trials that did not learn at all would otherwise press all others into one line.

    Args:
        values: What the axis is made for; None and values that are not finite are left out.
        name: The objective's.
        direction: "max" or "min": which values are better.
        others: What is drawn too, and may be outside.

    Returns:
        The axis as plotly has it, and a sentence, empty if nothing is left out.
    """
    given, also = _finite(values), _finite(others)
    axis: dict[str, Any] = {"title": label(name), "zeroline": False}
    if not given:
        return axis, ""
    logarithmic = direction == "min" and min(given) > 0 and max(given) / min(given) > _LOGARITHMIC
    drawn = [math.log10(value) for value in given] if logarithmic else given
    sign = sign_of(direction)
    best, worst = (sign * extreme(sign * value for value in drawn) for extreme in (max, min))
    limit = best - (1 + _FAR) * (best - statistics.median(drawn))
    if limit != best and sign * worst < sign * limit:
        worst = limit
    pad = 0.06 * abs(best - worst) or max(0.05 * abs(best), 0.01)
    low, high = sorted([worst - sign * pad, best + sign * pad])
    axis["range"] = [low, high]
    if logarithmic:
        ticks = steps_of_ten(10**low, 10**high)
        axis |= {"type": "log", "title": f"{label(name)} (log scale)"}
        axis |= {"tickvals": ticks, "ticktext": [short(tick) for tick in ticks]}
    bottom, top = (10**low, 10**high) if logarithmic else (low, high)
    if all(bottom <= value <= top for value in (*given, *also)):
        return axis, ""
    return axis, (
        f"The axis goes from {bottom:.3g} to {top:.3g}; what is outside is not shown: a double click shows all of it."
    )


def figure(traces: Sequence[Mapping[str, Any]], x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any) -> Figure:
    """Return a picture from its traces and axes, in the style of all others."""
    line = {"showline": True, "linecolor": "#9aa3ab", "gridcolor": "#e9ecef", "ticks": "outside", "ticklen": 4}
    line |= {"tickcolor": "#9aa3ab", "automargin": True}
    base: dict[str, Any] = {
        "margin": {"l": 56, "r": 14, "t": 12, "b": 46},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", "size": 12},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "showlegend": False,
        "uirevision": "kept",  # the zoom stays when a trial is marked
        "xaxis": line | dict(x) | {"title": {"text": x["title"], "standoff": 8}},
        "yaxis": line | dict(y) | {"title": {"text": y.get("title", ""), "standoff": 8}},
    }
    return {"data": list(traces), "layout": base | layout}


def points(
    content: StudyContent, at: Mapping[int, float], heights: Mapping[int, float | None] | None = None
) -> list[dict[str, Any]]:
    """Return trials as points, a trace a status, with the best as a star on top.

    Args:
        content: The study.
        at: Where on the x axis a trial stands, by its number; others are left out.
        heights: Where on the y axis; None: at its score, and failed trials as crosses on a second y axis (0 to 1).

    Returns:
        Traces; those of failed trials need `with_failures`.
    """
    traces = []
    best = next(iter(scored(content)), None)
    for status, color in COLORS.items():
        group = [t for t in (*content.trials, *content.waiting) if t.status == status and t.number in at]
        if best is not None:
            group = [t for t in group if t.number != best.number]
        low = heights is None and status == "failed"
        if heights is None and not low:
            group = [t for t in group if finite_score(t)]
        if not group:
            continue
        ys = [0.03 if low else heights[t.number] if heights is not None else t.score for t in group]
        size = {"size": 8, "color": color, "symbol": SIGNS[status], "opacity": 1.0 if status == "failed" else 0.75}
        edge = {"width": 2, "color": color} if status == "failed" else {"width": 0.5, "color": "#ffffff"}
        trace = _points(group, at, ys, {**size, "line": edge})
        traces.append(trace | {"yaxis": "y2"} if low else trace)
    if best is not None and best.number in at:
        star = {"size": 15, "color": BEST, "symbol": "star", "line": {"width": 1, "color": "#ffffff"}}
        height = best.score if heights is None else heights[best.number]
        traces.append(_points([best], at, [height], star))
    return traces


def _points(
    group: Sequence[TrialRecord], at: Mapping[int, float], ys: Sequence[float | None], marker: Mapping[str, Any]
) -> dict[str, Any]:
    numbers = [trial.number for trial in group]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [rounded(at[number]) for number in numbers],
        "y": [rounded(y) for y in ys],
        "customdata": numbers,
        "hoverinfo": "none",
        "marker": marker,
        "cliponaxis": False,
    }


def with_failures() -> dict[str, Any]:
    """Return the part of a layout that failed trials need, which stand at the lower edge for want of a score."""
    return {"yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}}


def key(content: StudyContent) -> str:
    """Return the legend of statuses, those that the study has, as HTML."""
    signs = {"completed": "●", "stopped": "▼", "waiting": "◆", "failed": "✕"}
    present = {trial.status for trial in (*content.trials, *content.waiting)}
    entries = [("★", BEST, "best")] * bool(scored(content))
    entries += [(signs[status], color, status) for status, color in COLORS.items() if status in present]
    spans = (f'<span><b style="color:{color}">{sign}</b> {name}</span>' for sign, color, name in entries)
    return f'<p class="key">{"".join(spans)}</p>'


def ramp_key(failed: bool) -> str:
    """Return the legend of lines that are coloured by rank, as HTML."""

    def line(color: str, width: int, dash: str = "solid") -> str:
        return f'<i style="border-top:{width}px {dash} {color}"></i>'

    fifths = "".join(line(color, 3) for color in reversed(RAMP))
    broken = f"<span>{line(COLORS['failed'], 2, 'dotted')} failed</span>" if failed else ""
    return (
        f'<p class="key"><span>{line(BEST, 4)} best</span><span>{fifths} from the best fifth of the trials to the '
        f"worst</span>{broken}</p>"
    )
