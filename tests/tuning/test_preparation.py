"""What is made of a model before its first step: the same numbers, and graphs that TensorFlow lets go of."""

import gc

import keras
import keras_tuner
import pytest

from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TuneConfig
from kerasbn.data import load_splits, prepare
from kerasbn.tuning import FactoryHyperModel, RandomSearch
from kerasbn.tuning.draws import trial_seed
from kerasbn.tuning.preparation import prepare_for_fit


class Plain(keras_tuner.HyperModel):
    def build(self, hp):
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
        model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10)])
        rate = hp.Float("rate", 0.01, 0.1)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        return model


class OwnFit(Plain):
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)


def graphs():
    keras.utils.clear_session()
    gc.collect()
    return sum(type(one).__name__ == "FuncGraph" for one in gc.get_objects())


@pytest.mark.parametrize("hypermodel", [Plain(), OwnFit()], ids=["prepared", "as it is"])
def test_numbers_are_those_of_a_plain_fit(digits, hypermodel, tmp_path):
    x, y, validation = digits
    tuner = RandomSearch(hypermodel, "val_loss", 1, 0, directory=tmp_path, engine="fit")
    tuner.search(x, y, validation_data=validation, epochs=2, verbose=0)
    record = tuner.study.trials[0]
    keras.utils.set_random_seed(trial_seed(0, 0))
    model = hypermodel.build(record.hyperparameters.copy())
    history = model.fit(x, y, validation_data=validation, epochs=2, verbose=0).history
    assert [row["val_loss"] for row in record.history] == history["val_loss"]
    assert [row["accuracy"] for row in record.history] == history["accuracy"]


def test_only_where_nothing_else_can_change(digits):
    x, y, _ = digits
    cases = [(Plain(), (x, y), True), (OwnFit(), (x, y), False), (Plain(), (x,), False), (Plain(), ([], []), False)]
    for hypermodel, arguments, prepared in cases:
        model = hypermodel.build(keras_tuner.HyperParameters())
        prepare_for_fit(model, hypermodel, arguments)
        assert model.optimizer.built is prepared


def test_fewer_graphs_stay(digits, tmp_path):
    def left_by(hypermodel, name):
        before = graphs()
        tuner = RandomSearch(hypermodel, "val_loss", 2, 0, directory=tmp_path, project_name=name, engine="fit")
        tuner.search(*digits[:2], validation_data=digits[2], epochs=1, verbose=0)
        del tuner
        return graphs() - before

    left_by(Plain(), "first")
    assert left_by(Plain(), "prepared") < left_by(OwnFit(), "as it is")


def test_the_factory_prepares(monkeypatch):
    prepared = prepare(load_splits(DataConfig(source="iris")))
    config = TuneConfig(model=MLPConfig(units=(4,)), search=SearchConfig(epochs=1, tune=("learning_rate",)))
    hypermodel, hp = FactoryHyperModel(config, prepared.train, 3), keras_tuner.HyperParameters()
    seen = []

    def fit_stage(model, *args, **kwargs):
        assert model.optimizer.built
        seen.extend(float(variable.numpy()) for variable in model.metrics_variables)
        return []

    monkeypatch.setattr("kerasbn.tuning.space.factory.fit_stage", fit_stage)
    hypermodel.fit(hp, hypermodel.build(hp), prepared.train, prepared.validation)
    assert seen == [0.0] * 4  # loss and accuracy
