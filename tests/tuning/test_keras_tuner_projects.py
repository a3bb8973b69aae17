"""Projects of KerasTuner: read as studies, whatever state they are in, and left as they are."""

import hashlib
import json
import math
import shutil
import warnings

import keras_tuner
import pytest
from recorded import Recorded

from kerasbn.checks import InputError
from kerasbn.tuning.compatibility.projects import is_project, read_project
from kerasbn.tuning.objective import objective_of
from kerasbn.tuning.store.records import from_json

pytestmark = pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")  # KerasTuner's, in every trial
SEARCHES = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 12}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 12}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 12, "num_initial_points": 10}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 4}),
}


def space(hp):
    kind = hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["b"]):
        hp.Int("only_b", 1, 9)
    hp.Float("x", 0.01, 1.0, sampling="log")
    return kind


def score(hp):
    if 0.03 < hp.get("x") < 0.05:
        raise ValueError("boom")
    value = math.nan if 0.02 < hp.get("x") < 0.03 else hp.get("x")
    return {"val_accuracy": value, "val_loss": 1 - value, "loss": 0.5}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Search with a tuner of KerasTuner's in a new directory, and return the tuner."""

    def run(kind="random", objective="val_accuracy", fit=score, model=None, **kwargs):
        search, defaults = SEARCHES[kind]
        directory = tmp_path_factory.mktemp("projects")
        arguments = {"seed": 3, "max_consecutive_failed_trials": 99} | defaults | kwargs
        tuner = search(model or Recorded(space, fit), objective, directory=directory, project_name="p", **arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the Gaussian process, and of NaN
            tuner.search(verbose=0)
        return tuner

    return run


@pytest.fixture(scope="module")
def project(searched):
    return searched().project_dir


@pytest.fixture
def copied(project, tmp_path):
    """A project that a test may damage."""
    return shutil.copytree(project, tmp_path / "p")


def digest(directory):
    """Return the name, content, time and mode of everything in a directory."""
    entries = sorted(directory.rglob("*"))
    content = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in entries]
    times = [(path.stat().st_mtime_ns, path.stat().st_mode) for path in entries]
    return list(zip(entries, content, times, strict=True))


@pytest.mark.parametrize("kind", SEARCHES)
def test_all_that_the_oracle_knows(kind, searched, tmp_path):
    tuner = searched(kind)
    directory = shutil.copytree(tuner.project_dir, tmp_path / "p")
    before = digest(directory)
    assert is_project(directory)
    study = read_project(directory)
    assert digest(directory) == before
    assert (study.objective.name, study.objective.direction) == ("val_accuracy", "max")
    assert (study.name, study.directory, study.settings["seed"]) == ("p", directory, 3)
    assert study.settings["strategy"]["name"].startswith({"grid": "random or grid"}.get(kind, kind))
    theirs = [tuner.oracle.trials[name] for name in tuner.oracle.start_order]
    assert [t.number for t in study.trials] == list(range(len(theirs)))
    assert {t.status for t in study.trials} >= {"completed"}
    for ours, trial in zip(study.trials, theirs, strict=True):
        values = {k: v for k, v in trial.hyperparameters.values.items() if not k.startswith("tuner/")}
        assert ours.hyperparameters.values == values
        assert list(ours.hyperparameters.values) == [h.name for h in ours.hyperparameters.space if h.name in values]
        assert ours.score == (trial.score if trial.status == "COMPLETED" else None)
        assert from_json(ours.to_json()).to_json() == ours.to_json()
        if ours.scored:
            expected = {"val_accuracy": ours.score, "val_loss": pytest.approx(1 - ours.score), "loss": 0.5}
            assert ours.metrics == expected
            assert ours.history == ({"execution": 0, "epoch": trial.best_step, **expected},)
        else:
            assert "boom" in ours.traceback or ours.traceback == "FAILED; the score is nan.\n"
    best = [t.trial_id for t in tuner.oracle.get_best_trials(99) if t.status == "COMPLETED"]
    assert [t.number for t in study.ranked if t.scored] == [int(name) for name in best]
    assert study.ranked[0].hyperparameters.get("x") == tuner.get_best_hyperparameters()[0].get("x")


