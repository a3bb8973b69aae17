"""Labels of a classifier: whole numbers that are classes, rows that do not count, and class weights."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError


def has_whole_numbers(labels: tf.Tensor, logits: tf.Tensor, axis: int) -> bool:
    """Return whether labels are whole numbers by their shape, or distributions.

    Args:
        labels: The shape of the logits without `axis` or with size 1 there; or the logits' own.
        logits: With a class axis.
        axis: The class axis.

    Returns:
        Whether there is one number for each row of logits.

    Raises:
        InputError: If the shapes do not fit.

    Example:
        >>> has_whole_numbers(tf.zeros((8, 1)), tf.zeros((8, 10)), -1)
        True
    """
    shape, rank = logits.shape, logits.shape.rank
    if rank is None or not -rank <= axis < rank:
        raise InputError("axis", f"an axis of logits of shape {_text(shape)}", axis)
    classes = shape[axis]
    if classes is None:
        raise InputError("y_pred", f"a known number of classes on axis {axis}", "an unknown one")
    checks.in_range("number of classes", classes, 2, integer=True, remedy="Two classes take two logits, not one.")
    received = labels.shape
    if received.rank is not None and received.rank > rank:
        raise InputError(
            "y_true",
            f"at most the {rank} axes of y_pred",
            f"shape {_text(received)}",
            "The arguments look swapped: labels come first, then logits.",
        )
    is_column = received.rank == rank and received[axis] == 1
    expected = [size for i, size in enumerate(shape) if i != axis % rank]
    if is_column:
        expected.insert(axis % rank, 1)
    if received.rank != rank or is_column:
        fits = received.rank is not None and received.is_compatible_with(expected)
    else:
        fits = received.is_compatible_with(shape)
    if not fits:
        raise InputError(
            "y_true",
            f"integer labels of the logits' shape {_text(shape)} without axis {axis}, or soft labels of that shape",
            f"shape {_text(received)}",
        )
    return is_column or received.rank == rank - 1


def whole_numbers(
    labels: tf.Tensor, classes: int, ignored: int | None = None, counted: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return labels as classes, and whether they count.

    They are never made fractions of, which would have no 257 in bfloat16 and no 2^24 + 1 in float32.

    Args:
        labels: Of any shape and numeric dtype.
        classes: K.
        ignored: The label of rows that do not count; None: there is none.
        counted: For each label whether it counts; None: all do. What does not count may have any label.

    Returns:
        Labels as int32 or int64: 0 where they do not count, -1 where they are no whole numbers. And for each whether
        it counts, None if all do.

    Raises:
        tf.errors.InvalidArgumentError: If a label that counts is not in [0, K). Eagerly: a graph is run later.

    Example:
        >>> ids, counted = whole_numbers(tf.constant([1, 255], tf.uint8), 2, ignored=255)
        >>> ids.numpy().tolist(), counted.numpy().tolist()
        ([1, 0], [True, False])
    """
    ids = labels if labels.dtype == tf.int32 and ignored is None else tf.cast(labels, tf.int64)
    fractions = None if labels.dtype.is_integer else tf.not_equal(tf.cast(ids, labels.dtype), labels)
    if ignored is not None:
        kept = tf.not_equal(ids, ignored)
        kept = kept if fractions is None else kept | fractions  # 1.5 is not 1
        counted = kept if counted is None else counted & kept
    if fractions is not None:
        ids = tf.where(fractions, tf.constant(-1, ids.dtype), ids)
    if counted is not None:
        ids = tf.where(counted, ids, tf.constant(0, ids.dtype))
    if tf.executing_eagerly():
        wrong = (ids.numpy() < 0) | (ids.numpy() >= classes)
        if wrong.any():
            received = f"received {labels.numpy()[wrong].flat[0]}."
            raise tf.errors.InvalidArgumentError(None, None, f"y_true: expected labels in [0, {classes}); {received}")
    return ids, counted


def checked_weights(
    class_weight: Sequence[float] | Mapping[int, float] | None,
) -> list[float] | dict[int, float] | None:
    """Return class weights as a list or dictionary of floats of at least 0, or raise `InputError`.

    Example:
        >>> checked_weights({"0": 2, 3: 0.5})
        {0: 2.0, 3: 0.5}
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        return [float(checks.in_range(f"class_weight[{k}]", weight, 0)) for k, weight in enumerate(class_weight)]
    weights = {}
    for key, weight in class_weight.items():
        # JSON has only text as keys, so a loss that was loaded gets "0" for 0.
        known = int(key) if isinstance(key, str) and key.isdigit() else key
        known = int(checks.in_range("class of class_weight", known, 0, integer=True))
        weights[known] = float(checks.in_range(f"class_weight[{known}]", weight, 0))
    return weights


def weight_of_each(class_weight: list[float] | dict[int, float], classes: int) -> list[float]:
    """Return the weight of each of K classes, 1 for those left out, or raise `InputError` if they do not fit.

    Example:
        >>> weight_of_each({1: 3.0}, 3)
        [1.0, 3.0, 1.0]
    """
    if isinstance(class_weight, dict):
        if max(class_weight, default=0) >= classes:
            raise InputError("class_weight", f"classes from 0 to {classes - 1}", f"class {max(class_weight)}")
        return [class_weight.get(k, 1.0) for k in range(classes)]
    if len(class_weight) != classes:
        raise InputError("class_weight", f"{classes} weights, one a class", len(class_weight))
    return class_weight


def _text(shape: tf.TensorShape) -> str:
    return "unknown" if shape.rank is None else str(tuple(shape))
