"""The callback that keeps the weights of the best epoch, and ends training when there is no better one."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasbn import checks


def sign_of(direction: str) -> float:
    """Return what a value is multiplied by so that more is better: 1 for "max", -1 for "min"."""
    return 1.0 if direction == "max" else -1.0


def not_finite(metrics: Mapping[str, Any], monitor: str) -> str | None:
    """Return the name of the first value that shows that training diverged; None if none does.

    A model whose logits are NaN predicts class 0 everywhere and may well have the highest accuracy: so the losses
    count, whatever is monitored.

    Args:
        metrics: Values of an epoch by name.
        monitor: Name of what the best epoch is chosen by.

    Returns:
        `monitor`, "loss" or "val_loss" if it is there and NaN or infinite.
    """
    return next((n for n in (monitor, "loss", "val_loss") if n in metrics and not math.isfinite(metrics[n])), None)


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the best epoch in memory, and give them back to the model when training ends.

    The best epoch has the highest accuracy, or the lowest loss; among equals the first. An epoch with a loss that
    is NaN or infinite never is, and training stops there: weights do not come back from that. Unlike Keras's
    `EarlyStopping` its state can be saved, so that a resumed run does not forget its best epoch.

    Args:
        monitor: Name of a metric in the logs.
        patience: Epochs without a better value after which training stops, at least 1; None: never.
        direction: "max" or "min"; None: "max" if the monitor's name ends in "accuracy", else "min".
        required: Whether a monitor that is not in the logs is an error; else nothing is kept of such an epoch.

    Attributes:
        epoch: The best epoch, from 0; None before there is one.
        value: The monitor's value in it.
        weights: The model's weights at its end, as `keras.Model.get_weights` gives them.

    Raises:
        InputError: If the patience is no whole number of at least 1, or the direction neither "max" nor "min".

    Example:
        >>> keep_best = KeepBest("val_accuracy", patience=10)
        >>> history = model.fit(x, y, validation_data=(x, y), epochs=2, callbacks=[keep_best], verbose=0).history
        >>> keep_best.value == max(history["val_accuracy"])
        True
    """

    def __init__(
        self, monitor: str, patience: int | None = None, direction: str | None = None, required: bool = True
    ) -> None:
        super().__init__()
        if patience is not None:
            checks.in_range("patience", patience, 1, integer=True)
        if direction is None:
            direction = "max" if monitor.endswith("accuracy") else "min"
        self.sign = sign_of(checks.one_of("direction", direction, ("max", "min")))
        self.monitor, self.patience, self.required = monitor, patience, required
        self.epoch: int | None = None
        self.value = math.nan
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare this epoch with the best."""
        logs = logs or {}
        if self.monitor not in logs and self.required:
            raise checks.InputError("monitor", f"a metric out of {sorted(logs)}", repr(self.monitor))
        if not_finite(logs, self.monitor):
            self.model.stop_training = True
        elif self.monitor in logs:
            value = float(logs[self.monitor])
            if self.epoch is None or self.sign * value > self.sign * self.value:
                self.epoch, self.value = epoch, value
                self.weights = [variable.numpy().copy() for variable in self.model.weights]
            elif self.patience is not None and epoch - self.epoch >= self.patience:
                self.model.stop_training = True

    def restore(self) -> None:
        """Give the best weights back to the model."""
        if self.weights:
            self.model.set_weights(self.weights)
