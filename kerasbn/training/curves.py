"""The picture of a run: loss, accuracy and learning rate by epoch."""

import math
import types
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from kerasbn import files

_PANELS = (
    ("loss", ("loss", "val_loss"), "linear"),
    ("accuracy", ("accuracy", "val_accuracy"), "linear"),
    ("learning rate", ("learning_rate",), "log"),
)
_STYLE = types.MappingProxyType(
    {"loss": ("training", "C0"), "accuracy": ("training", "C0"), "learning_rate": ("learning rate", "C2")}
)


def draw(history: Sequence[dict[str, float]], best_epoch: int, title: str, path: Path) -> None:
    """Draw a history as a PNG file, whole or not at all.

    Args:
        history: One dict an epoch; see `kerasbn.training.fit`.
        best_epoch: Epoch whose weights were kept, from 1.
        title: Of the picture.
        path: The file.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [entry["epoch"] for entry in history]
    for axes, (name, keys, scale) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for key in keys:
            label, color = _STYLE.get(key, ("validation", "C1"))
            values = [entry[key] for entry in history]
            if scale == "log":  # a warm-up begins with 0, which has no place there
                values = [value if value > 0 else math.nan for value in values]
            axes.plot(epochs, values, color=color, label=label, marker=".", markersize=4)
        axes.axvline(best_epoch, color="0.6", linestyle=":", label=f"best epoch: {best_epoch}")
        axes.set(xlabel="epoch", ylabel=name)
        if scale == "log" and not all(map(math.isnan, values)):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")  # mathtext asks for fonts that may be missing
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
    figure.suptitle(title, parse_math=False)
    with files.whole_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
