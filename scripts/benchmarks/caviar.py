"""Trials a minute of kerasbn's search against KerasTuner's, and the memory that many models at once take.

python scripts/benchmarks/caviar.py [--letter letter.csv] [--fashion fashion_mnist.npz] [--tasks NAME ...]
    [--repeats 3] [--trials N] [--keras-tuner-trials N] [--epochs N] [--engine auto] [--json FILE]

`kerasbn.tuning.RandomSearch` and `keras_tuner.RandomSearch` search the same space with the same build function, epochs,
batch size and data (see caviar_tasks.py), by turns, each search in a process of its own. The clock runs from before the
tuner is made to the end of `search`; only the imports and the reading of the data are not in it. So a search pays for
TensorFlow's start, for traces, measurements and files, as a user's does. Their draws are independent.

KerasTuner takes minutes for 64 trials. With fewer of them (--keras-tuner-trials) its seconds are those up to the end of
the first trial, which pays for the start, and for each further one the mean of the others.

Memory: the peak of the resident memory of one search above what the process has before it and after a search of two
trials, against parameters (with slots and gradient), activations, forward and backward, and the data, by their shapes.

Letter Recognition and Fashion-MNIST are not shipped; without its file a task is left out and said to be.
"""

import argparse
import ctypes
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_tuner
import numpy as np
from caviar_tasks import TASKS, WIDE, Build, Data, Task, digits
from rich.console import Console
from rich.table import Table

from kerasbn import files
from kerasbn.progress import reporting
from kerasbn.training.environment import environment
from kerasbn.tuning import RandomSearch

MOST_MEMORY = 1.3  # times what the arrays have
THEIRS = "KerasTuner"


@dataclass(frozen=True)
class Searched:
    """What a search has come to.

    Args:
        seconds: From before the tuner was made to the end of the search.
        cpu: Seconds of all threads in the same time.
        ends: Seconds at which each trial ended.
        epochs: Trained in all trials together.
        best: The best score.
        drawn: Means of the hyperparameters, which tell whether both sides had models of about the same size.
        engines: What trained the trials, by name, and how many of them.
    """

    seconds: float
    cpu: float
    ends: list[float]
    epochs: int
    best: float
    drawn: dict[str, float]
    engines: dict[str, int]


class Counted(keras_tuner.RandomSearch):
    """KerasTuner's search, which counts what it trains."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epochs = 0
        self.ends: list[float] = []

    def on_epoch_end(self, trial: Any, model: keras.Model, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Count the epoch."""
        super().on_epoch_end(trial, model, epoch, logs)
        self.epochs += 1

    def on_trial_end(self, trial: Any) -> None:
        """Note when the trial ends."""
        super().on_trial_end(trial)
        self.ends.append(time.perf_counter())


def search(build: Build, data: Data, engine: str, trials: int, epochs: int, batch_size: int, seed: int) -> Searched:
    """Search with an engine of kerasbn, or with KerasTuner; return what that took and came to."""
    train, validation = data
    kwargs = {"validation_data": validation, "epochs": epochs, "batch_size": batch_size, "verbose": 0}
    with tempfile.TemporaryDirectory() as directory:
        began, cpu = time.perf_counter(), time.process_time()
        if engine == THEIRS:
            theirs = Counted(build, "val_accuracy", trials, seed=seed, directory=directory)
            theirs.search(*train, **kwargs)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            ended = theirs.oracle.get_best_trials(trials)
            values, best = [trial.hyperparameters.values for trial in ended], ended[0].score
            ends, epochs_trained, engines = theirs.ends, theirs.epochs, {THEIRS: len(ended)}
        else:
            ends = []
            ours = RandomSearch(
                build,
                "val_accuracy",
                trials,
                seed,
                engine=engine,
                directory=directory,
                on_trial=lambda record: ends.append(time.perf_counter()),
            )
            ours.search(*train, **kwargs)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            records = ours.study.ranked
            values, best = [record.hyperparameters.values for record in records], records[0].score
            epochs_trained = sum(len(record.history) for record in records)
            names = [record.engine for record in records]
            engines = {name: names.count(name) for name in sorted(set(names))}
        drawn = {name: float(np.mean([one[name] for one in values])) for name in values[0]}
    return Searched(seconds, cpu, [end - began for end in ends], epochs_trained, best, drawn, engines)


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a new process, in which nothing was trained before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def search_task(task: Task, engine: str, trials: int, epochs: int, seed: int, path: Path | None) -> Searched:
    """Search a task, once its data are read."""
    return search(task.build, task.data(path), engine, trials, epochs, task.batch_size, seed)


def seconds_of(searched: Searched, trials: int) -> float:
    """Return what so many trials take, one after the other, from a search of as many, of more, or of at least two."""
    done = len(searched.ends)
    if done >= trials:
        return searched.seconds if done == trials else searched.ends[trials - 1]
    first, last = searched.ends[0], searched.ends[-1]
    return searched.seconds + (trials - done) * (last - first) / (done - 1)


