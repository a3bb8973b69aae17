"""Moving averages of the batches' statistics: how much each batch weighs in them."""

import math
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from kerasbn.layers.batch_normalization import BatchNormalization

AVERAGINGS = ("ema", "debiased", "cumulative")


def weight_of_next(averaging: str, momentum: float, updates: tf.Tensor) -> tf.Tensor | float:
    """Return the weight w of the next batch in `average <- (1 - w) average + w new`.

        ema          w = 1 - momentum
        debiased     w = (1 - momentum) / (1 - momentum^t)
        cumulative   w = 1 / t

    with t = updates + 1. An exponentially weighted average that starts at 0 is too small by the factor 1 - momentum^t,
    the sum of the weights that it has given away so far; dividing by it is the bias correction of the course. Written
    as above the average is right at every step, and no second variable is needed: the first batch has weight 1, so that
    what the average was initialised with is gone.

    Args:
        averaging: One of `AVERAGINGS`.
        momentum: Weight of the old average, in [0, 1]; below 1 for "debiased".
        updates: How many batches were averaged so far, of any shape; not needed for "ema".

    Returns:
        A number for "ema", otherwise a tensor like `updates`.

    Example:
        >>> weight_of_next("debiased", 0.5, tf.constant([0.0, 1.0])).numpy().tolist()
        [1.0, 0.6666666865348816]

    Source: the course notes on bias correction; Kingma and Ba (2015), arXiv:1412.6980, section 3.
    """
    if averaging == "ema":
        return 1.0 - momentum
    t = updates + 1
    if averaging == "cumulative":
        return 1 / t
    if momentum == 0:
        return tf.ones_like(t)
    # expm1 keeps the digits that 1 - momentum^t loses while momentum^t is near 1.
    debiased = (1 - momentum) / -tf.math.expm1(t * math.log(momentum))
    return tf.where(t > 1, debiased, 1.0)  # exactly 1 for the first


def average_in(layer: "BatchNormalization", mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor) -> None:
    """Update a layer's moving statistics by those of a batch, for each channel as far as it has values for them.

        average <- (1 - w) average + w new

    Args:
        layer: Whose variables are assigned to.
        mean: (channels,), of the batch.
        variance: (channels,), of the batch, biased.
        count: How many values these are of: (channels,) or (1,). Without values the averages stay as they are, and with
            a single one that of the variance does: it would only draw it towards 0.
    """
    has_mean, has_variance = tf.cast(count > 0, mean.dtype), tf.cast(count > 1, mean.dtype)
    if layer.variance_estimator == "unbiased":
        variance *= count / tf.maximum(count - 1, 1)

    def update(moving: tf.Variable, new: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        average = tf.cast(moving, new.dtype) * (1 - weight) + new * weight
        moving.assign(tf.cast(average, moving.dtype))
        return average

    of_mean = of_variance = 1 - layer.momentum
    if layer.averaging != "ema":
        updates = tf.cast(layer.updates, mean.dtype)
        of_mean, of_variance = tf.unstack(weight_of_next(layer.averaging, layer.momentum, updates))
        counted = tf.stack([tf.broadcast_to(has, layer.moving_mean.shape) for has in (has_mean, has_variance)])
        layer.updates.assign_add(tf.cast(counted, layer.updates.dtype))
    update(layer.moving_mean, mean, has_mean * of_mean)
    if not layer.renorm:
        update(layer.moving_variance, variance, has_variance * of_variance)
        return
    deviation = tf.sqrt(variance + layer.epsilon)
    of_renorm = 1 - layer.renorm_momentum
    update(layer.renorm_mean, mean, has_mean * of_renorm)
    update(layer.renorm_stddev, deviation, has_variance * of_renorm)
    moving_deviation = update(layer.moving_stddev, deviation, has_variance * of_variance)
    # Rounding can take it below zero.
    moving_variance = tf.cast(tf.maximum(tf.square(moving_deviation) - layer.epsilon, 0), layer.moving_variance.dtype)
    layer.moving_variance.assign(tf.where(count > 1, moving_variance, layer.moving_variance))
