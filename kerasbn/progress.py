"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

_SECONDS_BETWEEN_LINES = 10.0  # where a line is not asked for: long epochs, long files


class Report:
    """Where long work says how far it is.

    Args:
        description: What is being done.
        total: Number of units of it.
        unit: What is counted: "epoch", "trial", "example".
        stream: Where plain lines go.
        bar: The bar of a terminal, or None for plain lines.

    Example:
        >>> Report("training", 2, "epoch", sys.stdout, None)(1, "loss 0.5")
        training: epoch 1/2  loss 0.5
    """

    def __init__(self, description: str, total: float, unit: str, stream: TextIO, bar: Progress | None) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._stream, self._bar = stream, bar
        self._task = None if bar is None else bar.add_task(description, total=total, text="")
        self._last = time.monotonic()
        self._most = 0.0  # what the bar has shown: it does not go back

    def __call__(self, done: float, text: str = "", line: bool = True) -> None:
        """Say that `done` units are done.

        Args:
            done: Units done so far, in [0, total]; fractions move the bar within a unit.
            text: What else there is to say: the loss, the score.
            line: Whether this is worth a line of its own without a terminal; else there is one now and then.
        """
        if self._bar is not None and self._task is not None:
            self._most = max(self._most, done)
            self._bar.update(self._task, completed=self._most, text=text)
            return
        now = time.monotonic()
        if line or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self.say(f"{self._description}: {self._unit} {done:g}/{self._total:g}  {text}".rstrip())

    def say(self, text: str) -> None:
        """Print a line of its own, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self._stream, flush=True)


@contextlib.contextmanager
def reporting(description: str, total: float, unit: str, stream: TextIO | None = None) -> Iterator[Report]:
    """Give a `Report` for work of `total` units; the bar goes away with the context.

    Args:
        description: What is being done.
        total: Number of units of it.
        unit: What is counted; in the plural where its number is not what it is called by.
        stream: Where to show it; default: standard error.

    Yields:
        The report.

    Example:
        >>> with reporting("training", 2, "epoch", sys.stdout) as report:
        ...     report(1, "loss 0.5")
        training: epoch 1/2  loss 0.5
    """
    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    if not console.is_terminal:
        yield Report(description, total, unit, stream, None)
        return
    # Only the text gives way where the terminal is narrow.
    whole, rest = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", table_column=whole),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=whole),
        TextColumn(unit if unit.endswith("s") else f"{unit}s", table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn("{task.fields[text]}", markup=False, table_column=rest),
    )
    with Progress(*columns, console=console, expand=True) as bar:
        yield Report(description, total, unit, stream, bar)
