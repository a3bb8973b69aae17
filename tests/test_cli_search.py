"""Tests of what the command line shows of searches: progress, results, spaces, re-tests, options that clash."""

import dataclasses
import re

import pytest

from kerasbn import cli
from kerasbn.cli_search import search_with_progress, show_study
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TuneConfig
from kerasbn.tuning import read_study


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


SMALL = ["--data.source", "iris", "--model.units", "8", "--search.epochs", "1", "--search.tune", "learning_rate"]


def test_a_stopped_trial_says_when(tmp_path, capsys):
    halving = ["--search.strategy", "successive_halving", "--search.epochs", "2", "--search.factor", "2"]
    command = ["tune", *SMALL[:4], *SMALL[6:], *halving, "--search.max_trials", "2", "--search.output", str(tmp_path)]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    assert re.search(r"searching iris: trials 1/2  trial \d: score 0\.\d+ after 1 epoch  best ", shown.err)
    assert f"report      kerasbn report {tmp_path / 'iris'}\n" in shown.out


def test_preview_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tune", "--preview", *SMALL]) == 0
    shown = capsys.readouterr().out
    assert "learning_rate" in shown
    assert shown.splitlines()[-1] == "picture     search_space.png"
    assert [path.name for path in tmp_path.iterdir()] == ["search_space.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--retest", "studies/iris", "--search.epochs", "3"],
            "kerasbn: --retest: expected no other keys but --data and --search.storage: the study has its own; "
            "received --search.epochs. Leave it out.",
        ),
        (
            ["--data", "new.csv"],
            "kerasbn: --data: expected --retest STUDY with it; received 'new.csv'. A search has --data.source.",
        ),
    ],
    ids=["retest", "data"],
)
def test_options_that_do_not_go_together(options, message, capsys):
    assert cli.main(["tune", *options]) == 2
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("storage", [None, "sqlite:///{}/study.db"], ids=["journal", "database"])
def test_retest_and_report(tmp_path, capsys, storage):
    study = str(tmp_path / "iris")
    where = [] if storage is None else ["--storage", storage.format(tmp_path)]
    options = ["--search.max_trials", "3", "--search.output", str(tmp_path)]
    options += ["--search.storage", where[1]] if where else []
    assert cli.main(["tune", *SMALL, *options]) == 0
    assert cli.main(["tune", "--retest", study, "--data", "iris"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^verdict +(keep|search again)", shown, re.MULTILINE), shown
    assert cli.main(["report", study, *where]) == 0
    assert capsys.readouterr().out == f"report      {study}/report.html\n"
    assert (tmp_path / "iris" / "report.csv").is_file()


def test_storage_for_short(tmp_path, capsys):
    url = f"sqlite:///{tmp_path}/studies.db"
    command = ["tune", *SMALL, "--search.max_trials", "1", "--search.output", str(tmp_path)]
    assert cli.main([*command, "--storage", url]) == 0
    assert len(read_study(tmp_path / "iris", url).trials) == 1
    assert not (tmp_path / "iris" / "journal.log").exists()
    capsys.readouterr()
    assert cli.main([*command, "--storage", "studies.db"]) == 2
    assert capsys.readouterr().err.startswith("kerasbn: search.storage: expected the URL of a database")
