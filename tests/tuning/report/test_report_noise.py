"""Whether the best trial is better than the noise between seeds: against tables, simulation and made-up studies."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from kerasbn.tuning.report import noise
from kerasbn.tuning.report.axes import axes
from kerasbn.tuning.report.noise import Noise, critical_value, not_apart, verdict


@pytest.mark.parametrize(("others", "freedom"), [(2, 10), (5, 10), (9, 20), (9, 60)])
def test_critical_value_is_of_the_multivariate_t(others, freedom):
    d = critical_value(others, freedom)
    correlated = stats.multivariate_t(shape=(np.eye(others) + 1) / 2, df=freedom, seed=0)
    assert correlated.cdf(np.full(others, d)) == pytest.approx(0.95, abs=0.001)


def test_dunnetts_table():
    """Table 1a of Dunnett (1955), 5 %."""
    assert [round(critical_value(others, 10), 2) for others in (1, 2, 5)] == [1.81, 2.15, 2.56]


@pytest.mark.parametrize("freedom", [1, 3, 30])
def test_one_comparison_is_students_t(freedom):
    assert critical_value(1, freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=0.02)


def test_the_truly_best_is_kept_in_95_of_100_cases(trial, monkeypatch):
    """Eight trials that are all alike, so that the noise alone decides: any of them may be the best."""
    random, kept = np.random.default_rng(0), 0
    like = trial(0)
    d = critical_value(7, 16)
    monkeypatch.setattr(noise, "critical_value", lambda others, freedom: d)
    for _ in range(400):
        scores = random.normal(size=(8, 3))
        trials = [dataclasses.replace(like, number=i, score=s.mean(), scores=tuple(s)) for i, s in enumerate(scores)]
        ranked = sorted(trials, key=lambda t: -t.score)
        spread = Noise(float(np.sqrt(scores.var(axis=1, ddof=1).mean())), 16, "")
        count, _ = not_apart(ranked, spread, "max")
        kept += 0 in [t.number for t in ranked[:count]]
    assert kept / 400 == pytest.approx(0.95, abs=0.035)


def test_pooled_deviation_of_executions(trial, study):
    trials = [trial(0, scores=(0.9, 0.92), score=0.91), trial(1, scores=(0.5, 0.5, 0.56), score=0.52)]
    found = noise.from_executions(study([*trials, trial(2, scores=(0.7,), score=0.7)]))
    assert found.freedom == 3
    assert found.deviation == pytest.approx(np.sqrt((0.0002 + 0.0024) / 3))


def test_pooled_deviation_of_folds(trial, study):
    rng = np.random.default_rng(0)
    easy, own = 0.1 * rng.standard_normal(5), 0.01 * rng.standard_normal((60, 2, 5))
    trials = [trial(n, scores=tuple(np.ravel(0.8 + easy + own[n])), score=0.8) for n in range(60)]
    settings = {"executions_per_trial": 2, "folds": 5}
    found = noise.from_executions(study([*trials, trial(60, scores=(0.9, 0.9), score=0.9)], settings=settings))
    assert found.freedom == 30 * 9 - 4  # not of the one whose run_trial returned something else
    assert found.deviation == pytest.approx(0.01, rel=0.1)  # without what a fold does to all trials
    assert not_apart(trials[:1], found, "max") == (1, 0.0)
    assert not_apart(trials[:2], found, "max")[1] == pytest.approx(
        critical_value(1, 266) * found.deviation * np.sqrt(2 / 10 + 2 / 4)
    )


def test_only_the_better_half_counts(trial, study):
    good = [trial(n, scores=(0.9 - n / 100, 0.902 - n / 100), score=0.901 - n / 100) for n in range(4)]
    bad = [trial(n, scores=(0.1, 0.5), score=0.3 - n / 100) for n in range(4, 8)]
    assert noise.from_executions(study(good + bad)).deviation == pytest.approx(0.002 / np.sqrt(2))


def test_measured_in_words(trial, study):
    apart = [
        trial(n, executions=3, score=1 - n / 10, scores=(1.001 - n / 10, 1 - n / 10, 0.999 - n / 10)) for n in range(5)
    ]
    content = study(apart)
    assert (
        verdict(content, axes(apart)).sentence == "Yes: the best stands apart from all other trials (95 % confidence)."
    )
    close = [
        trial(n, score=score, scores=(score - 0.01, score, score + 0.01))
        for n, score in enumerate((0.9, 0.899, 0.898, 0.5, 0.4))
    ]
    assert "the first 3 of 5 trials cannot be told apart" in verdict(study(close), axes(close)).sentence
    lower = study(close, objective=("val_loss", "min"))
    assert verdict(lower, axes(close)).sentence.startswith("Yes")


def test_not_measured_says_so_and_gives_both_estimates(full):
    found = verdict(full, axes(full.trials))
    assert found.sentence.startswith("Not measured: each trial was trained once. By an estimate, the first")
    assert "Last epochs:" in found.details
    assert "Nearest neighbours:" in found.details
    assert "executions_per_trial" in found.details


def test_noise_within_a_trial_does_not_count_the_trend(trial, study):
    rows = tuple({"execution": 0, "epoch": e, "val_accuracy": 0.5 + 0.02 * e} for e in range(20))
    assert noise.from_epochs(study([trial(0, history=rows)])).deviation == pytest.approx(0, abs=1e-12)
    random = np.random.default_rng(0)
    rows = [
        tuple({"execution": 0, "epoch": e, "val_accuracy": 0.02 * e + random.normal() / 10} for e in range(40))
        for _ in range(20)
    ]
    trials = [trial(n, history=each) for n, each in enumerate(rows)]
    assert noise.from_epochs(study(trials)).deviation == pytest.approx(0.1, rel=0.15)


def test_neighbours_without_hyperparameters_are_repetitions(trial, study):
    random = np.random.default_rng(0)
    trials = [trial(n, space=lambda hp: None, score=float(random.normal())) for n in range(200)]
    content = study(trials)
    half = np.sort([t.score for t in trials])[-100:]
    assert 0 < noise.from_neighbours(content, axes(trials)).deviation < 2 * half.std()


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([], "Cannot be said: no trial has a score."),
        ([0.5], "Cannot be said: there is one trial only."),
        ([0.5, 0.6], "Cannot be said: each trial was trained once, and there is too little for an estimate."),
    ],
    ids=["none", "one", "two"],
)
def test_too_little(trial, study, scores, sentence):
    trials = [trial(n, score=score, scores=(score,), history=()) for n, score in enumerate(scores)]
    assert verdict(study(trials), axes(trials)).sentence == sentence


def test_all_the_same(trial, study):
    trials = [trial(n, score=0.5, scores=(0.5, 0.5)) for n in range(6)]
    assert verdict(study(trials), axes(trials)).sentence == "No: none of the 6 trials can be told apart from the best."
