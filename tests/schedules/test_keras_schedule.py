"""Schedules as Keras's: the same rates in eager mode, in graphs and under XLA, saved with the optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from schedule_table import all_schedules

from kerasbn.schedules import Cosine, InverseTime, OneCycle, WarmUp, join, repeat
from kerasbn.schedules.keras_schedule import KerasSchedule

# The multiples of 49 are where 1 / 49 times the step lies below the whole number.
STEPS = np.unique(
    np.concatenate([np.arange(100), np.arange(0, 4900, 49), np.geomspace(100, 1e6, 50), [999_998, 999_999]])
).astype(np.int64)


@all_schedules
def test_the_same_rates_in_every_mode(schedule):
    rate = schedule.as_keras()
    assert isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    expected = schedule(STEPS).astype(np.float32)

    @tf.function
    def in_graph(step):
        return rate(step)

    @tf.function(jit_compile=True)
    def compiled(step):
        return rate(step)

    # The last bit of float32, and what is too small for a normal one.
    close = {"rtol": 1.2e-7, "atol": 1e-37}
    for function, steps in ((rate, STEPS[::40]), (in_graph, STEPS), (compiled, STEPS)):
        rates = [function(tf.constant(step)) for step in steps]
        assert rates[0].dtype == tf.float32
        assert rates[0].shape == ()
        np.testing.assert_allclose(np.array(rates), schedule(steps).astype(np.float32), **close)
    np.testing.assert_allclose(rate(tf.constant(STEPS)).numpy(), expected, **close)


@all_schedules
def test_keras_serializes_it(schedule):
    config = keras.optimizers.schedules.serialize(schedule.as_keras())
    assert config["registered_name"] == "kerasbn>KerasSchedule"
    assert config["config"] == schedule.to_dict()
    again = keras.optimizers.schedules.deserialize(config)
    assert type(again) is KerasSchedule
    assert again.schedule == schedule


def classifier(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse")
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_an_optimizer_takes_its_steps_by_it(jit_compile):
    x, y = np.ones((8, 3), "float32"), np.zeros((8, 2), "float32")
    schedule = join([InverseTime(0.05), repeat(Cosine(0.03, 2), 2)], [4])
    model = classifier(keras.optimizers.SGD(schedule.as_keras()))
    model.compile(model.optimizer, "mse", jit_compile=jit_compile)
    by_hand = classifier(keras.optimizers.SGD(0.1))
    for step in range(8):
        assert float(model.optimizer.learning_rate) == np.float32(schedule(step))
        by_hand.optimizer.learning_rate = schedule(step)
        by_hand.train_on_batch(x, y)
        model.train_on_batch(x, y)
    for ours, theirs in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_saved_model_goes_on_with_it(tmp_path):
    x, y = np.ones((8, 3), "float32"), np.zeros((8, 2), "float32")
    schedule = WarmUp(join([OneCycle(0.1, 3), InverseTime(0.1)], [3]), 2)
    model = classifier(keras.optimizers.SGD(schedule.as_keras()))
    model.fit(x, y, batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert float(again.optimizer.learning_rate) == np.float32(schedule(4))
    model.fit(x, y, batch_size=2, verbose=0)
    again.fit(x, y, batch_size=2, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_default_float_type():
    before = keras.config.floatx()
    try:
        keras.config.set_floatx("float64")
        rate = InverseTime(0.3).as_keras()(tf.constant(1_000_000, tf.int64))
        assert rate.dtype == tf.float64
        assert float(rate) == InverseTime(0.3)(1_000_000)
    finally:
        keras.config.set_floatx(before)
