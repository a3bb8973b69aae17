"""Tests of ApplyAdjustments: changes take effect at the next step, are undone exactly, and come again bit for bit."""

import json
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import adjustments
from kerasbn.adjustments import Adjustments, read_records
from kerasbn.callbacks import LearningRateDecay
from kerasbn.callbacks.adjust import ApplyAdjustments
from kerasbn.config import Change
from kerasbn.optimizers import SGD, Adagrad, Adam
from kerasbn.schedules import Constant, InverseTime, OneCycle, PiecewiseConstant

STEPS, IN_ONE = 12, 4
X = np.random.default_rng(0).normal(size=(STEPS * 8, 4)).astype("float32")
Y = (X @ [1.0, -2.0, 0.5, 0.0] > 0).astype("int32")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text("format: 1\n")
    return tmp_path


def make_model(optimizer=None, dropout=0.5, jit_compile=False):
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4,)), keras.layers.Dense(16, "relu")]
    if dropout is not None:
        # One of them in a model of its own.
        layers += [keras.Sequential([keras.layers.Dropout(dropout)]), keras.layers.Dense(8), keras.layers.Dropout(0.25)]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    optimizer = optimizer or SGD(0.1, momentum=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, steps_per_execution=IN_ONE, jit_compile=jit_compile)
    return model


class Ask(keras.callbacks.Callback):
    """Asks for changes before given steps, as another process would, and looks at what is in use at each."""

    def __init__(self, run, wishes):
        super().__init__()
        self.run, self.wishes, self.seen = run, dict(wishes), {}

    def on_train_batch_begin(self, batch, logs=None):
        step = int(self.model.optimizer.iterations)
        for change in self.wishes.pop(step, ()):
            adjustments.request(self.run, change)


class Look(keras.callbacks.Callback):
    """Notes what is in use at each execution, and the weights after it."""

    def __init__(self, decay):
        super().__init__()
        self.decay, self.seen, self.weights = decay, {}, {}

    def on_train_batch_begin(self, batch, logs=None):
        optimizer = self.model.optimizer
        momentum = getattr(optimizer, "momentum", getattr(optimizer, "beta_1", None))
        shares = [layer.rate for layer in dropouts_of(self.model)]
        self.seen[int(optimizer.iterations)] = (float(optimizer.learning_rate), momentum, shares)

    def on_train_batch_end(self, batch, logs=None):
        self.weights[int(self.model.optimizer.iterations)] = self.model.get_weights()


def dropouts_of(model):
    inner = [layer for part in model.layers for layer in (part.layers if isinstance(part, keras.Model) else [part])]
    return [layer for layer in inner if isinstance(layer, keras.layers.Dropout)]


def data():
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).repeat()


def train(run, wishes=(), *, model=None, schedule=None, epochs=4, initial_epoch=0, before=None, **options):
    """Train, and return the model, what was looked at, and what was said."""
    model = model or make_model()
    decay = LearningRateDecay(schedule or InverseTime(0.1), steps_per_epoch=STEPS)
    if before is not None:
        before(model, decay)
    said, look = [], Look(decay)
    adjust = ApplyAdjustments(Adjustments(run), decay, said.append, **options)
    model.fit(
        data(), steps_per_epoch=STEPS, epochs=epochs, initial_epoch=initial_epoch, verbose=0, shuffle=False,
        callbacks=[Ask(run, wishes), adjust, decay, look],
    )  # fmt: skip
    return model, look, said


def same(first, second):
    assert all(np.isfinite(weights).all() for weights in first)
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_rate_is_what_was_asked_for_and_the_shape_goes_on(run):
    schedule = InverseTime(0.1)
    _, look, said = train(run, {20: [Change(learning_rate=0.003)]})
    rates = {step: rate for step, (rate, *_) in look.seen.items()}
    assert rates[16] == np.float32(schedule(16 / STEPS))
    assert rates[20] == np.float32(0.003)
    assert rates[40] == pytest.approx(0.003 * schedule(40 / STEPS) / schedule(20 / STEPS), rel=1e-6)
    assert said == ["after step 20, in epoch 2: learning_rate 0.003"]
    (record,) = read_records(run)
    assert (record.step, record.epoch, record.change) == (20, 2, Change(learning_rate=0.003))
    assert list((run / "requests").iterdir()) == []


