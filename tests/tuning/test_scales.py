"""The scales against their formulas, against KerasTuner's own, and their messages."""

import keras_tuner
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.space.scales import integer_log, layer_count, linear, log, one_minus_log

N = 4000
ALL = (linear, log, one_minus_log, integer_log, layer_count)


def drawn(scale, low, high):
    return np.array([scale(Draws(0, trial), "x", low, high) for trial in range(N)])


def test_half_of_momenta_are_above_0_99():
    values = drawn(one_minus_log, 0.9, 0.999)
    assert np.mean(values > 0.99) == pytest.approx(0.5, abs=0.03)
    assert 0.9 <= values.min() < 0.901
    assert 0.9989 < values.max() <= 0.999


def test_reverse_log_of_keras_tuner_is_another_scale():
    values = np.array([Draws(0, t).Float("momentum", 0.9, 0.999, sampling="reverse_log") for t in range(N)])
    assert np.mean(values > 0.99) == pytest.approx(0.094, abs=0.02)


def test_a_quarter_of_rates_is_in_each_decade():
    values = drawn(log, 1e-4, 1.0)
    shares = np.histogram(values, [1e-4, 1e-3, 1e-2, 1e-1, 1.0])[0] / N
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    assert np.mean(drawn(linear, 1e-4, 1.0) > 0.1) == pytest.approx(0.9, abs=0.02)


def test_linear():
    values = drawn(linear, -1.0, 3.0)
    np.testing.assert_allclose(np.histogram(values, 4, (-1, 3))[0] / N, 0.25, atol=0.03)


@pytest.mark.parametrize(("low", "high"), [(1, 3), (5, 9), (32, 35)])
def test_integer_log(low, high):
    values = drawn(integer_log, low, high)
    expected = [np.log((k + 1) / k) / np.log((high + 1) / low) for k in range(low, high + 1)]
    np.testing.assert_allclose([np.mean(values == k) for k in range(low, high + 1)], expected, atol=0.03)


def test_layer_count():
    values = drawn(layer_count, 0, 4)
    np.testing.assert_allclose([np.mean(values == k) for k in range(5)], 0.2, atol=0.03)


@pytest.mark.parametrize("scale", ALL)
def test_oracles_see_the_scale(scale):
    hp = keras_tuner.HyperParameters()
    scale(hp, "x", *((0, 0.5) if scale in (linear, one_minus_log) else (1, 2)))
    (registered,) = hp.space
    assert type(registered).__name__ == ("Int" if scale in (integer_log, layer_count) else "Float")
    assert registered.sampling == ("linear" if scale in (linear, layer_count) else "log")
    assert registered.name == ("one_minus_x" if scale is one_minus_log else "x")


@pytest.mark.parametrize(
    ("low", "high", "value"), [(0.9, 0.999, 0.999), (0.5, 0.5, 0.5), (0.0, 0.9, 0.9), (0.0, 0.0, 0.0)]
)
def test_plain_hyperparameters_give_the_default(low, high, value):
    hp = keras_tuner.HyperParameters()
    assert one_minus_log(hp, "momentum", low, high) == value
    assert list(hp.values) == ["one_minus_momentum"]
    hp.values["one_minus_momentum"] = 1 - low
    assert one_minus_log(hp, "momentum", low, high) == low


@pytest.mark.parametrize("scale", [linear, log, integer_log, layer_count])
def test_one_value_only(scale):
    assert scale(Draws(0, 0), "x", 2, 2) == 2


@pytest.mark.parametrize("scale", ALL)
def test_inactive_is_none(scale):
    hp = keras_tuner.HyperParameters()
    hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        assert scale(hp, "x", *((0.1, 0.2) if scale in (linear, log, one_minus_log) else (1, 2))) is None


NO_ZERO = "A log scale has no 0: to try it, too, ask for a Boolean or a Choice first."
ONE = "1 itself has no place on the scale."


@pytest.mark.parametrize(
    ("scale", "low", "high", "message"),
    [
        (one_minus_log, -0.1, 0.9, "x: min_value: expected a number in [0, 1); received -0.1."),
        (one_minus_log, 0.9, 1.0, f"x: max_value: expected a number in [0, 1); received 1.0. {ONE}"),
        (one_minus_log, 0.99, 0.9, "x: expected min_value <= max_value; received [0.99, 0.9]. Swap them."),
        (linear, 1, 0, "x: expected min_value <= max_value; received [1, 0]. Swap them."),
        (linear, 0, float("nan"), "x: max_value: expected a number; received nan."),
        (log, 0, 1, f"x: min_value: expected a number above 0; received 0. {NO_ZERO}"),
        (log, 1e-1, 1e-4, "x: expected min_value <= max_value; received [0.1, 0.0001]. Swap them."),
        (log, "a", 1, f"x: min_value: expected a number above 0; received 'a'. {NO_ZERO}"),
        (integer_log, 0, 4, f"x: min_value: expected a whole number of at least 1; received 0. {NO_ZERO}"),
        (integer_log, 1, 4.5, f"x: max_value: expected a whole number of at least 1; received 4.5. {NO_ZERO}"),
        (integer_log, 8, 4, "x: expected min_value <= max_value; received [8, 4]. Swap them."),
        (layer_count, -1, 4, "x: min_value: expected a whole number of at least 0; received -1."),
        (layer_count, 3, 2, "x: expected min_value <= max_value; received [3, 2]. Swap them."),
    ],
)
def test_messages(scale, low, high, message):
    hp = keras_tuner.HyperParameters()
    with pytest.raises(InputError) as caught:
        scale(hp, "x", low, high)
    assert str(caught.value) == message
    assert not hp.space
