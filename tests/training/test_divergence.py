"""Tests of runs that diverge: where it began is told, and what was good is kept."""

import dataclasses
import math
import re

import keras
import numpy as np
import pandas as pd
import pytest

from kerasbn.adjustments import request
from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.config import Change, DataConfig, MLPConfig, TrainConfig, TrainingConfig
from kerasbn.schedules import PiecewiseConstant
from kerasbn.training import checkpoint, resume, run_directory, state, train
from kerasbn.training import run as run_module


def config_of(output, **training):
    """Three executions an epoch, of 52 steps."""
    return TrainConfig(
        name="run",
        output=str(output),
        data=DataConfig(source="digits"),
        model=MLPConfig(units=(8,)),
        training=TrainingConfig(
            **{"epochs": 3, "batch_size": 8, "optimizer": "sgd", "checkpoint_steps": 1, **training}
        ),
    )


def jump_at(step):
    return PiecewiseConstant(boundaries=(step,), values=(0.05, 1e38))


@pytest.mark.parametrize("step", [0, 1, 100, 155, 156, 200])
def test_where_it_began_is_told(tmp_path, step):
    """The rate is 1e38 from a step on: its weights overflow there, or the outputs in the next."""
    config = config_of(tmp_path, schedule=jump_at(max(step, 1)), schedule_unit="step") if step else None
    config = config or config_of(tmp_path, learning_rate=1e38)
    if step < 156:
        with pytest.raises(InputError) as caught:
            train(config)
        text = str(caught.value)
        assert text.startswith("training: expected losses that are finite; received epoch 1, step ")
        pattern = r"epoch (\d+), step (\d+), learning rate 1e\+38; the first .*: the (\w+)(?: of layer '(\w+)')?\."
        found = re.search(pattern, text)
        epoch, at, what, layer = found.groups()
        epoch, at = int(epoch), int(at)
    else:
        run = train(config)
        origin = run.metrics["diverged"]
        epoch, at, what, layer = (origin[name] for name in ("epoch", "step", "what", "layer"))
        assert run.metrics["status"] == "diverged"
        assert origin["learning_rate"] == pytest.approx(1e38)
        assert (run.metrics["best_epoch"], run.metrics["epochs"]) == (1, 2)
        keras.models.load_model(run.directory / "model.keras")
    updates = (epoch - 1) * 156 + at - 1  # done before it
    assert step <= updates <= step + 2
    if step == 155:  # the weights are at 1e37, and overflow in the validation after the epoch's last step
        assert (what, layer) == ("val_loss", None)
    else:
        assert what in ("output", "weights", "gradient")
        assert layer in ("dense_1", "logits", "bn_1")
    if step < 52:  # before the first checkpoint that is worth keeping
        assert list(tmp_path.iterdir()) == []
    else:
        (directory,) = (tmp_path / "run").iterdir()
        kept = checkpoint.position(directory)
        assert (0, 0) < kept <= divmod(step, 156)
        content = checkpoint.read(directory, print)
        assert all(np.isfinite(value).all() for value in content.named("variable_"))


def test_a_run_that_diverged_goes_on_with_another_rate(tmp_path, capsys):
    config = config_of(tmp_path, schedule=jump_at(200), schedule_unit="step")
    run = train(config)
    assert run.metrics["status"] == "diverged"
    again = train(config)  # the same command: it comes to the same end, from the last checkpoint
    assert again.directory == run.directory
    assert again.metrics["diverged"] == run.metrics["diverged"]
    assert "from epoch 2, step" in capsys.readouterr().err
    assert request(run.directory, Change(learning_rate=1e-35)) is None  # 0.05 becomes that, and 1e38 is 2e4
    assert request(run.directory, Change(undo=True)) is None
    assert request(run.directory, Change(learning_rate=1e-40)) is None
    assert resume(run.directory).metrics["status"] == "complete"


def test_what_an_earlier_part_has_left_is_not_removed(tmp_path):
    """A run that ended with results, goes on without checkpoints, and diverges in its first steps."""
    run = train(config_of(tmp_path, schedule=jump_at(200), schedule_unit="step"))
    for path in run.directory.glob("checkpoint*"):
        path.unlink()
    assert request(run.directory, Change(learning_rate=1e38)) is None
    with pytest.raises(InputError, match=r"training: expected losses that are finite; .*What was finite is kept"):
        resume(run.directory)
    assert (run.directory / "model.keras").exists()
    assert (run.directory / "history.csv").exists()


def test_dropout_is_as_built_in_what_is_kept(tmp_path):
    config = config_of(tmp_path, schedule=jump_at(200), schedule_unit="step")
    config = dataclasses.replace(config, model=MLPConfig(units=(8,), dropout=0.2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "new_directory", lambda config, manifest: with_a_request(config, manifest))
        run = train(config)
    assert run.metrics["status"] == "diverged"
    assert '"dropout": 0.5' in (run.directory / "adjustments.jsonl").read_text()
    model = keras.models.load_model(run.directory / "model.keras")
    (dropout,) = [layer for layer in model.layers[-1].layers if isinstance(layer, keras.layers.Dropout)]
    assert dropout.rate == 0.2


def with_a_request(config, manifest):
    directory = run_directory.new_directory(config, manifest)
    assert request(directory, Change(dropout=0.5), seconds=0) is None
    return directory


class Diverge(KeepBest):
    """After two epochs the validation loss is NaN, and the accuracy perfect, as it is if all are of class 0."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            logs |= {"val_loss": math.nan, "val_accuracy": 1.0}
        super().on_epoch_end(epoch, logs)


def test_the_best_finite_epoch_is_kept(tmp_path, monkeypatch):
    config = config_of(tmp_path, epochs=6, checkpoint_steps=None)
    monkeypatch.setattr(state, "KeepBest", Diverge)
    run = train(config)
    history = pd.read_csv(run.directory / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isnan(history["val_loss"][2])
    best = history["val_accuracy"][:2].idxmax()
    assert run.metrics["status"] == "diverged"
    assert {key: run.metrics["diverged"][key] for key in ("epoch", "step", "layer", "what")} == {
        "epoch": 3, "step": 156, "layer": None, "what": "val_loss",
    }  # fmt: skip
    assert (run.metrics["best_epoch"], run.metrics["epochs"]) == (best + 1, 3)
    assert run.metrics["validation"]["accuracy"] == pytest.approx(history["val_accuracy"][best])
    monkeypatch.undo()
    assert resume(run.directory).metrics["status"] == "complete"  # from the checkpoint before
