"""Training of a trial in stages: from one epoch to another, as if it were one fit, also after a kill."""

import dataclasses
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.callbacks import KeepBest
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.caviar.plan import Examples, FitPlan
from kerasbn.checks import InputError
from kerasbn.config import TrainingConfig
from kerasbn.data import Features
from kerasbn.training import History, checkpoint, compile_model
from kerasbn.training.compile import plan_epoch
from kerasbn.training.fit import go_on
from kerasbn.training.state import State, new_state

_VALIDATED_AT_ONCE = 256  # examples, of each of many models


class _Checkpoints(checkpoint.WriteCheckpoints):
    """None of the first weights, as a run has: the trial's seed makes them again."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        pass


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def _is_over(config: TrainingConfig, state: State) -> bool:
    """Return whether an epoch that is past has ended the trial: it diverged, or patience was out."""
    if state.history and not_finite(state.history[-1], state.keep_best.monitor):
        return True
    best = state.keep_best.epoch
    return config.patience is not None and best is not None and state.epoch - 1 - best >= config.patience


def fit_stage(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    *,
    epochs: int,
    initial_epoch: int = 0,
    checkpoints: Path | None = None,
    identity: Mapping[str, Any] | None = None,
) -> History:
    """Train a trial from one epoch to another, and leave the model as the last of them left it.

    Rates, shuffling and augmentation follow from the epoch, and the rest is in the model, its optimizer and the
    checkpoint: the stages come to the same weights, bit for bit, as one fit of all their epochs.

    Args:
        model: Features to logits, with weights and optimizer as they are after `initial_epoch` epochs.
        train: Features and labels.
        validation: Features and labels that the best epoch is chosen by.
        config: How the model is trained; `config.epochs` are the whole trial's.
        callbacks: More of them. The last `KeepBest` takes the place of training's own, and goes on with the best
            epoch that it has.
        epochs: Up to which epoch the model is trained, at least 1.
        initial_epoch: From which epoch, counted from 0.
        checkpoints: A directory of the trial: checkpoints are written there, by `config.checkpoint_seconds`, and, of
            a stage that is not the trial's last, at its end; one that is there already is gone on from, whatever
            the model is. The files are left there. None: there are none.
        identity: What a checkpoint must belong to: values by name, as JSON has them.

    Returns:
        The history of the stage: one dict an epoch from `initial_epoch` on, also of those before the kill. Empty if
        the trial had ended before, by its patience or since it diverged.

    Raises:
        InputError: If the checkpoint is damaged or belongs to something else, or there is none and the rate depends on
            more than the epoch.
    """
    identity = dict(identity or {})
    if not model.compiled:
        compile_model(model, config, train.labels)
    state = new_state(config, plan_epoch(model, len(train), config.batch_size).steps)
    given = [callback for callback in callbacks if isinstance(callback, KeepBest)]
    if given:  # the search's: one copy of the weights is enough
        state.keep_best = given[-1]
        state.keep_best.patience = config.patience
    others = [callback for callback in callbacks if callback is not state.keep_best]
    state.epoch = initial_epoch
    content = None
    if checkpoints is not None:
        checkpoints.mkdir(parents=True, exist_ok=True)
        content = checkpoint.read(checkpoints, _warn)
        seconds, steps = config.checkpoint_seconds, config.checkpoint_steps
        others.append(_Checkpoints(checkpoints, state, identity, steps, seconds, threading.Event(), _warn))
    if content is not None:
        checkpoint.restore(content, model, state, identity)
    elif initial_epoch and state.plateau is not None:
        remedy = "Give the directory that the stage before had, or training.plateau_patience: null."
        expected = "those of the stage before, since training.plateau_patience remembers its losses"
        raise InputError("checkpoints", expected, "none", remedy)
    if not _is_over(config, state):
        go_on(model, train, validation, dataclasses.replace(config, epochs=epochs), state, others)
        if checkpoints is not None and epochs < config.epochs:
            checkpoint.save(checkpoints, model, state, identity)
    if epochs >= config.epochs:
        state.keep_best.set_model(model)
        state.keep_best.restore()
    return [row for row in state.history if initial_epoch < row["epoch"] <= epochs]


@dataclasses.dataclass(frozen=True)
class ShuffledAnew:
    """The order of `data.training_batches`, as `FitPlan.order`: another in each epoch, the last examples left out.

    Args:
        taken: How many examples are taken in an epoch.
    """

    taken: int

    def __call__(self, examples: int, seeds: Sequence[int]) -> Callable[[int], np.ndarray]:
        """Return the function from an epoch to the order of each seed."""

        def orders(epoch: int) -> np.ndarray:
            shuffled = [
                tf.random.experimental.stateless_shuffle(tf.range(examples), [tf.constant(seed, tf.int64), epoch])
                for seed in seeds
            ]
            return tf.stack(shuffled).numpy()[:, : self.taken]

        return orders


def plan_of_stage(
    model: keras.Model,
    train: Features,
    validation: Features,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epochs: int,
    initial_epoch: int,
    examples: int,
) -> FitPlan | None:
    """Return what `fit_stage` does in a stage without a checkpoint.

    Args:
        model: As `fit_stage`.
        train: As `fit_stage`.
        validation: As `fit_stage`.
        config: As `fit_stage`.
        callbacks: As `fit_stage`.
        epochs: As `fit_stage`.
        initial_epoch: As `fit_stage`.
        examples: How many of the training examples the model is trained on.

    Returns:
        The plan; None if an epoch that is past has ended the trial.
    """
    plan = plan_epoch(model, examples, config.batch_size)
    state = new_state(config, plan.steps)
    given = [callback for callback in callbacks if isinstance(callback, KeepBest)]
    if given:
        state.keep_best = given[-1]
        state.keep_best.patience = config.patience
    state.epoch = initial_epoch
    if _is_over(config, state):
        return None
    others = [callback for callback in callbacks if callback is not state.keep_best]
    return FitPlan(
        Examples(train.inputs, train.labels, None),
        Examples(validation.inputs, validation.labels, None),
        plan.batch_size,
        _VALIDATED_AT_ONCE,
        epochs,
        initial_epoch,
        ShuffledAnew(plan.steps * plan.batch_size),
        (state.decay, state.keep_best, *([state.plateau] if state.plateau else []), *others),
    )
