"""Subclasses of a tuner, as KerasTuner's users write them: run_trial, hooks, the oracle."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner_pair import DATA, X, Y, ours, printed, ranking, theirs

from kerasbn.checks import InputError
from kerasbn.tuning import Hyperband, RandomSearch

pytestmark = pytest.mark.filterwarnings(
    "ignore:getName:DeprecationWarning",  # KerasTuner's, in every trial
    "ignore:The use case of calling:DeprecationWarning",
    "ignore:Even though the `tf.config:UserWarning",
)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Spare every fit the tracing, which takes longer than the fit."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def build(hp):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 99)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def quiet(base, **methods):
    """Return a subclass of a tuner, ours or theirs, with methods."""
    return type("Subclass", (base,), methods)


def searched(make, directory, hypermodel=build, trials=3, **kwargs):
    """Search with the subclass that `make` makes of KerasTuner's and of our RandomSearch; return both tuners."""
    one = theirs(hypermodel, directory, trials, kind=make(keras_tuner.RandomSearch), **kwargs)
    return one, ours(hypermodel, directory, one, kind=make(RandomSearch), **kwargs)


def tunes_the_batch(base):
    class Batches(base):
        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Int("batch_size", 2, 12, step=2)
            kwargs["epochs"] = trial.hyperparameters.Choice("epochs", [1, 2])
            return super().run_trial(trial, *args, **kwargs)

    return Batches


def test_arguments_of_the_fit_are_tuned(tmp_path, capsys):
    one, two = searched(tunes_the_batch, tmp_path, objective="val_loss")
    assert ranking(two) == ranking(one)
    texts = [printed(capsys, tuner, "results_summary").splitlines() for tuner in (one, two)]
    assert sorted(texts[0]) == sorted(texts[1])  # in the order in which they are asked for: units come last
    assert [len(t.history) for t in two.study.trials] == [t.hyperparameters.get("epochs") for t in two.study.trials]
    a, b = (tuner.get_best_models(1)[0].get_weights() for tuner in (one, two))
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
    again = ours(build, tmp_path, one, kind=tunes_the_batch(RandomSearch), objective="val_loss")
    assert ranking(again) == ranking(two)


def black_box(base):
    class BlackBox(base):
        def run_trial(self, trial, *args, **kwargs):
            x = trial.hyperparameters.Float("x", -2.0, 2.0)
            return x * x + 2 * x + 1

    return BlackBox


def test_without_a_hypermodel(tmp_path, capsys):
    one, two = searched(black_box, tmp_path, None)
    assert ranking(two) == ranking(one)
    assert printed(capsys, two, "results_summary") == printed(capsys, one, "results_summary")
    assert "x (Float)" in printed(capsys, two, "search_space_summary")
    with pytest.raises(InputError, match="^num_models: expected at most as many as were kept"):
        two.get_best_models()
    with pytest.raises(
        InputError, match=r"^hypermodel: expected a keras_tuner.HyperModel or a function; received None"
    ):
        RandomSearch(directory=tmp_path)


def cross_validates(base):
    class Folds(base):
        def run_trial(self, trial, x, y, **kwargs):
            histories = []
            for fold in range(2):
                model = self.hypermodel.build(trial.hyperparameters)
                histories.append(model.fit(x, y + fold, validation_data=(x, y), epochs=2, verbose=0))
            return histories

    return Folds


def test_cross_validation(tmp_path):
    one, two = searched(cross_validates, tmp_path, objective="val_loss")
    assert ranking(two) == ranking(one)
    assert [(row["execution"], row["epoch"]) for row in two.study.trials[0].history] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len(two.study.trials[0].scores) == 2


def reports_to_the_oracle(base):
    class Reports(base):
        def run_trial(self, trial, x, y, **kwargs):
            model = self.hypermodel.build(trial.hyperparameters)
            assert self.oracle.get_trial(trial.trial_id).status == "RUNNING"
            for step in range(2):
                self.oracle.update_trial(trial.trial_id, {"val_loss": model.count_params() - step, "b": 1}, step=step)

    return Reports


