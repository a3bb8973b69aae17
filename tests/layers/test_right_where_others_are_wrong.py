"""Published cases in which other layers are wrong, and inputs that take all digits there are."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import draw, formulas, in_mode, statistics, step

from kerasbn.layers import BatchNormalization

# The fused kernel is refused under XLA.
PATHS = [(kernel, run) for kernel in ("auto", "fused", "scratch") for run in ("eager", "graph", "xla")]
PATHS.remove(("fused", "xla"))


@pytest.mark.parametrize(("kernel", "run"), PATHS)
@pytest.mark.parametrize("training", [False, True])
def test_equal_values_are_zero_however_large(training, kernel, run):
    """tensorflow#117318: -1.14e10 under XLA."""
    layer = BatchNormalization(kernel=kernel, momentum=0.0, epsilon=1e-5)
    layer.build((3, 1))
    layer.moving_mean.assign([1e15])
    layer.moving_variance.assign([0.0])
    y = in_mode(lambda x: layer(x, training=training), run)(tf.fill((3, 1), np.float32(1e15)))
    np.testing.assert_array_equal(y, np.zeros((3, 1)))
    np.testing.assert_array_equal(layer.moving_mean, np.float32([1e15]))
    np.testing.assert_array_equal(layer.moving_variance, [0.0])


@pytest.mark.parametrize(("kernel", "run"), PATHS)
@pytest.mark.parametrize("rows", [7, 1_000, 24_000, 60_000])
def test_any_number_of_equal_values_is_zero(rows, kernel, run):
    """Their mean, added up one by one, is no longer theirs: Keras has 1.0 here, under XLA from three rows on."""
    values = np.float32([1.003e15, 3.3, -16_777_214.0, 1e-3])
    x = np.tile(values, (rows, 1))
    layer = BatchNormalization(kernel=kernel, momentum=0.0)
    layer.build(x.shape)
    y = in_mode(lambda x: layer(x, training=True), run)(x)
    np.testing.assert_array_equal(layer.moving_mean, values)
    np.testing.assert_array_equal(layer.moving_variance, np.zeros(4))
    np.testing.assert_array_equal(y, np.zeros(x.shape))


def hard_inputs():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(4096, 4))
    yield "an offset of 1e4", "float32", normal + 1e4
    yield "an offset of 1e6", "float32", normal + 1e6
    yield "an offset of -1e6", "float32", 3 * normal - 1e6
    yield "a variance of 1e-30", "float32", 1e-15 * normal
    yield "an offset of 1 and a variance of 1e-10", "float32", 1 + 1e-5 * normal
    yield "outliers first", "float32", np.where(np.arange(4096)[:, None] < 1, 1e4, normal)
    yield "outliers last", "float32", np.where(np.arange(4096)[:, None] == 4095, 1e4, normal)
    yield "values of 1e15", "float32", 1e15 * normal
    yield "many values", "float32", rng.normal(size=(60000, 4)) + 1e5
    yield "the largest of float16", "mixed_float16", np.where(normal > 0, 65504, -65504)
    yield "all the largest of float16", "mixed_float16", np.full((64, 4), 65504.0)
    yield "the smallest of float16", "mixed_float16", np.where(normal > 0, 6e-8, 0)


HARD = {name: (policy, values) for name, policy, values in hard_inputs()}


@functools.cache
def hard(name):
    """Return inputs, gradients and what comes out exactly."""
    policy, values = HARD[name]
    dtype = keras.dtype_policies.get(policy).compute_dtype
    x = np.asarray(tf.cast(values, dtype))
    dy = np.asarray(tf.cast(draw(x.shape, 1), dtype))
    exact = formulas(x, dy)
    return x, dy, (exact.y, exact.dx, exact.dgamma, exact.dbeta, exact.mean, exact.variance)


def errors(results, wanted):
    return [np.abs(actual - right).max() for actual, right in zip(results, wanted, strict=True)]


@functools.cache
def errors_of_keras(name, run):
    layer = keras.layers.BatchNormalization(momentum=0.0, dtype=HARD[name][0])
    x, dy, wanted = hard(name)
    return errors((*step(layer, x, dy, run=run), *statistics(layer)), wanted)


@pytest.mark.parametrize(("kernel", "run"), PATHS)
@pytest.mark.parametrize("name", HARD)
def test_never_worse_than_keras_and_always_finite(name, kernel, run):
    layer = BatchNormalization(momentum=0.0, kernel=kernel, dtype=HARD[name][0])
    x, dy, wanted = hard(name)
    dtype = layer.compute_dtype
    results = (*step(layer, x, dy, run=run), *statistics(layer))
    assert all(np.isfinite(result).all() for result in results)
    # A few units in the last place, of the largest value, and of sums of as many values: rounding is luck. Of a
    # variance below epsilon only what shows next to epsilon matters.
    digits = np.finfo("float16" if dtype == "float16" else "float32").eps
    sums = 4 * np.finfo("float32").eps * len(x) ** 0.5
    slack = [8 * digits * np.abs(right).max() for right in wanted[:2]]
    slack += [sums * np.abs(right).max() for right in wanted[2:5]] + [sums * (wanted[5].max() + 1e-3)]
    for ours, theirs, more in zip(errors(results, wanted), errors_of_keras(name, run), slack, strict=True):
        assert ours <= theirs + more or not np.isfinite(theirs)


def test_offsets_that_leave_float32_one_digit_are_taken_out_exactly():
    x = draw((4096, 4), scale=1.0, offset=1e6)
    exact = formulas(x)
    for kernel in ("fused", "scratch"):
        y, *_ = step(BatchNormalization(kernel=kernel), x, x)
        assert np.abs(y - exact.y).max() < 1e-5
    theirs = keras.layers.BatchNormalization()(x, training=True)
    assert np.abs(np.float64(theirs) - exact.y).max() > 1e-3
