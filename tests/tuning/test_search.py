"""RandomSearch: drop-in, reproducible, resumable, honest about failures."""

import gc
import inspect
import os
import time

import keras
import keras_tuner
import numpy as np
import pytest
from recorded import Recorded, build_digits, table, x_only

from kerasbn.checks import InputError
from kerasbn.tuning import RandomSearch
from kerasbn.tuning.engine import quick_collections
from kerasbn.tuning.store import weights


def test_two_and_two_are_four(search_digits):
    straight = search_digits(4, "straight")
    search_digits(2, "resumed")
    resumed = search_digits(4, "resumed")
    assert table(resumed) == table(straight)
    assert len({t[2] for t in table(straight)}) > 2
    (model,) = resumed.get_best_models()
    (other,) = straight.get_best_models()
    for ours, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_best_models_have_the_best_weights(search_digits, digits):
    tuner = search_digits(3, keep_models=2)
    _, _, (x, y) = digits
    models = tuner.get_best_models(2)
    for model, record in zip(models, tuner.study.ranked, strict=False):
        assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(record.score)
        assert record.score == max(row["val_accuracy"] for row in record.history)
        assert [row["epoch"] for row in record.history] == [0, 1]
    files = sorted(p.name for p in tuner.study.directory.iterdir())
    assert files == [".lock", "journal.log", *sorted(f"trial-{t.number:05d}.npz" for t in tuner.study.ranked[:2])]
    with pytest.raises(InputError) as caught:
        tuner.get_best_models(3)
    assert str(caught.value) == (
        "num_models: expected at most as many as were kept here, 2; received 3. Search with keep_models=3; or build "
        f"trial {tuner.study.ranked[2].number} anew from get_best_hyperparameters(3)."
    )


def test_best_hyperparameters_rebuild_the_model(recorded):
    tuner = recorded(Recorded(build_digits, score=lambda hp: hp.get("units")), 2)
    best, second = tuner.get_best_hyperparameters(5)
    assert type(best) is keras_tuner.HyperParameters
    assert best.values == tuner.study.ranked[0].hyperparameters.values
    assert second.values != best.values
    assert build_digits(best).layers[0].units == best.get("units")


def test_seeds_differ_and_none_is_kept(recorded):
    zero, one = recorded(x_only, project_name="0"), recorded(x_only, seed=1, project_name="1")
    assert {t[2] for t in table(zero)}.isdisjoint({t[2] for t in table(one)})
    drawn = recorded(x_only, trials=1, seed=None, project_name="none")
    assert recorded(x_only, trials=2, seed=None, project_name="none").study.seed == drawn.study.seed
    assert recorded(x_only, trials=1, seed=None, project_name="other").study.seed != drawn.study.seed


def test_a_build_a_trial(recorded):
    model = Recorded(x_only)
    recorded(model, 4)
    assert model.built == 4


def test_directions_and_summary(recorded, capsys):
    smallest = recorded(x_only)  # without an objective the number is minimised
    largest = recorded(x_only, objective=keras_tuner.Objective("x", "max"), project_name="max")
    scores = [t[2] for t in table(smallest)]
    assert smallest.study.ranked[0].score == min(scores)
    assert largest.study.ranked[0].score == max(scores)
    largest.results_summary(num_trials=1)
    out = capsys.readouterr().out
    assert f"Results in {largest.project_dir}\nShowing 1 best trials" in out
    assert f"x: {max(scores)}\nScore: {max(scores)}" in out
    assert out.count("Hyperparameters:") == 1


def test_space_summary_before_and_after(recorded, capsys):
    def space(hp):
        hp.Choice("kind", ["a", "b"])
        hp.Float("x", 0.0, 1.0, parent_name="kind", parent_values=["a"])

    model = Recorded(space, score=lambda hp: 0.5)
    tuner = recorded(model, search=False)
    tuner.search_space_summary()
    before = capsys.readouterr().out
    tuner.search()
    tuner.search_space_summary()
    assert capsys.readouterr().out == before
    assert before.splitlines()[1:3] == ["Default search space size: 2", "kind (Choice)"]


