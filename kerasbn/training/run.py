"""A training run: from a config to a run directory, which holds everything there is to know about it."""

import contextlib
import datetime
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasbn import files, layout, models
from kerasbn.callbacks import KeepBest, ShowProgress
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError
from kerasbn.config import TrainConfig, TrainingConfig, read_config, write_config
from kerasbn.data import Features, Inputs, Prepared, Splits, labels, load_splits, prepare
from kerasbn.data.dataset import take
from kerasbn.data.preprocessing import free_name
from kerasbn.progress import reporting
from kerasbn.training import checkpoint, curves
from kerasbn.training.compile import compile_model
from kerasbn.training.environment import environment
from kerasbn.training.evaluation import evaluate, probabilities
from kerasbn.training.fit import History, fit
from kerasbn.training.interrupt import interruptible

_EXAMPLES = 16  # kept with the run, so that an exported model can be checked without the data


@dataclass(frozen=True)
class Run:
    """What a training run left.

    Args:
        directory: The run directory.
        metrics: The content of its metrics.json.

    Example:
        >>> run = train(TrainConfig(name="flowers", data=DataConfig(source="iris"), training=TrainingConfig(epochs=1)))
        >>> run.directory.parent
        PosixPath('runs/flowers')
    """

    directory: Path
    metrics: dict[str, Any]


def _new_directory(config: TrainConfig, manifest: Mapping[str, Any]) -> Path:
    """Return a new run directory, which appears with everything that is known before training."""
    files.writable_directory(config.output, "output")
    parent = files.writable_directory(Path(config.output) / config.model_name, "output")
    files.remove_leftovers(parent)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    directory = next(parent / name for name in names if not (parent / name).exists())
    with contextlib.suppress(FileExistsError):  # another run began in this moment, and took the name
        with files.whole_directory(directory) as temporary:
            write_config(config, temporary / layout.CONFIG)
            files.write_json(temporary / layout.DATA, dict(manifest))
            files.write_json(temporary / layout.ENVIRONMENT, environment())
        return directory
    return _new_directory(config, manifest)


def _build(config: TrainConfig, splits: Splits, train: Features) -> keras.Model:
    """Return the compiled model from features to logits."""
    model = models.from_config(config.model, train.inputs.shape[1:], len(splits.class_names))
    return compile_model(model, config.training, train.labels)


def whole_model(preprocessor: keras.Model, classifier: keras.Model) -> keras.Model:
    """Return the two as one model, from raw inputs to logits.

    Args:
        preprocessor: Raw inputs to features.
        classifier: Features to logits.

    Returns:
        A model that shares their layers and weights.

    Example:
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> model = create_model("mlp", (4,), 3)
        >>> whole_model(prepared.preprocessor, model).output_shape
        (None, 3)
    """
    name = free_name(classifier.name, [tensor.name for tensor in preprocessor.inputs])
    if name != classifier.name:  # a column is called so
        classifier = keras.Model(classifier.input, classifier.output, name=name)
    return keras.Model(preprocessor.input, classifier(preprocessor.output), name=name)


def _write_examples(path: Path, inputs: Inputs, predicted: np.ndarray) -> None:
    """Write raw inputs with the probabilities they get."""
    if isinstance(inputs, dict):
        arrays: dict[str, np.ndarray] = {layout.EXAMPLE_COLUMN + name: column for name, column in inputs.items()}
    else:
        arrays = {"inputs": inputs}
    plain: dict[str, Any] = {
        name: a.astype(str) if a.dtype == object else a for name, a in arrays.items()
    }  # no pickles
    with files.whole_file(path) as temporary:
        np.savez(temporary, **plain, probabilities=predicted.astype(np.float32))


def _write_history(directory: Path, history: History) -> None:
    files.write_text(directory / layout.HISTORY, pd.DataFrame(history).to_csv(index=False))


