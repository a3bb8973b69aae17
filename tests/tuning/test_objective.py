"""The objective: directions, and what is read of what a fit returns."""

import keras
import keras_tuner
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.objective import MisuseError, history_of, metrics_of, objective_of

ACCURACY = keras_tuner.Objective("val_accuracy", "max")


def history(**values):
    result = keras.callbacks.History()
    result.history = values
    return result


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_accuracy", "max"),
        ("accuracy", "max"),
        ("val_loss", "min"),
        ("loss", "min"),
        ("val_mean_squared_error", "min"),
    ],
)
def test_directions(name, direction):
    assert objective_of(name) == keras_tuner.Objective(name, direction)


def test_objective_is_taken_as_it_is():
    assert objective_of(keras_tuner.Objective("f1", "max")).direction == "max"
    assert objective_of(None).direction == "min"


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "f1",
            "objective: expected a metric of Keras, whose direction is known; received 'f1'. Give the direction: "
            'keras_tuner.Objective("f1", direction="min") or "max".',
        ),
        (["loss"], "objective: expected the name of one metric or a keras_tuner.Objective; received ['loss']."),
        (keras_tuner.Objective("f1", "up"), "objective: direction: expected 'min' or 'max'; received 'up'."),
    ],
)
def test_messages(objective, message):
    with pytest.raises(InputError) as caught:
        objective_of(objective)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (0.5, {"val_accuracy": 0.5}),
        ({"val_accuracy": 1, "x": 2}, {"val_accuracy": 1.0, "x": 2.0}),
        (history(val_accuracy=[0.1, 0.3, 0.2], loss=[3.0, 2.0, 1.0]), {"val_accuracy": 0.3, "loss": 2.0}),
        (history(val_accuracy=[float("nan"), 0.3]), {"val_accuracy": 0.3}),
        (history(val_accuracy=[0.5, 0.5], loss=[3.0, 2.0]), {"val_accuracy": 0.5, "loss": 3.0}),
        (history(val_accuracy=[0.3, 0.9], val_loss=[1.0, float("nan")]), {"val_accuracy": 0.3, "val_loss": 1.0}),
        (history(val_accuracy=[0.3, 0.9], loss=[1.0, float("inf")]), {"val_accuracy": 0.3, "loss": 1.0}),
        ([0.5, {"val_accuracy": 1.0}], {"val_accuracy": 0.75}),
    ],
)
def test_metrics_of(result, expected):
    assert metrics_of(result, ACCURACY) == pytest.approx(expected)


def test_history_of():
    assert history_of(history(loss=[2.0, 1.0])) == [{"loss": 2.0}, {"loss": 1.0}]
    assert history_of(0.5) == []


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (history(loss=[1.0]), "objective: expected one of ['loss']; received 'val_accuracy'. Compile the model with "),
        ({"loss": 1.0}, "objective: expected one of ['loss']; received 'val_accuracy'. Compile the model with "),
        (None, "HyperModel.fit: expected a History, a dict of metrics, or a number to be returned; received NoneType."),
    ],
)
def test_misuse(result, message):
    with pytest.raises(MisuseError) as caught:
        metrics_of(result, ACCURACY)
    assert str(caught.value).startswith(message)
