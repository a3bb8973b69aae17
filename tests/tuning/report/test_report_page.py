"""The page: its numbers, its parts, its escaping, and studies in which something is missing."""

import json
import math
import re
from html.parser import HTMLParser

import plotly.graph_objects
import pytest

from kerasbn.checks import TaskError
from kerasbn.tuning.report import page as pages
from kerasbn.tuning.report.axes import axes
from kerasbn.tuning.report.figures import score_axis
from kerasbn.tuning.report.page import page

SECTIONS = ["best", "noise", "curves", "hyperparameters", "parallel", "importances", "strategy", "time", "failures"]


class Text(HTMLParser):
    """The visible text of a page, and its tags."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self._hidden = [], [], False
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._hidden = False

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture(autouse=True)
def short_script(monkeypatch):
    """Leave plotly's five megabytes out, which the test with a browser has."""
    monkeypatch.setattr(pages, "plotly_script", lambda: "/* plotly */")


@pytest.fixture
def check():
    """Return a function that makes a page, checks what holds for every page, and returns its text and its figures."""

    def checked(content):
        html = page(content)
        parsed = Text(html)
        assert [attrs["id"] for tag, attrs in parsed.tags if tag == "section"] == SECTIONS
        places = {attrs["id"] for tag, attrs in parsed.tags if attrs.get("class") == "plot"}
        figures = data_of(html)["figures"]
        assert places == set(figures)
        for each in figures.values():
            plotly.graph_objects.Figure(each)  # raises if plotly does not know a property or a value
        assert not re.search(r"(?:src|href)=[\"'](?!#)", html)  # nothing from elsewhere
        assert "nan" not in parsed.text.lower().replace("&lt;nan", "").replace("<nan>", "")
        return parsed.text, figures

    return checked


def test_head(full, check):
    text, _ = check(full)
    best = full.ranked[0]
    for words in (
        f"best val_accuracy {best.score:.5g} trial {best.number}, trained for 12 epochs",
        f"learning_rate {best.hyperparameters.get('learning_rate'):.4g}",
        "Trials 30 (26 completed, 1 stopped, 3 failed)",
        "Searched for the highest val_accuracy over learning_rate, momentum, units",
        "Not measured: each trial was trained once.",
        "of training; 39.0 s from beginning to end",
        "Seed 17",
        "Begun 2026-11-21T09:59:50+01:00",
        "Data sha256:abc123",
        "Versions Python 3.11.2, kerasbn 0.1, keras 3.15.1",
    ):
        assert words in text


def test_best_trials_in_order(full, check):
    text, _ = check(full)
    shown = re.search(r"The best 10 of 30 trials.*?((?:trial \d+ ){10})", text)[1]
    assert [int(number) for number in re.findall(r"\d+", shown)] == [t.number for t in full.ranked[:10]]
    momenta = [1 - t.hyperparameters.get("one_minus_momentum") for t in full.ranked[:10]]
    row = [float(value) for value in re.search(r"momentum ((?:0\.\d+ ){10})", text)[1].split()]
    assert row == pytest.approx(momenta, abs=1e-3)


def test_curves(full, check):
    text, figures = check(full)
    traces = figures["plot-curves"]["data"]
    by_number = {}
    for trace in traces:
        if trace["mode"].startswith("lines"):
            for number, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True):
                by_number.setdefault(number, []).append((x, y))
    assert len(by_number) == 30 + 1  # and None: the gaps between them
    assert [x for x, _ in by_number[7]] == [1, 2, 3, 4]
    assert by_number[9][2:4] == [(3, None), (4, None)]
    assert by_number[0][-1] == (12, pytest.approx(full.trials[0].history[-1]["val_accuracy"], rel=1e-5))
    (stopped,) = [trace for trace in traces if trace["mode"] == "markers"]
    assert (stopped["x"], stopped["customdata"]) == ([4], [7])
    assert "Lines have gaps where the value was not finite (2 times)." in text


def test_scores_by_hyperparameter(full, check):
    text, figures = check(full)
    pictures = [figure for name, figure in figures.items() if name.startswith("plot-hyperparameter")]
    titles = [figure["layout"]["xaxis"]["title"]["text"] for figure in pictures]
    assert titles == [
        "learning_rate (log scale)",
        "momentum (1 - momentum on a log scale)",
        "units (log scale)",
        "batch_size",
        "dropout",
        "shortcut",
        "family",
        *titles[7:],
    ]
    assert set(titles[7:]) == {"depth (family = mlp)", "depth (family = convnet)", "reverse (log scale)"}
    counts = [sum(len(trace["x"]) for trace in figure["data"]) for figure in pictures]
    depths = [count for title, count in zip(titles, counts, strict=True) if title.startswith("depth")]
    assert counts[0] == 30
    assert sum(depths) == 30
    low = [trace for trace in pictures[0]["data"] if trace.get("yaxis") == "y2"]
    assert low[0]["customdata"] == [4, 11, 23]  # failed
    assert "Not varied: version = v1." in text


def test_failures_are_folded_once(full):
    html = page(full)
    assert html.count("<details>") == 1
    assert "3 trials: 4, 11, 23</b> ValueError: the loss is &lt;nan&gt;" in html


def test_escaping(trial, study, check):
    evil = "</script><script>alert(1)</script> & \"quotes\" 'ä' 漢字 <b>"

    def space(hp):
        hp.Float(evil, 0.0, 1.0)
        hp.Choice("kind", [evil, "plain"])

    trials = [trial(n, space=space, name=evil, worker=evil) for n in range(12)]
    trials[3] = trial(3, space=space, failed=True, traceback=f"ValueError: {evil}", name=evil)
    content = study(trials, name=evil, objective=(evil, "max"), settings={"strategy": {"name": evil, "of": evil}})
    text, figures = check(content)
    html = page(content)
    assert html.count("<script") == 3
    assert html.count("</script>") == 3
    assert "alert(1)</script>" not in html
    assert text.count(evil) > 10
    title = figures["plot-hyperparameter-0"]["layout"]["xaxis"]["title"]["text"]
    assert title.startswith("&lt;/script&gt;")
    assert '"quotes"' in title  # plotly does not know &quot;


