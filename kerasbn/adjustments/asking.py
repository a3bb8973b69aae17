"""Asking for a change of a run: which run that is, whether a process trains it, and what the process answers."""

import os
import time
import uuid
from pathlib import Path

import filelock

from kerasbn import files, layout
from kerasbn.adjustments.records import Record, read_records
from kerasbn.adjustments.taking import REQUESTS
from kerasbn.checks import InputError, TaskError
from kerasbn.config import Change

_SECONDS_BETWEEN_LOOKS = 0.05


def is_running(run: str | os.PathLike[str]) -> bool:
    """Return whether a process trains a run at present.

    Args:
        run: The run directory.

    Returns:
        Whether its lock is held. To tell, it is taken for a moment: whoever wants to train waits that long.

    Example:
        >>> is_running("runs/iris")
        False
    """
    path = Path(run) / layout.LOCK
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        with lock.acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True


def is_complete(run: str | os.PathLike[str]) -> bool:
    """Return whether the training of a run has come to its end.

    Args:
        run: The run directory.

    Returns:
        Whether its metrics.json says so.

    Raises:
        InputError: If that cannot be read.

    Example:
        >>> is_complete("runs/flowers")
        False
    """
    path = Path(run) / layout.METRICS
    if not path.exists():
        return False
    metrics = files.read_json(path, "run")
    return isinstance(metrics, dict) and metrics.get("status") == "complete"


def find_run(path: str | os.PathLike[str]) -> Path:
    """Return a run that is not complete.

    Args:
        path: Its directory; or the one that it is in, runs/<name>: its newest run that is not complete.

    Returns:
        The run directory.

    Raises:
        InputError: If there is none.

    Example:
        >>> find_run("runs/iris")
        Traceback (most recent call last):
        kerasbn.checks.InputError: run: expected a run that is not complete; received ...
    """
    path = Path(path)
    if (path / layout.CONFIG).is_file():
        if is_complete(path):
            raise _is_complete_already(path)
        return path
    runs = [file.parent for file in sorted(path.glob(f"[!.]*/{layout.CONFIG}"))]  # named by the time they began
    if not runs:
        received = f"{str(path)!r}, which {f'has no {layout.CONFIG}' if path.is_dir() else 'is no directory'}"
        raise InputError("run", "a run directory of `kerasbn train`", received, "They are runs/<name>/<time>.")
    open_runs = [run for run in runs if not is_complete(run)]
    if not open_runs:
        raise _is_complete_already(path)
    return open_runs[-1]


def _is_complete_already(path: Path) -> InputError:
    remedy = "What is trained is not changed; train anew with other values."
    return InputError("run", "a run that is not complete", f"{str(path)!r}, which is", remedy)


def request(run: str | os.PathLike[str], change: Change, seconds: float = 60.0) -> Record | None:
    """Ask for a change of a run, and wait until the process that trains it has taken it.

    Args:
        run: The run directory.
        change: What is to be changed.
        seconds: How long to wait, at least 0: the process looks before each step, and not while it validates.

    Returns:
        What the process has written down; None if it has not come to that, or there is no such process: then the
        request stays, and is taken at the next step or when the run is resumed.

    Raises:
        InputError: If nothing is to be changed, the run is complete, or the process refuses the change: then
            nothing is changed.
        TaskError: If the process does not understand the change, since it runs another version of kerasbn.

    Example:
        >>> request("runs/iris", Change(learning_rate=0.003))
        Traceback (most recent call last):
        kerasbn.checks.InputError: run: expected a run that is not complete; received 'runs/iris', which is. ...
    """
    run = find_run(run)
    if not change.given():
        remedy = "Give --learning-rate, --momentum, --dropout, --stop or --undo."
        raise InputError("adjust", "something to change", "nothing", remedy)
    identity = uuid.uuid4().hex
    directory = run / REQUESTS
    directory.mkdir(exist_ok=True)
    path = directory / f"{time.time_ns():020d}-{identity}.json"
    files.write_json(path, {"id": identity, **change.given()})
    end = time.monotonic() + seconds
    while path.exists():
        if not is_running(run):
            if path.exists() and is_complete(run):  # it came to its end in between
                path.unlink(missing_ok=True)
                raise _is_complete_already(run)
            return None if path.exists() else _answer(run, identity)
        if time.monotonic() >= end:
            return None
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return _answer(run, identity)


def _answer(run: Path, identity: str) -> Record:
    record = next((record for record in read_records(run) if record.id == identity), None)
    if record is None:
        raise TaskError(f"The process that trains {run} does not understand this change: is it another kerasbn's?")
    if record.refused is not None:
        raise InputError(record.refused)
    return record
