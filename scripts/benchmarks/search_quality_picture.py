"""The picture that search_quality.py draws of its results: regret against trials and against epochs.

python scripts/benchmarks/search_quality_picture.py search_quality.json search_quality.png
"""

import io
import json
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

# Okabe and Ito's colours, which the colour-blind too can tell apart; KerasTuner's methods are dashed.
STYLES = MappingProxyType(
    {
        "random": ("black", "-"),
        "grid": ("#999999", "-"),
        "coarse to fine": ("#D55E00", "-"),
        "TPE": ("#0072B2", "-"),
        "successive halving": ("#CC79A7", "-"),
        "Hyperband": ("#009E73", "-"),
        "KerasTuner random": ("black", "--"),
        "KerasTuner Bayesian": ("#0072B2", "--"),
        "KerasTuner Hyperband": ("#009E73", "--"),
    }
)


def regrets(axes: Axes, result: dict[str, Any], what: str) -> None:
    """Draw the regret of each method by what it has spent."""
    for name, row in result["methods"].items():
        known = [
            (spent, *(100 * v for v in value))
            for spent, value in zip(result["budgets"][what], row[f"regret_by_{what}"], strict=True)
            if value is not None
        ]
        if known:
            x, mean, low, high = zip(*known, strict=True)
            color, style = STYLES[name]
            axes.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
            axes.plot(x, mean, style, color=color, linewidth=1.5, label=name)
    axes.set(xscale="log", yscale="log", xlabel=f"{what} of a search")
    axes.grid(alpha=0.25, which="both")
    axes.set_ylim(0.2, 3)
    ticks = [0.2, 0.3, 0.5, 1, 2, 3]
    axes.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(axes.yaxis.get_major_locator())
    axes.xaxis.set_major_formatter("{x:g}")


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw both panels as a PNG file."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    regrets(left, result, "trials")
    regrets(right, result, "epochs")
    left.set_ylabel("regret, points of validation accuracy")
    left.legend(frameon=False, fontsize="small")
    figure.suptitle(f"What searches of a table of {result['configurations']:,} configurations would choose")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)  # half the bytes


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
