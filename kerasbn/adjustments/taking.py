"""Adjustments: how the process that trains takes the changes that others ask for."""

import datetime
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kerasbn import files
from kerasbn.adjustments.records import RECORDS, Record, read_records
from kerasbn.config import Change

REQUESTS = "requests"  # in a run directory: one file a change that nobody has taken yet


@dataclass(frozen=True)
class Request:
    """A change that was asked for and is not taken yet.

    Args:
        path: The file it is in.
        id: What tells it from all others.
        change: What is asked for.

    Example:
        >>> from pathlib import Path
        >>> Request(Path("runs/digits/requests/1-a.json"), "a", Change(stop=True)).change.stop
        True
    """

    path: Path
    id: str
    change: Change


class Adjustments:
    """The changes of a run, as the process that trains it sees them: which are asked for, and which were taken.

    Args:
        run: The run directory. Nobody else trains it: see `is_running`.

    Raises:
        InputError: If the records of earlier changes are damaged.

    Example:
        >>> Adjustments("runs/iris").poll()
        []
    """

    def __init__(self, run: str | os.PathLike[str]) -> None:
        self._requests = os.path.join(run, REQUESTS)
        self._path = Path(run) / RECORDS
        self.records = read_records(run)

    def poll(self) -> list[Request]:
        """Return the changes that are asked for, in order; of those taken before a kill, only the files go away."""
        try:
            names = os.listdir(self._requests)  # two to five microseconds: this is called before every step
        except FileNotFoundError:
            return []
        taken = {record.id for record in self.records} if names else set()
        requests = []
        for name in sorted(names):
            if name.endswith(".json") and not name.startswith("."):
                path = Path(self._requests, name)
                request = _read_request(path)
                if request is None or request.id in taken:
                    path.unlink(missing_ok=True)
                else:
                    requests.append(request)
        return requests

    def take(
        self,
        request: Request,
        step: int,
        epoch: int,
        before: Mapping[str, float | None] | None = None,
        after: Mapping[str, float | None] | None = None,
        refused: str | None = None,
    ) -> Record:
        """Write a change down, and take its request away; a kill at any moment neither loses nor doubles it.

        Args:
            request: What `poll` gave.
            step: Updates of the optimizer that are done.
            epoch: The present epoch, from 1.
            before: See `Record`.
            after: See `Record`.
            refused: Why nothing is changed; None: it is.

        Returns:
            The record, which is on the disk.

        Raises:
            OSError: If it cannot be written; the request stays.
        """
        now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
        record = Record(request.id, now, step, epoch, request.change, before or {}, after or {}, refused)
        self._append(record.line())
        self.records.append(record)
        request.path.unlink(missing_ok=True)
        return record

    def _append(self, line: bytes) -> None:
        if not self._path.exists():
            files.write_text(self._path, "")  # its name is on the disk, too
        with self._path.open("rb+", buffering=0) as file:
            # What stands after the last whole line is left from a kill.
            whole = file.read().rfind(b"\n") + 1
            try:
                file.truncate(whole)
                file.seek(whole)
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)  # what is not on the disk was not done
                raise


def _read_request(path: Path) -> Request | None:
    """Return the request in a file; None if it is none, as that of a newer kerasbn may be."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Request(path, str(values.pop("id")), Change(**values))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
