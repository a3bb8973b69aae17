import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.layers.uniform_dropout import UniformDropout

NORMAL = np.random.default_rng(0).normal(size=(400, 500)).astype("float32")


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("mean", [0.0, 2.0])
def test_variance_in_training(beta, mean):
    x = np.float64(NORMAL) + mean
    y = UniformDropout(beta, seed=1, dtype="float64")(x, training=True).numpy()
    ratio = x.var() / y.var()
    assert ratio == pytest.approx(1 / (1 + beta**2 / 3 * (1 + mean**2)), rel=5e-3)
    if mean == 0:
        assert ratio == pytest.approx(3 / (3 + beta**2), rel=5e-3)
    assert y.mean() == pytest.approx(mean, abs=0.01)


def test_variance_of_dropout_as_the_docstring_has_it():
    y = keras.layers.Dropout(0.5, seed=1)(NORMAL, training=True).numpy()
    assert NORMAL.var() / y.var() == pytest.approx(0.5, rel=1e-2)
    y = keras.layers.Dropout(0.2, seed=1)(NORMAL + 2, training=True).numpy()
    assert y.var() == pytest.approx(1 + 0.2 / 0.8 * 5, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_noise_is_uniform_around_one(dtype):
    ones = tf.ones((400, 500), dtype)
    y = UniformDropout(0.5, seed=2, dtype=dtype)(ones, training=True)
    assert y.dtype == dtype
    noise = np.float64(y) - 1
    assert noise.min() >= -0.5
    assert noise.max() <= 0.5
    # Standard error of the mean: 0.5 / sqrt(3 * 200,000) = 0.00065. A draw in bfloat16 would be off by 0.004.
    assert abs(noise.mean()) < 0.002
    quantiles = np.quantile(noise, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quantiles, [-0.4, -0.25, 0, 0.25, 0.4], atol=0.01)


@pytest.mark.parametrize("training", [False, None])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nothing_happens_at_inference(training, dtype):
    x = tf.cast(NORMAL, dtype)
    y = UniformDropout(0.5, dtype=dtype)(x, training=training)
    np.testing.assert_array_equal(y.numpy(), x.numpy())


def test_zero_is_no_noise():
    np.testing.assert_array_equal(UniformDropout(0)(NORMAL, training=True).numpy(), NORMAL)


def test_a_seed_repeats_and_each_call_differs():
    first, second = UniformDropout(0.5, seed=3), UniformDropout(0.5, seed=3)
    a, b, c = first(NORMAL, training=True), second(NORMAL, training=True), first(NORMAL, training=True)
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert np.abs(a - c).mean() > 0.1
    assert np.abs(a - UniformDropout(0.5, seed=4)(NORMAL, training=True)).mean() > 0.1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_modes_agree(dtype):
    x = tf.cast(NORMAL[:5], dtype)
    results = []
    for compiled in (None, False, True):
        layer = UniformDropout(0.5, seed=5, dtype=dtype)

        def derivative(x, layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            return y, tape.gradient(y, x)

        run = derivative if compiled is None else tf.function(derivative, jit_compile=compiled)
        results.append([result.numpy() for result in run(x)])
    for y, gradient in results:
        np.testing.assert_allclose(y, results[0][0], rtol=1e-3 if dtype == "float16" else 1e-6)
        np.testing.assert_allclose(gradient, results[0][1], rtol=1e-3 if dtype == "float16" else 1e-6)
        np.testing.assert_allclose(y, np.float32(x) * gradient, rtol=2e-3)  # the derivative is the factor


def test_noise_shape():
    x = np.ones((6, 5, 4), "float32")
    y = UniformDropout(0.5, noise_shape=(None, 1, 4))(x, training=True).numpy()
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1], x.shape))
    assert len(np.unique(y)) > 20


def test_unknown_sizes_and_masks():
    inputs = keras.Input((None, 3))
    outputs = UniformDropout(0.5, noise_shape=(None, 1, None))(keras.layers.Masking()(inputs))
    assert outputs.shape == (None, None, 3)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(outputs))
    x = np.ones((2, 4, 3), "float32")
    x[:, 2:] = 0
    np.testing.assert_allclose(model(x), np.ones((2, 3)))  # what is masked does not count


def test_config_round_trip():
    layer = UniformDropout(0.25, noise_shape=[None, 1], seed=6, name="noise")
    config = layer.get_config()
    assert (config["beta"], config["noise_shape"], config["seed"]) == (0.25, (None, 1), 6)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is UniformDropout
    assert again.get_config() == config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": 1.5}, "noise.beta: expected a number in [0, 1]; received 1.5. 0.1 is usual."),
        ({"beta": -0.1}, "noise.beta: expected a number in [0, 1]; received -0.1. 0.1 is usual."),
        ({"beta": "0.1"}, "noise.beta: expected a number in [0, 1]; received '0.1'. 0.1 is usual."),
        (
            {"beta": 0.1, "noise_shape": (None, 0)},
            "noise.noise_shape: expected a whole number of at least 1; received 0. None is the inputs' size.",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        UniformDropout(**arguments, name="noise")
    assert str(error.value) == message


@pytest.mark.parametrize("noise_shape", [(None,), (None, 2), (4, None)])
def test_noise_shape_that_does_not_fit(noise_shape):
    with pytest.raises(InputError) as error:
        UniformDropout(0.1, noise_shape=noise_shape, name="noise")(keras.Input((3,)))
    assert str(error.value) == (
        "noise.noise_shape: expected None, 1 or the size for each of the 2 axes of inputs of shape (None, 3); "
        f"received {noise_shape}."
    )


@pytest.mark.parametrize("training", [True, False])
def test_noise_shape_that_no_longer_fits(training):
    layer = UniformDropout(0.1, noise_shape=(4, None))
    layer(np.ones((4, 3), "float32"))
    with pytest.raises(InputError, match=r"noise_shape: expected .* shape \(1, 3\); received \(4, None\)"):
        layer(np.ones((1, 3), "float32"), training=training)


@pytest.mark.parametrize("inputs", [np.ones((4, 3), "int32"), keras.Input((3,), dtype="int32")], ids=["array", "input"])
def test_whole_numbers_are_refused(inputs):
    with pytest.raises(InputError, match="noise: inputs: expected floating-point numbers; received int32. Cast them"):
        UniformDropout(0.1, name="noise")(inputs)
