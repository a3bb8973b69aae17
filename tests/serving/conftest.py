"""Artefacts to serve, exported once: an array model, a table model, an image model."""

import keras
import numpy as np
import pytest

from kerasbn import export
from kerasbn.serving import load_artefact

TABLE = {
    "kind": "table",
    "columns": [
        {"name": "sepal length (cm)", "type": "numeric"},
        {"name": "code", "type": "categorical"},
        {"name": "member", "type": "categorical"},
    ],
    "target": "class",
}


def _classifier(inputs, features, classes):
    x = keras.layers.BatchNormalization()(keras.layers.Dense(4)(features))
    return keras.Model(inputs, keras.layers.Dense(classes)(x))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Directories of versions: iris/1 and iris/2 (arrays), people/1 (a table), faces/1 (images)."""
    keras.utils.set_random_seed(0)
    root = tmp_path_factory.mktemp("saved_models")
    for _ in range(2):
        inputs = keras.Input((4,))
        export.export_saved_model(
            _classifier(inputs, inputs, 3),
            root / "iris",
            labels=["setosa", "versicolor", "virginica"],
            schema={"kind": "array", "shape": [4]},
            examples=np.float32([[5.1, 3.5, 1.4, 0.2], [6, 3, 4, 1]]),
        )
    columns = {
        "sepal length (cm)": keras.Input((), name="sepal length (cm)"),
        "code": keras.Input((), name="code", dtype="string"),
        "member": keras.Input((), name="member", dtype="string"),
    }
    features = [
        keras.layers.Reshape((1,))(columns["sepal length (cm)"]),
        keras.layers.StringLookup(vocabulary=["1", "2"], output_mode="one_hot")(columns["code"]),
        keras.layers.StringLookup(vocabulary=["True", "False"], output_mode="one_hot")(columns["member"]),
    ]
    export.export_saved_model(
        _classifier(columns, keras.layers.Concatenate()(features), 2),
        root / "people",
        labels=["<=50K", ">50K"],
        schema=TABLE,
        examples={
            "sepal length (cm)": np.float32([0.1]),
            "code": np.array(["it's 1"]),
            "member": np.array(["True"]),
        },
    )
    inputs = keras.Input((20, 24, 3))
    export.export_saved_model(
        _classifier(inputs, keras.layers.Flatten()(inputs), 2),
        root / "faces",
        labels=["cat", "dog"],
        schema={"kind": "image", "shape": [20, 24, 3], "source": "folder", "color": "rgb"},
        examples=np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3)).astype(np.float32),
    )
    return root


@pytest.fixture(scope="session")
def iris(models):
    """The array model, version 2."""
    return load_artefact(models / "iris")


@pytest.fixture(scope="session")
def people(models):
    """The table model."""
    return load_artefact(models / "people")


@pytest.fixture(scope="session")
def faces(models):
    """The image model."""
    return load_artefact(models / "faces")
