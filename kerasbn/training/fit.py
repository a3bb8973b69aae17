"""The training loop: Keras's `fit` on the cached pipeline, with the schedule and the best epoch's weights."""

import threading
from collections.abc import Sequence
from typing import Any

import keras

from kerasbn.callbacks import KeepBest, LearningRateDecay
from kerasbn.config import TrainingConfig
from kerasbn.data import Features, evaluation_batches, examples_at_once, training_batches
from kerasbn.training.compile import compile_model, plan_epoch, schedule_of

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
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> model = create_model("mlp", (4,), 3)
        >>> history = fit(model, prepared.train, prepared.validation, TrainingConfig(epochs=2))
        >>> sorted(history[-1])
        ['accuracy', 'epoch', 'learning_rate', 'loss', 'val_accuracy', 'val_loss']
    """
    history = [] if history is None else history
    plan = plan_epoch(model, len(train), config.batch_size)
    if not model.compiled:
        compile_model(model, config, train.labels)
    keep_best = keep_best or KeepBest(config.monitor, config.patience)
    order = [LearningRateDecay(schedule_of(config), unit="epoch"), keep_best, _Record(history, stop), *callbacks]
    model.fit(
        training_batches(train, plan.batch_size, plan.steps, config.seed, first_epoch),
        validation_data=evaluation_batches(validation, examples_at_once(model)),
        steps_per_epoch=plan.steps,
        initial_epoch=first_epoch,
        epochs=config.epochs,
        shuffle=False,  # the pipeline does it
        callbacks=order,
        verbose=0,
    )
    keep_best.restore()
    return history
