"""The picture that why_batch_norm.py draws of its results: nine panels.

python scripts/benchmarks/why_batch_norm_picture.py why_batch_norm.json why_batch_norm.png
"""

import io
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image
from why_batch_norm_nets import BN, CONVNET, MLP, NETS, NORMS, PLAIN, SHIFTS

# Okabe and Ito's colours, which the colour-blind too can tell apart.
COLORS = {PLAIN: "#D55E00", BN: "#0072B2", SHIFTS: "#009E73"}
Rows = list[dict[str, Any]]


def chosen(rows: Rows, net: str, norm: str) -> Rows:
    """Return the rows of a net and norm, at the plain net's best rate where there are several."""
    return [row for row in rows if (row["net"], row["norm"], row.get("multiple", 1.0)) == (net, norm, 1.0)]


def band(axes: Axes, x: list[Any], values: list[list[float]], color: str, label: str, **style: Any) -> None:
    """Draw the medians of `values`, one list a seed, over the range of the seeds."""
    columns = list(zip(*values, strict=True))
    axes.fill_between(x, [min(c) for c in columns], [max(c) for c in columns], color=color, alpha=0.15, linewidth=0)
    axes.plot(x, [statistics.median(c) for c in columns], color=color, label=label, **style)


def learning(axes: Axes, runs: Rows, net: str) -> None:
    """Draw the share of errors by step."""
    for norm in NORMS:
        own = chosen(runs, net, norm)
        band(axes, own[0]["steps"], [errors(run) for run in own], COLORS[norm], norm)
    target = statistics.median(min(errors(run)) for run in chosen(runs, net, PLAIN))
    axes.axhline(target, color=COLORS[PLAIN], linewidth=1, linestyle=":", label="plain, at its best")
    axes.set(title=f"{net}, rate {own[0]['rate']:g}", xlabel="step", ylabel="validation error")
    axes.set(yscale="log", ylim=(0.1, 0.92))
    plain_ticks(axes, [0.1, 0.15, 0.2, 0.3, 0.5, 0.9])


def errors(run: dict[str, Any]) -> list[float]:
    """Return 1 - accuracy at each evaluation."""
    return [1 - accuracy for accuracy in run["accuracy"]]


def plain_ticks(axes: Axes, ticks: list[float]) -> None:
    """Put these ticks, as plain numbers, on a logarithmic y axis."""
    axes.minorticks_off()
    axes.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def distribution(axes: Axes, runs: Rows, norm: str, what: str) -> None:
    """Draw the percentiles of the inputs of one unit, by step."""
    run = chosen(runs, MLP, norm)[0]
    low, middle, high = zip(*run["percentiles"], strict=True)
    steps = [0, *run["steps"]]
    axes.fill_between(steps, low, high, color=COLORS[norm], alpha=0.2, linewidth=0, label="15th to 85th percentile")
    axes.plot(steps, middle, color=COLORS[norm], label="median")
    axes.set(title=what, xlabel="step", ylabel="input of the sigmoid")


def drifts(axes: Axes, runs: Rows) -> None:
    """Draw the drift of the MLP's layers by step."""
    for norm in NORMS:
        own = chosen(runs, MLP, norm)
        values = [[statistics.fmean(layers) for layers in run["drift"]] for run in own]
        band(axes, own[0]["steps"], values, COLORS[norm], norm)
    axes.set(title="Drift of the MLP's sigmoids' inputs", xlabel="step", yscale="log")
    axes.set(ylabel="own standard deviations\nfrom evaluation to evaluation")
    plain_ticks(axes, [0.05, 0.1, 0.2, 0.5, 1])


def rates(axes: Axes, rows: Rows) -> None:
    """Draw the accuracy at the end by learning rate."""
    for net, style in ((MLP, "-"), (CONVNET, "--")):
        for norm in (PLAIN, BN):
            own = [row for row in rows if (row["net"], row["norm"]) == (net, norm)]
            middle, low, high = zip(*(row["accuracy"] for row in own), strict=True)
            x = [row["multiple"] for row in own]
            axes.vlines(x, low, high, color=COLORS[norm], linewidth=1)
            axes.plot(x, middle, style, color=COLORS[norm], marker="o", markersize=4, label=f"{net}, {norm}")
    axes.set(title="Tolerance to learning rates", xscale="log", ylabel="accuracy at the end")
    axes.set(xlabel="learning rate, times the best of the plain net", ylim=(0, 1))
    axes.xaxis.set_major_locator(FixedLocator(x))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("x{x:g}")


def noise(axes: Axes, rows: Rows) -> None:
    """Draw the noise of the normalised values by batch size."""
    x = [row["size"] for row in rows]
    axes.plot(x, [row["theory"] for row in rows], color="black", linewidth=1, label="theory: sqrt(1.5 / size)")
    for layer, marker in enumerate("o^s"):
        y = [row["deviation"][layer] for row in rows]
        axes.plot(x, y, marker, color=COLORS[BN], fillstyle="none", label=f"layer {layer + 1}")
    axes.set(title="Noise of an example's normalised value", yscale="log", ylabel="deviation from batch to batch")
    sizes(axes, x)
    plain_ticks(axes, [0.05, 0.1, 0.2, 0.4])


def regularization(axes: Axes, rows: Rows) -> None:
    """Draw validation and training loss by how many images are normalised together."""
    x = sorted({row["size"] for row in rows if row["size"]})
    for part, style in (("validation", "-"), ("training", "--")):
        by_seed = [
            [row[part]["loss"] for size in x for row in rows if (row["size"], row["seed"]) == (size, seed)]
            for seed in sorted({row["seed"] for row in rows})
        ]
        band(axes, x, by_seed, COLORS[BN], f"{part}, BN", linestyle=style, marker="o", markersize=4)
        plain = statistics.median(row[part]["loss"] for row in rows if row["size"] is None)
        axes.axhline(plain, color=COLORS[PLAIN], linestyle=style, linewidth=1, label=f"{part}, plain")
    axes.set(title="MLP on 5000 images, batches of 512", ylabel="loss at the end", ylim=(0, None))
    sizes(axes, x)


def sizes(axes: Axes, x: list[int]) -> None:
    """Label the axis of batch sizes."""
    axes.set(xscale="log", xlabel="images normalised together")
    axes.minorticks_off()
    axes.set_xticks(x, labels=[str(size) for size in x])


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the panels as a PNG file."""
    figure = Figure(figsize=(13, 10.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 3)
    runs = result["runs"]
    for axes, net in zip(panels[0], NETS, strict=True):
        learning(axes, runs, net)
    distribution(panels[1, 0], runs, PLAIN, "A typical unit of the MLP's last layer, plain")
    distribution(panels[1, 1], runs, BN, "A typical unit of the same layer, BN")
    panels[1, 1].sharey(panels[1, 0])
    drifts(panels[1, 2], runs)
    rates(panels[2, 0], result["rates"])
    noise(panels[2, 1], result["noise"])
    regularization(panels[2, 2], result["regularization"])
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)  # a third of the bytes


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
