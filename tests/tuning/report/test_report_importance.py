"""Importances: what matters is found, what does not stays below chance, and too little is said to be too little."""

import pytest

from kerasbn.tuning.report.axes import axes
from kerasbn.tuning.report.importance import importances, section


@pytest.fixture(scope="module")
def found(trial, study):
    trials = [trial(number) for number in range(120)]
    return {one.label: one for one in importances(study(trials), axes(trials))}


def test_what_matters(found):
    assert next(iter(found)) == "learning_rate"
    assert found["learning_rate"].above_chance
    assert not any(found[name].above_chance for name in ("dropout", "shortcut", "batch_size", "momentum"))


def test_uncertainty(found):
    rate = found["learning_rate"]
    assert rate.low < rate.high
    assert rate.low > found["dropout"].high
    assert sum(one.share for one in found.values()) == pytest.approx(1)


def test_conditional_hyperparameters_have_their_trials(found):
    depths = [one.trials for name, one in found.items() if name.startswith("depth")]
    assert sum(depths) == 120
    assert "version" not in found  # fixed


def test_no_meaning_at_all(trial, study):
    trials = [trial(number, score=(number * 7919 % 101) / 101) for number in range(60)]
    assert sum(one.above_chance for one in importances(study(trials), axes(trials))) <= 1


def test_lower_is_better(trial, study):
    trials = [trial(number) for number in range(60)]
    trials = [trial(number, score=1 - one.score) for number, one in enumerate(trials)]
    found = importances(study(trials, objective=("val_loss", "min")), axes(trials))
    assert found[0].label == "learning_rate"


@pytest.mark.parametrize(
    ("count", "changes", "words"),
    [
        (9, {}, "There are 9 trials with a score; below 10 importances would be guesses."),
        (12, {"space": lambda hp: None}, "The search has no hyperparameter that varies."),
        (12, {"score": 0.5}, "The scores do not tell hyperparameters apart."),
    ],
    ids=["few", "none", "constant"],
)
def test_too_little(trial, study, count, changes, words):
    trials = [trial(number, **changes) for number in range(count)]
    assert words in section(study(trials), axes(trials)).body


def test_same_report_twice(trial, study):
    trials = [trial(number) for number in range(20)]
    assert importances(study(trials), axes(trials)) == importances(study(trials), axes(trials))
