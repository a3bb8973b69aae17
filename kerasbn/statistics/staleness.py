"""How many batches a BatchNormalization has averaged, and how much of the initial value is left in its averages."""

from collections.abc import Iterable

import keras

from kerasbn.statistics.graph import Graph


def steps_of(model: keras.Model) -> int | None:
    """Return how many training batches a model has seen by the count of its optimizer; None if there is none.

    Args:
        model: Compiled or not.

    Example:
        >>> steps_of(create_model("mlp", (4,), 3)) is None
        True
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that of a LossScaleOptimizer
    # An optimizer that accumulates gradients counts its own updates, but the statistics have one a batch.
    return int(optimizer.iterations) * (optimizer.gradient_accumulation_steps or 1) or None


def averages(layer: keras.layers.BatchNormalization) -> bool:
    """Return whether a layer updates its moving statistics in training: it is not frozen."""
    return bool(layer.trainable) and getattr(layer, "freeze", "none") not in ("statistics", "all")


def updates_of(layer: keras.layers.BatchNormalization, steps: int | None, calls: int = 1) -> int | None:
    """Return how many batches a layer has averaged, as far as that is known.

    Args:
        layer: Keras's or kerasbn's, built.
        steps: Training steps of the model, if known.
        calls: Calls of the layer in a step.
    """
    if getattr(layer, "averaging", "ema") != "ema":
        return int(layer.updates.numpy().max())
    return steps * calls if steps is not None and averages(layer) else None


def staleness(layer: keras.layers.BatchNormalization, updates: int | None) -> float | None:
    """Return the share of the initial value that is left in a layer's moving averages, in [0, 1]; None if not known.

        momentum^updates for an exponentially weighted average; 0 for one that is debiased or cumulative, and has
        begun

    Args:
        layer: Keras's or kerasbn's.
        updates: How many batches it has averaged, if known.

    Example:
        >>> round(staleness(keras.layers.BatchNormalization(momentum=0.99), 100), 3)
        0.366
    """
    if updates is None:
        return None
    if getattr(layer, "averaging", "ema") != "ema":
        return 0.0 if updates else 1.0
    return float(layer.momentum**updates)


def calls_of(layer: keras.Layer, graphs: Iterable[Graph]) -> int:
    """Return how often a layer is called when the model runs once; 1 if that cannot be seen."""
    return max([1, *(sum(call.operation is layer for call in graph.calls) for graph in graphs)])
