"""one_minus_log against its formula, against KerasTuner's own scales, and its messages."""

import keras_tuner
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning import Draws, one_minus_log

N = 4000


def test_half_of_momenta_are_above_0_99():
    drawn = np.array([one_minus_log(Draws(0, trial), "momentum", 0.9, 0.999) for trial in range(N)])
    assert np.mean(drawn > 0.99) == pytest.approx(0.5, abs=0.03)
    assert 0.9 <= drawn.min() < 0.901
    assert 0.9989 < drawn.max() <= 0.999


def test_reverse_log_of_keras_tuner_is_another_scale():
    drawn = np.array([Draws(0, t).Float("momentum", 0.9, 0.999, sampling="reverse_log") for t in range(N)])
    assert np.mean(drawn > 0.99) == pytest.approx(0.094, abs=0.02)


def test_log_int_of_keras_tuner_is_log_uniform():
    drawn = np.array([Draws(0, trial).Int("units", 1, 3, sampling="log") for trial in range(N)])
    expected = [np.log((k + 1) / k) / np.log(4) for k in (1, 2, 3)]
    np.testing.assert_allclose([np.mean(drawn == k) for k in (1, 2, 3)], expected, atol=0.03)


@pytest.mark.parametrize(
    ("low", "high", "value"), [(0.9, 0.999, 0.999), (0.5, 0.5, 0.5), (0.0, 0.9, 0.9), (0.0, 0.0, 0.0)]
)
def test_plain_hyperparameters_give_the_default(low, high, value):
    hp = keras_tuner.HyperParameters()
    assert one_minus_log(hp, "momentum", low, high) == value
    assert list(hp.values) == ["one_minus_momentum"]
    hp.values["one_minus_momentum"] = 1 - low
    assert one_minus_log(hp, "momentum", low, high) == low


def test_inactive_is_none():
    hp = keras_tuner.HyperParameters()
    hp.Choice("optimizer", ["adam", "sgd"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        assert one_minus_log(hp, "momentum", 0.9, 0.999) is None


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-0.1, 0.9, "momentum: min_value: expected a number in [0, 1); received -0.1."),
        (
            0.9,
            1.0,
            "momentum: max_value: expected a number in [0, 1); received 1.0. 1 itself has no place on the scale.",
        ),
        (0.99, 0.9, "momentum: expected min_value <= max_value; received [0.99, 0.9]. Swap them."),
    ],
)
def test_messages(low, high, message):
    with pytest.raises(InputError) as caught:
        one_minus_log(keras_tuner.HyperParameters(), "momentum", low, high)
    assert str(caught.value) == message
