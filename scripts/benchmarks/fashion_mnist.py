"""Train two small networks with BN on Fashion-MNIST by the shipped configs: test accuracy, the mean of several seeds.

python scripts/benchmarks/fashion_mnist.py [--data FILE.npz] [--output DIRECTORY] [--seeds 3] [--only convnet]

convnet.yaml and mlp.yaml, which stand next to this program, were chosen by validation accuracy; the README says how.
The split is the same for all seeds; weights, shuffling and dropout are not. Runs that are complete in the output
directory are not trained again, and interrupted ones go on. Prints a table, and writes fashion_mnist.json and
fashion_mnist.png there.
"""

import argparse
import dataclasses
import io
import math
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter
from PIL import Image

from kerasbn import files, layout
from kerasbn.config import TrainConfig, read_config, to_dict
from kerasbn.training import train
from kerasbn.training.environment import environment

# The configs next to this program, the test accuracy that each is to reach, and a colour (Okabe and Ito's).
NETWORKS = (("convnet", 0.934, "#0072B2"), ("mlp", 0.895, "#D55E00"))
PARTS = (("accuracy", "training", "--"), ("val_accuracy", "validation", "-"))


def config_of(name: str, seed: int, data: str | None, output: Path) -> TrainConfig:
    """Return a shipped config with another seed and output, and another source of data if one is given."""
    config = read_config(TrainConfig, Path(__file__).with_name(f"{name}.yaml"))
    source = config.data if data is None else dataclasses.replace(config.data, source=data)
    training = dataclasses.replace(config.training, seed=seed)
    return dataclasses.replace(config, name=f"{name}-{seed}", output=str(output), data=source, training=training)


def run_directory(config: TrainConfig) -> Path:
    """Return the directory of the complete run of a config: one that is there, or else of a run now."""
    for metrics in sorted((Path(config.output) / config.model_name).glob(f"*/{layout.METRICS}")):
        was = dataclasses.replace(read_config(TrainConfig, metrics.parent / layout.CONFIG), output=config.output)
        if was == config and files.read_json(metrics, "--output")["status"] == "complete":
            return metrics.parent
    return train(config).directory  # it goes on with a run that was stopped or killed


def result_of(directory: Path, seed: int) -> dict[str, Any]:
    """Return what a run directory says: accuracies, time, and the learning curves."""
    metrics = files.read_json(directory / layout.METRICS, "--output")
    history = pd.read_csv(directory / layout.HISTORY)
    return {
        "seed": seed,
        **{part: metrics[part]["accuracy"] for part in ("validation", "test")},
        **{key: metrics[key] for key in ("best_epoch", "epochs", "parameters", "seconds")},
        "history": history.to_dict(orient="list"),
    }


def summary(name: str, target: float, runs: list[dict[str, Any]], config: TrainConfig) -> dict[str, Any]:
    """Return the runs of a config with the mean over their seeds, and its standard error."""
    tests = [run["test"] for run in runs]
    error = statistics.stdev(tests) / math.sqrt(len(tests)) if len(tests) > 1 else None
    means = {part: statistics.fmean(run[part] for run in runs) for part in ("validation", "test", "seconds")}
    return {"name": name, "target": target, **means, "error": error, "config": to_dict(config), "runs": runs}


def show(results: list[dict[str, Any]]) -> None:
    """Print the table."""
    print(f"{'network':<10}{'seed':>6}{'validation':>12}{'test':>9}{'best epoch':>12}{'seconds':>9}")
    for result in results:
        for run in result["runs"]:
            row = f"{run['seed']:>6}{run['validation']:12.4f}{run['test']:9.4f}{run['best_epoch']:12d}"
            print(f"{result['name']:<10}{row}{run['seconds']:9.0f}")
        row = f"{'mean':>6}{result['validation']:12.4f}{result['test']:9.4f}{'':>12}{result['seconds']:9.0f}"
        error = f" +- {result['error']:.4f}" if result["error"] is not None else ""
        reached = "reached" if result["test"] >= result["target"] else "missed"
        print(f"{result['name']:<10}{row}   test{error}; at least {result['target']:.3f}: {reached}")


def curve(axes: Axes, runs: Sequence[dict[str, Any]], key: str, **style: Any) -> None:
    """Draw the mean over the seeds, over their range; as far as all of them went."""
    values = list(zip(*(run["history"][key] for run in runs), strict=False))
    epochs = range(1, len(values) + 1)
    low, high = [min(v) for v in values], [max(v) for v in values]
    axes.fill_between(epochs, low, high, color=style["color"], alpha=0.2, linewidth=0)
    axes.plot(epochs, [statistics.fmean(v) for v in values], linewidth=1.5, **style)


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the learning curves as a PNG file."""
    colors = {name: color for name, _, color in NETWORKS}
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for result in results:
        for key, part, line in PARTS:
            label = f"{result['name']}, {part}"
            if part == "validation":
                label += f" (test: {result['test']:.2%})"
            curve(axes, result["runs"], key, color=colors[result["name"]], linestyle=line, label=label)
    seeds = len(results[0]["runs"])
    axes.set(title=f"Fashion-MNIST: mean and range of {seeds} seeds", xlabel="epoch", ylabel="accuracy")
    axes.set(ylim=(None, 1.0), xlim=(1, max(run["epochs"] for result in results for run in result["runs"])))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    with files.whole_file(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(64).save(temporary, "PNG", optimize=True)  # a third of the bytes


def benchmark(arguments: argparse.Namespace, output: Path) -> None:
    """Train what is not there yet, print the table, and write the results and the picture."""
    results = []
    for name, target, _ in NETWORKS:
        if arguments.only in (None, name):
            configs = [config_of(name, seed, arguments.data, output) for seed in range(arguments.seeds)]
            runs = [result_of(run_directory(config), config.training.seed) for config in configs]
            results.append(summary(name, target, runs, configs[0]))
    show(results)
    files.write_json(output / "fashion_mnist.json", {"networks": results, "environment": environment()})
    draw(results, output / "fashion_mnist.png")
    print(output / "fashion_mnist.png")


def main() -> None:
    """Read the arguments, and run in the output directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="what kerasbn's data.source takes; default: as the configs say")
    parser.add_argument("--output", type=Path, help="a directory; default: a temporary one")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 (3)")
    parser.add_argument("--only", choices=[name for name, _, _ in NETWORKS], help="one of the networks")
    arguments = parser.parse_args()
    benchmark(arguments, arguments.output or Path(tempfile.mkdtemp(prefix="fashion_mnist-")))


if __name__ == "__main__":
    main()
