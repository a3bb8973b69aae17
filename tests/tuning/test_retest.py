"""retest: which trials are trained again, paired seeds, a kill, failures, what is kept and said, the command's path."""

import dataclasses
import datetime
import json
import re

import keras
import keras_tuner
import numpy as np
import pytest
import yaml
from rich.console import Console

from kerasbn import data, files, layout
from kerasbn.checks import InputError, TaskError
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TrainConfig, TuneConfig, read_config
from kerasbn.tuning import Draws, StudyContent, TrialRecord, sample_config, tune
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.retesting import retest, retest_trials, trials
from kerasbn.tuning.retesting.narrowing import ranges_around, search_options
from kerasbn.tuning.retesting.reruns import Rerun, held
from kerasbn.tuning.retesting.studies import split_anew
from kerasbn.tuning.retesting.text import lines, table
from kerasbn.tuning.retesting.trials import choose

VALUES = (0.3, 0.9, 0.1, 0.7, 0.5, 0.8, 0.2, 0.6, 0.4, 0.0, 1.0, 0.45)  # x of each trial; its score then


class Model(keras_tuner.HyperModel):
    """Trains nothing: the score is a function of x, the same noise for all of a seed, and a little of each's own."""

    def __init__(self, score=lambda x: x, own=1e-3):
        self.score, self.own, self.fitted = score, own, []
        super().__init__()

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        x = hp.get("x")
        common = np.random.standard_normal()
        self.fitted.append((x, common, kwargs.get("epochs")))
        own = np.random.default_rng([int(1e6 * x), int(1e6 * abs(common))]).standard_normal()
        return {"score": self.score(x) + 0.1 * common + self.own * own}


def trial(number, x, score=None, **changes):
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    hp.values["x"] = x
    return TrialRecord(number, "completed", x if score is None else score, hp, **changes)


@pytest.fixture
def content(tmp_path):
    begun = datetime.datetime.now().astimezone() - datetime.timedelta(days=93, hours=1)
    return StudyContent(
        name="s",
        directory=tmp_path,
        objective=keras_tuner.Objective("score", "max"),
        settings={"executions_per_trial": 1},
        created=begun.isoformat(),
        environment={"python": "3.9.0", "libraries": {"numpy": "1.0"}},
        trials=tuple(trial(number, x) for number, x in enumerate(VALUES)),
    )


def quietly(line):
    pass


def test_keep(content, tmp_path):
    model = Model()
    result = retest_trials(content, model, top=3, random=4, say=quietly)
    assert [(t.record.number, t.role) for t in result.trials[:3]] == [(10, "incumbent"), (1, "top"), (5, "top")]
    assert [t.role for t in result.trials[3:]] == ["random"] * 4
    assert result.staleness.verdict == "keep"
    assert result.staleness.gains[1].value == pytest.approx(-0.1, abs=0.01)
    assert result.days == 93
    assert result.versions["numpy"] == ("1.0", np.__version__)
    by_replicate = [{common for _, common, _ in model.fitted[7 * r : 7 * r + 7]} for r in range(3)]
    assert [len(commons) for commons in by_replicate] == [1, 1, 1]  # paired seeds
    assert len(set.union(*by_replicate)) == 3
    again = retest_trials(content, model, top=3, random=4, say=quietly)
    assert again.path == result.path.with_name(f"{result.path.stem}-2.json")
    assert again.trials == result.trials
    kept = files.read_json(result.path, "retest")
    assert kept["verdict"] == "keep"
    assert kept["trials"][0]["new"] == list(result.trials[0].scores)
    assert {path.name for path in tmp_path.iterdir()} == {".retest.lock", result.path.name, again.path.name}


def test_narrowly_and_fully(content):
    moved = retest_trials(content, Model(lambda x: x if x < 1 else 0.75), top=4, random=4, say=quietly)
    assert moved.staleness.verdict == "narrowly"
    assert {moved.trials[i].record.number for i in moved.staleness.beaten_by} == {1, 5}
    assert moved.ranges["x"] == pytest.approx((0.7 if moved.trials[3].record.number == 3 else 0.6, 1.0), abs=0.11)
    said = lines(moved)
    assert "beaten      by trial 1, 5, by more than the noise (* in the table)" in said
    assert any(re.fullmatch(r"            x: 0\.\d+ to 1", line) for line in said)
    assert retest_trials(content, Model(lambda x: -x), say=quietly).staleness.verdict == "fully"


def test_lower_is_better_where_it_is_minimised(content):
    objective = keras_tuner.Objective("score", "min")
    content = dataclasses.replace(content, objective=objective)
    result = retest_trials(content, Model(lambda x: x if x > 0 else 0.3), top=4, random=4, say=quietly)
    assert result.trials[0].record.number == 9
    assert result.staleness.verdict == "narrowly"
    assert result.staleness.gains[1].value == pytest.approx(0.2, abs=0.01)  # better is above 0, whatever the direction
    assert any(line.startswith("incumbent   0.") and " worse than then (" in line for line in lines(result))


