"""Failures of trials: recorded, worst, and an error if there is nothing else; training that diverges."""

import keras
import keras_tuner
import numpy as np
import pytest
from recorded import Recorded, table, x_only

from kerasbn.checks import InputError
from kerasbn.tuning import RandomSearch


def fails_at(numbers, error=None):
    def score(hp):
        if hp.trial in numbers:
            raise error or ValueError("boom")
        return hp.get("x")

    return Recorded(x_only, score)


def test_failures_are_recorded_and_worst(recorded, capsys):
    tuner = recorded(fails_at({0, 3}), 5)
    assert [t[1] for t in table(tuner)] == ["failed", "completed", "completed", "failed", "completed"]
    assert [t.number for t in tuner.study.ranked[-2:]] == [0, 3]
    assert "ValueError: boom" in tuner.study.trials[0].traceback
    assert len(tuner.get_best_hyperparameters(10)) == 3
    tuner.results_summary()
    assert "ValueError: boom" in capsys.readouterr().out


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failure(recorded, score):
    tuner = recorded(Recorded(x_only, lambda hp: score if hp.trial == 1 else hp.get("x")), 3)
    assert [t[1] for t in table(tuner)] == ["completed", "failed", "completed"]
    assert tuner.study.trials[1].traceback == f"default_objective is {score}: training diverged.\n"


@pytest.mark.parametrize("trials", [3, 9])
def test_nothing_but_failures_is_an_error_at_the_end(recorded, trials):
    with pytest.raises(RuntimeError, match=rf"All {trials} trials failed, the first one with:\nTraceback(.|\n)*boom"):
        recorded(fails_at(range(20)), trials)
    assert len(recorded(fails_at(()), search=False).study.trials) == trials


def test_failures_one_after_the_other_end_the_search(recorded):
    with pytest.raises(RuntimeError, match=r"^2 trials failed one after the other, the last one with:\nTraceback"):
        recorded(fails_at({1, 3, 4, 5}), 9, max_consecutive_failed_trials=2)
    assert len(recorded(x_only, search=False).study.trials) == 5
    with pytest.raises(RuntimeError, match=r"^All 2 trials failed"):
        recorded(fails_at(range(9)), 9, max_consecutive_failed_trials=2, project_name="none")


class Diverge(keras.callbacks.Callback):
    """Make the weights NaN at the beginning of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.set_weights([np.full_like(w, np.nan) for w in self.model.get_weights()])


@pytest.fixture
def unbalanced(tmp_path):
    """Search one trial on classes of 90:10, where NaN logits (class 0) have the highest accuracy."""
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    y = (np.arange(200) % 10 == 0).astype(np.int32)

    class Model(keras_tuner.HyperModel):
        def __init__(self, returned):
            self.returned = returned
            super().__init__()

        def build(self, hp):
            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
            model.set_weights([np.zeros((2, 2)), np.array([-9.0, 9.0])])  # class 1 everywhere
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.SGD(hp.Choice("rate", [1e-5])), loss=loss, metrics=["accuracy"])
            return model

        def fit(self, hp, model, *args, **kwargs):
            return self.returned(model.fit(*args, **kwargs))

    def run(epoch, returned=lambda history: history):
        tuner = RandomSearch(Model(returned), "val_accuracy", 1, 0, directory=tmp_path, on_trial=lambda record: None)
        tuner.search(x, y, validation_data=(x, y), epochs=4, verbose=0, callbacks=[Diverge(epoch)])
        return tuner

    return run


def test_a_trial_that_diverges_keeps_its_best_finite_epoch(unbalanced):
    tuner = unbalanced(epoch=2)
    (trial,) = tuner.study.trials
    assert [row["epoch"] for row in trial.history] == [0, 1, 2]  # training ended there
    assert trial.history[2]["val_accuracy"] == pytest.approx(0.9)
    assert np.isnan(trial.history[2]["val_loss"])
    assert trial.score == trial.history[0]["val_accuracy"] == pytest.approx(0.1)
    assert all(np.isfinite(w).all() for w in tuner.get_best_models()[0].get_weights())


@pytest.mark.parametrize(
    "returned",
    [lambda history: history, lambda history: max(history.history["val_accuracy"])],
    ids=["history", "number"],
)
def test_a_trial_without_a_finite_epoch_fails(unbalanced, returned):
    with pytest.raises(RuntimeError, match=r"with:\nloss is nan: training diverged\.\n$"):
        unbalanced(0, returned)


def test_an_input_error_in_every_trial_comes_as_it_is(recorded):
    with pytest.raises(InputError, match=r"^units: expected a number; received 'x'\.$"):
        recorded(fails_at(range(20), InputError("units", "a number", "'x'")), 3)


def test_misuse_ends_the_search_at_once(recorded):
    with pytest.raises(InputError) as caught:
        recorded(Recorded(x_only, lambda hp: None))
    assert str(caught.value).startswith("HyperModel.fit: expected a History, a dict of metrics, or a number")
    tuner = recorded(x_only, search=False)
    tuner.hypermodel = type("Wrong", (keras_tuner.HyperModel,), {"build": lambda self, hp: 3})()
    with pytest.raises(InputError, match=r"^HyperModel.build: expected a keras.Model to be returned; received int\.$"):
        tuner.search()
    assert table(tuner) == []


def test_ctrl_c_keeps_what_is_finished(recorded):
    tuner = recorded(fails_at({2}, KeyboardInterrupt()), search=False)
    with pytest.raises(KeyboardInterrupt):
        tuner.search()
    assert [t[0] for t in table(tuner)] == [0, 1]
    straight = recorded(x_only, project_name="straight")
    assert table(recorded(x_only)) == table(straight)
