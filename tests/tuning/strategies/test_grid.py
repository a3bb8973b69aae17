"""Tests of grid search: every combination once, in order, and an end that is found exactly."""

import itertools

import keras_tuner
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import Draws, active
from kerasbn.tuning.strategies.base import Progress
from kerasbn.tuning.strategies.grid import Grid, grid_values
from kerasbn.tuning.tried import Tried

PROGRESS = Progress("max")


def search(space, most=1000):
    """Return the values of all trials of a grid search, and whether it ended before `most` trials."""
    strategy, tried, found = Grid(), Tried(), []
    for number in range(most):
        new = tried.first_new(strategy, lambda attempt, n=number: strategy.choose(0, n, attempt, PROGRESS))
        if new is None:
            return found, True
        hp = Draws(0, number, new[0], choose=new[1])
        space(hp)
        tried.add(hp)
        found.append(dict(hp.values))
    return found, False


def flat(hp):
    hp.Choice("kind", ["a", "b", "c"])
    hp.Int("units", 16, 128, step=2, sampling="log")
    hp.Boolean("wide")
    hp.Fixed("fixed", 7)


def test_every_combination_once_and_then_the_end():
    found, ended = search(flat)
    assert ended
    expected = itertools.product(["a", "b", "c"], [16, 32, 64, 128], [True, False], [7])
    assert sorted(tuple(values.values()) for values in found) == sorted(expected)


def test_the_first_hyperparameter_varies_fastest():
    found, _ = search(flat, most=5)
    assert [values["kind"] for values in found] == ["a", "b", "c", "a", "b"]
    assert [values["units"] for values in found] == [16, 16, 16, 32, 32]


def conditional(hp):
    if hp.Choice("family", ["dense", "convolution"]) == "dense":
        for layer in range(hp.Int("layers", 1, 2)):
            hp.Choice(f"units_{layer}", [8, 16, 32])
    else:
        hp.Boolean("pooling")


def test_conditional_spaces_are_searched_to_their_end():
    found, ended = search(conditional)
    assert ended
    assert len(found) == len({tuple(values.items()) for values in found}) == 3 + 3 * 3 + 2
    assert {tuple(values) for values in found} == {
        ("family", "layers", "units_0"),
        ("family", "layers", "units_0", "units_1"),
        ("family", "pooling"),
    }


def test_conditional_scopes_of_keras_tuner():
    def space(hp):
        hp.Choice("kind", ["mlp", "cnn"])
        with hp.conditional_scope("kind", ["mlp"]):
            hp.Int("units", 1, 3)
        hp.Boolean("last")

    found, ended = search(space)
    assert ended
    assert len(found) == (3 + 1) * 2


def test_all_48_of_48():
    # KerasTuner's issue 901: its GridSearch ended after 41 of such a space.
    def space(hp):
        hp.Int("a", 0, 3)
        hp.Choice("b", [1.0, 2.0, 3.0])
        hp.Boolean("c")
        hp.Choice("d", ["x", "y"])

    assert len(search(space)[0]) == 48


def test_a_combination_that_is_there_is_passed_over():
    strategy, tried = Grid(), Tried()
    for number in (0, 1, 2):  # three earlier trials, of which the study lost the first
        hp = Draws(0, number, choose=strategy.choose(0, number, 0, PROGRESS))
        flat(hp)
        if number:
            tried.add(hp)
    attempts = [
        tried.first_new(strategy, lambda attempt, n=number: strategy.choose(0, n, attempt, PROGRESS))[0]
        for number in (0, 1, 2, 3)
    ]
    assert attempts == [0, 2, 1, 0]


@pytest.mark.parametrize(
    ("hyperparameter", "expected"),
    [
        (kinds.Float("x", 0.0, 1.0), [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]),
        (kinds.Float("x", 0.0, 0.5, step=0.25), [0.0, 0.25, 0.5]),
        (kinds.Int("x", 2, 16, step=2, sampling="log"), [2, 4, 8, 16]),
        (kinds.Int("x", 1, 4, sampling="log"), [1, 2, 3, 4]),
        (kinds.Int("x", 5, 5, sampling="log"), [5]),
        (kinds.Choice("x", ["b", "a", "b"]), ["b", "a"]),
        (kinds.Boolean("x"), [True, False]),
        (kinds.Fixed("x", 3), [3]),
    ],
    ids=["float", "step", "log step", "log", "one", "choice", "boolean", "fixed"],
)
def test_grid_values(hyperparameter, expected):
    values = grid_values(hyperparameter)
    assert values == pytest.approx(expected) if isinstance(expected[0], float) else values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


@pytest.mark.parametrize("sampling", ["linear", "log", "reverse_log"])
def test_a_number_without_a_step_has_the_values_of_keras_tuner(sampling):
    hyperparameter = kinds.Float("x", 1e-4, 1e-1, sampling=sampling)
    assert grid_values(hyperparameter) == pytest.approx(sorted(hyperparameter.values))


def test_given_hyperparameters_count_first():
    given = keras_tuner.HyperParameters()
    given.Boolean("wide")
    strategy, found = Grid(), []
    for number in range(3):
        hp = Draws(0, number, given=given, choose=strategy.choose(0, number, 0, PROGRESS))
        flat(hp)
        assert set(active(hp)) == {"kind", "units", "wide", "fixed"}
        found.append((hp.get("wide"), hp.get("kind")))
    assert found == [(True, "a"), (False, "a"), (True, "b")]
