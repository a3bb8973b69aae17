"""Folds: who is in them, the fit of each, and searches, studies and re-tests that are cross-validated."""

import dataclasses

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from recorded import build_digits, x_only
from sklearn.model_selection import KFold, StratifiedKFold

from kerasbn.checks import InputError
from kerasbn.config import DataConfig, MLPConfig, SearchConfig, TrainingConfig, TuneConfig, read_config
from kerasbn.data import Features
from kerasbn.tuning import FactoryHyperModel, RandomSearch, SuccessiveHalving, read_study, retest_trials, tune
from kerasbn.tuning.draws import trial_seed
from kerasbn.tuning.folds import fold_ids, labels_of, of_fit
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.retesting import studies

CLASSES = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 30, 7]))
X, Y = np.arange(12, dtype=np.float32)[:, None], np.arange(12) % 2


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(CLASSES, id="whole numbers"),
        pytest.param(CLASSES[:, None], id="a column"),
        pytest.param(np.eye(3, dtype=np.float32)[CLASSES], id="one-hot"),
        pytest.param(np.array(["a", "b", "c"])[CLASSES], id="names"),
        pytest.param((CLASSES > 0).astype(np.float32), id="zeros and ones as floats"),
        pytest.param(CLASSES > 0, id="booleans"),
    ],
)
def test_each_class_is_in_all_folds(labels):
    found = fold_ids(labels, 5, seed=3)
    classes = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    for train, validation in found:
        assert train.dtype == validation.dtype == np.int64
        assert sorted([*train, *validation]) == list(range(87))
        assert (np.diff(train) > 0).all()
        assert (np.diff(validation) > 0).all()
        assert np.abs(np.bincount(classes[validation]) - np.bincount(classes) / 5).max() < 1
    assert sorted(np.concatenate([validation for _, validation in found])) == list(range(87))
    assert {len(validation) for _, validation in found} == {17, 18}


def same(one, other):
    return all(np.array_equal(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True))


def test_they_are_those_of_scikit_learn_and_of_the_seed():
    found = fold_ids(CLASSES, 5, seed=3)
    assert same(found, StratifiedKFold(5, shuffle=True, random_state=3).split(CLASSES, CLASSES))
    assert not same(found, fold_ids(CLASSES, 5, seed=4))
    quantities, several = CLASSES + 0.5, np.eye(4)[CLASSES] + np.eye(4)[CLASSES - 1]
    for labels in (quantities, several, np.zeros((87, 2, 2), int)):
        assert same(fold_ids(labels, 5, seed=3), KFold(5, shuffle=True, random_state=3).split(labels))
    assert len(fold_ids(CLASSES, 5, seed=2**40)) == 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0, 1],
            "folds: expected at least as many examples as folds, 3; received 2. Give more examples, or use fewer "
            "folds.",
        ),
        (
            [0, 0, 0, 1, 1],
            "folds: expected at least 3 examples of each class, one for each fold; received 2 of class 1. Use 2 "
            "folds, or leave those examples out, or join the classes with others.",
        ),
        (
            np.array(["b", *"aaa", *"cdefgh"]),
            "folds: expected at least 3 examples of each class, one for each fold; received 1 of class 'b', 1 of "
            "class 'c', 1 of class 'd', 1 of class 'e', 1 of class 'f' and fewer than 3 of 2 others. Leave those "
            "examples out, or join the classes with others. If they are quantities, give them as floats.",
        ),
    ],
)
def test_too_few(labels, message):
    with pytest.raises(MisuseError) as caught:
        fold_ids(labels, 3, 0)
    assert str(caught.value) == message


def test_the_arguments_of_a_fold():
    fold = (np.array([0, 2, 3]), np.array([1]))
    table, tensor, weights = pd.DataFrame({"a": range(4)}, index=[7, 7, 8, 8]), tf.range(4), np.arange(4.0)
    x = {"table": table, "both": [tensor, tf.ragged.constant([[1], [2, 3], [], [4]])]}
    args, kwargs = of_fit((x,), {"y": Y[:4], "sample_weight": weights, "batch_size": 2}, fold)
    assert args[0]["table"]["a"].tolist() == [0, 2, 3]
    assert [part.shape[0] for part in args[0]["both"]] == [3, 3]
    assert (kwargs["y"].tolist(), kwargs["sample_weight"].tolist(), kwargs["batch_size"]) == ([0, 0, 1], [0, 2, 3], 2)
    held_x, held_y, held_weights = kwargs["validation_data"]
    assert held_x["both"][1].to_list() == [[2, 3]]
    assert (held_x["both"][0].numpy().tolist(), held_y.tolist(), held_weights.tolist()) == ([1], [1], [1])
    args, kwargs = of_fit((X, None), {}, fold)  # to be rebuilt from itself, say
    assert args[1] is None
    assert kwargs["validation_data"][1] is None
    (train, validation), kwargs = of_fit((Features(X, Y),), {"seed": 1}, fold)
    assert (train.inputs[:, 0].tolist(), train.labels.tolist(), kwargs) == ([0, 2, 3], [0, 0, 1], {"seed": 1})
    assert (validation.inputs[:, 0].tolist(), validation.labels.tolist()) == ([1], [1])


