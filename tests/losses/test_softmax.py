"""Tests of the mathematics: losses and derivatives against float64 and against numerical differences."""

import numpy as np
import pytest
import tensorflow as tf

from kerasbn.losses.softmax import FEW_CLASSES, smoothed, softmax_cross_entropy

RNG = np.random.default_rng(0)
RUNS = {"eager": lambda f: f, "graph": tf.function, "xla": lambda f: tf.function(f, jit_compile=True)}
KINDS = ("few", "many", "soft")  # the fused operation, and twice what is written out
ALL_LABELS_AND_RUNS = [
    pytest.mark.parametrize("run", RUNS.values(), ids=RUNS),
    pytest.mark.parametrize("kind", KINDS),
]


def in_all_runs(function):
    for mark in ALL_LABELS_AND_RUNS:
        function = mark(function)
    return function


def batch(kind, rows=6, scale=3.0):
    classes = FEW_CLASSES + 8 if kind == "many" else 5
    z = RNG.normal(size=(rows, classes)) * scale
    y = RNG.dirichlet(np.ones(classes), rows) if kind == "soft" else RNG.integers(0, classes, rows).astype("int32")
    return y, z


def oracle(y, z, z_loss=0.0):
    """Losses and derivatives of the rows by the formulas, in float64, with 0 * -inf = 0."""
    y, z = np.float64(np.eye(z.shape[1])[y] if y.ndim == 1 else y), np.float64(z)
    m = z.max(-1, keepdims=True)
    lse = m + np.log(np.exp(z - m).sum(-1, keepdims=True))
    with np.errstate(invalid="ignore"):
        terms = np.where(y == 0, 0, y * (lse - z))
    return terms.sum(-1) + z_loss * lse[:, 0] ** 2, np.exp(z - lse) * (1 + 2 * z_loss * lse) - y


