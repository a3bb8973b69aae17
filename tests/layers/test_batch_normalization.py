import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization


def data(shape=(16, 3), seed=0, dtype="float32"):
    return (np.random.default_rng(seed).normal(size=shape) * 2 + 1).astype(dtype)


def pair(shape, **arguments):
    """Keras's layer and ours with the same, uneven weights."""
    layers = keras.layers.BatchNormalization(**arguments), BatchNormalization(**arguments)
    rng = np.random.default_rng(7)
    for layer in layers:
        layer.build((None, *shape[1:]))
    weights = [rng.uniform(0.5, 2, w.shape) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def step(layer, x, dy, **arguments):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True, **arguments)
    return y, tape.gradient(y, [x, *(v.value for v in layer.trainable_variables)], tf.cast(dy, y.dtype))


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((16, 3), {}),
        ((8, 5, 3), {"momentum": 0.5, "epsilon": 1e-5}),
        ((4, 6, 6, 3), {"center": False}),
        ((4, 3, 6, 6), {"axis": 1, "scale": False}),
        ((4, 2, 3, 2, 2), {"axis": -3}),
        ((16, 3), {"center": False, "scale": False}),
    ],
)
def test_agrees_with_keras_forward_backward_and_moving(shape, arguments):
    x, dy = data(shape), data(shape, seed=1)
    layers = pair(shape, **arguments)
    (y_keras, gradients_keras), (y, gradients) = (step(layer, x, dy) for layer in layers)
    np.testing.assert_allclose(y, y_keras, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(gradients, gradients_keras, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    for weight, expected in zip(layers[1].weights, layers[0].weights, strict=True):
        assert weight.name == expected.name
        np.testing.assert_allclose(weight.numpy(), expected.numpy(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(layers[1](x), layers[0](x), rtol=1e-5, atol=1e-5)


def test_arguments_defaults_and_weights_are_those_of_keras():
    ours = BatchNormalization(name="bn").get_config()
    theirs = keras.layers.BatchNormalization(name="bn").get_config()
    assert ours == theirs
    assert issubclass(BatchNormalization, keras.layers.BatchNormalization)
    layer = BatchNormalization()
    layer.build((None, 2))
    assert [w.name for w in layer.weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert len(layer.trainable_variables) == 2


def test_weights_files_load_both_ways(tmp_path):
    models = [
        keras.Sequential([keras.Input((3,)), kind(name="bn")])
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for source, target in (models, models[::-1]):
        source.set_weights([np.random.default_rng(0).uniform(1, 2, w.shape) for w in source.weights])
        source.save_weights(tmp_path / "w.weights.h5")
        target.load_weights(tmp_path / "w.weights.h5")
        for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_moving_statistics_are_biased_averages():
    layer = BatchNormalization(momentum=0.5)
    layer(np.array([[1.0], [2.0], [3.0], [4.0]], "float32"), training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [1.25])
    np.testing.assert_allclose(layer.moving_variance.numpy(), [0.5 + 0.5 * 1.25])  # 1.25, not 1.6667


def test_not_trainable_is_inference():
    layer = BatchNormalization()
    x = data()
    expected = layer(x, training=False)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), expected)
    assert layer.moving_mean.numpy().tolist() == [0, 0, 0]
    assert layer.trainable_variables == []


def test_mask_agrees_with_keras():
    x, mask = data((4, 5, 3)), np.random.default_rng(0).random((4, 5)) < 0.6
    theirs, ours = pair(x.shape)
    (y_keras, gradients_keras), (y, gradients) = (step(b, x, data(x.shape, 1), mask=mask) for b in (theirs, ours))
    np.testing.assert_allclose(y, y_keras, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours.moving_variance.numpy(), theirs.moving_variance.numpy(), rtol=1e-5)
    for gradient, expected in zip(gradients, gradients_keras, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [1, -1])
def test_mask_leaves_out_the_channel_axis_wherever_it_is(axis):
    x = data((4, 3, 5)) if axis == 1 else data((4, 5, 3))
    mask = np.zeros((4, 5), bool)
    mask[:2, 1:] = True
    layer = BatchNormalization(axis=axis, momentum=0.0)
    layer(x, training=True, mask=mask)
    counted = np.moveaxis(x, axis, -1)[mask]
    np.testing.assert_allclose(layer.moving_mean.numpy(), counted.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), counted.var(0), rtol=1e-5)


def test_mask_of_the_inputs_rank_may_differ_by_channel():
    x = data((6, 2))
    mask = np.array([[True, False]] * 3 + [[True, True]] * 3)
    layer = BatchNormalization(momentum=0.0)
    layer(x, training=True, mask=mask)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [x[:, 0].mean(), x[3:, 1].mean()], rtol=1e-5)


def test_mask_of_one_channel():
    layer = BatchNormalization(momentum=0.0)
    layer(data((4, 5, 1)), training=True, mask=np.ones((4, 5), bool))
    assert layer.moving_mean.shape == (1,)


@pytest.mark.parametrize(("x", "mask"), [(data((4, 3)), np.zeros(4, bool)), (np.zeros((0, 3), "float32"), None)])
def test_nothing_to_count_leaves_moving_statistics_untouched(x, mask):
    layer = BatchNormalization()
    layer.build((None, 3))
    layer.set_weights([np.full(3, k + 1.0) for k in range(4)])
    y = layer(x, training=True, mask=mask)
    assert np.isfinite(y).all()
    for k, weight in enumerate(layer.get_weights()):
        np.testing.assert_array_equal(weight, np.full(3, k + 1.0))


def test_embedding_masks_reach_the_layer():
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(5, 2, mask_zero=True),
            BatchNormalization(momentum=0.0),
        ]
    )
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    model(ids, training=True)
    counted = model.layers[0].get_weights()[0][[1, 2, 3]]
    np.testing.assert_allclose(model.layers[1].moving_mean.numpy(), counted.mean(0), atol=1e-6)


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"])
def test_dtypes(run, dtype):
    layer = BatchNormalization(momentum=0.5, dtype=dtype)
    layer.build((None, 3))
    compute = layer.compute_dtype
    x = tf.cast(data((32, 3)), compute)
    dy = tf.cast(data((32, 3), 1), compute)

    def train(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, [x, layer.gamma.value, layer.beta.value], dy)

    if run != "eager":
        train = tf.function(train, jit_compile=run == "xla", input_signature=[tf.TensorSpec((None, 3), compute)])
    y, (dx, dgamma, dbeta) = train(x)
    assert y.dtype == dx.dtype == compute
    assert dgamma.dtype == layer.variable_dtype
    exact, upstream = np.float64(x), np.float64(dy)
    root = np.sqrt(exact.var(0) + 1e-3)
    hat = (exact - exact.mean(0)) / root
    sums = upstream.sum(0), (upstream * hat).sum(0)
    tolerance = {"float64": 1e-10, "float32": 1e-4, "float16": 4e-3, "bfloat16": 3e-2}[compute]
    np.testing.assert_allclose(np.float64(y), hat, atol=tolerance)
    np.testing.assert_allclose(np.float64(dx), (upstream - (sums[0] + hat * sums[1]) / 32) / root, atol=2 * tolerance)
    np.testing.assert_allclose(np.float64(dgamma), sums[1], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.float64(dbeta), sums[0], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(np.float64(layer.moving_variance.numpy()), 0.5 + exact.var(0) / 2, rtol=2 * tolerance)


def test_mixed_float16_fit_follows_float32():
    x, y = data((64, 4)), np.random.default_rng(1).integers(0, 2, 64)
    finals = []
    for policy in ("float32", "mixed_float16"):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(8, dtype=policy),
                BatchNormalization(dtype=policy),
                keras.layers.Dense(2, dtype="float32"),
            ]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.SGD(0.1)
        if policy != "float32":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=256.0)
        model.compile(optimizer, loss)
        model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
        finals.append(model.layers[1].get_weights())
    for full, half in zip(*finals, strict=True):
        np.testing.assert_allclose(half, full, atol=1e-2)


