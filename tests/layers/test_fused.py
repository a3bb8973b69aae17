"""The fused kernel: the same results as from scratch and as in float64, and used only where that is so."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import channels, draw, formulas, in_mode, statistics, step, worst

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

SHAPES = [
    ((40, 3), -1),
    ((8, 5, 3), 2),
    ((4, 5, 6, 3), -1),
    ((2, 3, 4, 5, 3), 4),
    ((6, 4, 3), (1, 2)),
    ((4, 3, 2, 5), (-1, 2)),
    ((3, 2, 2, 3, 2), (2, 3, 4)),
    ((9, 1), -1),
]
# Of y and dx, in units of the largest value; statistics and the gradients of gamma and beta are float32 in all three.
TOLERANCES = {"float32": 1e-5, "mixed_float16": 2e-3, "mixed_bfloat16": 1.6e-2}


def layer_like(x, axis=-1, **arguments):
    layer = BatchNormalization(axis=axis, momentum=0.0, **arguments)
    layer.build((None, *x.shape[1:]))
    for parameter, low in ((layer.gamma, 0.5), (layer.beta, -1.0)):
        if parameter is not None:
            parameter.assign(np.random.default_rng(3).uniform(low, 2, parameter.shape))
    return layer


def check(x, axis, run="eager", **arguments):
    """Hold the fused path and the one from scratch against the oracle."""
    dy = draw(x.shape, seed=1)
    for kernel in ("fused", "scratch"):
        layer = layer_like(x, axis, kernel=kernel, **arguments)
        compute = layer.compute_dtype
        gamma = 1 if layer.gamma is None else layer.gamma.numpy()
        beta = 0 if layer.beta is None else layer.beta.numpy()
        expected = formulas(np.float64(tf.cast(x, compute)), np.float64(tf.cast(dy, compute)), gamma, beta, axis=axis)
        y, dx, dgamma, dbeta = step(layer, x, dy, run=run)
        assert layer.kernel.path == kernel
        tolerance = TOLERANCES[layer.dtype_policy.name]
        assert y.shape == dx.shape == x.shape
        assert worst(y, expected.y) < tolerance
        assert worst(dx, expected.dx) < tolerance
        for actual, wanted in zip((*statistics(layer), dgamma, dbeta), (*expected[1:3], *expected[5:]), strict=True):
            if actual is not None:
                assert actual.shape == channels(x, axis)
                assert worst(actual, wanted) < 3e-5


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_fused_is_scratch_is_oracle(shape, axis, policy):
    check(draw(shape), axis, dtype=policy)


@pytest.mark.parametrize("run", ["graph", "unknown"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES[1:6])
def test_the_same_in_graphs_and_for_unknown_sizes(shape, axis, run):
    check(draw(shape), axis, run)


@pytest.mark.parametrize("arguments", [{"center": False}, {"scale": False}, {"center": False, "scale": False}])
@pytest.mark.parametrize(("shape", "axis"), [((12, 3), -1), ((6, 4, 3), (1, 2))])
def test_without_gamma_or_beta(shape, axis, arguments):
    check(draw(shape), axis, **arguments)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_many_values(policy):
    check(draw((3000, 40)), -1, dtype=policy)  # more than one thread of the kernel works on these


@pytest.mark.parametrize("run", ["eager", "graph", "unknown"])
@pytest.mark.parametrize(("shape", "axis"), [((0, 3), -1), ((0, 4, 4, 3), -1), ((2, 0, 3), -1), ((0, 2, 3), (1, 2))])
def test_an_empty_batch(shape, axis, run):
    x = np.zeros(shape, "float32")
    layer = layer_like(x, axis, kernel="fused")
    before = layer.get_weights()
    y, dx, dgamma, dbeta = step(layer, x, x, run=run)
    assert y.shape == dx.shape == shape
    assert not dgamma.any()
    assert not dbeta.any()
    for weight, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("run", ["eager", "graph", "unknown"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (1, 1, 1, 3)])
def test_a_single_value_per_channel(shape, run):
    x = draw(shape)
    layer = layer_like(x, kernel="fused")
    y, dx, dgamma, dbeta = step(layer, x, np.ones(shape), run=run)
    np.testing.assert_allclose(y, np.broadcast_to(layer.beta.numpy(), shape), rtol=1e-6)
    np.testing.assert_allclose(dx, np.zeros(shape), atol=1e-5)
    np.testing.assert_allclose(dgamma, np.zeros(shape[-1]), atol=1e-5)
    np.testing.assert_array_equal(dbeta, np.ones(shape[-1]))
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.reshape(-1), rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_variance.numpy(), np.ones(shape[-1]))  # one value tells nothing of it


def keras_and_ours(x, run, **arguments):
    """Return how far y, dx, dgamma and both statistics are from the oracle, for Keras's layer and for ours."""
    dy = draw(x.shape, seed=1, offset=0)
    expected = formulas(x, dy)
    errors = []
    for kind in (keras.layers.BatchNormalization, lambda **kw: BatchNormalization(**arguments, **kw)):
        layer = kind(momentum=0.0)
        y, dx, dgamma, _ = step(layer, x, dy, run=run)
        results = (y, dx, dgamma, *statistics(layer))
        assert all(np.isfinite(r).all() for r in results)
        wanted = (expected.y, expected.dx, expected.dgamma, expected.mean, expected.variance)
        errors.append([worst(*pair) for pair in zip(results, wanted, strict=True)])
    return errors


