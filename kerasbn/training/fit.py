"""The training loop: Keras's `fit` on the cached pipeline, with the schedule and the best epoch's weights."""

import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from kerasbn.callbacks import KeepBest, LearningRateDecay
from kerasbn.config import TrainingConfig
from kerasbn.data import Features, evaluation_batches, training_batches
from kerasbn.training.compile import compile_model, schedule_of, steps_per_execution

History = list[dict[str, float]]  # one entry an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate


class _Record(keras.callbacks.Callback):
    """Append each epoch's metrics to a history, and stop training when asked to."""

    def __init__(self, history: History, stop: threading.Event | None) -> None:
        super().__init__()
        self.history, self.stop = history, stop

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        if self.stop is not None and self.stop.is_set():
            self.model.stop_training = True


def plan_steps(model: keras.Model, examples: int, batch_size: int) -> tuple[int, int]:
    """Return the steps of an epoch and how many of them run in one call of TensorFlow.

    Args:
        model: Features to logits.
        examples: Number of training examples; fewer than a batch are one batch.
        batch_size: Examples in a batch.

    Returns:
        Steps of an epoch, a multiple of the second number: the incomplete batch is left out, and at most 2% of
        the others, different ones in each epoch.
    """
    steps = max(1, examples // batch_size)
    in_one = steps_per_execution(model, steps, min(batch_size, examples))
    return steps // in_one * in_one, in_one


def balanced_class_weight(labels: np.ndarray) -> list[float]:
    """Return n / (k n_c) for each of the k classes c, so that each counts the same in the loss.

    Args:
        labels: (n,) positions of classes, each at least once.

    Returns:
        A weight a class.
    """
    return compute_class_weight("balanced", classes=np.unique(labels), y=labels).tolist()


def fit(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    keep_best: KeepBest | None = None,
    first_epoch: int = 0,
    history: History | None = None,
    stop: threading.Event | None = None,
) -> History:
    """Train a model on features, epoch by epoch, and leave it with the weights of the best epoch.

    Args:
        model: Features to logits; compiled by `compile_model`, or not at all.
        train: Features and labels.
        validation: Features and labels that the best epoch is chosen by.
        config: See `kerasbn.config.TrainingConfig`.
        callbacks: More of them; they run at the end of an epoch after history and best weights are up to date.
        keep_best: The state of a run that is resumed.
        first_epoch: Epoch to begin with, from 0.
        history: The epochs before; it is added to.
        stop: When set, training ends after the epoch.

    Returns:
        The history: one dict an epoch, with `epoch` from 1, losses, accuracies and learning rate.

    Example:
        >>> history = fit(model, prepared.train, prepared.validation, TrainingConfig(epochs=5))
        >>> history[-1]["val_accuracy"]
        0.96
    """
    history = [] if history is None else history
    batch_size = min(config.batch_size, len(train))
    steps, in_one = plan_steps(model, len(train), batch_size)
    if not model.compiled:
        class_weight = balanced_class_weight(train.labels) if config.class_weight else None
        compile_model(model, config, class_weight, in_one)
    keep_best = keep_best or KeepBest(config.monitor, config.patience)
    order = [LearningRateDecay(schedule_of(config), unit="epoch"), keep_best, _Record(history, stop), *callbacks]
    model.fit(
        training_batches(train, batch_size, steps, config.seed, first_epoch),
        validation_data=evaluation_batches(validation),
        steps_per_epoch=steps,
        initial_epoch=first_epoch,
        epochs=config.epochs,
        shuffle=False,  # the pipeline does it
        callbacks=order,
        verbose=0,
    )
    keep_best.restore()
    return history
