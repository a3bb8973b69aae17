"""The study: the finished trials of a search in an Optuna journal, with the settings they belong to."""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import keras_tuner
import optuna

from kerasbn import files
from kerasbn.callbacks.keep_best import sign_of
from kerasbn.checks import InputError
from kerasbn.tuning import journal
from kerasbn.tuning.tried import active

JOURNAL = "journal.log"
LOCK = ".lock"  # held by a search; what is in the file, and whether it is there, means nothing


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial.

    Args:
        number: Number of the trial, from 0.
        status: "completed" or "failed".
        score: The objective; None if the trial failed.
        hyperparameters: The hyperparameters with their values, as plain `keras_tuner.HyperParameters`.
        metrics: Metrics by name: those of the best epoch, the mean over executions.
        history: One dict an epoch with "execution", "epoch" and the metrics.
        seconds: How long it took.
        attempt: How often its draws had to be repeated because they had been tried before.
        engine: What trained it.
        build_config: `keras.Model.get_build_config` of the model, for one that is built by its first batch.
        traceback: Where and why it failed; empty if it did not.

    Example:
        >>> TrialRecord(0, "failed", None, keras_tuner.HyperParameters(), traceback="...").completed
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

    @property
    def completed(self) -> bool:
        """Whether the trial has a score."""
        return self.status == "completed"


def different_study(directory: Path, different: Sequence[str]) -> InputError:
    """Return the error for a study that was started with other settings.

    Args:
        directory: The study's.
        different: What differs, "name new instead of old".
    """
    return InputError(
        f"The study {directory}",
        "the settings it was started with",
        ", ".join(different),
        "Choose another name for the new settings (--name NEW on the command line, project_name in Python), or "
        "delete that directory.",
    )


def _differences(stored: Any, given: Any, name: str = "") -> list[str]:
    """Return what differs between two nested settings, a line for each innermost key."""
    if isinstance(stored, dict) and isinstance(given, dict):
        lines = []
        for key in dict.fromkeys((*stored, *given)):
            lines += _differences(stored.get(key), given.get(key), f"{name}.{key}".lstrip("."))
        return lines
    return [] if stored == given else [f"{name.removeprefix('fingerprint.')} {given!r} instead of {stored!r}"]


