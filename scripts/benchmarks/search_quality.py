"""How good the configurations are that searches choose: regret against trials and epochs, on a table of real training.

python scripts/benchmarks/search_quality.py [--worlds 100] [--trials 100] [--methods NAME ...] [--output DIRECTORY]

search_table.npz has the learning curves of 2,304 configurations of a small net on the digits, each with four seeds
(see search_table.py), so a search of 100 trials takes milliseconds. In each of 100 independent worlds every method
searches by the validation accuracy of one training seed a configuration, that of the best epoch. After any number of
trials or epochs it would choose the configuration with the highest accuracy that it has seen. That is judged by the
mean over all seeds of the accuracy when trained to the end: regret is what the best configuration of the table has
more. Confidence intervals are of the mean over the worlds, by bootstrap; "against random" compares world by world.

A trial of successive halving and Hyperband is one that is begun, however early it is stopped; by epochs, all methods
have spent the same. KerasTuner's tuners search the same worlds, without training, with seeds so far apart that they
share no draws. Its Bayesian search takes half a minute for 50 trials, so it has only as many, in 25 worlds.

Prints tables, writes search_quality.json and draws search_quality.png. About half an hour on two CPU cores; Ctrl-C
ends it with the worlds that are done.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Matrices of 50 x 50 on several threads, which wait for each other, take ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table as Rows
from search_quality_methods import BAYESIAN, BAYESIAN_WORLDS, METHODS, Search, Table
from search_quality_picture import draw

from kerasbn import files
from kerasbn.training.environment import environment

RANDOM = "random"
RESAMPLES = 10_000
Interval = tuple[float, float, float]


def at(search: Search, spent: list[int], column: int, value: int) -> np.ndarray:
    """Return a value of a search when it had spent so many trials (column 0) or epochs (1); NaN where it has not.

    Args:
        search: The search.
        spent: Trials or epochs.
        column: Of `Search.steps`: which of them.
        value: Of `Search.steps`: 2 for the regret, 3 for the test accuracy.

    Returns:
        One value for each of `spent`.
    """
    steps = np.array(search.steps)
    # The last step within what is spent: promotions cost epochs and no trial.
    last = np.searchsorted(steps[:, column], spent, side="right") - 1
    values = np.where(last >= 0, steps[last, value], np.nan)
    return np.where(np.array(spent) <= steps[-1, column], values, np.nan)


def interval(values: np.ndarray) -> Interval | None:
    """Return mean and 95% bootstrap interval of what the worlds have; None if one of them has nothing."""
    if not len(values) or np.isnan(values).any():
        return None
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def against(searches: dict[str, dict[int, Search]], name: str, spent: list[int], column: int) -> list[Interval | None]:
    """Return by how much less a method's regret is than that of random search in the same worlds."""
    worlds = sorted(set(searches[name]) & set(searches.get(RANDOM, {})))
    rows = [at(searches[RANDOM][w], spent, column, 2) - at(searches[name][w], spent, column, 2) for w in worlds]
    return [interval(values) for values in np.array(rows).reshape(-1, len(spent)).T]


def summary(searches: dict[str, dict[int, Search]], trials: int, epochs: int) -> dict[str, Any]:
    """Return regrets by method: curves, and figures at some budgets.

    Args:
        searches: By method and world.
        trials: Of the budget.
        epochs: Of a trial.

    Returns:
        What the JSON file has.
    """
    grids = {"trials": list(range(1, trials + 1)), "epochs": [epochs * n for n in range(1, trials + 1)]}
    marks = [n for n in (20, 50, 100) if n <= trials] or [trials]
    result: dict[str, Any] = {"budgets": grids, "marks": marks, "methods": {}}
    for name, own in searches.items():
        row: dict[str, Any] = {"worlds": len(own)}
        for column, (what, spent) in enumerate(grids.items()):
            values = np.array([at(search, spent, column, 2) for search in own.values()])
            row[f"regret_by_{what}"] = [interval(v) for v in values.T]
            places = [spent[mark - 1] for mark in marks]
            row[f"less_than_random_by_{what}"] = against(searches, name, places, column)
            test = np.array([at(search, places, column, 3) for search in own.values()])
            row[f"test_by_{what}"] = [interval(v) for v in test.T]
        result["methods"][name] = row
    return result


def show(result: dict[str, Any], console: Console) -> None:
    """Print a table by trials and one by epochs."""
    marks = result["marks"]
    for what in ("trials", "epochs"):
        rows = Rows(title=f"Regret in points of validation accuracy, by {what}: mean and 95% interval")
        rows.add_column("method")
        rows.add_column("worlds", justify="right")
        for mark in marks:
            rows.add_column(f"{result['budgets'][what][mark - 1]} {what}", justify="right")
        rows.add_column("less than random, at the last", justify="right")
        rows.add_column("test %", justify="right")
        for name, row in result["methods"].items():
            regrets = [row[f"regret_by_{what}"][mark - 1] for mark in marks]
            # Of a search that has ended before the last budget, the comparison is at its last one.
            less = [value for value in row[f"less_than_random_by_{what}"] if value]
            test = [value for value in row[f"test_by_{what}"] if value]
            cells = [said(value) for value in regrets]
            last = [said(less[-1]) if less and name != RANDOM else "", f"{100 * test[-1][0]:.2f}" if test else ""]
            rows.add_row(name, str(row["worlds"]), *cells, *last)
        console.print(rows)


def said(value: Interval | None) -> str:
    """Return a mean and its interval in percentage points."""
    if value is None:
        return "-"
    mean, low, high = (100 * v for v in value)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Search all worlds with all methods, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=100, help="independent seeds (100)")
    parser.add_argument("--first", type=int, default=0, help="number of the first world (0)")
    parser.add_argument("--trials", type=int, default=100, help="of a search; as many full trainings by epochs (100)")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("search_table.npz"))
    parser.add_argument("--output", type=Path, default=Path("search_quality"), help="a directory")
    arguments = parser.parse_args()
    console, table, begun = Console(), Table(arguments.table), time.perf_counter()
    searches: dict[str, dict[int, Search]] = {name: {} for name in arguments.methods}
    seconds = dict.fromkeys(arguments.methods, 0.0)
    worlds = range(arguments.first, arguments.first + arguments.worlds)
    try:
        for world in track(worlds, "worlds", console=console):
            for name in arguments.methods:
                if name == BAYESIAN and world - arguments.first >= BAYESIAN_WORLDS:
                    continue
                started = time.process_time()
                searches[name][world] = METHODS[name](table, world, arguments.trials)
                seconds[name] += time.process_time() - started
    except KeyboardInterrupt:
        console.print("Interrupted: the figures are of the worlds that are done.")
    searches = {name: own for name, own in searches.items() if own}
    if not searches:
        return
    result = summary(searches, arguments.trials, table.epochs)
    show(result, console)
    result |= {"configurations": table.mean.size, "best": float(table.mean.max()), "environment": environment()}
    result["cpu_seconds_a_search"] = {name: seconds[name] / len(own) for name, own in searches.items()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    files.write_json(arguments.output / "search_quality.json", result)
    draw(result, arguments.output / "search_quality.png")
    console.print(f"{time.perf_counter() - begun:.0f} s; {arguments.output / 'search_quality.png'}")


if __name__ == "__main__":
    main()
