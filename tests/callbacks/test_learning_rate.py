import csv
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import optimizers
from kerasbn.callbacks import LearningRateDecay
from kerasbn.checks import InputError
from kerasbn.schedules import (
    Constant,
    InverseTime,
    Linear,
    Manual,
    OneCycle,
    PiecewiseConstant,
    WarmUp,
    clip,
    join,
    scale,
)

X, Y = np.random.default_rng(0).normal(size=(12, 2)).astype("float32"), np.zeros((12, 1), "float32")


class Seen(keras.callbacks.Callback):
    """Note the rate and the momentum of each batch."""

    def __init__(self):
        super().__init__()
        self.rates, self.momenta = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate), 6))
        self.momenta.append(round(getattr(self.model.optimizer, "momentum", 0.0), 6))


def linear(optimizer=None, **compile_arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer or optimizers.SGD(0.5), "mse", **compile_arguments)
    return model


def fit(model, *callbacks, **arguments):
    return model.fit(X, Y, batch_size=4, verbose=0, shuffle=False, callbacks=list(callbacks), **arguments)


def rounded(values):
    return [round(float(value), 6) for value in values]


makes = pytest.mark.parametrize("make", [keras.optimizers.SGD, optimizers.SGD], ids=["keras", "kerasbn"])


@makes
def test_epochs_are_real_numbers_and_the_logs_have_the_first_rate(make):
    seen = Seen()
    history = fit(linear(make(0.5)), LearningRateDecay(InverseTime(0.2)), seen, epochs=4).history
    assert seen.rates == rounded(0.2 / (1 + t / 3) for t in range(12))
    assert history["learning_rate"] == [0.2, 0.1, 0.2 / 3, 0.05]
    assert "momentum" not in history


def test_initial_epoch_moves_the_schedule():
    seen = Seen()
    history = fit(linear(), LearningRateDecay(InverseTime(0.2)), seen, epochs=5, initial_epoch=3).history
    assert rounded(history["learning_rate"]) == [0.05, 0.04]
    assert seen.rates == rounded(0.2 / (1 + t / 3) for t in range(9, 15))


@makes
def test_rate_by_step_goes_on_with_the_optimizer(make):
    model, seen = linear(make(0.5)), Seen()
    decay = LearningRateDecay(InverseTime(0.2), unit="step")
    history = fit(model, decay, seen, epochs=1).history
    fit(model, decay, seen, epochs=1)
    assert seen.rates == rounded(0.2 / (1 + t) for t in range(6))
    assert history["learning_rate"] == [0.2]


def test_steps_per_epoch_counts_epochs_by_updates():
    model, seen = linear(), Seen()
    decay = LearningRateDecay(InverseTime(0.2), steps_per_epoch=6)
    fit(model, decay, seen, epochs=2)
    fit(model, decay, seen, epochs=1)  # without initial_epoch, in the middle of an epoch of six
    assert seen.rates == rounded(0.2 / (1 + t / 6) for t in range(9))


