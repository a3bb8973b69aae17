"""The engine "fit": one trial trained by its own `HyperModel.fit`, one model after the other."""

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn.callbacks import KeepBest
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.tuning.compatibility.trial_callbacks import own_callbacks
from kerasbn.tuning.draws import Draws, trial_seed
from kerasbn.tuning.objective import MisuseError, best_of, history_of, metrics_of, with_objective
from kerasbn.tuning.preparation import prepare_for_fit
from kerasbn.tuning.store.records import TrialRecord

# Called at the end of each epoch with the trial's number, the epoch (from 0) and its metrics.
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


class BuildFunction(keras_tuner.HyperModel):
    """A function that builds a model, as a `keras_tuner.HyperModel`.

    Args:
        function: Takes `keras_tuner.HyperParameters` and returns a compiled `keras.Model`.
    """

    def __init__(self, function: Callable[[keras_tuner.HyperParameters], keras.Model]) -> None:
        self.function = function
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the function's model."""
        return self.function(hp)


@dataclass(frozen=True)
class ModelState:
    """A model between two parts of a trial.

    Args:
        variables: Of the model and its optimizer, after the last step.
        best: Weights of the best epoch so far, as `keras.Model.get_weights` gives them.
        best_epoch: Which that is, from 0; None: there is none yet, or the fit takes no callbacks.
        best_value: The objective's value in it.
    """

    variables: list[np.ndarray]
    best: list[np.ndarray]
    best_epoch: int | None
    best_value: float


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
    """

    spans: tuple[tuple[int, int | None], ...] = ((0, None),)
    states: Sequence[ModelState] | None = None
    earlier: TrialRecord | None = None
    checkpoints: Path | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a trial that did not fail has come to.

    Args:
        metrics: Metrics of the best epoch, the mean over executions.
        history: One dict an epoch with "execution", "epoch" and the metrics.
        weights: Those of the best epoch, as `keras.Model.get_weights` gives them.
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


def build(hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return the model of a hypermodel, or raise a `MisuseError` if it returns something else."""
    hypermodel.declare_hyperparameters(hp)
    model = hypermodel.build(hp)
    if not isinstance(model, keras.Model):
        raise MisuseError("HyperModel.build", "a keras.Model to be returned", type(model).__name__)
    return model


