"""How the search went about it: the boxes that a coarse-to-fine search zoomed into, the rungs of a halving."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kerasbn.tuning.draws import active, draw, uniform
from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.figures import (
    BEST,
    COLORS,
    Figure,
    Section,
    epochs_of,
    escape,
    figure,
    place,
    rounded,
    scored,
)
from kerasbn.tuning.report.hyperparameters import plotly_axis
from kerasbn.tuning.report.population import population
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_SPREAD = 0.5  # of the distance between two rounds, over which a round's trials are spread
# Of brackets: Okabe and Ito's again, in an order of falling contrast.
_BRACKETS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#222222")


def _round(trial: TrialRecord) -> int | None:
    value = trial.notes.get("round")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _edges(trial: TrialRecord, axis: Axis, box: Any) -> tuple[float, float] | None:
    """Return the coordinates of a box, which is in cumulative probabilities; None if the trial has no such value."""
    hyperparameter = active(trial.hyperparameters).get(axis.name)
    if hyperparameter is None or trial.number not in axis.values:
        return None
    low, high = (min(max(float(end), 0.0), 1.0) for end in box)
    if axis.scale == "category":
        count = len(axis.categories)
        return low * count - 0.5, high * count - 0.5
    ends = [axis.coordinate(draw(hyperparameter, min(end, 1 - 1e-12))) for end in (low, high)]
    if axis.whole:  # a whole number is as wide as the space between its neighbours
        ends = [min(ends) - 0.45, max(ends) + 0.45]
    return min(ends), max(ends)


def _boxes(axis: Axis, trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return the different boxes of each round as shapes of a plot."""
    found: dict[tuple[int, float, float], None] = {}
    for trial in trials:
        box = trial.notes.get("box")
        if isinstance(box, Mapping) and axis.name in box and not trial.notes.get("global"):
            edges = _edges(trial, axis, box[axis.name])
            if edges is not None:
                found[_round(trial) or 0, float(f"{edges[0]:.6g}"), float(f"{edges[1]:.6g}")] = None
    return [
        {
            "type": "rect",
            "x0": low,
            "x1": high,
            "y0": round_ - 0.42,
            "y1": round_ + 0.42,
            "fillcolor": "#56b4e9",
            "opacity": 0.28,
            "line": {"color": "#0072b2", "width": 1.5},
            "layer": "below",
        }
        for round_, low, high in found
    ]


def _trace(axis: Axis, trials: Sequence[TrialRecord], marker: Mapping[str, Any]) -> dict[str, Any]:
    shown = [trial for trial in trials if trial.number in axis.values]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [rounded(axis.coordinate(axis.values[t.number])) for t in shown],
        "y": [rounded((_round(t) or 0) + _SPREAD * (uniform(0, t.number, "round") - 0.5)) for t in shown],
        "customdata": [t.number for t in shown],
        "hoverinfo": "none",
        "marker": marker,
    }


def _zooms(content: StudyContent, axes: Sequence[Axis]) -> tuple[str, dict[str, Figure]]:
    """Return what a coarse-to-fine search zoomed into: words, and a picture for each hyperparameter."""
    trials = [trial for trial in (*content.trials, *content.waiting) if _round(trial) is not None]
    drawn = [axis for axis in axes if axis.varies]
    if not trials or not drawn or not any(trial.notes.get("box") for trial in trials):
        return "", {}
    best = scored(content)[:1]
    numbers = {trial.number for trial in best}
    everywhere = [t for t in trials if t.notes.get("global") and t.number not in numbers]
    inside = [t for t in trials if not t.notes.get("global") and t.number not in numbers]
    blue = {"size": 6, "color": COLORS["completed"], "opacity": 0.8}
    hollow = {"size": 7, "symbol": "circle-open", "color": COLORS["failed"], "line": {"width": 1.2}}
    star = {"size": 14, "symbol": "star", "color": BEST, "line": {"width": 1, "color": "#fff"}}
    last = max(_round(trial) or 0 for trial in trials)
    rounds = {"title": "round", "tickvals": list(range(last + 1)), "range": [last + 0.6, -0.6], "zeroline": False}
    if best and best[0].notes.get("global"):
        star |= {"symbol": "star-open", "line": {"width": 2}}
    figures = {}
    for index, axis in enumerate(drawn):
        traces = [_trace(axis, group, style) for group, style in ((inside, blue), (everywhere, hollow), (best, star))]
        shapes = _boxes(axis, trials)
        figures[f"plot-zoom-{index}"] = figure(traces, plotly_axis(axis), rounds, shapes=shapes)
    count = sum(bool(trial.notes.get("global")) for trial in trials)
    shares = f"Hollow: {count} of {len(trials)} trials, drawn from the whole range all the same"
    words = (
        "<h3>Where the search zoomed in</h3><p>Each round draws from a box around the best trials before it; blue "
        f"areas are the boxes. A row without one draws from the whole range. {shares}, so that a wrong zoom "
        "recovers. The star is the best trial.</p>"
    )
    height = min(150 + 60 * (last + 1), 420)
    return words + f'<div class="grid">{"".join(place(name, height) for name in figures)}</div>', figures


