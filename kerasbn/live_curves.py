"""Curves of a training that goes on, drawn in the terminal: loss, accuracy and learning rate by epoch."""

import contextlib
import datetime
import itertools
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import plotext
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from kerasbn.progress import Report

_Panel = tuple[str, tuple[str, ...], bool]
_PANELS: tuple[_Panel, ...] = (  # title, names of the curves, and whether the axis may be logarithmic
    ("loss", ("loss", "val_loss"), True),
    ("accuracy", ("accuracy", "val_accuracy"), False),
    ("learning rate", ("learning_rate",), True),
)
_LOGARITHMIC = 20  # between the largest and the smallest value, from which on the axis is
_COLORS = ("cyan", "orange")  # of training and of validation, out of the terminal's own palette
_LEGEND = Text.assemble(("  ━━ training", "cyan"), ("  ━━ validation", "yellow"))  # plotext's orange is rich's yellow
_SMALLEST = (40, 12)  # columns and rows below which there is nothing to be seen on a picture
_WIDE = 120  # columns from which the panels stand side by side
_TALLEST = 36  # rows of a picture; what is said stays in view above it
_LOW = 7  # rows of the learning rate where it stands below the others
_SHARE = 0.01  # of the time that may go into drawing
_SECONDS_BETWEEN = 0.2

Point = Mapping[str, float]  # epoch, and by name: loss, accuracy, val_loss, val_accuracy, learning_rate


