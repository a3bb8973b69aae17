"""What search_quality.py compares: our strategies and KerasTuner's tuners, which look trials up instead of training.

A world is a seed of the benchmark. In it each configuration of the table has one of its training seeds, and every
method sees the curve of that one.
"""

import dataclasses
import json
import math
import random
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras_tuner
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from kerasbn.tuning.draws import Draws, uniform
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies import (
    Bayesian,
    CoarseToFine,
    Grid,
    Hyperband,
    Progress,
    Random,
    Strategy,
    SuccessiveHalving,
)
from kerasbn.tuning.tried import Tried

# KerasTuner's draw number n of seed s is that of Random(s + n): seeds that are close replay each other's trials.
SEED_DISTANCE = 1_000_000
# KerasTuner's Bayesian search computes for half a minute to propose 50 trials, and the longer the more there are.
BAYESIAN, BAYESIAN_TRIALS, BAYESIAN_WORLDS = "KerasTuner Bayesian", 50, 25
LINEAR, CHOICE = ("dropout",), ("batch_size",)  # all others are on a log scale
Place = tuple[int, ...]


class Table:
    """Accuracies of all configurations, by seed and epoch.

    Args:
        path: What search_table.py has written.

    Attributes:
        axes: Values of each hyperparameter.
        curves: Validation accuracies: configuration axes, seed, epoch.
        mean: Those of the best epoch, the mean over seeds: configuration axes.
        test: Test accuracies after the epoch that is best in validation, the mean over seeds.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as table:
            meta = json.loads(str(table["meta"]))
            self.curves = table["validation"] / meta["validation"]
            self.test = table["test"].mean(-1) / (len(meta["order"]) - meta["train"] - meta["validation"])
        self.axes: dict[str, list[float]] = meta["axes"]
        self.mean = self.curves.max(-1).mean(-1)
        self.seeds, self.epochs = self.curves.shape[-2:]

    def ask(self, hp: keras_tuner.HyperParameters, names: list[str]) -> Place:
        """Return where in the table the hyperparameters are that a build function gets, asked for in this order."""
        places = {}
        for name in names:
            axis = self.axes[name]
            low, high, steps = axis[0], axis[-1], len(axis) - 1
            if name in CHOICE:
                value = hp.Choice(name, axis)
            elif isinstance(low, int):
                value = hp.Int(name, low, high, step=round((high / low) ** (1 / steps)), sampling="log")
            elif name in LINEAR:
                value = hp.Float(name, low, high, step=(high - low) / steps)
            else:
                value = hp.Float(name, low, high, step=(high / low) ** (1 / steps), sampling="log")
            places[name] = min(range(len(axis)), key=lambda i: abs(axis[i] - value))
        return tuple(places[name] for name in self.axes)


@dataclass
class Search:
    """A search of a world: what it has spent, and what it would choose.

    Args:
        table: Where trials are looked up.
        world: Which world.
        trials: Trials begun.
        epochs: Epochs of all of them together.
        best: Highest accuracy that was seen.
        steps: After each part of a trial: trials, epochs, and regret and test accuracy of the configuration that has
            shown the highest validation accuracy so far.
    """

    table: Table
    world: int
    trials: int = 0
    epochs: int = 0
    best: float = -math.inf
    steps: list[tuple[int, int, float, float]] = dataclasses.field(default_factory=list)

    def look_up(self, place: Place, begin: int, end: int) -> float:
        """Return the highest accuracy of a configuration in some of its epochs."""
        seed = int(uniform(self.world, 0, f"seed of {place}") * self.table.seeds)
        score = float(self.table.curves[place][seed, begin:end].max())
        self.trials += begin == 0
        self.epochs += end - begin
        regret, test = self.steps[-1][2:] if self.steps else (math.nan, math.nan)
        if score > self.best:
            regret, test = float(self.table.mean.max() - self.table.mean[place]), float(self.table.test[place])
            self.best = score
        self.steps.append((self.trials, self.epochs, regret, test))
        return score


def search_with(strategy: Strategy, table: Table, world: int, trials: int) -> Search:
    """Search a world with one of our strategies, until both the trials and the epochs of so many are spent."""
    search = Search(table, world)
    names = list(table.axes)
    if isinstance(strategy, Grid):  # has no other randomness than the order in which it is asked
        random.Random(world).shuffle(names)
    finished: dict[int, TrialRecord] = {}
    waiting: dict[int, TrialRecord] = {}
    places: dict[int, Place] = {}
    progress, tried = Progress("max", finished, waiting), Tried()
    while search.trials < trials or search.epochs < trials * table.epochs:
        job = next(strategy.jobs(progress, table.mean.size))
        number = job.number
        record = waiting.pop(number, None)
        if record is None:
            new = tried.first_new(strategy, partial(strategy.choose, world, number, progress=progress))
            assert new is not None, "the table has more configurations than any search tries"
            hp = Draws(world, number, new[0], choose=new[1])
            places[number] = table.ask(hp, names)
            tried.add(hp)
            record = TrialRecord(number, "waiting", None, hp)
        if job.stop:
            finished[number] = dataclasses.replace(record, status="stopped")
            continue
        end = job.epochs or table.epochs
        score = max(search.look_up(places[number], record.epochs, end), record.score or 0.0)
        status = "completed" if job.final else "waiting"
        (finished if job.final else waiting)[number] = dataclasses.replace(
            record, status=status, score=score, epochs=end
        )
    return search


def search_with_keras_tuner(kind: Any, table: Table, world: int, **settings: Any) -> Search:
    """Search a world with one of KerasTuner's tuners, whose trials look up instead of training."""
    search = Search(table, world)
    names = list(table.axes)
    space = keras_tuner.HyperParameters()
    table.ask(space, names)

    class LooksUp(kind):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            values = trial.hyperparameters.values
            begin, end = values.get("tuner/initial_epoch", 0), values.get("tuner/epochs", table.epochs)
            # As if a promoted trial went on where it was; KerasTuner's goes back to its best epoch.
            return {"val_accuracy": search.look_up(table.ask(trial.hyperparameters, names), begin, end)}

    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of its Gaussian process, at every other trial
        tuner = LooksUp(
            hyperparameters=space,
            objective=keras_tuner.Objective("val_accuracy", "max"),
            seed=1 + world * SEED_DISTANCE,
            directory=directory,
            **settings,
        )
        tuner.search(verbose=0)
    return search


