"""LearningRateDecay: sets the optimizer's learning rate by a formula of the epoch or the step."""

import math
from collections.abc import Callable
from typing import Any

import keras

from kerasbn import checks
from kerasbn.checks import InputError


class LearningRateDecay(keras.callbacks.Callback):
    """Set the learning rate to `schedule(position)`, and log it as "learning_rate" at the end of each epoch.

    The position is absolute: the number of the epoch, or of the steps the optimizer has taken. A run that
    goes on with `initial_epoch`, or with the optimizer's state, has the rate it would have had in one go.

    With `steps_per_execution` above 1 Keras calls back once for each execution. By step, the rate then
    changes once an execution, and is exact for its first step.

    Args:
        schedule: Maps a position of at least 0 to a rate, such as `kerasbn.schedules.InverseTime(0.2)`.
        unit: What the position counts: "epoch" or "step".

    Raises:
        InputError: If `schedule` cannot be called or `unit` is another; when training begins, if the
            optimizer has a schedule of its own; during training, if the schedule returns no usable rate.

    Example:
        >>> decay = LearningRateDecay(InverseTime(0.2, decay_rate=1.0))
        >>> history = model.fit(x, y, epochs=4, callbacks=[decay], verbose=0).history
        >>> [round(rate, 3) for rate in history["learning_rate"]]
        [0.2, 0.1, 0.067, 0.05]
    """

    def __init__(self, schedule: Callable[[float], float], unit: str = "epoch") -> None:
        super().__init__()
        if not callable(schedule):
            raise InputError(
                "schedule",
                "a function from a position to a rate",
                repr(schedule),
                "Use one of kerasbn.schedules, such as Constant(0.1).",
            )
        self.schedule = schedule
        self.unit = checks.one_of("unit", unit, ("epoch", "step"))

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raise an `InputError` if the optimizer has a schedule of its own."""
        # A rate that can be set is a variable; a LearningRateSchedule gives a tensor, a function a number.
        # Keras refuses to set the first only at the first epoch, and lets the second pass without effect.
        if not isinstance(getattr(self.model.optimizer, "learning_rate", None), keras.Variable):
            raise InputError(
                "learning_rate of the optimizer",
                "a number, which LearningRateDecay can set",
                "a schedule",
                "Compile with a number, or leave LearningRateDecay out.",
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate of the epoch."""
        if self.unit == "epoch":
            self._set_rate(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rate of the step."""
        if self.unit == "step":
            # Not `batch`, which starts anew with each epoch. With gradient accumulation these are updates.
            self._set_rate(int(self.model.optimizer.iterations))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rate in use, so that it appears in the history."""
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)

    def _set_rate(self, position: int) -> None:
        rate = float(self.schedule(float(position)))
        if not math.isfinite(rate) or rate < 0:
            raise InputError(f"schedule({position})", "a finite rate of at least 0", rate)
        self.model.optimizer.learning_rate = rate
