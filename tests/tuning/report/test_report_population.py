"""What is shown of population-based training: a line for each trial, and which were copies of which."""

import pytest

from kerasbn.tuning.report.axes import axes
from kerasbn.tuning.report.strategy import section


def small(hp):
    hp.Float("rate", 1e-4, 1.0, sampling="log")
    hp.Int("units", 1, 10)


def test_lines_copies_and_the_way_to_the_best(trial, study):
    first, other = (trial(n, space=small, epochs=2, status="stopped", score=0.5) for n in range(2))
    values = dict(first.hyperparameters.values)
    notes = {"begins": 2, "ancestors": [{"epoch": 0, "trial": 0, "values": values}]}
    copy = trial(2, space=small, epochs=4, status="completed", score=0.9, notes=notes)
    copy.hyperparameters.values.update(values | {"rate": 0.01})
    trials = [first, other, copy]
    found = section(study(trials, settings={"strategy": {"name": "population", "share": 0.2}}), axes(trials))
    assert "1 of 3 trials are copies" in found.body
    assert "The way to the best: trial 0, 2." in found.body
    assert "neither boxes" not in found.body
    assert list(found.figures) == ["plot-population-0"]  # the units went with the weights
    own, copies, way = found.figures["plot-population-0"]["data"]
    assert own["x"] == [0, 2, None, 0, 2, None, 2, 4, None]
    assert copies["x"] == [2, 2, None]
    assert copies["customdata"] == [0, 2, None]
    assert way["x"] == [0, 2, 2, 4, None]
    assert way["y"][2:4] == pytest.approx([0.01, 0.01])
