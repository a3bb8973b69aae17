"""Softmax cross-entropy in NumPy and float64, one call of a loss to hold against it, and a batch of each kind."""

import numpy as np
import tensorflow as tf

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 5)).astype("float32") * 3
IDS = RNG.integers(0, 5, 12)
ONE_HOT = np.eye(5, dtype="float32")[IDS]
SOFT = RNG.dirichlet(np.ones(5), 12).astype("float32")
RUNS = ["eager", "graph", "xla"]


def oracle(y, z, smoothing=0.0, weight=None, temperature=1.0, z_loss=0.0):
    """The formulas of the docstring in float64: weighted losses of the rows, and their derivative by z."""
    y, z = np.float64(y), np.float64(z) / temperature
    m = z.max(-1, keepdims=True)
    lse = m + np.log(np.exp(z - m).sum(-1, keepdims=True))
    q = (1 - smoothing) * y + smoothing / z.shape[-1]
    w = np.ones(y.shape[:-1]) if weight is None else y @ np.float64(weight)
    losses = (q * (lse - z)).sum(-1) + z_loss * lse[..., 0] ** 2
    return w * losses, w[..., None] * ((1 + 2 * z_loss * lse) * np.exp(z - lse) - q) / temperature


def rows(loss, y_true, y_pred, run="eager"):
    """Loss and its derivative; of a loss for each row, that of their sum."""

    def both(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            losses = loss(y_true, y_pred)
        return losses, tape.gradient(losses, y_pred)

    both = both if run == "eager" else tf.function(both, jit_compile=run == "xla")
    return both(tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred))
