"""Tests of the loss with labels and logits of any dtype, range and shape, and with all options at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from written_out import IDS, LOGITS, ONE_HOT, RNG, RUNS, oracle, rows

from kerasbn.checks import InputError
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.losses.softmax import FEW_CLASSES


@pytest.mark.parametrize(
    ("classes", "arguments"),
    [
        (5, {}),
        (FEW_CLASSES + 1, {}),
        (5, {"ignore_class": -1, "label_smoothing": 0.1, "class_weight": {1: 2.0}}),
    ],
    ids=["few", "many", "options"],
)
@pytest.mark.parametrize("bad", [99, -2, 1.5, float("nan")])
def test_labels_out_of_range_are_never_silently_right(classes, arguments, bad):
    y, z = np.array([0, bad, 2, 1], "float32" if isinstance(bad, float) else "int64"), np.zeros((4, classes), "float32")
    loss = SoftmaxCrossEntropy(**arguments)
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        loss(y, z)
    assert error.value.message == f"y_true: expected labels in [0, {classes}); received {bad}."
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, {classes}\)"):
        tf.function(loss)(y, z)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[0, {classes}\); received {bad}"):
        tf.function(lambda z: loss(y, z), jit_compile=True, autograph=False)(z)  # known when it is compiled
    assert np.isnan(tf.function(loss, jit_compile=True)(tf.constant(y), z))  # what XLA compiles cannot raise


@pytest.mark.parametrize("jit", [False, True])
def test_labels_out_of_range_in_fit(jit):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile("sgd", SoftmaxCrossEntropy(), jit_compile=jit)
    if jit:
        assert np.isnan(model.fit(LOGITS, IDS + 3, verbose=0).history["loss"]).all()
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 5\)"):
            model.fit(LOGITS, IDS + 3, verbose=0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "int64", "uint64", "float16", "float64"])
def test_labels_of_any_dtype(dtype):
    for loss in (SoftmaxCrossEntropy(), SoftmaxCrossEntropy(0.1, ignore_class=2)):
        for y in (IDS, ONE_HOT):
            np.testing.assert_allclose(loss(y.astype(dtype), LOGITS), loss(y, LOGITS), rtol=1e-6)


def test_minus_one_is_no_255():
    y = np.full(12, 255, "uint8")
    with pytest.raises(tf.errors.InvalidArgumentError, match="received 255"):
        SoftmaxCrossEntropy(ignore_class=-1)(y, LOGITS)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_many_classes_are_told_apart(dtype):
    # bfloat16 has no 257, and float16 no 2049: labels that went through either would miss their class.
    z = np.zeros((2, 5000), "float32")
    z[0, 257], z[1, 4999] = 50, 50
    for run in ("eager", "graph"):
        assert float(rows(SoftmaxCrossEntropy(), np.array([257, 4999]), tf.cast(z, dtype), run)[0]) < 1e-6


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("run", RUNS)
def test_low_precision_logits_are_computed_in_float32(run, dtype):
    z = tf.cast(LOGITS, dtype)
    value, gradient = rows(SoftmaxCrossEntropy(0.1, reduction="sum"), IDS, z, run)
    expected, derivative = oracle(ONE_HOT, tf.cast(z, tf.float64), 0.1)
    assert value.dtype == tf.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(tf.cast(gradient, tf.float64), derivative, atol=1e-2)


def test_low_floatx_does_not_lower_the_loss():
    before = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    try:
        assert SoftmaxCrossEntropy().dtype == "float32"
    finally:
        keras.config.set_floatx(before)
    assert SoftmaxCrossEntropy(dtype="float64")(IDS, LOGITS).dtype == tf.float64


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("axis", [1, -2, 0])
@pytest.mark.parametrize("labels", ["integer", "size_one", "soft"])
def test_any_class_axis(run, axis, labels):
    z, soft = RNG.normal(size=(4, 3, 5)), RNG.dirichlet(np.ones(5), (4, 3))
    ids = soft.argmax(-1)
    y = soft if labels == "soft" else np.eye(5)[ids]
    given = np.moveaxis(soft, -1, axis) if labels == "soft" else ids
    if labels == "size_one":
        given = np.expand_dims(ids, axis)
    weight = [1, 2, 3, 4, 5]
    loss = SoftmaxCrossEntropy(0.1, weight, axis=axis, z_loss=0.1, reduction=None, dtype="float64")
    losses, gradient = rows(loss, given, np.moveaxis(z, -1, axis), run)
    expected, derivative = oracle(y, z, 0.1, weight, z_loss=0.1)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    np.testing.assert_allclose(gradient, np.moveaxis(derivative, -1, axis), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("arguments", [{}, {"label_smoothing": 0.1, "ignore_class": 2}], ids=["plain", "more"])
@pytest.mark.parametrize("shape", [(12,), (4, 3), (2, 3, 2)], ids=str)
def test_unknown_sizes(arguments, shape):
    loss = SoftmaxCrossEntropy(reduction=None, **arguments)
    unknown = (None,) * len(shape)
    for y, size in ((IDS, ()), (ONE_HOT, (5,))):
        signature = [tf.TensorSpec((*unknown, *size), y.dtype), tf.TensorSpec((*unknown, 5))]
        run = tf.function(loss, input_signature=signature)
        y, z = y.reshape(*shape, *size), LOGITS.reshape(*shape, 5)
        np.testing.assert_allclose(run(y, z), loss(y, z), rtol=1e-5, atol=1e-7)
        assert run.get_concrete_function().output_shapes.rank == len(shape)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("y", [np.array([0, 2, 4] * 4), np.eye(5, dtype="float32")[[0, 2, 4] * 4]], ids=["ids", "one"])
def test_smoothing_weight_ignored_class_and_masked_classes_together(run, y):
    z = LOGITS.copy()
    z[:, 3] = -np.inf
    z[5, 1] = -np.inf
    loss = SoftmaxCrossEntropy(0.3, [1, 1, 2, 1, 3], ignore_class=2, temperature=2.0)
    value, gradient = rows(loss, y, z, run)
    total, parts = 0.0, 0.0
    for row, k in enumerate([0, 2, 4] * 4):
        possible = np.flatnonzero(z[row] > -np.inf)
        target = np.eye(5)[k][possible] * 0.7 + 0.3 / len(possible)
        total += {0: 1, 2: 0, 4: 3}[k] * oracle(target, z[row, possible], temperature=2.0)[0]
        parts += {0: 1, 2: 0, 4: 3}[k]
    np.testing.assert_allclose(value, total / parts, rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert not gradient.numpy()[:, 3].any()
    assert not gradient.numpy()[1::3].any()


def test_a_message_comes_out_of_a_function_of_the_users_as_it_is():
    with pytest.raises(InputError, match=r"^y_true: expected integer labels of the logits' shape \(2, 4\)"):
        tf.function(lambda y, z: SoftmaxCrossEntropy()(y, z))(tf.constant([1, 2, 3]), tf.ones((2, 4)))
