"""A small search that the tests share: digits, one hidden layer, two epochs."""

import gc

import keras
import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kerasbn.tuning import RandomSearch, one_minus_log


class Recorded(keras_tuner.HyperModel):
    """Trains nothing: the score is a function of the hyperparameters, and every build is counted."""

    def __init__(self, space, score=lambda hp: hp.get("x")):
        self.space, self.score, self.built = space, score, 0
        super().__init__()

    def build(self, hp):
        self.built += 1
        self.space(hp)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return self.score(hp)


def table(tuner):
    return [(t.number, t.status, t.score, dict(t.hyperparameters.values)) for t in tuner.study.trials]


def x_only(hp):
    hp.Float("x", 0.0, 1.0)


def build_digits(hp):
    model = keras.Sequential(  # no Input: built by its first batch
        [keras.layers.Dense(hp.Int("units", 8, 32, sampling="log"), activation="relu"), keras.layers.Dense(10)]
    )
    momentum = one_minus_log(hp, "momentum", 0.5, 0.99)
    model.compile(
        keras.optimizers.SGD(hp.Float("learning_rate", 1e-3, 1.0, sampling="log"), momentum=momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@pytest.fixture(scope="module", autouse=True)
def quick_trials():
    """Spare every search the look through all objects of TensorFlow, which takes as long as two of its trials."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def digits():
    inputs, labels = load_digits(return_X_y=True)
    inputs = (inputs / 16).astype(np.float32)
    return inputs[:300], labels[:300], (inputs[300:500], labels[300:500])


@pytest.fixture
def search_digits(digits, tmp_path):
    """Search `trials` trials in a project, and return the search."""

    def run(trials, project="p", **kwargs):
        kwargs = {"objective": "val_accuracy", "seed": 0, "on_trial": lambda record: None} | kwargs
        tuner = RandomSearch(build_digits, max_trials=trials, directory=tmp_path, project_name=project, **kwargs)
        x, y, validation = digits
        tuner.search(x, y, validation_data=validation, epochs=2, verbose=0)
        return tuner

    return run


@pytest.fixture
def recorded(tmp_path):
    """Search with a `Recorded` hypermodel, or one that was made from a space, and return the search."""

    def run(model, trials=5, search=True, **kwargs):
        kwargs = {"seed": 0, "directory": tmp_path, "project_name": "r", "on_trial": lambda record: None} | kwargs
        model = model if isinstance(model, keras_tuner.HyperModel) else Recorded(model)
        tuner = RandomSearch(model, max_trials=trials, **kwargs)
        if search:
            tuner.search()
        return tuner

    return run
