"""Parallel coordinates: each trial a line through its hyperparameters to its score, as SVG."""

import math
from collections.abc import Sequence

from kerasbn.tuning.report.axes import Axis, even_steps, steps_of_ten
from kerasbn.tuning.report.figures import (
    BEST,
    COLORS,
    RAMP,
    Section,
    escape,
    fifths,
    ramp_key,
    score_axis,
    scored,
)
from kerasbn.tuning.store.records import StudyContent, TrialRecord

# Pixels: from the left edge to the first axis, from the last one to the right edge, above the axes, their height,
# below them, and where lines pass a hyperparameter that their trial does not have.
_LEFT, _RIGHT, _TOP, _HEIGHT, _BOTTOM, _UNUSED = 70, 60, 46, 260, 52, 24
_WIDTH = 1190  # of the picture, if that leaves a distance between axes within these bounds
_CLOSEST, _FARTHEST = 104, 240
_LONGEST = 16  # letters of a label


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _down(fraction: float) -> float:
    """Return the height in the picture of a place on an axis, 0 to 1; what is outside stands at the ends."""
    return round(_TOP + _HEIGHT * (1 - min(max(fraction, 0.0), 1.0)), 1)


def _text(x: float, y: float, text: str, kind: str, longest: int = _LONGEST) -> str:
    title = f"<title>{escape(text)}</title>" if len(text) > longest else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(_cut(text, longest))}{title}</text>'


def _axis(x: float, name: str, ticks: Sequence[tuple[float, str]], unused: bool) -> str:
    """Return an axis with its name above and texts at its ticks, which are fractions."""
    bottom = _TOP + _HEIGHT
    first, _, condition = name.partition(" (")
    parts = [f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" class="axis"/>', _text(x, _TOP - 26, first, "name")]
    if condition:
        parts.append(_text(x, _TOP - 12, condition.removesuffix(")"), "unused"))
    for fraction, text in ticks:
        y = _down(fraction)
        parts.append(f'<line x1="{x - 4}" y1="{y}" x2="{x}" y2="{y}" class="axis"/>')
        parts.append(_text(x - 7, y + 4, text, "tick", 11))
    if unused:
        parts.append(_text(x, bottom + _UNUSED + 16, "not used", "unused"))
    return "".join(parts)


class _Scores:
    """The last axis: scores from the worst that is shown to the best, on a log scale where that is better."""

    def __init__(self, content: StudyContent) -> None:
        scores = [float(trial.score or 0) for trial in scored(content)]
        axis, left_out = score_axis(scores, content.objective.name, content.objective.direction)
        self.cut = bool(left_out)
        self.logarithmic = axis.get("type") == "log"
        low, high = axis.get("range", (scores[0], scores[0]))
        self.low, self.high = float(low), float(high)

    def fraction(self, score: float) -> float:
        at = math.log10(score) if self.logarithmic else score
        return (at - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        steps = steps_of_ten(10**self.low, 10**self.high) if self.logarithmic else even_steps(self.low, self.high)
        return [(self.fraction(step), f"{step:.6g}") for step in steps]


def _line(trial: TrialRecord, axes: Sequence[Axis], apart: int, scores: _Scores, style: str) -> str:
    points = []
    for place, axis in enumerate(axes):
        value = axis.values.get(trial.number)
        y = _TOP + _HEIGHT + _UNUSED if value is None else _down(axis.fraction(value))
        points.append(f"{_LEFT + place * apart},{y}")
    if trial.score is not None:
        points.append(f"{_LEFT + len(axes) * apart},{_down(scores.fraction(trial.score))}")
    return f'<polyline points="{" ".join(points)}" data-trial="{trial.number}" {style}/>'


def section(content: StudyContent, axes: Sequence[Axis]) -> Section:
    """Return the lines of all trials, the best on top."""
    title = "Parallel coordinates"
    drawn, ranked = [axis for axis in axes if axis.varies], scored(content)
    if not drawn or not ranked:
        nothing = "No trial has a score." if not ranked else "The search has no hyperparameter that varies."
        return Section("parallel", title, f'<p class="note">{nothing}</p>')
    scores, rank = _Scores(content), fifths(content)
    apart = min(max((_WIDTH - _LEFT - _RIGHT) // len(drawn), _CLOSEST), _FARTHEST)
    failed = [trial for trial in content.trials if trial.status == "failed"]
    broken = f'stroke="{COLORS["failed"]}" stroke-width="1" stroke-dasharray="2 3"'
    lines = [_line(trial, drawn, apart, scores, broken) for trial in failed]
    for trial in reversed(ranked[1:]):
        lines.append(_line(trial, drawn, apart, scores, f'stroke="{RAMP[rank[trial.number]]}" stroke-width="1.4"'))
    lines.append(_line(ranked[0], drawn, apart, scores, f'stroke="{BEST}" stroke-width="3.5" stroke-opacity="1"'))
    total = len(content.trials) + len(content.waiting)
    marks = []
    for place, axis in enumerate(drawn):
        ticks = [(_fraction_at(axis, at), text) for at, text in axis.ticks()]
        marks.append(_axis(_LEFT + place * apart, axis.label, ticks, len(axis.values) < total))
    name = content.objective.name
    marks.append(_axis(_LEFT + len(drawn) * apart, name, scores.ticks(), False))
    width, height = _LEFT + len(drawn) * apart + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    svg = (
        f'<div class="scroll"><svg id="plot-parallel" viewBox="0 0 {width} {height}" '
        f'style="min-width:{0.8 * width:.0f}px;max-width:{width}px" '
        'role="img" aria-label="Parallel coordinates of all trials">'
        f'<g class="lines" stroke-opacity="{min(1.0, 120 / total):.2g}">{"".join(lines)}</g>'
        f'<g class="axes">{"".join(marks)}</g></svg></div>'
    )
    words = f"A line is a trial: its hyperparameters, each on its own scale, and its {name} on the right."
    if scores.cut:
        words += (
            f" Lines of far worse scores end at the {'lower' if content.objective.direction == 'max' else 'upper'} end."
        )
    return Section("parallel", title, f"<p>{escape(words)}</p>{ramp_key(bool(failed))}{svg}")


def _fraction_at(axis: Axis, coordinate: float) -> float:
    """Return the place on the axis, 0 to 1, of a tick's coordinate."""
    if axis.scale == "category":
        return axis.fraction(axis.categories[int(coordinate)])
    return axis.fraction(axis.low + axis.high - coordinate if axis.scale == "reverse log" else coordinate)
