"""Tests of what the command line shows of a search: one numbering, earlier trials, the best of all."""

import dataclasses
import re

import pytest

from kerasbn.cli_output import search_with_progress, show_run, show_study
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TuneConfig
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


@pytest.mark.parametrize("diverged", [False, True])
def test_a_run_that_diverged_says_so(diverged, tmp_path, capsys):
    figures = {"examples": 10, "accuracy": 0.5, "log_loss": 0.7}
    metrics = {"status": "complete", "best_epoch": 1, "epochs": 2, "seconds": 1.0, "diverged": diverged}
    show_run(Run(tmp_path, {**metrics, "validation": figures, "test": figures}))
    assert ("stopped     since training diverged" in capsys.readouterr().out) == diverged
