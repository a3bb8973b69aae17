"""A small search that the tests share: digits, one hidden layer, two epochs."""

import keras_tuner
import numpy as np
import pytest
from recorded import Recorded, build_digits
from sklearn.datasets import load_digits

from kerasbn.tuning import RandomSearch


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
