"""Tests of kerasbn.callbacks.KeepBest: which epoch is kept, and when training stops."""

import math

import keras
import numpy as np
import pytest

from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError


def epochs_of(keep_best, values):
    """Run epochs with these values (or logs), in each of which the one weight is the epoch's number."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    keep_best.set_model(model)
    for epoch, value in enumerate(values):
        model.set_weights([np.array([[float(epoch)]])])
        model.stop_training = False
        keep_best.on_epoch_end(epoch, value if isinstance(value, dict) else {keep_best.monitor: value})
        if model.stop_training:
            break
    keep_best.restore()
    return epoch, float(model.get_weights()[0][0, 0])


def logs(accuracy, loss=1.0, val_loss=1.0):
    return {"loss": loss, "val_loss": val_loss, "val_accuracy": accuracy}


@pytest.mark.parametrize(
    ("monitor", "patience", "values", "last", "best"),
    [
        ("val_accuracy", None, [0.5, 0.9, 0.7], 2, 1),
        ("val_loss", None, [0.5, 0.9, 0.3, 0.7], 3, 2),
        ("val_accuracy", None, [0.5, 0.9, 0.9], 2, 1),  # among equals the first
        ("val_loss", None, [0.5, 0.5], 1, 0),
        ("val_loss", 1, [0.5, 0.6, 0.1], 1, 0),
        ("val_loss", 2, [0.5, 0.6, 0.4, 0.5, 0.5, 0.1], 4, 2),
        ("val_loss", 2, [0.5, 0.6, 0.5], 2, 0),  # an equal value is not a better one
        ("val_loss", None, [0.9, 0.8, math.nan, 0.7], 2, 1),  # training ends when it has diverged
        ("val_accuracy", None, [0.1, math.nan, 0.9], 1, 0),
        ("val_loss", None, [0.5, -math.inf], 1, 0),
        ("val_accuracy", None, [logs(0.5), logs(0.9, val_loss=math.nan)], 1, 0),  # whatever is monitored
        ("val_accuracy", None, [logs(0.5), logs(0.9, loss=math.inf), 0.6], 1, 0),
        ("val_loss", None, [0.5, {"val_loss": 0.1, "loss": math.nan}], 1, 0),
    ],
)
def test_best_epoch_and_patience(monitor, patience, values, last, best):
    keep_best = KeepBest(monitor, patience)
    assert epochs_of(keep_best, values) == (last, best)
    assert keep_best.epoch == best


def test_nothing_is_kept_of_an_epoch_that_diverged():
    keep_best = KeepBest("val_accuracy")
    assert epochs_of(keep_best, [logs(0.9, val_loss=math.nan), 0.5]) == (0, 0)  # the weights are left as they are
    assert (keep_best.epoch, keep_best.weights) == (None, [])
    keep_best.on_epoch_end(1, logs(0.5))  # somebody went on
    assert (keep_best.epoch, keep_best.value) == (1, 0.5)


def test_direction():
    assert epochs_of(KeepBest("val_accuracy", direction="min"), [0.5, 0.9, 0.3]) == (2, 2)
    assert epochs_of(KeepBest("f1", direction="max"), [0.5, 0.9, 0.3]) == (2, 1)


def test_epochs_without_the_monitor():
    keep_best = KeepBest("f1", patience=1, direction="max", required=False)
    assert epochs_of(keep_best, [{}, {"f1": 0.5}, {"loss": 1.0}, {"f1": 0.6}]) == (3, 3)
    assert epochs_of(KeepBest("f1", required=False), [{"loss": 1.0}, {"loss": math.nan}, {}]) == (1, 1)


def test_weights_are_a_copy():
    keep_best = KeepBest("val_loss")
    epochs_of(keep_best, [0.1, 0.2])
    assert keep_best.weights[0][0, 0] == 0.0


def test_restore_before_any_epoch_changes_nothing():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    before = model.get_weights()
    keep_best = KeepBest("val_loss")
    keep_best.set_model(model)
    keep_best.restore()
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


def test_messages():
    with pytest.raises(InputError) as caught:
        KeepBest("val_loss", patience=0)
    assert str(caught.value) == "patience: expected a whole number of at least 1; received 0."
    with pytest.raises(InputError) as caught:
        KeepBest("val_loss", direction="up")
    assert str(caught.value) == "direction: expected one of 'max', 'min'; received 'up'."
    with pytest.raises(InputError) as caught:
        KeepBest("val_acc").on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})
    assert str(caught.value) == "monitor: expected a metric out of ['accuracy', 'loss']; received 'val_acc'."
