"""Rates of Keras's schedules are those of `fit`, to the last bits of float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.caviar.rates import rate_at
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.schedules import Exponential, WarmUp

STEPS = np.array([*range(301), 1000, 4097, 65_536, 999_999, 16_777_217, 50_000_001])
SCHEDULES = keras.optimizers.schedules


class Halved(SCHEDULES.LearningRateSchedule):
    """As in Keras's documentation, with a division of whole numbers; and no config."""

    def __call__(self, step):
        return keras.ops.where(step < 7, 0.1, 0.1 / keras.ops.cast(step / 2, "float32"))


class Half(SCHEDULES.ExponentialDecay):
    def __call__(self, step):
        return 0.5 * super().__call__(step)


CASES = [
    SCHEDULES.ExponentialDecay(0.1, 41, 0.7),
    SCHEDULES.ExponentialDecay(0.1, 41, 0.7, staircase=True),  # the division is not exact: see below
    SCHEDULES.InverseTimeDecay(0.3, 47, 0.5),
    SCHEDULES.InverseTimeDecay(0.3, 47, 0.5, staircase=True),
    SCHEDULES.PiecewiseConstantDecay([100], [0.1, 0.03]),
    SCHEDULES.PiecewiseConstantDecay([10, 20.7, 1000], [0.1, 0.05, 0.3, 0.001]),
    SCHEDULES.PolynomialDecay(0.1, 83, 0.001, power=1.0),
    SCHEDULES.PolynomialDecay(0.1, 83, 0.001, power=0.5, cycle=True),
    SCHEDULES.PolynomialDecay(0.1, 250, 0.0, power=2.0),
    SCHEDULES.CosineDecay(0.1, 150, alpha=0.01),
    SCHEDULES.CosineDecay(0.01, 150, warmup_target=0.2, warmup_steps=41),
    SCHEDULES.CosineDecayRestarts(0.1, 41, t_mul=1.0, m_mul=0.9),
    SCHEDULES.CosineDecayRestarts(0.1, 10, t_mul=2.0, alpha=0.05),
    SCHEDULES.CosineDecayRestarts(0.1, 7, t_mul=1.5, m_mul=0.8),
    WarmUp(Exponential(0.2, 0.95), 5).as_keras(),
    SCHEDULES.PiecewiseConstantDecay([100], [2, 1]),  # Keras computes it in int32
    Halved(),
    Half(0.1, 41, 0.7, staircase=True),
]


def in_a_graph(schedule, steps):
    """Return what a traced training step computes, one after the other: several at once differ in the last bits."""

    @tf.function(autograph=False)
    def rates(steps):
        return tf.map_fn(lambda step: tf.cast(schedule(step), tf.float32), steps, fn_output_signature=tf.float32)

    return rates(tf.constant(steps, tf.int64)).numpy()


@pytest.mark.parametrize("number", range(len(CASES)))
def test_rates_are_those_of_a_graph(number):
    expected = in_a_graph(CASES[number], STEPS)
    # Where a cosine ends the rate is a difference of numbers that are rounded at the size of the first rate.
    np.testing.assert_allclose(rate_at(CASES[number], STEPS), expected, rtol=1e-6, atol=1e-7 * expected.max())


@pytest.mark.parametrize(("length", "longer"), [(41, 3.0), (55, 2.0), (3, 1.25), (97, 1.0)])
def test_restarts_come_at_the_steps_of_the_graph(length, longer):
    schedule = SCHEDULES.CosineDecayRestarts(1.0, length, t_mul=longer)
    assert np.abs(rate_at(schedule, np.arange(1000)) - in_a_graph(schedule, np.arange(1000))).max() < 1e-4


def test_rates_are_those_of_fit():
    schedule = SCHEDULES.ExponentialDecay(0.5, 41, 0.5, staircase=True)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(schedule), loss=lambda y, p: p)  # a gradient of 1
    weights = [0.0]
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: weights.append(float(model.get_weights()[0][0, 0]))
    )
    model.fit(np.ones((84, 1)), np.zeros((84, 1)), batch_size=1, verbose=0, shuffle=False, callbacks=[keep])
    np.testing.assert_allclose(rate_at(schedule, range(84)), -np.diff(weights), rtol=1e-5)
    assert rate_at(schedule, [40, 41, 42]).tolist() == [0.5, 0.5, 0.25]
    assert float(schedule(41)) == 0.25  # outside of a graph


def test_a_config_and_a_number_do_for_a_schedule():
    schedule = SCHEDULES.CosineDecay(0.1, 150, warmup_target=0.2, warmup_steps=41)
    np.testing.assert_array_equal(rate_at(SCHEDULES.serialize(schedule), STEPS), rate_at(schedule, STEPS))
    assert rate_at(0.1, [3, 4]).tolist() == [np.float32(0.1)] * 2


def test_a_schedule_that_cannot_be_called():
    class Printed(SCHEDULES.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / int(step)

    class Several(SCHEDULES.LearningRateSchedule):
        def __call__(self, step):
            return [0.1, 0.2]

    with pytest.raises(Unsuitable, match="the schedule Printed cannot be computed beforehand: "):
        rate_at(Printed(), STEPS)
    with pytest.raises(Unsuitable, match="the schedule Several cannot be computed beforehand: "):
        rate_at(Several(), STEPS)
