"""From a run directory to an artefact: what `kerasbn export` does."""

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasbn.layers
import kerasbn.losses  # noqa: F401  (registers what a saved model may hold, as kerasbn.layers does)
from kerasbn import files
from kerasbn.checks import InputError
from kerasbn.config import ExportConfig, TrainConfig, read_config
from kerasbn.export import signatures, verification
from kerasbn.export.saved_model import export_saved_model

_COLUMN = "column:"  # what the names of a table's columns begin with in examples.npz
_TOLERANCE = 1e-4  # of a probability, between the machine that trained and the one that exports


def _read_metrics(run: Path) -> dict[str, Any]:
    metrics = files.read_json(run / "metrics.json", "run")
    status = metrics.get("status") if isinstance(metrics, dict) else None
    if status not in ("complete", "interrupted"):
        raise InputError(
            "run",
            "metrics.json with the status 'complete' or 'interrupted'",
            f"{status!r} in {str(run / 'metrics.json')!r}",
            "Let the training end, or run it again.",
        )
    return metrics


def _read_model(run: Path) -> keras.Model:
    path = run / "model.keras"
    remedy = "Run `kerasbn train` again."
    if not path.is_file():
        raise InputError("run", f"a file {str(path)!r}", "no such file", remedy)
    # Keras tells a damaged file by many kinds of errors, from the archive's to the weights'.
    if not zipfile.is_zipfile(path):
        raise InputError("run", f"a whole Keras model in {str(path)!r}", "a damaged file", remedy)
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            "run", f"a Keras model that can be loaded from {str(path)!r}", f"{type(error).__name__}: {error}", remedy
        ) from error


def _read_examples(run: Path) -> tuple[Any, np.ndarray | None]:
    """Return what examples.npz holds: raw inputs, one array or a dict of columns, and the run's probabilities."""
    path = run / "examples.npz"
    if not path.is_file():
        return None, None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise InputError("run", f"readable examples in {str(path)!r}", error) from error
    columns = {key.removeprefix(_COLUMN): array for key, array in arrays.items() if key.startswith(_COLUMN)}
    return arrays.get("inputs", columns or None), arrays.get("probabilities")


def _check_recorded(run: Path, model: keras.Model, examples: Any, recorded: np.ndarray) -> None:
    """Raise an `InputError` if the model is not the one whose answers the run has written down."""
    inputs = signatures.read_inputs(model)
    given = verification.check_examples(inputs, examples)
    probabilities = verification.keras_probabilities(model, inputs, given)
    if probabilities.shape != recorded.shape or not np.allclose(
        probabilities, recorded, rtol=0, atol=_TOLERANCE, equal_nan=True
    ):
        raise InputError(
            "run",
            f"{str(run / 'model.keras')!r} to give the probabilities in examples.npz",
            f"others: the first {probabilities[0].round(4).tolist()}, not {recorded[0].round(4).tolist()}",
            "One of the two files is not this run's, or TensorFlow computes otherwise on this machine.",
        )


def export_run(config: ExportConfig) -> Path:
    """Export the model of a training run.

    Args:
        config: The run, and where its artefact goes.

    Returns:
        The version directory.

    Raises:
        InputError: If the directory is no run, or its training did not come to an end, or its model is damaged or
            does not give the answers that the run has written down; and as `export_saved_model` does.
        ExportMismatchError: If what was written answers differently; nothing is left of it.

    Example:
        >>> export_run(ExportConfig(run="runs/digits/20260731-101500"))
        PosixPath('saved_models/digits/1')
    """
    run = Path(config.run)
    missing = [name for name in ("config.yaml", "data.json") if not (run / name).is_file()]
    if missing:
        received = f"{config.run!r}, which "
        received += f"has no {missing[0]}" if run.is_dir() else "is no directory"
        raise InputError("run", "a run directory of `kerasbn train`", received, "They are runs/<name>/<time>.")
    trained = read_config(TrainConfig, run / "config.yaml")
    manifest = files.read_json(run / "data.json", "run")
    for key in ("class_names", "schema"):
        if not isinstance(manifest, dict) or key not in manifest:
            raise InputError("run", f"the key {key!r} in {str(run / 'data.json')!r}", "none")
    metrics = _read_metrics(run)
    model = _read_model(run)
    examples, recorded = _read_examples(run)
    if examples is not None and recorded is not None:
        _check_recorded(run, model, examples, recorded)
    return export_saved_model(
        model,
        config.output or Path("saved_models") / trained.model_name,
        config.version,
        labels=manifest["class_names"],
        schema=manifest["schema"],
        details={"run": str(run), "metrics": metrics},
        examples=examples,
    )
