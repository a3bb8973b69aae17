"""What is written: the table, read back by pandas, whole files, and studies wherever they are kept."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from kerasbn.checks import InputError, TaskError
from kerasbn.config.report import ReportConfig
from kerasbn.tuning.report import page, report, write_report, writing
from kerasbn.tuning.report.table import all_trials
from kerasbn.tuning.report.times import duration


@pytest.fixture(autouse=True)
def short_script(monkeypatch):
    monkeypatch.setattr(page, "plotly_script", lambda: "/* plotly */")


def read(path):
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def test_table_and_page(full, tmp_path, tree):
    assert write_report(full, tmp_path / "new") == tmp_path / "new" / "report.html"
    assert tree(tmp_path / "new") == ["report.csv", "report.html"]
    table = read(tmp_path / "new" / "report.csv")
    assert table["number"].tolist() == list(range(30))
    assert table["status"].value_counts().to_dict() == {"completed": 26, "failed": 3, "stopped": 1}
    ranked = table.sort_values("rank")["number"].tolist()
    assert ranked[:27] == [t.number for t in full.ranked[:27]]
    for record, row in zip(full.trials, table.to_dict("records"), strict=True):
        assert row["score"] == pytest.approx(math.nan if record.score is None else record.score, rel=1e-15, nan_ok=True)
        assert row["epochs"] == record.epochs
        assert row["worker"] == "host-1:100"
        assert row["finished"] == record.finished
        for name, value in record.hyperparameters.values.items():
            written = row[f"hyperparameter.{name}"]
            assert written == (pytest.approx(value, rel=1e-15) if isinstance(value, float) else value)
    assert table["error"][4] == "ValueError: the loss is <nan>"


def test_whole_numbers_stay_whole(full, tmp_path):
    write_report(full, tmp_path)
    text = pd.read_csv(tmp_path / "report.csv", dtype=str)
    assert text["hyperparameter.depth"].dropna().str.fullmatch(r"\d+").all()
    assert text["rank"].dropna().str.fullmatch(r"\d+").all()


def test_odd_values(trial, study, tmp_path):
    notes = {"bracket": 2, "box": {"a,b": [0.1, 0.2]}, "text": 'say "hi",\nthere'}
    one = trial(0, scores=(0.1, 0.25), notes=notes, metrics={"val_accuracy": 0.175, "loss": math.inf})
    two = trial(1, scores=(0.3,), status="waiting")
    write_report(study([one], waiting=(two,)), tmp_path)
    table = read(tmp_path / "report.csv")
    assert table["status"].tolist() == ["completed", "waiting"]
    assert table[["execution.0", "execution.1"]].fillna(-1).to_numpy().tolist() == [[0.1, 0.25], [0.3, -1]]
    assert table["note.text"][0] == notes["text"]
    assert json.loads(table["note.box"][0]) == notes["box"]
    assert np.isinf(table["metric.loss"][0])


def test_no_trials(study, tmp_path):
    write_report(study([]), tmp_path)
    assert list(read(tmp_path / "report.csv").columns)[:4] == ["number", "status", "rank", "score"]


def test_names_that_clash_with_columns(trial, study):
    table = all_trials(study([trial(0, space=lambda hp: hp.Choice("score", ["a"]), name="status")]))
    assert table["score"][0] != "a"
    assert table["hyperparameter.score"][0] == "a"
    assert table["status"][0] == "completed"


def test_nothing_is_left_of_a_report_that_fails(full, tmp_path, monkeypatch, tree):
    def missing():
        raise TaskError("no plotly")

    monkeypatch.setattr(page, "plotly_script", missing)
    with pytest.raises(TaskError):
        write_report(full, tmp_path / "new")
    assert tree(tmp_path) == []


def test_an_earlier_report_is_replaced(full, study, tmp_path):
    write_report(study([]), tmp_path)
    write_report(full, tmp_path)
    assert len(read(tmp_path / "report.csv")) == 30


def test_report_of_a_study_and_of_a_project(trial, study, tmp_path, monkeypatch):
    asked, small = [], study([trial(0)])
    monkeypatch.setattr(writing, "read_study", lambda place, storage: asked.append((place, storage)) or small)
    monkeypatch.setattr(writing, "read_project", lambda place: asked.append(str(place)) or small)
    monkeypatch.setattr(writing, "is_project", lambda place: place.name == "project")
    output = str(tmp_path / "out")
    assert report(ReportConfig("studies/digits", output)) == tmp_path / "out" / "report.html"
    report(ReportConfig("project", output))
    report(ReportConfig("project", output, "sqlite:///x.db"))
    assert asked == [("studies/digits", None), "project", ("project", "sqlite:///x.db")]


def test_default_output_is_the_study(trial, study, tmp_path, monkeypatch):
    content = study([trial(0)], directory=str(tmp_path / "s"))
    monkeypatch.setattr(writing, "read_study", lambda place, storage: content)
    assert report(ReportConfig("s")) == tmp_path / "s" / "report.html"


def test_no_study(tmp_path):
    with pytest.raises(InputError, match="the directory of a study"):
        report(ReportConfig(str(tmp_path)))


def test_config():
    with pytest.raises(InputError, match="storage"):
        ReportConfig("x", storage=["a"])
    with pytest.raises(InputError, match="format"):
        ReportConfig("x", format=99)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 0 s"),
        (245, "4 min 5 s"),
        (3600, "1 h 0 min"),
        (12000, "3 h 20 min"),
        (183600, "2 d 3 h"),
        (math.inf, "unknown"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