def _ours(make: Callable[[Table], Strategy]) -> Callable[[Table, int, int], Search]:
    return lambda table, world, trials: search_with(make(table), table, world, trials)


def _random_by_keras_tuner(table: Table, world: int, trials: int) -> Search:
    return search_with_keras_tuner(keras_tuner.RandomSearch, table, world, max_trials=trials)


def _bayesian_by_keras_tuner(table: Table, world: int, trials: int) -> Search:
    trials = min(trials, BAYESIAN_TRIALS)
    return search_with_keras_tuner(keras_tuner.BayesianOptimization, table, world, max_trials=trials)


def _hyperband_by_keras_tuner(table: Table, world: int, trials: int) -> Search:
    rounds = math.ceil(trials * table.epochs / 350)  # one costs 375 epochs
    settings = {"max_epochs": table.epochs, "factor": 3, "hyperband_iterations": rounds}
    return search_with_keras_tuner(keras_tuner.Hyperband, table, world, **settings)


METHODS: Mapping[str, Callable[[Table, int, int], Search]] = MappingProxyType(
    {
        "random": _ours(lambda table: Random()),
        "grid": _ours(lambda table: Grid()),
        "coarse to fine": _ours(lambda table: CoarseToFine()),
        "TPE": _ours(lambda table: Bayesian("tpe")),
        "successive halving": _ours(lambda table: SuccessiveHalving(table.epochs)),
        "Hyperband": _ours(lambda table: Hyperband(table.epochs)),
        "KerasTuner random": _random_by_keras_tuner,
        BAYESIAN: _bayesian_by_keras_tuner,
        "KerasTuner Hyperband": _hyperband_by_keras_tuner,
    }
)