@contextlib.contextmanager
def quick_collections() -> Iterator[None]:
    """Leave what is there now out of garbage collections, of which every trial needs one.

    TensorFlow and Keras alone are half a million objects: to look through them takes as long as a short trial.
    """
    if gc.get_freeze_count():  # somebody else's freeze, which we could not undo alone
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _variables(model: keras.Model) -> list[Any]:
    """Return weights, random states and what the optimizer remembers, in an order that the model decides."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:  # a fit of the user's own that has none
        return list(model.variables)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return [*model.variables, *optimizer.variables]


@dataclass
class _Training:
    """One execution of a trial, part by part."""

    hypermodel: keras_tuner.HyperModel
    hp: Draws
    objective: keras_tuner.Objective
    fit_args: Sequence[Any]
    fit_kwargs: Mapping[str, Any]
    execution: int
    report: Callable[[int, Mapping[str, float]], None]
    part: Part
    build_config: dict[str, Any] | None = None

    def run(self, span: tuple[int, int | None], state: ModelState | None) -> tuple[Any, ModelState]:
        """Train a part, and return what its fit came to (metrics and epochs), and where it has left the model."""
        start, until = span
        keras.utils.clear_session()  # collects the garbage too: models are cycles
        # Each part has seeds of its own: it comes out the same whether the parts before it ran in this process or not.
        keras.utils.set_random_seed((trial_seed(self.hp.seed, self.hp.trial, self.execution) + start) % 2**31)
        model = build(self.hypermodel, self.hp)
        keep_best = KeepBestOf(self.objective)
        if state is not None:
            self._restore(model, keep_best, state)
        prepare_for_fit(model, self.hypermodel, self.fit_args)
        record = Record(self.objective, self.report)
        callbacks = [*own_callbacks(self.fit_kwargs.get("callbacks"), self.hp, self.execution), keep_best, record]
        kwargs: dict[str, Any] = {**self.fit_kwargs, "callbacks": callbacks}
        if until is not None:
            kwargs |= {"epochs": until, "initial_epoch": start}
        if self.part.checkpoints is not None and getattr(self.hypermodel, "resumable", False):
            kwargs["checkpoints"] = self.part.checkpoints / str(self.execution)
            kwargs["identity"] = dict(self.part.identity)
            kwargs["seed"] = trial_seed(self.hp.seed, self.hp.trial, self.execution)
        result = self.hypermodel.fit(self.hp, model, *self.fit_args, **kwargs)
        rows = [with_objective(row, self.objective) for row in history_of(result)] or record.rows
        if state is not None and isinstance(result, keras.callbacks.History) and not rows:
            metrics = {self.objective.name: state.best_value}  # its patience was out in an earlier part
        else:
            metrics = metrics_of(result, self.objective)
        if rows and all(not_finite(row, self.objective.name) for row in rows):
            metrics = rows[0] | metrics  # a fit that returns the accuracy alone does not tell
        self.build_config = model.get_build_config()
        # A fit that leaves the callbacks out, or an objective that is no metric: its last weights.
        best = keep_best.weights or model.get_weights()
        if state is not None and not self.objective.better_than(metrics[self.objective.name], state.best_value):
            best = state.best
        value = metrics[self.objective.name]
        if state is not None and self.objective.better_than(state.best_value, value):
            value = state.best_value
        variables = [variable.numpy() for variable in _variables(model)] if until is not None else []
        rows = [{"execution": self.execution, "epoch": start + epoch, **row} for epoch, row in enumerate(rows)]
        return (metrics, rows), ModelState(variables, best, keep_best.epoch, value)

    def _restore(self, model: keras.Model, keep_best: KeepBest, state: ModelState) -> None:
        if not model.built:  # such as a Sequential without Input
            earlier = self.part.earlier
            model.build_from_config(self.build_config or dict((earlier and earlier.build_config) or {}))
        for variable, value in zip(_variables(model), state.variables, strict=True):
            variable.assign(value)
        if state.best_epoch is not None:
            keep_best.epoch, keep_best.value, keep_best.weights = state.best_epoch, state.best_value, state.best


def run_trial(
    hypermodel: keras_tuner.HyperModel,
    hp: Draws,
    objective: keras_tuner.Objective,
    fit_args: Sequence[Any],
    fit_kwargs: Mapping[str, Any],
    executions: int = 1,
    on_epoch: OnEpoch | None = None,
    part: Part = Part(),
) -> Outcome:
    """Build and fit a model with the hyperparameters of a trial, or train a part of it.

    Seeds are set from the trial's number, so a trial comes out the same whatever ran before it.

    Args:
        hypermodel: Builds and fits the model.
        hp: Its hyperparameters; they are drawn while the model is built and fitted.
        objective: What the best epoch is chosen by.
        fit_args: Positional arguments of `hypermodel.fit` after hp and model.
        fit_kwargs: Its keyword arguments; callbacks are copied for each execution.
        executions: How many models are trained from different initial weights, at least 1.
        on_epoch: Called at the end of each epoch.
        part: What is trained of the trial.

    Returns:
        What it has come to, with its earlier parts.

    Raises:
        MisuseError: If `build` returns no model or `fit` nothing with the objective in it.
    """

    def report(epoch: int, row: Mapping[str, float]) -> None:
        if on_epoch is not None:
            on_epoch(hp.trial, epoch, row)

    results: list[dict[str, float]] = []
    history: list[dict[str, float]] = []
    states: list[ModelState] = []
    for execution in range(executions):
        training = _Training(hypermodel, hp, objective, fit_args, fit_kwargs, execution, report, part)
        state = None if part.states is None else part.states[execution]
        rows: list[dict[str, float]] = []
        best: dict[str, float] | None = None
        if state is not None and part.earlier is not None:
            rows = [dict(row) for row in part.earlier.history if row["execution"] == execution]
            best = best_of(rows, objective) if rows else {objective.name: state.best_value}
        for span in part.spans[-1:] if state is not None else part.spans:
            (metrics, new), state = training.run(span, state)
            rows += new
            if best is None or objective.better_than(metrics[objective.name], best[objective.name]):
                best = metrics
        assert best is not None
        assert state is not None
        results.append({name: value for name, value in best.items() if name not in ("execution", "epoch")})
        history += rows
        states.append(state)
    scores = tuple(metrics[objective.name] for metrics in results)
    winner = 0
    for execution, score in enumerate(scores):
        if objective.better_than(score, scores[winner]):
            winner = execution
    return Outcome(
        metrics_of(results, objective),
        tuple(history),
        states[winner].best,
        training.build_config,
        scores,
        tuple(states) if part.spans[-1][1] is not None else (),
    )
