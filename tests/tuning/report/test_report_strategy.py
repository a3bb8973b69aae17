"""What is shown of strategies: boxes in the hyperparameters' own values, and rungs with their counts."""

import pytest

from kerasbn.tuning.report.axes import axes
from kerasbn.tuning.report.strategy import section


def small(hp):
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Int("units", 1, 10)
    hp.Choice("size", [8, 16, 32, 64])
    hp.Boolean("wide")


def shapes(trials, study):
    found = section(study(trials), axes(trials))
    return found, {f["layout"]["xaxis"]["title"]["text"]: f["layout"]["shapes"] for f in found.figures.values()}


def test_boxes(trial, study):
    box = {"rate": [0.25, 0.5], "units": [0.0, 0.4], "size": [0.25, 0.75]}
    notes = [{"round": 0, "box": {}, "global": False}] * 3 + [{"round": 1, "box": box, "global": False}] * 3
    notes += [{"round": 1, "box": box, "global": True}]
    trials = [trial(n, space=small, notes=note) for n, note in enumerate(notes)]
    found, drawn = shapes(trials, study)
    (rate,), (units,), (size,), none = drawn.values()
    assert none == []
    assert (rate["x0"], rate["x1"]) == pytest.approx((1e-3, 1e-2))
    assert (units["x0"], units["x1"]) == pytest.approx((0.55, 5.45))
    assert (size["x0"], size["x1"]) == (0.5, 2.5)
    assert [shape["y0"] for shape in (rate, units, size)] == pytest.approx([0.58] * 3)  # round 1
    assert "Hollow: 1 of 7 trials, drawn from the whole range" in found.body


def test_rungs(trial, study):
    lengths = [(0, 1), (0, 1), (0, 1), (0, 3), (0, 9), (1, 9), (1, 3)]
    trials = [
        trial(
            n, space=small, epochs=epochs, status="completed" if epochs == 9 else "stopped", notes={"bracket": bracket}
        )
        for n, (bracket, epochs) in enumerate(lengths)
    ]
    found = section(study(trials, settings={"strategy": {"name": "hyperband", "factor": 3}}), axes(trials))
    assert "<b>hyperband</b> (factor 3)" in found.body
    assert "<th>1 epoch</th><th>3 epochs</th><th>9 epochs</th>" in found.body
    assert '<th scope="row">0</th><td>5</td><td>5</td><td>2</td><td>1</td>' in found.body
    assert '<th scope="row">1</th><td>2</td><td>2</td><td>2</td><td>1</td>' in found.body
    bars = [trace for trace in found.figures["plot-rungs"]["data"] if trace["type"] == "bar"]
    assert [trace["y"] for trace in bars] == [[1, 1, 1, 3, 9], [9, 3]]


def test_neither(trial, study):
    trials = [trial(n, space=small) for n in range(3)]
    found = section(study(trials), axes(trials))
    assert "It has neither boxes nor rungs" in found.body
    assert found.figures == {}
