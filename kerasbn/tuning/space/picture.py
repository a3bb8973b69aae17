"""The picture of a preview: a small histogram of each hyperparameter, on its own scale."""

import math
import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from kerasbn import files
from kerasbn.tuning.space.drawn import Drawn, number, one_minus

_COLOR = "#0072B2"  # of Okabe and Ito, which the colour-blind too can tell apart
_COLUMNS = 3
_BINS = 16
_MOST_BARS = 12  # whole numbers, or choices, that have a bar each
_OFTEN = 4  # draws of a value, on average, by which one tells that there are no others in between
_WIDE = 100  # ratio of bounds from which on powers of ten are enough to read a log scale by
_LONGEST = 12  # characters of a choice
_TITLE = 42  # characters of the title in a line above each column


def plot(draws: int, hyperparameters: Sequence[Drawn], path: str | os.PathLike[str] | None) -> Figure:
    """Return the figure of a preview, and write it if there is a path; see `Preview.plot`."""
    columns = min(_COLUMNS, max(1, len(hyperparameters)))
    rows = max(1, math.ceil(len(hyperparameters) / columns))
    figure = Figure(figsize=(3.6 * columns, 0.4 + 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    title = f"What {draws} draws have: the share of each value, or of equal parts of the scale"
    figure.suptitle("\n".join(textwrap.wrap(title, _TITLE * columns)), fontsize="medium")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, drawn in zip(places, hyperparameters, strict=False):
        _draw(axes, drawn)
        notes = [f"active {len(drawn.values) / draws:.0%}"] if len(drawn.values) < draws else []
        if len(drawn.choices) > _MOST_BARS:
            notes.append(f"{_MOST_BARS} of {len(drawn.choices)}")
        title = f"{drawn.name} ({', '.join(notes)})" if notes else drawn.name
        axes.set_title(title, fontsize="medium", parse_math=False)
    for axes in places[len(hyperparameters) :]:
        axes.set_axis_off()
    if path is not None:
        with files.whole_file(path) as temporary:
            figure.savefig(temporary, dpi=110)
    return figure


def _draw(axes: Axes, drawn: Drawn) -> None:
    different = sorted(set(drawn.values)) if drawn.low is not None else []
    if drawn.low is None or drawn.high is None:
        _bars(axes, drawn.choices[:_MOST_BARS], drawn.values)
    elif len(different) <= _MOST_BARS and len(drawn.values) >= _OFTEN * len(different):  # a step, or a single value
        _bars(axes, different, drawn.values)
    elif drawn.integer and drawn.high - drawn.low < _MOST_BARS:
        _bars(axes, range(int(drawn.low), int(drawn.high) + 1), drawn.values)
    else:
        _histogram(axes, drawn.values, _edges(drawn, drawn.low, drawn.high), drawn.scale == "log")
    if drawn.scale == "log":
        _label_log(axes, drawn)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def _edges(drawn: Drawn, low: float, high: float) -> np.ndarray:
    """Return where the bars of a histogram begin and end, each as long on the scale as the others."""
    if not drawn.integer:
        return np.geomspace(low, high, _BINS + 1) if drawn.scale == "log" else np.linspace(low, high, _BINS + 1)
    # Whole numbers k stand for [k, k + 1), as they are drawn: a bar has all of a number or nothing.
    edges = np.geomspace(low, high + 1, _BINS + 1) if drawn.scale == "log" else np.linspace(low, high + 1, _BINS + 1)
    return np.unique(np.round(edges))


def _histogram(axes: Axes, values: Sequence[float], edges: np.ndarray, log: bool) -> None:
    """Draw the share of each part of the scale, as if all were equally long."""
    lengths = np.diff(np.log(edges) if log else edges)
    shares = np.histogram(values, edges)[0] / len(values) * lengths.mean() / lengths
    axes.bar(edges[:-1], shares, np.diff(edges), align="edge", color=_COLOR, edgecolor="white", linewidth=0.7)
    if log:
        axes.set_xscale("log")


def _bars(axes: Axes, choices: Sequence[Any], values: Sequence[Any]) -> None:
    counts = Counter(values)
    axes.bar(range(len(choices)), [counts[choice] / len(values) for choice in choices], color=_COLOR, width=0.8)
    axes.set_xlim(min(-0.6, len(choices) / 2 - 2), max(len(choices) - 0.4, len(choices) / 2 + 1))
    texts = [number(choice) for choice in choices]
    texts = [text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…" for text in texts]
    axes.set_xticks(range(len(choices)), texts, parse_math=False)


def _label_log(axes: Axes, drawn: Drawn) -> None:
    """Label a logarithmic axis without exponents; that of a rest of 1 with the value itself."""
    if axes.get_xscale() != "log":
        return
    assert drawn.low is not None
    assert drawn.high is not None
    few = (1.0, 2.0, 5.0) if drawn.high / drawn.low < _WIDE else (1.0,)  # of each power of ten
    text = number if drawn.near_one is None else one_minus
    axes.xaxis.set_major_locator(LogLocator(subs=few, numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if drawn.near_one is not None:
        axes.invert_xaxis()
        axes.set_xlabel(drawn.near_one, fontsize="small", parse_math=False)
