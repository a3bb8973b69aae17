"""Tests of the moments of what comes into BatchNormalization layers, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasbn.layers import BatchNormalization
from kerasbn.statistics.graph import batch_normalizations
from kerasbn.statistics.moments import SampleMoments, input_moments

RNG = np.random.default_rng(0)


def moments_of(values, *, cuts=(), counted=None):
    moments = SampleMoments(values.shape[-1])
    for part in np.split(np.arange(len(values)), cuts):
        moments.add(values[part], mask=None if counted is None else counted[part])
    return moments


def test_moments_are_those_of_numpy_however_the_data_are_cut():
    values = RNG.normal(3, 2, size=(50, 7, 4))
    for cuts in ((), (1, 2, 33), (25,)):
        moments = moments_of(values, cuts=cuts)
        np.testing.assert_allclose(moments.mean, values.mean((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(moments.variance, values.var((0, 1)), rtol=1e-12)
        np.testing.assert_allclose(moments.low, values.min((0, 1)))
        np.testing.assert_allclose(moments.high, values.max((0, 1)))
        assert moments.count.tolist() == [350.0] * 4
        assert moments.examples.tolist() == [50.0] * 4


def test_an_offset_costs_no_digits():
    values = RNG.normal(size=(40, 1, 3))
    near, far = moments_of(values), moments_of(values + 1e6, cuts=(13,))
    np.testing.assert_allclose(far.variance, near.variance, rtol=1e-8)
    np.testing.assert_allclose(far.variance_error, near.variance_error, rtol=1e-8)
    assert moments_of(np.full((3, 1, 1), 1e15)).variance.tolist() == [0.0]


@pytest.mark.parametrize("masked_value", [np.nan, np.inf, 1e30])
def test_what_a_mask_leaves_out_does_not_count(masked_value):
    values, counted = RNG.normal(size=(20, 5, 2)), RNG.random((20, 5, 1)) < 0.6
    counted[:3] = False
    values, kept = np.where(counted, values, masked_value), values[counted[..., 0]]
    counted = np.broadcast_to(counted, values.shape)
    moments = moments_of(values, cuts=(3, 9), counted=counted)
    np.testing.assert_allclose(moments.mean, kept.mean(0))
    np.testing.assert_allclose(moments.variance, kept.var(0))
    np.testing.assert_allclose(moments.low, kept.min(0))
    assert moments.count.tolist() == [len(kept)] * 2
    assert moments.examples.tolist() == [counted.any((1, 2)).sum()] * 2
    none = moments_of(values, counted=np.zeros_like(counted))
    assert (none.count.tolist(), none.variance.tolist()) == ([0.0, 0.0], [0.0, 0.0])
    assert np.isinf(none.mean_error).all()


@pytest.mark.parametrize("alike", [0.0, 0.95], ids=["independent", "alike"])
def test_errors_are_those_that_many_samples_show(alike):
    """Each channel is a sample of its own: their spread is the error. Values of one example may be alike."""
    common, own = RNG.normal(size=(60, 1, 4000)), RNG.normal(size=(60, 9, 4000))
    moments = moments_of(alike * common + np.sqrt(1 - alike**2) * own)
    assert np.median(moments.mean_error) == pytest.approx(moments.mean.std(), rel=0.05)
    assert np.median(moments.variance_error) == pytest.approx(moments.variance.std(), rel=0.1)


def test_one_example_has_no_error_that_could_be_known():
    moments = moments_of(RNG.normal(size=(1, 9, 2)))
    assert np.isinf(moments.mean_error).all()
    assert np.isinf(moments.variance_error).all()


@pytest.mark.parametrize("axis", [-1, 1, (1, 3), [-1, 1], 0, (0, 2)])
def test_every_channel_axis(axis):
    x, mask = RNG.normal(size=(3, 4, 5, 6)).astype("float32"), RNG.random((3, 4, 5, 6)) < 0.7
    kept = sorted(a % 4 for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    others = tuple(a for a in range(4) if a not in kept)
    for counted in (None, mask):
        moments = SampleMoments(np.prod(np.array(x.shape)[kept]))
        moments.add(x, axis, counted)
        expected = np.mean(x, others, dtype=float, where=True if counted is None else counted)
        np.testing.assert_allclose(moments.mean, expected.ravel())
        assert moments.examples.max() == x.shape[others[0]]
        if counted is not None:
            np.testing.assert_array_equal(moments.count, mask.sum(others).ravel())


@pytest.mark.parametrize("bn", [layers.BatchNormalization, BatchNormalization], ids=["keras", "kerasbn"])
def test_inputs_of_nested_shared_and_masked_layers(bn):
    shared = keras.Sequential([keras.Input((3,)), bn(name="bn")], name="shared")
    left, right = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([left, right], layers.Add()([shared(left), shared(right)]))
    a, b = RNG.normal(size=(2, 10, 3)).astype("float32")
    found = input_moments(model, batch_normalizations(model), [[a[:4], b[:4]], [a[4:], b[4:]]])
    np.testing.assert_allclose(found["shared/bn"].mean, np.concatenate([a, b]).mean(0, dtype=float))

    x = RNG.normal(size=(10, 4, 3)).astype("float32")
    x[:, 2:] = 0
    masked = keras.Sequential([keras.Input((4, 3)), layers.Masking(), bn(name="bn")])
    found = input_moments(masked, batch_normalizations(masked), [x])
    np.testing.assert_allclose(found["bn"].mean, x[:, :2].mean((0, 1), dtype=float))
    assert found["bn"].count.tolist() == [20.0] * 3


class Subclassed(keras.Model):
    def __init__(self, bn, used=True):
        super().__init__()
        self.bns, self.used = [bn(name="bn"), bn(name="other")], used

    @tf.function
    def inner(self, x):
        return self.bns[0](x)

    def call(self, x):
        x = self.inner(x)
        return self.bns[1](x) if self.used else x


def test_functions_that_were_traced_before_are_seen_into():
    model, x = Subclassed(BatchNormalization), RNG.normal(size=(10, 3)).astype("float32")
    before = model(x)
    found = input_moments(model, batch_normalizations(model), [x[:5], x[5:]])
    np.testing.assert_allclose(found["bn"].mean, x.mean(0, dtype=float))
    assert found["other"].count.tolist() == [10.0] * 3
    assert not tf.config.functions_run_eagerly()
    assert "call" not in vars(model.bns[0])
    np.testing.assert_allclose(model(x), before, rtol=1e-6)


def test_all_is_as_before_after_an_error():
    model = Subclassed(BatchNormalization)
    model(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="expected"):
        input_moments(model, batch_normalizations(model), [np.zeros((2, 5))])
    assert not tf.config.functions_run_eagerly()
    assert "call" not in vars(model.bns[0])


def test_half_precision_is_summed_in_double():
    model = keras.Sequential([keras.Input((3,), dtype="float16"), BatchNormalization(dtype="float16", name="bn")])
    x = np.full((1000, 3), 300, "float16")
    assert input_moments(model, batch_normalizations(model), [x])["bn"].mean.tolist() == [300.0] * 3
