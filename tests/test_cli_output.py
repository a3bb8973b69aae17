"""Tests of what the command line shows: of a run, of a search, of a learning rate, and what to do next."""

import dataclasses
import re

import numpy as np
import pytest

from kerasbn.cli_output import search_with_progress, show_rates, show_run, show_study
from kerasbn.config import DataConfig, LearningRateSearchConfig, MLPConfig, SearchConfig, TrainingConfig, TuneConfig
from kerasbn.diagnostics import RateRange
from kerasbn.schedules import Cosine
from kerasbn.training import Run


@pytest.fixture
def config(tmp_path):
    return TuneConfig(
        data=DataConfig(source="iris"),
        model=MLPConfig(units=(8,)),
        search=SearchConfig(max_trials=1, epochs=1, tune=("learning_rate",), output=str(tmp_path)),
    )


def test_a_search_and_its_continuation(config, capsys):
    first = search_with_progress(config).best
    lines = capsys.readouterr().err.splitlines()
    best = f"{first.score:.4g}"
    assert lines[-1].startswith(f"searching iris: trials 1/1  trial 0: score {best}  best {best} (trial 0)  ")
    more = dataclasses.replace(config, search=dataclasses.replace(config.search, max_trials=3))
    result = search_with_progress(more)
    lines = [line for line in capsys.readouterr().err.splitlines() if "score" in line or "earlier" in line]
    assert lines[0] == f"searching iris: trials 1/3  1 of them from earlier  best {best} (trial 0)"
    assert [re.search(r"trials (./3)  (trial .): score", line).groups() for line in lines[1:]] == [
        ("2/3", "trial 1"),
        ("3/3", "trial 2"),
    ]
    assert f"best {result.best.score:.4g} (trial {result.best.number})  " in lines[-1]
    show_study(result)
    shown = capsys.readouterr().out
    numbers = next(line for line in shown.splitlines() if "trial" in line)
    assert re.findall(r"\d", numbers) == [str(t.number) for t in result.trials]
    assert re.search(r"^trials +3, 1 of them from earlier$", shown, re.MULTILINE)


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