def test_the_labels_of_a_fit():
    assert labels_of((X, Y), {"validation_data": None, "validation_split": 0.0}) is Y
    assert labels_of((), {"x": [X, X], "y": {"only": Y}}) is Y
    assert labels_of((Features(X, Y),), {}) is Y
    for args in ((X,), (X, [Y, Y])):
        assert (labels_of(args, {}) == np.zeros(12)).all()


def generator():
    yield X, Y


NOT_ARRAYS = (
    "folds: expected x, y and sample_weight as arrays, tensors, tables of pandas, or nested dicts or lists of these; "
    "received {}. Make arrays of it; of what does not fit into memory, search without folds, with validation_data."
)
NO_VALIDATION = (
    "folds: expected no validation examples given to search(); received {}. Leave it out: each fold is validated on "
    "in its turn."
)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (lambda: (X, Y), {"validation_data": (X, Y)}, NO_VALIDATION.format("validation_data")),
        (lambda: (Features(X, Y), Features(X, Y)), {}, NO_VALIDATION.format("validation_data")),
        (lambda: (X, Y), {"validation_split": 0.2}, NO_VALIDATION.format("validation_split")),
        (lambda: (generator(),), {}, NOT_ARRAYS.format("x of type generator")),
        (
            lambda: (tf.data.Dataset.from_tensor_slices((X, Y)),),
            {},
            NOT_ARRAYS.format("x of type _TensorSliceDataset"),
        ),
        (lambda: (X, Y.tolist()), {}, NOT_ARRAYS.format("y of type int")),
        (
            lambda: ([X[:9], X], Y),
            {},
            "folds: expected equally many examples in x, y and sample_weight; received 9 in x, 12 in x, 12 in y.",
        ),
        (
            tuple,
            {},
            "folds: expected examples given to search(); received no x. Give them as those of keras.Model.fit: "
            "search(x, y, ...).",
        ),
        (
            lambda: (X, Y, 32),
            {},
            "folds: expected at most x and y given to search() by position; received 3 arguments. Give the others by "
            "name, such as batch_size=32.",
        ),
    ],
)
def test_what_cannot_be_cut(arguments, keywords, message):
    with pytest.raises(MisuseError) as caught:
        labels_of(arguments(), keywords)
    assert str(caught.value) == message


class Seen(keras_tuner.HyperModel):
    """Trains nothing: the score is x, and what each fit was called with is kept."""

    def __init__(self):
        self.seen = []
        super().__init__()

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])

    def fit(self, hp, model, x, y, validation_data, epochs=1, **others):
        model.layers[0].bias.assign_add([1.0])
        held = tuple(validation_data[0][:, 0].astype(int))
        self.seen.append((held, len(x), epochs, float(model.layers[0].bias[0])))
        return {"score": hp.get("x") + held[0] / 1000}


SCORE = keras_tuner.Objective("score", "max")


def test_it_ends_the_search_before_it_begins(recorded):
    model = Seen()
    tuner = recorded(model, 1, search=False, folds=3, objective=SCORE)
    for labels, keywords in ((Y, {"validation_data": (X, Y)}), (np.arange(12), {})):
        with pytest.raises(MisuseError):
            tuner.search(X, labels, **keywords)
    assert (model.seen, tuner.study.trials) == ([], [])
    tuner.search(X, Y)  # those arguments were not kept as the study's
    assert len(model.seen) == 3


def eager(hp):
    """Return the model of `build_digits`, untraced: of so few steps that is sooner done."""
    model = build_digits(hp)
    model.run_eagerly = True
    return model


def test_a_search_is_as_three_fits_by_hand(digits, tmp_path):
    x, y = digits[0][:90], digits[1][:90]
    tuner = RandomSearch(eager, "val_accuracy", 1, 7, folds=3, directory=tmp_path, on_trial=lambda trial: None)
    tuner.search(x, y, epochs=2, verbose=0)
    (trial,) = tuner.study.trials
    accuracies, weights = [], []
    for number, (train, validation) in enumerate(StratifiedKFold(3, shuffle=True, random_state=7).split(x, y)):
        keras.utils.set_random_seed(trial_seed(7, 0, number))
        model = eager(trial.hyperparameters.copy())
        keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs, m=model: weights.append(m.get_weights()))
        data = (x[validation], y[validation])
        fit = model.fit(x[train], y[train], epochs=2, verbose=0, validation_data=data, callbacks=[keep])
        accuracies.append(fit.history["val_accuracy"])
    assert [row["val_accuracy"] for row in trial.history] == list(np.ravel(accuracies))
    assert [row["execution"] for row in trial.history] == [0, 0, 1, 1, 2, 2]
    assert trial.scores == tuple(np.max(accuracies, axis=1))
    assert trial.score == np.mean(np.max(accuracies, axis=1))
    kept = tuner.get_best_models()[0].get_weights()  # of the best epoch of the best fold
    assert all(np.array_equal(a, b) for a, b in zip(kept, weights[np.argmax(accuracies)], strict=True))


