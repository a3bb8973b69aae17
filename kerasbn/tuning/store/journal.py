"""The journal file: Optuna's storage of finished trials, kept readable through kill -9."""

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
from keras_tuner.engine import hyperparameters as kinds
from optuna.storages import journal as optuna_journal

from kerasbn.checks import InputError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from telling of every step, and put its verbosity back at the end."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _lock(path: Path) -> optuna_journal.JournalFileOpenLock | optuna_journal.JournalFileSymlinkLock:
    # An append takes milliseconds: a lock of ten seconds is left from a process that was killed.
    if os.name == "nt":  # symbolic links take a privilege there
        return optuna_journal.JournalFileOpenLock(str(path), grace_period=10)
    return optuna_journal.JournalFileSymlinkLock(str(path), grace_period=10)


def _damaged(path: Path, received: str) -> InputError:
    remedy = "It is damaged: put a copy of it back, or begin under another name."
    return InputError("study", f"a readable journal in {str(path)!r}", received, remedy)


def _check_is_journal(path: Path, first: bytes) -> None:
    try:
        known = not first or "op_code" in json.loads(first)
    except (ValueError, TypeError):
        known = False
    if not known:
        raise _damaged(path, f"{first[:40]!r} in its first line")


def repair(path: Path) -> int:
    """Cut a last line that was not written to its end, which would make the whole journal unreadable.

    A process that is killed while it appends leaves such a line; Optuna would append to it and then refuse
    the file. What it was about was never finished, so nothing is lost with it.

    Args:
        path: The journal; it may be missing.

    Returns:
        How many bytes were cut.

    Raises:
        InputError: If the file is no journal at all.
    """
    if not path.exists():
        return 0
    lock = _lock(path)
    lock.acquire()  # nobody else is in the middle of a line now
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            _check_is_journal(path, content[:whole].partition(b"\n")[0])
            if whole < len(content):
                file.truncate(whole)
                os.fsync(file.fileno())
            return len(content) - whole
    finally:
        lock.release()


def storage(path: Path) -> optuna.storages.JournalStorage:
    """Return Optuna's storage in a journal file, repaired if need be; the file is made if it is missing."""
    with quiet():
        repair(path)
        try:
            return optuna.storages.JournalStorage(optuna_journal.JournalFileBackend(str(path), lock_obj=_lock(path)))
        except (ValueError, KeyError, TypeError) as error:  # of json, and of a line without what Optuna writes
            raise _damaged(path, f"{type(error).__name__}: {error}") from error


def distribution(hyperparameter: kinds.HyperParameter) -> optuna.distributions.BaseDistribution:
    """Return Optuna's distribution that is most like a hyperparameter of KerasTuner.

    Args:
        hyperparameter: A Choice, Boolean, Fixed, Int or Float.

    Returns:
        A categorical, int or float distribution with the same bounds, step and log scale. Optuna has neither
        "reverse_log", which becomes linear, nor steps on a log scale, which are left out.
    """
    if not isinstance(hyperparameter, kinds.Int | kinds.Float):
        return optuna.distributions.CategoricalDistribution(tuple(hyperparameter.values))
    low, high, step = hyperparameter.min_value, hyperparameter.max_value, hyperparameter.step
    if hyperparameter.sampling == "log":
        step = None
    elif step is not None:
        # The largest value that the steps reach, which KerasTuner's maximum may be above; in decimal, as Optuna counts.
        exact = [Decimal(str(number)) for number in (low, high, step)]
        high = type(high)(exact[0] + (exact[1] - exact[0]) // exact[2] * exact[2])
    log = hyperparameter.sampling == "log"
    if isinstance(hyperparameter, kinds.Int):
        return optuna.distributions.IntDistribution(low, high, log=log, step=step or 1)
    return optuna.distributions.FloatDistribution(low, float(high), log=log, step=step)


def parameter(value: Any, distribution: optuna.distributions.BaseDistribution) -> Any:
    """Return a value as its distribution has it: 0.1 * 3 is above a maximum of 0.3 in floating point."""
    if isinstance(distribution, optuna.distributions.FloatDistribution):
        return min(max(float(value), distribution.low), distribution.high)
    return value
