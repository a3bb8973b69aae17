"""Show why BatchNormalization works, on real images: speed, drift, learning rates and the noise of small batches.

python scripts/benchmarks/why_batch_norm.py [--data FILE.npz] [--output DIRECTORY] [--quick]

A sigmoid MLP (3 x 100 units, small Gaussian weights, plain SGD, batches of 60, after Ioffe and Szegedy, 2015, 4.1) and
a ReLU convnet (six 3 x 3 convolutions, He's weights) learn with and without it, on the same batches from the same
weights, at rates around the one that is best for the plain net. "BN + shifts" is a test of the explanation by internal
covariate shift, after Santurkar et al. (2018, arXiv:1805.11604): it scales and shifts what BN puts out at random, anew
at every training step. If BN helped by keeping the inputs of the next layer as they were, this would undo the help.
The moving averages have momentum 0.9: at 0.99 they lag behind weights that change as fast as here.

Prints tables, writes them as why_batch_norm.json and draws why_batch_norm.png. About ten minutes on two CPU cores;
--quick takes one or two, and says less.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from why_batch_norm_nets import BATCH, BN, CONVNET, MLP, NETS, NORMS, PLAIN, SHIFTS, SMALL, Data, Net
from why_batch_norm_picture import draw

from kerasbn.config import DataConfig
from kerasbn.data import load_splits, prepare
from kerasbn.layers import BatchNormalization
from kerasbn.training.environment import environment

MULTIPLES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the rate that is best for the plain net
FEW, LARGE_BATCH, GHOSTS = 5000, 512, (8, 32, 128, 512)
NOISE_SIZES = (8, 16, 32, 64, 128, 256, 512)


def train_all(data: Data, steps: int, seeds: int) -> list[dict[str, Any]]:
    """Train every net with every norm, rate and seed."""
    runs = []
    for name in NETS:
        own_steps = steps if name != CONVNET else max(1, int(0.3 * steps))
        watched = 200 if name == CONVNET else 1000
        for norm in NORMS:
            net = Net(name, norm, data)
            for multiple in (1.0,) if name == SMALL or norm == SHIFTS else MULTIPLES:
                own = [
                    net.run(seed, multiple, own_steps, watched=watched if multiple == 1 else 0)
                    for seed in range(seeds if multiple == 1 else min(seeds, 3))
                ]
                said = " ".join(f"{run['accuracy'][-1]:.3f}" for run in own)
                print(f"  {name}, {norm}, rate {own[0]['rate']:g}: at the end {said}", flush=True)
                runs += own
    return runs


def chosen(runs: list[dict[str, Any]], name: str, norm: str, multiple: float = 1.0) -> list[dict[str, Any]]:
    """Return the runs of one net, norm and rate, by seed."""
    return [run for run in runs if (run["net"], run["norm"], run["multiple"]) == (name, norm, multiple)]


def final_accuracies(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the accuracy after training, by net, norm and rate: median, least and most over the seeds."""
    rows = []
    for name in (MLP, CONVNET):
        for norm in (PLAIN, BN):
            for multiple in MULTIPLES:
                ends = [run["accuracy"][-1] for run in chosen(runs, name, norm, multiple)]
                row = {"net": name, "norm": norm, "multiple": multiple, "rate": multiple * NETS[name].rate}
                rows.append({**row, "accuracy": spread(ends), "seeds": len(ends)})
    return rows


