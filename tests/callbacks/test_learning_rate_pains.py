"""What users of Keras reported about learning rates and momentum, and what becomes of it here."""

import csv
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import optimizers
from kerasbn.callbacks import LearningRateDecay, ReduceOnPlateau
from kerasbn.checks import InputError
from kerasbn.schedules import Constant, InverseTime, Linear

X = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
Y = X[:, :1]


def model_of(optimizer, **compile_arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **compile_arguments)
    return model


def fit(model, *callbacks, x=X, **arguments):
    data = {"x": x, "y": Y, "batch_size": 4} if x is X else {"x": x}
    return model.fit(**data, verbose=0, shuffle=False, callbacks=list(callbacks), **arguments).history


def test_a_schedule_and_a_plateau_tensorflow_36612_51399():
    """In Keras a TypeError, once the plateau is there."""
    keras_schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.9)
    theirs = keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=100.0)
    model = model_of(keras.optimizers.SGD(keras_schedule))
    with pytest.raises(TypeError):
        fit(model, theirs, epochs=4)
    assert int(model.optimizer.iterations) > 3  # after some epochs
    decay = LearningRateDecay(InverseTime(0.1))
    model = model_of(optimizers.SGD(keras_schedule))
    with pytest.raises(InputError):
        fit(model, decay, epochs=4)
    assert int(model.optimizer.iterations) == 0
    plateau = ReduceOnPlateau(decay, "loss", factor=0.5, patience=1, min_delta=100.0)
    assert fit(model_of(optimizers.SGD(0.1)), decay, plateau, epochs=3)["learning_rate"] == [0.1, 0.05, 0.1 / 3 / 2]


def test_two_owners_of_the_rate_keras_8829():
    """In Keras the one that comes last, without a word."""
    theirs = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=100.0)
    with pytest.warns(UserWarning, match="something else set the learning rate, from 0.1 to 0.05"):
        fit(model_of(optimizers.SGD(0.1)), LearningRateDecay(Constant(0.1)), theirs, epochs=4)


def test_the_state_of_a_plateau_keras_17012():
    """In Keras it is forgotten when `fit` begins."""
    arguments = {"monitor": "loss", "patience": 2, "factor": 0.5, "min_delta": 100.0}
    theirs = keras.callbacks.ReduceLROnPlateau(**arguments)
    model = model_of(keras.optimizers.SGD(0.1))
    for epoch in range(4):
        fit(model, theirs, initial_epoch=epoch, epochs=epoch + 1)
    assert float(model.optimizer.learning_rate) == np.float32(0.1)  # in one go it is 0.05
    decay = LearningRateDecay(Constant(0.1))
    plateau, model = ReduceOnPlateau(decay, **arguments), model_of(optimizers.SGD(0.1))
    for epoch in range(4):
        fit(model, decay, plateau, initial_epoch=epoch, epochs=epoch + 1)
        states = json.loads(json.dumps([decay.state(), plateau.state()]))
        decay = LearningRateDecay(Constant(0.1))
        plateau = ReduceOnPlateau(decay, **arguments)
        decay.set_state(states[0])
        plateau.set_state(states[1])
    assert decay.multiplier == 0.5


def test_initial_epoch_tensorflow_49208():
    """In Keras a schedule counts the steps of this optimizer, wherever training begins."""
    keras_schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, 3, 1.0)
    model = model_of(keras.optimizers.SGD(keras_schedule))
    fit(model, initial_epoch=3, epochs=4)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1 / 2)
    history = fit(model_of(optimizers.SGD(0.1)), LearningRateDecay(InverseTime(0.1)), initial_epoch=3, epochs=4)
    assert history["learning_rate"] == [0.1 / 4]


def test_the_rate_in_history_and_csv_keras_11973_16087(tmp_path):
    """In Keras it is in neither."""
    log = tmp_path / "log.csv"
    keras_schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, 3, 1.0)
    assert set(fit(model_of(keras.optimizers.SGD(keras_schedule)), epochs=1)) == {"loss"}
    decay = LearningRateDecay(InverseTime(0.1))
    history = fit(model_of(optimizers.SGD(0.1)), decay, keras.callbacks.CSVLogger(log), epochs=2)
    assert history["learning_rate"] == [0.1, 0.05]
    with open(log, encoding="utf-8") as file:
        assert [row["learning_rate"] for row in csv.DictReader(file)] == ["0.1", "0.05"]


def test_data_of_unknown_length_tensorflow_52529_53284():
    """Decay over `epochs * cardinality` steps was one over -2 steps; in epochs there is nothing to multiply."""
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).filter(lambda x, y: True)
    assert int(data.cardinality()) == -2
    with warnings.catch_warnings(record=True) as caught:  # Keras warns, too, when the data ends
        warnings.simplefilter("always")
        history = fit(model_of(optimizers.SGD(0.1)), LearningRateDecay(Linear(0.1, 4)), x=data, epochs=4)
    assert any("the number of steps in an epoch is not known" in str(one.message) for one in caught)
    assert history["learning_rate"] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_gradient_accumulation_counts_updates():
    """Keras's schedules count batches (its documentation says so)."""
    seen = {}
    for make in (keras.optimizers.SGD, optimizers.SGD):
        theirs = make is keras.optimizers.SGD
        rate = keras.optimizers.schedules.InverseTimeDecay(0.1, 1, 1.0) if theirs else 0.1
        model = model_of(make(rate, gradient_accumulation_steps=3))
        fit(model, *([] if theirs else [LearningRateDecay(InverseTime(0.1), "step")]), epochs=4)
        seen[theirs] = float(model.optimizer.learning_rate)
    assert seen[True] == pytest.approx(0.1 / 13)  # the next one, after 12 batches
    assert seen[False] == pytest.approx(0.1 / 4)  # the last of 4 updates


@pytest.mark.parametrize("make", [keras.optimizers.SGD, optimizers.SGD], ids=["keras", "kerasbn"])
def test_momentum_in_the_graph_keras_3356(make):
    """In Keras setting it has no effect once the step is traced."""
    model = model_of(make(0.1, momentum=0.9))
    fit(model, epochs=1)
    model.optimizer.momentum = 0.0
    before = model.get_weights()
    velocity = model.optimizer.variables[2].numpy()
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)) + model.get_weights()[1], batch_size=4, verbose=0)  # no gradient
    moved = np.abs(model.get_weights()[0] - before[0]).max()
    assert np.abs(velocity).max() > 0
    if make is keras.optimizers.SGD:
        assert moved == pytest.approx(0.9 * np.abs(velocity).max())
    else:
        assert moved == 0