def test_lines_are_printed(recorded, capsys):
    recorded(x_only, 2, on_trial=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Trials are trained one by one: Recorded has a fit of its own."
    assert lines[1].startswith("Trial 0, 1 of 2 finished: default_objective 0.")
    assert lines[2].startswith("Trial 1, 2 of 2 finished: default_objective 0.")
    assert len(lines) == 3
    recorded(x_only, 3, on_trial=None, engine="fit")
    assert capsys.readouterr().out.startswith("Trial 2, 3 of 3 finished: default_objective 0.")


def test_callbacks_of_the_search(search_digits):
    trials, epochs = [], []
    search_digits(2, on_trial=trials.append, on_epoch=lambda *a: epochs.append(a))
    assert [t.number for t in trials] == [0, 1]
    assert [e[:2] for e in epochs] == [(0, 0), (1, 0), (0, 1), (1, 1)], "both are trained at once"
    assert set(epochs[0][2]) == {"accuracy", "loss", "val_accuracy", "val_loss"}


def test_own_callbacks_are_copied_for_each_trial(digits, tmp_path):
    class Count(keras.callbacks.Callback):
        epochs = 0

        def on_epoch_end(self, epoch, logs=None):
            self.epochs += 1
            assert self.epochs == epoch + 1

    count = Count()
    x, y, validation = digits
    tuner = RandomSearch(
        build_digits, "val_loss", 2, 0, directory=tmp_path, executions_per_trial=2, on_trial=lambda r: None
    )
    tuner.search(x, y, validation_data=validation, epochs=1, verbose=0, callbacks=[count])
    assert count.epochs == 0
    assert [t.status for t in tuner.study.trials] == ["completed"] * 2
    rows = tuner.study.trials[0].history
    assert [(r["execution"], r["epoch"]) for r in rows] == [(0, 0), (1, 0)]
    assert rows[0]["val_loss"] != rows[1]["val_loss"]
    assert tuner.study.trials[0].score == pytest.approx(np.mean([r["val_loss"] for r in rows]))


def test_a_small_space_is_exhausted(recorded, capsys):
    def space(hp):
        hp.Choice("x", [1, 2, 3])
        hp.Boolean("b")

    model = Recorded(space)
    tuner = recorded(model, 20, on_trial=None)
    assert len({tuple(t[3].values()) for t in table(tuner)}) == len(table(tuner)) == model.built == 6
    assert capsys.readouterr().out.splitlines()[-1] == (
        "The space is exhausted: all its 6 combinations have been tried."
    )
    again = recorded(Recorded(space), 20)
    assert again.note == "The space is exhausted: all its 6 combinations have been tried."
    assert recorded(Recorded(space), 6).note == "All 6 trials were there already."


def test_hyperparameters_that_fit_draws_are_part_of_the_space(recorded):
    model = Recorded(lambda hp: hp.Boolean("b"), score=lambda hp: hp.Choice("x", [1, 2]))
    tuner = recorded(model, 20)
    assert sorted((t[3]["b"], t[3]["x"]) for t in table(tuner)) == [(False, 1), (False, 2), (True, 1), (True, 2)]
    assert [t[3] for t in table(recorded(model, 20))] == [t[3] for t in table(tuner)]


def test_given_hyperparameters(recorded):
    given = keras_tuner.HyperParameters()
    given.Fixed("x", 0.25)
    tuner = recorded(lambda hp: (x_only(hp), hp.Int("y", 1, 3)), 20, hyperparameters=given)
    assert sorted(tuple(t[3].values()) for t in table(tuner)) == [(0.25, 1), (0.25, 2), (0.25, 3)]


def test_no_trial_starts_after_max_minutes(recorded):
    slow = Recorded(x_only, lambda hp: time.sleep(0.2) or hp.get("x"))
    tuner = recorded(slow, 50, max_minutes=0.3 / 60)
    assert 1 <= len(table(tuner)) <= 3
    assert tuner.note == "No more trials after 0.005 minutes."
    assert tuner.remaining_trials == 50 - len(table(tuner))


def test_another_build_function_is_refused(recorded):
    recorded(x_only, 2)
    with pytest.raises(InputError) as caught:
        recorded(lambda hp: hp.Float("x", 0.0, 2.0), 3)
    message = str(caught.value)
    assert "received x Float(name: 'x', min_value: '0.0', max_value: '2.0'" in message
    assert "instead of Float(name: 'x', min_value: '0.0', max_value: '1.0'" in message
    assert "Choose another name for the new settings (--name NEW on the command line, project_name" in message
    assert len(table(recorded(lambda hp: hp.Float("x", 0.0, 2.0), 3, overwrite=True))) == 3


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, "seed 1 instead of 0"),
        ({"objective": "val_loss"}, "objective.name 'val_loss' instead of 'default_objective'"),
        ({"executions_per_trial": 2}, "executions_per_trial 2 instead of 1"),
        ({"fingerprint": "new"}, "fingerprint 'new' instead of None"),
    ],
)
def test_other_settings_are_refused(recorded, change, difference):
    recorded(x_only, 1)
    with pytest.raises(InputError, match=f"received {difference}. Choose"):
        recorded(x_only, 2, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"max_consecutive_failed_trials": 0},
            "max_consecutive_failed_trials: expected a whole number of at least 1; received 0.",
        ),
        (
            {"max_retries_per_trial": 2},
            "max_retries_per_trial of KerasTuner: expected 0: RandomSearch does without it; received 2. A trial comes "
            "out the same each time: what failed would fail again.",
        ),
        ({"engine": "turbo"}, "engine: expected one of 'auto', 'vectorized', 'fit'; received 'turbo'."),
        ({"trials": 0}, "max_trials: expected a whole number of at least 1; received 0."),
        ({"seed": -1}, "seed: expected a whole number of at least 0; received -1."),
        ({"executions_per_trial": 0}, "executions_per_trial: expected a whole number of at least 1; received 0."),
        ({"keep_models": -1}, "keep_models: expected a whole number of at least 0; received -1."),
        ({"max_minutes": 0}, "max_minutes: expected a number above 0; received 0."),
        ({"fingerprint": {1, 2}}, "fingerprint: expected what JSON can hold; received {1, 2}."),
    ],
)
def test_messages(recorded, change, message):
    with pytest.raises(InputError) as caught:
        recorded(x_only, search=False, **change)
    assert str(caught.value) == message


