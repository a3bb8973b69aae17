"""The weights of the best trials: a file for each in the study's directory."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import keras_tuner
import numpy as np

from kerasbn import files
from kerasbn.checks import InputError
from kerasbn.tuning.engine import build
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study


def path_of(study: Study, record: TrialRecord) -> Path:
    """Return where the weights of a trial are, if they are kept."""
    return study.directory / f"trial-{record.number:05d}.npz"


def write(study: Study, record: TrialRecord, weights: Sequence[np.ndarray]) -> None:
    """Write the weights of a trial, as `keras.Model.get_weights` gives them."""
    with files.whole_file(path_of(study, record)) as temporary:
        np.savez(temporary, *weights)


def prune(study: Study, kept: Iterable[TrialRecord]) -> None:
    """Delete the weights of all trials that the study knows but those that are kept."""
    names = {path_of(study, record).name for record in kept}
    # Not of those that it does not know: another worker may have written them a moment ago.
    known = {path_of(study, record).name for record in study.ranked}
    for path in study.directory.glob("trial-*.npz"):
        if path.name in known - names:
            path.unlink(missing_ok=True)


def best_models(study: Study, hypermodel: keras_tuner.HyperModel, num_models: int) -> list[keras.Model]:
    """Return the models of the best trials with the weights of their best epochs; see `RandomSearch`."""
    models: list[keras.Model] = []
    for record in [t for t in study.ranked if t.scored][:num_models]:
        path = path_of(study, record)
        if not path.exists():
            elsewhere = f" It was trained by {record.worker}." if study.storage is not None else ""
            raise InputError(
                "num_models",
                f"at most as many as were kept here, {len(models)}",
                num_models,
                f"Search with keep_models={num_models}; or build trial {record.number} anew from "
                f"get_best_hyperparameters({num_models}).{elsewhere}",
            )
        model = build(hypermodel, record.hyperparameters.copy())
        if not model.built:  # such as a Sequential without Input
            model.build_from_config(dict(record.build_config or {}))
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                kept = [arrays[name] for name in arrays.files]
        except (*files.NOT_NUMPY, AttributeError) as error:  # AttributeError: one array alone
            remedy = f"It is damaged: build trial {record.number} anew from get_best_hyperparameters({num_models})."
            raise InputError("study", "readable weights", f"{str(path)!r} ({error})", remedy) from error
        model.set_weights(kept)
        models.append(model)
    return models