def derivative(run, y, z, z_loss=0.0, weights=None):
    weights = np.ones(len(z)) if weights is None else weights

    def both(y, z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            losses = softmax_cross_entropy(z, y, z_loss=z_loss)
        return losses, tape.gradient(losses, z, tf.cast(weights, z.dtype))

    return [result.numpy() for result in run(both)(tf.constant(y), tf.constant(z))]


@in_all_runs
@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_losses_and_derivatives(run, kind, z_loss):
    y, z = batch(kind)
    for actual, expected in zip(derivative(run, y, z, z_loss), oracle(y, z, z_loss), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_numerical_differences(kind, z_loss):
    y, z = batch(kind, rows=2, scale=1.0)
    _, slopes = derivative(tf.function, y, z, z_loss)
    for row, k in np.ndindex(*z.shape):
        step = np.zeros_like(z)
        step[row, k] = 1e-5
        up, down = (softmax_cross_entropy(tf.constant(z + s), tf.constant(y), z_loss=z_loss) for s in (step, -step))
        assert slopes[row, k] == pytest.approx(float(up[row] - down[row]) / 2e-5, abs=1e-9)


@in_all_runs
@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_second_derivatives(run, kind, z_loss):
    y, z = batch(kind, rows=2, scale=1.0)

    def second(z):
        with tf.GradientTape() as outer:
            outer.watch(z)
            with tf.GradientTape() as inner:
                inner.watch(z)
                total = tf.reduce_sum(softmax_cross_entropy(z, tf.constant(y), z_loss=z_loss) ** 2)
            slope = inner.gradient(total, z)
        return outer.gradient(slope, z, tf.ones_like(z) + tf.cos(z))

    direction, step = 1 + np.cos(z), 1e-5

    def slope_at(point):
        losses, slopes = oracle(y, point, z_loss)
        return 2 * losses[:, None] * slopes

    expected = (slope_at(z + step * direction) - slope_at(z - step * direction)) / (2 * step)
    np.testing.assert_allclose(run(second)(tf.constant(z)), expected, rtol=1e-7, atol=1e-7)


def test_derivative_by_soft_labels():
    y, z = batch("soft")
    q = tf.constant(y)
    with tf.GradientTape() as tape:
        tape.watch(q)
        total = tf.reduce_sum(softmax_cross_entropy(tf.constant(z), q))
    lse = np.log(np.exp(z).sum(-1, keepdims=True))
    np.testing.assert_allclose(tape.gradient(total, q), lse - z, rtol=1e-12)


@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("large", [lambda z: 1e4 * z, lambda z: 1e4 + z], ids=["times", "plus"])
def test_no_less_exact_than_the_fused_operations(classes, large):
    z = large(RNG.normal(size=(64, classes)).astype("float32"))
    soft = RNG.dirichlet(np.ones(classes), 64).astype("float32")
    fused = (tf.nn.sparse_softmax_cross_entropy_with_logits, tf.nn.softmax_cross_entropy_with_logits)
    for operation, y in zip(fused, (soft.argmax(-1), soft), strict=True):
        logits = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = operation(labels=y, logits=logits)
        theirs = (losses, tape.gradient(losses, logits))
        for one, other, exact in zip(derivative(tf.function, y, z), theirs, oracle(y, z), strict=True):
            assert np.abs(one - exact).max() <= np.abs(np.float64(other) - exact).max()


@in_all_runs
def test_masked_classes(run, kind):
    y, z = batch(kind)
    z[:, 1:3] = -np.inf
    if kind == "soft":
        y[:, 1:3] = 0
        y /= y.sum(-1, keepdims=True)
    else:
        y[:] = [0, 3, 4, 0, 3, 4]
    losses, slopes = derivative(run, y, z)
    kept = np.delete(np.arange(z.shape[1]), [1, 2])
    without = oracle(y[:, kept] if kind == "soft" else np.where(y > 2, y - 2, y), z[:, kept])
    np.testing.assert_allclose(losses, without[0], rtol=1e-12)
    np.testing.assert_allclose(slopes[:, kept], without[1], rtol=1e-12, atol=1e-14)
    assert not slopes[:, 1:3].any()


@in_all_runs
def test_a_masked_true_class_is_an_infinite_loss_with_a_finite_derivative(run, kind):
    y, z = batch(kind)
    z[0, y[0].argmax() if kind == "soft" else y[0]] = -np.inf
    losses, slopes = derivative(run, y, z)
    assert losses[0] == np.inf
    assert np.isfinite(losses[1:]).all()
    np.testing.assert_allclose(slopes, oracle(y, z)[1], atol=1e-14)


@in_all_runs
def test_a_row_without_classes_is_nan_unless_it_has_no_weight(run, kind):
    y, z = batch(kind)
    z[0], z[1] = -np.inf, np.nan
    losses, slopes = derivative(run, y, z, weights=np.array([0.0, 0, 1, 1, 1, 1]))
    assert np.isnan(losses[:2]).all()
    assert np.isfinite(losses[2:]).all()
    assert not slopes[:2].any()
    np.testing.assert_allclose(slopes[2:], oracle(y[2:], z[2:])[1], atol=1e-14)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("masked", [False, True])
def test_smoothing_goes_to_the_classes_that_are_not_masked(run, masked):
    z = np.zeros((2, 4), "float32")
    if masked:
        z[1, 3] = -np.inf
    second = [0.6 + 0.4 / 3, 0.4 / 3, 0.4 / 3, 0] if masked else [0.7, 0.1, 0.1, 0.1]
    expected = [[0.1, 0.1, 0.7, 0.1], second]
    for labels in (np.array([2, 0]), np.eye(4, dtype="float32")[[2, 0]]):
        actual = run(lambda labels, z: smoothed(labels, z, 0.4))(tf.constant(labels), tf.constant(z))
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("kind", ["integer", "one_hot"])
def test_smoothing_with_masked_classes_is_finite(run, kind):
    z = RNG.normal(size=(3, 4)).astype("float32")
    z[:, 1] = -np.inf
    y = np.array([0, 2, 3], "int32") if kind == "integer" else np.eye(4, dtype="float32")[[0, 2, 3]]

    def both(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            losses = softmax_cross_entropy(z, tf.constant(y), 0.3)
        return losses, tape.gradient(losses, z)

    q = 0.7 * np.eye(3)[[0, 1, 2]] + 0.1
    expected = oracle(q, z[:, [0, 2, 3]])
    losses, slopes = run(both)(tf.constant(z))
    np.testing.assert_allclose(losses, expected[0], rtol=1e-6)
    np.testing.assert_allclose(slopes.numpy()[:, [0, 2, 3]], expected[1], atol=1e-6)
    assert not slopes.numpy()[:, 1].any()


@pytest.mark.parametrize("classes", [5, FEW_CLASSES + 1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("bad", [-1, 0])
def test_labels_out_of_range(classes, smoothing, bad):
    y, z = tf.constant([0, bad or classes, 1]), tf.zeros((3, classes))
    for run in (RUNS["eager"], RUNS["graph"]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, {classes}\)"):
            run(softmax_cross_entropy)(z, y, smoothing)
    losses = tf.function(softmax_cross_entropy, jit_compile=True)(z, y, smoothing)
    assert np.isnan(losses).tolist() == [False, True, False]
