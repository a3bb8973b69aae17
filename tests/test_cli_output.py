"""Tests of what the command line shows: of a run, of a learning rate, and what to do next."""

import dataclasses
import re

import numpy as np
import pytest

from kerasbn.cli_output import show_rates, show_run
from kerasbn.config import LearningRateSearchConfig, TrainingConfig
from kerasbn.diagnostics import RateRange
from kerasbn.schedules import Cosine
from kerasbn.training import Run

FIGURES = {"examples": 10, "accuracy": 0.5, "log_loss": 0.7}
METRICS = {"best_epoch": 1, "epochs": 2, "seconds": 1.0, "diverged": None, "validation": FIGURES, "test": FIGURES}


def shown_of(directory, capsys, **metrics):
    show_run(Run(directory, METRICS | metrics))
    return [line for line in capsys.readouterr().out.splitlines() if re.match(r"\w+( \w+)? {2,}\S", line)]


def test_what_there_is_to_do_after_a_run(tmp_path, capsys):
    directory = tmp_path / "a run"
    best, run, following = (
        "best epoch  1 of 2, 1.0 s",
        f"run         {directory}",
        f"next        kerasbn export '{directory}'",
    )
    assert shown_of(directory, capsys, status="complete") == [best, run, following]
    assert shown_of(directory, capsys, status="interrupted") == [
        best,
        run,
        "stopped     before its end; the model of the best epoch so far is kept",
        f"go on       kerasbn train --resume '{directory}'",
        following,
    ]
    origin = {"epoch": 2, "step": 7, "learning_rate": 0.5, "layer": "dense_1", "what": "gradient"}
    assert shown_of(directory, capsys, status="diverged", diverged=origin) == [
        best,
        run,
        "diverged    epoch 2, step 7, learning rate 0.5; the first that was not finite: the gradient of layer "
        "'dense_1'; the model of the best epoch before is kept",
        f"go on       kerasbn adjust '{directory}' --learning-rate X; kerasbn train --resume '{directory}'",
        following,
    ]


@pytest.mark.parametrize(
    ("training", "following"),
    [
        (TrainingConfig(), "next        kerasbn train --name a --training.learning_rate 0.02"),
        (
            TrainingConfig(batch_size=128, batch_scaling="linear"),
            "next        kerasbn train --name a --training.learning_rate 0.02 --training.batch_scaling none",
        ),
        (
            TrainingConfig(schedule=Cosine(0.1, 30)),
            "next        kerasbn train, with 0.02 for the highest rate of training.schedule",
        ),
    ],
)
def test_what_there_is_to_do_with_a_rate(training, following, tmp_path, capsys):
    falls = np.array([1.0, 0.5, 0.2])
    config = LearningRateSearchConfig(training=training, picture=str(tmp_path / "a.png"))
    rates = np.array([0.002, 0.02, 0.2])
    found = RateRange(rates, falls, falls, 0.002, 0.02, 0.02, "Why not.", "It was enough.")
    show_rates(found, config, "kerasbn train --name a")
    assert capsys.readouterr().out.splitlines()[-2:] == [f"picture     {config.picture}", following]
    none = dataclasses.replace(found, steepest=None, below_minimum=None, suggestion=None)
    show_rates(none, config, "kerasbn train --name a")
    assert capsys.readouterr().out.splitlines()[-1] == f"picture     {config.picture}"
    assert (tmp_path / "a.png").is_file()
