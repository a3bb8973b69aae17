"""Tests that trials of `kerasbn tune` are trained together, as by the fit of the factory's models."""

import dataclasses

import pytest

from kerasbn.caviar.suitable import Unsuitable
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TrainingConfig, TuneConfig
from kerasbn.data import load_splits, prepare
from kerasbn.tuning import FactoryHyperModel, Tuner, tune
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.strategies import SuccessiveHalving

# A small rate: with a large one the last bits of a sum decide what becomes of a trial, also in Keras.
SEARCH = SearchConfig(strategy="random", max_trials=3, epochs=4, learning_rate=(1e-4, 1e-3), tune=("learning_rate",))
CONFIG = TuneConfig(
    data=DataConfig(source="iris"),
    model=MLPConfig(units=(8,), dropout=0.2),
    training=TrainingConfig(batch_size=16, label_smoothing=0.1, patience=2, decay="inverse_time", decay_rate=0.1),
    search=SEARCH,
)


@pytest.fixture(scope="module")
def prepared():
    return prepare(load_splits(CONFIG.data))


@pytest.fixture
def search(prepared, tmp_path):
    def run(engine, config=CONFIG, **kwargs):
        lines = []
        hypermodel = FactoryHyperModel(config, prepared.train, 3)
        kwargs = {"directory": tmp_path, "project_name": engine, "say": lines.append} | kwargs
        tuner = Tuner(hypermodel, "val_loss", 3, 0, engine=engine, on_trial=lambda trial: None, **kwargs)
        tuner.search(prepared.train, prepared.validation)
        return tuner.study.trials, lines

    return run


@pytest.mark.parametrize("strategy", [None, SuccessiveHalving(4, 2, 2)], ids=["random", "halving"])
def test_trials_are_the_same(search, strategy):
    alone, _ = search("fit", strategy=strategy)
    together, lines = search("vectorized", strategy=strategy)
    assert lines[0].startswith("Trials 0 to 2: stacked, 3 models at once.")
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours.engine, ours.status) == ("stacked", theirs.status)
        assert ours.score == pytest.approx(theirs.score, rel=1e-4)
        for ours_row, theirs_row in zip(ours.history, theirs.history, strict=True):
            assert ours_row == pytest.approx(theirs_row, rel=1e-4)


def trained_otherwise(**changes):
    return dataclasses.replace(CONFIG, training=dataclasses.replace(CONFIG.training, **changes))


def test_a_plateau_over_several_stages_is_trained_alone(search):
    trials, lines = search("auto", trained_otherwise(plateau_patience=2), strategy=SuccessiveHalving(4, 2, 2))
    assert [trial.engine for trial in trials] == ["fit" if trial.epochs == 4 else "stacked" for trial in trials]
    assert any("training.plateau_patience remembers the losses of the stage before" in line for line in lines)


def test_images_that_are_changed_on_the_way_are_no_stacks(prepared):
    hypermodel = FactoryHyperModel(trained_otherwise(shift=1), prepared.train, 3)
    hp = Draws(0, 0)
    with pytest.raises(Unsuitable, match="training.flip and training.shift change images on the way"):
        hypermodel.plan_fit(hp, hypermodel.build(hp), prepared.train, prepared.validation)


def test_tune_trains_together(tmp_path):
    said = []
    config = dataclasses.replace(CONFIG, search=dataclasses.replace(SEARCH, output=str(tmp_path), max_trials=2))
    result = tune(config, on_trial=lambda trial: None, say=said.append)
    assert {trial.engine for trial in result.trials} == {"stacked"}
    assert said[0].startswith("Trials 0, 1: stacked, 2 models at once.")