@contextlib.contextmanager
def _nothing_left_behind(directory: Path) -> Iterator[None]:
    """Remove the directory of a run that cannot be: one that diverged in its first epochs has nothing to keep."""
    try:
        yield
    except InputError:
        shutil.rmtree(directory)
        with contextlib.suppress(OSError):  # earlier runs are in it
            directory.parent.rmdir()
        raise


@contextlib.contextmanager
def _saying_what_was_kept(directory: Path) -> Iterator[None]:
    """Let `KeyboardInterrupt` say what was kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        epochs = checkpoint.epochs_in(directory / layout.CHECKPOINT)
        kept = f"the first {epochs} epochs are kept" if epochs else "no epoch is kept yet"
        raise KeyboardInterrupt(
            f"Stopped in {directory}; {kept}. To go on: kerasbn train --resume {shlex.quote(str(directory))}"
        ) from None


def _in_words(splits: Splits) -> str:
    """Return what there is to train on: what the reader of a file made of it shows here first."""
    sizes = f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test examples"
    words = f"{sizes} of {len(splits.class_names)} classes"
    if splits.schema["kind"] != "table":
        return f"{words}, each {' x '.join(map(str, splits.schema['shape']))}"
    by_type: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for column in splits.schema["columns"]:
        by_type[column["type"]].append(column["name"])
    columns = (f"{len(names)} {kind} ({labels.listed(names)})" for kind, names in by_type.items() if names)
    return f"{words}; columns: {', '.join(columns)}"


def _is_complete(config: TrainingConfig, history: History, keep_best: KeepBest) -> bool:
    if not history:
        return False
    if not_finite(history[-1], config.monitor):  # training stops there
        return True
    since_best = history[-1]["epoch"] - 1 - (keep_best.epoch or 0)
    out_of_patience = config.patience is not None and since_best >= config.patience
    return history[-1]["epoch"] >= config.epochs or out_of_patience


def _finish(
    directory: Path,
    config: TrainConfig,
    splits: Splits,
    prepared: Prepared,
    model: keras.Model,
    history: History,
    keep_best: KeepBest,
    begun: float,
) -> Run:
    """Write what a run ends with: the model, its figures, the picture; metrics.json, last, says it is whole."""
    classes = len(splits.class_names)
    metrics = {
        "status": "complete" if _is_complete(config.training, history, keep_best) else "interrupted",
        "epochs": int(history[-1]["epoch"]),
        "best_epoch": (keep_best.epoch or 0) + 1,
        "diverged": not_finite(history[-1], config.training.monitor) is not None,
        "parameters": model.count_params(),
        "seconds": round(time.monotonic() - begun, 3),
        "validation": evaluate(model, prepared.validation, classes),
        "test": evaluate(model, prepared.test, classes),
    }
    whole = whole_model(prepared.preprocessor, model)
    with files.whole_file(directory / layout.MODEL) as temporary:
        whole.save(temporary)
    features = prepared.test.inputs[:_EXAMPLES]
    _write_examples(
        directory / layout.EXAMPLES, take(splits.test.inputs, slice(_EXAMPLES)), probabilities(model, features)
    )
    _write_history(directory, history)
    title = f"{config.model_name}: {config.model.name}, test accuracy {metrics['test']['accuracy']:.4f}"
    curves.draw(history, metrics["best_epoch"], title, directory / layout.CURVES)
    files.write_json(directory / layout.METRICS, metrics)
    if metrics["status"] == "complete":
        (directory / layout.CHECKPOINT).unlink(missing_ok=True)
    return Run(directory, metrics)


def _train(config: TrainConfig, splits: Splits, directory: Path | None) -> Run:
    begun = time.monotonic()
    keras.utils.set_random_seed(config.training.seed)
    prepared = prepare(splits)
    model = _build(config, splits, prepared.train)
    keep_best = KeepBest(config.training.monitor, config.training.patience)
    history: History = []
    new = directory is None
    if directory is None:
        directory = _new_directory(config, splits.manifest)
    elif (directory / layout.CHECKPOINT).exists():
        history = checkpoint.load(directory / layout.CHECKPOINT, model, keep_best)
    first_epoch = int(history[-1]["epoch"]) if history else 0
    training = config.training
    with _nothing_left_behind(directory) if new else contextlib.nullcontext(), _saying_what_was_kept(directory):
        with (
            reporting(f"training {config.model_name}", training.epochs, "epoch") as report,
            interruptible(report.say) as stop,
        ):
            report.say(_in_words(splits))
            callbacks = [
                ShowProgress(report),
                checkpoint.WriteCheckpoints(directory / layout.CHECKPOINT, keep_best, history),
            ]
            if _is_complete(training, history, keep_best):  # it was killed between its last epoch and its end
                keep_best.set_model(model)
                keep_best.restore()
            else:
                fit(
                    model,
                    prepared.train,
                    prepared.validation,
                    training,
                    callbacks,
                    keep_best=keep_best,
                    first_epoch=first_epoch,
                    history=history,
                    stop=stop,
                )
        return _finish(directory, config, splits, prepared, model, history, keep_best, begun)


def train(config: TrainConfig) -> Run:
    """Train the model that a config describes, and write a run directory.

    The directory is `<output>/<name>/<time>/`, with `config.yaml`, `data.json` (the manifest of the split),
    `environment.json`, `history.csv`, `model.keras` (raw inputs to logits), `metrics.json` (validation and test),
    `examples.npz` and `learning_curves.png`. The same config on the same machine gives the same numbers. The seeds
    of Python, NumPy and TensorFlow are set. Ctrl-C ends training after the epoch, with everything written.

    Args:
        config: See `kerasbn.config.TrainConfig`.

    Returns:
        The run directory and the metrics.

    Raises:
        InputError: If the data, the model or the output directory cannot be used; nothing is left behind.

    Example:
        >>> run = train(TrainConfig(data=DataConfig(source="iris"), training=TrainingConfig(epochs=2)))
        >>> run.metrics["status"], run.metrics["test"]["examples"]
        ('complete', 22)
    """
    files.check_outside(config.output, config.data.source, "output")
    return _train(config, load_splits(config.data), None)


def _read_object(path: Path) -> dict[str, Any]:
    value = files.read_json(path, "--resume")
    if not isinstance(value, dict):
        raise InputError("--resume", f"a JSON object in {str(path)!r}", repr(value), "It is damaged; train anew.")
    return value


def resume(directory: str | Path) -> Run:
    """Go on with a run that was interrupted, from its last checkpoint; the result is as if it never was.

    Args:
        directory: The run directory.

    Returns:
        The run directory and the metrics.

    Raises:
        InputError: If it is no run directory, the run is complete, or the data has changed.

    Example:
        >>> run = resume("runs/digits/20260731-101500")
    """
    directory = Path(directory)
    if not (directory / layout.CONFIG).is_file():
        raise InputError("--resume", "a run directory", f"{str(directory)!r}, which has no config.yaml")
    files.remove_leftovers(directory, 0)  # only now is it known to be a run, which is ours alone
    config = read_config(TrainConfig, directory / layout.CONFIG)
    metrics = directory / layout.METRICS
    if metrics.exists() and _read_object(metrics).get("status") == "complete":
        (directory / layout.CHECKPOINT).unlink(missing_ok=True)  # left by a kill in the last moment
        remedy = "Train anew with `kerasbn train --config`."
        raise InputError("--resume", "an interrupted run", f"{str(directory)!r}, which is complete", remedy)
    splits = load_splits(config.data)
    was = _read_object(directory / layout.DATA)
    different = [key for key, value in splits.manifest.items() if was.get(key) != value]
    if different:
        received = f"another {', '.join(different)} from {config.data.source!r}"
        remedy = "Give the old data back, or train anew with `kerasbn train --config`."
        raise InputError("--resume", f"the split the run began with, as in {layout.DATA}", received, remedy)
    return _train(config, splits, directory)
