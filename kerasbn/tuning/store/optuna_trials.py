"""Trials as Optuna has them, so that its analysis and its dashboard work on our studies as they are."""

import dataclasses
import datetime
import hashlib
import types
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility

from kerasbn.checks import InputError
from kerasbn.tuning.draws import active
from kerasbn.tuning.store import journal
from kerasbn.tuning.store.records import TrialRecord, from_json

_STATES: Mapping[str, optuna.trial.TrialState] = types.MappingProxyType(
    {
        "completed": optuna.trial.TrialState.COMPLETE,
        "stopped": optuna.trial.TrialState.PRUNED,
        "failed": optuna.trial.TrialState.FAIL,
    }
)


def _named(name: str, new: BaseDistribution, known: Mapping[str, BaseDistribution]) -> str:
    """Return a parameter's name, with a mark if the study has another kind of parameter under it.

    Two branches of a conditional space may ask for the same name in different ways; a database of Optuna's refuses
    a name of two kinds.
    """
    try:
        check_distribution_compatibility(known.get(name, new), new)
    except ValueError:
        kind = hashlib.blake2b(repr(new).encode(), digest_size=3).hexdigest()
        return f"{name} ({kind})"
    return name


def to_optuna(record: TrialRecord, objective: str, known: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """Return a finished trial as one of Optuna's.

    Args:
        record: The trial.
        objective: Name of what is searched for, whose values by epoch become the intermediate values.
        known: Distributions of the study's other trials by name.

    Returns:
        A trial that is complete, pruned or failed, with the whole record in its user attributes.
    """
    parameters, distributions = {}, {}
    for name, hyperparameter in active(record.hyperparameters).items():
        distribution = journal.distribution(hyperparameter)
        name = _named(name, distribution, known)
        distributions[name] = distribution
        parameters[name] = journal.parameter(record.hyperparameters.values[hyperparameter.name], distribution)
    epochs = [row for row in record.history if row["execution"] == 0 and objective in row]
    trial = optuna.trial.create_trial(
        state=_STATES[record.status],
        value=None if record.status == "failed" else record.score,
        params=parameters,
        distributions=distributions,
        user_attrs=record.to_json(),
        intermediate_values={int(row["epoch"]): row[objective] for row in epochs},
    )
    trial.datetime_start = datetime.datetime.now() - datetime.timedelta(seconds=record.seconds)
    return trial


def from_optuna(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    """Return the record in a trial of Optuna's that `to_optuna` made."""
    try:
        return from_json(trial.user_attrs)
    except (KeyError, TypeError) as error:
        received = f"trial {trial.number}, which is none of kerasbn's or damaged ({type(error).__name__}: {error})"
        raise InputError("study", "trials that kerasbn has added", received, "Put a copy of it back.") from error


def known_distributions(trials: list[optuna.trial.FrozenTrial]) -> dict[str, BaseDistribution]:
    """Return the distribution of each parameter, of the first trial that has it."""
    known: dict[str, BaseDistribution] = {}
    for trial in trials:
        known = trial.distributions | known
    return known


def with_time(record: TrialRecord, worker: str) -> TrialRecord:
    """Return a record that tells when it ended and who trained it."""
    now = datetime.datetime.now(datetime.timezone.utc).astimezone().isoformat(timespec="seconds")
    return dataclasses.replace(record, finished=now, worker=worker)