def test_failures_of_both_kinds_are_in_a_project(project):
    failed = [t for t in read_project(project).trials if not t.scored]
    assert {"ValueError" in t.traceback for t in failed} == {True, False}


class Saves(Recorded):
    """Writes the weights that Hyperband goes on from."""

    def fit(self, hp, model, callbacks, **kwargs):
        logs = {"val_accuracy": hp.get("x")}
        for callback in callbacks:
            callback.set_model(model)
            callback.on_epoch_end(0, logs)
        return logs


def test_rounds_of_hyperband(searched):
    trials = read_project(searched("hyperband", model=Saves(space)).project_dir).trials
    assert {t.status for t in trials} == {"completed"}
    later = [t for t in trials if t.notes["round"] > 0]
    assert {(t.notes["bracket"], t.notes["epochs"], t.notes["initial_epoch"]) for t in later} == {(1, 4, 2)}
    for trial in later:
        assert trials[trial.notes["continues"]].hyperparameters.values == trial.hyperparameters.values
    assert {t.epochs for t in trials} == {2, 4}


def test_a_real_fit_and_a_number(searched, tmp_path):
    study = read_project(searched(objective=None, fit=lambda hp: hp.get("x"), max_trials=2).project_dir)
    assert (study.objective.name, study.objective.direction) == ("default_objective", "min")
    several = searched(objective=["val_loss", "val_accuracy"], fit=lambda hp: score(hp) | {"multi_objective": 1.0})
    study = read_project(several.project_dir)
    assert (study.objective.name, study.objective.direction) == ("multi_objective", "min")
    study = read_project(several.project_dir, ["val_loss", "val_accuracy"])
    assert str(study.objective) == str(several.oracle.objective)


def test_an_objective_that_cannot_be_told(searched):
    tuner = searched(objective=keras_tuner.Objective("a", "max"), fit=lambda hp: {"a": 1.0, "b": 1.0}, max_trials=2)
    with pytest.raises(InputError) as caught:
        read_project(tuner.project_dir)
    assert str(caught.value) == (
        f"The project {tuner.project_dir}: expected one metric that equals the score in all trials; received a (max), "
        'b (min). Give the objective: read_project(path, objective="val_loss").'
    )
    assert read_project(tuner.project_dir, keras_tuner.Objective("a", "max")).ranked[0].score == 1.0


def test_a_validation_metric_before_its_twin(searched):
    tuner = searched(objective="val_loss", fit=lambda hp: {"loss": hp.get("x"), "val_loss": hp.get("x")}, max_trials=3)
    assert read_project(tuner.project_dir).objective == keras_tuner.Objective("val_loss", "min")


def edit(directory, trial, change):
    path = directory / f"trial_{trial}" / "trial.json"
    state = json.loads(path.read_text())
    change(state)
    path.write_text(json.dumps(state))


def test_a_trial_that_was_running_is_left_out(copied):
    edit(copied, "03", lambda state: state.update(status="RUNNING", score=None))
    with pytest.warns(UserWarning, match=r"p: trials that were not finished are left out: 03\.$"):
        study = read_project(copied)
    assert 3 not in [t.number for t in study.trials]
    assert len(study.trials) == 11


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(path.read_text()[:100]),
        lambda path: path.write_text(""),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"trial_id": "03"}'),
        lambda path: path.write_text(path.read_text().replace('"Choice"', '"Mystery"')),
        lambda path: path.unlink(),
    ],
    ids=["torn", "empty", "binary", "list", "half", "unknown", "missing"],
)
def test_a_trial_that_cannot_be_read_is_left_out(copied, damage):
    damage(copied / "trial_03" / "trial.json")
    with pytest.warns(UserWarning, match=r"A trial that cannot be read is left out\. .*trial_03/trial\.json"):
        study = read_project(copied)
    assert [t.number for t in study.trials] == [n for n in range(12) if n != 3]