def test_unknown_batch_and_image_size():
    layer = BatchNormalization(momentum=0.0)
    model = keras.Sequential([keras.Input((None, None, 3)), layer])
    x = data((2, 5, 4, 3))
    call = tf.function(lambda x: model(x, training=True), input_signature=[tf.TensorSpec((None, None, None, 3))])
    assert call(x).shape == x.shape
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean((0, 1, 2)), rtol=1e-5)


def test_regularizers_and_constraints_work():
    layer = BatchNormalization(
        gamma_regularizer="l2", beta_regularizer=keras.regularizers.L1(1.0), gamma_constraint="non_neg"
    )
    layer.build((None, 3))
    assert len(layer.losses) == 2
    assert layer.gamma.constraint is not None


def test_config_round_trip_keeps_everything():
    layer = BatchNormalization(
        axis=1,
        momentum=0.9,
        epsilon=1e-5,
        center=False,
        gamma_initializer=keras.initializers.Constant(2.0),
        gamma_regularizer="l2",
        beta_constraint="non_neg",
        synchronized=True,
        name="bn",
        dtype="mixed_float16",
    )
    assert BatchNormalization.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"momentum": 1.5},
            "bn.momentum: expected a number in [0, 1]; received 1.5. "
            "It is the weight of the old average; 0.99 is usual.",
        ),
        ({"momentum": -0.1}, "bn.momentum: expected a number in [0, 1]; received -0.1."),
        (
            {"epsilon": 0.0},
            "bn.epsilon: expected a number above 0; received 0.0. Without it a constant channel divides by zero.",
        ),
        ({"axis": 1.5}, "bn.axis: expected a whole number; received 1.5."),
        ({"axis": [1, 1]}, "bn.axis: expected one axis, or several different ones; received [1, 1]."),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(name="bn", **arguments)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [
        (
            3,
            (None, 4),
            "bn.axis: expected an axis from -2 to 1 of inputs of shape (None, 4); received 3. "
            "Use -1 for channels last, 1 for channels first.",
        ),
        (
            -1,
            (None, 4, None),
            "bn: size of axis -1: expected a known number of channels; received inputs of shape "
            "(None, 4, None). Give keras.Input the size of this axis.",
        ),
        (
            -1,
            (4,),
            "bn: inputs: expected examples and at least one more axis; received shape (4,). "
            "Give single values an axis of one channel: x[:, None].",
        ),
    ],
)
def test_bad_shapes(axis, shape, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(axis=axis, name="bn").build(shape)
    assert str(error.value) == message
    if len(shape) > 1:
        with pytest.raises(InputError) as error:
            BatchNormalization(axis=axis, name="bn")(keras.Input(shape[1:]))
        assert str(error.value) == message


def test_bad_mask():
    with pytest.raises(InputError, match="bn: mask: expected the inputs' axes without") as error:
        BatchNormalization(name="bn")(data((4, 5, 3)), training=True, mask=np.ones(4, bool))
    assert "received shape (4,) for inputs of shape (4, 5, 3)" in str(error.value)
