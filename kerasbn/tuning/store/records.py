"""Trials and studies as values: what a search has found out, whoever reads it."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner

from kerasbn.callbacks.keep_best import sign_of


@dataclass(frozen=True)
class Segment:
    """Epochs that led to a trial's model and were trained with one set of values.

    Args:
        epoch: The first of them, from 0; they end where the next segment begins.
        trial: Number of the trial in which they were trained.
        values: Its hyperparameters by name.

    Example:
        >>> Segment(4, trial=9, values={"learning_rate": 0.01}).epoch
        4
    """

    epoch: int
    trial: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class TrialRecord:
    """A trial as far as it has come.

    Args:
        number: Number of the trial, from 0.
        status: "completed"; "stopped" before its last epoch, since others were better; "failed"; or "waiting" for
            others of its rung.
        score: The objective, of the best epoch; None if the trial failed.
        hyperparameters: The hyperparameters with their values, as plain `keras_tuner.HyperParameters`.
        metrics: Metrics by name: those of the best epoch, the mean over executions and folds.
        history: One dict an epoch with "execution", "epoch" and the metrics; of a cross-validated trial each fold of
            each execution counts as one: execution * folds + fold.
        seconds: How long it took.
        attempt: How often its draws had to be repeated because they had been tried before.
        engine: What trained it.
        build_config: `keras.Model.get_build_config` of the model, for one that is built by its first batch.
        traceback: Where and why it failed; empty if it did not.
        scores: The objective of each execution, or fold of it.
        epochs: Up to which epoch its last job was to train it, also if it failed on the way; 0 if the fit's arguments
            decide that.
        notes: JSON of the search's strategy: which round, box or bracket it was drawn in. Of a trial that goes on from
            another: "begins", its first epoch, and "ancestors", the segments before it.
        worker: Host and process that trained it.
        finished: When it ended, ISO 8601 with the offset to UTC; empty if it is not known.
        parts: The epochs at which it was left to wait for others, and its last; before them those of its ancestors.

    Example:
        >>> TrialRecord(0, "failed", None, keras_tuner.HyperParameters(), traceback="...").scored
        False
    """

    number: int
    status: str
    score: float | None
    hyperparameters: keras_tuner.HyperParameters
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0
    attempt: int = 0
    engine: str = "fit"
    build_config: Mapping[str, Any] | None = None
    traceback: str = ""
    scores: tuple[float, ...] = ()
    epochs: int = 0
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    worker: str = ""
    finished: str = ""
    parts: tuple[int, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether the trial has a score."""
        return self.score is not None

    def to_json(self) -> dict[str, Any]:
        """Return the record as what JSON can hold."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.loads(json.dumps(values | {"hyperparameters": self.hyperparameters.get_config()}))


def from_json(values: Mapping[str, Any]) -> TrialRecord:
    """Return the record that `TrialRecord.to_json` was called on."""
    fields = json.loads(json.dumps(dict(values)))  # a copy: KerasTuner takes configs apart while it reads them
    fields["hyperparameters"] = keras_tuner.HyperParameters.from_config(fields["hyperparameters"])
    for name in ("history", "scores", "parts"):
        fields[name] = tuple(fields.get(name, ()))
    return TrialRecord(**fields)


def rank(trials: Iterable[TrialRecord], direction: str) -> list[TrialRecord]:
    """Return trials, the best first; of equal scores the earlier first, and failed ones at the end.

    Args:
        trials: The trials.
        direction: "max" or "min".

    Returns:
        All of them.
    """
    sign = sign_of(direction)
    return sorted(trials, key=lambda t: (t.score is None, -sign * (t.score or 0), t.number))


@dataclass(frozen=True)
class StudyContent:
    """All that a study holds, for those who only read it.

    Args:
        name: The study's.
        directory: Where it lies; of one in a database, where its weights and reports are.
        objective: What was searched for.
        settings: What its trials have in common: "objective", "seed", "strategy" ({"name": ..., its settings}),
            "executions_per_trial", "folds" (if there are any), "hyperparameters", "fingerprint" (of `kerasbn tune`:
            {"data", "model", "training", "search"}, with the hash of the data in ["data"]["content"]).
        created: When it was begun, ISO 8601 with the offset to UTC; empty if it is not known.
        environment: Versions and machine when it was begun, as `kerasbn.training.environment` has them.
        trials: Its finished trials, by number.
        waiting: Its trials that wait for others of their rung, by number.

    Example:
        >>> content = read_study("studies/digits")
        >>> best = content.ranked[0].hyperparameters.values
    """

    name: str
    directory: Path
    objective: keras_tuner.Objective
    settings: Mapping[str, Any]
    created: str
    environment: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    waiting: tuple[TrialRecord, ...] = ()

    @property
    def ranked(self) -> list[TrialRecord]:
        """Its trials, the best first, failed ones at the end; those that wait for their rung are among them."""
        return rank((*self.trials, *self.waiting), self.objective.direction)