ODD = {
    "no-trials": (0, {}),
    "one": (1, {}),
    "two": (2, {}),
    "all-failed": (5, {"failed": True}),
    "no-hyperparameters": (12, {"space": lambda hp: None}),
    "one-hyperparameter": (12, {"space": lambda hp: hp.Float("x", 0.0, 1.0)}),
    "one-value": (12, {"space": lambda hp: hp.Float("x", 1.0, 1.0)}),
    "constant": (12, {"score": 0.5, "scores": (0.5,)}),
    "no-history": (12, {"history": ()}),
    "no-objective-in-history": (12, {"history": ({"execution": 0, "epoch": 0, "loss": 1.0},)}),
    "nothing-finite": (3, {"history": ({"execution": 0, "epoch": 0, "val_accuracy": math.nan},)}),
    "infinite-score": (12, {"score": math.inf, "scores": (math.inf, 0.5)}),
    "no-time": (12, {"seconds": 0.0, "finished": "", "worker": ""}),
    "many-executions": (4, {"executions": 5}),
    "wide": (12, {"space": lambda hp: [hp.Choice(f"{n} " * 20, [1, 2, 3]) for n in range(30)]}),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("direction", ["max", "min"])
def test_odd_studies(name, direction, trial, study, check):
    count, changes = ODD[name]
    trials = [trial(number, **changes) for number in range(count)]
    bare = {"settings": {}, "created": "", "environment": {}} if name == "no-time" else {}
    text, _ = check(study(trials, objective=("val_accuracy", direction), **bare))
    expected = {"no-trials": "There is no trial yet.", "all-failed": "No trial has a score."}
    assert expected.get(name, "best val_accuracy" if name != "infinite-score" else "No trial has a score.") in text


def test_no_curves_in_words(trial, study, check):
    row = {"execution": 0, "epoch": 0, "loss": 1.0}
    text, _ = check(study([trial(0, history=(row,))]))
    assert "No trial has a value of val_accuracy for each epoch. Reported each epoch: loss." in text


def test_one_epoch_of_each_is_no_curve(trial, study, check):
    text, figures = check(study([trial(n, epochs=1) for n in range(3)]))
    assert "Of each trial val_accuracy is known for one epoch only" in text
    assert "plot-curves" not in figures


def test_times_that_are_not_recorded(trial, study, check):
    text, figures = check(study([trial(n, seconds=0.0, finished="") for n in range(3)]))
    assert "How long the trials took is not recorded." in text
    assert {name for name in figures if "second" in name or "by-" in name} == {"plot-by-trials"}


def test_waiting_trials(trial, study, check):
    waiting = [trial(number, status="waiting", epochs=3, notes={"bracket": 1}) for number in (5, 6)]
    text, figures = check(study([trial(n, notes={"bracket": 0}) for n in range(5)], waiting=tuple(waiting)))
    assert "Trials 7 (5 completed, 2 waiting)" in text
    traces = figures["plot-curves"]["data"]
    lines, ends = [trace for trace in traces if 5 in trace["customdata"]]
    assert (lines["mode"], ends["mode"], set(ends["customdata"])) == ("lines", "markers", {5, 6})


def test_only_waiting_trials(trial, study, check):
    text, _ = check(study([], waiting=(trial(0, status="waiting"),)))
    assert "Trials 1 (1 waiting)" in text


def test_hundreds_of_long_trials(trial, study):
    content = study([trial(number, epochs=200) for number in range(300)])
    html = page(content)
    assert len(html) < 1_100_000  # without plotly's 4.9 MB: 6 MB in all
    data = data_of(html)["figures"]["plot-curves"]["data"]
    last = [x for trace in data for x, after in zip(trace["x"], [*trace["x"][1:], None], strict=True) if after is None]
    assert max(x for x in last if x) == 200  # thinned, and yet to the end


def test_without_plotly(full, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(TaskError, match=r"plotly.*pip install 'kerasbn\[report\]'"):
        page(full)


@pytest.mark.parametrize(
    ("values", "direction", "low", "high", "outside"),
    [
        ([0.9, 0.91, 0.92], "max", 0.8988, 0.9212, False),
        ([0.1, 0.90, 0.91, 0.92, 0.93], "max", 0.8452, 0.9348, True),
        ([0.1, 0.11, 0.12, 9.0, math.nan, None], "min", 0.0910, 0.2490, True),
        ([0.5], "max", 0.475, 0.525, False),
    ],
    ids=["near", "one-far", "lower", "one"],
)
def test_axis_of_scores(values, direction, low, high, outside):
    axis, words = score_axis(values, "x", direction)
    assert bool(words) is outside
    if axis.get("type") != "log":
        assert axis["range"] == pytest.approx([low, high], abs=2e-4)


def test_wide_losses_have_a_log_axis():
    axis, _ = score_axis([0.01, 0.1, 1.0], "loss", "min")
    assert axis["type"] == "log"
    assert axis["range"][0] < -2
    assert axis["title"] == "loss (log scale)"
    assert axis["ticktext"] == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]


def test_values_in_the_head_have_names(full):
    labels = [axis.label for axis in axes(full.trials)]
    assert labels.count("momentum") == 1
    assert "one_minus_momentum" not in labels
