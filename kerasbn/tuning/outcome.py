"""What a trial is trained from and what it has come to: its parts, its executions, and both together."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np

from kerasbn.tuning.objective import best_of, metrics_of
from kerasbn.tuning.store.records import Segment, TrialRecord


@dataclass(frozen=True)
class ModelState:
    """A model between two parts of a trial.

    Args:
        variables: Of the model and its optimizer, after the last step.
        best: Weights of the best epoch so far, as `keras.Model.get_weights` gives them.
        best_epoch: Which that is, from 0; None: there is none yet, or the fit takes no callbacks.
        best_value: The objective's value in it.
        rate: The learning rate that the model was built with; None: a schedule gives it, or it is not known.
    """

    variables: list[np.ndarray]
    best: list[np.ndarray]
    best_epoch: int | None
    best_value: float
    rate: float | None = None


@dataclass(frozen=True)
class Part:
    """What is trained of a trial: all of it, or from one rung to the next.

    Args:
        spans: First epoch and the one before which training ends, of this part and before it of all earlier ones;
            (0, None) alone: as the fit's arguments say.
        states: Where the earlier parts have left the model of each execution; None: they are trained again.
        earlier: The trial after the earlier parts; None: there are none.
        checkpoints: Directory for what a fit keeps that can go on by itself; None: nowhere.
        identity: JSON that says what these checkpoints belong to.
        build_config: `keras.Model.get_build_config` of the model after the parts before; None: there are none.
        begins: Epoch with which the trial begins; what is before is that of the trials that it goes on from.
        ancestors: Those segments, from epoch 0 to `begins`.
    """

    spans: tuple[tuple[int, int | None], ...] = ((0, None),)
    states: Sequence[ModelState] | None = None
    earlier: TrialRecord | None = None
    checkpoints: Path | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    build_config: Mapping[str, Any] | None = None
    begins: int = 0
    ancestors: tuple[Segment, ...] = ()

    def takes_over(self, epoch: int) -> bool:
        """Return whether the trial, or one of its ancestors, begins with this epoch and another one's model."""
        return epoch > 0 and epoch in (self.begins, *(segment.epoch for segment in self.ancestors))


WHOLE = Part()


@dataclass(frozen=True)
class Outcome:
    """What a trial that did not fail has come to.

    Args:
        metrics: Metrics of the best epoch, the mean over executions and folds.
        history: One dict an epoch with "execution", "epoch" and the metrics.
        weights: Those of the best epoch of the best model, as `keras.Model.get_weights` gives them.
        build_config: `keras.Model.get_build_config`, for a model that is built by its first batch.
        scores: The objective of each execution.
        states: Where the model of each execution stands; of whole trials none.
    """

    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    weights: list[np.ndarray]
    build_config: dict[str, Any] | None
    scores: tuple[float, ...]
    states: tuple[ModelState, ...] = ()


def of_execution(rows: Sequence[Mapping[str, float]], execution: int, start: int) -> list[dict[str, float]]:
    """Return the epochs of a fit with its execution, and with their numbers in the trial."""
    return [{"execution": execution, "epoch": start + epoch, **row} for epoch, row in enumerate(rows)]


@dataclass(frozen=True)
class Execution:
    """What one execution of a trial has come to.

    Args:
        best: Metrics of its best epoch; None: nothing was trained yet.
        history: Its epochs.
        state: Where its model stands.
    """

    best: dict[str, float] | None
    history: tuple[dict[str, float], ...]
    state: ModelState | None

    @staticmethod
    def after(part: Part, execution: int, objective: keras_tuner.Objective, state: ModelState | None) -> "Execution":
        """Return what an execution has come to before a part; nothing, if its earlier parts are trained again."""
        if state is None or part.earlier is None:
            return Execution(None, (), state)
        rows = [dict(row) for row in part.earlier.history if row["execution"] == execution]
        return Execution(best_of(rows, objective) if rows else {objective.name: state.best_value}, tuple(rows), state)

    def and_then(
        self,
        metrics: dict[str, float],
        rows: Sequence[dict[str, float]],
        state: ModelState,
        objective: keras_tuner.Objective,
    ) -> "Execution":
        """Return what it has come to after a part with some metrics, epochs and state."""
        better = self.best is None or objective.better_than(metrics[objective.name], self.best[objective.name])
        return Execution(metrics if better else self.best, (*self.history, *rows), state)


def outcome_of_executions(
    executions: Sequence[Execution],
    objective: keras_tuner.Objective,
    build_config: dict[str, Any] | None,
    part: Part,
) -> Outcome:
    """Return what a trial has come to.

    Args:
        executions: All of it.
        objective: What the best of them is chosen by.
        build_config: Of its model.
        part: What was trained last.

    Returns:
        The means of the metrics, and the weights of the best execution.
    """
    results, states = [], []
    for one in executions:
        assert one.best is not None
        assert one.state is not None
        results.append({name: value for name, value in one.best.items() if name not in ("execution", "epoch")})
        states.append(one.state)
    scores = tuple(metrics[objective.name] for metrics in results)
    winner = 0
    for execution, score in enumerate(scores):
        if objective.better_than(score, scores[winner]):
            winner = execution
    return Outcome(
        metrics_of(results, objective),
        tuple(row for one in executions for row in one.history),
        states[winner].best,
        build_config,
        scores,
        tuple(states) if part.spans[-1][1] is not None else (),
    )
