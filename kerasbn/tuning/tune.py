"""What `kerasbn tune` does: a config in; a study, the best config and a table of all trials out."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kerasbn import config as configs
from kerasbn import data, files, layout
from kerasbn.config import SearchConfig, TrainConfig, TuneConfig
from kerasbn.data import Features, Prepared
from kerasbn.schedules import PiecewiseConstant
from kerasbn.tuning.engine import OnEpoch
from kerasbn.tuning.folds import fold_ids, of_fit
from kerasbn.tuning.schedule import following, schedule_of
from kerasbn.tuning.space.factory import FactoryHyperModel, sample_config
from kerasbn.tuning.space.tiers import check_space
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.storage import without_password
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.strategies import (
    Bayesian,
    CoarseToFine,
    Grid,
    Hyperband,
    Population,
    Random,
    Strategy,
    SuccessiveHalving,
)
from kerasbn.tuning.tuner import Tuner

# Limits and places, and what the study's settings say by themselves.
_NOT_IN_FINGERPRINT = (
    *("max_trials", "max_minutes", "total_epochs", "keep_models", "engine", "output", "storage", "lease_seconds"),
    *("seed", "strategy", "min_epochs", "interval", "factor", "executions", "folds"),
)


@dataclass(frozen=True)
class TuneResult:
    """What a search left.

    Args:
        directory: The study's directory, with journal.log, search.yaml, trials.csv and best.yaml.
        best: The best trial.
        best_config: Its config, with the epochs of a full training run: what best.yaml says.
        trials: All trials, the best first.
        note: Why the search ended before its last trial; else empty.
        earlier: How many of the trials were there before.
        storage: URL of the database that the study is in, without its password; None: a journal in its directory.

    Example:
        >>> result = tune(TuneConfig(search=SearchConfig(max_trials=20)))
        >>> write_config(result.best_config, "best.yaml")
    """

    directory: Path
    best: TrialRecord
    best_config: TrainConfig
    trials: tuple[TrialRecord, ...]
    note: str
    earlier: int = 0
    storage: str | None = None


def _epochs(trial: TrialRecord) -> int:
    """Return how many epochs a trial was trained for; `TrialRecord.epochs` is 0 where the fit's arguments decide."""
    return trial.epochs or max((int(row["epoch"]) + 1 for row in trial.history), default=0)


def trials_table(study: Study) -> pd.DataFrame:
    """Return all trials, the best first: number, status, score, epochs, seconds, and a column a hyperparameter."""
    rows = [
        {"number": t.number, "status": t.status, "score": t.score, "epochs": _epochs(t), "seconds": round(t.seconds, 3)}
        | dict(t.hyperparameters.values)
        for t in study.ranked
    ]
    # The row with the most goes first: of a depth that some have only, units_3 stands next to units_2.
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    table = pd.DataFrame(rows, columns=list(names))
    for name in table.columns:
        values = [row[name] for row in rows if name in row]
        if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
            # A layer that only some trials have would make pandas turn the others' units into fractions.
            table[name] = pd.Series([row.get(name, pd.NA) for row in rows], dtype="Int64")
    return table


def best_config(study: Study, config: TuneConfig) -> TrainConfig:
    """Return the config of the best trial, with the epochs of a full training run instead of a trial's.

    Of a trial that goes on from others, its last values; where only the rate has changed, the schedule of it instead,
    and the trial's epochs.
    """
    schedule = schedule_of(study.ranked[0])
    drawn = [sample_config(following(study.seed, segment), config) for segment in schedule]
    last, rates = drawn[-1], tuple(one.training.learning_rate for one in drawn)
    others = [dataclasses.replace(one.training, learning_rate=rates[-1]) for one in drawn]
    alike = all(training == last.training for training in others) and all(one.model == last.model for one in drawn)
    changes: dict[str, Any] = {"epochs": config.training.epochs}
    if len(schedule) > 1 and alike and last.training.decay == "constant":
        boundaries = tuple(segment.epoch for segment in schedule[1:])
        changes = {"epochs": config.search.epochs, "schedule": PiecewiseConstant(boundaries, rates)}
    return dataclasses.replace(last, training=dataclasses.replace(last.training, **changes))


def strategy_of(search: SearchConfig) -> Strategy:
    """Return the strategy that a config names.

    Args:
        search: See `kerasbn.config.SearchConfig`.

    Returns:
        The strategy.

    Example:
        >>> strategy_of(SearchConfig(strategy="random")).name
        'random'
    """
    if search.strategy == "successive_halving":
        return SuccessiveHalving(search.epochs, search.min_epochs, search.factor)
    if search.strategy == "hyperband":
        return Hyperband(search.epochs, search.factor)
    if search.strategy == "population":
        return Population(search.max_trials, search.epochs, search.interval)
    if search.strategy in ("tpe", "gp"):
        return Bayesian(search.strategy)
    if search.strategy == "coarse_to_fine":
        return CoarseToFine()
    return Grid() if search.strategy == "grid" else Random()


def trials_of(search: SearchConfig) -> int:
    """Return how many trials a search has; of a population, with the copies that take the place of others."""
    strategy = strategy_of(search)
    return strategy.trials if isinstance(strategy, Population) else search.max_trials


