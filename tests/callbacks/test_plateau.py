import json
import math

import keras
import numpy as np
import pytest

from kerasbn import optimizers
from kerasbn.callbacks import LearningRateDecay, ReduceOnPlateau
from kerasbn.checks import InputError
from kerasbn.schedules import Constant, InverseTime

RNG = np.random.default_rng(0)
NOISY = (2 / (1 + np.arange(60) / 10) + RNG.normal(0, 0.1, 60)).round(3).tolist()
STUCK = [1.0, 0.9, 0.8] + [0.8] * 30
ACCURACY = np.minimum(0.9, 0.05 * np.arange(40) + RNG.normal(0, 0.02, 40)).round(3).tolist()


def model_of(rate):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizers.SGD(rate), "mse")
    return model


def told(callback, values, first=0, monitor="val_loss"):
    """Tell a callback of epochs with these values, and yield after each."""
    for epoch, value in enumerate(values, first):
        callback.on_epoch_end(epoch, {monitor: value})
        yield epoch


@pytest.mark.parametrize(
    ("values", "monitor", "arguments"),
    [
        (NOISY, "val_loss", {"patience": 3, "factor": 0.5}),
        (NOISY, "val_loss", {"patience": 2, "factor": 0.5, "cooldown": 3, "min_delta": 0.05}),
        (STUCK, "val_loss", {"patience": 2, "factor": 0.1, "cooldown": 1}),
        (STUCK, "val_loss", {"patience": 1, "factor": 0.5, "min_delta": 0.0, "minimum": 0.01}),
        (STUCK, "loss", {"patience": 4, "factor": 0.3, "min_delta": 0.15, "cooldown": 2}),
        (ACCURACY, "val_accuracy", {"patience": 3, "factor": 0.2}),
        (ACCURACY, "val_score", {"patience": 1, "factor": 0.7, "direction": "max", "minimum": 0.2}),
    ],
)
def test_the_rates_are_those_of_keras(values, monitor, arguments):
    decay, rate = LearningRateDecay(Constant(0.5)), 0.5
    ours = ReduceOnPlateau(decay, monitor, **arguments)
    minimum, direction = arguments.pop("minimum", 0.0), arguments.pop("direction", None)
    mode = direction or ("max" if "accuracy" in monitor else "min")
    theirs = keras.callbacks.ReduceLROnPlateau(monitor, mode=mode, min_lr=minimum * rate, **arguments)
    model = model_of(rate)
    theirs.set_model(model)
    theirs.on_train_begin()
    rates = []
    for epoch in told(ours, values, monitor=monitor):
        theirs.on_epoch_end(epoch, {monitor: values[epoch]})
        rates.append((decay.multiplier * rate, float(model.optimizer.learning_rate)))
    mine, others = zip(*rates, strict=True)
    assert mine[-1] < rate
    np.testing.assert_allclose(mine, others, rtol=1e-5)


@pytest.mark.parametrize("cut", range(0, 33, 4))
def test_a_run_that_goes_on_is_as_one_in_one_go(cut):
    arguments = {"patience": 3, "factor": 0.5, "cooldown": 2}
    whole = LearningRateDecay(Constant(0.5))
    expected = [whole.multiplier for _ in told(ReduceOnPlateau(whole, **arguments), STUCK)]
    decay = LearningRateDecay(Constant(0.5))
    plateau = ReduceOnPlateau(decay, **arguments)
    actual = [decay.multiplier for _ in told(plateau, STUCK[:cut])]
    state = json.loads(json.dumps([decay.state(), plateau.state()]))
    decay = LearningRateDecay(Constant(0.5))
    plateau = ReduceOnPlateau(decay, **arguments)
    decay.set_state(state[0])
    plateau.set_state(state[1])
    plateau.on_train_begin()  # Keras's forgets all here
    actual += [decay.multiplier for _ in told(plateau, STUCK[cut:], cut)]
    assert actual == expected


def test_any_schedule_and_the_epoch_after():
    x = np.ones((8, 1), "float32")
    decay = LearningRateDecay(InverseTime(0.2))
    plateau = ReduceOnPlateau(decay, "loss", factor=0.5, patience=1, min_delta=1e6)
    history = model_of(0.1).fit(x, x, batch_size=4, epochs=4, verbose=0, callbacks=[decay, plateau]).history
    # The first epoch is the best; each of the others is one too many, and the next pays for it.
    assert history["learning_rate"] == [0.2, 0.1, 0.5 * 0.2 / 3, 0.25 * 0.05]
    assert decay.multiplier == 0.125


def test_what_is_not_finite_is_never_better():
    decay = LearningRateDecay(Constant(0.5))
    plateau = ReduceOnPlateau(decay, factor=0.5, patience=2, direction="max")
    list(told(plateau, [math.nan, math.inf]))
    assert (plateau.best, decay.multiplier) == (None, 0.5)
    list(told(plateau, [1.0, math.inf, 2.0]))
    assert (plateau.best, plateau.waited) == (2.0, 0)


def test_a_monitor_that_is_not_there():
    decay = LearningRateDecay(Constant(0.5))
    with pytest.raises(InputError) as error:
        ReduceOnPlateau(decay, "val_acc").on_epoch_end(0, {"loss": 1.0, "accuracy": 0.5})
    assert str(error.value) == (
        "monitor: expected a metric out of ['accuracy', 'loss']; received 'val_acc'. "
        "Pass required=False if it is measured in some epochs only, as with validation_freq."
    )
    plateau = ReduceOnPlateau(decay, "val_loss", required=False)
    plateau.on_epoch_end(0, {"loss": 1.0})
    assert plateau.state() == {"best": None, "waited": 0, "cooling": 0}


DECAY = LearningRateDecay(Constant(0.5))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ReduceOnPlateau(0.1), "decay: expected the LearningRateDecay that sets the rate; received 0.1."),
        (lambda: ReduceOnPlateau(DECAY, factor=1.0), "factor: expected a number in (0, 1); received 1.0."),
        (lambda: ReduceOnPlateau(DECAY, patience=0), "patience: expected a whole number of at least 1; received 0."),
        (lambda: ReduceOnPlateau(DECAY, min_delta=-1), "min_delta: expected a number of at least 0; received -1."),
        (
            lambda: ReduceOnPlateau(DECAY, cooldown=0.5),
            "cooldown: expected a whole number of at least 0; received 0.5.",
        ),
        (lambda: ReduceOnPlateau(DECAY, minimum=2), "minimum: expected a number in [0, 1]; received 2."),
        (lambda: ReduceOnPlateau(DECAY, direction="auto"), "direction: expected one of 'max', 'min'; received 'auto'."),
        (
            lambda: ReduceOnPlateau(DECAY).set_state({"best": 1.0, "waited": 1}),
            "state of ReduceOnPlateau: expected the keys best, waited, cooling; received best, waited.",
        ),
        (
            lambda: ReduceOnPlateau(DECAY).set_state({"best": 1.0, "waited": -1, "cooling": 0}),
            "waited: expected a whole number of at least 0; received -1.",
        ),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(InputError) as error:
        act()
    assert str(error.value) == message


def test_a_decay_that_is_not_in_the_list_is_refused():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    plateau = ReduceOnPlateau(LearningRateDecay(Constant(0.1)), "loss")
    with pytest.raises(InputError) as error:
        model.fit(np.ones((2, 1)), np.ones(2), callbacks=[plateau], verbose=0)
    assert str(error.value) == (
        "decay: expected one in the list of callbacks of the same `fit`; received one that is not. "
        "Put both in the list, the decay first."
    )
