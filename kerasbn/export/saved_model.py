"""One model into one artefact: a SavedModel with its description, verified before it appears."""

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasbn
from kerasbn import files, layout, schemas
from kerasbn.checks import InputError
from kerasbn.export import signatures, verification, versions
from kerasbn.export.signatures import Input


def _check_labels(labels: Sequence[Any] | None, classes: int) -> list[str]:
    """Return the class names as text; their numbers if there are none."""
    names = [str(label) for label in (range(classes) if labels is None else labels)]
    if len(names) != classes:
        raise InputError("labels", f"a name for each of the {classes} classes", f"{len(names)} names")
    if len(set(names)) != classes:
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError("labels", "a different name for each class", f"{twice!r} more than once")
    return names


def _example(inputs: Sequence[Input], examples: Mapping[str, np.ndarray]) -> Any:
    """Return one example as an item of `instances`: the first that JSON can express, or None."""
    for position in range(len(next(iter(examples.values())))):
        row = {given.name: examples[given.name][position] for given in inputs}
        if all(np.asarray(value).dtype.kind != "f" or np.isfinite(value).all() for value in row.values()):
            # Through its shortest text, or float32 0.1 would be written as 0.10000000149011612.
            plain = {
                name: np.asarray(value).astype(str).astype(float).tolist()
                if np.asarray(value).dtype.kind == "f"
                else np.asarray(value).tolist()
                for name, value in row.items()
            }
            named = len(inputs) > 1 or inputs[0].name != "inputs"
            return plain if named else plain["inputs"]
    return None


def export_saved_model(
    model: keras.Model,
    path: str | os.PathLike[str],
    version: int | None = None,
    *,
    labels: Sequence[Any] | None = None,
    schema: Mapping[str, Any] | None = None,
    details: Mapping[str, Any] | None = None,
    examples: Any = None,
) -> Path:
    """Write a model as a versioned SavedModel that has been checked against it.

    Signatures: `serving_default` gives `probabilities` = softmax(logits), `logits` gives `logits`; both are
    float32, of shape (batch, classes), in inference mode. Their input is `inputs`; a model of named inputs,
    such as a table's, has an input for each of them under its own name, whatever characters it is made of.
    Inputs of float64, float16 and bfloat16 are float32 in the signatures, and uint16 is int32.

    The version appears whole or not at all. Before it does, it is loaded again, and every signature must give
    the model's own probabilities to within 1e-5, for a batch and for a single example.

    Args:
        model: A built functional or sequential model that returns logits, (batch, classes).
        path: Directory of the model's versions; its name is the model's. It is made if need be.
        version: Number of the version directory, at least 1; None: one more than the newest there.
        labels: Names of the classes, in the order of the logits; None: "0", "1", ...
        schema: What the inputs are, as JSON: {"kind": "array" | "image" | "table", ...}; see
            `kerasbn.schemas.check_schema`.
        details: What else the description should say, as JSON, such as metrics.
        examples: Raw inputs to verify with, one array or a dict of columns, examples first; None: zeros, and
            "" for strings.

    Returns:
        The version directory. Beside the SavedModel it has assets.extra/description.json: name, version,
        labels, schema, signatures, details, an example, versions of the software, and when it was created.

    Raises:
        InputError: If the model gives no logits, the version exists, nothing can be written there, or labels,
            schema or examples do not fit the model.
        ExportMismatchError: If what was written answers differently; nothing is left of it.

    Example:
        >>> model = create_model("mlp", (4,), 3)
        >>> export_saved_model(model, "saved_models/plants", labels=["setosa", "versicolor", "virginica"])
        PosixPath('saved_models/plants/1')
    """
    inputs = signatures.read_inputs(model)
    classes = signatures.check_classifier(model)
    names = _check_labels(labels, classes)
    if schema is not None:
        schemas.check_schema(schema, [given.name for given in inputs])
    arrays = verification.check_examples(inputs, examples)
    path = Path(path)
    versions.next_version(path, version)  # before the work, and again when it is done
    expected = verification.keras_probabilities(model, inputs, arrays)
    files.writable_directory(path, "path")
    files.remove_leftovers(path)
    number = versions.next_version(path, version)
    description = {
        "format": layout.DESCRIPTION_FORMAT,
        "name": path.resolve().name,
        "version": number,
        "labels": names,
        "schema": None if schema is None else dict(schema),
        "signatures": signatures.describe(inputs, classes),
        "details": dict(details or {}),
        "example": None if examples is None else _example(inputs, arrays),
        "versions": {
            "python": platform.python_version(),
            "tensorflow": metadata.version("tensorflow"),
            "keras": keras.version(),
            "kerasbn": kerasbn.__version__,
        },
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    directory = path / str(number)
    try:
        with files.whole_directory(directory) as temporary:
            signatures.write_saved_model(model, inputs, temporary)
            (temporary / layout.DESCRIPTION).parent.mkdir()
            files.write_json(temporary / layout.DESCRIPTION, description)
            verification.verify(temporary, inputs, arrays, expected)
    except FileExistsError as error:
        raise versions.taken(directory, max(layout.versions_in(path)) + 1) from error
    return directory
