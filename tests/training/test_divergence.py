"""Tests of a run that diverges after a good epoch: it ends there, is complete, and keeps the best epoch."""

import math

import numpy as np
import pandas as pd
import pytest

from kerasbn.callbacks import KeepBest
from kerasbn.config import DataConfig, MLPConfig, TrainConfig, TrainingConfig
from kerasbn.training import resume, train
from kerasbn.training import run as run_module


class Diverge(KeepBest):
    """After two epochs the validation loss is NaN, and the accuracy perfect, as it is if all are of class 0."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            logs |= {"val_loss": math.nan, "val_accuracy": 1.0}
        super().on_epoch_end(epoch, logs)


@pytest.mark.parametrize("killed", [False, True])
def test_the_best_finite_epoch_is_kept(killed, tmp_path, monkeypatch):
    config = TrainConfig(
        output=str(tmp_path),
        data=DataConfig(source="iris"),
        model=MLPConfig(units=(4,)),
        training=TrainingConfig(epochs=6, learning_rate=0.001),
    )

    def kill(*args):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "KeepBest", Diverge)
        if killed:
            patch.setattr(run_module, "_finish", kill)
            with pytest.raises(SystemExit):
                train(config)
        else:
            run = train(config)
    if killed:  # between the last epoch and the end
        (directory,) = (tmp_path / "iris").iterdir()
        run = resume(directory)
    history = pd.read_csv(run.directory / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isnan(history["val_loss"][2])
    best = history["val_accuracy"][:2].idxmax()
    assert (run.metrics["status"], run.metrics["diverged"]) == ("complete", True)
    assert (run.metrics["best_epoch"], run.metrics["epochs"]) == (best + 1, 3)
    assert run.metrics["validation"]["accuracy"] == pytest.approx(history["val_accuracy"][best])
