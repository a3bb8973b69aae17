"""Time an epoch of training on the digits MLP: kerasbn's pipeline against Keras's `fit` on arrays, same model.

python scripts/benchmarks/fit.py [--repeats 5] [--epochs 20] [--json FILE]
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import keras

from kerasbn.config import DataConfig, MLPConfig, TrainingConfig
from kerasbn.data import Prepared, load_splits, prepare
from kerasbn.models import from_config
from kerasbn.training import fit
from kerasbn.training.environment import environment

BATCH_SIZE = 50


class Clock(keras.callbacks.Callback):
    """Note when each epoch ends, its validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    @property
    def milliseconds(self) -> float:
        """Median time of an epoch; the first three, with tracing and warming up, are left out."""
        times = [1e3 * (after - before) for before, after in zip(self.ends[2:], self.ends[3:], strict=False)]
        return statistics.median(times)


def model_of(prepared: Prepared) -> keras.Model:
    """Return the same fresh model for both."""
    keras.utils.set_random_seed(0)
    return from_config(MLPConfig(units=(64, 64)), prepared.train.inputs.shape[1:], 10)


def time_kerasbn(prepared: Prepared, epochs: int) -> float:
    """Return milliseconds an epoch of `kerasbn.training.fit`."""
    clock = Clock()
    config = TrainingConfig(epochs=epochs, batch_size=BATCH_SIZE)
    fit(model_of(prepared), prepared.train, prepared.validation, config, [clock])
    return clock.milliseconds


def time_keras(prepared: Prepared, epochs: int) -> float:
    """Return milliseconds an epoch of `keras.Model.fit` on arrays, with Keras's loss and defaults."""
    clock = Clock()
    model = model_of(prepared)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(
        prepared.train.inputs,
        prepared.train.labels,
        batch_size=BATCH_SIZE,
        validation_data=(prepared.validation.inputs, prepared.validation.labels),
        epochs=epochs,
        callbacks=[clock],
        verbose=0,
    )
    return clock.milliseconds


def main() -> None:
    """Measure both by turns, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    prepared = prepare(load_splits(DataConfig(source="digits")))
    times: dict[str, list[float]] = {"keras": [], "kerasbn": []}
    for _ in range(arguments.repeats):
        times["keras"].append(time_keras(prepared, arguments.epochs))
        times["kerasbn"].append(time_kerasbn(prepared, arguments.epochs))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["keras"] / medians["kerasbn"]
    print(f"digits MLP 64-64, batch {BATCH_SIZE}, validation included; median of {arguments.repeats} runs")
    for name, milliseconds in medians.items():
        print(f"{name:<8} {milliseconds:7.1f} ms an epoch")
    print(f"ratio    {ratio:7.2f}")
    if arguments.json:
        result = {"milliseconds": times, "medians": medians, "ratio": ratio, "environment": environment()}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