def test_goes_on_where_it_was_killed(content, tmp_path):
    whole, seen, said = retest_trials(content, Model(), say=quietly), [], []

    def stop(rerun, done, total):
        seen.append((done, total))
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retest_trials(content, Model(), on_trial=stop, say=quietly)
    assert seen == [(1, 30), (2, 30), (3, 30), (4, 30)]
    (partial,) = tmp_path.glob(".retest-*.jsonl")
    with partial.open("a") as file:
        file.write('{"trial": 3, "repl')  # the line that it was writing
    other = Model()
    retest_trials(content, other, seed=1, say=said.append)
    assert len(other.fitted) == 30  # of another seed
    assert said == []
    model = Model()
    result = retest_trials(content, model, say=said.append)
    assert len(model.fitted) == 26
    assert said == ["Going on: 4 re-runs are there already."]
    assert result.trials == whole.trials
    assert result.staleness == whole.staleness
    assert not partial.exists()


def test_failures_rank_worst(content):
    def score(x):
        if x == 1.0:
            raise ValueError("no such layer")
        return float("nan") if x == 0.9 else x

    result = retest_trials(content, Model(score), say=quietly)
    told = result.staleness
    assert told.verdict == "narrowly"
    assert told.means[:2] == (None, None)
    assert result.trials[0].scores == (None, None, None)
    assert 'raise ValueError("no such layer")' in result.trials[0].tracebacks[0]
    assert "score is nan: training diverged." in result.trials[1].tracebacks[0]
    assert "failures    6; the first, of trial 10: ValueError: no such layer" in lines(result)
    assert json.loads(result.path.read_text())["trials"][0]["tracebacks"] == list(result.trials[0].tracebacks)


def test_all_failing_is_a_message_after_one_replicate(content, tmp_path):
    def broken(x):
        raise AttributeError("module 'keras' has no attribute 'old'")

    model = Model(broken)
    with pytest.raises(TaskError) as caught:
        retest_trials(content, model, say=quietly)
    assert str(caught.value).startswith("All 10 trials fail today: that is a change of code, versions or data that no")
    assert "AttributeError: module 'keras' has no attribute 'old'" in str(caught.value)
    assert len(model.fitted) == 10
    assert {path.name for path in tmp_path.iterdir()} == {".retest.lock"}
    content = dataclasses.replace(content, objective=keras_tuner.Objective("gone", "max"))
    with pytest.raises(MisuseError, match=r"^objective: expected .* one of .*'score'.*; received 'gone'"):
        retest_trials(content, Model(), say=quietly)


def test_hyperparameters_that_are_new_since(content):
    class Newer(Model):
        def build(self, hp):
            hp.Float("l2", 0.0, 1.0, default=0.25)
            return super().build(hp)

    result = retest_trials(content, Newer(), replicates=2, say=quietly)
    assert result.notes == ("The study does not know l2: every re-run had the default.",)


def test_choice(content):
    chosen = choose(content, 3, 4, seed=0)
    ranks = [content.ranked.index(record) for record, _ in chosen]
    assert ranks[:3] == [0, 1, 2]
    for rank, (low, high) in zip(ranks[3:], [(3, 6), (6, 8), (8, 10), (10, 12)], strict=True):
        assert low <= rank < high
    assert {tuple(t.number for t, _ in choose(content, 3, 4, seed)) for seed in range(20)} != {tuple(ranks)}
    assert len(choose(content, 3, 100, 0)) == 12
    assert [role for _, role in choose(content, 2, 0, 0)] == ["incumbent", "top"]


def test_choice_leaves_out_what_was_not_trained_to_the_end(content):
    records = [trial(0, 0.5, epochs=9), trial(1, 0.4, epochs=9), trial(2, 0.9, epochs=3)]
    records += [dataclasses.replace(trial(3, 0.8, epochs=9), status="stopped")]
    content = dataclasses.replace(content, trials=tuple(records))
    model = Model()
    result = retest_trials(content, model, fit_kwargs={"epochs": 1}, say=quietly)
    assert [t.record.number for t in result.trials] == [0, 1]
    assert {epochs for *_, epochs in model.fitted} == {9}
    with pytest.raises(InputError, match="at least 2 completed trials; received 1"):
        retest_trials(dataclasses.replace(content, trials=tuple(records[1:2])), model)