def test_undo_gives_back_exactly_what_was_before(run):
    wishes = {
        8: [Change(learning_rate=0.3, momentum=0.5)],
        16: [Change(learning_rate=0.07, dropout=0.125)],
        24: [Change(undo=True)],
        32: [Change(undo=True), Change(undo=True)],
    }
    _, look, said = train(run, wishes, schedule=Constant(0.1))
    as_built, dropped = [0.5, 0.25], [0.125, 0.125]
    seen = {step: look.seen[step] for step in (4, 8, 16, 24, 32)}
    assert seen == {
        4: (np.float32(0.1), 0.9, as_built),
        8: (np.float32(0.3), 0.5, as_built),
        16: (np.float32(0.07), 0.5, dropped),
        24: (np.float32(0.3), 0.5, as_built),
        32: (np.float32(0.1), 0.9, as_built),
    }
    assert look.decay.multiplier == 1.0
    assert said[2:] == [
        "after step 24, in epoch 3: the last change of learning_rate and dropout undone",
        "after step 32, in epoch 3: the last change of learning_rate and momentum undone",
        "after step 32, in epoch 3: not changed: undo: expected a change that is in force; received none.",
    ]
    assert [record.refused is None for record in read_records(run)] == [True, True, True, True, False]


def test_what_a_plateau_made_of_the_rate_stays(run):
    class Plateau(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                look.decay.multiplier *= 0.5

    model, decay = make_model(), LearningRateDecay(Constant(0.1), steps_per_epoch=STEPS)
    look = Look(decay)
    asked = Ask(run, {8: [Change(learning_rate=0.3)], 28: [Change(undo=True)]})
    callbacks = [Plateau(), asked, ApplyAdjustments(Adjustments(run), decay, print), decay, look]
    model.fit(data(), steps_per_epoch=STEPS, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
    rates = [look.seen[step][0] for step in (4, 8, 24, 28)]
    np.testing.assert_allclose(rates, [0.1, 0.3, 0.15, 0.05], rtol=1e-6)


WISHES = {
    8: [Change(momentum=0.5)],
    20: [Change(learning_rate=0.03, dropout=0.1)],
    28: [Change(undo=True), Change(dropout=0.0)],
    36: [Change(momentum=0.95)],
}


def test_the_same_training_again_is_the_same_bit_for_bit(run):
    first, look, _ = train(run, WISHES)
    lines = (run / "adjustments.jsonl").read_text()
    second, again, said = train(run)
    assert again.seen == look.seen
    assert same(first.get_weights(), second.get_weights())
    assert (run / "adjustments.jsonl").read_text() == lines
    assert said[0] == "again after step 8, in epoch 1: momentum 0.5"
    assert len(said) == 5
    never, *_ = train(run / "none")
    assert not same(first.get_weights(), never.get_weights())


def test_under_xla(run):
    change = Change(learning_rate=0.03, momentum=0.5, dropout=0.1)
    first, look, _ = train(run, {8: [change]}, model=make_model(jit_compile=True), epochs=1)
    second, *_ = train(run, model=make_model(jit_compile=True), epochs=1)
    assert look.seen[8] == (np.float32(0.03), 0.5, [0.1, 0.1])
    assert same(first.get_weights(), second.get_weights())


def test_going_on_from_a_checkpoint_is_the_same_bit_for_bit(run):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            variables = [*self.model.variables, *self.model.optimizer.variables]
            saved[epoch + 1] = [v.numpy() for v in variables], json.dumps(decay.state())

    saved = {}
    model, decay = make_model(), LearningRateDecay(InverseTime(0.1), steps_per_epoch=STEPS)
    first = Look(decay)
    callbacks = [Ask(run, WISHES), ApplyAdjustments(Adjustments(run), decay, print), decay, first, Save()]
    model.fit(data(), steps_per_epoch=STEPS, epochs=4, verbose=0, shuffle=False, callbacks=callbacks)

    for epoch in (1, 2, 3):  # before the changes of learning rate and dropout, between, and at a change

        def restore(model, decay, saved=saved[epoch]):
            model.optimizer.build(model.trainable_variables)
            for variable, value in zip([*model.variables, *model.optimizer.variables], saved[0], strict=True):
                variable.assign(value)
            decay.set_state(json.loads(saved[1]))

        resumed, look, _ = train(run, initial_epoch=epoch, before=restore)
        assert look.seen == {step: seen for step, seen in first.seen.items() if step >= epoch * STEPS}
        assert same(model.get_weights(), resumed.get_weights())


def test_what_is_asked_for_while_changes_come_again_waits_for_them(run):
    train(run, {20: [Change(learning_rate=0.03)]}, epochs=2)
    adjustments.request(run, Change(undo=True))  # as after a kill that threw training back behind step 20
    _, look, said = train(run, epochs=2)
    assert said == ["again after step 20, in epoch 2: learning_rate 0.03",
                    "after step 20, in epoch 2: the last change of learning_rate undone"]  # fmt: skip
    assert look.decay.multiplier == 1.0


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (
            lambda: make_model(dropout=None),
            Change(dropout=0.5),
            "dropout: expected a model with dropout; received one that was built without. Train anew with "
            "--model.dropout, however small: without it there is no layer that could drop.",
        ),
        (
            lambda: make_model(Adagrad(0.1)),
            Change(momentum=0.5),
            "momentum of Adagrad: expected an optimizer with a momentum; received one without. SGD has one.",
        ),
        (
            lambda: make_model(SGD(0.1)),
            Change(learning_rate=0.2, momentum=0.5),
            "SGD.momentum: expected a momentum above 0 when the optimizer is made, if it is to change; received 0.0.",
        ),
        (
            lambda: make_model(keras.optimizers.SGD(0.1, momentum=0.9)),
            Change(momentum=0.5),
            "momentum: expected an optimizer of kerasbn.optimizers; received SGD.",
        ),
    ],
)
def test_what_a_model_cannot_take_changes_nothing(run, model, change, message):
    plain, *_ = train(run / "none", model=model(), epochs=1)
    asked, _, said = train(run, {8: [change]}, model=model(), epochs=1)
    assert len(said) == 1
    assert said[0].startswith(f"after step 8, in epoch 1: not changed: {message}")
    assert read_records(run)[0].refused == said[0].removeprefix("after step 8, in epoch 1: not changed: ")
    assert same(plain.get_weights(), asked.get_weights())