def _fingerprint(config: TuneConfig, content_hash: str) -> dict[str, Any]:
    """Return what decides the scores of trials: all of the config but its names, places and limits."""
    values = configs.to_dict(config)
    del values["data"]["source"]  # the content counts: the file may have moved
    values["data"]["content"] = content_hash
    del values["training"]["epochs"]  # of best.yaml; trials have search.epochs
    for other in _NOT_IN_FINGERPRINT:
        del values["search"][other]
    return {name: values[name] for name in ("data", "model", "training", "search")}


def _examples(prepared: Prepared, search: SearchConfig) -> tuple[tuple[Features, ...], Features]:
    """Return what the search is given, and what the first model of a trial is trained on."""
    parts = (prepared.train, prepared.validation)
    if search.folds is None:
        return parts, prepared.train
    # As features: their statistics are those of the training examples, as those of `kerasbn train` with the best.
    inputs, labels = ([getattr(part, name) for part in parts] for name in ("inputs", "labels"))
    both = (Features(np.concatenate(inputs), np.concatenate(labels)),)
    (train, _), _ = of_fit(both, {}, fold_ids(both[0].labels, search.folds, search.seed)[0])
    return both, train


def tune(
    config: TuneConfig,
    on_trial: Callable[[TrialRecord], None] | None = None,
    on_epoch: OnEpoch | None = None,
    overwrite: bool = False,
    on_start: Callable[[Study], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> TuneResult:
    """Search for the best hyperparameters of a config.

    The study is in `<search.output>/<name>/`. After each trial best.yaml (what `kerasbn train --config` takes)
    and trials.csv are up to date, and search.yaml is the config. The same config again goes on where the study ends;
    limits may have changed. With `search.storage` any number of processes work on one study at once.

    Args:
        config: See `kerasbn.config.TuneConfig`.
        on_trial: Called with each finished trial; None: a line is printed.
        on_epoch: Called after each epoch with the trial's number, the epoch (from 0) and its metrics.
        overwrite: Whether an earlier study of the same name is deleted.
        on_start: Called with the study and its earlier trials before the first trial; new ones are added to it.
        say: Called with lines about other processes and the storage; None: they are printed.

    Returns:
        The best trial and all others.

    Raises:
        InputError: If the config cannot be used, or the study there is one of other settings or data, or another
            search is running in it.
        TaskError: If every trial failed; its message has the first one's traceback.
        KeyboardInterrupt: As it came; finished trials are kept.

    Example:
        >>> search = SearchConfig(max_trials=1, epochs=1)
        >>> result = tune(TuneConfig(data=DataConfig(source="iris"), search=search), on_trial=lambda trial: None)
        >>> result.best.number, result.best_config.training.epochs
        (0, 30)
    """
    check_space(config)
    files.check_outside(config.search.output, config.data.source, "search.output")
    splits = data.load_splits(config.data)
    prepared = data.prepare(splits)
    examples, train = _examples(prepared, config.search)
    hypermodel = FactoryHyperModel(config, train, len(splits.class_names))
    files.writable_directory(config.search.output, "search.output")

    def tell(record: TrialRecord) -> None:
        write(search.study)
        (on_trial or search.print_trial)(record)

    def write(study: Study) -> None:
        files.write_text(study.directory / "trials.csv", trials_table(study).to_csv(index=False))
        if study.ranked and study.ranked[0].scored:
            configs.write_config(best_config(study, config), study.directory / "best.yaml")

    search = Tuner(
        hypermodel,
        objective=config.training.monitor,
        strategy=strategy_of(config.search),
        max_trials=trials_of(config.search),
        seed=config.search.seed,
        directory=config.search.output,
        project_name=config.model_name,
        overwrite=overwrite,
        executions_per_trial=config.search.executions,
        folds=config.search.folds,
        engine=config.search.engine,
        keep_models=config.search.keep_models,
        max_minutes=config.search.max_minutes,
        total_epochs=config.search.total_epochs,
        storage=config.search.storage,
        lease_seconds=config.search.lease_seconds,
        fingerprint=_fingerprint(config, splits.manifest["content_hash"]),
        on_trial=tell,
        on_epoch=on_epoch,
        say=say,
    )
    study = search.study
    with study.exclusive():
        earlier = len(study.trials)
        if overwrite:  # what is left of the earlier study
            for name in ("best.yaml", "trials.csv", layout.DATA, "report.*", "retest-*"):
                for path in study.directory.glob(name):
                    path.unlink()
        storage = config.search.storage and without_password(config.search.storage)
        kept = dataclasses.replace(config, search=dataclasses.replace(config.search, storage=storage))
        configs.write_config(kept, study.directory / "search.yaml")
        files.write_json(study.directory / layout.DATA, dict(splits.manifest))
        if on_start is not None:
            on_start(study)
        search.search(*examples)
        write(study)  # also where there was nothing to do but training.epochs has changed
    if search.note and on_trial is None:
        print(search.note)
    ranked = study.ranked
    best = best_config(study, config)
    return TuneResult(study.directory, ranked[0], best, tuple(ranked), search.note, earlier, storage)