def _brackets(content: StudyContent) -> tuple[str, dict[str, Figure]]:
    """Return the rungs of a halving: how many trials got how far, and a picture of the epochs by trial."""
    trials = [t for t in (*content.trials, *content.waiting) if "bracket" in t.notes or "rung" in t.notes]
    if not trials:
        return "", {}
    groups: dict[str, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        groups.setdefault(str(trial.notes.get("bracket", 0)), []).append(trial)
    ends = sorted({epochs_of(trial) for trial in trials if trial.status != "failed"})
    rungs = ends if len(ends) <= 12 else [*ends[:: -(-len(ends) // 11)], ends[-1]]
    head = "".join(f"<th>{epochs} epoch{'s' * (epochs != 1)}</th>" for epochs in rungs)
    rows = []
    for name, group in groups.items():
        reached = [sum(epochs_of(trial) >= epochs for trial in group) for epochs in rungs]
        cells = "".join(f"<td>{count or '-'}</td>" for count in reached)
        rows.append(f'<tr><th scope="row">{escape(name)}</th><td>{len(group)}</td>{cells}</tr>')
    traces = [
        {
            "type": "bar",
            "x": [trial.number for trial in group],
            "y": [epochs_of(trial) for trial in group],
            "customdata": [trial.number for trial in group],
            "hoverinfo": "none",
            "marker": {"color": _BRACKETS[index % len(_BRACKETS)]},
            "width": 0.8,
            "name": escape(f"bracket {name}"),
            "showlegend": True,
        }
        for index, (name, group) in enumerate(groups.items())
    ]
    best = [trial for trial in scored(content)[:1] if trial in trials]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [trial.number for trial in best],
            "y": [epochs_of(trial) for trial in best],
            "customdata": [trial.number for trial in best],
            "hoverinfo": "none",
            "marker": {"size": 15, "symbol": "star", "color": BEST, "line": {"width": 1, "color": "#fff"}},
            "name": "best",
            "showlegend": True,
            "cliponaxis": False,
        }
    )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    picture = figure(
        traces,
        {"title": "trial", "zeroline": False},
        {"title": "epochs trained", "rangemode": "tozero"},
        barmode="overlay",
        showlegend=True,
        legend=legend,
        margin={"l": 56, "r": 14, "t": 36, "b": 46},
    )
    words = (
        "<h3>Brackets and rungs</h3><p>How many trials of each bracket were trained for at least so many epochs: the "
        'others were stopped, failed, or wait.</p><div class="scroll"><table><thead><tr><th>bracket</th>'
        f"<th>trials</th>{head}"
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{place('plot-rungs', 300)}"
    )
    return words, {"plot-rungs": picture}


def section(content: StudyContent, axes: Sequence[Axis]) -> Section:
    """Return the strategy with its settings, and what there is to be seen of it."""
    settings = dict(content.settings.get("strategy") or {})
    name = str(settings.pop("name", "not recorded")).replace("_", " ")
    listed = ", ".join(f"{key} {json.dumps(value)}" for key, value in settings.items())
    words = f"<p>Strategy: <b>{escape(name)}</b>{escape(f' ({listed})' if listed else '')}.</p>"
    zooms, figures = _zooms(content, axes)
    brackets, pictures = _brackets(content)
    copies, lines = population(content, axes)
    if not zooms and not brackets and not copies:
        words += '<p class="note">It has neither boxes nor rungs: all trials are trained alike.</p>'
    return Section("strategy", "Strategy", words + zooms + brackets + copies, figures | pictures | lines)