def test_the_rate_of_each_update_whatever_the_executions_are():
    results, logs = [], []
    for size in (1, 2, 8, 64):  # an epoch has 10 steps: the last execution is cut short
        model = linear(optimizers.SGD(0.5, momentum=0.9), steps_per_execution=size)
        x, y = np.tile(X, (4, 1))[:40], np.tile(Y, (4, 1))[:40]
        decay = LearningRateDecay(OneCycle(0.1, decay_steps=30), unit="step")
        fitted = model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=[decay])
        results.append([v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)])
        logs.append((fitted.history["learning_rate"], fitted.history["momentum"]))
    for other, log in zip(results[1:], logs[1:], strict=True):
        assert log == logs[0]
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_rate_in_epochs_whatever_the_executions_are():
    results = []
    for size in (1, 3):
        model = linear(optimizers.Adam(0.5), steps_per_execution=size)
        fit(model, LearningRateDecay(InverseTime(0.2)), epochs=3)
        results.append([v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_optimizer_has_one_rate_in_an_execution():
    seen = Seen()
    decay = LearningRateDecay(InverseTime(0.2), unit="step")
    model = linear(keras.optimizers.SGD(0.5), steps_per_execution=2)
    model.fit(np.ones((16, 2)), np.zeros((16, 1)), batch_size=4, epochs=2, verbose=0, callbacks=[decay, seen])
    assert seen.rates == rounded(0.2 / (1 + t) for t in (0, 2, 4, 6))


@makes
@pytest.mark.parametrize(("unit", "scale"), [("step", 1), ("epoch", 2 / 3)])
def test_gradient_accumulation_counts_updates(make, unit, scale):
    seen = Seen()
    model = linear(make(0.1, gradient_accumulation_steps=2))
    fit(model, LearningRateDecay(InverseTime(0.2), unit), seen, epochs=2)
    # In epochs of three batches the second update begins in the first epoch and is made in the second.
    assert seen.rates == rounded(0.2 / (1 + t // 2 * scale) for t in range(6))


@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_accumulated_updates_whatever_the_executions_are(unit):
    results = []
    for size in (1, 2, 3):
        optimizer = optimizers.SGD(0.5, gradient_accumulation_steps=2)
        model = linear(optimizer, steps_per_execution=size)
        fit(model, LearningRateDecay(InverseTime(0.2), unit), epochs=4)
        results.append([v.numpy() for v in model.trainable_variables])
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


@makes
def test_loss_scaling_optimizer(make):
    model = linear(keras.optimizers.LossScaleOptimizer(make(0.5)))
    history = fit(model, LearningRateDecay(InverseTime(0.2)), epochs=2).history
    assert history["learning_rate"] == [0.2, 0.1]
    assert float(model.optimizer.learning_rate) == np.float32(0.2 / (1 + 5 / 3))


@pytest.mark.parametrize("arguments", [{"run_eagerly": True}, {"jit_compile": True}])
def test_every_mode_has_the_same_rates(arguments):
    model, seen = linear(optimizers.SGD(0.5, momentum=0.9), **arguments), Seen()
    fit(model, LearningRateDecay(OneCycle(0.2, 6), unit="step"), seen, epochs=2)
    assert seen.rates == rounded(OneCycle(0.2, 6)(t) for t in range(6))
    assert seen.momenta == rounded(OneCycle(0.2, 6).momentum(t) for t in range(6))


def test_a_dataset():
    data, seen = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), Seen()
    linear().fit(data, epochs=2, shuffle=False, verbose=0, callbacks=[LearningRateDecay(InverseTime(0.2)), seen])
    assert seen.rates == rounded(0.2 / (1 + t / 3) for t in range(6))


def test_steps_of_an_endless_dataset():
    data, seen = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat(), Seen()
    decay = LearningRateDecay(InverseTime(0.2))
    linear().fit(data, shuffle=False, steps_per_epoch=2, epochs=2, verbose=0, callbacks=[decay, seen])
    assert seen.rates == rounded(0.2 / (1 + t / 2) for t in range(4))


def generated():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).filter(lambda x, y: True)  # of unknown length


def test_unknown_length_changes_once_an_epoch_and_says_so():
    decay, seen, model = LearningRateDecay(InverseTime(0.2)), Seen(), linear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(generated(), epochs=2, verbose=0, callbacks=[decay, seen])
        model.fit(generated(), epochs=3, initial_epoch=2, verbose=0, callbacks=[decay, seen])
    ours = [str(one.message) for one in caught if "LearningRateDecay" in str(one.message)]
    assert ours == [
        "LearningRateDecay: the number of steps in an epoch is not known, so the rate changes once an epoch. "
        "Give `fit` steps_per_epoch, or LearningRateDecay a schedule in steps and unit='step'."
    ]
    assert {0.2, 0.1, round(0.2 / 3, 6)} == set(seen.rates)


@pytest.mark.parametrize(
    "decay",
    [
        LearningRateDecay(Constant(0.1)),
        LearningRateDecay(InverseTime(0.1), "step"),
        LearningRateDecay(InverseTime(0.1), steps_per_epoch=3),
    ],
)
def test_unknown_length_does_not_matter(decay):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        linear().fit(generated(), epochs=1, verbose=0, callbacks=[decay])
    assert not [one for one in caught if "LearningRateDecay" in str(one.message)]


@pytest.mark.parametrize(
    ("schedule", "unit", "epochs", "message"),
    [
        (Linear(0.1, 2), "epoch", 3, "the schedule ends at epoch 2 and training at 3; in between the rate stays at 0"),
        (Linear(0.1, 5), "step", 2, "the schedule ends at step 5 and training at 6; in between the rate stays at 0"),
        (Manual((0.1, 0.05)), "epoch", 3, "the schedule ends at epoch 2 and training at 3; in between the rate stays"),
    ],
)
def test_a_schedule_that_ends_before_training_does(schedule, unit, epochs, message):
    seen = Seen()
    with pytest.warns(UserWarning, match="LearningRateDecay: " + message):
        fit(linear(), LearningRateDecay(schedule, unit), seen, epochs=epochs)
    assert seen.rates[-1] == schedule(schedule.length)


@pytest.mark.parametrize(
    "schedule",
    [
        Manual((0.1, 0.05, 0.01)),
        Linear(0.1, 3),
        PiecewiseConstant((1,), (0.1, 0.01)),
        WarmUp(Constant(0.1), 1),
        scale(Manual((0.1, 0.05, 0.01)), 2),
        clip(PiecewiseConstant((1,), (0.1, 0.01)), minimum=0.02),
        WarmUp(PiecewiseConstant((1,), (0.1, 0.01)), 1),
        join([Constant(0.1), Constant(0.01)], [2]),
    ],
    ids=lambda schedule: schedule.name,
)
def test_schedules_that_do_not_end_too_early(schedule):
    fit(linear(), LearningRateDecay(schedule), epochs=3)  # a warning would fail here


def test_multiplier_at_any_time():
    class Halve(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            decay.multiplier *= 0.5

    decay, seen = LearningRateDecay(Constant(0.8)), Seen()
    fit(linear(), decay, seen, Halve(), epochs=1)
    assert seen.rates == [0.8, 0.4, 0.2]
    assert decay.rate_now(0) == 0.1


def test_momentum_by_hand_and_back():
    class Change(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            decay.momentum = {1: 0.5, 2: 0.25, 3: None}.get(epoch)

    decay, seen = LearningRateDecay(Constant(0.1)), Seen()
    history = fit(linear(optimizers.SGD(0.1, momentum=0.9)), Change(), decay, seen, epochs=4).history
    assert seen.momenta == [0.9] * 3 + [0.5] * 3 + [0.25] * 3 + [0.9] * 3
    assert history["momentum"] == [0.5, 0.25, 0.9]


def test_cycled_momentum_gives_way_and_comes_back():
    decay, seen, schedule = LearningRateDecay(OneCycle(0.1, 9), "step"), Seen(), OneCycle(0.1, 9)
    model = linear(optimizers.Adam(0.1))
    fit(model, decay, epochs=1)
    decay.momentum = 0.5
    history = fit(model, decay, epochs=1).history
    assert (history["momentum"], model.optimizer.beta_1) == ([0.5], 0.5)
    decay.momentum = None
    history = fit(model, decay, seen, epochs=1).history
    assert history["momentum"] == [schedule.momentum(6)]
    assert model.optimizer.beta_1 == schedule.momentum(8)


def test_history_csv_and_tensorboard_have_rate_and_momentum(tmp_path):
    schedule = OneCycle(0.2, 2)
    callbacks = [
        LearningRateDecay(schedule),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False),
    ]
    history = fit(linear(optimizers.SGD(0.1, momentum=0.9)), *callbacks, epochs=2).history
    assert history["learning_rate"] == [schedule(0.0), schedule(1.0)]
    assert history["momentum"] == [schedule.momentum(0.0), schedule.momentum(1.0)]
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["learning_rate"]) for row in rows] == history["learning_rate"]
    assert [float(row["momentum"]) for row in rows] == history["momentum"]
    values = {}
    for path in sorted((tmp_path / "board" / "train").iterdir()):
        for record in tf.data.TFRecordDataset(str(path)):
            for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
                values.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    assert values["epoch_momentum"] == pytest.approx(history["momentum"])
    # Keras's TensorBoard asks the optimizer itself, at the end of the epoch.
    assert values["epoch_learning_rate"] == pytest.approx([schedule(2 / 3), schedule(5 / 3)])


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_a_resumed_run_has_rates_and_weights_of_one_in_one_go(tmp_path, unit):
    results = []
    for cut in (False, True):
        model, decay = linear(optimizers.SGD(0.1, momentum=0.9), steps_per_execution=3), decay_of(unit)
        decay.multiplier, decay.momentum = 0.5, 0.25
        if cut:
            fit(model, decay, epochs=2)
            state = json.loads(json.dumps(decay.state()))
            model.save(tmp_path / "model.keras")
            model, decay = keras.saving.load_model(tmp_path / "model.keras"), decay_of(unit)
            decay.set_state(state)
            assert decay.state() == state
        history = fit(model, decay, epochs=4, initial_epoch=2 if cut else 0).history
        decay.momentum = None
        fit(model, decay, epochs=5, initial_epoch=4)
        assert model.optimizer.momentum == 0.9
        results.append([*model.get_weights(), history["learning_rate"][-2:]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def decay_of(unit):
    return LearningRateDecay(InverseTime(0.2), unit)


def test_an_epoch_that_goes_on_in_the_middle_logs_its_first_rate():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1
            self.state = json.loads(json.dumps(decay.state()))

    decay, stop, model = LearningRateDecay(InverseTime(0.2), steps_per_epoch=3), Stop(), linear()
    fit(model, decay, epochs=1)
    fit(model, decay, stop, epochs=2, initial_epoch=1)
    again = LearningRateDecay(InverseTime(0.2), steps_per_epoch=3)
    again.set_state(stop.state)
    history = model.fit(X[8:], Y[8:], batch_size=4, epochs=3, initial_epoch=1, verbose=0, callbacks=[again]).history
    assert history["learning_rate"] == [0.1, 0.2 / (1 + 6 / 3)]


@makes
def test_any_function_will_do(make):
    seen = Seen()
    history = fit(linear(make(0.5)), LearningRateDecay(lambda t: 0.1 * (t + 1)), seen, epochs=2).history
    assert rounded(history["learning_rate"]) == [0.1, 0.2]
    assert seen.rates == rounded(0.1 * (t / 3 + 1) for t in range(6))


@pytest.mark.parametrize(
    "other",
    [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 * (epoch + 1)),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=100.0),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_another_owner_does_not_go_unnoticed(other, first):
    decay = LearningRateDecay(Constant(0.5))
    with pytest.warns(UserWarning, match="LearningRateDecay: something else set the learning rate, from 0.5 to 0.0"):
        fit(linear(), *([other, decay] if first else [decay, other]), epochs=4)


def test_more_updates_than_can_be_planned():
    model = linear(steps_per_execution=70)
    with pytest.warns(UserWarning, match="Of 70 updates in one execution those after the 64th have its rate"):
        model.fit(np.ones((70, 2)), np.zeros((70, 1)), batch_size=1, verbose=0, callbacks=[decay_of("step")])
    assert float(model.optimizer.learning_rate) == np.float32(0.2 / 64)


@makes
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    "rate", [keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), lambda: 0.1], ids=["schedule", "function"]
)
def test_an_optimizer_with_a_schedule_is_refused_before_the_first_step(make, scaled, rate):
    optimizer = keras.optimizers.LossScaleOptimizer(make(rate)) if scaled else make(rate)
    model = linear(optimizer)
    with pytest.raises(InputError) as error:
        fit(model, LearningRateDecay(Constant(0.1)))
    assert str(error.value) == (
        "learning_rate of the optimizer: expected a number, which LearningRateDecay can set; received a "
        "schedule. Compile with a number, or leave LearningRateDecay out."
    )
    assert int(model.optimizer.iterations) == 0


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="newer than Keras 3.12")
def test_several_optimizers_are_refused():
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1)))
    with pytest.raises(InputError) as error:
        fit(linear(several), LearningRateDecay(Constant(0.1)))
    assert str(error.value) == (
        "optimizer: expected one optimizer, whose rate LearningRateDecay can set; received several: SGD."
    )


