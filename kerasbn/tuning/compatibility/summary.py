"""Spaces and results in words, as KerasTuner prints them."""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import keras_tuner

from kerasbn.tuning.compatibility.api import trial_of
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.engine import build
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study


def values_by_name(hp: keras_tuner.HyperParameters) -> dict[str, str]:
    """Return what each hyperparameter of a space is, and its value where it has one, by name."""
    described: dict[str, str] = {}
    for hyperparameter in hp.space:
        name = hyperparameter.name
        value = f" = {hp.values[name]!r}" if hp.is_active(hyperparameter) else ""
        text = f"{hyperparameter!r}{value}"
        described[name] = f"{described[name]}, {text}" if name in described else text
    return described


def explore(
    hypermodel: keras_tuner.HyperModel, given: keras_tuner.HyperParameters | None = None
) -> keras_tuner.HyperParameters:
    """Return the hyperparameters that a build function asks for by default and in each of its conditional scopes.

    As KerasTuner does before a search: the model is built with default values, and then once for each conditional
    scope that has not been active yet, with its condition met.

    Args:
        hypermodel: Builds the models.
        given: Hyperparameters that are registered beforehand.

    Returns:
        The space, with default values.
    """
    space = keras_tuner.HyperParameters()
    waiting: list[dict[str, Any]] = [{}]  # values that meet the conditions of a scope
    seen: list[list[Any]] = []  # scopes that have been active, or that are waiting
    while waiting:
        met = waiting.pop(0)
        hp = Draws(0, 0, given=given, choose=lambda h, met=met: met.get(h.name, h.default))  # type: ignore[misc]
        build(hypermodel, hp)
        space.merge(hp, overwrite=False)
        seen += [scope for scope in hp.active_scopes if scope not in seen]
        for scope in hp.inactive_scopes:
            if scope not in seen:
                seen.append(scope)
                waiting.append({condition.name: condition.values[0] for condition in scope})
    return space


def space_of(
    hypermodel: keras_tuner.HyperModel | None,
    records: Iterable[TrialRecord],
    given: keras_tuner.HyperParameters | None = None,
) -> keras_tuner.HyperParameters:
    """Return what is known of a space: what `explore` finds, and what trials have asked for besides.

    Args:
        hypermodel: Builds the models; None: there is none, and the trials tell all that is known.
        records: The trials.
        given: Hyperparameters that are registered beforehand.

    Returns:
        The space, with default values.
    """
    space = keras_tuner.HyperParameters() if hypermodel is None else explore(hypermodel, given)
    for record in records:
        space.merge(record.hyperparameters, overwrite=False)
    return space


def space_summary(space: keras_tuner.HyperParameters) -> str:
    """Return the hyperparameters of a space, two lines each."""
    lines = ["Search space summary", f"Default search space size: {len(space.space)}"]
    for hyperparameter in space.space:
        config = hyperparameter.get_config()
        lines += [f"{config.pop('name')} ({type(hyperparameter).__name__})", str(config)]
    return "\n".join(lines)


def results_summary(study: Study, num_trials: int, max_trials: int | None = 1) -> str:
    """Return the best trials of a study with their hyperparameters and scores; failed ones come last.

    Args:
        study: The study.
        num_trials: How many at most.
        max_trials: Number of trials of the search, which decides how wide their ids are; None: no limit.

    Returns:
        Lines.
    """
    lines = [
        "Results summary",
        f"Results in {study.directory}",
        f"Showing {num_trials} best trials",
        str(study.objective),
    ]
    for record in study.ranked[:num_trials]:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            trial_of(record, study.objective, max_trials).summary()
        lines += ["", printed.getvalue().removesuffix("\n")]
    return "\n".join(lines)


def asked(
    hypermodel: keras_tuner.HyperModel,
    record: TrialRecord,
    seed: int,
    given: keras_tuner.HyperParameters | None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a trial's hyperparameters were, and what the build function asks for now with their values.

    Args:
        hypermodel: Builds the model.
        record: The trial.
        seed: Of the search.
        given: Hyperparameters that are registered beforehand.

    Returns:
        Both as `values_by_name`.
    """
    values = record.hyperparameters.values
    hp = Draws(seed, record.number, record.attempt, given, lambda h: values.get(h.name, h.default))
    build(hypermodel, hp)
    return values_by_name(record.hyperparameters), values_by_name(hp)


def line_of(
    record: TrialRecord, finished: Sequence[TrialRecord], best: TrialRecord, max_trials: int | None, objective: str
) -> str:
    """Return a line about a finished trial.

    Args:
        record: The trial.
        finished: All finished trials.
        best: The best of them.
        max_trials: How many there will be; None: nobody knows.
        objective: The objective's name.
    """
    result = f"{objective} {record.score:.4g}" if record.scored else "failed"
    if record.status == "stopped":
        result += f" after {record.epochs} epoch{'s' * (record.epochs != 1)}, stopped"
    standing = f" (best {best.score:.4g}, trial {best.number})" if best.scored else ""
    of = "" if max_trials is None else f" of {max_trials}"
    return f"Trial {record.number}, {len(finished)}{of} finished: {result}{standing}, {record.seconds:.1f} s"