def test_executions_and_folds_are_the_same_in_all_trials(recorded):
    model = Seen()
    tuner = recorded(model, 2, search=False, folds=3, executions_per_trial=2, objective=SCORE)
    tuner.search(X, Y)
    held = [tuple(validation) for _, validation in fold_ids(Y, 3, seed=0)]
    assert [one[0] for one in model.seen] == held * 4
    assert {one[1] for one in model.seen} == {8}
    trial = tuner.study.trials[1]
    assert [round(1000 * (score - trial.hyperparameters.get("x"))) for score in trial.scores] == [
        h[0] for h in held
    ] * 2
    assert trial.score == pytest.approx(np.mean(trial.scores))


def test_each_fold_goes_on_by_itself_from_rung_to_rung(tmp_path):
    model, kwargs = Seen(), {"directory": tmp_path, "on_trial": lambda trial: None}
    SuccessiveHalving(model, SCORE, 2, 4, 2, 2, seed=0, folds=2, **kwargs).search(X, Y)
    held = [tuple(validation) for _, validation in fold_ids(Y, 2, seed=0)]
    assert [one[0] for one in model.seen] == held * (len(model.seen) // 2)
    ends = {(epochs, bias) for _, _, epochs, bias in model.seen}
    assert ends == {(2, 1.0), (4, 2.0)}  # the models of both folds were kept between the rungs


def test_a_study_is_not_gone_on_with_other_folds(recorded):
    plain = recorded(x_only, 1, project_name="plain")
    assert "folds" not in plain.study.settings  # those of before there were folds are gone on with
    recorded(x_only, search=False, folds=3)
    for folds, difference in ((2, "folds 2 instead of 3"), (None, "folds None instead of 3")):
        with pytest.raises(InputError, match=f"received {difference}. Choose"):
            recorded(x_only, search=False, folds=folds)
    with pytest.raises(InputError) as caught:
        recorded(x_only, search=False, folds=1)
    assert str(caught.value) == "folds: expected a whole number of at least 2; received 1."


def test_a_run_trial_that_does_not_cut_is_refused(tmp_path):
    class Own(RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            return trial.hyperparameters.Float("x", 0.0, 1.0)

    tuner = Own(max_trials=1, seed=0, folds=3, directory=tmp_path)
    with pytest.raises(MisuseError) as caught:
        tuner.search()
    assert str(caught.value) == (
        "run_trial: expected super().run_trial(...) to be called, which cuts the folds; received none. Call it, or "
        "leave folds out."
    )


def test_retest_trials_holds_out_another_fold_in_each_replicate(recorded):
    model = Seen()
    tuner = recorded(model, 3, search=False, folds=3, objective=SCORE)
    tuner.search(X, Y)
    model.seen.clear()
    content = read_study(tuner.study.directory)
    result = retest_trials(content, model, (X, Y), replicates=4, say=lambda line: None)
    held = [one[0] for one in model.seen]
    assert all(len(set(held[place : place + 3])) == 1 for place in range(0, 12, 3))  # alike for all trials
    assert len(set(held)) > 2
    assert {len(one) for one in held} == {4}
    assert result.staleness.verdict == "keep"


def test_tune_and_its_retest(tmp_path, monkeypatch):
    search = SearchConfig(max_trials=1, epochs=1, folds=2, strategy="random", tune=("dropout",), output=str(tmp_path))
    config = TuneConfig(data=DataConfig(source="iris"), model=MLPConfig(units=(4,)), search=search)
    directory = tune(config, on_trial=lambda trial: None).directory
    assert read_config(TuneConfig, directory / "search.yaml").search.folds == 2
    content = read_study(directory)
    assert content.settings["folds"] == 2
    assert "folds" not in content.settings["fingerprint"]["search"]
    (trial,) = content.trials
    assert [row["execution"] for row in trial.history] == [0, 1]
    # 64 of the 128 examples that are not for the test.
    assert all((64 * score).is_integer() for score in trial.scores)
    monkeypatch.setattr(studies, "retest_from", lambda content, source, *others: source.notes)
    assert studies.retest(directory)[-1] == (
        "A score then was the mean over 2 folds of training and validation examples; a re-run is trained once, on a "
        "split of them."
    )


def test_a_fold_with_a_step_more_than_the_first():
    first, second = (Features(np.zeros((n, 4), np.float32), np.arange(n) % 2) for n in (85, 86))
    config = TuneConfig(model=MLPConfig(units=(2,)), search=SearchConfig(tune=("dropout",), batch_size=(2,), epochs=1))
    config = dataclasses.replace(config, training=TrainingConfig(batch_size=2))
    hypermodel, hp = FactoryHyperModel(config, first, 2), keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    hypermodel.fit(hp, model, second, first)
    assert int(model.optimizer.iterations) == 43
