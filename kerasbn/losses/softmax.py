"""The mathematics of softmax cross-entropy, written out: the loss of each row of logits, and its derivative.

For one row of K logits z, and a label y that is a distribution over the K classes (one-hot for a whole number):

    y_hat_k = exp(z_k) / sum_j exp(z_j)                     softmax
    L       = -sum_k y_k log y_hat_k                        cross-entropy

No exponential overflows, and no logarithm meets 0, if the greatest logit m is taken off first, which changes nothing
(both sides of the fraction are divided by exp(m)):

    lse(z)      = log sum_k exp(z_k) = m + log S,   S = sum_k exp(z_k - m),   1 <= S <= K
    log y_hat_k = z_k - lse(z)       = (z_k - m) - log S
    L           = sum_k y_k (log S - (z_k - m))             = log S - (z_y - m) for a whole number y

The backward pass. Of lse the derivative is softmax: d lse/dz_k = exp(z_k) / sum_j exp(z_j) = y_hat_k. Hence

    dL/dz_k = sum_j y_j y_hat_k - y_k = y_hat_k - y_k       as sum_j y_j = 1

that is what the model says minus what is so; and dL/dy_k = -log y_hat_k. The z-loss adds c lse(z)^2, and to the
derivative 2 c lse(z) y_hat_k: it draws lse(z) to 0, which softmax alone leaves free.

Masked classes: z_k = -inf gives exp(z_k - m) = 0 and y_hat_k = 0, and the products y_k log y_hat_k are taken such that
0 * -inf is 0. Three things follow. A masked class has no part in the loss and no derivative. If the true class is
masked the loss is infinite, as the model says that what happened cannot, and its derivative is finite. A row in which
all classes are masked has no softmax (0/0): its loss is NaN.

TensorFlow's fused operations compute the same, but take each exponential twice, once for S and again for y_hat, whether
a derivative is asked for or not. With 1,000 classes what stands here takes half to five sixths of their time
(scripts/benchmarks/loss.py). With whole numbers and few classes the number of operations counts: there the fused one is
used. The one for distributions is faster nowhere, and gives NaN for 0 * -inf.
"""

from typing import Any

import tensorflow as tf

# Up to here the fused operation takes a tenth less for batches of 256, and at most an eighth more for 65,536.
FEW_CLASSES = 32


def softmax_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, smoothing: float = 0.0, z_loss: float = 0.0
) -> tf.Tensor:
    """Return the loss of each row of logits; the formulas are at the top of this file.

    Args:
        logits: (n, K), floating-point; -inf for classes that cannot be.
        labels: (n,) int32 or int64 in [0, K); or (n, K) distributions of the logits' dtype. Others than in [0, K)
            raise `tf.errors.InvalidArgumentError`; where XLA compiles, which leaves that out, their loss is NaN.
        smoothing: Share of the labels that is spread over the classes, in [0, 1); see `smoothed`.
        z_loss: c, the factor of the squared log-sum-exp.

    Returns:
        (n,) losses in the logits' dtype, which can be differentiated more than once.

    Example:
        >>> loss = softmax_cross_entropy(tf.constant([[0.0, np.log(3)]]), tf.constant([1]))
        >>> round(float(loss[0]), 5)  # -log 3/4
        0.28768
    """
    classes = logits.shape[-1]
    if not labels.dtype.is_integer:
        return _written_out(logits, smoothed(labels, logits, smoothing) if counts(smoothing) else labels, z_loss)
    if classes <= FEW_CLASSES and not counts(smoothing) and not counts(z_loss):
        return _fused(logits, labels)
    valid = (labels >= 0) & (labels < classes)
    said = [f"y_true: expected labels in [0, {classes}); received some from", tf.reduce_min(labels)]
    said += ["to", tf.reduce_max(labels)]
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(valid), said)]):
        labels = tf.identity(labels)
    losses = _written_out(logits, smoothed(labels, logits, smoothing) if counts(smoothing) else labels, z_loss)
    return tf.where(valid, losses, float("nan"))


