"""Models that differ in leaves compute on a stack what each of them computes alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.caviar.binding import bound, variables_of
from kerasbn.caviar.leaves import describe
from kerasbn.layers import BatchNormalization, UniformDropout
from kerasbn.losses import SoftmaxCrossEntropy

L1, L2, L1L2 = keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2
LAYERS = keras.layers


def built(layers, loss, seed=0, **compiled):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(layers())
    model.compile("sgd", loss(), metrics=["accuracy"], **compiled)
    return model


def dense(a, b, rate):
    """Every leaf of layers for vectors; a and b are any numbers in [0, 1), rate may be 0."""

    def layers():
        shared = L2(b / 5)
        return [
            keras.Input((6,)),
            LAYERS.Dense(8, kernel_regularizer=L2(a), bias_regularizer=L1(b), activity_regularizer=L1L2(rate, a)),
            LAYERS.BatchNormalization(momentum=a, epsilon=b + 0.1, gamma_regularizer=shared),
            LAYERS.GaussianNoise(rate),
            LAYERS.Dense(8, kernel_regularizer=L1L2(b, rate), activation="selu"),
            LAYERS.AlphaDropout(rate),
            BatchNormalization(momentum=b, epsilon=a + 0.1, beta_regularizer=shared),
            UniformDropout(rate),
            LAYERS.GaussianDropout(rate),
            LAYERS.Dropout(rate),
            LAYERS.Dense(4, activation="softmax"),
        ]

    return built(layers, lambda: keras.losses.CategoricalCrossentropy(label_smoothing=rate))


def sequences(a, b, rate):
    """Wrapped layers, and noise that is the same along some axes."""

    def layers():
        inner = keras.Sequential([LAYERS.Dense(4, kernel_regularizer=L2(a)), LAYERS.Dropout(rate)], name="inner")
        return [
            keras.Input((5, 3)),
            LAYERS.SpatialDropout1D(rate),
            LAYERS.TimeDistributed(LAYERS.Dense(4, kernel_regularizer=L1(b)), name="each"),
            inner,
            LAYERS.Dropout(rate, noise_shape=(None, 1, 4)),
            LAYERS.Reshape((5, 2, 2)),
            LAYERS.SpatialDropout2D(rate, data_format="channels_first"),
            LAYERS.Reshape((1, 5, 2, 2)),
            LAYERS.SpatialDropout3D(rate),
            LAYERS.Flatten(),
            LAYERS.Dense(4, activation="sigmoid"),
        ]

    return built(layers, lambda: keras.losses.BinaryCrossentropy(label_smoothing=rate), loss_weights=b + 0.1)


def logits(a, b, rate):
    def loss():
        return SoftmaxCrossEntropy(rate, class_weight=[1.0, a, b, 2.0], temperature=a + 0.5, z_loss=rate / 10)

    return built(lambda: [keras.Input((6,)), LAYERS.Dense(4), BatchNormalization(momentum=a)], loss)


def outcome(model, x, y):
    """Return the loss of a batch, its gradient, and what the variables are afterwards."""
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), training=True)
    return loss, tape.gradient(loss, model.trainable_variables)


def stacked(models, x, y):
    """Return what `outcome` returns for all models, by one trace of one of them."""
    template = max(models, key=lambda model: len(model.variables))
    outcome(template, x[0], y[0])  # makes the variables of losses
    variables = variables_of(template)
    values = [tf.stack(one) for one in zip(*(map(tf.convert_to_tensor, variables_of(m)) for m in models), strict=True)]
    leaves = [describe(model).leaves for model in models]
    varied = {path: [one[path] for one in leaves] for path in leaves[0]}
    varied = {path: tf.constant(numbers) for path, numbers in varied.items() if len(set(numbers)) > 1}

    def step(member):
        values, varied, x, y = member
        with (
            tf.GradientTape() as tape,
            keras.StatelessScope(zip(variables, values, strict=True), collect_losses=True) as scope,
            bound(template, varied),
        ):
            tape.watch([value for value in values if value.dtype.is_floating])
            loss = template.compute_loss(x, y, template(x, training=True), training=True)
        at = [i for i, variable in enumerate(variables) if variable.trainable]
        states = [scope.get_current_value(variable) for variable in variables]
        states = [old if new is None else new for old, new in zip(values, states, strict=True)]
        return loss, tape.gradient(loss, [values[i] for i in at]), states

    def together(*members):
        return tf.vectorized_map(step, members, fallback_to_while_loop=False)

    return tf.function(together)(values, varied, x, y)


def one_hot(classes):
    return np.eye(4, dtype="float32")[classes]


SETTINGS = [(0.3, 0.2, 0.25), (0.01, 0.4, 0.0), (0.6, 0.05, 0.5)]


@pytest.mark.parametrize(
    ("model_of", "shape", "labels", "varied"),
    [
        (dense, (3, 8, 6), one_hot, 17),
        (sequences, (3, 8, 5, 3), one_hot, 9),
        (logits, (3, 8, 6), np.asarray, 6),
        (logits, (3, 8, 6), one_hot, 6),
    ],
    ids=["dense", "sequences", "whole_labels", "soft_labels"],
)
def test_members_of_a_stack_are_what_they_are_alone(model_of, shape, labels, varied):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=shape).astype("float32"), labels(rng.integers(0, 4, shape[:2]))
    models = [model_of(*settings) for settings in SETTINGS]
    descriptions = [describe(model) for model in models]
    assert len({one.signature for one in descriptions}) == 1
    differing = [p for p in descriptions[0].leaves if len({one.leaves[p] for one in descriptions}) > 1]
    assert len(differing) == varied, differing
    losses, gradients, states = stacked(models, x, y)
    for k, model in enumerate(models):
        loss, gradient = outcome(model, x[k], y[k])
        np.testing.assert_allclose(losses[k], loss, rtol=2e-6)
        for one, other in zip(gradients, gradient, strict=True):
            np.testing.assert_allclose(one[k], other, rtol=2e-5, atol=2e-6)
        for variable, state in zip(variables_of(model), states, strict=True):
            if variable.dtype == "float32":  # a rate of 0 draws nothing alone, and so its seed stays
                np.testing.assert_allclose(state[k], variable, rtol=2e-6, atol=1e-6)


def test_a_bound_model_is_afterwards_as_it_was():
    model = dense(0.3, 0.2, 0.25)
    before = describe(model)
    attributes = [set(vars(layer)) for layer in model.layers]
    with (
        pytest.raises(ZeroDivisionError),
        bound(model, {path: tf.constant(0.125) for path in before.leaves if not path.startswith("optimizer/")}),
    ):
        assert [float(model.layers[i].rate) for i in (4, 7, 8)] == [0.125] * 3
        raise ZeroDivisionError
    assert describe(model) == before
    assert [set(vars(layer)) for layer in model.layers] == attributes
    with pytest.raises(KeyError, match="model/dense/rate"), bound(model, {"model/dense/rate": tf.constant(0.0)}):
        pass


def test_noise_with_a_bound_rate_of_one_leaves_nothing():
    model = built(lambda: [keras.Input((6,)), LAYERS.Dropout(0.5)], keras.losses.MeanSquaredError)
    x = tf.ones((2, 6))
    with tf.GradientTape() as tape, bound(model, {"model/dropout/rate": tf.constant(1.0)}):
        tape.watch(x)
        y = model(x, training=True)
    assert y.numpy().tolist() == tape.gradient(y, x).numpy().tolist() == np.zeros((2, 6)).tolist()
