"""Ghost batches: each group by its own statistics, and the moving statistics of the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import draw, formulas, in_mode, statistics, step, worst

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

CONSTANT = keras.initializers.Constant


def ghost(size, axis=-1, momentum=0.0, **arguments):
    return BatchNormalization(
        axis=axis,
        momentum=momentum,
        virtual_batch_size=size,
        gamma_initializer=CONSTANT(1.5),
        beta_initializer=CONSTANT(-0.5),
        **arguments,
    )


def by_hand(x, dy, size, axis=-1, mask=None):
    """Split the batch, normalise each part as a batch of its own, and add the gradients of gamma and beta up."""
    cuts = range(size, len(x), size)
    parts, upstream = np.split(x, cuts), np.split(dy, cuts)
    masks = [None] * len(parts) if mask is None else np.split(np.broadcast_to(mask, x.shape), cuts)
    results = [
        formulas(part, dp, 1.5, -0.5, axis=axis, mask=m) for part, dp, m in zip(parts, upstream, masks, strict=True)
    ]
    joined = [np.concatenate([getattr(r, key) for r in results]) for key in ("y", "dx")]
    return *joined, *(sum(getattr(r, key) for r in results) for key in ("dgamma", "dbeta"))


def check(layer, x, size, axis=-1, mask=None, run="eager"):
    dy = draw(x.shape, seed=1, offset=0.3)
    actual = step(layer, x, dy, mask=mask, run=run)
    for value, wanted in zip(actual, by_hand(x, dy, size, axis, mask), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)
    whole = formulas(x, axis=axis, mask=mask)
    for value, wanted in zip(statistics(layer), whole[1:3], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 100])
def test_every_remainder_is_as_split_by_hand(size):
    check(ghost(size), draw((12, 2, 3)), size)


@pytest.mark.parametrize("run", ["graph", "unknown", "xla"])
@pytest.mark.parametrize("size", [1, 4, 5, 20])  # one value each, no remainder, a remainder, larger than the batch
def test_the_same_in_graphs(size, run):
    check(ghost(size), draw((12, 2, 3)), size, run=run)


@pytest.mark.parametrize("axis", [1, -2, (1, 3), (2, 3)])
@pytest.mark.parametrize("run", ["eager", "unknown", "xla"])
def test_the_same_with_channels_elsewhere(axis, run):
    check(ghost(3, axis), draw((7, 2, 3, 4)), 3, axis, run=run)


@pytest.mark.parametrize("run", ["eager", "unknown", "xla"])
@pytest.mark.parametrize("size", [3, 4, 20])
def test_masks_reach_their_groups(size, run):
    x = draw((8, 5, 2))
    mask = np.random.default_rng(2).random((8, 5)) < 0.5
    mask[4:] = False  # whole groups of which nothing counts
    mask[5, 2] = True
    check(ghost(size), x, size, mask=mask[..., None], run=run)


@pytest.mark.parametrize("mask", [np.array([[True, False, True]]), np.arange(7)[:, None] % 3 > 0])
def test_masks_that_are_broadcast(mask):
    x = draw((7, 3, 2))
    check(ghost(2), x, 2, mask=mask[..., None])


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_masked_may_be_nan(size):
    x = draw((9, 2))
    mask = np.array([True, False, True, True, False, True, True, True, True])
    x[~mask] = np.nan
    layer = ghost(size)
    y, *_ = step(layer, x, mask[:, None] * np.ones((9, 2)), mask=mask)
    assert np.isfinite(y[mask]).all()
    np.testing.assert_allclose(layer.moving_mean.numpy(), x[mask].mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x[mask].var(0), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"averaging": "debiased"},
        {"averaging": "cumulative"},
        {"variance_estimator": "unbiased"},
    ],
)
def test_moving_statistics_are_those_without_ghosts(arguments):
    with_ghosts = ghost(3, momentum=0.7, **arguments)
    without = BatchNormalization(momentum=0.7, **arguments)
    for seed, rows in enumerate((10, 2, 7)):
        for layer in (with_ghosts, without):
            layer(draw((rows, 4), seed), training=True)
    for actual, expected in zip(with_ghosts.non_trainable_variables, without.non_trainable_variables, strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("size", [1, 2, 32])
def test_many_groups_far_from_zero_keep_their_variance(size, run):
    x = draw((4096, 2), scale=1.0, offset=1e6)
    layer = ghost(size)
    step(layer, x, x, run=run)
    mean, variance = statistics(layer)
    np.testing.assert_allclose(mean, np.float64(x).mean(0), atol=0.07)  # float32 has steps of 0.06 there
    np.testing.assert_allclose(variance, np.float64(x).var(0), rtol=0.02)


@pytest.mark.parametrize("run", ["eager", "unknown", "xla"])
def test_an_empty_batch_leaves_all_as_it_was(run):
    layer = ghost(4, momentum=0.5)
    y, dx, dgamma, _ = step(layer, np.zeros((0, 3), "float32"), np.zeros((0, 3)), run=run)
    assert y.shape == dx.shape == (0, 3)
    assert not dgamma.any()
    mean, variance = statistics(layer)
    assert not mean.any()
    assert (variance == 1).all()


def test_groups_of_one_value_give_beta_and_still_average():
    layer, x = ghost(1), draw((6, 3))
    y, dx, *_ = step(layer, x, np.ones(x.shape))
    np.testing.assert_allclose(y, np.full(x.shape, -0.5), atol=1e-6)
    np.testing.assert_allclose(dx, np.zeros(x.shape), atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), x.var(0), rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtypes(policy):
    layer, x = ghost(4, dtype=policy), draw((10, 3))
    y, *_ = step(layer, x, np.ones(x.shape))
    assert layer(tf.cast(x, layer.compute_dtype), training=True).dtype == layer.compute_dtype
    expected, *_ = by_hand(np.float64(tf.cast(x, layer.compute_dtype)), np.ones(x.shape), 4)
    assert worst(y, expected) < {"mixed_float16": 2e-3, "mixed_bfloat16": 1.6e-2, "float64": 1e-12}[policy]


def test_inference_knows_no_ghosts():
    with_ghosts, without, x = ghost(3), ghost(None), draw((10, 4))
    for layer in (with_ghosts, without):
        layer.build(x.shape)
        layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(with_ghosts(x), without(x))
    with_ghosts.trainable = without.trainable = False
    np.testing.assert_array_equal(with_ghosts(x, training=True), without(x))


def test_one_trace_for_all_batch_sizes():
    layer = ghost(4)
    layer.build((None, 3))
    call = in_mode(lambda x: layer(x, training=True), "unknown", [tf.TensorSpec((None, 3))])
    for rows in (4, 8, 9, 3, 1):
        x = draw((rows, 3), seed=rows)
        np.testing.assert_allclose(call(x), by_hand(x, x, 4)[0], rtol=1e-4, atol=1e-4)
    assert call.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_with_a_last_batch_that_is_smaller(jit_compile):
    x = draw((22, 3))
    model = keras.Sequential([keras.Input((3,)), ghost(4, averaging="cumulative", momentum=0.9), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    history = model.fit(x, x[:, :1], batch_size=8, shuffle=False, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    batches = np.split(np.float64(x), [8, 16])  # the last one is a group of four and one of two
    np.testing.assert_allclose(
        model.layers[0].moving_mean.numpy(), np.mean([b.mean(0) for b in batches], 0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        model.layers[0].moving_variance.numpy(), np.mean([b.var(0) for b in batches], 0), rtol=1e-5
    )


@pytest.mark.parametrize("axis", [0, -2, (0, 1)])
def test_the_axis_of_the_examples_cannot_be_a_channel_axis(axis):
    shape = (4, 3) if not isinstance(axis, tuple) else (4, 3, 2)
    with pytest.raises(InputError) as error:
        BatchNormalization(axis=axis, virtual_batch_size=2, name="bn").build(shape)
    message = (
        f"bn.axis: expected no axis 0, which virtual_batch_size divides into groups; received {axis}. Leave out one"
    )
    assert str(error.value) == message + " of the two."


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "4", float("nan")])
def test_sizes_that_cannot_be(size):
    with pytest.raises(InputError) as error:
        BatchNormalization(virtual_batch_size=size, name="bn")
    assert str(error.value) == (
        f"bn.virtual_batch_size: expected a whole number of at least 1; received {size!r}. None takes the whole batch."
    )
