"""The callback that keeps the weights of the best epoch, and ends training when there is no better one."""

from typing import Any

import keras
import numpy as np

from kerasbn import checks


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the best epoch in memory, and give them back to the model when training ends.

    The best epoch has the highest accuracy, or the lowest loss; among equals the first. Unlike Keras's
    `EarlyStopping` its state can be saved, so that a resumed run does not forget its best epoch.

    Args:
        monitor: Name of a metric in the logs; higher is better if it ends in "accuracy", else lower.
        patience: Epochs without a better value after which training stops, at least 1; None: never.

    Raises:
        InputError: If the patience is no whole number of at least 1.

    Example:
        >>> keep_best = KeepBest("val_accuracy", patience=10)
    """

    def __init__(self, monitor: str, patience: int | None = None) -> None:
        super().__init__()
        if patience is not None:
            checks.in_range("patience", patience, 1, integer=True)
        self.monitor, self.patience = monitor, patience
        self.sign = 1.0 if monitor.endswith("accuracy") else -1.0
        self.epoch: int | None = None  # of the best weights
        self.value = float("nan")
        self.weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare this epoch with the best."""
        logs = logs or {}
        if self.monitor not in logs:
            raise checks.InputError("monitor", f"a metric out of {sorted(logs)}", repr(self.monitor))
        value = float(logs[self.monitor])
        # NaN is worse than anything, but the first epoch is the best so far whatever it is.
        better = self.sign * value > self.sign * self.value or (np.isnan(self.value) and not np.isnan(value))
        if self.epoch is None or better:
            self.epoch, self.value = epoch, value
            self.weights = [variable.numpy().copy() for variable in self.model.weights]
        elif self.patience is not None and epoch - self.epoch >= self.patience:
            self.model.stop_training = True

    def restore(self) -> None:
        """Give the best weights back to the model."""
        if self.weights:
            self.model.set_weights(self.weights)
