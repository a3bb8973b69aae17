"""Reading a study: what Optuna's storage holds of it, as a value."""

import contextlib
import types
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import optuna

from kerasbn.checks import InputError
from kerasbn.tuning.objective import from_settings
from kerasbn.tuning.store import journal
from kerasbn.tuning.store.optuna_trials import from_optuna
from kerasbn.tuning.store.records import StudyContent, TrialRecord, from_json
from kerasbn.tuning.store.storage import open_storage

JOURNAL = "journal.log"
WAITING = "waiting:"
# Of studies that were begun before there was a choice.
DEFAULTS: Mapping[str, Any] = types.MappingProxyType({"strategy": {"name": "random"}})


def begun(storage: optuna.storages.BaseStorage, name: str | None) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the attributes of a study; None if there is none, or one without settings.

    Args:
        storage: Where it is.
        name: Its name; None: the only one there.
    """
    for one in optuna.get_all_study_names(storage) if name is None else [name]:
        with contextlib.suppress(KeyError):  # no such study
            attributes = optuna.load_study(study_name=one, storage=storage).user_attrs
            if "settings" in attributes:
                return one, attributes
    return None


def content(
    study: optuna.Study, directory: Path, known: MutableMapping[int, TrialRecord] | None = None
) -> StudyContent:
    """Return what a study of Optuna's that was begun here holds.

    Args:
        study: The study.
        directory: Where its weights and reports are.
        known: Records that were read before, by Optuna's number; new ones are put in.

    Returns:
        Its settings and trials.
    """
    known = {} if known is None else known
    attributes = study.user_attrs
    settings = {**DEFAULTS} | attributes["settings"]
    trials: dict[int, TrialRecord] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.number not in known:
            known[trial.number] = from_optuna(trial)
        record = known[trial.number]
        trials.setdefault(record.number, record)  # a number that stands there twice counts once
    waiting = [from_json(value) for key, value in attributes.items() if key.startswith(WAITING)]
    return StudyContent(
        name=study.study_name,
        directory=directory,
        objective=from_settings(settings["objective"]),
        settings=settings,
        created=attributes.get("created", ""),
        environment=attributes.get("environment", {}),
        trials=tuple(trials[number] for number in sorted(trials)),
        waiting=tuple(record for record in waiting if record.number not in trials),
    )


def read_study(place: str | Path, storage: str | None = None) -> StudyContent:
    """Return what a study holds; nothing is changed but a line that a killed process left half-written.

    Args:
        place: The study's directory.
        storage: URL of the database it is in; None: the journal in its directory.

    Returns:
        Its settings and trials.

    Raises:
        InputError: If there is no study.

    Example:
        >>> best = read_study("studies/digits").ranked[0]
    """
    place = Path(place)
    remedy = "They are <search.output>/<name>, such as studies/digits."
    if storage is None and not (place / JOURNAL).is_file():
        received = f"{str(place)!r}, which has no {JOURNAL}" if place.is_dir() else f"{str(place)!r}, no directory"
        raise InputError("study", "the directory of a study", received, remedy)
    with journal.quiet():
        opened: optuna.storages.BaseStorage
        opened = journal.storage(place / JOURNAL) if storage is None else open_storage(storage)
        found = begun(opened, None if storage is None else place.resolve().name)
        if found is None:
            known = ", ".join(sorted(optuna.get_all_study_names(opened))) or "none at all"
            raise InputError("study", f"one named {place.resolve().name!r} in the storage", known, remedy)
        return content(optuna.load_study(study_name=found[0], storage=opened), place)
