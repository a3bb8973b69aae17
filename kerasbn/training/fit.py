"""The training loop: Keras's `fit` on the cached pipeline, from wherever a run stands."""

import math
import threading
from collections.abc import Sequence
from typing import Any

import keras

from kerasbn.callbacks import KeepBest
from kerasbn.config import TrainingConfig
from kerasbn.data import Features, evaluation_batches, examples_at_once, training_batches
from kerasbn.training.compile import compile_model, plan_epoch
from kerasbn.training.state import History, State, new_state


class _Stopped(Exception):
    """Training ends in the middle of an epoch, between two steps: `stop_training` would validate first."""


class _Follow(keras.callbacks.Callback):
    """Keep the state up to date: how far training is, its history, and whether it diverged."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.state = state

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Keras has just set the metrics to zero; those of the first steps of a resumed epoch are in the state.
        self.before = self.state.step
        if self.before:
            for variable, value in zip(self.model.metrics_variables, self.state.metrics, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        first = self.state.step
        self.state.step = self.before + batch + 1
        if not math.isfinite((logs or {})["loss"]):  # the mean of the epoch so far: once NaN, always NaN
            self.state.diverged = (self.state.epoch, first, self.state.step - 1)
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.state.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})
        self.state.epoch, self.state.step = epoch + 1, 0


class _Stop(keras.callbacks.Callback):
    """End training between two steps when asked to, or at a given place; the last of the callbacks."""

    def __init__(self, state: State, stop: threading.Event | None, until: tuple[int, int] | None) -> None:
        super().__init__()
        self.state, self.stop, self.until = state, stop, until

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.state.step < self.state.steps_per_epoch:  # else the epoch is whole once it is validated
            self._end_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._end_if_asked()

    def _end_if_asked(self) -> None:
        asked = self.stop is not None and self.stop.is_set()
        if asked or (self.state.epoch, self.state.step) == self.until:
            raise _Stopped


def go_on(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    state: State,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    adjust: keras.callbacks.Callback | None = None,
    stop: threading.Event | None = None,
    until: tuple[int, int] | None = None,
) -> None:
    """Train a compiled model from where a run stands; it is left with the weights of the last step.

    Args:
        model: Features to logits, compiled.
        train: As `fit`.
        validation: As `fit`.
        config: As `fit`.
        state: Where the run stands; kept up to date.
        callbacks: As `fit`.
        adjust: The callback that changes the rate before it is set.
        stop: As `fit`.
        until: Epoch and step of it, both from 0, before which training ends.
    """
    plan = plan_epoch(model, len(train), config.batch_size)
    order = [*([adjust] if adjust else []), state.decay, state.keep_best, *([state.plateau] if state.plateau else [])]
    order += [_Follow(state), *callbacks, _Stop(state, stop, until)]
    evaluated = evaluation_batches(validation, examples_at_once(model))
    if len(model.metrics_variables) < len(state.metrics):  # Keras makes them with the first batch that it sees
        model.evaluate(evaluated.take(1), verbose=0)
    model.stop_training = False  # an earlier fit may have left it
    try:
        while state.epoch < config.epochs and not model.stop_training:
            # The rest of an epoch that was begun is a fit of its own: Keras has epochs of one length.
            model.fit(
                training_batches(
                    train,
                    plan.batch_size,
                    plan.steps,
                    config.seed,
                    state.epoch,
                    state.step,
                    flip=config.flip,
                    shift=config.shift,
                ),
                validation_data=evaluated,
                steps_per_epoch=plan.steps - state.step,
                initial_epoch=state.epoch,
                epochs=state.epoch + 1 if state.step else config.epochs,
                shuffle=False,  # the pipeline does it
                callbacks=order,
                verbose=0,
            )
    except _Stopped:
        state.metrics = [variable.numpy() for variable in model.metrics_variables]
        # Keras's fit was left before it could tell them.
        for callback in order:
            callback.on_train_end()


def fit(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    keep_best: KeepBest | None = None,
    stop: threading.Event | None = None,
) -> History:
    """Train a model on features, epoch by epoch, and leave it with the weights of the best epoch.

    A loss that is NaN or infinite ends training after the execution in which it appears; its epoch is in the
    history, and is never the best.

    Args:
        model: Features to logits; compiled by `compile_model`, or not at all.
        train: Features and labels.
        validation: Features and labels that the best epoch is chosen by.
        config: See `kerasbn.config.TrainingConfig`.
        callbacks: More of them; they run at the end of an epoch after history and best weights are up to date.
        keep_best: What takes the place of training's own.
        stop: When set, training ends after the present step, and in the last one of an epoch after its validation.

    Returns:
        The history: one dict an epoch, with `epoch` from 1, losses, accuracies and learning rate.

    Example:
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> model = create_model("mlp", (4,), 3)
        >>> history = fit(model, prepared.train, prepared.validation, TrainingConfig(epochs=2))
        >>> sorted(history[-1])
        ['accuracy', 'epoch', 'learning_rate', 'loss', 'val_accuracy', 'val_loss']
    """
    if not model.compiled:
        compile_model(model, config, train.labels)
    state = new_state(config, plan_epoch(model, len(train), config.batch_size).steps)
    if keep_best is not None:
        state.keep_best = keep_best
    go_on(model, train, validation, config, state, callbacks, stop=stop)
    state.keep_best.restore()
    return state.history
