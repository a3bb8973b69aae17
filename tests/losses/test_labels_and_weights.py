"""Tests of what a loss makes of labels and weights before and after the mathematics, and of bad input."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.losses import SoftmaxCrossEntropy, labels, weighting

LOGITS = np.random.default_rng(0).normal(size=(12, 5)).astype("float32")
IDS = np.arange(12) % 5
ONE_HOT = np.eye(5, dtype="float32")[IDS]


@pytest.mark.parametrize("compiled", [None, False, True])
def test_classes_that_no_float32_holds(compiled):
    ids = tf.constant([2**24 + 1, 2**31, 2**40 + 1], tf.int64)
    run = lambda ids: labels.whole_numbers(ids, 2**41, ignored=7)[0]  # noqa: E731
    run = run if compiled is None else tf.function(run, jit_compile=compiled)
    np.testing.assert_array_equal(run(ids), ids)


@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_no_label_becomes_a_fraction(dtype):
    def becomes(loss):
        graph = tf.function(loss).get_concrete_function(tf.TensorSpec((12,), dtype), tf.TensorSpec((12, 5))).graph
        casts = [operation for operation in graph.get_operations() if operation.type == "Cast"]
        return any(cast.inputs[0].dtype == dtype and cast.outputs[0].dtype.is_floating for cast in casts)

    assert not becomes(SoftmaxCrossEntropy())
    assert not becomes(SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class=2))
    assert becomes(keras.losses.SparseCategoricalCrossentropy(from_logits=True))  # so it can be seen


def test_means_are_divided_by_the_number_of_replicas(monkeypatch):
    losses, weights = tf.constant([1.0, 3.0]), tf.constant([1.0, 3.0])
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    for reduction, expected in (("mean_with_sample_weight", 2.5 / 2), ("mean", 5 / 2), ("sum", 10)):
        assert float(weighting.reduced(losses, weights, None, reduction)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing: expected a number in [0, 1); received 1.0."),
        ({"class_weight": [1, -2]}, "class_weight[1]: expected a number of at least 0; received -2."),
        ({"class_weight": {2: "a"}}, "class_weight[2]: expected a number of at least 0; received 'a'."),
        (
            {"class_weight": {"cat": 1}},
            "class of class_weight: expected a whole number of at least 0; received 'cat'.",
        ),
        ({"ignore_class": 0.5}, "ignore_class: expected a whole number; received 0.5."),
        ({"temperature": 0}, "temperature: expected a number above 0; received 0."),
        ({"axis": None}, "axis: expected a whole number; received None."),
        ({"z_loss": -1e-4}, "z_loss: expected a number of at least 0; received -0.0001."),
        (
            {"reduction": "average"},
            "reduction: expected one of 'mean_with_sample_weight', 'sum_over_batch_size', 'mean', 'sum', 'none'; "
            "received 'average'.",
        ),
        (
            {"dtype": "bfloat16"},
            "dtype: expected float32 or float64; received bfloat16. Logits may be float16 or bfloat16; losses and "
            "sums need more bits.",
        ),
        (
            {"dtype": keras.DTypePolicy("mixed_float16")},
            "dtype: expected float32 or float64; received float16. Logits may be float16 or bfloat16; losses and "
            "sums need more bits.",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "y", "z", "message"),
    [
        ({"axis": 2}, IDS, LOGITS, "axis: expected an axis of logits of shape (12, 5); received 2."),
        (
            {},
            IDS,
            LOGITS[:, :1],
            "number of classes: expected a whole number of at least 2; received 1. Two classes take two logits, not "
            "one.",
        ),
        (
            {},
            ONE_HOT[:, :4],
            LOGITS,
            "y_true: expected integer labels of the logits' shape (12, 5) without axis -1, or soft labels of "
            "that shape; received shape (12, 4).",
        ),
        (
            {},
            IDS[:6],
            LOGITS,
            "y_true: expected integer labels of the logits' shape (12, 5) without axis -1, or soft labels of "
            "that shape; received shape (6,).",
        ),
        (
            {},
            LOGITS[:, :1],
            LOGITS[:6],
            "y_true: expected integer labels of the logits' shape (6, 5) without axis -1, or soft labels of "
            "that shape; received shape (12, 1).",
        ),
        (
            {},
            LOGITS,
            IDS.astype("float32"),
            "y_true: expected at most the 1 axes of y_pred; received shape (12, 5). The arguments look swapped: "
            "labels come first, then logits.",
        ),
        (
            {},
            LOGITS,
            IDS,
            "y_true: expected at most the 1 axes of y_pred; received shape (12, 5). The arguments look swapped: "
            "labels come first, then logits.",
        ),
        (
            {},
            LOGITS,
            ONE_HOT.astype("int32"),
            "y_pred: expected logits, which are floating-point numbers; received int32. Are the arguments swapped? "
            "Labels come first, then logits.",
        ),
        (
            {},
            np.array([[2.5, -1.5], [3, 1]]),
            np.array([[1.0, 0.0], [0.0, 1.0]]),
            "y_true: expected distributions over the classes, of numbers of at least 0 with the sum 1; received "
            "numbers of at least -1.5 with sums from 1 to 4. Are the arguments swapped? Labels come first, then "
            "logits.",
        ),
        (
            {"class_weight": [1, 2]},
            IDS,
            LOGITS,
            "class_weight: expected 5 weights, one a class; received 2.",
        ),
        (
            {"class_weight": {5: 2}},
            IDS,
            LOGITS,
            "class_weight: expected classes from 0 to 4; received class 5.",
        ),
        (
            {"ignore_class": -1},
            ONE_HOT,
            LOGITS,
            "ignore_class: expected a whole number in [0, 4]; received -1. Soft labels have no other classes.",
        ),
    ],
)
def test_bad_calls(arguments, y, z, message):
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy(**arguments)(y, z)
    assert str(error.value) == message


@pytest.mark.parametrize("weights", [np.ones(5), np.ones((12, 2)), np.ones((12, 1, 1))], ids=lambda w: str(w.shape))
def test_weights_that_do_not_fit(weights):
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy()(IDS, LOGITS, weights)
    assert str(error.value) == (
        "sample_weight: expected one number for each of the rows, which have shape (12,), or a shape that broadcasts "
        f"to that; received shape {weights.shape}. Fewer axes are taken as the first ones."
    )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((None,), (None, None)), "y_pred: expected a known number of classes on axis -1; received an unknown one."),
        (((None,), None), "axis: expected an axis of logits of shape unknown; received -1."),
        (
            (None, (None, 5)),
            "y_true: expected integer labels of the logits' shape (None, 5) without axis -1, or soft labels of that "
            "shape; received shape unknown.",
        ),
    ],
    ids=["classes", "logits", "labels"],
)
def test_unknown_shapes(shapes, message):
    signature = [tf.TensorSpec(shape) for shape in shapes]
    with pytest.raises(InputError) as error:
        tf.function(SoftmaxCrossEntropy(), input_signature=signature, autograph=False)(IDS.astype("float32"), LOGITS)
    assert str(error.value) == message
