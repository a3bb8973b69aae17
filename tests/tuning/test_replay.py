"""Replay: the schedule that a search has found, trained from the first epoch, comes to the same weights."""

import itertools
import types

import keras_tuner
import numpy as np
import pytest
from bowl import Bowl, kept_weights

from kerasbn import data
from kerasbn.checks import InputError
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TrainingConfig, TuneConfig
from kerasbn.schedules import PiecewiseConstant
from kerasbn.tuning import FactoryHyperModel, PopulationBasedTraining, Segment, TrialRecord, replay, schedule_of
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.space.tiers import check_space
from kerasbn.tuning.tune import best_config, trials_of


@pytest.fixture(scope="module")
def tuner(tmp_path_factory):
    """A search with two executions of each trial."""
    settings = {"population": 2, "max_epochs": 3, "interval": 1, "seed": 5, "executions_per_trial": 2}
    place = {"directory": tmp_path_factory.mktemp("study"), "on_trial": lambda record: None}
    tuner = PopulationBasedTraining(Bowl(), "val_loss", **settings, **place)
    tuner.search()
    return tuner


def test_the_schedule_of_a_copy(tuner):
    trials = tuner.study.by_number
    for record in trials.values():
        *ancestors, own = schedule_of(record)
        assert own == Segment(record.notes.get("begins", 0), record.number, dict(record.hyperparameters.values))
        assert [one.values for one in ancestors] == [
            dict(trials[one.trial].hyperparameters.values) for one in ancestors
        ]
        for one, following in itertools.pairwise((*ancestors, own)):
            assert one.epoch == trials[one.trial].notes.get("begins", 0) < following.epoch
    assert [one.epoch for one in schedule_of(trials[3])] == [0, 1, 2]  # a copy of a copy


def test_a_replay_comes_to_the_weights_that_were_kept(tuner):
    record, epochs = tuner.study.by_number[3], []
    model = replay(Bowl(), record, "val_loss", 5, on_epoch=lambda number, epoch, row: epochs.append((number, epoch)))
    for one, other in zip(model.get_weights(), kept_weights(tuner, record.number), strict=True):
        np.testing.assert_array_equal(one, other)
    assert epochs == [(3, 0), (3, 1), (3, 2)] * 2  # both executions, with the epochs of ancestors
    other = replay(Bowl(), record, "val_loss", 6)
    assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])


def test_what_cannot_be_replayed(tuner):
    failed = TrialRecord(4, "failed", None, keras_tuner.HyperParameters())
    with pytest.raises(InputError, match=r"trial 4: expected a trial with a score; received failed\. Take one"):
        replay(Bowl(), failed, "val_loss", 5)

    class AsksMore(Bowl):
        def build(self, hp):
            hp.Float("momentum", 0, 1)
            return super().build(hp)

    message = r"HyperModel\.build: expected a build function that asks for what it did in trial \d: 'units', 'learning_"
    with pytest.raises(MisuseError, match=message):
        replay(AsksMore(), tuner.study.by_number[3], "val_loss", 5)


def test_models_of_configs(tmp_path):
    search = SearchConfig(epochs=2, tune=("learning_rate", "dropout", "units"), units=(4, 8))
    training = TrainingConfig(optimizer="momentum", patience=5)
    config = TuneConfig(data=DataConfig(source="iris"), model=MLPConfig(units=(4,)), training=training, search=search)
    prepared = data.prepare(data.load_splits(config.data))
    hypermodel = FactoryHyperModel(config, prepared.train, 3)
    settings = {"population": 2, "max_epochs": 2, "interval": 1, "seed": 0, "directory": tmp_path}
    tuner = PopulationBasedTraining(hypermodel, "val_loss", **settings, on_trial=lambda record: None)
    tuner.search(prepared.train, prepared.validation)
    record = tuner.study.by_number[2]
    (ancestor, own) = schedule_of(record)
    assert ancestor.values["units_1"] == own.values["units_1"]
    assert ancestor.values["dropout"] != own.values["dropout"]
    model = replay(hypermodel, record, "val_loss", 0, prepared.train, prepared.validation)
    for one, other in zip(model.get_weights(), kept_weights(tuner, record.number), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)  # trained in a stack


def best_of(config, *values):
    """Return the training that best.yaml has of a trial whose ancestors had other values, two epochs each."""
    ancestors = [{"epoch": 2 * i, "trial": i, "values": one} for i, one in enumerate(values[:-1])]
    hp = keras_tuner.HyperParameters()
    hp.values.update(values[-1])
    record = TrialRecord(7, "completed", 0.9, hp, notes={"begins": 2 * len(ancestors), "ancestors": ancestors})
    return best_config(types.SimpleNamespace(ranked=[record], seed=0), config).training


def test_best_yaml_has_the_schedule_where_only_the_rate_has_changed():
    search = SearchConfig(strategy="population", epochs=6, interval=2, max_trials=10, tune=("learning_rate", "dropout"))
    config = TuneConfig(search=search)
    assert trials_of(search) == 10 + 2 * 2
    rates = [{"learning_rate": rate, "dropout": 0.25} for rate in (0.1, 0.05, 0.02)]
    training = best_of(config, *rates)
    assert training.schedule == PiecewiseConstant((2, 4), (0.1, 0.05, 0.02))
    assert training.epochs == 6
    training = best_of(config, *rates[:2], {"learning_rate": 0.02, "dropout": 0.125})
    assert (training.schedule, training.learning_rate, training.epochs) == (None, 0.02, config.training.epochs)
    assert best_of(config, rates[0]).schedule is None


def test_a_plateau_is_refused():
    config = TuneConfig(training=TrainingConfig(plateau_patience=3), search=SearchConfig(strategy="population"))
    with pytest.raises(InputError, match=r"training\.plateau_patience: expected null, since a copy of a trial has no"):
        check_space(config)