def counts(value: Any, without: float = 0.0) -> bool:
    """Return whether a number is another than the one that changes nothing; a tensor may always be.

    Example:
        >>> counts(0.0), counts(0.1), counts(tf.constant(0.0))
        (False, True, True)
    """
    return bool(tf.is_tensor(value) or value != without)


def _written_out(logits: tf.Tensor, labels: tf.Tensor, z_loss: float) -> tf.Tensor:
    is_whole = labels.dtype.is_integer

    @tf.custom_gradient
    def losses_of(z: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Any]:
        # The derivative does not depend on m, so m needs none, and second derivatives have less to do.
        m = tf.stop_gradient(tf.reduce_max(z, axis=-1, keepdims=True))
        shifted = z - m
        exponentials = tf.exp(shifted)
        total = tf.reduce_sum(exponentials, axis=-1, keepdims=True)
        log_total = tf.math.log(total)
        if is_whole:
            losses = tf.squeeze(log_total, -1) - tf.gather(shifted, y, batch_dims=1)
        else:
            losses = tf.reduce_sum(tf.math.multiply_no_nan(log_total - shifted, y), axis=-1)
        if counts(z_loss):
            losses += z_loss * tf.squeeze(log_total + m, -1) ** 2

        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
            y_hat = exponentials / total
            if counts(z_loss):
                y_hat *= 1 + 2 * z_loss * (log_total + m)
            upstream = upstream[:, tf.newaxis]
            if is_whole:
                places = tf.stack([tf.range(tf.size(y, y.dtype)), y], axis=1)
                slope = tf.tensor_scatter_nd_update(y_hat, places, tf.gather(y_hat, y, batch_dims=1) - 1)
                return _scaled(slope, upstream), None
            return _scaled(y_hat - y, upstream), upstream * (log_total - shifted)

        return losses, backward

    return losses_of(logits, labels)


def _fused(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def losses_of(z: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Any]:
        losses, slope = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=z, labels=y)
        return losses, lambda upstream: (_scaled(slope, upstream[:, tf.newaxis]), None)

    return losses_of(logits, labels)


def _scaled(slope: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Multiply by the derivative from above; a row that does not count has none, even if its logits are NaN."""
    return tf.math.multiply_no_nan(slope, upstream)


def smoothed(labels: tf.Tensor, logits: tf.Tensor, share: float) -> tf.Tensor:
    """Return distributions of which a share is spread evenly over the classes that are not masked.

        q_k = (1 - share) y_k + share / M   for the M classes with z_k > -inf;   q_k = (1 - share) y_k for the others

    Args:
        labels: (n,) whole numbers in [0, K); or (n, K) distributions of the logits' dtype.
        logits: (n, K).
        share: In [0, 1).

    Returns:
        (n, K) distributions.

    Example:
        >>> smoothed(tf.constant([0]), tf.constant([[0.5, 0.2, -np.inf]]), 0.1).numpy()
        array([[0.95, 0.05, 0.  ]], dtype=float32)
    """
    classes, lowest = logits.shape[-1], -float("inf")

    def kept(spread: tf.Tensor | float) -> tf.Tensor:
        y = tf.one_hot(labels, classes, dtype=logits.dtype) if labels.dtype.is_integer else labels
        return (1 - share) * y + spread

    def over_some() -> tf.Tensor:
        possible = tf.cast(logits > lowest, logits.dtype)
        return kept(possible * (share / tf.reduce_sum(possible, axis=-1, keepdims=True)))

    if tf.is_tensor(share):  # in a stack of models (kerasbn.caviar), whose operations cannot choose
        return over_some()
    # Masked classes are rare, and to look for one takes less time than to spread what there is to spread row by row.
    return tf.cond(tf.reduce_min(logits) > lowest, lambda: kept(share / classes), over_some)
