"""Trials in stages, and trials that were killed: bit for bit as if they had been trained in one fit."""

import keras
import numpy as np
import pytest

from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.config import MLPConfig, SearchConfig, TrainingConfig, TuneConfig
from kerasbn.data import Features
from kerasbn.schedules import Cosine
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.space.factory import FactoryHyperModel

# Everything that has a state: dropout's seeds, momentum, a schedule, the best epoch; and a plateau.
PLAIN = TrainingConfig(
    batch_size=8, optimizer="momentum", schedule=Cosine(0.3, decay_steps=6), monitor="val_loss", seed=3
)
PLATEAU = TrainingConfig(
    batch_size=8, optimizer="adam", learning_rate=0.3, plateau_patience=1, monitor="val_loss", checkpoint_steps=1
)


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Stand for the death of the process after so many executions."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise Killed


class Trial:
    """One trial: its hypermodel and its hyperparameters, and fits of it in this process or, so to say, the next."""

    def __init__(self, training=PLAIN, checkpoints=None, epochs=6):
        rng = np.random.default_rng(0)
        inputs = rng.normal(size=(120, 4)).astype(np.float32)
        self.train = Features(inputs, (inputs[:, 0] > 0).astype(np.int32))
        self.validation = Features(inputs[:30], self.train.labels[:30][::-1].copy())
        search = SearchConfig(tune=("units",), epochs=epochs, units=(4, 8))
        config = TuneConfig(model=MLPConfig(units=(4,), dropout=0.5), training=training, search=search)
        self.hypermodel = FactoryHyperModel(config, self.train, 2)
        self.checkpoints, self.hp = checkpoints, Draws(0, 0)

    def build(self):
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)
        model = self.hypermodel.build(self.hp)
        model.steps_per_execution = 5  # three executions an epoch
        return model

    def fit(self, model, *callbacks, **kwargs):
        if self.checkpoints is not None:
            kwargs = {"checkpoints": self.checkpoints, **kwargs}
        return self.hypermodel.fit(self.hp, model, self.train, self.validation, callbacks, **kwargs)


def everything(model):
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def straight(training):
    """Return all variables, the history and the best epoch after one fit of all epochs."""
    trial, keep_best = Trial(training), KeepBest("val_loss")
    model = trial.build()
    history = trial.fit(model, keep_best).history
    return everything(model), history, (keep_best.epoch, keep_best.value)


def assert_same(model, keep_best, expected):
    for one, another in zip(everything(model), expected[0], strict=True):
        np.testing.assert_array_equal(one, another)
    assert (keep_best.epoch, keep_best.value) == expected[2]


def joined(*histories):
    return {name: [v for history in histories for v in history.history[name]] for name in histories[0].history}


@pytest.fixture(scope="module")
def plain():
    return straight(PLAIN)


@pytest.fixture(scope="module")
def plateau():
    return straight(PLATEAU)


def test_stages_in_one_process(plain):
    trial, keep_best = Trial(), KeepBest("val_loss")
    staged = trial.build()
    stages = [trial.fit(staged, keep_best, epochs=2)]
    stages += [trial.fit(staged, keep_best, epochs=e, initial_epoch=i) for i, e in ((2, 5), (5, 6))]
    assert [stage.epoch for stage in stages] == [[0, 1], [2, 3, 4], [5]]
    assert joined(*stages) == plain[1]
    assert_same(staged, keep_best, plain)


def test_weights_and_optimizer_carried_over_by_hand(plain):
    trial, keep_best = Trial(), KeepBest("val_loss")
    first = trial.build()
    begun = trial.fit(first, keep_best, epochs=3)
    values, second = everything(first), trial.build()
    second.optimizer.build(second.trainable_variables)
    for variable, value in zip((*second.variables, *second.optimizer.variables), values, strict=True):
        variable.assign(value)
    ended = trial.fit(second, keep_best, epochs=6, initial_epoch=3)
    assert joined(begun, ended) == plain[1]
    assert_same(second, keep_best, plain)


@pytest.mark.parametrize("kills", [(1, 7, 0), (17,)], ids=str)
def test_killed_and_begun_again(kills, plateau, tmp_path):
    assert len(set(plateau[1]["learning_rate"])) > 1  # the plateau has something to remember
    trial = Trial(PLATEAU, tmp_path / "trial-0")
    for kill in kills:
        with pytest.raises(Killed):
            trial.fit(trial.build(), KeepBest("val_loss"), Kill(kill))
    again, keep_best = trial.build(), KeepBest("val_loss")
    assert trial.fit(again, keep_best).history == plateau[1]
    assert_same(again, keep_best, plateau)


