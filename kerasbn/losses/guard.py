"""The guard of a loss on logits: refuses what went through a softmax already, and arguments in the wrong order."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.checks import InputError

# Operations that only pass numbers on, in another shape, order or dtype.
_PASSING = ("Cast", "EnsureShape", "ExpandDims", "Identity", "Pack", "Reshape", "Squeeze", "StopGradient", "Transpose")
_REFUSED = ("Softmax", "Sigmoid")
_REMEDY = (
    'The loss has the softmax itself. Leave out the activation="softmax" of the last layer, or its Softmax layer, and '
    "apply keras.ops.softmax where probabilities are wanted."
)
_SWAPPED = "Are the arguments swapped? Labels come first, then logits."


def refuse_softmax(model: keras.Model) -> None:
    """Raise InputError if an output of a model went through a softmax or sigmoid, and so is no logits.

    A loss on logits would take the softmax of a softmax: it is between log(1 + (K - 1)/e) and log(K - 1 + e) whatever
    the model does, which trains, slowly and badly, and raises nothing.

    The model is traced for inference and its outputs followed backwards, through changes of shape, order and dtype: a
    Softmax or Activation layer, `Dense(..., activation="softmax")`, `keras.ops.softmax`, in nested models and in
    layers of one's own too. Logarithms of probabilities are logits. Not seen are a softmax inside a `tf.function` of
    the layer's own, and one that further arithmetic follows, such as dropout.

    Args:
        model: With known inputs; of others nothing is seen. `SoftmaxCrossEntropy` looks again when training starts.

    Raises:
        InputError: If `model` is no Keras model, or an output is a softmax or sigmoid.

    Example:
        >>> refuse_softmax(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
        >>> refuse_softmax(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax", name="p")]))
        Traceback (most recent call last):
        kerasbn.checks.InputError: y_pred: expected logits; received what .../p.../Softmax has made of them. ...
    """
    if not isinstance(model, keras.Model):
        raise InputError("model", "a keras.Model", repr(type(model).__name__))
    if not getattr(model, "inputs", None):
        return
    # Of the same tensors, but with inputs in a row even if the model takes them in a dictionary.
    flat = keras.Model(model.inputs, model.outputs)
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in flat.inputs]
    traced = tf.function(lambda *inputs: flat(list(inputs), training=False), autograph=False)
    for output in traced.get_concrete_function(*specs).outputs:
        _refuse_origin(output)


def refuse_swapped(y_true: np.ndarray, y_pred: tf.Tensor, axis: int) -> None:
    """Raise InputError if predictions with known values are one-hot and labels are not: they are each other's.

    Args:
        y_true: One-hot or soft labels.
        y_pred: Logits of the same shape.
        axis: The class axis.

    Raises:
        InputError: If they are in the wrong order.

    Example:
        >>> refuse_swapped(np.array([[0.1, 0.9], [0.8, 0.2]]), tf.constant([[0.0, 1.0], [1.0, 0.0]]), -1)
        Traceback (most recent call last):
        kerasbn.checks.InputError: y_pred: expected logits; received rows of zeros and a single one, ...
    """
    if tf.is_symbolic_tensor(y_pred):
        return
    values = np.asarray(y_pred, "float64")
    one_hot = values.size > values.shape[axis] and np.isin(values, (0, 1)).all() and (values.sum(axis) == 1).all()
    if one_hot and (np.asarray(y_true, "float64") % 1 != 0).any():
        raise InputError("y_pred", "logits", "rows of zeros and a single one, as one-hot labels are", _SWAPPED)


def refuse_probabilities(y_pred: tf.Tensor, axis: int) -> None:
    """Raise InputError if predictions are probabilities, as far as that can be told without slowing a step.

    In a graph by the operation that they come from. Elsewhere by their values: if there are two rows or more, each at
    least 0 and with the sum 1, and not all whole numbers. Logits are that by no accident.

    Args:
        y_pred: Floating-point.
        axis: The class axis.

    Raises:
        InputError: If they are probabilities, or hold whole numbers.

    Example:
        >>> refuse_probabilities(tf.constant([[0.0, 1.0], [1.0, 0.0]]), -1)
        >>> refuse_probabilities(tf.constant([[0.1, 0.9], [0.8, 0.2]]), -1)
        Traceback (most recent call last):
        kerasbn.checks.InputError: y_pred: expected logits; received 2 rows that are at least 0 with the sum 1, ...
    """
    if not y_pred.dtype.is_floating:
        raise InputError("y_pred", "logits, which are floating-point numbers", y_pred.dtype.name, _SWAPPED)
    if tf.is_symbolic_tensor(y_pred):
        _refuse_origin(y_pred)
        return
    values = y_pred.numpy()
    rows = values.size // values.shape[axis]
    tolerance = 1e-2 if y_pred.dtype.size == 2 else 1e-4  # rounding: 2^-8 of each in bfloat16
    if rows > 1 and values.min() >= 0 and _sums_to_one(values, axis, tolerance).all() and (values % 1 != 0).any():
        received = f"{rows} rows that are at least 0 with the sum 1, as probabilities are"
        raise InputError("y_pred", "logits", received, _REMEDY)


def refuse_no_distributions(y_true: np.ndarray, axis: int) -> None:
    """Raise InputError if rows of soft labels are below 0 or have not the sum 1; rows of zeros are for padding.

    Args:
        y_true: Of the logits' shape.
        axis: The class axis.

    Raises:
        InputError: If a row is no distribution.

    Example:
        >>> refuse_no_distributions(np.array([[0.2, 0.8], [0.0, 0.0]]), -1)
        >>> refuse_no_distributions(np.array([[-1.3, 4.0]]), -1)
        Traceback (most recent call last):
        kerasbn.checks.InputError: y_true: expected distributions over the classes, of numbers of at least 0 with ...
    """
    # 1e-2: distributions may have been written down with two decimals.
    if y_true.size and not (y_true.min() >= 0 and (_sums_to_one(y_true, axis, 1e-2) | ~y_true.any(axis)).all()):
        sums = y_true.astype("float64").sum(axis)
        raise InputError(
            "y_true",
            "distributions over the classes, of numbers of at least 0 with the sum 1",
            f"numbers of at least {y_true.min():.4g} with sums from {sums.min():.4g} to {sums.max():.4g}",
            _SWAPPED,
        )


def _refuse_origin(y_pred: tf.Tensor) -> None:
    operation = y_pred.op
    while operation.type in _PASSING:
        operation = operation.inputs[0].op
    if operation.type in _REFUSED:
        raise InputError("y_pred", "logits", f"what {operation.name} has made of them", _REMEDY)


def _sums_to_one(values: np.ndarray, axis: int, tolerance: float) -> Any:
    return np.abs(values.astype("float64").sum(axis) - 1) <= tolerance