@pytest.mark.parametrize("offset", [1e2, 1e3, 1e4, 1e6, -1e6])
@pytest.mark.parametrize("run", ["eager", "graph"])
def test_no_digits_are_lost_far_from_zero(offset, run):
    x = draw((20_000, 3), offset=offset, scale=1.0)
    theirs, ours = keras_and_ours(x, run, kernel="fused")
    assert all(error <= max(bound, 1e-5) for error, bound in zip(ours, theirs, strict=True))
    assert ours[0] < 1e-4
    assert ours[1] < 1e-3
    assert ours[4] < 1e-4


def test_one_channel_far_from_zero_is_enough():
    x = draw((20_000, 3), scale=1.0)
    x[:, 1] += 1e6
    layer = layer_like(x, kernel="fused")
    y, *_ = step(layer, x, x)
    expected = formulas(x, 0, layer.gamma.numpy(), layer.beta.numpy())
    assert worst(y, expected.y) < 1e-4
    assert worst(layer.moving_variance.numpy(), expected.variance) < 1e-4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("width", "channel"), [(1, 0), (3, 2), (8, 5), (17, 16)])
def test_what_is_not_finite_spoils_its_own_channel_and_no_other(bad, width, channel):
    x = draw((32, width))
    x[7, channel] = bad
    layer, theirs = layer_like(x, kernel="fused"), keras.layers.BatchNormalization(momentum=0.0)
    y, dx, *_ = step(layer, x, np.ones(x.shape))
    y_keras, *_ = step(theirs, x, np.ones(x.shape))
    others = np.arange(width) != channel
    np.testing.assert_array_equal(np.isnan(y[:, channel]), np.isnan(y_keras[:, channel]))
    assert np.isfinite(y[:, others]).all()
    assert np.isfinite(dx[:, others]).all()
    for ours, keras_own in zip(statistics(layer), statistics(theirs), strict=True):
        np.testing.assert_array_equal(np.isfinite(ours), np.isfinite(keras_own))
        np.testing.assert_allclose(ours[others], keras_own[others], rtol=1e-5)


