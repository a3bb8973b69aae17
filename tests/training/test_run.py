"""Tests of training runs: what a run directory holds, the same numbers again, and going on after an interruption."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.config import (
    ConvNetConfig,
    DataConfig,
    MLPConfig,
    TrainConfig,
    TrainingConfig,
    read_config,
    write_config,
)
from kerasbn.data import load_splits, run_in_chunks
from kerasbn.training import checkpoint, resume, train
from kerasbn.training import run as run_module

FILES = [
    "config.yaml",
    "data.json",
    "environment.json",
    "examples.npz",
    "history.csv",
    "learning_curves.png",
    "metrics.json",
    "model.keras",
]
COLUMNS = ["epoch", "accuracy", "learning_rate", "loss", "val_accuracy", "val_loss"]
MLP = MLPConfig(units=(16,), dropout=0.3)
# Everything that has a state of its own: dropout's seeds, slots of the optimizer, the rate, the best epoch.
STATEFUL = TrainingConfig(
    epochs=8, batch_size=16, learning_rate=0.02, decay="inverse_time", decay_rate=0.3, weight_decay=0.01, patience=5,
    monitor="val_loss", class_weight=True, label_smoothing=0.1, seed=3,
)  # fmt: skip


def config_of(output, source="iris", model=MLP, data=None, **training):
    return TrainConfig(
        output=str(output),
        data=data or DataConfig(source=str(source)),
        model=model,
        training=dataclasses.replace(STATEFUL, **training),
    )


def history_of(run):
    with (run.directory / "history.csv").open() as file:
        return list(csv.DictReader(file))


def weights_of(run):
    return keras.models.load_model(run.directory / "model.keras").get_weights()


def assert_equal(run, other):
    """Both runs have the same numbers, to the last bit."""
    assert history_of(run) == history_of(other)
    for one, two in zip(weights_of(run), weights_of(other), strict=True):
        np.testing.assert_array_equal(one, two)
    volatile = ("seconds",)
    assert {k: v for k, v in run.metrics.items() if k not in volatile} == {
        k: v for k, v in other.metrics.items() if k not in volatile
    }


@pytest.fixture(scope="module")
def iris_run(tmp_path_factory):
    return train(config_of(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def income(tmp_path):
    """A table with numbers, categories and missing values, in a file."""
    random = np.random.default_rng(0)
    rows = ["age,features,mlp,class"]
    for _ in range(120):
        age, work = random.integers(18, 80), random.choice(["a", "b", ""])
        rows.append(f"{'' if random.random() < 0.1 else age},{random.normal():.3f},{work},{'yn'[int(age > 50)]}")
    (tmp_path / "income data.csv").write_text("\n".join(rows) + "\n")
    return DataConfig(source=str(tmp_path / "income data.csv"), target="class")


def check_metrics(run, config):
    """Compute the figures anew from the files, with raw inputs."""
    splits = load_splits(config.data)
    model = keras.models.load_model(run.directory / "model.keras")
    metrics = json.loads((run.directory / "metrics.json").read_text())
    assert metrics == run.metrics
    for name, part in (("validation", splits.validation), ("test", splits.test)):
        logits = run_in_chunks(model, part.inputs).astype(np.float64)
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        figures, classes = metrics[name], range(len(splits.class_names))
        predicted = probabilities.argmax(axis=1)
        assert figures["examples"] == len(part)
        assert figures["accuracy"] == accuracy_score(part.labels, predicted)
        assert figures["log_loss"] == pytest.approx(log_loss(part.labels, probabilities, labels=classes), rel=1e-5)
        assert figures["confusion_matrix"] == confusion_matrix(part.labels, predicted, labels=classes).tolist()
        assert np.sum(figures["confusion_matrix"]) == len(part)
    return model, splits


def test_run_directory(iris_run, tree):
    directory = iris_run.directory
    assert tree(directory) == FILES
    assert directory.parent.name == "iris"
    assert re.fullmatch(r"\d{8}-\d{6}", directory.name)
    config = read_config(TrainConfig, directory / "config.yaml")
    assert config == config_of(directory.parent.parent)
    check_metrics(iris_run, config)
    manifest = json.loads((directory / "data.json").read_text())
    assert manifest == load_splits(config.data).manifest


def test_history(iris_run):
    history = history_of(iris_run)
    assert sorted(history[0]) == sorted(COLUMNS)
    assert [row["epoch"] for row in history] == [str(epoch + 1) for epoch in range(len(history))]
    assert len(history) == iris_run.metrics["epochs"]
    best = min(range(len(history)), key=lambda index: float(history[index]["val_loss"]))
    assert iris_run.metrics["best_epoch"] == best + 1
    # The weights that were kept are those of the best epoch.
    assert float(history[best]["val_accuracy"]) == pytest.approx(iris_run.metrics["validation"]["accuracy"])
    rates = [float(row["learning_rate"]) for row in history]
    np.testing.assert_allclose(rates, [0.02 / (1 + 0.3 * epoch) for epoch in range(len(history))], rtol=1e-6)


def test_environment(iris_run):
    found = json.loads((iris_run.directory / "environment.json").read_text())
    assert set(found) == {"python", "platform", "cpus", "libraries", "git_revision", "git_changes"}
    assert found["libraries"]["keras"] == keras.__version__
    assert found["libraries"]["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["git_revision"] is None or re.fullmatch("[0-9a-f]{40}", found["git_revision"])


def test_picture(iris_run):
    with Image.open(iris_run.directory / "learning_curves.png") as image:
        assert image.format == "PNG"
        assert image.width > 800
        assert len(image.convert("RGB").getcolors(10**6)) > 50


def test_examples(iris_run):
    splits = load_splits(DataConfig(source="iris"))
    with np.load(iris_run.directory / "examples.npz", allow_pickle=False) as content:
        assert sorted(content.files) == ["inputs", "probabilities"]
        np.testing.assert_array_equal(content["inputs"], splits.test.inputs[:16])
        logits = run_in_chunks(keras.models.load_model(iris_run.directory / "model.keras"), content["inputs"])
        np.testing.assert_allclose(content["probabilities"], keras.ops.softmax(logits), atol=1e-6)


def test_model_takes_raw_inputs_and_gives_logits(iris_run):
    model = keras.models.load_model(iris_run.directory / "model.keras")
    assert model.input_shape == (None, 4)
    assert model.output_shape == (None, 3)
    predicted = model.predict(load_splits(DataConfig(source="iris")).test.inputs, verbose=0).argmax(axis=1)
    assert np.mean(predicted == load_splits(DataConfig(source="iris")).test.labels) > 0.8


def test_tables(income, tmp_path):
    # Two of the columns are called as layers are.
    config = config_of(tmp_path / "runs", data=income, epochs=2)
    run = train(config)
    assert run.directory.parent.name == "income_data"
    model, splits = check_metrics(run, config)
    assert set(model.input) == {"age", "features", "mlp"}
    with np.load(run.directory / "examples.npz", allow_pickle=False) as content:
        assert sorted(content.files) == ["column:age", "column:features", "column:mlp", "probabilities"]
        assert content["column:mlp"].tolist() == splits.test.inputs["mlp"][:16].tolist()
        np.testing.assert_array_equal(content["column:age"], splits.test.inputs["age"][:16])


def test_images_and_a_convnet_twice(tmp_path):
    model = ConvNetConfig(filters=(4,), units=(8,), dropout=0.5)
    config = config_of(tmp_path, source="digits", model=model, epochs=2, batch_size=128)
    first, second = train(config), train(config)
    assert first.directory != second.directory  # in the same second, too
    assert_equal(first, second)
    check_metrics(first, config)


def test_same_numbers_in_the_same_process(iris_run, tmp_path):
    assert_equal(iris_run, train(config_of(tmp_path)))


def test_the_seed_changes_them(iris_run, tmp_path):
    other = train(config_of(tmp_path, seed=4))
    assert history_of(other) != history_of(iris_run)


@pytest.mark.slow
def test_same_numbers_in_another_process(iris_run, tmp_path):
    config = config_of(tmp_path)
    write_config(config, tmp_path / "c.yaml")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "kerasbn", "train", "--config", str(tmp_path / "c.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "iris").iterdir()
    metrics = json.loads((directory / "metrics.json").read_text())
    assert_equal(iris_run, run_module.Run(directory, metrics))
    assert f"kerasbn export {directory}" in done.stdout


class StopAfter(checkpoint.WriteCheckpoints):
    """Stands for a user who presses Ctrl-C, or for a crash, after an epoch."""

    how, epoch = "stop", 2

    def on_epoch_end(self, epoch, logs=None):
        if self.how == "stop" and epoch + 1 == self.epoch:
            self.model.stop_training = True  # as the first Ctrl-C does
        super().on_epoch_end(epoch, logs)
        if self.how == "crash" and epoch + 1 == self.epoch:
            raise KeyboardInterrupt


def interrupted(monkeypatch, config, how, epoch, seconds_between):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_SECONDS_BETWEEN", seconds_between)
        patch.setattr(checkpoint, "WriteCheckpoints", type("Stop", (StopAfter,), {"how": how, "epoch": epoch}))
        if how == "stop":
            return train(config).directory
        with pytest.raises(KeyboardInterrupt, match="To go on: kerasbn train --resume"):
            train(config)
        return max((Path(config.output) / "iris").iterdir())


@pytest.mark.parametrize(
    ("how", "epoch", "seconds_between"), [("stop", 3, 1e9), ("crash", 2, 0.0), ("crash", 2, 1e9), ("crash", 8, 0.0)]
)
def test_a_resumed_run_is_as_if_it_never_stopped(monkeypatch, tmp_path, tree, iris_run, how, epoch, seconds_between):
    config = config_of(tmp_path)
    directory = interrupted(monkeypatch, config, how, epoch, seconds_between)
    if how == "stop":
        metrics = json.loads((directory / "metrics.json").read_text())
        assert (metrics["status"], metrics["epochs"]) == ("interrupted", epoch)
        assert tree(directory) == sorted([*FILES, "checkpoint.npz"])  # of use even if nobody goes on
    else:
        assert "metrics.json" not in tree(directory)
        assert ("checkpoint.npz" in tree(directory)) == (seconds_between == 0)
    keras.utils.set_random_seed(99)  # what came between must not matter
    run = resume(directory)
    assert run.directory == directory
    assert run.metrics["status"] == "complete"
    assert tree(directory) == FILES
    assert_equal(run, iris_run)


def test_momentum_is_resumed(monkeypatch, tmp_path):
    config = config_of(tmp_path, optimizer="sgd", momentum=0.95)
    assert_equal(resume(interrupted(monkeypatch, config, "stop", 3, 1e9)), train(config))


def test_resumed_twice(monkeypatch, tmp_path, iris_run):
    directory = interrupted(monkeypatch, config_of(tmp_path), "stop", 2, 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "WriteCheckpoints", type("Stop", (StopAfter,), {"epoch": 4}))
        assert resume(directory).metrics["epochs"] == 4
    assert_equal(resume(directory), iris_run)


def test_killed_when_patience_was_out_but_nothing_was_written(monkeypatch, tmp_path):
    config = config_of(tmp_path, epochs=30, patience=1, learning_rate=1.0)
    whole = train(config)
    last = whole.metrics["epochs"]
    assert last < 30
    directory = interrupted(monkeypatch, config, "crash", last, 0.0)
    assert_equal(resume(directory), whole)  # without another epoch


def test_ctrl_c_stops_after_the_epoch(tmp_path, capsys, iris_run):
    before = signal.getsignal(signal.SIGINT)

    class PressCtrlC(KeepBest):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            if epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "KeepBest", PressCtrlC)
        run = train(config_of(tmp_path))
    assert (run.metrics["status"], run.metrics["epochs"]) == ("interrupted", 2)
    assert "Stopping at the end of this epoch. Press Ctrl-C again to stop at once." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
    assert_equal(resume(run.directory), iris_run)


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_can_be_resumed(tmp_path):
    # Large enough that an epoch takes about a second, in which the second Ctrl-C arrives.
    model = ConvNetConfig(filters=(64, 64), units=())
    config = config_of(tmp_path, source="digits", model=model, epochs=1000, batch_size=8, patience=None)
    write_config(config, tmp_path / "c.yaml")
    command = [sys.executable, "-m", "kerasbn", "train", "--config", str(tmp_path / "c.yaml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for wanted in ("epoch 1/", "Press Ctrl-C again to stop at once."):
            assert any(wanted in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    (directory,) = (tmp_path / "digits").iterdir()
    assert process.returncode == 130
    assert (
        f"kerasbn: Stopped in {directory}; no epoch is kept yet. To go on: kerasbn train --resume {directory}" in error
    )
    assert "Traceback" not in error
    assert not (directory / "metrics.json").exists()


def test_a_complete_run_is_not_resumed(iris_run):
    with pytest.raises(InputError) as caught:
        resume(iris_run.directory)
    assert str(caught.value) == (
        f"--resume: expected an interrupted run; received {str(iris_run.directory)!r}, which is complete. "
        "Train anew with `kerasbn train --config`."
    )


def test_what_cannot_be_resumed(monkeypatch, tmp_path):
    mine = tmp_path / ".tmp-01234567-mine"
    mine.touch()
    with pytest.raises(
        InputError, match=r"--resume: expected a run directory; received '.*', which has no config.yaml"
    ):
        resume(tmp_path)
    assert mine.exists()  # nothing is removed from what is no run
    data = tmp_path / "a.npz"
    x, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    np.savez(data, x=x, y=y)
    config = dataclasses.replace(config_of(tmp_path, data, epochs=4), name="iris")
    directory = interrupted(monkeypatch, config, "stop", 2, 1e9)
    x[7, 1] += 1e-3
    np.savez(data, x=x, y=y)
    with pytest.raises(
        InputError, match=r"--resume: expected the split the run began with, .*another content_hash, .* from '.*a.npz'"
    ):
        resume(directory)
    x[7, 1] -= 1e-3
    np.savez(data, x=x, y=y)
    path, content = directory / "checkpoint.npz", (directory / "checkpoint.npz").read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            resume(directory)
        assert f"checkpoint: expected {str(path)!r} to be readable; received" in str(caught.value)
        assert str(caught.value).endswith("It is damaged; delete it, and the run begins anew.")
    path.write_bytes(content)
    values = yaml.safe_load((directory / "config.yaml").read_text())
    values["model"]["units"] = [5]
    (directory / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(
        InputError, match=r"checkpoint: expected the \d+ variables of this model; received \d+ of other"
    ):
        resume(directory)
    path.unlink()
    assert resume(directory).metrics["status"] == "complete"


def test_a_run_that_diverges_leaves_nothing(tmp_path, tree):
    config = config_of(tmp_path, optimizer="sgd", learning_rate=1e38, epochs=2)
    with pytest.raises(InputError) as caught:
        train(config)
    assert str(caught.value) == (
        "the trained model: expected finite probabilities; received 22 of 22 that are not. "
        "The training diverged; lower training.learning_rate."
    )
    assert tree(tmp_path) == []


def test_names_in_other_letters(tmp_path):
    config = dataclasses.replace(config_of(tmp_path, epochs=1), name="größe_1.0-β")
    assert (train(config).directory / "learning_curves.png").exists()
