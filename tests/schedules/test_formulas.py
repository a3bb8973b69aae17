"""The formulas against those of Keras, and of PyTorch and optax as their documentation has them."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    Manual,
    OneCycle,
    PiecewiseConstant,
    Polynomial,
    Staircase,
    Triangular,
    WarmUp,
    join,
)

STEPS = np.arange(10_000)
keras_schedules = keras.optimizers.schedules


def same(schedule, expected, steps=STEPS):
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-6, atol=1e-15)


# Keras computes in the type of the first rate; in float32 it is wrong by more than 1e-6 itself.
RATE, LOW = np.array(0.2), np.array(0.01)
KERAS = {
    "exponential": (Exponential(0.2, 0.9, 700), keras_schedules.ExponentialDecay(RATE, 700, 0.9)),
    "exponential staircase": (
        Exponential(0.2, 0.9, 700, staircase=True),
        keras_schedules.ExponentialDecay(RATE, 700, 0.9, staircase=True),
    ),
    "staircase": (Staircase(0.2, 700, 0.1), keras_schedules.ExponentialDecay(RATE, 700, 0.1, staircase=True)),
    "inverse time": (InverseTime(0.2, 0.5, 30), keras_schedules.InverseTimeDecay(RATE, 30, 0.5)),
    "inverse time staircase": (
        InverseTime(0.2, 0.5, 30, staircase=True),
        keras_schedules.InverseTimeDecay(RATE, 30, 0.5, staircase=True),
    ),
    "linear": (Linear(0.2, 9000, 0.01), keras_schedules.PolynomialDecay(RATE, 9000, 0.01)),
    "polynomial": (Polynomial(0.2, 9000, 0.01, 2.5), keras_schedules.PolynomialDecay(RATE, 9000, 0.01, 2.5)),
    "cosine": (Cosine(0.2, 9000, 0.02), keras_schedules.CosineDecay(RATE, 9000, alpha=0.1)),
    "cosine with warm-up": (
        WarmUp(Cosine(0.2, 8000, 0.02), 1000, initial_learning_rate=0.01),
        keras_schedules.CosineDecay(LOW, 8000, alpha=0.1, warmup_target=0.2, warmup_steps=1000),
    ),
    "cosine restarts": (
        CosineRestarts(0.2, 333, 2, 0.8, 0.02),
        keras_schedules.CosineDecayRestarts(RATE, 333, 2.0, 0.8, 0.1),
    ),
    "cosine restarts, equal periods": (
        CosineRestarts(0.2, 333, 1, 0.8, 0.02),
        keras_schedules.CosineDecayRestarts(RATE, 333, 1.0, 0.8, 0.1),
    ),
    # Keras keeps the old value at the boundary.
    "piecewise constant": (
        PiecewiseConstant((3000, 6000), (0.1, 0.03, 0.01)),
        keras_schedules.PiecewiseConstantDecay([2999, 5999], [np.array(rate) for rate in (0.1, 0.03, 0.01)]),
    ),
}


@pytest.mark.parametrize(("schedule", "theirs"), KERAS.values(), ids=KERAS)
def test_as_keras_has_it(schedule, theirs):
    if getattr(theirs, "warmup_target", None):  # takes one step at a time
        rates = tf.function(lambda: tf.map_fn(theirs, tf.constant(STEPS), fn_output_signature=tf.float64))()
    else:
        rates = theirs(tf.constant(STEPS))
    assert rates.dtype == tf.float64
    same(schedule, rates)


def step_by_step(first, rate_after):
    """The rates of a scheduler that makes each rate from the one before: rate_after(rate, step)."""
    rates = [first]
    for step in STEPS[1:]:
        rates.append(rate_after(rates[-1], int(step)))
    return np.array(rates)


def test_exponential_step_by_step():
    same(Exponential(0.2, 0.9995), step_by_step(0.2, lambda rate, step: rate * 0.9995))


def test_staircase_step_by_step():
    same(Staircase(0.2, 300), step_by_step(0.2, lambda rate, step: rate * (0.5 if step % 300 == 0 else 1)))


def test_piecewise_constant_step_by_step():
    milestones = {2500: 0.5, 7000: 0.1}
    expected = step_by_step(0.2, lambda rate, step: rate * milestones.get(step, 1))
    same(PiecewiseConstant((2500, 7000), (0.2, 0.1, 0.01)), expected)


def test_linear_step_by_step():
    # PyTorch's LinearLR from a factor of 1 to 1/4 in 8000 steps.
    def after(rate, step):
        return rate * (1 + (0.25 - 1) / (8000 * 1 + (step - 1) * (0.25 - 1))) if step <= 8000 else rate

    same(Linear(0.2, 8000, 0.05), step_by_step(0.2, after))


def test_warm_up_step_by_step():
    # PyTorch's LinearLR from a factor of 1/4 to 1 in 500 steps; ConstantLR for as long.
    def grow(rate, step):
        return rate * (1 + (1 - 0.25) / (500 * 0.25 + (step - 1) * (1 - 0.25))) if step <= 500 else rate

    same(WarmUp(Constant(0.2), 500, initial_learning_rate=0.05), step_by_step(0.05, grow))
    constant = step_by_step(0.05, lambda rate, step: rate * 4 if step == 500 else rate)
    same(WarmUp(Constant(0.2), 500, "constant", 0.05), constant)
    exponential = step_by_step(0.05, lambda rate, step: rate * 4 ** (1 / 500) if step <= 500 else rate)
    same(WarmUp(Constant(0.2), 500, "exponential", 0.05), exponential)


def test_polynomial_step_by_step():
    def after(rate, step):  # PyTorch's PolynomialLR
        return rate * ((1 - step / 8000) / (1 - (step - 1) / 8000)) ** 2 if step <= 8000 else rate

    same(Polynomial(0.2, 8000, power=2), step_by_step(0.2, after))


def test_cosine_step_by_step():
    def after(rate, step):  # PyTorch's CosineAnnealingLR
        if step > 8000:
            return rate
        share = (1 + math.cos(math.pi * step / 8000)) / (1 + math.cos(math.pi * (step - 1) / 8000))
        return share * (rate - 0.01) + 0.01

    same(Cosine(0.2, 8000, 0.01), step_by_step(0.2, after))


def test_cosine_restarts_by_counting():
    # PyTorch's CosineAnnealingWarmRestarts counts the steps since the restart.
    expected, since, period = [], 0, 125
    for _ in STEPS:
        expected.append(0.01 + (0.2 - 0.01) * (1 + math.cos(math.pi * since / period)) / 2)
        since += 1
        if since >= period:
            since, period = since - period, period * 3
    same(CosineRestarts(0.2, 125, 3, end_learning_rate=0.01), expected)


@pytest.mark.parametrize("factor", [1, 2, 3, 5, 7, 10])
def test_every_restart_is_where_it_belongs(factor):
    schedule = CosineRestarts(0.2, 49, factor, 0.5)
    start, period, peak = 0, 49, 0.2
    while start < 1e9 and peak > 1e-6:
        assert schedule(start) == pytest.approx(peak, rel=1e-12)
        assert schedule(start + period / 2) == pytest.approx(peak / 2)
        start, period, peak = start + period, period * factor, peak / 2
        assert schedule(start * (1 - 1e-7)) < 1e-6


@pytest.mark.parametrize(("up", "down"), [(400, 400), (300, 500)])
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_triangular(up, down, mode):
    # PyTorch's CyclicLR.
    total, ratio, expected = up + down, up / (up + down), []
    for step in STEPS:
        cycle = math.floor(1 + step / total)
        x = 1 + step / total - cycle
        height = x / ratio if x <= ratio else (x - 1) / (ratio - 1)
        factor = {"triangular": 1, "triangular2": 1 / 2 ** (cycle - 1), "exp_range": 0.9999**step}[mode]
        expected.append(0.01 + (0.2 - 0.01) * height * factor)
    rate = 0.9999 if mode == "exp_range" else 1.0
    same(Triangular(0.01, 0.2, up, down, mode, rate), expected)
    if up == down:
        assert (
            Triangular(0.01, 0.2, up, None, mode, rate)(STEPS) == Triangular(0.01, 0.2, up, up, mode, rate)(STEPS)
        ).all()


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle(shape, three_phase):
    # PyTorch's OneCycleLR of n steps, whose phases end at steps p n - 1 and n - 1.
    n, p = 9000, 0.3
    low, high, last = 0.2 / 25, 0.2, 0.2 / 25 / 1e4
    if three_phase:
        phases = [(p * n - 1, low, high, 0.95, 0.85), (2 * p * n - 2, high, low, 0.85, 0.95)]
        phases += [(n - 1, low, last, 0.95, 0.95)]
    else:
        phases = [(p * n - 1, low, high, 0.95, 0.85), (n - 1, high, last, 0.85, 0.95)]
    rates, momenta = [], []
    for step in range(n):
        begin = 0.0
        for end, *values in phases:
            if step <= end or end == n - 1:
                share = (step - begin) / (end - begin)
                way = (1 - math.cos(math.pi * share)) / 2 if shape == "cosine" else share
                rates.append(values[0] + (values[1] - values[0]) * way)
                momenta.append(values[2] + (values[3] - values[2]) * way)
                break
            begin = end
    schedule = OneCycle(0.2, n - 1, (p * n - 1) / (n - 1), shape=shape, three_phase=three_phase)
    same(schedule, rates, STEPS[:n])
    np.testing.assert_allclose(schedule.momentum(STEPS[:n]), momenta, rtol=1e-12)
    assert (schedule(STEPS[n:]) == schedule(n - 1)).all()
    assert (schedule.momentum(STEPS[n:]) == 0.95).all()


# As computed by optax 0.2.8 in float64.
OPTAX_STEPS = np.array([0, 1, 10, 30, 31, 60, 99, 100, 150])
OPTAX = {
    "cosine_onecycle_schedule": (
        OneCycle(0.5, 100),
        [0.02, 0.0213147451, 0.14, 0.5, 0.499748268, 0.305631011, 0.000253732358, 2e-06, 2e-06],
    ),
    "linear_onecycle_schedule": (
        OneCycle(0.5, 100, shape="linear", three_phase=True),
        [0.02, 0.036, 0.18, 0.5, 0.484, 0.02, 0.00050195, 2e-06, 2e-06],
    ),
    "warmup_cosine_decay_schedule": (
        WarmUp(Cosine(0.2, 70, 0.002), 30, initial_learning_rate=0.01),
        [0.01, 0.0163333333, 0.0733333333, 0.2, 0.199900314, 0.123029572, 0.00209968641, 0.002, 0.002],
    ),
    "warmup_exponential_decay_schedule": (
        WarmUp(Exponential(0.2, 0.5, 30), 10, initial_learning_rate=0.01),
        [0.01, 0.029, 0.2, 0.125992105, 0.123114441, 0.0629960525, 0.0255843473, 0.025, 0.00787450656],
    ),
    "polynomial_schedule": (
        Polynomial(0.2, 90, 0.01, 3),
        [0.2, 0.193736776, 0.143443073, 0.0662962963, 0.0635281344, 0.017037037, 0.01, 0.01, 0.01],
    ),
    "linear_schedule": (Linear(0.2, 60, 0.02), [0.2, 0.197, 0.17, 0.11, 0.107, 0.02, 0.02, 0.02, 0.02]),
    "exponential_decay": (Staircase(0.2, 30), [0.2, 0.2, 0.2, 0.1, 0.1, 0.05, 0.025, 0.025, 0.00625]),
    "piecewise_constant_schedule": (
        PiecewiseConstant((30, 60), (0.2, 0.02, 0.01)),
        [0.2, 0.2, 0.2, 0.02, 0.02, 0.01, 0.01, 0.01, 0.01],
    ),
    "sgdr_schedule": (
        join([CosineRestarts(0.2, 10, end_learning_rate=0.01), Constant(0.01)], [70]),
        [0.2, 0.195350369, 0.2, 0.2, 0.199707147, 0.0378248558, 0.01, 0.01, 0.01],
    ),
    "join_schedules": (
        join([Constant(0.2), Linear(0.2, 40, 0.02), Cosine(0.1, 30)], [10, 60]),
        [0.2, 0.2, 0.2, 0.11, 0.1055, 0.1, 0.0, 0.0, 0.0],
    ),
}


@pytest.mark.parametrize(("schedule", "expected"), OPTAX.values(), ids=OPTAX)
def test_as_optax_has_it(schedule, expected):
    same(schedule, expected, OPTAX_STEPS)


def test_the_course_formulas():
    same(Constant(0.3), np.full(len(STEPS), 0.3))
    same(InverseTime(0.3, 0.7), [0.3 / (1 + 0.7 * t) for t in STEPS])
    same(Exponential(0.3, 0.95), [0.95 ** int(t) * 0.3 for t in STEPS])
    same(InverseSqrt(0.3, 0.7), [0.7 / math.sqrt(max(t, 1)) * 0.3 for t in STEPS])
    assert [round(InverseTime(0.2, decay_rate=1.0)(t), 3) for t in range(1, 5)] == [0.1, 0.067, 0.05, 0.04]


def test_inverse_sqrt_is_held_below_one():
    assert InverseSqrt(0.2)(0) == InverseSqrt(0.2)(0.5) == InverseSqrt(0.2)(1) == 0.2


def test_manual_has_a_value_for_each_epoch():
    schedule = Manual([0.1, 0.3, 0.2])
    assert schedule(np.array([0, 0.5, 1, 1.99, 2, 3, 50])).tolist() == [0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.2]


@pytest.mark.parametrize("steps", [0.1, 1 / 3, 3, 7, 49, 117, 0.7])
def test_each_multiple_begins_a_new_stair(steps):
    multiples = np.arange(1, 400)
    assert (Staircase(1.0, steps, 0.99)(multiples * steps) == 0.99 ** multiples.astype(float)).all()
    below = multiples * steps * (1 - 1e-12)
    np.testing.assert_allclose(Staircase(1.0, steps, 0.99)(below), 0.99 ** (multiples - 1.0), rtol=1e-12)


def test_edges():
    assert [Staircase(0.2, 10)(t) for t in (0, 9.999, 10, 19.999, 20)] == [0.2, 0.2, 0.1, 0.1, 0.05]
    schedule = PiecewiseConstant((3, 4.5), (0.3, 0.2, 0.1))
    assert [schedule(t) for t in (0, 2.999, 3, 4.499, 4.5, 1e9)] == [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    for kind in (Linear, Polynomial, Cosine):
        schedule = kind(0.3, 7, 0.1)
        assert (schedule(0), schedule(7), schedule(1e9)) == (0.3, 0.1, 0.1)
        assert kind(0.3, 7)(7) == 0
    schedule = OneCycle(0.5, 10, pct_start=0.3)
    assert (schedule(0), schedule(3), schedule(10)) == (0.5 / 25, 0.5, 0.5 / 25 / 1e4)
    assert (schedule.momentum(0), schedule.momentum(3), schedule.momentum(10)) == (0.95, 0.85, 0.95)
    schedule = WarmUp(Cosine(0.2, 6), 4)
    assert (schedule(0), schedule(2), schedule(4), schedule(10)) == (0, 0.1, 0.2, 0)
    schedule = Triangular(0.1, 0.3, 4)
    assert [round(schedule(t), 12) for t in (0, 4, 8, 12, 16)] == [0.1, 0.3, 0.1, 0.3, 0.1]
