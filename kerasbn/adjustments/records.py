"""The records of a run's changes: one line each, in the order in which they took effect."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kerasbn.checks import InputError
from kerasbn.config import Change

RECORDS = "adjustments.jsonl"  # in a run directory


@dataclass(frozen=True)
class Record:
    """A change as the process that trains has taken it, or why it has not.

    Args:
        id: What tells it from all others.
        time: When it was taken, as ISO 8601 has it.
        step: Updates of the optimizer that were done by then: the next one is the first with the change.
        epoch: The epoch it was in, from 1.
        change: What was asked for.
        before: Values that the change took the place of, by name: multiplier (of the schedule), momentum, dropout;
            None: what the run began with.
        after: Values since then, by the same names.
        refused: Why nothing was changed; None: it was.

    Example:
        >>> print(Record("a", "2026-07-31T10:15:00+02:00", 30, 2, Change(momentum=0.8)))
        after step 30, in epoch 2: momentum 0.8
    """

    id: str
    time: str
    step: int
    epoch: int
    change: Change
    before: Mapping[str, float | None] = field(default_factory=dict)
    after: Mapping[str, float | None] = field(default_factory=dict)
    refused: str | None = None

    def __str__(self) -> str:
        change = self.change
        if change.undo:
            names = [{"multiplier": "learning_rate"}.get(name, name) for name in self.after]
            text = f"the last change of {' and '.join(names)} undone"
        elif change.stop:
            text = "stopped"
        else:
            text = ", ".join(f"{name} {value:g}" for name, value in change.given().items())
        if self.refused is not None:
            text = f"not changed: {self.refused}"
        return f"after step {self.step}, in epoch {self.epoch}: {text}"

    def line(self) -> bytes:
        """Return the record as a line of JSON."""
        values: dict[str, Any] = {"id": self.id, "time": self.time, "step": self.step, "epoch": self.epoch}
        values |= self.change.given()
        rest = {"before": self.before, "after": self.after, "refused": self.refused}
        values |= {name: value for name, value in rest.items() if value}
        return json.dumps(values, ensure_ascii=False).encode() + b"\n"


def _record(line: bytes) -> Record:
    values = json.loads(line)
    before, after = (
        {name: None if value is None else float(value) for name, value in values.get(key, {}).items()}
        for key in ("before", "after")
    )
    own = str(values["id"]), str(values["time"]), int(values["step"]), int(values["epoch"])
    return Record(*own, _change(values), before, after, values.get("refused"))


def _change(values: Mapping[str, Any]) -> Change:
    names = ("learning_rate", "momentum", "dropout", "stop", "undo")
    return Change(**{name: values[name] for name in names if name in values})


def read_records(run: str | os.PathLike[str]) -> list[Record]:
    """Return the changes of a run, in the order in which they took effect.

    Args:
        run: The run directory.

    Returns:
        The records; a last line that was not written to its end is none.

    Raises:
        InputError: If the file is damaged.

    Example:
        >>> read_records("runs/iris")
        []
    """
    path = Path(run) / RECORDS
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(_record(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            received = f"{line[:40]!r} in line {number}"
            remedy = "It is damaged: put a copy of it back, or take the line out."
            raise InputError("adjustments", f"{str(path)!r} to be readable", received, remedy) from error
    return records


def in_force(records: list[Record]) -> list[Record]:
    """Return the changes that are in force after all of `records`: without those that were refused or undone.

    Args:
        records: As they took effect.

    Returns:
        The changes, the last one at the end; `stop` is none, since it changes nothing that goes on.

    Example:
        >>> in_force([])
        []
    """
    stack: list[Record] = []
    for record in records:
        if record.refused is not None or record.change.stop:
            continue
        if record.change.undo:
            del stack[-1:]
        else:
            stack.append(record)
    return stack