def test_stages_each_in_a_process_of_its_own(plateau, tmp_path):
    seldom = TrainingConfig(**{**vars(PLATEAU), "checkpoint_steps": None, "checkpoint_seconds": 1000.0})
    trial = Trial(seldom, tmp_path)
    stages = [trial.fit(trial.build(), KeepBest("val_loss"), epochs=2)]
    with pytest.raises(Killed):
        trial.fit(trial.build(), KeepBest("val_loss"), Kill(5), epochs=4, initial_epoch=2)
    stages.append(trial.fit(trial.build(), KeepBest("val_loss"), epochs=4, initial_epoch=2))
    again = trial.fit(trial.build(), KeepBest("val_loss"), epochs=4, initial_epoch=2)  # killed before it was told
    assert again.history == stages[-1].history
    last, keep_best = trial.build(), KeepBest("val_loss")
    stages.append(trial.fit(last, keep_best, epochs=6, initial_epoch=4))
    assert joined(*stages) == plateau[1]
    assert_same(last, keep_best, plateau)


def test_no_checkpoint_of_the_first_weights_or_after_the_last_epoch(tmp_path):
    trial = Trial(checkpoints=tmp_path, epochs=2)
    model = trial.build()
    with pytest.raises(Killed):
        trial.fit(model, Kill(1))
    assert list(tmp_path.iterdir()) == []
    trial.fit(trial.build(), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]
    trial.fit(model, initial_epoch=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_trial_whose_patience_is_out_trains_no_more(tmp_path):
    patient = TrainingConfig(learning_rate=1e-12, patience=1, monitor="val_accuracy")
    trial = Trial(patient, tmp_path)
    first = trial.fit(trial.build(), epochs=3)
    assert len(first.epoch) == 2
    second = trial.fit(trial.build(), epochs=6, initial_epoch=3)
    assert (second.epoch, second.history) == ([], {})


def test_a_trial_that_diverged_trains_no_more(tmp_path):
    diverging = TrainingConfig(learning_rate=1e38, optimizer="sgd", monitor="val_loss")
    trial = Trial(diverging, tmp_path)
    first = trial.fit(trial.build(), epochs=3)
    assert len(first.epoch) == 1
    assert not np.isfinite(first.history["loss"][0])


def test_best_weights_at_the_end_last_ones_between():
    trial = Trial(epochs=3)
    model, keep_best = trial.build(), KeepBest("learning_rate", direction="max")
    trial.fit(model, keep_best, epochs=2)
    assert any((a != b).any() for a, b in zip(model.get_weights(), keep_best.weights, strict=True))
    trial.fit(model, keep_best, epochs=3, initial_epoch=2)
    assert keep_best.epoch == 0
    assert all((a == b).all() for a, b in zip(model.get_weights(), keep_best.weights, strict=True))


def test_the_search_s_monitor_takes_the_place_of_the_config_s(tmp_path):
    trial = Trial(TrainingConfig(batch_size=8, monitor="val_accuracy", checkpoint_steps=1), tmp_path)
    with pytest.raises(Killed):
        trial.fit(trial.build(), KeepBest("loss"), Kill(11))
    keep_best = KeepBest("loss")
    history = trial.fit(trial.build(), keep_best).history
    assert keep_best.value == min(history["loss"])
    assert keep_best.epoch == int(np.argmin(history["loss"]))


def test_seed_of_the_shuffling():
    histories = []
    for seed in (None, 4):
        trial = Trial(epochs=1)
        histories.append(trial.fit(trial.build(), seed=seed).history)
    assert histories[0] != histories[1]


def test_messages(tmp_path):
    trial = Trial(PLATEAU)
    with pytest.raises(InputError) as caught:
        trial.fit(trial.build(), initial_epoch=1)
    assert str(caught.value) == (
        "checkpoints: expected those of the stage before, since training.plateau_patience remembers its losses; "
        "received none. Give the directory that the stage before had, or training.plateau_patience: null."
    )
    trial = Trial(checkpoints=tmp_path)
    trial.fit(trial.build(), epochs=1, identity={"data": "a", "units": 4})
    with pytest.raises(InputError, match=r"checkpoint: expected .* of a run with data b; received data a"):
        trial.fit(trial.build(), identity={"data": "b", "units": 4})