def test_arguments_are_those_of_keras_tuner(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # directory=None is the working directory
    theirs = list(inspect.signature(keras_tuner.RandomSearch).parameters.values())
    ours = inspect.signature(RandomSearch).parameters
    positional = [name for name, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [p.name for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    for parameter in inspect.signature(keras_tuner.Tuner).parameters.values():  # its **kwargs
        if parameter.name not in (*positional, "oracle", "kwargs"):
            recorded(x_only, search=False, **{"project_name": "k", parameter.name: parameter.default})
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'max_trails'"):
        recorded(x_only, max_trails=3)


def test_the_engine_is_what_ran(recorded):
    tuner = recorded(x_only, 1)
    assert (tuner.engine, tuner.study.trials[0].engine) == ("auto", "fit")


def test_hypermodel_must_build(tmp_path):
    with pytest.raises(
        InputError, match=r"^hypermodel: expected a keras_tuner.HyperModel or a function; received 3\.$"
    ):
        RandomSearch(3, directory=tmp_path)


def test_memory_stays_flat(search_digits):
    def models():
        gc.collect()
        return sum(isinstance(o, keras.Model) for o in gc.get_objects())

    def megabytes():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    before, used = models(), []
    linux = os.path.exists("/proc/self/statm")
    search_digits(7, on_trial=lambda record: used.append(megabytes() if linux else 0.0))
    assert models() <= before
    # TensorFlow itself keeps the graphs of a fit's inner function, about 4 MB a trial, whoever calls it.
    assert (used[-1] - used[1]) / 5 < 8


def test_the_garbage_collector_is_as_before(monkeypatch):
    frozen = []  # in place of what the tests have frozen
    monkeypatch.setattr(gc, "get_freeze_count", lambda: len(frozen))
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("all"))
    monkeypatch.setattr(gc, "unfreeze", frozen.clear)
    with quick_collections():
        assert frozen == ["all"]
        with quick_collections():  # somebody else's freeze is left alone
            pass
        assert frozen == ["all"]
    assert frozen == []


def test_an_empty_space_is_told(recorded):
    assert recorded(Recorded(lambda hp: None, lambda hp: 1.0)).note.startswith("The space is empty: ")


def test_weights_that_a_kill_has_left_are_deleted(recorded, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(weights, "prune", lambda *arguments: None)
        killed = recorded(x_only, keep_models=1)
    best = weights.path_of(killed.study, killed.study.ranked[0])
    assert set(killed.study.directory.glob("trial-*.npz")) > {best}
    recorded(x_only, keep_models=1)
    assert set(killed.study.directory.glob("trial-*.npz")) == {best}
