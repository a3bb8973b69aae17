"""Hyperparameters as axes: scales, ticks, conditions, and values of odd kinds."""

import keras_tuner
import pytest

from kerasbn.tuning.report.axes import Axis, axes, even_steps, steps_of_ten
from kerasbn.tuning.store.records import TrialRecord


def records(*spaces):
    """Return a trial of each space, with its defaults."""
    found = []
    for number, space in enumerate(spaces):
        hp = keras_tuner.HyperParameters()
        space(hp)
        found.append(TrialRecord(number, "completed", 0.5, hp))
    return found


def only(space, value=None):
    (trial,) = records(space)
    if value is not None:
        trial.hyperparameters.values = dict.fromkeys(trial.hyperparameters.values, value)
    (axis,) = axes([trial])
    return axis


@pytest.mark.parametrize(
    ("space", "scale", "value", "fraction", "text"),
    [
        (lambda hp: hp.Float("x", 0.0, 0.5), "linear", 0.125, 0.25, "0.125"),
        (lambda hp: hp.Float("x", 1e-4, 1.0, sampling="log"), "log", 0.01, 0.5, "0.01"),
        (lambda hp: hp.Float("one_minus_x", 0.001, 0.1, sampling="log"), "one minus", 0.01, 0.5, "0.99"),
        (lambda hp: hp.Float("one_minus_x", 0.001, 0.1, sampling="log"), "one minus", 0.001, 1.0, "0.999"),
        (lambda hp: hp.Float("x", 1.0, 100.0, sampling="reverse_log"), "reverse log", 91.0, 0.5, "91"),
        (lambda hp: hp.Int("x", 1, 5), "linear", 2, 0.25, "2"),
        (lambda hp: hp.Choice("x", ["a", "b"]), "category", "a", 0.25, "a"),
        (lambda hp: hp.Boolean("x"), "category", True, 0.75, "True"),
        (lambda hp: hp.Fixed("x", 3), "category", 3, 0.5, "3"),
    ],
    ids=["linear", "log", "momentum", "end", "reverse", "whole", "choice", "boolean", "fixed"],
)
def test_scale(space, scale, value, fraction, text):
    axis = only(space, value)
    assert (axis.scale, axis.fraction(value), axis.text(value)) == (scale, pytest.approx(fraction), text)


def test_momentum_is_an_axis_of_momenta():
    axis = only(lambda hp: hp.Float("scope/one_minus_momentum", 0.001, 0.1, sampling="log"))
    assert axis.label == "scope/momentum"
    drawn = axis.plotly()
    assert drawn["ticktext"] == ["0.999", "0.998", "0.995", "0.99", "0.98", "0.95", "0.9"]
    assert drawn["tickvals"] == pytest.approx([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1])
    assert drawn["type"] == "log"
    assert drawn["range"][0] > drawn["range"][1]  # 0.999 is on the right


def test_a_name_in_two_branches_is_two_axes():
    def space(hp, family):
        hp.Choice("family", ["mlp", "net"])
        hp.values["family"] = family
        with hp.conditional_scope("family", [family]):
            hp.Int("units", 1, 9) if family == "mlp" else hp.Int("units", 100, 900)

    found = axes(records(lambda hp: space(hp, "mlp"), lambda hp: space(hp, "net")))
    assert [axis.label for axis in found] == ["family", "units (family = mlp)", "units (family = net)"]
    assert [dict(axis.values) for axis in found] == [{0: "mlp", 1: "net"}, {0: 1}, {1: 100}]
    assert [(axis.low, axis.high) for axis in found[1:]] == [(1, 9), (100, 900)]


def test_ranges_that_differ_between_trials_are_one_axis():
    (axis,) = axes(records(lambda hp: hp.Int("x", 1, 5), lambda hp: hp.Int("x", 3, 70)))
    assert (axis.low, axis.high, dict(axis.values)) == (1, 70, {0: 1, 1: 3})


def test_a_value_from_elsewhere_widens_the_range():
    assert only(lambda hp: hp.Float("x", 0.1, 1.0, sampling="log"), 5.0).high == 5.0
    assert only(lambda hp: hp.Float("x", 0.1, 1.0, sampling="log"), 0.0).scale == "linear"


def test_true_and_one_are_two_categories():
    spaces = [lambda hp: hp.Boolean("x"), lambda hp: hp.Choice("x", [1, 2]), lambda hp: hp.Choice("x", ["1"])]
    (axis,) = axes(records(*spaces))
    assert axis.categories == (False, True, 1, 2, "1")
    assert [axis.coordinate(value) for value in (True, 1, "1")] == [1, 2, 4]


@pytest.mark.parametrize(
    ("scale", "varies"),
    [(Axis("x", "x", "linear", 2, 2), False), (Axis("x", "x", "log", 1, 2), True)],
    ids=["no", "yes"],
)
def test_varies(scale, varies):
    assert scale.varies is varies
    assert 0 <= scale.fraction(2) <= 1


def test_ticks():
    assert steps_of_ten(1e-4, 1e-1) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert steps_of_ten(16, 256) == pytest.approx([20, 50, 100, 200])
    assert even_steps(0, 0.5) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert even_steps(3, 3) == [3]
    assert steps_of_ten(30, 45) == [30, 35, 40, 45]  # no power of ten in between
