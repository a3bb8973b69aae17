"""Tests of training runs: what a run directory holds, the same numbers again, and going on after an interruption."""

import csv
import dataclasses
import json
import os
import re
import resource
import shutil
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

from kerasbn.checks import InputError, TaskError
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
from kerasbn.schedules import Manual, OneCycle
from kerasbn.training import Run, checkpoint, results, resume, run_directory, train
from kerasbn.training.run_directory import held

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
def test_same_numbers_in_another_process(python, iris_run, tmp_path):
    config = config_of(tmp_path)
    write_config(config, tmp_path / "c.yaml")
    command = [*python, "-m", "kerasbn", "train", "--config", str(tmp_path / "c.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "iris").iterdir()
    metrics = json.loads((directory / "metrics.json").read_text())
    assert_equal(iris_run, Run(directory, metrics))
    assert f"kerasbn export {directory}" in done.stdout


class Interrupt(checkpoint.WriteCheckpoints):
    """Stands for a user who presses Ctrl-C, or for a crash, after some steps of an epoch."""

    how, epoch, step = "stop", 2, 0

    def on_train_batch_end(self, batch, logs=None):
        self._interrupt_before(super().on_train_batch_end, batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._interrupt_before(super().on_epoch_end, epoch, logs)

    def _interrupt_before(self, write, position, logs):
        here = (self.state.epoch, self.state.step) == (self.epoch, self.step)
        if here and self.how == "stop":
            self.stop.set()  # as the first Ctrl-C does
        write(position, logs)
        if here and self.how == "crash":
            raise KeyboardInterrupt


def interrupted(config, how, epoch, step=0):
    with pytest.MonkeyPatch.context() as patch:
        kind = type("Interrupted", (Interrupt,), {"how": how, "epoch": epoch, "step": step})
        patch.setattr(checkpoint, "WriteCheckpoints", kind)
        if how == "stop":
            return train(config).directory
        with pytest.raises(
            KeyboardInterrupt, match="To go on, give the same command again, or: kerasbn train --resume"
        ):
            train(config)
        return max((Path(config.output) / "iris").iterdir())


@pytest.mark.parametrize(
    ("how", "epoch", "seconds"), [("stop", 3, 1e9), ("crash", 2, 0.0), ("crash", 2, 1e9), ("crash", 8, 0.0)]
)
def test_a_resumed_run_is_as_if_it_never_stopped(tmp_path, tree, iris_run, how, epoch, seconds):
    config = config_of(tmp_path, checkpoint_seconds=seconds)
    directory = interrupted(config, how, epoch)
    if how == "stop":
        metrics = json.loads((directory / "metrics.json").read_text())
        assert (metrics["status"], metrics["epochs"]) == ("interrupted", epoch)
        assert set(tree(directory)) - {"checkpoint-before.npz"} == {*FILES, "checkpoint.npz"}  # of use even so
    else:
        assert "metrics.json" not in tree(directory)
        assert "checkpoint.npz" in tree(directory)
    keras.utils.set_random_seed(99)  # what came between must not matter
    run = resume(directory)
    assert run.directory == directory
    assert run.metrics["status"] == "complete"
    assert tree(directory) == FILES
    assert_equal(run, iris_run)


DIGITS = MLPConfig(units=(8,), dropout=0.3)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    return train(digits_config(tmp_path_factory.mktemp("runs")))


def digits_config(output):
    """A run of three executions an epoch, and with all that has a state."""
    return TrainConfig(
        name="iris",
        output=str(output),
        data=DataConfig(source="digits"),
        model=DIGITS,
        training=TrainingConfig(
            epochs=4, batch_size=8, optimizer="momentum", schedule=OneCycle(0.1, decay_steps=4), plateau_patience=1,
            checkpoint_steps=1, monitor="val_loss", weight_decay=0.01,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "epoch", "step"), [("stop", 1, 52), ("stop", 2, 104), ("crash", 1, 52), ("crash", 0, 104)]
)
def test_resumed_within_an_epoch(tmp_path, digits_run, how, epoch, step):
    config = digits_config(tmp_path)
    directory = interrupted(config, how, epoch, step)
    assert checkpoint.position(directory) == (epoch, step)
    keras.utils.set_random_seed(99)
    assert_equal(resume(directory), digits_run)


def test_stopped_before_the_first_epoch_was_over(tmp_path, digits_run, capsys):
    config = digits_config(tmp_path)
    with pytest.raises(KeyboardInterrupt, match=r"Stopped in .*; 0 epochs and 52 steps are kept. To go on"):
        interrupted(config, "stop", 0, 52)
    (directory,) = (tmp_path / "iris").iterdir()
    assert checkpoint.position(directory) == (0, 52)
    capsys.readouterr()
    run = train(config)  # the same command again
    assert run.directory == directory
    assert f"Going on with {directory}, from epoch 1, step 52." in capsys.readouterr().err
    assert_equal(run, digits_run)
    assert train(config).directory != directory  # and once more: that one is complete


def test_the_same_command_goes_on_only_with_the_same_run(tmp_path, monkeypatch):
    config = config_of(tmp_path, epochs=3)
    directory = interrupted(config, "stop", 1)
    other = train(dataclasses.replace(config, training=dataclasses.replace(config.training, seed=8)))
    fresh = train(config, fresh=True)
    with held(directory):
        beside = train(config)
    monkeypatch.setattr(run_directory, "environment", lambda: {"python": "2.7", "libraries": {}})
    another_version = train(config)
    monkeypatch.undo()
    assert len({directory, other.directory, fresh.directory, beside.directory, another_version.directory}) == 5
    assert train(config).directory == directory
    assert_equal(fresh, beside)


def test_a_run_that_another_process_trains_in(python, tmp_path):
    directory = interrupted(config_of(tmp_path, epochs=3), "stop", 1)
    command = [*python, "-c", LOCKING, str(directory)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        before = sorted(path.name for path in directory.iterdir())
        with pytest.raises(InputError) as caught:
            resume(directory)
        assert str(caught.value) == (
            f"run directory: expected one that no other process is training in; received {str(directory)!r}. "
            f"Wait for its end, or change it while it runs with `kerasbn adjust {directory}`."
        )
        assert sorted(path.name for path in directory.iterdir()) == before
    finally:
        other.kill()  # and a process that is killed lets it go
        other.communicate()
    assert resume(directory).metrics["status"] == "complete"


LOCKING = """
import pathlib, sys
from kerasbn.training.run_directory import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch, capsys, iris_run, tree):
    """Files cannot grow beyond a size while checkpoints are written, after the first."""
    save, written = checkpoint.save, []

    def full(directory, *rest):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if written:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            return save(directory, *rest)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            written.append(tree(directory))

    monkeypatch.setattr(checkpoint, "save", full)
    assert_equal(train(config_of(tmp_path, checkpoint_steps=1)), iris_run)
    assert len(written) > 3
    assert all(files == written[0] for files in written)  # the first checkpoint is kept, and no half one left
    assert "checkpoint.npz" in written[0]
    error = capsys.readouterr().err
    assert "The checkpoint could not be written ([Errno 27] File too large" in error
    assert "; training goes on, and the one before is kept." in error


# Adam's are those of `iris_run`, AdamW's are the same.
@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop", "adagrad"])
def test_slots_are_resumed(tmp_path, optimizer):
    config = config_of(tmp_path, optimizer=optimizer, momentum=None if optimizer == "adagrad" else 0.95, epochs=4)
    assert_equal(resume(interrupted(config, "stop", 3)), train(config))


def test_resumed_twice(monkeypatch, tmp_path, iris_run):
    directory = interrupted(config_of(tmp_path), "stop", 2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "WriteCheckpoints", type("Stop", (Interrupt,), {"epoch": 4}))
        assert resume(directory).metrics["epochs"] == 4
    assert_equal(resume(directory), iris_run)


def test_killed_when_patience_was_out_but_nothing_was_written(tmp_path):
    config = config_of(tmp_path, epochs=30, patience=1, learning_rate=1.0, checkpoint_steps=1)
    whole = train(config)
    last = whole.metrics["epochs"]
    assert last < 30
    directory = interrupted(config, "crash", last)
    assert_equal(resume(directory), whole)  # without another epoch


def test_ctrl_c_stops_after_the_step(tmp_path, capsys, digits_run):
    before = signal.getsignal(signal.SIGINT)

    class PressCtrlC(checkpoint.WriteCheckpoints):
        def on_train_batch_begin(self, batch, logs=None):
            if (self.state.epoch, batch) == (1, 52):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "WriteCheckpoints", PressCtrlC)
        run = train(digits_config(tmp_path))
    assert (run.metrics["status"], run.metrics["epochs"]) == ("interrupted", 1)
    assert checkpoint.position(run.directory) == (1, 104)
    assert (
        "Stopping after this step; all that is done is kept. Press Ctrl-C again to stop at once."
        in capsys.readouterr().err
    )
    assert signal.getsignal(signal.SIGINT) is before
    assert_equal(resume(run.directory), digits_run)


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once_and_can_be_resumed(python, tmp_path):
    # Large enough that an epoch takes about a second, in which the second Ctrl-C arrives.
    model = ConvNetConfig(filters=(64, 64), units=())
    config = config_of(tmp_path, source="digits", model=model, epochs=1000, batch_size=8, patience=None)
    write_config(config, tmp_path / "c.yaml")
    command = [*python, "-m", "kerasbn", "train", "--config", str(tmp_path / "c.yaml")]
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
    assert f"kerasbn: Stopped in {directory}; " in error  # what is kept depends on whether a step was over in between
    assert f". To go on, give the same command again, or: kerasbn train --resume {directory}" in error
    assert "Traceback" not in error
    assert not (directory / "metrics.json").exists()


def test_a_complete_run_is_not_resumed(iris_run):
    with pytest.raises(InputError) as caught:
        resume(iris_run.directory)
    assert str(caught.value) == (
        f"--resume: expected an interrupted run; received {str(iris_run.directory)!r}, which is complete. "
        "Train anew with `kerasbn train --config`."
    )


def test_what_cannot_be_resumed(tmp_path):
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
    directory = interrupted(config, "stop", 2)
    x[7, 1] += 1e-3
    np.savez(data, x=x, y=y)
    with pytest.raises(
        InputError, match=r"--resume: expected the split the run began with, .*another content_hash, .* from '.*a.npz'"
    ):
        resume(directory)
    x[7, 1] -= 1e-3
    np.savez(data, x=x, y=y)
    resume(directory)


@pytest.fixture(scope="module")
def left_half_done(tmp_path_factory):
    return interrupted(config_of(tmp_path_factory.mktemp("runs"), checkpoint_steps=1), "crash", 2)


@pytest.fixture
def half_done(left_half_done, tmp_path):
    """A run with two checkpoints, after epochs 1 and 2."""
    return Path(shutil.copytree(left_half_done, tmp_path / "iris" / left_half_done.name))


@pytest.mark.parametrize("damage", ["empty", "half", "other", "one bit"])
def test_a_damaged_checkpoint(half_done, damage, capsys, iris_run):
    path, before = half_done / "checkpoint.npz", half_done / "checkpoint-before.npz"
    content = path.read_bytes()
    with np.load(path) as arrays:
        middle = content.index(arrays["variable_000000"].tobytes())
    damaged = {
        "empty": b"",
        "half": content[:middle],
        "other": b"x" * 100,
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[damage]
    path.write_bytes(damaged)
    run = resume(half_done)
    error = capsys.readouterr().err
    assert f"{path} is damaged (" in error
    assert f"; going on from the one before it, {before}: epoch " in error
    assert_equal(run, iris_run)


def test_both_checkpoints_damaged(half_done, tree, iris_run):
    for name in ("checkpoint.npz", "checkpoint-before.npz"):
        (half_done / name).write_bytes(b"x")
    files = tree(half_done)
    with pytest.raises(InputError) as caught:
        resume(half_done)
    names = f"'{half_done / 'checkpoint.npz'}' and '{half_done / 'checkpoint-before.npz'}'"
    assert f"checkpoint: expected {names} to be readable; received" in str(caught.value)
    assert str(caught.value).endswith("What is damaged cannot be gone on from; delete it, and the run begins anew.")
    assert tree(half_done) == files
    for name in ("checkpoint.npz", "checkpoint-before.npz"):
        (half_done / name).unlink()
    assert_equal(resume(half_done), iris_run)


@pytest.mark.parametrize(
    ("part", "key", "value", "expected", "received"),
    [
        ("model", "units", [5], "model.units [5]", "model.units [16]"),
        ("training", "optimizer", "momentum", "training.optimizer momentum", "training.optimizer adam"),
    ],
)
def test_a_checkpoint_of_another_run(half_done, part, key, value, expected, received):
    path = half_done / "config.yaml"
    content = path.read_text()
    values = yaml.safe_load(content)
    values[part][key] = value
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as caught:
        resume(half_done)
    assert str(caught.value) == (
        f"checkpoint: expected '{half_done / 'checkpoint.npz'}' of a run with {expected}; received {received}. "
        "Give the run its own checkpoint and config.yaml back, or delete the checkpoint and begin anew."
    )
    path.write_text(content)
    resume(half_done)


def rewritten(path, change):
    with np.load(path) as content:
        arrays = dict(content)
    header = json.loads(str(arrays["header"]))
    change(header, arrays)
    np.savez(path, **{**arrays, "header": np.array(json.dumps(header))})


def test_a_checkpoint_of_another_version(half_done):
    rewritten(half_done / "checkpoint.npz", lambda header, arrays: header.update(format=99, kerasbn="9.1"))
    with pytest.raises(InputError) as caught:
        resume(half_done)
    assert str(caught.value) == (
        f"checkpoint: expected format 2 in '{half_done / 'checkpoint.npz'}'; received format 99, written by "
        "kerasbn 9.1. Go on with that version of kerasbn, or delete the checkpoint, and the run begins anew."
    )


def without_a_variable(header, arrays, known=True):
    arrays.pop("variable_000000")
    header["arrays"] -= known


def test_a_checkpoint_of_another_shape(half_done):
    rewritten(half_done / "checkpoint.npz", without_a_variable)
    with pytest.raises(
        InputError, match=r"checkpoint: expected the \d+ variables of this model in .*; received \d+ of other"
    ):
        resume(half_done)


def test_a_checkpoint_that_lost_an_array(half_done, capsys, iris_run):
    rewritten(half_done / "checkpoint.npz", lambda header, arrays: without_a_variable(header, arrays, known=False))
    assert_equal(resume(half_done), iris_run)
    assert "arrays are in it); going on from the one before it" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_now_is_kept(half_done, monkeypatch, iris_run):
    read = checkpoint._read

    def busy(path):
        if path.name == "checkpoint.npz":
            raise OSError(24, "Too many open files")
        return read(path)

    monkeypatch.setattr(checkpoint, "_read", busy)
    assert checkpoint.read(half_done, print) is not None
    assert (half_done / "checkpoint.npz").exists()


def test_a_checkpoint_of_another_split(tmp_path):
    first = interrupted(config_of(tmp_path / "a", checkpoint_steps=1), "crash", 2)
    other = config_of(tmp_path / "b", checkpoint_steps=1, data=DataConfig(source="iris", seed=1))
    second = interrupted(other, "crash", 1)
    (second / "checkpoint.npz").write_bytes((first / "checkpoint.npz").read_bytes())
    with pytest.raises(InputError, match=r"checkpoint: expected .* of a run with data \w+; received data \w+\. "):
        resume(second)


def test_a_full_disk_at_the_end_says_how_to_go_on(tmp_path, monkeypatch, iris_run):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    config = config_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(results.curves, "draw", full)
        with pytest.raises(TaskError) as caught:
            train(config)
    (directory,) = (tmp_path / "iris").iterdir()
    assert str(caught.value).startswith(f"[Errno 28] No space left on device in {directory}; ")
    assert str(caught.value).endswith(f"the same command again, or: kerasbn train --resume {directory}")
    assert_equal(train(config), iris_run)


def test_a_schedule_that_the_run_cannot_follow_leaves_nothing(tmp_path, tree):
    schedule = Manual((1e39, 0.1))
    with pytest.raises(InputError, match=r"schedule\(0\): expected a rate in \[0, 1e\+38\]; received 1e\+39"):
        train(config_of(tmp_path, decay="constant", decay_rate=None, schedule=schedule, epochs=2))
    assert tree(tmp_path) == []


def test_more_epochs_than_planned(half_done):
    path = half_done / "config.yaml"
    path.write_text(path.read_text().replace("epochs: 8", "epochs: 9").replace("patience: 5", "patience: null"))
    assert resume(half_done).metrics["epochs"] == 9


def test_names_in_other_letters(tmp_path):
    config = dataclasses.replace(config_of(tmp_path, epochs=1), name="größe_1.0-β")
    assert (train(config).directory / "learning_curves.png").exists()
