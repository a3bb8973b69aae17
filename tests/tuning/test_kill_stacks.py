"""Test of kill -9 while trials are trained together: the study is that of a search that was never killed."""

import random
import signal
import subprocess

import pytest

from kerasbn.tuning import read_study

KILLS = 8
SEARCH = """
import sys
import keras
import numpy as np
from kerasbn.tuning import SuccessiveHalving, stack_files

stack_files.SECONDS = 0.0  # a checkpoint after each epoch
rng = np.random.default_rng(0)
x = rng.normal(size=(120, 5)).astype("float32")
y = (x[:, 0] > 0).astype("int64")


def build(hp):
    layers = [keras.layers.Dense(hp.Choice("units", [4, 8]), activation="relu"), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-1, sampling="log")), loss)
    return model


tuner = SuccessiveHalving(
    build, "val_loss", max_trials=8, max_epochs=24, min_epochs=6, factor=2, seed=0, directory=sys.argv[1],
    project_name="p", engine="vectorized", on_trial=lambda trial: None, say=lambda line: None,
    on_epoch=lambda trial, epoch, logs: print(trial, epoch, flush=True),
)
tuner.search(x, y, validation_data=(x[:40], y[:40]), batch_size=40, verbose=0)
"""


@pytest.mark.slow
def test_a_search_that_is_killed_again_and_again_comes_to_the_same(python, tmp_path):
    def start(name):
        command = [*python, "-c", SEARCH, str(tmp_path / name)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with start("straight") as process:
        lines = process.communicate(timeout=120)[0].splitlines()
    assert process.returncode == 0
    rng, trained = random.Random(0), 0
    for _ in range(KILLS):
        with start("killed") as process:
            for _ in range(rng.randrange(1, 40)):  # epochs of trials, as they are told
                if not process.stdout.readline():
                    break
                trained += 1
            process.send_signal(signal.SIGKILL)
    with start("killed") as process:
        trained += len(process.communicate(timeout=120)[0].splitlines())
    assert process.returncode == 0
    straight, killed = (read_study(tmp_path / name / "p") for name in ("straight", "killed"))
    assert len(straight.trials) == 8
    for ours, theirs in zip(killed.trials, straight.trials, strict=True):
        assert (ours.number, ours.status, ours.score) == (theirs.number, theirs.status, theirs.score)
        assert ours.history == theirs.history
        assert ours.hyperparameters.values == theirs.hyperparameters.values
    names = [sorted(path.name for path in (tmp_path / name / "p").iterdir()) for name in ("straight", "killed")]
    assert names[0] == names[1]
    # An epoch of a stack is lost with each kill, and not all that were trained before.
    assert trained < len(lines) + KILLS * 16