def test_a_schedule_that_is_at_0_has_no_multiple(run):
    schedule = PiecewiseConstant([1.0, 2.0], [0.1, 0.0, 0.1])
    _, look, said = train(run, {12: [Change(learning_rate=0.2)], 24: [Change(learning_rate=0.2)]}, schedule=schedule)
    assert "learning_rate: expected a schedule that is above 0 at this step; received 0.0." in said[0]
    assert [look.seen[step][0] for step in (12, 24)] == [0, np.float32(0.2)]


def test_adam_has_its_beta_and_one_cycle_gets_its_momentum_back(run):
    _, look, _ = train(run, {8: [Change(momentum=0.5)], 12: [Change(undo=True)]}, model=make_model(Adam(0.001)))
    assert [look.seen[step][1] for step in (4, 8, 12)] == [0.9, 0.5, 0.9]
    other = run / "other"
    other.mkdir()
    (other / "config.yaml").write_text("")
    schedule = OneCycle(0.1, 4)
    _, look, _ = train(other, {8: [Change(momentum=0.5)], 12: [Change(undo=True)]}, schedule=schedule)
    momenta = [look.seen[step][1] for step in (4, 8, 12)]
    assert momenta == pytest.approx([schedule.momentum(4 / STEPS), 0.5, schedule.momentum(1.0)], rel=1e-6)


def test_stop(run):
    stop = threading.Event()
    _, look, said = train(run, {20: [Change(stop=True), Change(learning_rate=0.5)]}, stop=stop, epochs=2)
    assert stop.is_set()
    assert said[0] == "after step 20, in epoch 2: stopped"
    # Without an event it ends the fit after the execution. It does not come again; what was asked for after it does.
    other = run / "other"
    other.mkdir()
    (other / "config.yaml").write_text("")
    _, look, said = train(other, {20: [Change(stop=True), Change(learning_rate=0.5)]})
    assert max(look.seen) == 20
    assert said == ["after step 20, in epoch 2: stopped"]
    _, look, said = train(other)
    assert max(look.seen) == 44
    assert said == ["after step 0, in epoch 1: learning_rate 0.5"]


def test_who_does_not_listen_only_repeats(run):
    first, *_ = train(run, {8: [Change(learning_rate=0.05)]}, epochs=1)
    adjustments.request(run, Change(stop=True))
    second, _, said = train(run, listen=False, epochs=1)
    assert said == ["again after step 8, in epoch 1: learning_rate 0.05"]
    assert same(first.get_weights(), second.get_weights())
    assert len(list((run / "requests").iterdir())) == 1


def test_shares_of_dropout_are_given_back_at_the_end(run):
    model, *_ = train(run, {8: [Change(dropout=0.0)]}, epochs=1)
    assert [layer.rate for layer in dropouts_of(model)] == [0.5, 0.25]


def test_a_full_disk_is_reported_once_and_training_goes_on(run, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    adjustments.request(run, Change(learning_rate=0.5))
    monkeypatch.setattr(Adjustments, "_append", full)
    plain, *_ = train(run / "none")
    model, _, said = train(run)
    assert said == ["No change can be taken: [Errno 28] No space left on device"]
    assert same(model.get_weights(), plain.get_weights())
    assert len(list(Path(run / "requests").iterdir())) == 1


def test_a_run_without_changes_is_the_same_as_one_without_the_callback(run):
    model, *_ = train(run)
    plain = make_model()
    decay = LearningRateDecay(InverseTime(0.1), steps_per_epoch=STEPS)
    plain.fit(data(), steps_per_epoch=STEPS, epochs=4, verbose=0, shuffle=False, callbacks=[decay])
    assert same(model.get_weights(), plain.get_weights())
