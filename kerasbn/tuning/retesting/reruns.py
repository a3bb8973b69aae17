"""Re-runs: trials of a study that are trained again with given seeds, each kept on the disk as soon as it is done."""

import contextlib
import copy
import dataclasses
import hashlib
import json
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import keras
import keras_tuner

from kerasbn import files
from kerasbn.callbacks import KeepBest
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError
from kerasbn.tuning.engine import build
from kerasbn.tuning.objective import MisuseError, metrics_of
from kerasbn.tuning.store.records import TrialRecord

_LOCK = ".retest.lock"


@dataclass(frozen=True)
class Fit:
    """What trains the configurations in one replicate.

    Args:
        hypermodel: Builds and fits the models.
        arguments: Positional arguments of `hypermodel.fit` after hp and model.
        keywords: Its keyword arguments; callbacks are copied for each re-run.
        seed: Of initial weights, shuffling and dropout, the same for all configurations.
    """

    hypermodel: keras_tuner.HyperModel
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class Rerun:
    """One training of a trial's hyperparameters.

    Args:
        trial: Number of the trial in the study.
        replicate: From 0; re-runs of the same replicate have the same seed and data.
        score: The objective, of the best epoch; None if it failed.
        traceback: Where and why it failed; empty if it did not.
        unknown: Hyperparameters that the hypermodel asked for and the study does not know: they had their defaults.
    """

    trial: int
    replicate: int
    score: float | None
    traceback: str = ""
    unknown: tuple[str, ...] = ()


def train(record: TrialRecord, replicate: int, fit: Fit, objective: keras_tuner.Objective) -> Rerun:
    """Train a model with a trial's hyperparameters.

    Args:
        record: The trial.
        replicate: Which it is.
        fit: What trains it.
        objective: What its best epoch is chosen by.

    Returns:
        What it came to; an exception, and a loss that is not finite, is a failure.

    Raises:
        MisuseError: If the hypermodel is none that could be searched over.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(fit.seed)
    hp = record.hyperparameters.copy()
    try:
        model = build(fit.hypermodel, hp)
        keep_best = KeepBest(objective.name, direction=objective.direction, required=False)
        keywords = dict(fit.keywords)
        keywords["callbacks"] = [*copy.deepcopy(list(keywords.get("callbacks") or ())), keep_best]
        if record.epochs:
            keywords["epochs"] = record.epochs
        metrics = metrics_of(fit.hypermodel.fit(hp, model, *fit.arguments, **keywords), objective)
    except (MisuseError, keras_tuner.errors.FatalError):
        raise
    except Exception:  # recorded with its traceback, and ranks worst
        return Rerun(record.number, replicate, None, traceback.format_exc())
    if name := not_finite(metrics, objective.name):
        return Rerun(record.number, replicate, None, f"{name} is {metrics[name]}: training diverged.\n")
    unknown = tuple(name for name in hp.values if name not in record.hyperparameters.values)
    return Rerun(record.number, replicate, metrics[objective.name], unknown=unknown)


class Kept:
    """Re-runs in a file of the study's directory, a line each: the same command goes on where it was killed.

    Args:
        directory: The study's.
        identity: JSON that decides their scores: the study, data, settings, versions. There is a file for each.
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.path = directory / f".retest-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
        self.reruns: dict[tuple[int, int], Rerun] = {}
        if not self.path.exists():
            return
        *lines, torn = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        for line in lines:
            values = json.loads(line)
            rerun = Rerun(**{**values, "unknown": tuple(values["unknown"])})
            self.reruns[rerun.trial, rerun.replicate] = rerun
        if torn:  # killed while it wrote this line
            files.write_text(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, rerun: Rerun) -> None:
        """Keep a re-run; when this returns it is on the disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(rerun)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.reruns[rerun.trial, rerun.replicate] = rerun

    def remove(self) -> None:
        """Remove the file, when the re-runs are kept elsewhere."""
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a study for one re-test at a time; a process that is killed lets it go.

    Raises:
        InputError: If another process tests it again.
    """
    lock = filelock.FileLock(directory / _LOCK)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        received = "a second one while another is running"
        raise InputError(f"The study {directory}", "one re-test at a time", received, "Wait for its end.") from None
    try:
        yield
    finally:
        lock.release()
