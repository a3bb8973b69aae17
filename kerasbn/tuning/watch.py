"""What the search sees of one fit: its epochs, and the weights of the best."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn.callbacks import KeepBest
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.tuning.objective import history_of, metrics_of, with_objective
from kerasbn.tuning.outcome import ModelState


class KeepBestOf(KeepBest):
    """Keep the weights of the epoch with the best objective, which may be a sum of several metrics.

    Args:
        objective: The objective.
    """

    def __init__(self, objective: keras_tuner.Objective) -> None:
        super().__init__(objective.name, direction=objective.direction, required=False)
        self.objective = objective

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare this epoch with the best."""
        super().on_epoch_end(epoch, with_objective(logs or {}, self.objective))


class Record(keras.callbacks.Callback):
    """Keep every epoch's metrics.

    Args:
        objective: The objective, which may be a sum of several of them.
        report: Called with the epoch and its metrics.
    """

    def __init__(self, objective: keras_tuner.Objective, report: Callable[[int, Mapping[str, float]], None]) -> None:
        super().__init__()
        self.objective, self.report = objective, report
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep this epoch's, as `keras.callbacks.Callback`."""
        row = with_objective({name: float(value) for name, value in (logs or {}).items()}, self.objective)
        self.rows.append(row)
        self.report(epoch, row)


class Watch:
    """What the search sees of one fit: its epochs, and the weights of the best.

    Args:
        objective: What the best epoch is chosen by.
        report: Called after each epoch with its number and metrics.
        state: Where the parts before have left the model; None: there are none.
    """

    def __init__(
        self,
        objective: keras_tuner.Objective,
        report: Callable[[int, Mapping[str, float]], None],
        state: ModelState | None,
    ) -> None:
        self.objective, self.state = objective, state
        self.keep_best, self.record = KeepBestOf(objective), Record(objective, report)
        if state is not None and state.best_epoch is not None:
            self.keep_best.epoch, self.keep_best.value = state.best_epoch, state.best_value
            self.keep_best.weights = state.best

    @property
    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What the fit is to be given, after the user's own."""
        return [self.keep_best, self.record]

    def ended(
        self,
        result: Any,
        weights: Callable[[], list[np.ndarray]],
        variables: list[np.ndarray],
        rate: float | None = None,
    ) -> tuple[dict[str, float], list[dict[str, float]], ModelState]:
        """Return what a fit came to.

        Args:
            result: What it returned.
            weights: Gives the model's weights after it.
            variables: Of the model and its optimizer, if there are more parts to come.
            rate: The learning rate that the model was built with; None: a schedule gives it, or it is not known.

        Returns:
            Metrics of the best epoch, those of all epochs, and where it has left the model.
        """
        objective, state, keep_best = self.objective, self.state, self.keep_best
        rows = [with_objective(row, objective) for row in history_of(result)] or self.record.rows
        if state is not None and isinstance(result, keras.callbacks.History) and not rows:
            metrics = {objective.name: state.best_value}  # its patience was out in an earlier part
        else:
            metrics = metrics_of(result, objective)
        if rows and all(not_finite(row, objective.name) for row in rows):
            metrics = rows[0] | metrics  # a fit that returns the accuracy alone does not tell
        # A fit that leaves the callbacks out, or an objective that is no metric: its last weights.
        best = keep_best.weights or weights()
        value = metrics[objective.name]
        if state is not None and not objective.better_than(value, state.best_value):
            best = state.best
        if state is not None and objective.better_than(state.best_value, value):
            value = state.best_value
        return metrics, rows, ModelState(variables, best, keep_best.epoch, value, rate)