@pytest.mark.parametrize("way", ["schedule", "override"])
@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            lambda: keras.optimizers.SGD(0.1, momentum=0.9),
            "optimizer: expected one of kerasbn.optimizers, whose momentum can change during training; "
            "received SGD of Keras. Use kerasbn.optimizers, or a schedule that does not cycle the momentum.",
        ),
        (
            lambda: optimizers.SGD(0.1),
            "SGD.momentum: expected a momentum above 0 when the optimizer is made, if it is to change; received 0.0. "
            "Without momentum it keeps no velocities. Create it with the momentum to begin with, such as 0.9.",
        ),
        (
            lambda: optimizers.Adagrad(0.1),
            "momentum of Adagrad: expected an optimizer with a momentum; received one without. SGD has one.",
        ),
    ],
    ids=["keras", "none", "adagrad"],
)
def test_a_momentum_that_cannot_be_set_is_refused_before_the_first_step(optimizer, message, way):
    model = linear(optimizer())
    decay = LearningRateDecay(OneCycle(0.1, 3) if way == "schedule" else Constant(0.1))
    if way == "override":
        decay.momentum = 0.5
    with pytest.raises(InputError) as error:
        fit(model, decay)
    assert str(error.value) == message
    assert int(model.optimizer.iterations) == 0


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: LearningRateDecay(0.1),
            "schedule: expected a function from a position to a rate; received 0.1. "
            "Use one of kerasbn.schedules, such as Constant(0.1).",
        ),
        (
            lambda: LearningRateDecay(Constant(0.1), "epochs"),
            "unit: expected one of 'epoch', 'step'; received 'epochs'. Did you mean 'epoch'?",
        ),
        (
            lambda: LearningRateDecay(Constant(0.1), steps_per_epoch=0),
            "steps_per_epoch: expected a whole number of at least 1; received 0.",
        ),
        (
            lambda: LearningRateDecay(Constant(0.1), "step", steps_per_epoch=3),
            "steps_per_epoch: expected None, since the unit is 'step'; received 3.",
        ),
        (
            lambda: setattr(LearningRateDecay(Constant(0.1)), "multiplier", -1),
            "multiplier: expected a number of at least 0; received -1.",
        ),
        (
            lambda: setattr(LearningRateDecay(Constant(0.1)), "momentum", 1.0),
            "momentum: expected a number in [0, 1); received 1.0.",
        ),
        (
            lambda: LearningRateDecay(Constant(0.1)).set_state({"multiplier": 1.0}),
            "state of LearningRateDecay: expected the keys multiplier, momentum, momentum_before, first; "
            "received multiplier.",
        ),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(InputError) as error:
        act()
    assert str(error.value) == message


@pytest.mark.parametrize("bad", [float("nan"), -0.5, float("inf")])
def test_a_schedule_that_returns_no_rate(bad):
    with pytest.raises(InputError) as error:
        fit(linear(), LearningRateDecay(lambda t: bad))
    assert str(error.value) == f"schedule(0): expected a rate in [0, 1e+38]; received {bad}."
