"""Tests of searches whose trials are trained together: the same as one by one, and who is trained alone, and why."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError, TaskError
from kerasbn.tuning import BayesianOptimization, RandomSearch, SuccessiveHalving, Tuner, stack_files, stacks
from kerasbn.tuning.units import ranges

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5)).astype("float32")
Y = (X[:, 0] > 0).astype("int64") + (X[:, 1] > 0.3)
HELD = (X[:24], Y[:24])


def build(hp, units=8, extra=()):
    l2 = keras.regularizers.L2(hp.Float("l2", 1e-5, 1e-2, sampling="log"))
    layers = [keras.layers.Dense(units, activation="relu", kernel_regularizer=l2), *extra]
    layers += [keras.layers.Dropout(hp.Float("dropout", 0, 0.5)), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-1, sampling="log")), loss, metrics=["accuracy"])
    return model


def build_sizes(hp):
    return build(hp, hp.Choice("units", [4, 8]))


class Doubling(keras.Model):
    """A model with a training step of its own."""

    def train_step(self, data):
        return super().train_step(data)


def build_doubling(hp):
    inputs = keras.Input((5,))
    model = Doubling(inputs, keras.layers.Dense(3)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(hp.Float("rate", 0.01, 0.1)), loss)
    return model


@pytest.fixture
def search(tmp_path):
    """Search, and return the tuner and what it said of who was trained how."""

    def run(model, trials=3, kind=RandomSearch, epochs=3, project="p", fit=None, **kwargs):
        lines = []
        kwargs = {"seed": 0, "objective": "val_loss", "on_trial": lambda record: None, "say": lines.append} | kwargs
        tuner = kind(model, max_trials=trials, directory=tmp_path, project_name=project, **kwargs)
        given = {"epochs": epochs, "batch_size": 16, "verbose": 0} | (fit or {"validation_data": HELD})
        tuner.search(X, Y, **given)
        return tuner, lines

    return run


def assert_same(one, other):
    assert [t.number for t in one.study.trials] == [t.number for t in other.study.trials]
    for ours, theirs in zip(one.study.trials, other.study.trials, strict=True):
        assert ours.hyperparameters.values == theirs.hyperparameters.values
        assert ours.status == theirs.status
        assert ours.scores == pytest.approx(theirs.scores, rel=1e-4)
        assert [sorted(row) for row in ours.history] == [sorted(row) for row in theirs.history]
        for ours_row, theirs_row in zip(ours.history, theirs.history, strict=True):
            assert ours_row == pytest.approx(theirs_row, rel=1e-4)
    ours, theirs = (tuner.get_best_models(1)[0].get_weights() for tuner in (one, other))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_groups_of_one_architecture_come_to_the_same(search):
    kwargs = {"executions_per_trial": 2, "seed": 3}
    together, lines = search(build_sizes, **kwargs, engine="vectorized")
    assert_same(together, search(build_sizes, **kwargs, engine="fit", project="f")[0])
    assert {trial.engine for trial in together.study.trials} == {"stacked"}
    units = [trial.hyperparameters.values["units"] for trial in together.study.trials]
    groups = [[n for n, size in enumerate(units) if size == wanted] for wanted in dict.fromkeys(units)]
    assert len(groups) == 2
    for line, group in zip(lines, groups, strict=True):
        plural = "s" * (len(group) > 1)
        assert line.startswith(f"Trial{plural} {ranges(group)}: stacked, {2 * len(group)} models at once.")


def test_rungs_of_successive_halving_are_compacted_stacks(search):
    kwargs = {"kind": SuccessiveHalving, "max_epochs": 4, "factor": 2}
    together, lines = search(build, 4, **kwargs, engine="vectorized")
    assert_same(together, search(build, 4, **kwargs, engine="fit", project="f")[0])
    assert [line.rpartition(", ")[2] for line in lines[:2]] == ["4 models at once.", "2 models at once."]
    assert "is trained by itself: no other at hand differs from it in numbers only." in lines[2]


def test_folds_are_members_of_the_stack(search):
    fit = {"sample_weight": np.linspace(0.5, 1.5, 60)}
    together, lines = search(build, 1, folds=7, fit=fit, epochs=2, engine="vectorized")
    assert_same(together, search(build, 1, folds=7, fit=fit, epochs=2, engine="fit", project="f")[0])
    # 60 examples in 7 folds: some models have 51 to train on, some 52, and these are two stacks.
    models = [int(line.partition("stacked, ")[2].split()[0]) for line in lines]
    assert (len(models), sum(models)) == (2, 7)


def test_early_stopping_and_class_weights(search):
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1)
    fit = {"validation_split": 0.3, "callbacks": [stopping], "class_weight": {0: 2.0, 1: 0.5}, "epochs": 8}
    together, _ = search(build, 3, fit=fit, engine="vectorized")
    assert_same(together, search(build, 3, fit=fit, engine="fit", project="f")[0])
    assert min(len(trial.history) for trial in together.study.trials) < 8


class Watch(keras.callbacks.Callback):
    """A callback that nobody knows."""


def sometimes_broken(hp):
    if hp.Boolean("broken"):
        raise ValueError("no such model")
    return build(hp)


REASONS = {
    "model": (build_doubling, {}, "trial 0, of which Doubling has a train_step of its own"),
    "callback": (build, {"fit": {"callbacks": [Watch()], "validation_data": HELD}}, "the callback Watch is not known"),
    "validation_freq": (build, {"fit": {"validation_freq": 2, "validation_data": HELD}}, "fit has validation_freq=2"),
    "memory": (build, {"memory_limit": 1000.0}, "there is not enough memory for it in a stack"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_fits_no_stack_is_trained_alone_and_the_reason_is_said(search, name, tmp_path):
    model, kwargs, reason = REASONS[name]
    kwargs = {**kwargs, "objective": "loss", "epochs": 2}
    with pytest.raises(InputError) as raised:
        search(model, 1, engine="vectorized", **kwargs)
    assert reason in str(raised.value)
    assert 'With engine="auto"' in str(raised.value)
    assert not list(tmp_path.glob("p/trial-*")), "nothing is trained before"
    tuner, lines = search(model, 2, project="alone", **kwargs)
    assert [trial.engine for trial in tuner.study.trials] == ["fit", "fit"]
    assert len(lines) == 1, "said once"
    assert reason.partition("of which ")[2] in lines[0]


def test_trials_whose_model_cannot_be_built_fail_and_the_others_are_trained_together(search):
    tuner, _ = search(sometimes_broken, 5, engine="vectorized")
    broken = [trial.hyperparameters.values["broken"] for trial in tuner.study.trials]
    assert 0 < sum(broken) < 5
    assert [trial.status == "failed" for trial in tuner.study.trials] == broken
    assert all("no such model" in trial.traceback for trial in tuner.study.trials if trial.status == "failed")
    assert {trial.engine for trial in tuner.study.trials if trial.scored} == {"stacked"}


def test_failures_one_after_the_other_end_the_search(search):
    def broken(hp):
        hp.Float("rate", 0.0, 1.0)
        raise ValueError("no such model")

    with pytest.raises(TaskError, match="no such model"):
        search(broken, 50, max_consecutive_failed_trials=2)


def test_memory_bounds_the_stack(search, monkeypatch):
    monkeypatch.setattr(stacks, "capacity", lambda program, plan, limit: int(limit))
    tuner, lines = search(build, 3, memory_limit=2.0, engine="vectorized")
    assert [", 2 models at once." in line for line in lines] == [True, False]
    assert [trial.engine for trial in tuner.study.trials] == ["stacked"] * 3


def test_a_small_space_is_searched_to_its_end(search):
    def small(hp):
        hp.Fixed("l2", 1e-3)
        hp.Fixed("dropout", 0.1)
        hp.Choice("rate", [0.01, 0.02, 0.03])
        return build(hp)

    tuner, _ = search(small, 20, epochs=1)
    assert sorted(trial.hyperparameters.values["rate"] for trial in tuner.study.trials) == [0.01, 0.02, 0.03]
    assert tuner.note == "The space is exhausted: all its 3 combinations have been tried."


def test_epochs_of_all_trials_are_limited_as_one_by_one(search):
    tuner, _ = search(build, 50, epochs=3, total_epochs=7)
    assert [len(trial.history) for trial in tuner.study.trials] == [3, 3, 3]
    assert tuner.note == "No more trials after 9 epochs; 7 were allowed."


def test_later_trials_of_an_architecture_use_its_program(search, monkeypatch):
    made = []

    class Counted(stacks.Program):
        def __init__(self, *args):
            made.append(args[2])
            super().__init__(*args)

    monkeypatch.setattr(stacks, "Program", Counted)
    tuner, _ = search(build, 6, kind=BayesianOptimization, num_initial_points=2, epochs=1, engine="vectorized")
    assert len(tuner.study.trials) == 6
    assert len(made) == 1, "one trace for all six"


def test_what_a_subclass_overrides_is_called(search):
    class Mine(RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            return super().run_trial(trial, *args, **{**kwargs, "epochs": 1})

    tuner, lines = search(build, 2, kind=Mine)
    assert [len(trial.history) for trial in tuner.study.trials] == [1, 1]
    assert lines == ["Trials are trained one by one: the tuner overrides run_trial."]

    class Fitting(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            return model.fit(*args, **{**kwargs, "epochs": 2})

    tuner, lines = search(Fitting(), 2, project="q")
    assert [len(trial.history) for trial in tuner.study.trials] == [2, 2]
    assert lines == ["Trials are trained one by one: Fitting has a fit of its own."]


def test_a_stack_that_was_interrupted_goes_on(search, monkeypatch):
    whole, _ = search(build, 3, project="whole")
    monkeypatch.setattr(stack_files, "SECONDS", 0.0)
    ends = []

    def interrupt(trial, epoch, logs):
        ends.append((trial, epoch))
        if ends[-1] == (0, 2):  # within the third epoch's end: the checkpoint is that of the second
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(build, 3, on_epoch=interrupt)
    ends.clear()
    again, _ = search(build, 3, on_epoch=lambda trial, epoch, logs: ends.append((trial, epoch)))
    assert ends == [(0, 2), (1, 2), (2, 2)], "only the third epoch is trained again"
    for ours, theirs in zip(again.study.trials, whole.study.trials, strict=True):
        assert ours.history == theirs.history
    assert not list(again.study.directory.glob("stack-*"))


def test_workers_with_a_database_take_a_part_of_what_is_open(search, tmp_path):
    kwargs = {"epochs": 1, "engine": "vectorized", "storage": f"sqlite:///{tmp_path}/studies.db", "project": "p"}
    tuner, lines = search(build, 9, **kwargs)
    assert lines[0] == "Trials 0, 1: stacked, 2 models at once."
    assert lines[1].startswith("A model of trial 2 is trained by itself: ")
    assert len(lines) == 2
    assert [trial.number for trial in tuner.study.trials] == list(range(9))
    assert tuner.study.leases.held() == []


def test_a_seed_that_the_build_function_sets_rules_the_order_of_examples(search):
    def seeded(hp):
        keras.utils.set_random_seed(7)
        return build(hp)

    assert_same(search(seeded, 2, engine="vectorized")[0], search(seeded, 2, engine="fit", project="f")[0])


def test_validation_that_is_no_mean_over_examples(search):
    def summed(hp):
        model = build(hp)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        model.compile(keras.optimizers.SGD(hp.Float("step", 1e-4, 1e-3)), loss)
        return model

    assert_same(search(summed, 2, engine="vectorized")[0], search(summed, 2, engine="fit", project="f")[0])


def test_rungs_go_on_from_the_weights_that_a_callback_restored(search):
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    kwargs = {"kind": SuccessiveHalving, "max_epochs": 8, "min_epochs": 4, "factor": 2}
    kwargs["fit"] = {"validation_data": HELD, "callbacks": [stopping]}
    together, _ = search(build, 4, **kwargs, engine="vectorized")
    assert_same(together, search(build, 4, **kwargs, engine="fit", project="f")[0])


def drawing(kind):
    def model(hp):
        noise = {"keras": keras.random.normal, "tensorflow": tf.random.normal}[kind]
        return build(hp, extra=[keras.layers.Lambda(lambda x: x + noise((1, 8)), output_shape=(8,))])

    return model


@pytest.mark.parametrize("kind", ["keras", "tensorflow"])
def test_numbers_from_a_generator_that_is_not_the_models(search, kind):
    tuner, lines = search(drawing(kind), 2, epochs=1)
    assert [trial.engine for trial in tuner.study.trials] == ["fit", "fit"]
    assert len(lines) == 1


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="engine: expected .*auto.*; received 'turbo'"):
        Tuner(build, "val_loss", 1, engine="turbo")
    with pytest.raises(InputError, match="memory_limit: expected .*above 0.*; received 0"):
        Tuner(build, "val_loss", 1, memory_limit=0)


def test_ranges():
    assert ranges([4]) == "4"
    assert ranges([3, 1, 2, 7, 9, 10]) == "1 to 3, 7, 9, 10"
