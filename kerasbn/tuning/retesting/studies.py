"""The re-test of a study of `kerasbn tune`: today's data, split anew in each replicate, and the next command."""

import dataclasses
import datetime
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from kerasbn import data, files, layout
from kerasbn.checks import InputError
from kerasbn.config import TuneConfig, read_config, to_dict
from kerasbn.data import Dataset, Inputs, Splits
from kerasbn.data.dataset import take
from kerasbn.tuning.draws import trial_seed
from kerasbn.tuning.retesting.narrowing import search_options
from kerasbn.tuning.retesting.reruns import Fit
from kerasbn.tuning.retesting.trials import NO_EXECUTION, OnRerun, RetestResult, Say, Source, retest_from
from kerasbn.tuning.space.factory import FactoryHyperModel
from kerasbn.tuning.store.contents import read_study

SEARCH = "search.yaml"  # the config of `kerasbn tune`, in its study's directory


def _joined(first: Inputs, second: Inputs) -> Inputs:
    if isinstance(first, dict):
        assert isinstance(second, dict)
        return {name: np.concatenate([column, second[name]]) for name, column in first.items()}
    return np.concatenate([first, np.asarray(second)])


def split_anew(splits: Splits, seed: int) -> Splits:
    """Return the same examples with others of them for validation; the test examples stay what they are.

    Args:
        splits: The three parts.
        seed: Of the split, which is stratified.

    Returns:
        As many training and validation examples as before.
    """
    inputs = _joined(splits.train.inputs, splits.validation.inputs)
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    size = len(splits.validation)
    train, validation = train_test_split(np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels)
    parts = [Dataset(take(inputs, index), labels[index]) for index in (train, validation)]
    return dataclasses.replace(splits, train=parts[0], validation=parts[1])


def _columns(schema: Mapping[str, Any]) -> dict[str, str]:
    return {column["name"]: column["type"] for column in schema.get("columns", ())}


def _check_like(splits: Splits, directory: Path, source: str) -> tuple[str, ...]:
    """Raise an `InputError` if the data have not the inputs and classes of the study's; or return what is not known."""
    path = directory / layout.DATA
    if not path.is_file():
        return (f"The study has no {layout.DATA}: whether these data have its columns and classes was not checked.",)
    then = files.read_json(path, "--retest")
    was, different = then["schema"], []
    for name in ("kind", "shape"):
        if was.get(name) != (value := splits.schema.get(name)):
            different.append(f"{name} {value} instead of {was.get(name)}")
    old, new = _columns(was), _columns(splits.schema)
    for name in dict.fromkeys((*old, *new)):
        if name not in new:
            different.append(f"no column {name!r}")
        elif name not in old:
            different.append(f"a new column {name!r}")
        elif old[name] != new[name]:
            different.append(f"{name!r} {new[name]} instead of {old[name]}")
    if list(splits.class_names) != then["class_names"]:
        different.append(f"classes {', '.join(splits.class_names)} instead of {', '.join(then['class_names'])}")
    if different:
        remedy = "Hyperparameters of other data are no reference; search anew."
        raise InputError(source, "the columns and classes that the study was made with", "; ".join(different), remedy)
    return ()


def retest(
    study: str | Path,
    data_source: str | None = None,
    *,
    storage: str | None = None,
    top: int = 5,
    random: int = 5,
    replicates: int = 3,
    seed: int = 0,
    on_trial: OnRerun | None = None,
    say: Say = print,
) -> RetestResult:
    """Train the best trials of a study of `kerasbn tune`, and a few others, again on today's data and code.

    As `retest_trials`, and in each replicate the examples are split anew into training and validation, alike for all
    trials, so that the choice of validation examples is part of the noise; the test examples are left alone.

    Args:
        study: The study's directory.
        data_source: Where today's examples come from, as `data.source`; None: from where the study had them.
        storage: URL of the database that the study is in; None: that of its search.yaml.
        top: As `retest_trials`.
        random: As `retest_trials`.
        replicates: As `retest_trials`.
        seed: As `retest_trials`.
        on_trial: As `retest_trials`.
        say: As `retest_trials`.

    Returns:
        As `retest_trials`.

    Raises:
        InputError: As `retest_trials`; or if the data cannot be used, or have other columns or classes.
        TaskError: As `retest_trials`.

    Example:
        >>> config = TuneConfig(name="old", data=DataConfig(source="iris"), search=SearchConfig(max_trials=2, epochs=1))
        >>> directory = tune(config, on_trial=lambda trial: None).directory
        >>> retest(directory, "iris", replicates=2).days
        0
    """
    directory = Path(study)
    if directory.is_dir() and not (directory / SEARCH).is_file():
        remedy = "For a search that was made in Python there is kerasbn.tuning.retest_trials."
        raise InputError("--retest", "a study of `kerasbn tune`", f"{str(study)!r}, which has no {SEARCH}", remedy)
    if not directory.is_dir():
        received = f"{str(study)!r}, which does not exist"
        raise InputError("--retest", "a study's directory", received, "They are <search.output>/<name>.")
    config = read_config(TuneConfig, directory / SEARCH)
    content = read_study(directory, storage or config.search.storage)
    if data_source is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=data_source))
    splits = data.load_splits(config.data)
    notes = _check_like(splits, directory, "--data" if data_source is not None else "data.source")
    content_hash = splits.manifest["content_hash"]
    if content.settings.get("fingerprint", {}).get("data", {}).get("content") == content_hash:
        notes += ("The data are those of the study: what differs are seeds, splits, versions and code.",)

    if config.search.folds is not None:
        folds = f"the mean over {config.search.folds} folds of training and validation examples"
        notes += (f"A score then was {folds}; a re-run is trained once, on a split of them.",)

    def fit_of(replicate: int) -> Fit:
        own = trial_seed(seed, replicate, NO_EXECUTION)
        of_replicate = splits if replicate == 0 else split_anew(splits, own)
        prepared = data.prepare(of_replicate)
        hypermodel = FactoryHyperModel(config, prepared.train, len(splits.class_names))
        return Fit(hypermodel, (prepared.train, prepared.validation), {"seed": own}, own)

    def command_of(verdict: str, ranges: Mapping[str, tuple[Any, ...]]) -> str:
        command, name = ("train", "best.yaml") if verdict == "keep" else ("tune", SEARCH)
        words = ["kerasbn", command, "--config", str(directory / name)]
        if verdict != "keep":
            words += ["--name", f"{config.model_name}-{datetime.date.today():%Y-%m-%d}"]
        words += [] if data_source is None else ["--data.source", data_source]
        return shlex.join(words + (search_options(ranges) if verdict == "narrowly" else []))

    overlap = len(splits.validation) / len(splits.train)
    source = Source(fit_of, {"data": content_hash, "config": to_dict(config)}, overlap, notes, command_of)
    return retest_from(content, source, top, random, replicates, seed, on_trial, say)
