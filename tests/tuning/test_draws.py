"""Draws: pure functions of seed, trial and name; scopes; ranges; what has been tried."""

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import Draws, count_values, draw, trial_seed, uniform
from kerasbn.tuning.strategies import Progress, Random
from kerasbn.tuning.tried import Tried

JUST_BELOW_ONE = np.nextafter(1.0, 0.0)


def test_uniform_is_the_same_everywhere():
    # From another process and another day: the draws are part of what a seed promises.
    assert uniform(0, 0, "units") == 0.4101876401404426
    assert trial_seed(0, 0) == 1380431756


def test_uniform_is_uniform():
    drawn = np.sort([uniform(0, trial, "x") for trial in range(5000)])
    assert np.abs(drawn - np.linspace(0, 1, 5000)).max() < 0.025  # Kolmogorov-Smirnov at about 0.5%


def test_seeds_share_no_trials():
    def space(hp):
        return tuple(hp.Float(name, 0, 1) for name in "abcd")

    trials = [{space(Draws(seed, trial)) for trial in range(50)} for seed in range(10)]
    assert len(set().union(*trials)) == 500


def test_another_hyperparameter_changes_nothing():
    alone, together = Draws(0, 1), Draws(0, 1)
    together.Boolean("new")
    assert alone.Float("rate", 0, 1) == together.Float("rate", 0, 1)


@pytest.mark.parametrize(
    "hyperparameter",
    [
        kinds.Int("x", 2, 2, sampling="log"),
        kinds.Int("x", 32, 256, sampling="log"),
        kinds.Int("x", 7, 28, sampling="reverse_log"),
        kinds.Int("x", -3, 3, step=2),
        kinds.Float("x", 1e-4, 1e-1, sampling="log"),
        kinds.Float("x", 0.9, 0.999, sampling="reverse_log"),
        kinds.Float("x", 0.0, 0.5, step=0.1),
        kinds.Choice("x", ["a", "b"]),
        kinds.Boolean("x"),
        kinds.Fixed("x", 3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("u", [0.0, 0.5, JUST_BELOW_ONE])
def test_values_are_within_the_range(hyperparameter, u):
    value = draw(hyperparameter, u)
    if hasattr(hyperparameter, "min_value"):
        assert hyperparameter.min_value <= value <= hyperparameter.max_value
    else:
        assert value in hyperparameter.values


def test_keras_tuner_alone_leaves_the_range():
    assert kinds.Int("x", 2, 2, sampling="log").prob_to_value(JUST_BELOW_ONE) == 3


def conditional(hp):
    kind = hp.Choice("kind", ["mlp", "cnn"])
    with hp.name_scope("net"):
        hp.Int("width", 1, 1000)
    with hp.conditional_scope("kind", ["mlp"]):
        units = hp.Int("units", 1, 1000)
    filters = hp.Int("filters", 1, 1000, parent_name="kind", parent_values=["cnn"])
    return kind, hp.get("net/width"), units, filters


@pytest.mark.parametrize("trial", range(6))
def test_conditional_scopes_and_plain_copies(trial):
    hp = Draws(0, trial)
    kind, width, units, filters = conditional(hp)
    assert (units is None) == (kind == "cnn")
    assert (filters is None) == (kind == "mlp")
    assert list(hp.values) == ["kind", "net/width", "units" if kind == "mlp" else "filters"]
    assert width == draw(kinds.Int("w", 1, 1000), uniform(0, trial, "net/width"))
    copy = hp.copy()
    assert type(copy) is keras_tuner.HyperParameters
    assert conditional(copy) == conditional(hp) == (kind, width, units, filters)


def test_both_branches_are_drawn():
    assert {conditional(Draws(0, trial))[0] for trial in range(6)} == {"mlp", "cnn"}


def test_given_hyperparameters_take_the_place():
    given = keras_tuner.HyperParameters()
    given.Fixed("rate", 0.5)
    given.Int("units", 10, 12)
    kind = given.Choice("kind", ["a", "b"])
    given.Int("only_a", 1, 1000, parent_name="kind", parent_values=["a"])
    assert kind == "a"
    seen = set()
    for trial in range(20):
        hp = Draws(0, trial, given=given)
        assert hp.Float("rate", 0, 1) == 0.5
        assert hp.Int("units", 1, 1000) in (10, 11, 12)
        assert ("only_a" in hp.values) == (hp.get("kind") == "a")
        seen.add(hp.get("kind"))
    assert seen == {"a", "b"}


def test_a_range_that_takes_the_place_of_another_is_drawn_from():
    hp, other = Draws(0, 0), keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    other.Float("x", 5.0, 6.0)
    hp.merge(other, overwrite=False)
    assert 0 <= hp.get("x") < 1
    hp.merge(other)
    assert 5 < hp.get("x") < 6


def test_choose_gives_each_value_once():
    given = keras_tuner.HyperParameters()
    given.Int("units", 10, 12)
    asked = []

    def choose(hyperparameter):
        asked.append(hyperparameter.name)
        return "cnn" if hyperparameter.name == "kind" else hyperparameter.max_value

    hp = Draws(0, 0, given=given, choose=choose)
    assert conditional(hp) == conditional(hp) == ("cnn", 1000, None, 1000)
    assert asked == ["units", "kind", "net/width", "filters"]  # only what is active, and once
    assert hp.copy().values == {"units": 12, "kind": "cnn", "net/width": 1000, "filters": 1000}


@pytest.mark.parametrize(
    ("hyperparameter", "count"),
    [
        (kinds.Choice("x", [1, 2, 3]), 3),
        (kinds.Boolean("x"), 2),
        (kinds.Fixed("x", 1), 1),
        (kinds.Int("x", 3, 7), 5),
        (kinds.Int("x", 3, 7, sampling="log"), 5),
        (kinds.Int("x", 3, 8, step=2), 3),
        (kinds.Float("x", 0.0, 1.0), np.inf),
        (kinds.Float("x", 0.5, 0.5), 1),
        (kinds.Float("x", 1e-3, 1e-1, step=10, sampling="log"), 3),
    ],
    ids=repr,
)
def test_count_values(hyperparameter, count):
    assert count_values(hyperparameter) == count


def new(tried, seed, trial):
    strategy = Random()
    return tried.first_new(strategy, lambda attempt: strategy.choose(seed, trial, attempt, Progress("max")))


def test_a_space_is_covered_to_the_last_point_and_then_exhausted():
    def space(hp):  # 3 + 16 points
        if hp.Boolean("deep"):
            return (hp.Int("a", 1, 4, sampling="log"), hp.Int("b", 1, 4))
        return (hp.Choice("c", ["x", "y", "z"]),)

    tried, seen = Tried(), set()
    for trial in range(19):
        hp = Draws(3, trial, choose=new(tried, 3, trial)[1])
        seen.add(space(hp))
        tried.add(hp.copy())
    assert len(seen) == 19
    assert tried.exhausted()
    assert new(tried, 3, 19) is None


def test_no_hyperparameters_are_one_point():
    tried = Tried()
    assert new(tried, 0, 0)[0] == 0
    tried.add(Draws(0, 0))
    assert new(tried, 0, 1) is None
