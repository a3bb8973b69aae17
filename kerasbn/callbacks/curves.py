"""The callback that shows the curves of a training while it goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kerasbn.callbacks.progress import done_of_epoch
from kerasbn.live_curves import Watch


class ShowCurves(keras.callbacks.Callback):
    """Show the epochs so far as curves, and the running values of the present one as their last points.

    Place it before `ShowProgress` and after what adds to the history.

    Args:
        report: Where to; see `kerasbn.live_curves.watching`.
        history: The epochs so far, one dict each, which grows while training goes on.
        steps_per_epoch: Steps in a whole epoch, where `fit` goes on within one; None: those of `fit`.

    Example:
        >>> history = []
        >>> with watching("training", 1, sys.stdout) as report:
        ...     callbacks = [ShowCurves(report, history), ShowProgress(report)]
        ...     _ = model.fit(x, y, callbacks=callbacks, verbose=0)
        --watch: there are curves on a terminal only, and this is none.
        training: epoch 1/1  loss ...
    """

    def __init__(
        self, report: Watch, history: Sequence[Mapping[str, float]], steps_per_epoch: int | None = None
    ) -> None:
        super().__init__()
        self.report, self.history, self.steps_per_epoch = report, history, steps_per_epoch
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show how the present epoch does, if it is time to draw."""
        if self.report.due:
            running = {name: float(value) for name, value in (logs or {}).items()}
            rate = float(self.model.optimizer.learning_rate)
            done = self.epoch + done_of_epoch(batch, self.params["steps"], self.steps_per_epoch)
            self.report.show([*self.history, {**running, "epoch": done, "learning_rate": rate}])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the epoch."""
        self.report.show(self.history)
