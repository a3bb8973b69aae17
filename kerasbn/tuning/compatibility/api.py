"""KerasTuner's objects for those who know its API: trials, the oracle that lists them, and what `run_trial` returns."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasbn.checks import InputError
from kerasbn.tuning.objective import MisuseError, best_of, history_of, metrics_of, with_objective
from kerasbn.tuning.outcome import Outcome, Part
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study


def trial_id(number: int, max_trials: int | None) -> str:
    """Return a trial's id, as wide as the number of trials: "07" of 20; four digits if it has no limit."""
    return f"{number:0{len(str(max_trials or 1000))}d}"


def _best_epoch(record: TrialRecord, objective: keras_tuner.Objective) -> int:
    """Return the best epoch, the mean over executions; 0 if the fit has not told its epochs."""
    executions: dict[float, list[Mapping[str, float]]] = {}
    for row in record.history:
        if objective.name in row:
            executions.setdefault(row["execution"], []).append(row)
    best = [best_of(rows, objective)["epoch"] for rows in executions.values()]
    return int(sum(best) / len(best)) if best else 0


def trial_of(record: TrialRecord, objective: keras_tuner.Objective, max_trials: int | None) -> Trial:
    """Return a trial as one of KerasTuner's.

    Args:
        record: The trial.
        objective: What is searched for.
        max_trials: Number of trials of the search, which decides how wide the id is; None: no limit.

    Returns:
        A `keras_tuner.engine.trial.Trial`; COMPLETED if it has a score, else FAILED with the traceback as its message.
    """
    status = TrialStatus.COMPLETED if record.scored else TrialStatus.FAILED
    name = trial_id(record.number, max_trials)
    trial = Trial(record.hyperparameters.copy(), name, status, record.traceback or None)
    trial.score, trial.best_step = record.score, _best_epoch(record, objective)
    if objective.name in record.metrics:
        trial.metrics.register(objective.name, objective.direction)
    for metric, value in record.metrics.items():
        if not math.isnan(value):  # NumPy warns of it in KerasTuner's nanmin
            trial.metrics.update(metric, value, step=trial.best_step)
    return trial


@dataclass(frozen=True)
class Oracle:
    """What `keras_tuner.Oracle` tells about a search; it decides nothing here.

    Args:
        study: The study.
        objective: What is searched for.
        max_trials: Number of trials; None: no limit.
        space: Gives the hyperparameters that are known of the space.
        running: The trial that is being trained; None: there is none.
    """

    study: Study
    objective: keras_tuner.Objective
    max_trials: int | None
    space: Callable[[], keras_tuner.HyperParameters]
    running: Trial | None = None

    @property
    def seed(self) -> int:
        """The search's seed."""
        return self.study.seed

    @property
    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """The space, with default values."""
        return self.space()

    def get_space(self) -> keras_tuner.HyperParameters:
        """Return the space, with default values."""
        return self.space()

    @property
    def trials(self) -> dict[str, Trial]:
        """Trials by id, with the running one."""
        trials = [self._trial(record) for record in self.study.trials]
        if self.running is not None:
            trials.append(self.running)
        return {trial.trial_id: trial for trial in trials}

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial by its id."""
        return self.trials[trial_id]

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best trials, the best first; failed ones come last."""
        return [self._trial(record) for record in self.study.ranked[:num_trials]]

    def remaining_trials(self) -> int | None:
        """Return the number of trials that `search` has still to run; None: no limit."""
        return None if self.max_trials is None else max(0, self.max_trials - len(self.study.trials))

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Report metrics of the running trial from a `run_trial` that returns none.

        Args:
            trial_id: The running trial's.
            metrics: Values by name.
            step: The epoch that they belong to.

        Returns:
            The trial.

        Raises:
            InputError: If it is another trial.
        """
        if self.running is None or self.running.trial_id != trial_id:
            received = f"trial {trial_id!r}"
            raise InputError("Oracle.update_trial", "the running trial", received, "Finished trials stay as they are.")
        for name, value in metrics.items():
            if name == self.objective.name and not self.running.metrics.exists(name):
                self.running.metrics.register(name, self.objective.direction)
            self.running.metrics.update(name, value, step=step)
        return self.running

    def _trial(self, record: TrialRecord) -> Trial:
        return trial_of(record, self.objective, self.max_trials)


def reported(trial: Trial, result: Any, objective: keras_tuner.Objective) -> Any:
    """Return what a `run_trial` came to: what it reported to the oracle, else what it returned.

    Args:
        trial: The running trial.
        result: What `run_trial` returned.
        objective: What is searched for.

    Returns:
        What `metrics_of` takes.
    """
    if not trial.metrics.exists(objective.name):
        return result
    return {name: trial.metrics.get_best_value(name) for name in trial.metrics.metrics}


def outcome_of(result: Any, trained: Outcome | None, part: Part, objective: keras_tuner.Objective) -> Outcome:
    """Return what a trial has come to whose `run_trial` may have been overridden.

    Args:
        result: What it returned or reported.
        trained: What the engine made of it; None: the override trained it without `super().run_trial`.
        part: What was to be trained of the trial.
        objective: What is searched for.

    Returns:
        What the engine made of it, with the override's metrics if it returned others; without the engine there are
        no weights.

    Raises:
        MisuseError: If the result is no metrics, or the override trained a part of a trial without the engine.
    """
    if trained is not None and result is trained.metrics:
        return trained
    if trained is None and part.spans[-1][1] is not None:
        raise MisuseError(
            "run_trial",
            "super().run_trial(trial, *args, **kwargs) to be called, since this search trains trials part by part",
            "a result without it",
            "Call it, or search with RandomSearch or another one that trains each trial as a whole.",
        )
    metrics = metrics_of(result, objective, "run_trial")
    each = result if isinstance(result, list) else [result]
    scores = tuple(metrics_of(one, objective)[objective.name] for one in each)
    if trained is not None:
        return dataclasses.replace(trained, metrics=metrics, scores=scores)
    history = [
        {"execution": execution, "epoch": epoch, **with_objective(row, objective)}
        for execution, one in enumerate(each)
        for epoch, row in enumerate(history_of(one))
    ]
    return Outcome(metrics, tuple(history), [], None, scores)
