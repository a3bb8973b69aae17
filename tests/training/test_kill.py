"""Test of kill -9 in a real process, again and again: the run ends bit for bit as one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kerasbn.config import ConvNetConfig, DataConfig, TrainConfig, TrainingConfig, write_config
from kerasbn.layers import BatchNormalization
from kerasbn.schedules import Cosine

KILLS = 20


def config_of(output):
    # Everything that has a state: dropout's seeds, momentum, a schedule, a plateau, patience, the best epoch. Three
    # executions an epoch, and a checkpoint after each: so that kills fall into steps, validations and checkpoints.
    return TrainConfig(
        output=str(output),
        data=DataConfig(source="digits"),
        model=ConvNetConfig(filters=(4,), units=(8,), dropout=0.2),
        training=TrainingConfig(
            epochs=300, batch_size=8, optimizer="momentum", schedule=Cosine(0.02, decay_steps=300), seed=5,
            label_smoothing=0.1, plateau_patience=20, plateau_factor=0.7, patience=200, checkpoint_steps=1,
        ),
    )  # fmt: skip


def start(config_file):
    command = [sys.executable, "-m", "kerasbn", "train", "--config", str(config_file)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def result_of(directory):
    metrics = json.loads((directory / "metrics.json").read_text())
    del metrics["seconds"]
    history = (directory / "history.csv").read_text()
    model = keras.models.load_model(directory / "model.keras", {"kerasbn>BatchNormalization": BatchNormalization})
    return metrics, history, model.get_weights()


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    write_config(config_of(tmp_path / "straight"), tmp_path / "straight.yaml")
    write_config(config_of(tmp_path / "killed"), tmp_path / "killed.yaml")
    straight = start(tmp_path / "straight.yaml")
    moments = random.Random(0)
    killed, where = 0, []
    process = None
    try:
        while True:
            process = start(tmp_path / "killed.yaml")
            begun = next((line for line in process.stderr if " validation and " in line), None)
            assert begun is not None
            if killed == KILLS:
                break
            time.sleep(moments.uniform(0, 3))  # the first second or so is tracing
            assert process.poll() is None, "the training was too short"
            process.send_signal(signal.SIGKILL)
            where += [line for line in process.communicate()[1].splitlines() if "Going on with" in line]
            killed += 1
        errors = process.communicate(timeout=400)[1]
        assert process.returncode == 0, errors
        assert straight.wait(timeout=400) == 0, straight.stderr.read()
    finally:
        for each in (process, straight):
            if each is not None:
                each.kill()
                each.communicate()
    (one,), (other,) = (
        list((tmp_path / name / "digits").iterdir()) for name in ("straight", "killed")
    )  # no second run
    assert len(set(where)) > KILLS / 4  # it came further in between
    (metrics, history, weights), (metrics_2, history_2, weights_2) = result_of(one), result_of(other)
    assert metrics == metrics_2
    assert history == history_2
    assert len(history.splitlines()) == 1 + metrics["epochs"]
    for first, second in zip(weights, weights_2, strict=True):
        np.testing.assert_array_equal(first, second)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
