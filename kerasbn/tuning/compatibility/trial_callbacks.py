"""The callbacks of a trial: copies of the user's, with logs of their own, and the hooks of a tuner."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras_tuner.engine.trial import Trial
from tensorboard.plugins.hparams import api  # type: ignore[import-untyped]

from kerasbn.tuning.draws import Draws
from kerasbn.tuning.objective import MisuseError


class Overridable:
    """Methods that KerasTuner calls during a search, for subclasses of a tuner to override; here they do nothing."""

    def on_search_begin(self) -> None:
        """Called when a search begins."""

    def on_search_end(self) -> None:
        """Called when a search ends, unless by an error."""

    def on_trial_begin(self, trial: Trial) -> None:
        """Called before a trial is trained."""

    def on_trial_end(self, trial: Trial) -> None:
        """Called with each finished trial."""

    def on_epoch_begin(self, trial: Trial, model: keras.Model, epoch: int, logs: Any = None) -> None:
        """Called at the beginning of each epoch of a fit."""

    def on_epoch_end(self, trial: Trial, model: keras.Model, epoch: int, logs: Any = None) -> None:
        """Called at the end of each epoch of a fit."""

    def on_batch_begin(self, trial: Trial, model: keras.Model, batch: int, logs: Any = None) -> None:
        """Called at the beginning of each batch of a fit."""

    def on_batch_end(self, trial: Trial, model: keras.Model, batch: int, logs: Any = None) -> None:
        """Called at the end of each batch of a fit."""


class Hooks(keras.callbacks.Callback):
    """Call the methods of a tuner that KerasTuner calls while a model is fitted.

    Args:
        tuner: The tuner.
        trial: The trial that is trained.
    """

    def __init__(self, tuner: Overridable, trial: Trial) -> None:
        super().__init__()
        self.tuner, self.trial = tuner, trial

    def __deepcopy__(self, memo: dict[int, Any]) -> "Hooks":
        return Hooks(self.tuner, self.trial)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the tuner's."""
        self.tuner.on_epoch_begin(self.trial, self.model, epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the tuner's."""
        self.tuner.on_epoch_end(self.trial, self.model, epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the tuner's `on_batch_begin`."""
        self.tuner.on_batch_begin(self.trial, self.model, batch, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Call the tuner's `on_batch_end`."""
        self.tuner.on_batch_end(self.trial, self.model, batch, logs)


def hooks(tuner: Overridable, trial: Trial) -> list[keras.callbacks.Callback]:
    """Return the callbacks that call the methods of a tuner; none, if it overrides none."""
    names = ("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")
    own = any(getattr(type(tuner), name) is not getattr(Overridable, name) for name in names)
    return [Hooks(tuner, trial)] if own else []


def own_callbacks(
    callbacks: Sequence[keras.callbacks.Callback] | None, hp: Draws, execution: int
) -> list[keras.callbacks.Callback]:
    """Return copies of the user's callbacks, which carry state from one fit to the next.

    A TensorBoard callback gets a directory below its own for each trial and execution, as in KerasTuner, and the
    trial's hyperparameters for TensorBoard's table of them.

    Args:
        callbacks: The user's.
        hp: The trial's hyperparameters.
        execution: Number of the execution, from 0.

    Returns:
        Callbacks for one fit.

    Raises:
        MisuseError: If one cannot be copied.
    """
    try:
        own = copy.deepcopy(list(callbacks or ()))
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise MisuseError(
            "callbacks",
            "callbacks that copy.deepcopy can copy, one for each trial",
            f"{type(error).__name__}: {error}",
            "Make what cannot be copied in on_train_begin instead of __init__.",
        ) from error
    for callback in list(own):
        if isinstance(callback, keras.callbacks.TensorBoard):
            callback.log_dir = os.path.join(callback.log_dir, str(hp.trial), f"execution{execution}")
            own.append(api.KerasCallback(callback.log_dir, dict(hp.values), trial_id=str(hp.trial)))
    return own