def picture(points: Sequence[Point], width: int, height: int) -> str:
    """Return curves as lines of text with colours, as terminals take them.

    Args:
        points: One an epoch, each with its `epoch`, and what is known of it; values that are not finite are left out.
        width: Columns, at least 40.
        height: Rows, at least 12.

    Returns:
        As many lines, each as wide.

    Example:
        >>> len(picture([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}], 80, 20).splitlines())
        20
    """
    if width >= _WIDE:
        return _side_by_side(_PANELS, points, width, height)
    low = min(_LOW, height // 3)
    return f"{_side_by_side(_PANELS[:2], points, width, height - low)}\n{_draw(_PANELS[2], points, width, low)}"


def _side_by_side(panels: Sequence[_Panel], points: Sequence[Point], width: int, height: int) -> str:
    widths = [width // len(panels) + (index < width % len(panels)) for index in range(len(panels))]
    drawn = [_draw(panel, points, columns, height).splitlines() for panel, columns in zip(panels, widths, strict=True)]
    return "\n".join("".join(row) for row in zip(*drawn, strict=True))


def _draw(panel: _Panel, points: Sequence[Point], width: int, height: int) -> str:
    """Return one pair of axes; plotext has but one figure, which is cleared."""
    title, names, may_be_logarithmic = panel
    plotext.clear_figure()
    plotext.limit_size(False, False)
    plotext.plot_size(width, height)
    plotext.theme("clear")
    plotext.title(title)
    curves = [[(p["epoch"], p[name]) for p in points if math.isfinite(p.get(name, math.nan))] for name in names]
    epochs = [epoch for curve in curves for epoch, _ in curve]
    values = [value for curve in curves for _, value in curve]
    if values:
        logarithmic = may_be_logarithmic and 0 < _LOGARITHMIC * min(values) < max(values)
        for curve, color in zip(curves, _COLORS, strict=False):
            if curve:
                heights = [math.log10(value) if logarithmic else value for _, value in curve]
                plotext.plot([epoch for epoch, _ in curve], heights, color=color, marker="braille")
        _set_epochs(min(epochs), max(epochs), width)
        _set_values(min(values), max(values), height, logarithmic)
    return plotext.build().rstrip("\n")


def _set_epochs(first: float, last: float, width: int) -> None:
    if first < last:
        plotext.xlim(first, last)
    step = next(s for s in _round_steps() if (last - first) / s <= max(2, width // 12))
    ticks = [tick * step for tick in range(math.ceil(first / step), math.floor(last / step) + 1)]
    plotext.xticks(ticks, [str(tick) for tick in ticks])


def _set_values(low: float, high: float, height: int, logarithmic: bool) -> None:
    if low == high:  # plotext takes it for a range of its own
        low, high = (low - 0.5 * abs(low), high + 0.5 * abs(high)) if low else (-1.0, 1.0)
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    plotext.ylim(low, high)
    intervals = 4 if height > 12 else 1
    ticks = [low + (high - low) * part / intervals for part in range(intervals + 1)]
    plotext.yticks(ticks, [f"{10**tick if logarithmic else tick:.3g}" for tick in ticks])


def _round_steps() -> Iterator[int]:
    return (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))


class Watch(Report):
    """A report that draws curves on a terminal; elsewhere it says what any report says.

    Args:
        description: What is being done.
        total: Number of epochs.
        stream: Where plain lines go.
        live: What shows the picture; None: nothing does.

    Example:
        >>> Watch("training", 2, sys.stdout, None)(1, "loss 0.5")
        training: epoch 1/2  loss 0.5
    """

    def __init__(self, description: str, total: float, stream: TextIO, live: Live | None) -> None:
        super().__init__(description, total, "epoch", stream, None)
        self._live = live
        self._points: list[Point] = []
        self._status, self._done, self._size = description, 0.0, (0, 0)
        self._begun: tuple[float, float] | None = None  # time and what was done then
        self._due_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to draw: some times a second, and less often where drawing takes long."""
        return self._live is not None and time.monotonic() >= self._due_at

    def __call__(self, done: float, text: str = "", line: bool = True) -> None:
        """Say that `done` epochs are done, as any report does."""
        if self._live is None:
            super().__call__(done, text, line)
            return
        now = time.monotonic()
        self._begun = self._begun or (now, done)
        since, before = self._begun
        left = ""
        if done > before:
            seconds = (now - since) / (done - before) * (self._total - done)
            left = f"  {datetime.timedelta(seconds=round(seconds))} left"
        self._status = f"{self._description}  epoch {done:g}/{self._total:g}{left}  {text}".rstrip()
        self.draw()

    def say(self, text: str) -> None:
        """Print a line of its own, above the picture if there is one."""
        if self._live is None:
            super().say(text)
        else:
            self._live.console.print(text, markup=False, highlight=False)

    def show(self, points: Sequence[Point]) -> None:
        """Show these points from the next drawing on.

        Args:
            points: As `picture` takes them.
        """
        self._points = list(points)

    def draw(self, at_once: bool = False) -> None:
        """Draw the picture, if it is time.

        Args:
            at_once: Whether to draw it in any case.
        """
        if self._live is None or not (at_once or self.due):
            return
        begun = time.monotonic()
        console = self._live.console
        size = (console.width, console.height)
        if self._size not in (size, (0, 0)):
            console.clear()  # the terminal has wrapped the last picture's lines: what is left of it is no picture
        self._size = size
        self._live.update(self._drawn(*size), refresh=True)
        now = time.monotonic()
        self._due_at = now + max(_SECONDS_BETWEEN, (now - begun) / _SHARE)

    def _drawn(self, width: int, height: int) -> Any:
        status = Text(self._status, no_wrap=True, overflow="ellipsis")
        rows = min(height - 4, _TALLEST)
        if width < _SMALLEST[0] or rows < _SMALLEST[1] or not self._points:
            return status
        curves = Text.from_ansi(picture(self._points, width, rows), no_wrap=True, overflow="crop")
        return Group(curves, _LEGEND, status)


@contextlib.contextmanager
def watching(description: str, total: float, stream: TextIO | None = None) -> Iterator[Watch]:
    """Give a report that shows curves on a terminal; the last picture stays there.

    Args:
        description: What is being done.
        total: Number of epochs.
        stream: Where to show it; default: standard error. If that is no terminal, plain lines go there.

    Yields:
        The report, for `kerasbn.callbacks.ShowProgress` and `ShowCurves`.

    Example:
        >>> with watching("training", 2, sys.stdout) as report:
        ...     report(1, "loss 0.5")
        --watch: there are curves on a terminal only, and this is none.
        training: epoch 1/2  loss 0.5
    """
    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    if not console.is_terminal or not console.encoding.lower().startswith("utf"):
        report = Watch(description, total, stream, None)
        report.say("--watch: there are curves on a terminal only, and this is none.")
        yield report
        return
    # Drawn by training itself, between two steps, and not by a thread beside it.
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        report = Watch(description, total, stream, live)
        try:
            yield report
        finally:
            report.draw(at_once=True)
