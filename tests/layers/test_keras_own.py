"""Keras's own tests of BatchNormalization, with kerasbn's layer in the place of Keras's."""

import importlib.util
import unittest
from pathlib import Path

import keras
import pytest

from kerasbn.layers import BatchNormalization

FILE = Path(keras.__file__).parent / "src/layers/normalization/batch_normalization_test.py"
SHIPPED_SINCE = (3, 15, 1)
VERSION = tuple(int(part) for part in keras.__version__.split(".")[:3])

if VERSION < SHIPPED_SINCE:
    pytest.skip(f"the wheel of Keras {keras.__version__} has no tests; that of 3.15.1 has", allow_module_level=True)

# Keras warns of the tiny models that `run_layer_test` fits.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Layers:
    """`keras.layers` to the file, but for one class."""

    BatchNormalization = BatchNormalization

    def __getattr__(self, name):
        return getattr(keras.layers, name)


def loaded():
    """Load the file as a module of its own, so that nobody else's `layers` changes."""
    spec = importlib.util.spec_from_file_location("batch_normalization_test_of_keras", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.layers = Layers()
    return module


MODULE = loaded()
BatchNormalizationTest = MODULE.BatchNormalizationTest  # where pytest finds it


@pytest.fixture(autouse=True)
def as_it_was():
    """Keras's test case shows whole tracebacks from then on, which adds to the messages of later tests."""
    filtering = keras.config.is_traceback_filtering_enabled()
    yield
    if filtering:
        keras.config.enable_traceback_filtering()


def test_all_of_them_are_run():
    cases = [
        value for value in vars(MODULE).values() if isinstance(value, type) and value.__module__ == MODULE.__name__
    ]
    assert cases == [BatchNormalizationTest]
    assert len(unittest.defaultTestLoader.getTestCaseNames(BatchNormalizationTest)) > 10


def test_they_are_about_this_layer(monkeypatch):
    made = []

    class Noted(BatchNormalization):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(MODULE.layers, "BatchNormalization", Noted, raising=True)
    result = BatchNormalizationTest("test_trainable_behavior").run()
    assert result.wasSuccessful()
    assert len(made) == 1
    assert FILE.read_text(encoding="utf-8").count("layers.BatchNormalization") >= 10
    assert keras.layers.BatchNormalization is not BatchNormalization
    assert MODULE.layers.Masking is keras.layers.Masking
