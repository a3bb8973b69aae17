"""The objective: directions, and what is read of what a fit returns."""

import json

import keras
import keras_tuner
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.objective import (
    MisuseError,
    best_of,
    from_settings,
    history_of,
    metrics_of,
    objective_of,
    settings_of,
    with_objective,
)

ACCURACY = keras_tuner.Objective("val_accuracy", "max")
SUM = ["val_loss", ACCURACY, keras_tuner.Objective("size", "min")]


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


def test_several_are_summed_as_in_keras_tuner():
    ours, theirs = objective_of(SUM), keras_tuner.oracles.RandomSearchOracle(objective=SUM).objective
    assert (ours.name, ours.direction, str(ours)) == ("multi_objective", "min", str(theirs))
    row = {"loss": 9.0, "val_loss": 1.0, "val_accuracy": 0.75, "size": 2.0}
    assert with_objective(row, ours) == {**row, "multi_objective": 2.25}
    assert theirs.get_value(row) == 2.25
    assert with_objective({"val_loss": 1.0}, ours) == {"val_loss": 1.0}
    assert metrics_of(history(**{name: [value, 2 * value] for name, value in row.items()}), ours)["size"] == 2.0
    assert metrics_of([row, row | {"size": 4.0}], ours)["multi_objective"] == 3.25
    assert metrics_of({"multi_objective": 5}, ours) == {"multi_objective": 5.0}
    nan = with_objective(row | {"val_loss": float("nan")}, ours)
    assert best_of([nan, with_objective(row, ours)], ours)["multi_objective"] == 2.25


@pytest.mark.parametrize("objective", ["val_loss", ACCURACY, SUM])
def test_settings_and_back(objective):
    objective = objective_of(objective)
    settings = json.loads(json.dumps(settings_of(objective)))
    assert (str(from_settings(settings)), type(from_settings(settings))) == (str(objective), type(objective))
    assert settings["name"] == objective.name


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "f1",
            "objective: expected a metric of Keras, whose direction is known; received 'f1'. Give the direction: "
            'keras_tuner.Objective("f1", direction="min") or "max".',
        ),
        ([], "objective: expected a list of different metrics; received []."),
        (["loss", None], "objective: expected a list of different metrics; received ['loss', None]."),
        (["loss", "loss"], "objective: expected a list of different metrics; received ['loss', 'loss']."),
        (
            3,
            "objective: expected the name of a metric, a keras_tuner.Objective or a list of these; received 3.",
        ),
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


PASS = "Pass validation_data or validation_split to search()."
COMPILE = "Compile the model with that metric, or return it from HyperModel.fit."


@pytest.mark.parametrize(
    ("objective", "reported", "message"),
    [
        (
            "val_accuracy",
            ["accuracy", "loss"],
            "objective: expected a metric that the fit reports, one of 'accuracy', 'loss'; received 'val_accuracy'. "
            + PASS,
        ),
        (
            "val_accuracy",
            ["loss", "val_acc", "val_loss"],
            "objective: expected a metric that the fit reports, one of 'loss', 'val_acc', 'val_loss'; received "
            f"'val_accuracy'. Did you mean 'val_acc'? {COMPILE}",
        ),
        (
            "mse",
            ["loss"],
            f"objective: expected a metric that the fit reports, one of 'loss'; received 'mse'. {COMPILE}",
        ),
        (
            ["val_loss", "val_accuracy", "loss"],
            ["loss"],
            "objective: expected a metric that the fit reports, one of 'loss'; received 'val_loss', 'val_accuracy'. "
            + PASS,
        ),
        (
            None,
            ["accuracy", "loss"],
            "HyperModel.fit: expected a number to be returned, since there is no objective; received 'accuracy', "
            "'loss'. Give the search an objective, one of 'accuracy', 'loss'; or return the number that is to be "
            "minimised.",
        ),
    ],
)
def test_an_objective_that_is_never_reported(objective, reported, message):
    for result in (history(**{name: [1.0] for name in reported}), dict.fromkeys(reported, 1.0)):
        with pytest.raises(MisuseError) as caught:
            metrics_of(result, objective_of(objective))
        assert str(caught.value) == message


def test_a_fit_without_an_epoch():
    with pytest.raises(MisuseError, match=r"one of nothing; received 'val_accuracy'\."):
        metrics_of(history(), ACCURACY)


@pytest.mark.parametrize("result", [None, [], "0.5", True])
def test_misuse(result):
    with pytest.raises(MisuseError) as caught:
        metrics_of(result, ACCURACY, "run_trial")
    assert str(caught.value) == (
        "run_trial: expected a History, a dict of metrics, or a number to be returned; received "
        f"{type(result).__name__}. Return what model.fit(...) returns."
    )
