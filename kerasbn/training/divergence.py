"""Where a training that diverged went wrong: the step, the rate, and the layer that was not finite first."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.config import TrainingConfig
from kerasbn.data import Features, training_batches
from kerasbn.training.compile import plan_epoch
from kerasbn.training.fit import go_on
from kerasbn.training.state import State


@dataclass(frozen=True)
class Origin:
    """The first thing in a training that was NaN or infinite.

    Args:
        epoch: From 1.
        step: Step of the epoch, from 1.
        learning_rate: Of that step.
        layer: Name of the layer; None: none, the loss itself.
        what: "output" of the layer, "loss", "gradient" of its weights, or "weights" after the step.

    Example:
        >>> print(Origin(epoch=2, step=7, learning_rate=0.5, layer="dense_1", what="gradient"))
        epoch 2, step 7, learning rate 0.5; the first that was not finite: the gradient of layer 'dense_1'
    """

    epoch: int
    step: int
    learning_rate: float
    layer: str | None
    what: str

    def __str__(self) -> str:
        thing = self.what if self.layer is None else f"{self.what} of layer {self.layer!r}"
        rate = f"learning rate {self.learning_rate:.4g}"
        return f"epoch {self.epoch}, step {self.step}, {rate}; the first that was not finite: the {thing}"


class _Found(Exception):
    def __init__(self, layer: str | None, what: str) -> None:
        self.layer, self.what = layer, what


def _finite(tensor: Any) -> bool:
    return bool(tf.reduce_all(tf.math.is_finite(tf.cast(tensor, tf.float32))))


def _examine(model: keras.Model, x: Any, y: Any) -> None:
    """Raise `_Found` if a step on (x, y) would not be finite; the model is left as it was."""
    before = [(variable, variable.numpy()) for variable in model.variables]
    try:
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = model.compute_loss(x, y, logits, training=True)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    finally:
        for variable, value in before:
            variable.assign(value)
    if not _finite(logits):
        raise _Found(_first_layer(model, x, before), "output")
    if not _finite(loss):
        raise _Found(None, "loss")
    # From the loss backwards: the last layer of those that are not finite was the first.
    for variable, gradient in reversed(list(zip(model.trainable_variables, gradients, strict=True))):
        if gradient is not None and not _finite(gradient):
            raise _Found(_owner(model, variable), "gradient")


def _first_layer(model: keras.Model, x: Any, before: list[tuple[Any, np.ndarray]]) -> str | None:
    """Return the first layer whose output on x is not finite."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])
    try:
        values = keras.tree.flatten(outputs(x, training=True))
    finally:
        for variable, value in before:
            variable.assign(value)
    return next((layer.name for layer, value in zip(layers, values, strict=True) if not _finite(value)), None)


def _owner(model: keras.Model, variable: Any) -> str | None:
    return next((layer.name for layer in model.layers if any(v is variable for v in layer.variables)), None)


class _Examine(keras.callbacks.Callback):
    """Examine each step before it is taken, and the weights after it."""

    def __init__(self, batches: tf.data.Dataset) -> None:
        super().__init__()
        self.batches = iter(batches)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        _examine(self.model, *next(self.batches))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for variable in self.model.trainable_variables:
            if not _finite(variable):
                raise _Found(_owner(self.model, variable), "weights")


def find_origin(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    state: State,
    diverged: tuple[int, int, int],
    adjust: keras.callbacks.Callback | None = None,
) -> Origin | None:
    """Train once more from the last checkpoint, and look at each step of the execution that diverged.

    Training is deterministic, so it comes to the same place.

    Args:
        model: As it was at the checkpoint.
        train: As in the training.
        validation: As in the training.
        config: As in the training.
        state: As it was at the checkpoint.
        diverged: Epoch and first and last step of the execution, from 0.
        adjust: As in the training.

    Returns:
        Where it began; None if this time it did not diverge. The model's weights are of no use then.
    """
    epoch, first, last = diverged
    plan = plan_epoch(model, len(train), config.batch_size)
    if (state.epoch, state.step) != (epoch, first):
        go_on(model, train, validation, config, state, adjust=adjust, until=(epoch, first))
    model.steps_per_execution = 1
    model.make_train_function(force=True)
    batches = training_batches(
        train, plan.batch_size, plan.steps, config.seed, epoch, first, flip=config.flip, shift=config.shift
    )
    try:
        until = (epoch + 1, 0) if last + 1 == plan.steps else (epoch, last + 1)
        go_on(model, train, validation, config, state, [_Examine(batches)], adjust=adjust, until=until)
    except _Found as found:
        if adjust is not None:
            adjust.on_train_end()  # Keras's fit was left before it could tell: dropout is as built again
        rate = float(model.optimizer.learning_rate)
        return Origin(epoch + 1, state.step + 1 - (found.what == "weights"), rate, found.layer, found.what)
    return None
