"""The re-test of a study: its best trials and a few others are trained again, and a verdict on what was chosen."""

import dataclasses
import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn import checks, files
from kerasbn.callbacks.keep_best import sign_of
from kerasbn.checks import InputError, TaskError
from kerasbn.training.environment import environment
from kerasbn.tuning.draws import trial_seed, uniform
from kerasbn.tuning.engine import BuildFunction, quick_collections
from kerasbn.tuning.folds import fold_ids, labels_of
from kerasbn.tuning.folds import of_fit as of_fold
from kerasbn.tuning.retesting.narrowing import ranges_around
from kerasbn.tuning.retesting.reruns import Fit, Kept, Rerun, held, train
from kerasbn.tuning.retesting.staleness import Staleness, assess
from kerasbn.tuning.store.records import StudyContent, TrialRecord
from kerasbn.tuning.store.settings import of_fit

_BEST = 3  # re-run trials that a narrow search is put around
NO_EXECUTION = -1  # so that no seed is one that the study has used

# Called after each re-run with it, how many are done, and how many there are.
OnRerun = Callable[[Rerun, int, int], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Retested:
    """A trial of the study that was trained again.

    Args:
        record: As it was.
        role: "incumbent", "top", or "random": drawn from the others.
        scores: The objective today in each replicate; None for a failure.
        tracebacks: Of the replicates that failed.
    """

    record: TrialRecord
    role: str
    scores: tuple[float | None, ...]
    tracebacks: tuple[str, ...]


@dataclass(frozen=True)
class RetestResult:
    """What a re-test came to.

    Args:
        path: The file that all of it is kept in: retest-<date>.json in the study's directory.
        study: The study.
        trials: The trials that were trained again, the incumbent first, then by their old ranks.
        staleness: The statistics and the verdict.
        days: Age of the study in days; None if it is not known.
        versions: What has another version than when the study was begun: old and new by name.
        ranges: Where to search if narrowly: around the trials that are the best today.
        command: What to do next; empty where only the caller can know.
        notes: What else to know: sentences.

    Example:
        >>> result = retest("studies/flowers", "flowers_today.csv")
        >>> verdict = result.staleness.verdict
    """

    path: Path
    study: StudyContent
    trials: tuple[Retested, ...]
    staleness: Staleness
    days: int | None
    versions: Mapping[str, tuple[str, str]]
    ranges: Mapping[str, tuple[Any, ...]]
    command: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        trials = [
            {"number": t.record.number, "role": t.role, "old": t.record.score, "new": list(t.scores)}
            | {"hyperparameters": dict(t.record.hyperparameters.values), "tracebacks": list(t.tracebacks)}
            for t in self.trials
        ]
        return {
            "study": self.study.name,
            "created": self.study.created,
            "objective": {"name": self.study.objective.name, "direction": self.study.objective.direction},
            "trials": trials,
            **dataclasses.asdict(self.staleness),
            **{name: getattr(self, name) for name in ("days", "versions", "ranges", "command", "notes")},
        }


def choose(content: StudyContent, top: int, random: int, seed: int) -> list[tuple[TrialRecord, str]]:
    """Return the trials to train again with their roles: the best ones, and others spread over the remaining ranks.

    Args:
        content: The study.
        top: Of how many of the best, the incumbent among them.
        random: How many of the others: one drawn from each of so many equal parts of their ranks.
        seed: Of these draws.

    Returns:
        The best first. Of a study that stops bad trials early, only those that were trained to the end; of one whose
        trials go on from others, only those that do not.

    Raises:
        InputError: If there are fewer than two, or the best one went on from another.
    """
    completed = [t for t in content.ranked if t.status == "completed"]
    longest = max((t.epochs for t in completed), default=0)
    completed = [t for t in completed if t.epochs == longest]
    if completed and (best := completed[0]).notes.get("ancestors"):
        received = f"trial {best.number}, which went on from trial {best.notes['ancestors'][-1]['trial']}"
        remedy = "Train by its schedule again: kerasbn.tuning.replay."
        raise InputError(f"The study {content.directory}", "a best trial of one set of values", received, remedy)
    completed = [t for t in completed if not t.notes.get("ancestors")]
    others = completed[top:]
    parts = np.array_split(np.arange(len(others)), min(random, len(others)) or 1)
    drawn = [others[part[int(uniform(seed, i, "retest") * len(part))]] for i, part in enumerate(parts) if len(part)]
    chosen = completed[:top] + drawn * bool(random)
    if len(chosen) < 2:
        remedy = "With nothing to compare the incumbent with, search anew."
        raise InputError(f"The study {content.directory}", "at least 2 completed trials", len(completed), remedy)
    return [(t, "incumbent" if i == 0 else "top" if i < top else "random") for i, t in enumerate(chosen)]


@dataclass(frozen=True)
class Source:
    """What trials are trained on again.

    Args:
        fit_of: Gives what trains a replicate.
        identity: JSON that says which data and hypermodel these are, as far as that can be said.
        overlap: As `kerasbn.tuning.retesting.staleness.assess`.
        notes: What to know of it: sentences.
        command_of: Gives the command to give next for what was found.
    """

    fit_of: Callable[[int], Fit]
    identity: Mapping[str, Any]
    overlap: float = 0.0
    notes: tuple[str, ...] = ()
    command_of: Callable[[str, Mapping[str, tuple[Any, ...]]], str] = lambda verdict, ranges: ""


def _changed_versions(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what differs of two environments, old and new by name."""

    def flat(values: Mapping[str, Any]) -> dict[str, Any]:
        named = {name: values.get(name) for name in ("python", "git_revision")}
        return named | dict(values.get("libraries", {}))

    old, new = flat(then), flat(now)
    return {name: (str(old.get(name)), str(new[name])) for name in new if then and old.get(name) != new[name]}


def _age(created: str, now: datetime.datetime) -> int | None:
    return (now - datetime.datetime.fromisoformat(created)).days if created else None


def _free_path(directory: Path, now: datetime.datetime) -> Path:
    """Return where a re-test of this day is kept; an earlier one is not overwritten."""
    names = [f"retest-{now:%Y-%m-%d}.json", *(f"retest-{now:%Y-%m-%d}-{number}.json" for number in range(2, 1000))]
    return next(directory / name for name in names if not (directory / name).exists())


def _train_all(
    chosen: Sequence[tuple[TrialRecord, str]],
    replicates: int,
    fit_of: Callable[[int], Fit],
    kept: Kept,
    objective: keras_tuner.Objective,
    on_trial: OnRerun | None,
) -> None:
    """Train what is not kept yet, replicate by replicate: after the first, all have been trained once."""
    total = len(chosen) * replicates
    for replicate in range(replicates):
        missing = [record for record, _ in chosen if (record.number, replicate) not in kept.reruns]
        fit = fit_of(replicate) if missing else None
        for record in missing:
            assert fit is not None
            rerun = train(record, replicate, fit, objective)
            kept.add(rerun)
            if on_trial is not None:
                wanted = {(t.number, r) for t, _ in chosen for r in range(replicates)}
                on_trial(rerun, len(wanted & kept.reruns.keys()), total)
        first = [kept.reruns[record.number, replicate] for record, _ in chosen]
        if all(rerun.score is None for rerun in first):
            kept.remove()  # what failed so is mended in the code, not gone on with
            raise TaskError(
                f"All {len(first)} trials fail today: that is a change of code, versions or data that no "
                f"hyperparameters mend. The first one with:\n{first[0].traceback}"
            )


def retest_from(
    content: StudyContent,
    source: Source,
    top: int,
    random: int,
    replicates: int,
    seed: int,
    on_trial: OnRerun | None,
    say: Say,
) -> RetestResult:
    """Train trials of a study again and return what that comes to; arguments as `retest_trials` has them."""
    checks.in_range("top", top, 1, integer=True)
    checks.in_range("random", random, 0, integer=True)
    checks.in_range("replicates", replicates, 2, 1000, integer=True, remedy="One alone does not show the noise.")
    checks.in_range("seed", seed, 0, integer=True)
    now, here = datetime.datetime.now().astimezone(), environment()
    chosen = choose(content, top, random, seed)
    identity = {"study": [content.name, content.created], "settings": dict(content.settings), "seed": seed}
    identity |= {name: here[name] for name in ("python", "libraries", "git_revision")} | dict(source.identity)
    directory = files.writable_directory(content.directory, "study")
    with held(directory):
        kept = Kept(directory, identity)
        if kept.reruns:
            say(f"Going on: {len(kept.reruns)} re-runs are there already.")
        try:
            with quick_collections():
                _train_all(chosen, replicates, source.fit_of, kept, content.objective, on_trial)
        finally:
            keras.utils.clear_session()
        result = _result(content, source, chosen, kept, replicates, _free_path(directory, now), now, here)
        files.write_json(
            result.path, {"date": now.isoformat(timespec="seconds"), **result.to_json(), "environment": here}
        )
        kept.remove()
    return result


def _result(
    content: StudyContent,
    source: Source,
    chosen: Sequence[tuple[TrialRecord, str]],
    kept: Kept,
    replicates: int,
    path: Path,
    now: datetime.datetime,
    here: Mapping[str, Any],
) -> RetestResult:
    """Return what all re-runs come to."""
    rows = [[kept.reruns[record.number, r] for r in range(replicates)] for record, _ in chosen]
    sign = sign_of(content.objective.direction)
    new = np.array([[math.nan if rerun.score is None else sign * rerun.score for rerun in row] for row in rows])
    old = np.array([sign * (record.score or 0.0) for record, _ in chosen])
    best = sum(role != "random" for _, role in chosen)
    models = int(content.settings.get("executions_per_trial", 1)) * int(content.settings.get("folds", 1))
    staleness = assess(old, new, best, models, source.overlap)
    order = sorted((i for i, mean in enumerate(staleness.means) if mean is not None), key=lambda i: -new[i].mean())
    ranges = ranges_around([chosen[i][0] for i in order[:_BEST]])
    unknown = sorted({name for row in rows for rerun in row for name in rerun.unknown})
    defaults = (f"The study does not know {', '.join(unknown)}: every re-run had the default.",) * bool(unknown)
    return RetestResult(
        path=path,
        study=content,
        trials=tuple(
            Retested(record, role, tuple(r.score for r in row), tuple(r.traceback for r in row if r.traceback))
            for (record, role), row in zip(chosen, rows, strict=True)
        ),
        staleness=staleness,
        days=_age(content.created, now),
        versions=_changed_versions(content.environment, here),
        ranges=ranges,
        command=source.command_of(staleness.verdict, ranges),
        notes=(*source.notes, *defaults),
    )


def retest_trials(
    content: StudyContent,
    hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model],
    fit_args: Sequence[Any] = (),
    fit_kwargs: Mapping[str, Any] | None = None,
    *,
    top: int = 5,
    random: int = 5,
    replicates: int = 3,
    seed: int = 0,
    on_trial: OnRerun | None = None,
    say: Say = print,
) -> RetestResult:
    """Train the best trials of any study, and a few others, again; say whether they are still the best.

    Every trial is trained `replicates` times, with the same seeds for all, so that what a seed does to all of them
    does not count. Finished re-runs are kept in the study's directory: the same call goes on where it was killed,
    as long as settings, versions, git revision and arrays are the same; of other data, such as a `tf.data.Dataset`,
    only the type is known. The validation examples are the same in all replicates, so their choice is not part of the
    noise: a difference may be one on these examples only. Of a study with folds, each replicate holds out one of as
    many folds, drawn anew, alike for all trials.

    Args:
        content: The study, from `kerasbn.tuning.read_study`.
        hypermodel: Today's `keras_tuner.HyperModel` or build function.
        fit_args: Positional arguments of `fit`, as those of the search: today's data.
        fit_kwargs: Its keyword arguments.
        top: How many of the best trials, the incumbent among them, at least 1.
        random: How many others, spread over the remaining ranks, at least 0.
        replicates: Trainings of each, at least 2.
        seed: Of the replicates and of the choice of the others, at least 0.
        on_trial: Called after each re-run with it (`kerasbn.tuning.retesting.reruns.Rerun`), how many are done, and
            how many there are.
        say: Called with a line about earlier re-runs.

    Returns:
        Scores, statistics and the verdict, by the rule of `kerasbn.tuning.retesting.staleness.assess`; it is also in
        retest-<date>.json in the study's directory.

    Raises:
        InputError: If an argument is out of its range, the study has fewer than two completed trials, another
            re-test is running in it, or the hypermodel is none that could be searched over.
        TaskError: If all trials fail today; its message has the first one's traceback.

    Example:
        >>> class Parabola(keras_tuner.HyperModel):
        ...     def build(self, hp):
        ...         return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        ...     def fit(self, hp, model, **others):
        ...         return (hp.Float("x", -1, 1) - 0.2) ** 2
        >>> tuner = RandomSearch(Parabola(), max_trials=8, seed=0, project_name="p", on_trial=lambda trial: None)
        >>> tuner.search()
        >>> retest_trials(read_study("p"), Parabola(), replicates=2).staleness.verdict
        'keep'

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: hyperparameters tuning in practice, re-test
    occasionally.
    """
    if not isinstance(hypermodel, keras_tuner.HyperModel):
        hypermodel = BuildFunction(hypermodel)
    model, keywords, folds = hypermodel, dict(fit_kwargs or {}), content.settings.get("folds")
    labels = None if folds is None else labels_of(fit_args, keywords)

    def fit_of(replicate: int) -> Fit:
        own = trial_seed(seed, replicate, NO_EXECUTION)
        if folds is None:
            return Fit(model, fit_args, keywords, own)
        return Fit(model, *of_fold(fit_args, keywords, fold_ids(labels, folds, own)[0]), own)

    overlap = 0.0 if folds is None else 1 / (folds - 1)
    source = Source(fit_of, {"fit": of_fit(fit_args, keywords)}, overlap)
    return retest_from(content, source, top, random, replicates, seed, on_trial, say)
