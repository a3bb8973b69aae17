import numpy as np
import pytest
import tensorflow as tf

from kerasbn.layers import normalization

EPSILON = 1e-3


def oracle(x, gamma, beta, dy, axis=-1, mask=None):
    """The formulas of the docstring in float64: y, mean, variance, count, dx, dgamma, dbeta."""
    w = np.broadcast_to(1.0 if mask is None else mask * 1.0, x.shape)
    x, dy, w = (np.moveaxis(np.float64(value), axis, -1) for value in (x, dy, w))
    axes = tuple(range(x.ndim - 1))
    m = w.sum(axes)
    mean = (w * x).sum(axes) / m
    variance = (w * (x - mean) ** 2).sum(axes) / m
    root = np.sqrt(variance + EPSILON)
    hat = (x - mean) / root
    dbeta, dgamma = dy.sum(axes), (dy * hat).sum(axes)
    dx = gamma / root * (dy - w / m * (dbeta + hat * dgamma))
    return np.moveaxis(hat * gamma + beta, -1, axis), mean, variance, m, np.moveaxis(dx, -1, axis), dgamma, dbeta


def ours(x, gamma, beta, dy, axis=-1, mask=None):
    x, gamma, beta = (tf.convert_to_tensor(value) for value in (x, gamma, beta))
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        y, mean, variance, count = normalization.batch_normalize(x, gamma, beta, EPSILON, axis, mask)
    return (y, mean, variance, count, *tape.gradient(y, [x, gamma, beta], tf.cast(dy, y.dtype)))


def draw(shape, axis=-1, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    channels = shape[axis]
    x = rng.normal(size=shape) * 3 + 5
    parameters = "float32" if dtype == "float16" else dtype
    return (
        x.astype(dtype),
        rng.uniform(0.5, 2, channels).astype(parameters),
        rng.normal(size=channels).astype(parameters),
        rng.normal(size=shape).astype(parameters),
    )


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((7, 3), -1),
        ((7, 3), 1),
        ((5, 4, 3), 2),
        ((5, 3, 4), 1),
        ((4, 3, 2, 5), -1),
        ((4, 5, 3, 2), 1),
        ((2, 3, 2, 2, 4), -1),
    ],
)
def test_formulas_hold_in_every_rank_and_mode(run, shape, axis):
    values = draw(shape, axis)
    function = ours if run == "eager" else tf.function(ours, jit_compile=run == "xla")
    for actual, expected in zip(function(*values, axis=axis), oracle(*values, axis=axis), strict=True):
        np.testing.assert_allclose(np.broadcast_to(actual, expected.shape), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("run", ["eager", "xla"])
@pytest.mark.parametrize("axis", [2, 1])
def test_masks_count_exactly(run, axis):
    values = draw((4, 5, 6), axis)
    mask = np.random.default_rng(1).random((4, 5, 6)) < 0.4
    mask[0] = True
    function = ours if run == "eager" else tf.function(ours, jit_compile=True)
    for actual, expected in zip(
        function(*values, axis=axis, mask=tf.constant(mask)), oracle(*values, axis=axis, mask=mask), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("run", ["eager", "xla"])
def test_what_is_masked_may_be_nan(run):
    x = np.array([[1.0], [3.0], [np.nan], [np.inf]], "float32")
    mask = np.array([[True], [True], [False], [False]])
    function = ours if run == "eager" else tf.function(ours, jit_compile=True)
    one = np.ones(1, "float32")
    _, mean, variance, count, *derivatives = function(x, one, one, mask * 2.0, mask=tf.constant(mask))
    assert (float(mean[0]), float(variance[0]), float(count[0])) == (2.0, 1.0, 2.0)
    assert all(np.isfinite(derivative).all() for derivative in derivatives)


def test_nothing_to_count_gives_finite_values_and_a_count_of_zero():
    y, mean, variance, count = normalization.batch_normalize(
        tf.fill((3, 2), 7.0), None, None, EPSILON, mask=tf.zeros((3, 1), tf.bool)
    )
    assert mean.numpy().tolist() == [0, 0]
    assert variance.numpy().tolist() == [1, 1]
    assert count.numpy().tolist() == [0, 0]
    assert np.isfinite(y).all()


def test_numerical_gradient_in_float64():
    x, gamma, beta, dy = draw((6, 2, 3), dtype="float64")
    _, _, _, _, *analytic = ours(x, gamma, beta, dy)

    def loss(x, gamma, beta):
        return np.sum(dy * normalization.batch_normalize(tf.constant(x), gamma, beta, EPSILON)[0])

    arguments, rng, step = [x, gamma, beta], np.random.default_rng(3), 1e-6
    for i, derivative in enumerate(analytic):
        direction = rng.normal(size=arguments[i].shape)
        ends = [
            loss(*(a + sign * step * direction if j == i else a for j, a in enumerate(arguments))) for sign in (1, -1)
        ]
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), np.sum(derivative * direction), rtol=1e-7)