def speed(runs: list[dict[str, Any]], finals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps to the best validation accuracy that the plain net ever has, pair by pair of equal seeds.

    And those to two points less: where two nets get level, which is first at the best is chance.
    """
    rows = []
    for name in NETS:
        own = [row for row in finals if (row["net"], row["norm"]) == (name, BN)]
        best = max(own, key=lambda row: row["accuracy"][0])["multiple"] if own else 1.0
        for norm, multiple in [(norm, 1.0) for norm in NORMS] + ([(BN, best)] if best != 1 else []):
            pairs = list(zip(chosen(runs, name, PLAIN), chosen(runs, name, norm, multiple), strict=False))
            row = {"net": name, "norm": norm, "rate": multiple * NETS[name].rate}
            row["best"] = spread([max(run["accuracy"]) for _, run in pairs])
            for target, less in (("best", 0.0), ("near", 0.02)):
                steps = [[first(run, max(pair[0]["accuracy"]) - less) for run in pair] for pair in pairs]
                row[f"times_to_{target}"] = spread([plain / ours for plain, ours in steps])
                row[f"steps_to_{target}"] = [None if ours == math.inf else ours for _, ours in steps]
            rows.append(row)
    return rows


def first(run: dict[str, Any], accuracy: float) -> float:
    """Return the step at which a run first has an accuracy; infinite if it never has."""
    return next((step for step, now in zip(run["steps"], run["accuracy"], strict=True) if now >= accuracy), math.inf)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, least and most."""
    return statistics.median_low(values), min(values), max(values)


def drift(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how far the inputs of each activation move between evaluations, as a mean over training and seeds."""
    rows = []
    for name in NETS:
        for norm in NORMS:
            moved = np.array([run["drift"] for run in chosen(runs, name, norm)])
            half = moved.shape[1] // 2
            row = {"net": name, "norm": norm, "layers": moved.mean((0, 1)).tolist(), "mean": float(moved.mean())}
            rows.append({**row, "second_half": float(moved[:, half:].mean())})
    return rows


def noise(data: Data, steps: int) -> list[dict[str, Any]]:
    """Return by how much the normalised value of an example differs from batch to batch, by the batches' size.

    The root mean square over examples and units, for each layer of a trained MLP; in theory sqrt(1.5 / size) for
    independent Gaussian values: 1 / size from the mean, and on average 0.5 / size from the deviation.
    """
    net = Net(MLP, BN, data)
    net.run(0, 1.0, steps)
    random = np.random.default_rng(0)
    images = data.images[:8192].numpy()
    rows = []
    for size in NOISE_SIZES:
        same = Net(MLP, BN, data, ghost=size)
        same.model.set_weights(net.model.get_weights())
        norms = [layer for layer in same.model.layers if isinstance(layer, BatchNormalization)]
        draws: list[list[np.ndarray]] = [[] for _ in norms]
        for _ in range(16):
            order = random.permutation(len(images))
            values = same.activation_inputs(tf.constant(images[order]))
            for drawn, value, norm in zip(draws, values, norms, strict=True):
                drawn.append(value.numpy()[np.argsort(order)] / norm.gamma.numpy())
        deviations = [float(np.sqrt(np.mean(np.var(drawn, axis=0, ddof=1)))) for drawn in draws]
        rows.append({"size": size, "deviation": deviations, "theory": math.sqrt(1.5 / size)})
    return rows


def regularization(data: Data, steps: int, seeds: int) -> list[dict[str, Any]]:
    """Train MLPs on few images to the end; only the number of images that are normalised together differs."""
    rows = []
    for ghost in (None, *GHOSTS):
        net = Net(MLP, BN if ghost else PLAIN, data, ghost)
        for seed in range(seeds):
            run = net.run(seed, 0.3, steps, FEW, LARGE_BATCH)
            rows.append({"size": ghost, "seed": seed, "training": run["training"], "validation": run["validation"]})
    return rows


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    print("\n1. how many times as fast as the plain net at that net's best validation accuracy, or two points less")
    print(f"{'':<62}{'best (0: never)':<22}   {'two points less':<22}  best accuracy")
    for row in result["speed"]:
        times = [row[f"times_to_{target}"] for target in ("best", "near")]
        said = "   ".join(f"{middle:5.2f} [{low:5.2f}, {high:5.2f}]  " for middle, low, high in times)
        print(f"{row['net']:<30} {row['norm']:<13} rate {row['rate']:<12g}{said}  {row['best'][0]:.3f}")
    print("\n2. drift of the inputs of an activation between evaluations, in their standard deviations; by layer")
    for row in result["drift"]:
        layers = " ".join(f"{value:.3f}" for value in row["layers"])
        print(
            f"{row['net']:<30} {row['norm']:<12} mean {row['mean']:.3f}  "
            f"second half of training {row['second_half']:.3f}  layers {layers}"
        )
    print("\n3. validation accuracy after training, by learning rate (times the plain net's best)")
    print(" " * 44 + "".join(f"{f'x{multiple:g}':>8}" for multiple in MULTIPLES))
    for name in (MLP, CONVNET):
        for norm in (PLAIN, BN):
            own = [row for row in result["rates"] if (row["net"], row["norm"]) == (name, norm)]
            print(f"{name:<30} {norm:<13}" + "".join(f"{row['accuracy'][0]:8.3f}" for row in own))
    print("\n4. deviation of a normalised value from batch to batch, by the batch's size; by layer, and in theory")
    for row in result["noise"]:
        layers = " ".join(f"{value:.3f}" for value in row["deviation"])
        print(f"{row['size']:<4} {layers}  theory {row['theory']:.3f}")
    print(f"\n5. {FEW} images, batches of {LARGE_BATCH}: what normalising fewer of them together does (medians)")
    for size in (None, *GHOSTS):
        own = [row for row in result["regularization"] if row["size"] == size]
        middle = {
            f"{part} {name}": statistics.median(row[part][name] for row in own)
            for name in ("accuracy", "loss")
            for part in ("training", "validation")
        }
        middle["gap"] = statistics.median(row["validation"]["loss"] - row["training"]["loss"] for row in own)
        said = "  ".join(f"{name} {value:.3f}" for name, value in middle.items())
        print(f"{f'BN of {size}' if size else 'plain':<10} {said}")


def main() -> None:
    """Train, print the tables, write the JSON and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist", help="what kerasbn's data.source takes, of images")
    parser.add_argument("--output", type=Path, default=Path("why_batch_norm"), help="a directory")
    parser.add_argument("--steps", type=int, help="of the MLP (5000); the convnet takes 0.3 times as many")
    parser.add_argument("--seeds", type=int, help="at the plain net's best rate (5); at most 3 elsewhere")
    parser.add_argument("--quick", action="store_true", help="600 steps and 2 seeds")
    arguments = parser.parse_args()
    steps = arguments.steps or (600 if arguments.quick else 5000)
    seeds = arguments.seeds or (2 if arguments.quick else 5)
    begun = time.perf_counter()
    keras.utils.set_random_seed(0)
    prepared = prepare(load_splits(DataConfig(source=arguments.data, validation_fraction=1 / 12)))
    parts = (prepared.train, prepared.validation)
    data = Data(*(tf.constant(array) for part in parts for array in (part.inputs, part.labels)))
    images = f"{len(prepared.train)} images of {arguments.data}, {len(prepared.validation)} to validate"
    print(f"{images}; {steps} steps of {BATCH} for the MLP; {seeds} seeds", flush=True)
    runs = train_all(data, steps, seeds)
    rates = final_accuracies(runs)
    result: dict[str, Any] = {"steps": steps, "seeds": seeds, "images": images, "speed": speed(runs, rates)}
    result |= {"drift": drift(runs), "rates": rates, "noise": noise(data, steps)}
    result["regularization"] = regularization(data, max(1, int(0.4 * steps)), min(seeds, 3))
    show(result)
    result |= {"runs": runs, "seconds": time.perf_counter() - begun, "environment": environment()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "why_batch_norm.json").write_text(json.dumps(result) + "\n")
    draw(result, arguments.output / "why_batch_norm.png")
    print(f"\n{result['seconds']:.0f} s; {arguments.output / 'why_batch_norm.png'}")


if __name__ == "__main__":
    main()
