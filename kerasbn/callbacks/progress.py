"""The callback that says how far training is, within the epoch and after each."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasbn.progress import Report

_SHOWN = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def summary(logs: Mapping[str, Any]) -> str:
    """Return the metrics worth a line: "loss 0.1234  accuracy 0.9765  ..."."""
    return "  ".join(f"{name} {float(logs[name]):.4g}" for name in _SHOWN if name in logs)


def done_of_epoch(batch: int, steps: int, steps_per_epoch: int | None) -> float:
    """Return which part of an epoch is done after a batch of `fit`, which may have begun within the epoch."""
    return 1 - (steps - batch - 1) / (steps_per_epoch or steps)


class ShowProgress(keras.callbacks.Callback):
    """Report each epoch with its metrics, and how far the present one is.

    Args:
        report: Where to; see `kerasbn.progress.reporting`.
        steps_per_epoch: Steps in a whole epoch, where `fit` goes on within one; None: those of `fit`.

    Example:
        >>> with reporting("training", 1, "epoch", sys.stdout) as report:
        ...     history = model.fit(x, y, callbacks=[ShowProgress(report)], verbose=0)
        training: epoch 1/1  loss ...
    """

    def __init__(self, report: Report, steps_per_epoch: int | None = None) -> None:
        super().__init__()
        self.report, self.steps_per_epoch = report, steps_per_epoch
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar within the epoch."""
        done = self.epoch + done_of_epoch(batch, self.params["steps"], self.steps_per_epoch)
        self.report(round(done, 2), summary(logs or {}), line=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the epoch."""
        self.report(epoch + 1, summary(logs or {}))