@pytest.mark.parametrize("run", ["eager", "graph"])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_second_order_gradients(run, offset):
    x = tf.constant(draw((24, 3)) + np.float32(offset))

    def gradients(kernel):
        layer = layer_like(x, kernel=kernel)

        def penalty(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    total = tf.reduce_sum(layer(x, training=True) ** 3)
                square = tf.reduce_sum(inner.gradient(total, x) ** 2)
            return outer.gradient(square, [x, layer.gamma.value])

        return in_mode(penalty, run)(x)

    for actual, expected in zip(gradients("fused"), gradients("scratch"), strict=True):
        assert worst(actual.numpy(), expected.numpy()) < (1e-4 if offset == 0 else 1e-2)


def test_vectorized_map_runs_the_fused_kernel():
    layer = layer_like(np.zeros((16, 4)), kernel="fused")
    weights = [[v.value for v in vs] for vs in (layer.trainable_variables, layer.non_trainable_variables)]
    x = tf.constant(draw((3, 16, 4)))

    def derivative(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, statistics = layer.stateless_call(*weights, x, training=True)
            total = tf.reduce_sum(y**3)
        return tape.gradient(total, x), *statistics

    many = tf.vectorized_map(derivative, x)
    one_by_one = zip(*map(derivative, x), strict=True)
    for actual, expected in zip(many, one_by_one, strict=True):
        np.testing.assert_allclose(actual, np.stack(expected), rtol=1e-4, atol=1e-5)


# Inference ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize("arguments", [{}, {"center": False, "scale": False}, {"axis": (1, 2)}])
def test_inference_on_many_values_is_that_on_few(policy, arguments):
    x = draw((800, 16, 16))
    layer = layer_like(x, dtype=policy, **arguments)
    shape = layer.moving_mean.shape
    layer.moving_mean.assign(draw(shape, seed=5))
    layer.moving_variance.assign(np.random.default_rng(6).uniform(0.5, 3, shape))
    whole = np.float64(layer(x))
    parts = np.concatenate([np.float64(layer(part)) for part in np.split(x, 8)])
    assert worst(whole, parts) < TOLERANCES[policy]
    gamma, beta = (1 if layer.gamma is None else layer.gamma.numpy(), 0 if layer.beta is None else layer.beta.numpy())
    root = np.sqrt(np.float64(layer.moving_variance.numpy()) + 1e-3)
    exact = (np.float64(tf.cast(x, layer.compute_dtype)) - np.float64(layer.moving_mean.numpy())) / root * gamma + beta
    assert worst(whole, exact) < TOLERANCES[policy]


@pytest.mark.parametrize("run", ["eager", "graph", "unknown", "xla"])
def test_inference_on_many_values_has_derivatives(run):
    x = draw((500, 20, 20))
    layers = [layer_like(x, kernel=kernel) for kernel in ("auto", "scratch")]

    def gradients(layer):
        def derive(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                total = tf.reduce_sum(layer(x, training=False) ** 2)
            return tape.gradient(total, [x, layer.gamma.value, layer.beta.value])

        return in_mode(derive, run, [tf.TensorSpec((None, None, 20))])(tf.constant(x))

    for actual, expected in zip(*map(gradients, layers), strict=True):
        assert worst(actual.numpy(), expected.numpy()) < 1e-5


def test_kernel_scratch_is_scratch_at_inference_too():
    x = tf.constant(draw((1000, 256)))
    for kernel, fused in (("scratch", False), ("auto", True)):
        layer = layer_like(x, kernel=kernel)
        graph = tf.function(layer).get_concrete_function(x).graph.as_graph_def()
        operations = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
        assert ("FusedBatchNormV3" in operations) == fused


# Which kernel, and why ------------------------------------------------------------------------------------------------

SMALL = "scratch: the fused kernel is slower on fewer than 100,000 values, and these are "


def trained_kernel(shape, policy="float32", **arguments):
    layer = BatchNormalization(dtype=policy, **arguments)
    layer(np.zeros(shape, layer.compute_dtype), training=True)
    return str(layer.kernel)


@pytest.mark.parametrize(
    ("shape", "arguments", "kernel"),
    [
        ((4, 3), {}, SMALL + "12"),
        ((256, 390), {}, SMALL + "99,840"),
        ((250, 400), {}, "fused: float32 statistics of many values, channels last"),
        ((256, 512), {}, "fused: float32 statistics of many values, channels last"),
        ((4, 3), {"kernel": "fused"}, "fused: it was asked for"),
        ((256, 512), {"kernel": "scratch"}, "scratch: it was asked for"),
        (
            (256, 512),
            {"policy": "float64"},
            "scratch: the fused kernel takes float16, bfloat16 and float32, not float64",
        ),
        ((64, 40, 40), {"axis": 1}, "scratch: the channel axes (1,) are not the last ones of 3"),
        ((64, 40, 40), {"axis": (0, 2)}, "scratch: the channel axes (0, 2) are not the last ones of 3"),
        (
            (256, 512),
            {"virtual_batch_size": 32},
            "scratch: with virtual_batch_size each group has statistics of its own",
        ),
    ],
)
def test_the_layer_says_which_kernel_and_why(shape, arguments, kernel):
    assert trained_kernel(shape, **arguments) == kernel


def test_kernel_before_build_after_build_and_in_later_calls():
    layer = BatchNormalization()
    assert str(layer.kernel) == "undecided: the layer is not built"
    layer.build((None, 512))  # taken to be 32 examples
    assert str(layer.kernel) == SMALL + "about 16,384"
    x = np.zeros((256, 512), "float32")
    layer(x, training=True)
    assert layer.kernel.path == "fused"
    layer(x[:2], training=True)
    assert str(layer.kernel) == SMALL + "1,024"
    layer(x, training=True, mask=np.ones(256, bool))
    assert str(layer.kernel) == "scratch: a mask, which the fused kernel ignores"
    in_mode(lambda x: layer(x, training=True), "xla")(x)
    assert (
        str(layer.kernel)
        == "scratch: XLA, whose version of the fused kernel loses the variance of values far from zero"
    )


FORCED = "bn.kernel: expected 'auto' or 'scratch'; received 'fused', which cannot be: "


@pytest.mark.parametrize(
    ("arguments", "shape", "reason"),
    [
        ({"axis": 1}, (4, 3, 5), "the channel axes (1,) are not the last ones of 3."),
        ({"dtype": "float64"}, (4, 3), "the fused kernel takes float16, bfloat16 and float32, not float64."),
    ],
)
def test_a_forced_kernel_that_cannot_be_is_refused_at_build(arguments, shape, reason):
    with pytest.raises(InputError) as error:
        BatchNormalization(name="bn", kernel="fused", **arguments).build(shape)
    assert str(error.value) == f"{FORCED}{reason} kernel='auto' takes it wherever it can be taken."


def test_a_forced_kernel_that_cannot_be_is_refused_in_the_call():
    layer = BatchNormalization(name="bn", kernel="fused")
    x = np.zeros((4, 3), "float32")
    with pytest.raises(InputError) as error:
        layer(x, training=True, mask=np.ones(4, bool))
    assert FORCED + "a mask, which the fused kernel ignores." in str(error.value)
    with pytest.raises(InputError) as error:
        tf.function(lambda x: layer(x, training=True), jit_compile=True, autograph=False)(x)
    assert FORCED + "XLA, whose version of the fused kernel loses the variance" in str(error.value)
    layer(x, mask=np.ones(4, bool))  # at inference a mask means nothing, and the kernel can be used


# Graphs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["fused", "scratch"])
@pytest.mark.parametrize("training", [True, False])
def test_a_compiled_function_is_not_traced_again(kernel, training):
    layer = layer_like(np.zeros((1, 3)), kernel=kernel)
    call = in_mode(lambda x: layer(x, training=training), "unknown", [tf.TensorSpec((None, 3))])
    for rows in (4, 7, 1, 0, 4):
        assert call(draw((rows, 3))).shape == (rows, 3)
    assert call.experimental_get_tracing_count() == 1


def test_xla_gets_no_fused_operation_and_is_right_far_from_zero():
    # tensorflow#118701: XLA's own version of the operation gives NaN or a wrong variance here.
    x, dy = draw((1000, 128), scale=1.0, offset=1e5), draw((1000, 128), seed=1)
    layer = layer_like(x)

    def train(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x, dy), layer(x, training=False)

    compiled = in_mode(train, "xla")
    for stage in ("hlo", "optimized_hlo"):
        text = compiled.experimental_get_compiler_ir(tf.constant(x))(stage=stage).lower()
        assert "reduce" in text
        assert "fusedbatchnorm" not in text
        assert "batch-norm" not in text
    expected = formulas(x, dy, layer.gamma.numpy(), layer.beta.numpy())
    for actual, wanted in zip(compiled(tf.constant(x)), (expected.y, expected.dx, expected.y), strict=True):
        assert worst(np.float64(actual), wanted) < 2e-3 if wanted is expected.y else 1e-4
