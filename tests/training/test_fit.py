"""Tests of fit and of what it compiles: steps, decay, weight decay, class weights, patience."""

import dataclasses
import threading

import keras
import numpy as np
import pytest

from kerasbn import optimizers
from kerasbn.checks import InputError
from kerasbn.config import DataConfig, MLPConfig, TrainingConfig
from kerasbn.data import Features, load_splits, prepare
from kerasbn.models import create_model
from kerasbn.schedules import Constant, WarmUp
from kerasbn.training import compile_model, evaluate, fit, optimizer_of, probabilities, schedule_of
from kerasbn.training.compile import balanced_class_weight, plan_epoch


@pytest.fixture(scope="module")
def iris():
    return prepare(load_splits(DataConfig(source="iris")))


def mlp(**keys):
    keras.utils.set_random_seed(0)
    return create_model("mlp", (4,), 3, **{"units": (8,), **keys})


def data(examples):
    random = np.random.default_rng(0)
    return Features(random.normal(size=(examples, 4)).astype(np.float32), np.arange(examples, dtype=np.int32) % 3)


@pytest.mark.parametrize(
    ("decay", "rate", "formula"),
    [
        ("constant", None, lambda t: 0.1),
        ("inverse_time", 0.5, lambda t: 0.1 / (1 + 0.5 * t)),
        ("inverse_time", None, lambda t: 0.1 / (1 + t)),
        ("inverse_time", 0.0, lambda t: 0.1),
        ("exponential", 0.5, lambda t: 0.1 * 0.5**t),
        ("exponential", None, lambda t: 0.1 * 0.95**t),
        ("inverse_sqrt", 0.5, lambda t: 0.1 * 0.5 / max(t, 1) ** 0.5),
        ("inverse_sqrt", None, lambda t: 0.1 / max(t, 1) ** 0.5),
    ],
)
def test_decay_appears_in_the_history(iris, decay, rate, formula):
    config = TrainingConfig(epochs=4, learning_rate=0.1, decay=decay, decay_rate=rate)
    history = fit(mlp(), iris.train, iris.validation, config)
    np.testing.assert_allclose([e["learning_rate"] for e in history], [formula(t) for t in range(4)], rtol=1e-6)
    assert [e["epoch"] for e in history] == [1, 2, 3, 4]
    assert set(history[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    assert schedule_of(config)(3) == pytest.approx(formula(3))


def test_plans_of_any_number_of_examples():
    sizes = {2: (2, 1), 3: (3, 1), 31: (31, 1), 32: (32, 1), 33: (32, 1), 47: (23, 2), 65: (32, 2), 97: (32, 3)}
    for examples, expected in sizes.items():
        plan = plan_epoch(mlp(), examples, 32)
        assert (plan.batch_size, plan.steps) == expected
        assert plan.steps % plan.in_one == 0


@pytest.mark.parametrize("examples", [2, 33, 47])
def test_any_number_of_examples(examples):
    history = fit(mlp(), data(examples), data(9), TrainingConfig(epochs=2, batch_size=32))
    assert all(np.isfinite(value) for entry in history for value in entry.values())


@pytest.mark.parametrize("batch_size", [2, 3, 32, 64, 1000])
def test_an_epoch_covers_nearly_all_of_a_small_set(batch_size):
    model = mlp()
    for examples in range(2, 200):
        plan = plan_epoch(model, examples, batch_size)
        assert 2 <= plan.batch_size <= batch_size
        assert plan.batch_size * plan.steps <= examples
        assert examples - plan.batch_size * plan.steps <= max(1, 0.12 * examples)


def test_a_batch_larger_than_the_set(iris):
    history = fit(mlp(), iris.train, iris.validation, TrainingConfig(epochs=3, batch_size=512, learning_rate=0.05))
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("most", [1, 2, 3, 10, 64])
def test_steps_per_execution(monkeypatch, most):
    monkeypatch.setattr("kerasbn.training.compile._MAX_STEPS", most)
    model = mlp()
    for steps in (*range(1, 140), 997, 1000):
        plan = plan_epoch(model, 32 * steps, 32)
        assert 1 <= plan.in_one <= min(most, steps)
        assert 0 <= steps - plan.steps <= 0.02 * steps  # left out


def test_large_models_take_one_step_at_a_time():
    large = create_model("resnet", (64, 64, 3), 10, depth=20, filters=64)
    assert plan_epoch(large, 12800, 128).in_one == 1
    assert plan_epoch(mlp(), 3200, 32).in_one >= 50


def test_steps_in_one_execution_do_not_change_the_numbers(iris, monkeypatch):
    histories = []
    few = Features(iris.train.inputs[:90], iris.train.labels[:90])
    for most in (1, 5, 6):
        monkeypatch.setattr("kerasbn.training.compile._MAX_STEPS", most)
        model = compile_model(mlp(), config := TrainingConfig(epochs=2, batch_size=3), few.labels)
        assert model.steps_per_execution == most
        histories.append(fit(model, few, iris.validation, config)[-1]["val_loss"])
    assert len({round(value, 5) for value in histories}) == 1


def test_validation_figures_are_of_all_examples(iris):
    config = TrainingConfig(epochs=2, batch_size=8, monitor="val_loss")
    model = mlp()
    history = fit(model, iris.train, iris.validation, config)
    best = min(history, key=lambda entry: entry["val_loss"])
    figures = evaluate(model, iris.validation, 3)
    assert best["val_loss"] == pytest.approx(figures["log_loss"], rel=1e-4)
    assert best["val_accuracy"] == pytest.approx(figures["accuracy"])


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamw"])
def test_weight_decay_is_of_kernels_only(iris, name):
    def after_one_step(weight_decay):
        model = mlp(units=(8, 8))
        config = TrainingConfig(epochs=1, batch_size=106, optimizer=name, learning_rate=0.01, weight_decay=weight_decay)
        model.set_weights([weight + 0.5 for weight in model.get_weights()])  # beta and biases begin with 0
        before = {v.path: v.numpy() for v in model.trainable_variables}
        fit(model, iris.train, iris.validation, config)
        return before, {v.path: v.numpy() for v in model.trainable_variables}

    before, plain = after_one_step(0.0)
    again, decayed = after_one_step(0.5)
    kinds = set()
    for path, start in before.items():
        np.testing.assert_array_equal(start, again[path])
        kinds.add(path.split("/")[-1])
        expected = plain[path] - 0.01 * 0.5 * start if path.endswith("kernel") else plain[path]
        np.testing.assert_allclose(decayed[path], expected, atol=1e-6, err_msg=path)
    assert kinds == {"kernel", "gamma", "beta", "bias"}


@pytest.mark.parametrize(
    ("name", "kind", "momentum", "default"),
    [
        ("sgd", optimizers.SGD, "momentum", 0.0),
        ("momentum", optimizers.SGD, "momentum", 0.9),
        ("rmsprop", optimizers.RMSprop, "momentum", 0.0),
        ("adam", optimizers.Adam, "beta_1", 0.9),
        ("adamw", optimizers.AdamW, "beta_1", 0.9),
        ("adagrad", optimizers.Adagrad, None, None),
    ],
)
def test_optimizers(name, kind, momentum, default):
    config = TrainingConfig(optimizer=name, learning_rate=0.3)
    optimizer = optimizer_of(config)
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == pytest.approx(0.3)
    assert not optimizer.weight_decay
    assert getattr(optimizer, "epsilon", 1e-8) == 1e-8  # the course's
    if momentum is not None:
        assert getattr(optimizer, momentum) == pytest.approx(default)
        optimizer = optimizer_of(dataclasses.replace(config, momentum=0.7))
        assert getattr(optimizer, momentum) == pytest.approx(0.7)


def test_rates_are_scaled_with_the_batch_where_asked():
    config = TrainingConfig(learning_rate=0.1, batch_size=256)
    for rule, factor in (("none", 1), ("linear", 4), ("square_root", 2)):
        scaled = dataclasses.replace(config, batch_scaling=rule)
        assert schedule_of(scaled)(0.0) == pytest.approx(0.1 * factor)
        assert float(optimizer_of(scaled).learning_rate) == pytest.approx(0.1 * factor)


def test_a_schedule_by_steps(iris):
    """A warm-up by steps, in executions of several: each step has its own rate."""
    schedule = WarmUp(Constant(0.1), warmup_steps=10)
    plan = plan_epoch(mlp(), len(iris.train), 16)
    assert plan.in_one > 1
    histories = [
        fit(mlp(), iris.train, iris.validation, TrainingConfig(epochs=3, batch_size=16, schedule=s, schedule_unit=u))
        for s, u in ((schedule, "step"), (WarmUp(Constant(0.1), warmup_steps=10 / plan.steps), "epoch"))
    ]
    rates = [row["learning_rate"] for row in histories[0]]
    assert rates == pytest.approx([schedule(epoch * plan.steps) for epoch in range(3)])
    assert [row["loss"] for row in histories[0]] == pytest.approx([row["loss"] for row in histories[1]], rel=1e-4)


def test_a_plateau_lowers_the_rate(iris):
    config = TrainingConfig(epochs=40, learning_rate=0.3, plateau_patience=2, plateau_factor=0.5, batch_size=16)
    history = fit(mlp(), iris.train, iris.validation, config)
    rate, best, since = 0.3, np.inf, 0
    for row in history:
        assert row["learning_rate"] == pytest.approx(rate)
        since = 0 if row["val_loss"] < best else since + 1
        best = min(best, row["val_loss"])
        if since == 2:
            rate, since = rate / 2, 0
    assert rate < 0.3


def test_a_loss_that_is_not_finite_ends_training_after_the_execution(iris):
    data_ = data(1600)
    config = TrainingConfig(epochs=3, batch_size=8, optimizer="sgd", learning_rate=1e38)
    executions = []
    counted = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: executions.append(batch))
    history = fit(mlp(), data_, data(9), config, [counted])
    assert plan_epoch(mlp(), 1600, 8).steps > 128
    assert len(executions) <= 2
    assert [row["epoch"] for row in history] == [1]
    assert not np.isfinite(history[0]["loss"])


def test_balanced_class_weight():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    np.testing.assert_allclose(balanced_class_weight(labels), [10 / 18, 10 / 9, 10 / 3])


def test_class_weight_makes_rare_classes_count():
    random = np.random.default_rng(0)
    labels = np.array([0] * 190 + [1] * 10, np.int32)
    part = Features((random.normal(size=(200, 4)) + labels[:, None]).astype(np.float32), labels)
    recalls = []
    for class_weight in (False, True):
        keras.utils.set_random_seed(0)
        model = create_model("mlp", (4,), 2, units=())
        config = TrainingConfig(
            epochs=30, batch_size=32, learning_rate=0.02, class_weight=class_weight, monitor="val_loss"
        )
        fit(model, part, part, config)
        recalls.append(evaluate(model, part, 2)["confusion_matrix"][1][1])
    assert recalls[1] > recalls[0]


def test_label_smoothing_raises_the_least_loss(iris):
    losses = [
        fit(mlp(), iris.train, iris.validation, TrainingConfig(epochs=5, learning_rate=0.05, label_smoothing=s))[-1][
            "loss"
        ]
        for s in (0.0, 0.5)
    ]
    assert losses[1] > losses[0]


def test_patience_and_the_best_weights(iris):
    model = mlp()
    config = TrainingConfig(epochs=50, learning_rate=0.5, patience=2, monitor="val_loss", batch_size=16)
    history = fit(model, iris.train, iris.validation, config)
    best = min(range(len(history)), key=lambda index: history[index]["val_loss"])
    assert len(history) < 50
    assert len(history) == best + 1 + 2
    assert evaluate(model, iris.validation, 3)["log_loss"] == pytest.approx(history[best]["val_loss"], rel=1e-4)


def test_stop_ends_training_after_the_step(iris):
    stop = threading.Event()
    stop.set()
    assert len(fit(mlp(), iris.train, iris.validation, TrainingConfig(epochs=5), stop=stop)) == 1  # its only execution
    assert fit(mlp(), data(1600), data(9), TrainingConfig(epochs=5, batch_size=8), stop=stop) == []


def test_probabilities_survive_large_logits():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[1e4, -1e4]])])
    np.testing.assert_array_equal(probabilities(model, np.ones((1, 1), np.float32)), [[1.0, 0.0]])


def test_evaluate_says_what_is_not_finite():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[np.nan, 1.0]])])
    part = Features(np.ones((5, 1), np.float32), np.array([0, 1, 0, 1, 0], np.int32))
    with pytest.raises(InputError, match="the trained model: expected finite probabilities; received 5 of 5 that"):
        evaluate(model, part, 2)


def test_the_defaults_learn(iris):
    assert MLPConfig().units == (128, 128)
    keras.utils.set_random_seed(0)
    model = create_model("mlp", (4,), 3)
    fit(model, iris.train, iris.validation, TrainingConfig())
    assert evaluate(model, iris.test, 3)["accuracy"] >= 0.9
