"""Batch normalization in NumPy and float64, and one training step of a real layer to hold against it."""

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Results(NamedTuple):
    y: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    count: np.ndarray
    dx: np.ndarray
    dgamma: np.ndarray
    dbeta: np.ndarray


def draw(shape, seed=0, dtype="float32", scale=2.0, offset=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale + offset).astype(dtype)


def kept(axis, rank):
    return tuple(sorted(a % rank for a in ([axis] if isinstance(axis, int) else axis)))


def channels(x, axis=-1):
    return tuple(x.shape[a] for a in kept(axis, x.ndim))


def formulas(x, dy=0.0, gamma=1.0, beta=0.0, epsilon=1e-3, axis=-1, mask=None):
    """Return what the docstring of `batch_normalize` says, each channel for itself, as plainly as it can be said."""
    x, dy = np.float64(x), np.broadcast_to(np.float64(dy), x.shape)
    axes, sizes = kept(axis, x.ndim), channels(x, axis)
    if mask is not None and np.ndim(mask) < x.ndim:
        mask = np.expand_dims(mask, axes)
    counts = np.broadcast_to(True if mask is None else np.asarray(mask, bool), x.shape)
    gamma, beta = np.broadcast_to(np.float64(gamma), sizes), np.broadcast_to(np.float64(beta), sizes)
    results = Results(*(np.zeros(s) for s in (x.shape, sizes, sizes, sizes, x.shape, sizes, sizes)))
    results.variance[...] = 1
    for channel in itertools.product(*map(range, sizes)):
        here = [slice(None)] * x.ndim
        for axis_kept, index in zip(axes, channel, strict=True):
            here[axis_kept] = index
        here = tuple(here)
        w = counts[here]
        m, values = w.sum(), x[here]
        if m:
            # Taken from one of the values first: exact even where float64 has no digits left behind the point.
            near = values[w].flat[0]
            results.mean[channel] = near + (values[w] - near).mean()
            results.variance[channel] = ((values[w] - near - (values[w] - near).mean()) ** 2).mean()
        results.count[channel] = m
        root = np.sqrt(results.variance[channel] + epsilon)
        hat = (values - results.mean[channel]) / root
        results.y[here] = hat * gamma[channel] + beta[channel]
        results.dbeta[channel] = dy[here].sum()
        results.dgamma[channel] = np.where(dy[here] == 0, 0, dy[here] * hat).sum()
        through = np.where(w, results.dbeta[channel] + hat * results.dgamma[channel], 0) / max(m, 1)
        results.dx[here] = gamma[channel] / root * (dy[here] - through)
    return results


def in_mode(function, run, signature=None):
    """Return `function` as it is run: "eager", "graph", "unknown" (a graph for sizes that are not known) or "xla"."""
    if run == "eager":
        return function
    return tf.function(function, jit_compile=run == "xla", input_signature=signature if run == "unknown" else None)


def step(layer, x, dy, mask=None, run="eager"):
    """Train a layer on `x` once; return y, dx, dgamma and dbeta in float64, None for what there is not."""
    axes = kept(layer.axis, np.ndim(x))
    shape = [x.shape[a] if a in axes else None for a in range(np.ndim(x))]
    x = tf.cast(x, layer.compute_dtype)
    if not layer.built:
        layer.build(x.shape if 0 in axes else (None, *x.shape[1:]))

    def train(x):
        parameters = [p.value for p in (layer.gamma, layer.beta) if p is not None]
        with tf.GradientTape() as tape:
            tape.watch([x, *parameters])  # frozen ones too
            y = layer(x, training=True, mask=mask)
        return y, *tape.gradient(y, [x, *parameters], tf.cast(dy, y.dtype))

    y, dx, *rest = map(np.float64, in_mode(train, run, [tf.TensorSpec(shape, x.dtype)])(x))
    rest = iter(rest)
    return y, dx, *(None if p is None else next(rest) for p in (layer.gamma, layer.beta))


def statistics(layer):
    """Return the moving mean and the moving variance in float64."""
    return np.float64(layer.moving_mean.numpy()), np.float64(layer.moving_variance.numpy())


def worst(actual, expected):
    """Return the largest absolute difference in units of the largest value expected."""
    return np.max(np.abs(actual - expected), initial=0) / max(np.max(np.abs(expected), initial=0), 1e-300)