def test_results_that_are_reported_to_the_oracle(tmp_path):
    one, two = searched(reports_to_the_oracle, tmp_path, objective="val_loss")
    assert [row[:3] for row in ranking(two)] == [row[:3] for row in ranking(one)]
    assert set(two.oracle.get_best_trials()[0].metrics.metrics) == {"val_loss", "b"}
    with pytest.raises(InputError, match=r"^Oracle.update_trial: expected the running trial; received trial '0'\."):
        two.oracle.update_trial("0", {"val_loss": 0})


def test_another_score_for_the_same_training(tmp_path):
    class Penalised(RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            metrics = super().run_trial(trial, *args, **kwargs)
            return metrics | {"val_loss": metrics["val_loss"] + 10}

    tuner = Penalised(build, "val_loss", 1, 0, directory=tmp_path)
    tuner.search(**DATA)
    (trial,) = tuner.study.trials
    assert trial.score == trial.metrics["val_loss"] == min(row["val_loss"] for row in trial.history) + 10
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0) == pytest.approx(trial.score - 10)


def test_nothing_is_returned(tmp_path):
    tuner = quiet(RandomSearch, run_trial=lambda self, trial: None)(build, "val_loss", directory=tmp_path)
    with pytest.raises(InputError, match=r"^run_trial: expected a History, a dict of metrics, or a number to be"):
        tuner.search()


def test_parts_of_trials_need_the_engine(tmp_path):
    kind = quiet(Hyperband, run_trial=lambda self, trial: trial.hyperparameters.Float("x", 0, 1))
    with pytest.raises(InputError) as caught:
        kind(None, max_epochs=4, directory=tmp_path).search()
    assert str(caught.value) == (
        "run_trial: expected super().run_trial(trial, *args, **kwargs) to be called, since this search trains trials "
        "part by part; received a result without it. Call it, or search with RandomSearch or another one that trains "
        "each trial as a whole."
    )
    tuner = tunes_the_batch(Hyperband)(build, "val_loss", max_epochs=2, factor=2, seed=0, directory=tmp_path / "h")
    tuner.search(**DATA)
    assert {t.epochs for t in tuner.study.trials if t.status == "completed"} == {2}


def told(calls):
    def make(base):
        def note(name):
            def method(self, *args, **kwargs):
                trial = args[0].trial_id if args else None
                calls.append((base.__module__.split(".")[0], name, trial, args[2] if len(args) > 2 else None))
                if name == "on_trial_end":
                    super(kind, self).on_trial_end(*args)

            return method

        names = ("on_search_begin", "on_search_end", "on_trial_begin", "on_trial_end", "on_epoch_begin")
        names += ("on_epoch_end", "on_batch_begin", "on_batch_end")
        kind = quiet(base, **{name: note(name) for name in names})
        return kind

    return make


def test_the_hooks_are_called_as_theirs(tmp_path):
    calls = []
    searched(told(calls), tmp_path, trials=2, objective="val_loss")
    one = [call[1:] for call in calls if call[0] == "keras_tuner"]
    two = [call[1:] for call in calls if call[0] == "kerasbn"]
    assert two == one
    assert len(two) > 20


def test_seeds_of_a_run_trial_of_the_users_own(tmp_path):
    kind = quiet(RandomSearch, run_trial=lambda self, trial: trial.hyperparameters.Int("n", 1, 9) + np.random.random())
    scores = []
    for name in "ab":
        tuner = kind(None, None, 2, 0, directory=tmp_path, project_name=name, on_trial=lambda record: None)
        tuner.search()
        scores.append([trial.score for trial in tuner.study.trials])
    assert scores[0] == scores[1]
    assert scores[0][0] % 1 != scores[0][1] % 1
