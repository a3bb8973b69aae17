"""The engine "fit": one trial trained by its own `HyperModel.fit`, one model after the other."""

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn.callbacks import KeepBest
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.tuning.draws import Draws, trial_seed
from kerasbn.tuning.objective import MisuseError, history_of, metrics_of

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
class Outcome:
    """What a trial that did not fail has come to.

    Args:
        metrics: Metrics of the best epoch, the mean over executions.
        history: One dict an epoch with "execution", "epoch" and the metrics.
        weights: Those of the best epoch, as `keras.Model.get_weights` gives them.
        build_config: `keras.Model.get_build_config`, for a model that is built by its first batch.
    """

    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    weights: list[np.ndarray]
    build_config: dict[str, Any] | None


class Record(keras.callbacks.Callback):
    """Keep every epoch's metrics.

    Args:
        report: Called with the epoch and its metrics.
    """

    def __init__(self, report: Callable[[int, Mapping[str, float]], None]) -> None:
        super().__init__()
        self.report = report
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keep this epoch's, as `keras.callbacks.Callback`."""
        row = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append(row)
        self.report(epoch, row)


def _own_callbacks(callbacks: Sequence[keras.callbacks.Callback] | None) -> list[keras.callbacks.Callback]:
    """Return copies of the user's callbacks, which carry state from one fit to the next."""
    try:
        return copy.deepcopy(list(callbacks or ()))
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise MisuseError(
            "callbacks",
            "callbacks that copy.deepcopy can copy, one for each trial",
            f"{type(error).__name__}: {error}",
            "Make what cannot be copied in on_train_begin instead of __init__.",
        ) from error


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


def run_trial(
    hypermodel: keras_tuner.HyperModel,
    hp: Draws,
    objective: keras_tuner.Objective,
    fit_args: Sequence[Any],
    fit_kwargs: Mapping[str, Any],
    executions: int = 1,
    on_epoch: OnEpoch | None = None,
) -> Outcome:
    """Build and fit a model with the hyperparameters of a trial.

    Seeds are set from the trial's number, so a trial comes out the same whatever ran before it.

    Args:
        hypermodel: Builds and fits the model.
        hp: Its hyperparameters; they are drawn while the model is built and fitted.
        objective: What the best epoch is chosen by.
        fit_args: Positional arguments of `hypermodel.fit` after hp and model.
        fit_kwargs: Its keyword arguments; callbacks are copied for each execution.
        executions: How many models are trained from different initial weights, at least 1.
        on_epoch: Called at the end of each epoch.

    Returns:
        What it has come to.

    Raises:
        MisuseError: If `build` returns no model or `fit` nothing with the objective in it.
    """
    results: list[dict[str, float]] = []
    history: list[dict[str, float]] = []
    best: float | None = None
    weights: list[np.ndarray] = []
    for execution in range(executions):
        keras.utils.clear_session()  # collects the garbage too: models are cycles
        keras.utils.set_random_seed(trial_seed(hp.seed, hp.trial, execution))
        model = build(hypermodel, hp)

        def report(epoch: int, row: Mapping[str, float]) -> None:
            if on_epoch is not None:
                on_epoch(hp.trial, epoch, row)

        keep_best = KeepBest(objective.name, direction=objective.direction, required=False)
        record = Record(report)
        callbacks = [*_own_callbacks(fit_kwargs.get("callbacks")), keep_best, record]
        result = hypermodel.fit(hp, model, *fit_args, **{**fit_kwargs, "callbacks": callbacks})
        metrics = metrics_of(result, objective)
        rows = record.rows or history_of(result)
        if rows and all(not_finite(row, objective.name) for row in rows):
            metrics = rows[0] | metrics  # a fit that returns the accuracy alone does not tell
        results.append(metrics)
        history += [{"execution": execution, "epoch": epoch, **row} for epoch, row in enumerate(rows)]
        score = metrics[objective.name]
        if best is None or objective.better_than(score, best):
            # A fit that leaves the callbacks out, or an objective that is no metric: its last weights.
            best, weights = score, keep_best.weights or model.get_weights()
    return Outcome(metrics_of(results, objective), tuple(history), weights, model.get_build_config())
