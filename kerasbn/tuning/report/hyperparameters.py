"""Score against each hyperparameter, on its own scale."""

from collections.abc import Sequence

from kerasbn.tuning.draws import uniform
from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.figures import (
    Figure,
    Section,
    escape,
    figure,
    key,
    label,
    place,
    points,
    score_axis,
    scored,
    with_failures,
)
from kerasbn.tuning.store.records import StudyContent

_SPREAD = 0.5  # of the distance between two categories, over which trials of one are spread


def coordinates(axis: Axis) -> dict[int, float]:
    """Return where trials stand on an axis, by number; those of one category beside each other."""
    at = {number: axis.coordinate(value) for number, value in axis.values.items()}
    if axis.scale != "category":
        return at
    # Pseudo-random, and yet the same in every report.
    return {number: x + _SPREAD * (uniform(0, number, "spread") - 0.5) for number, x in at.items()}


def fixed_words(axes: Sequence[Axis]) -> str:
    """Return the hyperparameters that have one value only, as a sentence; empty if there is none."""
    fixed = [axis for axis in axes if not axis.varies]
    named = [f"{axis.label} = {axis.text((axis.categories or (axis.low,))[0])}" for axis in fixed]
    return f"Not varied: {', '.join(named)}." if named else ""


def plotly_axis(axis: Axis) -> dict[str, object]:
    """Return the axis of a plot with its texts escaped: plotly takes them for HTML."""
    drawn = axis.plotly()
    drawn["title"] = label(drawn["title"])
    if "ticktext" in drawn:
        drawn["ticktext"] = [label(text if len(text) <= 18 else text[:17] + "…") for text in drawn["ticktext"]]
    return drawn


def section(content: StudyContent, axes: Sequence[Axis]) -> Section:
    """Return a picture for each hyperparameter that varies."""
    drawn = [axis for axis in axes if axis.varies]
    title = "Score against each hyperparameter"
    ranked = scored(content)
    nothing = "No trial has a score." if not ranked else "The search has no hyperparameter that varies."
    if not drawn or not ranked:
        body = f'<p class="note">{nothing} {escape(fixed_words(axes))}</p>'
        return Section("hyperparameters", title, body)
    values = [trial.score for trial in ranked]
    y, left_out = score_axis(values, content.objective.name, content.objective.direction)
    figures: dict[str, Figure] = {}
    for index, axis in enumerate(drawn):
        picture = figure(points(content, coordinates(axis)), plotly_axis(axis), y, **with_failures())
        figures[f"plot-hyperparameter-{index}"] = picture
    total = len(content.trials) + len(content.waiting)
    words = [f"{'Higher' if content.objective.direction == 'max' else 'Lower'} is better."]
    if any(trial.status == "failed" for trial in content.trials):
        words.append("Failed trials, which have no score, stand at the lower edge.")
    if partly := [f"{axis.label} ({len(axis.values)})" for axis in drawn if len(axis.values) < total]:
        words.append(f"Only some of the {total} trials have: {', '.join(partly)}.")
    words += [left_out, fixed_words(axes)]
    places = "".join(place(name) for name in figures)
    body = f'<p>{escape(" ".join(filter(None, words)))}</p>{key(content)}<div class="grid">{places}</div>'
    return Section("hyperparameters", title, body, figures)


def values_of(axes: Sequence[Axis], number: int) -> dict[str, str]:
    """Return the hyperparameters of a trial by their labels, as texts for people."""
    return {axis.label: axis.text(axis.values[number]) for axis in axes if number in axis.values}
