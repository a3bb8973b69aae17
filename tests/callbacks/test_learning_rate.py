import keras
import numpy as np
import pytest

from kerasbn.callbacks import LearningRateDecay
from kerasbn.checks import InputError
from kerasbn.schedules import Constant, InverseTime

X, Y = np.ones((12, 2), "float32"), np.zeros((12, 1), "float32")


class Rates(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(round(float(self.model.optimizer.learning_rate), 6))


def linear(learning_rate=0.5, **compile_arguments):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", **compile_arguments)
    return model


def fit(model, *callbacks, **arguments):
    return model.fit(X, Y, batch_size=4, verbose=0, callbacks=list(callbacks), **arguments)


def test_rate_by_epoch_is_set_and_logged():
    rates = Rates()
    history = fit(linear(), LearningRateDecay(InverseTime(0.2)), rates, epochs=4).history
    np.testing.assert_allclose(history["learning_rate"], [0.2, 0.1, 0.2 / 3, 0.05], rtol=1e-6)
    assert rates.rates == [0.2] * 3 + [0.1] * 3 + [0.066667] * 3 + [0.05] * 3


def test_initial_epoch_moves_the_schedule():
    history = fit(linear(), LearningRateDecay(InverseTime(0.2)), epochs=5, initial_epoch=3).history
    np.testing.assert_allclose(history["learning_rate"], [0.05, 0.04], rtol=1e-6)


def test_rate_by_step_goes_on_with_the_optimizer():
    model, rates = linear(), Rates()
    decay = LearningRateDecay(InverseTime(0.2), unit="step")
    history = fit(model, decay, rates, epochs=1).history
    fit(model, decay, rates, epochs=1)
    assert rates.rates == [round(0.2 / (1 + t), 6) for t in range(6)]
    np.testing.assert_allclose(history["learning_rate"], [0.2 / 3], rtol=1e-6)


def test_rate_by_step_changes_once_an_execution():
    rates = Rates()
    decay = LearningRateDecay(InverseTime(0.2), unit="step")
    model = linear(steps_per_execution=2)
    model.fit(np.ones((16, 2)), np.zeros((16, 1)), batch_size=4, epochs=2, verbose=0, callbacks=[decay, rates])
    assert rates.rates == [round(0.2 / (1 + t), 6) for t in (0, 2, 4, 6)]


def test_gradient_accumulation_counts_updates():
    rates = Rates()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), "mse")
    fit(model, LearningRateDecay(InverseTime(0.2), unit="step"), rates, epochs=2)
    assert rates.rates == [round(0.2 / (1 + t // 2), 6) for t in range(6)]


def test_loss_scaling_optimizer():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)), "mse")
    history = fit(model, LearningRateDecay(InverseTime(0.2)), epochs=2).history
    np.testing.assert_allclose(history["learning_rate"], [0.2, 0.1], rtol=1e-6)


def test_any_function_will_do():
    history = fit(linear(), LearningRateDecay(lambda epoch: 0.1 * (epoch + 1)), epochs=2).history
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    "rate", [keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), lambda: 0.1], ids=["schedule", "function"]
)
def test_an_optimizer_with_a_schedule_is_refused(rate):
    with pytest.raises(InputError) as error:
        fit(linear(rate), LearningRateDecay(Constant(0.1)))
    assert str(error.value) == (
        "learning_rate of the optimizer: expected a number, which LearningRateDecay can set; received a "
        "schedule. Compile with a number, or leave LearningRateDecay out."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (0.1,),
            "schedule: expected a function from a position to a rate; received 0.1. "
            "Use one of kerasbn.schedules, such as Constant(0.1).",
        ),
        (
            (Constant(0.1), "epochs"),
            "unit: expected one of 'epoch', 'step'; received 'epochs'. Did you mean 'epoch'?",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        LearningRateDecay(*arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("bad", [float("nan"), -0.5])
def test_a_schedule_that_returns_no_rate(bad):
    with pytest.raises(InputError) as error:
        fit(linear(), LearningRateDecay(lambda t: bad))
    assert str(error.value) == f"schedule(0): expected a finite rate of at least 0; received {bad}."
