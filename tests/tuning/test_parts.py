"""Trials that are trained in parts, from rung to rung: the same whether the search was stopped in between or not."""

import math

import keras
import keras_tuner
import numpy as np
import pytest

from kerasbn.tuning import SuccessiveHalving
from kerasbn.tuning.outcome import ModelState
from kerasbn.tuning.store import parts

TRIALS = 4


def build(hp):
    model = keras.Sequential(  # no Input: built by its first batch
        [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(10)]
    )
    rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, run_eagerly=True)  # to trace takes longer than to train
    return model


def rows(tuner):
    return [
        (t.number, t.status, t.score, t.epochs, t.parts, t.history, dict(t.hyperparameters.values), t.scores)
        for t in tuner.study.trials
    ]


@pytest.fixture
def search(digits, tmp_path):
    """Search in halves: 4 trials, 1, 2 and 4 epochs."""

    def run(project, on_trial=lambda record: None, on_epoch=None, **kwargs):
        settings = {"max_epochs": 4, "factor": 2, "seed": 0, "directory": tmp_path, "project_name": project}
        tuner = SuccessiveHalving(
            build, "val_loss", TRIALS, **settings, on_trial=on_trial, on_epoch=on_epoch, keep_models=2, **kwargs
        )
        x, y, _ = digits
        tuner.search(x[:64], y[:64], validation_data=(x[64:96], y[64:96]), verbose=0)
        return tuner

    return run


def test_the_better_half_goes_on(search):
    tuner = search("p")
    assert sorted((t.epochs, t.status) for t in tuner.study.trials) == [
        (1, "stopped"),
        (1, "stopped"),
        (2, "stopped"),
        (4, "completed"),
    ]
    for record in tuner.study.trials:
        assert [row["epoch"] for row in record.history] == list(range(record.epochs))
        assert record.score == min(row["val_loss"] for row in record.history)
    first = {t.number: t.history[0]["val_loss"] for t in tuner.study.trials}
    gone_on = {t.number for t in tuner.study.trials if t.epochs > 1}
    assert gone_on == set(sorted(first, key=first.get)[:2])
    assert sorted(p.name.split("-")[0] for p in tuner.study.directory.iterdir()) == [
        ".lock",
        "journal.log",
        "trial",
        "trial",
    ]
    best = tuner.get_best_models(1)[0]
    assert best.optimizer.name == "adam"


class Stopped(BaseException):
    """As sudden as a kill, as far as the search can tell."""


@pytest.mark.parametrize("lost", [False, True], ids=["continued", "trained again"])
def test_stopped_at_every_epoch_is_straight(search, tmp_path, lost):
    straight = search("straight")
    seen = []

    def stop(number, epoch, logs):
        if (number, epoch) not in seen:
            seen.append((number, epoch))
            raise Stopped

    for _ in range(20):
        try:
            stopped = search("stopped", on_epoch=stop)
            break
        except Stopped:
            if lost:  # as on another machine
                for path in (tmp_path / "stopped").glob("part-*.npz"):
                    path.unlink()
    assert len(seen) == 4 + 2 + 2
    assert rows(stopped) == rows(straight)
    for ours, theirs in zip(stopped.get_best_models(2), straight.get_best_models(2), strict=True):
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_executions_go_on_each_by_itself(search):
    tuner = search("two", executions_per_trial=2)
    best = next(t for t in tuner.study.trials if t.status == "completed")
    assert [(row["execution"], row["epoch"]) for row in best.history] == [(e, i) for e in (0, 1) for i in range(4)]
    each = [min(row["val_loss"] for row in best.history if row["execution"] == e) for e in (0, 1)]
    assert best.scores == tuple(each)
    assert each[0] != each[1]
    assert best.score == pytest.approx(np.mean(each))


def test_a_trial_that_fails_in_its_second_part(digits, tmp_path):
    class Fails(keras_tuner.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            if kwargs["initial_epoch"] == 2:
                raise ValueError("boom")
            return super().fit(hp, model, *args, **kwargs)

    x, y, _ = digits
    tuner = SuccessiveHalving(
        Fails(), "val_loss", TRIALS, max_epochs=4, factor=2, seed=0, directory=tmp_path, on_trial=lambda record: None
    )
    tuner.search(x[:64], y[:64], validation_data=(x[64:96], y[64:96]), verbose=0)
    failed = [t for t in tuner.study.trials if t.status == "failed"]
    assert [(t.epochs, len(t.history), t.scored) for t in failed] == [(4, 2, False)]
    assert "boom" in failed[0].traceback
    assert not list(tuner.study.directory.glob("part-*"))


def test_states_are_read_as_they_were_written(tmp_path):
    states = [
        ModelState([np.arange(3.0), np.int64(2)], [np.arange(3.0) + 1], 1, 0.5),
        ModelState([np.zeros((2, 2)), np.int64(3)], [np.ones(3)], None, 0.25),
    ]
    parts.write(tmp_path, 7, 3, states)
    again = parts.read(tmp_path, 7, 3)
    assert again is not None
    for one, other in zip(again, states, strict=True):
        assert (one.best_epoch, one.best_value) == (other.best_epoch, other.best_value)
        for mine, theirs in zip([*one.variables, *one.best], [*other.variables, *other.best], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert parts.read(tmp_path, 7, 9) is None  # of another moment
    assert parts.read(tmp_path, 8, 3) is None
    path = next(tmp_path.glob("part-*.npz"))
    path.write_bytes(path.read_bytes()[:-40])
    assert parts.read(tmp_path, 7, 3) is None
    parts.remove(tmp_path, 7)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_after_the_last_result_leaves_nothing(search, monkeypatch):
    calls, ended, real = 0, math.inf, parts.remove

    def last(*arguments):
        nonlocal calls
        calls += 1
        if calls == ended:
            raise Stopped
        real(*arguments)

    monkeypatch.setattr(parts, "remove", last)
    straight = search("straight")
    calls, ended = 0, calls
    with pytest.raises(Stopped):
        search("stopped")
    stopped = search("stopped")
    assert rows(stopped) == rows(straight)
    ours, theirs = ({p.name for p in tuner.study.directory.iterdir()} for tuner in (stopped, straight))
    assert ours == theirs
