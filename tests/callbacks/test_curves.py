"""Tests of ShowCurves: the epochs so far and the running values of the present one are what is shown."""

import io

import keras
import numpy as np
import pytest

from kerasbn.callbacks import ShowProgress
from kerasbn.callbacks.curves import ShowCurves
from kerasbn.live_curves import Watch, watching


class Shown(Watch):
    """A watch that is always due, and notes what it was told to show."""

    def __init__(self):
        super().__init__("training", 2, io.StringIO(), None)
        self.points = []

    @property
    def due(self):
        return True

    def show(self, points):
        self.points.append(list(points))


class Record(keras.callbacks.Callback):
    def __init__(self, history):
        super().__init__()
        self.history = history

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({"epoch": epoch + 1, **logs})


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    return model


def fit(model, callbacks, epochs=2):
    x = np.zeros((8, 2), "float32")
    model.fit(x, x[:, :1], batch_size=2, epochs=epochs, validation_split=0.5, verbose=0, callbacks=callbacks)


def test_history_and_running_values(model):
    report, history = Shown(), []
    fit(model, [Record(history), ShowCurves(report, history)])
    assert [len(points) for points in report.points] == [1, 1, 1, 2, 2, 2]
    assert report.points[0] == [{"epoch": 0.5, "loss": 0.0, "learning_rate": 0.5}]
    assert [points[-1]["epoch"] for points in report.points] == [0.5, 1, 1, 1.5, 2, 2]
    assert report.points[-1] == history
    assert "val_loss" in history[0]


def test_without_a_terminal_nothing_is_asked_of_the_model(model):
    stream, history = io.StringIO(), []
    with watching("training", 2, stream) as report:
        shows = ShowCurves(report, history)
        fit(model, [shows, ShowProgress(report)])
        shows.set_model(None)
        shows.on_train_batch_end(0, {"loss": 1.0})
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()[1:]] == [
        "training: epoch 1/2",
        "training: epoch 2/2",
    ]
