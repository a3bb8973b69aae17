"""Weights of the rows of a loss or metric, and the means and sums that they make."""

from typing import Any

import keras
import tensorflow as tf

from kerasbn.checks import InputError

REDUCTIONS = ("mean_with_sample_weight", "sum_over_batch_size", "mean", "sum", "none")


def checked_dtype(dtype: Any) -> str:
    """Return the dtype that a loss or metric is computed in: "float32" or "float64".

    Args:
        dtype: As Keras takes it; None: Keras's `floatx`, or float32 where that is float16 or bfloat16.

    Returns:
        Its name.

    Raises:
        InputError: If it is another.

    Example:
        >>> checked_dtype(None)
        'float32'
    """
    if dtype is None:
        return "float64" if keras.config.floatx() == "float64" else "float32"
    name = dtype.compute_dtype if isinstance(dtype, keras.DTypePolicy) else tf.as_dtype(dtype).name
    if name not in ("float32", "float64"):
        remedy = "Logits may be float16 or bfloat16; losses and sums need more bits."
        raise InputError("dtype", "float32 or float64", name, remedy)
    return name


def per_row(subject: str, weights: Any, rows: tf.Tensor) -> tf.Tensor:
    """Return weights, one for each row, from what may have fewer axes.

    Args:
        subject: What the weights are, for the message.
        weights: A number, one for each row, or a shape that broadcasts to that. Fewer axes than the rows have are
            the first of them: (batch,) weights are those of whole sequences. One axis more, of size 1, is left out.
        rows: What the weights are for: a tensor of the rows' shape and of the dtype wanted.

    Returns:
        Weights of the rows' shape and dtype.

    Raises:
        InputError: If the shape fits in no such way.

    Example:
        >>> per_row("sample_weight", [1.0, 2.0], tf.zeros((2, 3))).numpy()
        array([[1., 1., 1.],
               [2., 2., 2.]], dtype=float32)
    """
    weights = tf.convert_to_tensor(weights)
    if weights.shape.rank == rows.shape.rank + 1 and weights.shape[-1] in (1, None):
        weights = tf.squeeze(weights, -1)
    sizes, wanted = weights.shape, rows.shape
    if (
        sizes.rank is None
        or sizes.rank > wanted.rank
        or any(size not in (None, 1) and other not in (None, size) for size, other in zip(sizes, wanted, strict=False))
    ):
        raise InputError(
            subject,
            f"one number for each of the rows, which have shape {tuple(wanted)}, or a shape that broadcasts to that",
            "an unknown shape" if sizes.rank is None else f"shape {tuple(sizes)}",
            "Fewer axes are taken as the first ones.",
        )
    weights = tf.cast(weights, rows.dtype)
    for _ in range(wanted.rank - sizes.rank):
        weights = weights[..., tf.newaxis]
    if sizes.is_fully_defined() and sizes == wanted:
        return weights
    return tf.broadcast_to(weights, tf.shape(rows))


def product(*factors: tf.Tensor | None) -> tf.Tensor | None:
    """Return the product of those factors that are not None, or None if all are."""
    result = None
    for factor in factors:
        if factor is not None:
            result = factor if result is None else result * factor
    return result


def reduced(
    losses: tf.Tensor, weights: tf.Tensor | None, counted: tf.Tensor | None, reduction: str | None
) -> tf.Tensor:
    """Return the weighted sum or mean of losses l with weights w.

        "mean_with_sample_weight"      sum w l / sum w
        "sum_over_batch_size", "mean"  sum w l / (number of rows that count)
        "sum"                          sum w l
        "none", None                   w l, row by row

    A mean of nothing is 0. A row of weight 0 adds 0 even if its loss is NaN or infinite.

    Args:
        losses: One for each row.
        weights: One for each row, 0 for those that do not count; None: all are 1.
        counted: For each row whether it counts; None: all do.
        reduction: As above.

    Returns:
        A number; with "none" or None one for each row.

    Example:
        >>> losses, weights = tf.constant([1.0, 3.0, np.nan]), tf.constant([3.0, 1.0, 0.0])
        >>> float(reduced(losses, weights, weights > 0, "mean_with_sample_weight"))
        1.5
        >>> float(reduced(losses, weights, weights > 0, "mean"))
        3.0
    """
    if weights is not None:
        losses = tf.math.multiply_no_nan(losses, weights)
    if reduction in (None, "none"):
        return losses
    total = tf.reduce_sum(losses)
    if reduction == "sum":
        return total
    if weights is not None and reduction == "mean_with_sample_weight":
        parts = tf.reduce_sum(weights)
    elif counted is not None:
        parts = tf.reduce_sum(tf.cast(counted, losses.dtype))
    else:
        parts = tf.cast(tf.size(losses), losses.dtype)
    mean = tf.math.divide_no_nan(total, parts)
    # Keras adds up the gradients of replicas and so divides means by their number, and takes that for granted later.
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return mean / replicas if replicas > 1 else mean
