"""How many times sooner a search of many models at once is done: against the size of the models and their number.

python scripts/benchmarks/caviar_curves.py [--repeats 3] [--output DIRECTORY] [--drawn FILE.json]

The digits, 10 epochs, by `kerasbn.tuning.RandomSearch` with engine="auto", divided into what the same search takes with
engine="fit", one model after the other, and into what KerasTuner's takes (see caviar.py, which has the clock and the
processes). On the left searches of 16 trials of perceptrons and convnets of several sizes, on the right perceptrons of
64-64 and several numbers of trials. Searches that train one model after the other have 5 trials, from which follows
what fewer and more of them take: the time of the first, and for each further one the mean of the others.

Writes caviar_curves.json and caviar_curves.png; about half an hour on two CPU cores. With --drawn only the picture.
"""

import argparse
import dataclasses
import functools
import io
import json
import statistics
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras_tuner
from caviar import THEIRS, Searched, in_a_process, processor, search_task, seconds_of
from caviar_tasks import TASKS, Task, convnet, perceptron
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kerasbn import files
from kerasbn.progress import reporting
from kerasbn.training.environment import environment

WIDTHS = (16, 64, 256, 1024)  # of both hidden layers
FILTERS = (4, 8, 16, 32)  # of the first convolution; the second has twice as many
TRIALS = (1, 2, 4, 8, 16, 32, 64)
TRIALS_BY_SIZE = 16
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)  # of the ratios
ONE_BY_ONE = 5  # trials of a search that trains one model after the other
# Okabe and Ito's colours; against KerasTuner dashed.
COLORS = MappingProxyType({"MLP": "#0072B2", "CNN": "#D55E00"})
LINES = MappingProxyType({"fit": "-", THEIRS: "--"})


def tasks(epochs: int) -> dict[str, list[Task]]:
    """Return the tasks by family, in order of size."""
    mlp, cnn = (dataclasses.replace(TASKS[name], epochs=epochs) for name in ("mlp", "cnn"))
    return {
        "MLP": [
            dataclasses.replace(mlp, title=f"{w}-{w}", build=functools.partial(perceptron, widths=(w, w)))
            for w in WIDTHS
        ],
        "CNN": [
            dataclasses.replace(cnn, title=f"{f}-{2 * f}", build=functools.partial(convnet, side=8, filters=(f, 2 * f)))
            for f in FILTERS
        ],
    }


def point(task: Task, counts: list[int], repeats: int, report: Any) -> dict[str, Any]:
    """Search a task with each side; return what of "auto" so many trials took, and the ratios, by repeats.

    Args:
        task: The task.
        counts: Numbers of trials.
        repeats: How often.
        report: Called after each search.

    Returns:
        Trials, parameters, seconds by side (a list of repeats for each of the counts), and ratios by other side:
        for each of the counts the median.
    """
    seconds: dict[str, list[list[float]]] = {"auto": [], "fit": [], THEIRS: []}
    for repeat in range(repeats):
        seed = 1000 * repeat + 1

        def searched(engine: str, trials: int, seed: int = seed) -> Searched:
            result = in_a_process(search_task, task, engine, trials, task.epochs, seed, None)
            report()
            return result

        for engine in ("fit", THEIRS):
            one_by_one = searched(engine, min(ONE_BY_ONE, max(counts)))
            seconds[engine].append([seconds_of(one_by_one, count) for count in counts])
        seconds["auto"].append([searched("auto", count).seconds for count in counts])
    ratios = {
        other: [
            statistics.median(seconds[other][repeat][n] / seconds["auto"][repeat][n] for repeat in range(repeats))
            for n in range(len(counts))
        ]
        for other in ("fit", THEIRS)
    }
    parameters = task.build(keras_tuner.HyperParameters()).count_params()
    return {"title": task.title, "trials": counts, "parameters": parameters, "seconds": seconds, "ratios": ratios}


def measure(repeats: int, by_size: int, counts: list[int], epochs: int) -> dict[str, Any]:
    """Return both curves."""
    families = tasks(epochs)
    done, total = 0, repeats * (3 * sum(map(len, families.values())) + 2 + len(counts))
    with reporting("searching", total, "searches") as progress:

        def report() -> None:
            nonlocal done
            done += 1
            progress(done)

        sizes = {name: [point(task, [by_size], repeats, report) for task in own] for name, own in families.items()}
        numbers = point(families["MLP"][WIDTHS.index(64)], counts, repeats, report)
    return {"epochs": epochs, "by_size": sizes, "by_trials": numbers}


def line(axes: Axes, x: list[int], y: list[float], family: str, other: str) -> None:
    """Draw a curve, with its values at its points."""
    name = 'engine="fit"' if other == "fit" else other
    axes.plot(x, y, LINES[other], marker="o", markersize=4, color=COLORS[family], label=f"{family}, against {name}")
    for at, value in zip(x, y, strict=True):
        place = (0, 5) if other == THEIRS else (0, -12)
        axes.annotate(f"{value:.2g}", (at, value), place, textcoords="offset points", ha="center", fontsize=7)


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw both panels as a PNG file."""
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for family, points in result["by_size"].items():
        for other in LINES:
            values = [point["ratios"][other][0] for point in points]
            line(left, [point["parameters"] for point in points], values, family, other)
    (trials,) = result["by_size"]["MLP"][0]["trials"]
    numbers = result["by_trials"]
    for other in LINES:
        line(right, numbers["trials"], numbers["ratios"][other], "MLP", other)
    left.set(xlabel=f"parameters of a model, searches of {trials} trials", ylabel="times sooner (1: no gain)")
    right.set(xlabel=f"trials of a search, models of {numbers['title']}")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        axes.axhline(1, color="black", linewidth=1)
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        low, high = axes.get_ylim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        axes.set_yticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize="small")
    right.set_xticks(numbers["trials"], labels=[str(count) for count in numbers["trials"]])
    cores = result["environment"]["cpus"]
    figure.suptitle(f"Searches with many models at once: digits, {result['epochs']} epochs a trial, {cores} CPU cores")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(256).save(path, optimize=True)  # half the bytes


def main() -> None:
    """Measure, write and draw; or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="searches of each kind, by turns (3)")
    parser.add_argument("--by-size", type=int, default=TRIALS_BY_SIZE, help="trials of searches by size (16)")
    parser.add_argument("--trials", type=int, nargs="+", default=list(TRIALS), help="of searches by trials (1 to 64)")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial (10)")
    parser.add_argument("--output", type=Path, default=Path("caviar_curves"), help="a directory")
    parser.add_argument("--drawn", type=Path, help="a caviar_curves.json, to be drawn again")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.drawn:
        result = json.loads(options.drawn.read_text(encoding="utf-8"))
    else:
        result = measure(options.repeats, options.by_size, options.trials, options.epochs)
        result["environment"] = {"processor": processor(), **environment()}
        files.write_json(options.output / "caviar_curves.json", result)
    draw(result, options.output / "caviar_curves.png")


if __name__ == "__main__":
    main()