def compare(task: Task, options: argparse.Namespace, path: Path | None) -> dict[str, Any]:
    """Search a task with both by turns; return the searches, the trials a minute and their ratio."""
    trials, epochs = options.trials or task.trials, options.epochs or task.epochs
    theirs = min(trials, options.keras_tuner_trials or trials)
    counts = {"kerasbn": (options.engine, trials), THEIRS: (THEIRS, theirs)}
    searches: dict[str, list[Searched]] = {side: [] for side in counts}
    with reporting(task.title, 2 * options.repeats, "searches") as report:
        for repeat in range(options.repeats):
            for side, (engine, count) in counts.items() if repeat % 2 else reversed(counts.items()):
                # KerasTuner draws from seed, seed + 1, ...: near seeds would share their draws.
                searched = in_a_process(search_task, task, engine, count, epochs, 1000 * repeat + 1, path)
                assert searched.epochs == count * epochs, (
                    f"{side} trained {searched.epochs} epochs, not {count * epochs}"
                )
                searches[side].append(searched)
                report(sum(map(len, searches.values())))
    rates = {side: [60 * trials / seconds_of(one, trials) for one in those] for side, those in searches.items()}
    ratios = [ours / other for ours, other in zip(rates["kerasbn"], rates[THEIRS], strict=True)]
    return {
        "title": task.title,
        "trials": trials,
        "KerasTuner's trials": theirs,
        "epochs": epochs,
        "batch_size": task.batch_size,
        "trials_a_minute": {side: statistics.median(those) for side, those in rates.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "asked": task.asked,
        "aim": task.aim,
        "best": {side: statistics.median(one.best for one in those) for side, those in searches.items()},
        "searches": {side: [asdict(one) for one in those] for side, those in searches.items()},
    }


def arrays_of(model: keras.Model, members: int, batch_size: int, data: Data) -> dict[str, int]:
    """Return the bytes that so many models in training need at the least, by the shapes of their arrays.

    parameters: of each trained number the value, the gradient and Adam's two slots; of the others the value;
    activations: what each layer returns for a batch, and its gradient; data: for training and validation, once.
    """
    trained = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    others = sum(math.prod(variable.shape) for variable in model.non_trainable_variables)
    outputs = sum(math.prod(layer.output.shape[1:]) for layer in model.layers)
    return {
        "parameters": 4 * members * (4 * trained + others),
        "activations": 4 * members * 2 * batch_size * outputs,
        "data": sum(array.nbytes for part in data for array in part),
    }


def resident(what: str) -> int:
    """Return the resident memory of this process in bytes, as Linux has it: VmRSS now or VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def measure_memory(engine: str, members: int, epochs: int) -> dict[str, Any]:
    """Search with many wide perceptrons at once; return the peak above the base, and the bytes of their arrays."""
    data, batch_size = digits(), 32
    search(WIDE, data, engine, 2, 1, batch_size, seed=1)  # what TensorFlow itself takes, and a trace
    keras.utils.clear_session()
    ctypes.CDLL(None).malloc_trim(0)  # what is free but not given back would hide as much of the search's memory
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again
    base = resident("VmRSS")
    searched = search(WIDE, data, engine, members, epochs, batch_size, seed=2)
    peak = resident("VmHWM") - base
    arrays = arrays_of(WIDE(keras_tuner.HyperParameters()), members, batch_size, data)
    ratio = peak / sum(arrays.values())
    return {"members": members, "base": base, "peak": peak, "arrays": arrays, "ratio": ratio, **asdict(searched)}


def show(rows: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the comparison of each task."""
    table = Table("task", "trials", "kerasbn, a minute", "KerasTuner, a minute", "ratio", "asked, aim", "best scores")
    for row in rows.values():
        rates = [f"{row['trials_a_minute'][side]:.1f}" for side in ("kerasbn", THEIRS)]
        ratio = f"{row['ratio']:.2f} ({min(row['ratios']):.2f} to {max(row['ratios']):.2f})"
        best = " ".join(f"{row['best'][side]:.4f}" for side in ("kerasbn", THEIRS))
        table.add_row(row["title"], str(row["trials"]), *rates, ratio, f"{row['asked']:g}, {row['aim']:g}", best)
    console.print(table)
    for row in rows.values():
        count = row["KerasTuner's trials"]
        if count < row["trials"]:
            console.print(
                f"{row['title']}: KerasTuner trained {count} trials; the rest are counted as the mean after the first."
            )


def processor() -> str:
    """Return what the CPU calls itself, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Read the arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS, "memory"], default=[*TASKS, "memory"], metavar="NAME")
    parser.add_argument("--letter", type=Path, help="letter.csv")
    parser.add_argument("--fashion", type=Path, help="fashion_mnist.npz")
    parser.add_argument("--repeats", type=int, default=3, help="searches of each side, by turns (3)")
    parser.add_argument("--trials", type=int, help="of each search (the task's number)")
    parser.add_argument("--keras-tuner-trials", type=int, help="of KerasTuner's, at least 2 (as many as ours)")
    parser.add_argument("--epochs", type=int, help="of each trial (the task's number)")
    parser.add_argument("--engine", default="auto", help="of kerasbn (auto)")
    parser.add_argument("--members", type=int, default=64, help="of the stack whose memory is measured (64)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    rows: dict[str, dict[str, Any]] = {}
    memory: dict[str, Any] | None = None
    for name in options.tasks:
        if name == "memory":
            memory = in_a_process(measure_memory, options.engine, options.members, options.epochs or 2)
            continue
        task = TASKS[name]
        path = getattr(options, task.file) if task.file else None
        if task.file and path is None:
            console.print(f"left out: {task.title}; --{task.file} was not given")
        elif path is not None and not path.is_file():
            console.print(f"left out: {task.title}; there is no file {path}")
        else:
            rows[name] = compare(task, options, path)
    if rows:
        show(rows, console)
    if memory is not None:
        arrays, peak = sum(memory["arrays"].values()), memory["peak"]
        console.print(
            f"memory of {memory['members']} models at once: {peak / 1e6:.0f} MB at the peak, their arrays have "
            f"{arrays / 1e6:.0f} MB: {memory['ratio']:.2f} times (at most {MOST_MEMORY})"
        )
    if options.json:
        machine = {"processor": processor(), **environment()}
        files.write_json(options.json, {"tasks": rows, "memory": memory, "environment": machine})


if __name__ == "__main__":
    main()
