"""Tests of ensembles: each member is what it would be alone, and what their seeds do to a score."""

import keras
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.training import train_ensemble

SEEDS = (3, 1, 4)


def build() -> keras.Model:
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("int64") + (x[:, 1] > 0.5)


@pytest.fixture(scope="module")
def fit_args(examples):
    x, y = examples
    return {"epochs": 3, "batch_size": 16, "validation_data": (x[:20], y[:20]), "verbose": 0}


@pytest.fixture(scope="module")
def together(examples, fit_args):
    return train_ensemble(build, SEEDS, *examples, **fit_args, engine="vectorized")


def test_members_are_what_they_would_be_alone(examples, fit_args, together):
    assert together.engine == "stacked"
    assert together.reason == ""
    for seed, history, weights in zip(SEEDS, together.histories, together.weights, strict=True):
        keras.utils.set_random_seed(seed)
        model = build()
        expected = model.fit(*examples, **fit_args).history
        assert set(history.history) == set(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(history.history[name], values, rtol=1e-5, err_msg=name)
        for ours, theirs in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_predictions_are_those_of_each_model(examples, together):
    x = examples[0][:5]
    predictions = together.predict(x, verbose=0)
    assert predictions.shape == (3, 5, 3)
    for number in range(3):
        np.testing.assert_allclose(predictions[number], together.model(number)(x), rtol=1e-5, atol=1e-6)


def test_noise_is_the_spread_over_seeds(together):
    losses = [history.history["val_loss"][-1] for history in together.histories]
    row = together.noise().loc["val_loss"]
    assert row["mean"] == pytest.approx(np.mean(losses))
    assert row["deviation"] == pytest.approx(np.std(losses, ddof=1))
    assert row["high"] - row["mean"] == pytest.approx(4.302653 * np.std(losses, ddof=1) / np.sqrt(3))


class Counts(keras.callbacks.Callback):
    """A callback that nobody knows."""


def test_what_fits_no_stack_is_trained_one_after_the_other(examples, fit_args):
    short = {**fit_args, "epochs": 1, "callbacks": [Counts()]}
    ensemble = train_ensemble(build, SEEDS[:2], *examples, **short)
    assert (ensemble.engine, len(ensemble.histories)) == ("fit", 2)
    assert ensemble.reason == "the callback Counts is not known to work on a stack"
    with pytest.raises(InputError, match="'vectorized', but the callback Counts is not known to work on a stack"):
        train_ensemble(build, SEEDS[:2], *examples, **short, engine="vectorized")


def test_bad_arguments_are_refused(examples):
    with pytest.raises(InputError, match="number of seeds: expected .*2.*; received 1"):
        train_ensemble(build, [1], *examples)
    with pytest.raises(InputError, match="seed: expected .*; received -1"):
        train_ensemble(build, [1, -1], *examples)
    with pytest.raises(InputError, match="engine: expected .*; received 'turbo'"):
        train_ensemble(build, [1, 2], *examples, engine="turbo")