@pytest.mark.parametrize("mask", [None, np.array([[True], [False], [True], [True]])])
def test_mean_and_variance_have_derivatives_too(mask):
    x = tf.constant(np.random.default_rng(0).normal(size=(4, 2)))
    weights = tf.ones((4, 1), tf.float64) if mask is None else tf.cast(mask, tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        _, mean, variance, _ = normalization.batch_normalize(x, None, None, EPSILON, mask=mask)
        ours_total = tf.reduce_sum(mean * [1.0, 2.0] + variance**2)
        plain_mean = tf.reduce_sum(x * weights, 0) / tf.reduce_sum(weights)
        plain_variance = tf.reduce_sum((x - plain_mean) ** 2 * weights, 0) / tf.reduce_sum(weights)
        plain_total = tf.reduce_sum(plain_mean * [1.0, 2.0] + plain_variance**2)
    np.testing.assert_allclose(tape.gradient(ours_total, x), tape.gradient(plain_total, x), rtol=1e-10)


@pytest.mark.parametrize("graph", [False, True])
def test_second_derivatives_agree_with_those_of_plain_operations(graph):
    x = tf.constant(np.random.default_rng(0).normal(size=(5, 2)))

    def plain(x):
        mean = tf.reduce_mean(x, 0)
        return (x - mean) / tf.sqrt(tf.reduce_mean((x - mean) ** 2, 0) + EPSILON)

    def second(function):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(function(x) ** 3)
            penalty = tf.reduce_sum(inner.gradient(total, x) ** 2)
        return outer.gradient(penalty, x)

    def ours(x):
        return normalization.batch_normalize(x, None, None, EPSILON)[0]

    run = tf.function(second) if graph else second
    np.testing.assert_allclose(run(ours), run(plain), rtol=1e-6)


def test_a_large_mean_does_not_cancel():
    x = (1e4 + np.random.default_rng(0).integers(-8, 9, size=(256, 4))).astype("float32")  # and its sum: exact
    exact = np.float64(x)
    expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + EPSILON)
    y, _, variance, _ = normalization.batch_normalize(tf.constant(x), None, None, EPSILON)
    # What is left is the rounding of the mean itself, 5e-4.
    np.testing.assert_allclose(variance, exact.var(0), rtol=1e-5)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1.2e-4)


@pytest.mark.parametrize("run", ["eager", "xla"])
def test_inference_far_from_zero_does_not_cancel(run):
    # tensorflow#117318: x * inverse + (beta - mean * inverse) gives -1.14e10 here.
    function = normalization.normalize
    function = function if run == "eager" else tf.function(function, jit_compile=True)
    x = tf.fill((3, 1), 1e15)
    assert function(x, x[0], tf.zeros(1), None, None, EPSILON).numpy().tolist() == [[0], [0], [0]]


def test_float16_statistics_do_not_overflow():
    x = np.array([[60000.0], [-60000.0], [60000.0], [-60000.0]], "float16")
    y, mean, variance, _ = normalization.batch_normalize(tf.constant(x), None, None, EPSILON)
    assert variance.dtype == tf.float32
    np.testing.assert_allclose(variance, np.float64(x).var(0), rtol=1e-6)
    np.testing.assert_allclose(mean, [0])
    np.testing.assert_allclose(y, [[1], [-1], [1], [-1]], rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int32", "float32"),
    ],
)
def test_statistics_dtype(dtype, expected):
    assert normalization.statistics_dtype(dtype) == expected


def test_vectorized_map_runs_many_at_once():
    x = np.random.default_rng(0).normal(size=(3, 8, 2)).astype("float32")
    gamma = np.array([1.0, 2.0], "float32")

    def derivative(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(normalization.batch_normalize(x, gamma, None, EPSILON)[0] ** 3)
        return tape.gradient(total, x)

    many = tf.vectorized_map(derivative, tf.constant(x))
    np.testing.assert_allclose(many, [derivative(tf.constant(one)) for one in x], rtol=1e-4, atol=1e-5)
