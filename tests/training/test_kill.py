"""Test of kill -9 in a real process, again and again: the run ends bit for bit as one that was never killed."""

import contextlib
import json
import random
import signal
import subprocess
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
            epochs=120, batch_size=8, optimizer="momentum", schedule=Cosine(0.02, decay_steps=120), seed=5,
            label_smoothing=0.1, plateau_patience=3, plateau_factor=0.7, patience=90, checkpoint_steps=1,
        ),
    )  # fmt: skip


@pytest.fixture
def start(python):
    def start(config_file):
        command = [*python, "-m", "kerasbn", "train", "--config", str(config_file)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    return start


def result_of(directory):
    metrics = json.loads((directory / "metrics.json").read_text())
    del metrics["seconds"]
    history = (directory / "history.csv").read_text()
    model = keras.models.load_model(directory / "model.keras", {"kerasbn>BatchNormalization": BatchNormalization})
    return metrics, history, model.get_weights()


def wait_for_a_checkpoint(output, process):
    """Wait until a run has written another one."""

    def written():
        return [path.stat().st_mtime_ns for path in output.glob("digits/*/checkpoint.npz")]

    before, end = written(), time.monotonic() + 120
    while True:
        with contextlib.suppress(FileNotFoundError):  # it is just being renamed
            if written() not in ([], before):
                return
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.001)


def kill(process):
    process.send_signal(signal.SIGKILL)
    return process.communicate()[1]


@pytest.mark.slow
def test_killed_at_random_moments(start, tmp_path):
    write_config(config_of(tmp_path / "straight"), tmp_path / "straight.yaml")
    write_config(config_of(tmp_path / "killed"), tmp_path / "killed.yaml")
    moments = random.Random(0)
    straight, process, said = start(tmp_path / "straight.yaml"), None, ""
    try:
        for number in range(KILLS):
            process = start(tmp_path / "killed.yaml")
            if number % 4 == 0:  # while it starts, makes its directory, or traces
                time.sleep(moments.uniform(0, 2))
            else:  # in a step, a validation, or a checkpoint
                for _ in range(moments.randrange(1, 9)):
                    wait_for_a_checkpoint(tmp_path / "killed", process)
                time.sleep(moments.uniform(0, 0.05))
            said += kill(process)
        process = start(tmp_path / "killed.yaml")
        while not list((tmp_path / "killed").glob("digits/*/model.keras")):  # and once while the results are written
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        said += kill(process)
        process = start(tmp_path / "killed.yaml")
        said += process.communicate(timeout=400)[1]
        assert process.returncode == 0, said
        assert straight.wait(timeout=400) == 0, straight.stderr.read()
    finally:
        for each in (process, straight):
            if each is not None:
                each.kill()
                each.communicate()
    (one,), (other,) = (
        list((tmp_path / name).glob("digits/[0-9]*")) for name in ("straight", "killed")
    )  # one each: no second run
    places = {line for line in said.splitlines() if "Going on with" in line}
    assert len(places) > KILLS / 2  # it came further in between
    assert any(not line.endswith("step 0.") for line in places)
    (metrics, history, weights), (metrics_2, history_2, weights_2) = result_of(one), result_of(other)
    assert metrics == metrics_2
    assert history == history_2
    assert len(history.splitlines()) == 1 + metrics["epochs"]
    for first, second in zip(weights, weights_2, strict=True):
        np.testing.assert_array_equal(first, second)
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
