"""Tests of the guard: what went through a softmax is refused, and nothing else is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from kerasbn.checks import InputError
from kerasbn.losses import SoftmaxCrossEntropy, refuse_softmax
from kerasbn.models import create_model

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 4)).astype("float32"), np.array([0, 1, 2, 0, 1, 2])


class Own(keras.layers.Layer):
    def call(self, inputs):
        return tf.cast(tf.nn.softmax(inputs), tf.float32)


REFUSED = {
    "Dense": lambda x: layers.Dense(3, activation="softmax")(x),
    "Activation": lambda x: layers.Activation("softmax")(layers.Dense(3)(x)),
    "Softmax": lambda x: layers.Softmax()(layers.Dense(3)(x)),
    "ops": lambda x: keras.ops.softmax(layers.Dense(3)(x)),
    "axis": lambda x: layers.Reshape((3,))(layers.Softmax(axis=1)(layers.Reshape((3, 1))(layers.Dense(3)(x)))),
    "reshaped": lambda x: layers.Flatten()(layers.Permute((2, 1))(layers.Reshape((1, 3))(REFUSED["Softmax"](x)))),
    "cast": lambda x: keras.ops.cast(layers.Dense(3, activation="softmax", dtype="mixed_float16")(x), "float32"),
    "dropout": lambda x: layers.Identity()(layers.Dropout(0.5)(REFUSED["Dense"](x))),
    "own layer": lambda x: Own()(layers.Dense(3)(x)),
    "nested": lambda x: keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])(x),
    "sigmoid": lambda x: layers.Dense(3, activation="sigmoid")(x),
}
TAKEN = {
    "logits": lambda x: layers.Dense(3)(x),
    "log_softmax": lambda x: layers.Dense(3, activation="log_softmax")(x),
    "logarithm": lambda x: keras.ops.log(REFUSED["Dense"](x)),
    "after attention": lambda x: layers.Dense(3)(REFUSED["Dense"](x)),
    "scaled": lambda x: layers.Rescaling(10.0)(REFUSED["sigmoid"](x)),
    "normalised": lambda x: layers.BatchNormalization()(layers.Dense(3)(x)),
}


def model_of(end):
    inputs = keras.Input((4,))
    return keras.Model(inputs, end(inputs))


@pytest.mark.parametrize("end", REFUSED.values(), ids=REFUSED)
def test_a_model_that_ends_in_a_softmax_is_refused(end):
    with pytest.raises(InputError, match="expected logits; received what .*(Softmax|Sigmoid).* has made of them"):
        refuse_softmax(model_of(end))


@pytest.mark.parametrize("end", TAKEN.values(), ids=TAKEN)
def test_other_models_are_taken(end):
    model = model_of(end)
    refuse_softmax(model)
    model.compile("sgd", SoftmaxCrossEntropy())
    assert np.isfinite(model.fit(X, Y, verbose=0).history["loss"]).all()


def test_the_factorys_models_are_taken():
    for name, shape in (("mlp", (8,)), ("convnet", (8, 8, 1)), ("resnet", (8, 8, 1))):
        refuse_softmax(create_model(name, shape, 3))


def test_the_message_says_what_to_do():
    with pytest.raises(InputError) as error:
        refuse_softmax(keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax", name="end")]))
    assert "/end" in error.value.received
    assert error.value.remedy.startswith('The loss has the softmax itself. Leave out the activation="softmax" of the')


def test_models_of_every_kind():
    inputs = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outputs = {"one": REFUSED["Dense"](inputs[0]), "two": TAKEN["logits"](inputs[1])}
    with pytest.raises(InputError, match="Softmax"):
        refuse_softmax(keras.Model({"a": inputs[0], "b": inputs[1]}, outputs))
    refuse_softmax(keras.Sequential([layers.Dense(3, activation="softmax")]))  # not built: its end is not known yet
    with pytest.raises(InputError, match="model: expected a keras.Model; received 'Dense'"):
        refuse_softmax(layers.Dense(3))


def test_a_model_is_left_as_it_is():
    model = model_of(lambda x: layers.Dropout(0.5, seed=1)(layers.BatchNormalization()(layers.Dense(3)(x))))
    before = [np.copy(variable) for variable in model.variables]
    config = model.get_config()
    refuse_softmax(model)
    assert model.get_config() == config
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("how", [{}, {"jit_compile": True}, {"run_eagerly": True}], ids=["graph", "xla", "eager"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_training_is_refused(how, policy):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax", dtype=policy)])
    model.compile("sgd", SoftmaxCrossEntropy(), **how)
    before = model.get_weights()
    with pytest.raises(InputError, match="y_pred: expected logits; received"):
        model.fit(X, Y, verbose=0)
    with pytest.raises(InputError, match="y_pred: expected logits; received"):
        model.evaluate(X, Y, verbose=0)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("classes", [3, 1000])
def test_probabilities_are_known_by_their_values(dtype, classes):
    p = tf.cast(tf.nn.softmax(tf.random.stateless_normal((20, classes), [1, 2])), dtype)
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy()(np.zeros(20, int), p)
    assert error.value.received == "20 rows that are at least 0 with the sum 1, as probabilities are"
    with pytest.raises(InputError, match="20 rows"):
        SoftmaxCrossEntropy(axis=0)(np.zeros(20, int), tf.transpose(p))


@pytest.mark.parametrize(
    "z",
    [
        [[0.0, 1.0]],
        [[0.3, 0.7]],
        [[0.0, 1.0], [1.0, 0.0]],
        [[0.5, 0.5], [0.6, 0.6]],
        [[-0.5, 1.5], [0.5, 0.5]],
        [[0.0, 0.0], [0.0, 0.0]],
        np.log([[0.2, 0.8], [0.7, 0.3]]),
    ],
    ids=str,
)
def test_logits_are_no_probabilities_by_accident(z):
    assert np.isfinite(SoftmaxCrossEntropy()(np.zeros(len(z), int), np.array(z)))


@pytest.mark.parametrize(
    "y",
    [[[0.0, 1.0]], [[0.33, 0.66]], [[1, 0]], [[0.0, 0.0]], tf.constant([[0.1, 0.9]], tf.bfloat16)],
    ids=["one_hot", "rounded", "whole", "padding", "bfloat16"],
)
def test_distributions_are_taken(y):
    assert np.isfinite(SoftmaxCrossEntropy()(y, [[1.5, -2.5]]))


@pytest.mark.parametrize("y", [[[0.7, 0.7]], [[1, 1]], [[-0.5, 1.5]], [[float("nan"), 1.0]]], ids=str)
def test_what_is_no_distribution_is_refused(y):
    with pytest.raises(InputError, match="y_true: expected distributions over the classes"):
        SoftmaxCrossEntropy()(y, [[1.5, -2.5]])
    constant = np.array(y, "float32")
    with pytest.raises(InputError, match="y_true: expected distributions over the classes"):
        tf.function(lambda z: SoftmaxCrossEntropy()(constant, z), autograph=False)(tf.constant([[1.5, -2.5]]))


def test_probabilities_and_one_hot_labels_that_are_swapped():
    probabilities, one_hot = np.array([[0.1, 0.9], [0.8, 0.2]], "float32"), np.eye(2, dtype="float32")
    with pytest.raises(InputError) as caught:
        SoftmaxCrossEntropy()(probabilities, one_hot)
    assert str(caught.value) == (
        "y_pred: expected logits; received rows of zeros and a single one, as one-hot labels are. "
        "Are the arguments swapped? Labels come first, then logits."
    )
    SoftmaxCrossEntropy()(one_hot, one_hot)  # logits may be whole numbers by accident
    SoftmaxCrossEntropy()(probabilities[:1], one_hot[:1])


def test_a_column_of_unknown_width_is_no_soft_label():
    """It would be broadcast over the classes."""
    unknown = tf.function(
        SoftmaxCrossEntropy(), input_signature=[tf.TensorSpec((None, None)), tf.TensorSpec((None, 3))], autograph=False
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        unknown(tf.ones((4, 1)), tf.ones((4, 3)))
    assert float(unknown(tf.eye(3), tf.zeros((3, 3)))) == pytest.approx(np.log(3))


def test_a_softmax_at_each_step_of_a_sequence_is_refused():
    steps = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="softmax"))
    with pytest.raises(InputError, match="y_pred: expected logits"):
        refuse_softmax(keras.Sequential([keras.Input((4, 6)), steps]))
    refuse_softmax(keras.Sequential([keras.Input((4, 6)), keras.layers.TimeDistributed(keras.layers.Dense(3))]))