def test_arguments(content, tmp_path):
    with pytest.raises(InputError, match=r"^replicates: .* received 1\. One alone does not show the noise\."):
        retest_trials(content, Model(), replicates=1)
    with pytest.raises(InputError, match=r"^top: "):
        retest_trials(content, Model(), top=0)
    with held(tmp_path), pytest.raises(InputError, match="one re-test at a time; received a second one while another"):
        retest_trials(content, Model())


def test_narrower_ranges_are_options_of_the_search():
    config = TuneConfig(model=MLPConfig(), search=SearchConfig(families=("mlp", "convnet")))
    records = []
    for number in range(6):
        hp = Draws(seed=0, trial=number)
        sample_config(hp, config)
        records.append(TrialRecord(number, "completed", 1.0, hp.copy()))
    ranges = ranges_around(records)
    words = search_options(ranges)
    given = {
        key.removeprefix("--search."): value.split(",") for key, value in zip(words[::2], words[1::2], strict=True)
    }
    families = given.pop("families")
    search = SearchConfig(families=tuple(families), **{k: tuple(map(yaml.safe_load, v)) for k, v in given.items()})
    assert {"learning_rate", "units", "filters", "layers", "dropout", "batch_size"} <= given.keys()
    for record in records:
        rate = record.hyperparameters.values["learning_rate"]
        assert search.learning_rate[0] <= rate <= search.learning_rate[1]
    assert ranges_around(records[:1], margin=0.0)["learning_rate"] == pytest.approx(
        (records[0].hyperparameters.values["learning_rate"],) * 2
    )
    assert search_options({"one_minus_beta_2": (1e-4, 1e-2)}) == ["--search.beta_2", "0.99,0.9999"]


def test_other_splits_leave_the_test_alone():
    splits = data.load_splits(DataConfig(source="iris"))
    other = split_anew(splits, 3)
    assert other.test is splits.test
    assert (len(other.train), len(other.validation)) == (len(splits.train), len(splits.validation))
    assert sorted(np.bincount(other.validation.labels)) == [7, 7, 8]

    def rows(*parts):
        return sorted(map(tuple, np.concatenate([part.inputs for part in parts]).tolist()))

    assert rows(other.train, other.validation) == rows(splits.train, splits.validation)
    assert rows(other.validation) != rows(splits.validation)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    search = SearchConfig(max_trials=3, epochs=1, units=(4, 8), output=str(tmp_path_factory.mktemp("studies")))
    config = TuneConfig(data=DataConfig(source="iris"), search=search)
    directory = tune(config, on_trial=lambda record: None).directory
    files.write_json(directory / layout.DATA, dict(data.load_splits(config.data).manifest))
    return directory


def test_of_the_command(study, tmp_path):
    inputs, labels = np.random.default_rng(0).standard_normal((150, 4)).astype(np.float32), np.arange(150) % 3
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    inputs += 2 * labels[:, None]
    np.savez(tmp_path / "new.npz", x=inputs, y=names)
    seen = []
    result = retest(
        study,
        str(tmp_path / "new.npz"),
        top=1,
        random=1,
        replicates=2,
        on_trial=lambda rerun, done, total: seen.append((done, total, rerun.score)),
        say=quietly,
    )
    assert [one[:2] for one in seen] == [(n, 4) for n in range(1, 5)]
    assert all(0 <= score <= 1 for *_, score in seen)
    assert result.notes == ()
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(result))
    assert "val_accuracy then" in captured.get()
    said = lines(result)
    assert said[0] == f"study       {study}, 0 days old, 3 trials"
    assert said[-1].startswith(("next        kerasbn train --config ", "next        kerasbn tune --config "))
    assert said[-1].count(f"--data.source {tmp_path / 'new.npz'}") == 1
    if result.staleness.verdict == "keep":
        assert read_config(TrainConfig, study / "best.yaml").data.source == "iris"


def test_same_data_are_noted(study, monkeypatch):
    monkeypatch.setattr(trials, "train", lambda record, replicate, *rest: Rerun(record.number, replicate, 0.5))
    result = retest(study, top=2, random=0, replicates=2, say=quietly)
    assert result.notes == ("The data are those of the study: what differs are seeds, splits, versions and code.",)
    assert "cannot be told" in " ".join(result.staleness.reasons)


def test_other_data_are_refused(study, tmp_path):
    with pytest.raises(InputError) as caught:
        retest(study, "wine")
    expected = (
        "--data: expected the columns and classes that the study was made with; received shape [13] instead of [4]"
    )
    assert str(caught.value).startswith(expected)
    assert "classes class_0, class_1, class_2 instead of setosa, versicolor, virginica" in str(caught.value)
    with pytest.raises(InputError, match=r"^--retest: expected a study of `kerasbn tune`; .* which has no search.yaml"):
        retest(tmp_path)
    with pytest.raises(InputError, match=r"^--retest: expected a study's directory; .* which does not exist"):
        retest(tmp_path / "none")