def _begun(storage: optuna.storages.BaseStorage) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the settings of the study in a journal; None if it has none, or none with settings."""
    summaries = optuna.get_all_study_summaries(storage)
    if not summaries or "settings" not in summaries[0].user_attrs:
        return None
    return summaries[0].study_name, summaries[0].user_attrs["settings"]


def _to_optuna(record: TrialRecord, objective: keras_tuner.Objective) -> optuna.trial.FrozenTrial:
    hp, by_name = record.hyperparameters, active(record.hyperparameters)
    distributions = {name: journal.distribution(h) for name, h in by_name.items()}
    epochs = [row for row in record.history if row["execution"] == 0 and objective.name in row]
    attributes = dataclasses.asdict(dataclasses.replace(record, hyperparameters=None))
    attributes["hyperparameters"] = hp.get_config()
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if record.completed else optuna.trial.TrialState.FAIL,
        value=record.score,
        params={name: journal.parameter(hp.values[name], d) for name, d in distributions.items()},
        distributions=distributions,
        user_attrs=attributes,
        intermediate_values={int(row["epoch"]): row[objective.name] for row in epochs},
    )
    trial.datetime_start = datetime.datetime.now() - datetime.timedelta(seconds=record.seconds)
    return trial


def _from_optuna(trial: optuna.trial.FrozenTrial) -> TrialRecord:
    # A copy by JSON: KerasTuner takes configs apart while it reads them.
    attributes = json.loads(json.dumps(trial.user_attrs))
    attributes["hyperparameters"] = keras_tuner.HyperParameters.from_config(attributes["hyperparameters"])
    attributes["history"] = tuple(attributes["history"])
    return TrialRecord(**attributes)


class Study:
    """Finished trials of one search, in `directory`/journal.log; Optuna's own tools read it too.

    A trial is in the journal as a whole (one line, synced to the disk) or not at all. Whoever adds trials holds the
    study by `exclusive`; to read it takes no more than to open it.

    Args:
        directory: The search's own directory; made if missing.
        objective: What is searched for.
        settings: JSON: everything that trials must have in common to be compared. "seed" may be None: the
            stored one holds, or `new_seed` for a new study.
        new_seed: The seed of a new study if the settings name none.
        overwrite: Whether earlier trials there are deleted.

    Raises:
        InputError: If there are trials of other settings; or if a search is running there and they are to be deleted.

    Example:
        >>> study = Study("studies/digits", keras_tuner.Objective("val_accuracy", "max"), {"seed": 0})
        >>> len(study.optuna.trials)
        0
    """

    def __init__(
        self,
        directory: str | Path,
        objective: keras_tuner.Objective,
        settings: Mapping[str, Any],
        new_seed: int = 0,
        overwrite: bool = False,
    ) -> None:
        self.directory = files.writable_directory(directory, "directory")
        self.objective = objective
        self._wanted, self._new_seed = json.loads(json.dumps(settings)), new_seed
        self._lock = filelock.FileLock(self.directory / LOCK)
        if overwrite:
            with self._locked():
                self._delete()
        self._open()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the study for one search, with all the trials that others have added before; may be nested.

        The operating system frees what a killed process held.

        Raises:
            InputError: If another search holds it, or has begun it anew with other settings.
        """
        nested = self._lock.is_locked
        with self._locked():
            if not nested:
                files.remove_leftovers(self.directory, 0)  # nobody else writes here while the lock is held
                self._open()
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise InputError(
                f"The study {self.directory}",
                "one search at a time in it",
                "a second one while another is running",
                "Wait until that has ended, or choose another name (--name NEW on the command line, project_name in "
                "Python).",
            ) from None
        try:
            yield
        finally:
            self._lock.release()

    def _open(self) -> None:
        """Read what is in the journal, or begin it."""
        storage = journal.storage(self.directory / JOURNAL)
        with journal.quiet():
            begun = _begun(storage)
            if begun is None:
                with self._locked():
                    begun = _begun(storage) or self._begin(storage)
            name, self.settings = begun
            # A study takes any seed for None; its own is kept.
            seed = self.settings["seed"] if self._wanted.get("seed") is None else self._wanted["seed"]
            if different := _differences(self.settings, self._wanted | {"seed": seed}):
                raise different_study(self.directory, different)
            # By its own name, not the directory's: that may have been renamed since.
            self.optuna = optuna.load_study(study_name=name, storage=storage)
            self.trials: list[TrialRecord] = [_from_optuna(t) for t in self.optuna.get_trials(deepcopy=False)]

    def _begin(self, storage: optuna.storages.BaseStorage) -> tuple[str, dict[str, Any]]:
        """Begin the journal with the settings, and return what `_begun` does."""
        for half in optuna.get_all_study_names(storage):  # killed between the last two lines below
            optuna.delete_study(study_name=half, storage=storage)
        directions = optuna.study.StudyDirection
        direction = directions.MINIMIZE if self.objective.direction == "min" else directions.MAXIMIZE
        seed = self._new_seed if self._wanted.get("seed") is None else self._wanted["seed"]
        name, settings = self.directory.resolve().name, self._wanted | {"seed": seed}
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
        study.set_user_attr("settings", settings)
        return name, settings

    def _delete(self) -> None:
        for pattern in (f"{JOURNAL}*", "trial-*.npz"):
            for path in self.directory.glob(pattern):
                path.unlink()

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        return self.settings["seed"]

    def rank(self, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
        """Return trials, the best first; of equal scores the earlier first, and failed ones at the end."""
        sign = sign_of(self.objective.direction)
        return sorted(trials, key=lambda t: (t.score is None, -sign * (t.score or 0), t.number))

    @property
    def ranked(self) -> list[TrialRecord]:
        """All trials, the best first, failed ones at the end."""
        return self.rank(self.trials)

    def add(self, record: TrialRecord) -> None:
        """Append a finished trial to the journal; when this returns it is on the disk."""
        with journal.quiet():
            self.optuna.add_trial(_to_optuna(record, self.objective))
        self.trials.append(record)