@pytest.mark.parametrize("text", [None, '{"seed": 3, "disp'])
def test_an_oracle_that_cannot_be_read(copied, text):
    (copied / "oracle.json").unlink()
    if text is not None:
        (copied / "oracle.json").write_text(text)
    assert is_project(copied)
    with pytest.warns(UserWarning, match=r"The seed and the strategy of the project are not known\. .*oracle\.json"):
        study = read_project(copied)
    assert len(study.trials) == 12
    assert (study.settings["seed"], study.settings["strategy"]) == (None, {"name": "KerasTuner's"})


def test_ids_of_older_versions(copied):
    names = {f"{n:02d}": hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(12)}
    for name, new in names.items():
        edit(copied, name, lambda state, new=new: (state.update(trial_id=new), state.pop("message")))
        (copied / f"trial_{name}").rename(copied / f"trial_{new}")
    oracle = json.loads((copied / "oracle.json").read_text())
    oracle["start_order"] = list(names.values())
    (copied / "oracle.json").write_text(json.dumps(oracle))
    scores = [t.score for t in read_project(copied).trials]
    assert len({score for score in scores if score is not None}) > 5
    oracle["start_order"].reverse()
    (copied / "oracle.json").write_text(json.dumps(oracle))
    assert [t.score for t in read_project(copied).trials] == scores[::-1]


def test_a_space_by_kind_gets_its_parents_first(copied):
    def by_kind(state):  # as a search on several machines leaves it
        state["hyperparameters"]["space"].sort(key=lambda entry: entry["class_name"], reverse=True)
        state["hyperparameters"]["values"] = dict(reversed(state["hyperparameters"]["values"].items()))

    for n in range(12):
        edit(copied, f"{n:02d}", by_kind)
    for trial in read_project(copied).trials:
        names = [h.name for h in trial.hyperparameters.space]
        assert names.index("kind") < names.index("only_b")
        assert [name for name in names if name in trial.hyperparameters.values] == list(trial.hyperparameters.values)


def test_epochs_and_executions_that_were_reported_one_by_one(copied):
    def several(state):
        for metric in state["metrics"]["metrics"].values():
            first = metric["observations"][0]["value"][0]
            metric["observations"] = [
                {"step": 0, "value": [first, first - 0.125]},
                {"step": 1, "value": [first / 2, first / 2 - 0.125]},
            ]

    scored = next(t for t in read_project(copied).trials if t.scored)
    edit(copied, f"{scored.number:02d}", several)
    trial = read_project(copied, "val_accuracy").trials[scored.number]
    assert [(row["execution"], row["epoch"]) for row in trial.history] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [row["val_accuracy"] for row in trial.history] == [
        scored.score, scored.score / 2, scored.score - 0.125, scored.score / 2 - 0.125
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["none", "file", "empty"])
def test_no_project(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    path = tmp_path / name
    received = f"{str(path)!r}, which has no oracle.json" if name == "empty" else f"{str(path)!r}, no directory"
    assert not is_project(path)
    with pytest.raises(InputError) as caught:
        read_project(path)
    assert str(caught.value) == (
        f"project: expected the directory of a KerasTuner project; received {received}. It is directory/project_name."
    )


def test_a_project_without_a_trial(tmp_path):
    (tmp_path / "oracle.json").write_text("{}")
    with pytest.raises(InputError, match=r"^project: expected at least one readable trial in .*; received none\."):
        read_project(tmp_path)


def test_a_project_of_failures_has_no_objective(searched):
    study = read_project(searched(fit=lambda hp: 1 / 0, max_trials=2).project_dir)
    assert study.objective == objective_of(None)
    assert [t.status for t in study.trials] == ["failed", "failed"]
