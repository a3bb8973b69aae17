"""Population-based training of real models: what a copy takes over, kills, members that fail, and errors."""

import keras
import numpy as np
import pytest
from bowl import Bowl, kept_weights

from kerasbn.checks import InputError
from kerasbn.tuning import PopulationBasedTraining, SuccessiveHalving, replay
from kerasbn.tuning.objective import MisuseError


def rows(tuner):
    return [
        (t.number, t.status, t.score, t.epochs, t.parts, t.history, dict(t.hyperparameters.values), t.notes, t.scores)
        for t in tuner.study.trials
    ]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    """Search with a population of 3 for 3 epochs, each a part."""

    def run(model=None, kind=PopulationBasedTraining, directory=None, fit=None, **kwargs):
        settings = {"max_epochs": 3, "interval": 1, "population": 3} if kind is PopulationBasedTraining else {}
        settings |= {"seed": 0, "directory": directory or tmp_path_factory.mktemp("study"), "keep_models": 2} | kwargs
        tuner = kind(model or Bowl(), "val_loss", **settings, on_trial=lambda record: None)
        tuner.search(**(fit or {}))
        return tuner

    return run


@pytest.fixture(scope="module")
def straight(search):
    return search()


def test_who_is_no_copy_is_trained_as_by_halving(search):
    ours = search(population=2, max_epochs=2)
    theirs = search(kind=SuccessiveHalving, max_trials=2, max_epochs=2, factor=2)
    assert [row[:7] for row in rows(ours)[:2]] == [row[:7] for row in rows(theirs)]
    assert sorted(t.status for t in ours.study.trials[:2]) == ["completed", "stopped"]
    best = next(t for t in theirs.study.trials if t.status == "completed")
    for one, other in zip(kept_weights(ours, best.number), kept_weights(theirs, best.number), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_search_and_what_it_leaves(straight, search):
    trials = straight.study.trials
    assert straight.max_trials == 5
    assert sorted((t.status, t.epochs) for t in trials) == [("completed", 3)] * 3 + [("stopped", 1), ("stopped", 2)]
    for record in trials:
        begins = [0, 0, 0, 1, 2][record.number]
        assert record.notes.get("begins", 0) == begins
        assert [row["epoch"] for row in record.history] == list(range(begins, record.epochs))
        assert record.score == min(row["val_loss"] for row in record.history)
        assert record.parts == (1, 2, 3)[: record.epochs]
        if begins:
            ancestor = record.notes["ancestors"][-1]
            source = trials[ancestor["trial"]]
            assert source.epochs > begins  # one of the best
            assert ancestor["values"] == source.hyperparameters.values
            both = [trial.hyperparameters.values for trial in (record, source)]
            assert [both[0][name] == both[1][name] for name in ("units", "learning_rate", "noise")] == [
                True,
                False,
                False,
            ]
    left = sorted(path.name.split("-")[0] for path in straight.study.directory.iterdir())
    assert left == [".lock", "journal.log", "trial", "trial"]
    with pytest.raises(InputError, match=r"started with; received strategy\.population 4 instead of 3\."):
        search(directory=straight.study.directory.parent, population=4)


class Stopped(BaseException):
    """As sudden as a kill, as far as the search can tell."""


def test_stopped_in_every_later_part_is_straight(search, straight, tmp_path):
    seen = []

    def stop(number, epoch, logs):
        # Of a copy that is trained again from the first epoch, the ancestors' are epochs of its own.
        begins = straight.study.by_number[number].notes.get("begins", 0)
        if (number, epoch) not in seen and 0 < epoch >= begins:
            seen.append((number, epoch))
            raise Stopped

    for _ in range(10):
        try:
            stopped = search(directory=tmp_path, on_epoch=stop)
            break
        except Stopped:
            if len(seen) % 2:  # as on another machine: what was trained before is trained again
                for path in tmp_path.glob("*/part-*.npz"):
                    path.unlink()
    assert {(3, 1), (4, 2)} < set(seen)
    assert len(seen) == 6
    assert rows(stopped) == rows(straight)
    for record in straight.study.ranked[:2]:
        for one, other in zip(kept_weights(stopped, record.number), kept_weights(straight, record.number), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not list(tmp_path.glob("*/part-*"))


class Watch(keras.callbacks.Callback):
    """Note where each part begins, and lower the rate at its end, as a plateau might."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo):
        return Watch(self.seen)

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        self.seen.append((float(optimizer.learning_rate.numpy()), int(optimizer.iterations.numpy())))

    def on_train_end(self, logs=None):
        self.model.optimizer.learning_rate.assign(self.model.optimizer.learning_rate * 0.5)


@pytest.mark.parametrize("tuned", [("learning_rate",), ("noise",)])
def test_a_copy_has_its_own_rate_if_it_is_another_and_else_that_of_its_source(search, tuned):
    seen = []
    tuner = search(fit={"callbacks": [Watch(seen)]}, population=2, max_epochs=2, tuned=tuned)
    best, copy = sorted((t for t in tuner.study.trials if t.status == "completed"), key=lambda t: t.number)
    assert copy.number == 2
    rate, own = (t.hyperparameters.values["learning_rate"] for t in (best, copy))
    assert [iterations for _, iterations in seen] == [0, 0, 1, 1]
    assert seen[2][0] == pytest.approx(rate / 2)  # lowered, as it was left
    assert seen[3][0] == pytest.approx(own if tuned == ("learning_rate",) else rate / 2)
    assert (own != rate) == (tuned == ("learning_rate",))


def test_a_member_that_fails_is_replaced(search):
    class Fails(Bowl):
        def fit(self, hp, model, **kwargs):
            if hp.trial == 1:
                raise ValueError("boom")
            return super().fit(hp, model, **kwargs)

    tuner = search(Fails(), max_epochs=2)
    failed = tuner.study.by_number[1]
    assert (failed.status, failed.epochs, "boom" in failed.traceback) == ("failed", 1, True)
    assert [t.status for t in tuner.study.trials].count("completed") == 3
    assert tuner.study.by_number[3].notes["begins"] == 1


def test_values_that_change_shapes_are_an_error(search):
    class Wide(Bowl):
        def build(self, hp):
            hp.Int("units", 4, 64)
            return super().build(hp)

    message = (
        r"tuned: expected hyperparameters that change no shapes, so that trial 2 can go on with the variables of trial "
        r"[01]; received units \d+ -> \d+, and a variable of shape \(4, \d+\) in place of \(4, \d+\)\. Give tuned="
    )
    with pytest.raises(MisuseError, match=message):
        search(Wide(), population=2, max_epochs=2, tuned=("units",))


def test_max_trials_is_not_asked_for(tmp_path):
    message = r"max_trials: expected none; received 5\. Give population and interval"
    with pytest.raises(InputError, match=message):
        PopulationBasedTraining(Bowl(), "val_loss", max_trials=5, directory=tmp_path)


def test_trained_together_they_come_to_the_same_and_so_does_a_replay(search, digits):
    def build(hp):
        layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.2), keras.layers.Dense(10)]
        model = keras.Sequential([keras.Input((64,)), *layers])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")), loss)
        return model

    x, y, _ = digits
    fit = {"x": x[:64], "y": y[:64], "validation_data": (x[64:96], y[64:96]), "verbose": 0}
    settings = {"population": 2, "max_epochs": 2, "fit": fit}
    alone, together = (search(build, engine=engine, **settings) for engine in ("fit", "vectorized"))
    for one, other in zip(alone.study.trials, together.study.trials, strict=True):
        assert (one.engine, other.engine) == ("fit", "stacked")
        assert (one.status, one.notes) == (other.status, other.notes)
        assert other.score == pytest.approx(one.score, rel=1e-4)
    model = replay(build, alone.study.by_number[2], "val_loss", 0, **fit)
    for one, other in zip(model.get_weights(), kept_weights(alone, 2), strict=True):
        np.testing.assert_array_equal(one, other)
