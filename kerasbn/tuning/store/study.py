"""The study: the finished trials of a search in Optuna's storage, with the settings they belong to."""

import contextlib
import datetime
import functools
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import keras_tuner
import optuna

from kerasbn import files
from kerasbn.checks import InputError, TaskError
from kerasbn.training.environment import environment
from kerasbn.tuning.objective import settings_of
from kerasbn.tuning.store import journal
from kerasbn.tuning.store.contents import DEFAULTS, JOURNAL, WAITING, begun, content
from kerasbn.tuning.store.leases import Leases
from kerasbn.tuning.store.optuna_trials import known_distributions, to_optuna, with_time
from kerasbn.tuning.store.records import TrialRecord, rank
from kerasbn.tuning.store.settings import differences, different_study
from kerasbn.tuning.store.storage import (
    open_storage,
    read_pending,
    remove_pending,
    retrying,
    without_password,
    write_pending,
)
from kerasbn.tuning.strategies import Progress

LOCK = ".lock"  # held by a search; what is in the file, and whether it is there, means nothing
_BEGIN = -1  # what is leased while a study in a database is begun: no trial has this number


class Study:
    """Finished trials of one search, in `directory`/journal.log or in a database; Optuna's own tools read it too.

    A trial is in the store as a whole (in a journal one line, synced to the disk) or not at all. In a journal one
    search at a time adds trials: it holds the study by `exclusive`. In a database any number do, each with a lease on
    the trials that it is at. To read it takes no more than to open it.

    Args:
        directory: The search's own directory, for its weights and what it writes; made if missing. Its name is the
            study's name in a database.
        objective: What is searched for.
        settings: JSON: what else trials must have in common to be compared. "seed" may be None: the
            stored one holds, or `new_seed` for a new study.
        new_seed: The seed of a new study if the settings name none.
        overwrite: Whether earlier trials there are deleted.
        storage: URL of a database that several searches share; None: a journal in the directory.
        lease_seconds: How long a trial in a database stays with a worker that no longer says that it is alive.
        say: Where a line is said when the database does not answer.

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
        storage: str | None = None,
        lease_seconds: float = 60.0,
        say: Callable[[str], None] = print,
    ) -> None:
        self.directory = files.writable_directory(directory, "directory")
        self.objective = objective
        wanted = {**DEFAULTS} | dict(settings)
        wanted["objective"] = settings_of(objective)
        self._wanted, self._new_seed = json.loads(json.dumps(wanted)), new_seed
        self.storage, self._say = storage, say
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._lock = filelock.FileLock(self.directory / LOCK)
        self.leases = None
        if storage is not None:
            self._database = open_storage(storage, say)
            self.leases = Leases(self._database.engine, self.directory.resolve().name, self.worker, lease_seconds)
        if overwrite:
            self._delete()
        self._open()

    def retrying(self, call: Callable[[], Any]) -> Any:
        """Return what a call to the storage returns; where a database does not answer, try again for a while."""
        return call() if self.storage is None else retrying(call, self.storage, self._say)

    @property
    def place(self) -> str:
        """Where the trials are, in words."""
        if self.storage is None:
            return str(self.directory)
        return f"{self.directory.resolve().name} in {without_password(self.storage)}"

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold a study in a journal for one search, with all the trials that others have added before; may be nested.

        The operating system frees what a killed process held. A study in a database is not held: others may join in.

        Raises:
            InputError: If another search holds it, or has begun it anew with other settings.
        """
        if self.storage is not None:
            files.remove_leftovers(self.directory)
            self.refresh()
            yield
            return
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
                "Python). Several at once can work on a study in a database: --search.storage, storage in Python.",
            ) from None
        try:
            yield
        finally:
            self._lock.release()

    def _open(self) -> None:
        """Read what is in the store, or begin it."""
        if self.storage is None:
            with contextlib.suppress(filelock.Timeout), self._lock.acquire(blocking=False):
                # Nobody else writes there now: what is left is of a process that was killed in the middle of a line.
                (self.directory / f"{JOURNAL}.lock").unlink(missing_ok=True)
        with journal.quiet():
            self.retrying(self._read_or_begin)
        if self.storage is not None:
            self._add_pending()

    def _add_pending(self) -> None:
        """Add what could not be added while the database was away, unless another worker has trained it since."""
        assert self.leases is not None
        for record, part in read_pending(self.directory):
            claim = functools.partial(self.leases.claim, record.number, part)
            if not self.is_kept(record) and self.retrying(claim):
                self.add(record, part)
            if self.is_kept(record):
                remove_pending(self.directory, record, part)

    def is_kept(self, record: TrialRecord) -> bool:
        """Return whether a trial is in the store as far as a record has come, by what was read last."""
        there = self.by_number.get(record.number) or self.waiting.get(record.number)
        return there is not None and (there.status != "waiting" or there.epochs >= record.epochs)

    def _read_or_begin(self) -> None:
        storage: optuna.storages.BaseStorage
        name: str | None
        if self.storage is None:
            storage, name = journal.storage(self.directory / JOURNAL), None
        else:
            storage, name = self._database, self.directory.resolve().name
        found = begun(storage, name)
        if found is None:
            with self._beginning():
                found = begun(storage, name)
                if found is None:
                    self._begin(storage)
                    found = begun(storage, name)
        assert found is not None
        # By its own name, not the directory's: that may have been renamed since.
        name, attributes = found
        self.settings = {**DEFAULTS} | attributes["settings"]
        # A study takes any seed for None; its own is kept.
        seed = self.settings["seed"] if self._wanted.get("seed") is None else self._wanted["seed"]
        if different := differences(self.settings, self._wanted | {"seed": seed}):
            raise different_study(self.place, different)
        self.environment = attributes.get("environment", {})
        self.optuna = optuna.load_study(study_name=name, storage=storage)
        self._known: dict[int, TrialRecord] = {}
        self._read()

    @contextlib.contextmanager
    def _beginning(self) -> Iterator[None]:
        """Be the only one who begins the study."""
        if self.leases is None:
            with self._locked():
                yield
            return
        while not self.leases.claim(_BEGIN):
            self.leases.wait()
        try:
            with self.leases.renewing(_BEGIN):
                yield
        finally:
            self.leases.release(_BEGIN)

    def _begin(self, storage: optuna.storages.BaseStorage) -> None:
        """Begin a study with its settings."""
        own = self.directory.resolve().name
        for half in optuna.get_all_study_names(storage):  # killed between create_study and the last line below
            if self.storage is None or half == own:
                optuna.delete_study(study_name=half, storage=storage)
        if self.leases is not None:  # what was done in a study of this name that was deleted is to be done again
            self.leases.clear(but=_BEGIN)
        directions = optuna.study.StudyDirection
        direction = directions.MINIMIZE if self.objective.direction == "min" else directions.MAXIMIZE
        seed = self._new_seed if self._wanted.get("seed") is None else self._wanted["seed"]
        study = optuna.create_study(storage=storage, study_name=own, direction=direction)
        now = datetime.datetime.now(datetime.timezone.utc).astimezone().isoformat(timespec="seconds")
        study.set_user_attr("created", now)
        study.set_user_attr("environment", environment())
        study.set_user_attr("settings", self._wanted | {"seed": seed})

    def _delete(self) -> None:
        if self.storage is None:
            with self._locked():
                for path in self.directory.glob(f"{JOURNAL}*"):
                    path.unlink()
                self._delete_files()
            return
        assert self.leases is not None
        if held := self.retrying(self.leases.held):
            raise InputError(
                f"The study {self.place}",
                "no search running in it, since it is to be deleted",
                f"{len(held)} trials in training",
                "Wait until they have ended, or choose another name.",
            )
        name = self.directory.resolve().name
        if name in optuna.get_all_study_names(self._database):
            optuna.delete_study(study_name=name, storage=self._database)
        self.leases.clear()
        self._delete_files()

    def _delete_files(self) -> None:
        """Delete what is in the directory of trials that are deleted: a new one of the same number is another."""
        for pattern in ("trial-*.npz", "part-*.npz", "stack-*.npz", "pending-*.json"):
            for path in self.directory.glob(pattern):
                path.unlink(missing_ok=True)
        for path in self.directory.glob("running-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _read(self) -> None:
        there = content(self.optuna, self.directory, self._known)
        self.by_number = {record.number: record for record in there.trials}
        self.waiting = {record.number: record for record in there.waiting}

    def refresh(self) -> None:
        """Read what other workers have added; in a journal there is nobody else."""
        if self.storage is not None:
            with journal.quiet():
                self.retrying(self._read)
            if any(self.directory.glob("pending-*.json")):
                self._add_pending()

    @property
    def trials(self) -> list[TrialRecord]:
        """Finished trials, by number."""
        return [self.by_number[number] for number in sorted(self.by_number)]

    @property
    def progress(self) -> Progress:
        """How far the search is, for its strategy."""
        return Progress(self.objective.direction, self.by_number, self.waiting, self.objective.name, self.seed)

    @property
    def seed(self) -> int:
        """The seed of all draws."""
        return self.settings["seed"]

    @property
    def ranked(self) -> list[TrialRecord]:
        """All trials, the best first, failed ones at the end; those that wait for their rung are among them."""
        return self.rank([*self.by_number.values(), *self.waiting.values()])

    def rank(self, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
        """Return trials, the best first, failed ones at the end."""
        return rank(trials, self.objective.direction)

    def attribute(self, name: str, value: Any) -> Any:
        """Return an attribute of the study; the first value that is given for it stays."""
        with journal.quiet():
            if name not in self.retrying(lambda: self.optuna.user_attrs):
                self.retrying(lambda: self.optuna.set_user_attr(name, value))
            return self.retrying(lambda: self.optuna.user_attrs)[name]

    def add(self, record: TrialRecord, part: int = 0) -> bool:
        """Put a trial into the store, one that is finished or one that waits; when this returns it is on the disk.

        Args:
            record: The trial.
            part: What of it this worker has a lease on, in a database.

        Returns:
            Whether it is there. False: another worker has taken it over.

        Raises:
            TaskError: If the database does not answer: the record is in a file, until the study is opened again.
        """
        record = with_time(record, record.worker or self.worker)
        if self.leases is None:
            self._append(record)
        else:
            leases = self.leases
            try:
                if not self.retrying(lambda: leases.finish(record.number, lambda: self._append(record), part)):
                    return False
            except TaskError:
                write_pending(self.directory, record, part)
                raise
        self.waiting.pop(record.number, None)
        (self.waiting if record.status == "waiting" else self.by_number)[record.number] = record
        return True

    def _append(self, record: TrialRecord) -> None:
        with journal.quiet():
            if record.status == "waiting":
                self.optuna.set_user_attr(f"{WAITING}{record.number}", record.to_json())
            else:
                known = known_distributions(self.optuna.get_trials(deepcopy=False))
                self.optuna.add_trial(to_optuna(record, self.objective.name, known))
