"""The artefact: its signatures, its description, and that it appears whole and right or not at all."""

import datetime
import json
import math
import os
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import export
from kerasbn.checks import InputError
from kerasbn.export import signatures, verification
from kerasbn.serving import load_artefact

# What the names of a table's columns may be; most of them are no names of Python's or of a graph's.
COLUMNS = ["sepal length (cm)", "capital-gain", "3d", "_x", "class", "naïve", "日本 😀", "a:b", "column_0", "inputs"]


def array_model(dtype="float32", shape=(4,), classes=3):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape, dtype=dtype)
    x = keras.layers.Lambda(lambda x: tf.cast(x, "float32"), output_shape=shape)(inputs)
    x = keras.layers.Dense(5)(keras.layers.Flatten()(x))
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.Dropout(0.5)(x)))


def table_model(columns=COLUMNS):
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input((), name=name) for name in columns}
    work = inputs["work class"] = keras.Input((), name="work class", dtype="string")
    lookup = keras.layers.StringLookup(vocabulary=["private", "state"], output_mode="one_hot")
    features = [keras.layers.Reshape((1,))(inputs[name]) for name in columns]
    x = keras.layers.Concatenate()([*features, lookup(work)])
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.BatchNormalization()(x)))


def table(columns=COLUMNS, count=5):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=count).astype(np.float32) for name in columns}
    return {**columns, "work class": np.array(["private", "state", "", "other", "state"][:count], object)}


def softmax(logits):
    return np.asarray(tf.nn.softmax(logits))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """An exported array model, its model and its version directory."""
    model = array_model()
    examples = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    path = export.export_saved_model(
        model,
        tmp_path_factory.mktemp("models") / "digits",
        labels=["a", "b", "c"],
        schema={"kind": "array", "shape": [4]},
        details={"metrics": {"accuracy": 0.5}},
        examples=examples,
    )
    return model, path, examples


def test_signatures_of_an_array_model(digits):
    model, path, examples = digits
    loaded = tf.saved_model.load(str(path))
    assert set(loaded.signatures) == {"serving_default", "logits"}
    for count in (1, 6):
        logits = model(examples[:count], training=False)
        answer = loaded.signatures["logits"](inputs=tf.constant(examples[:count]))
        np.testing.assert_allclose(answer["logits"], logits, atol=1e-5)
        answer = loaded.signatures["serving_default"](inputs=tf.constant(examples[:count]))
        np.testing.assert_allclose(answer["probabilities"], softmax(logits), atol=1e-6)
        assert answer["probabilities"].dtype == tf.float32


def test_description(digits):
    _, path, examples = digits
    description = json.loads((path / "assets.extra/description.json").read_text())
    created = datetime.datetime.fromisoformat(description.pop("created"))
    assert created.utcoffset() == datetime.timedelta(0)
    versions = description.pop("versions")
    assert versions["tensorflow"] == tf.__version__
    assert versions["keras"] == keras.__version__
    assert set(versions) == {"python", "tensorflow", "keras", "kerasbn"}
    np.testing.assert_array_equal(np.float32(description.pop("example")), examples[0])
    inputs = {"inputs": {"dtype": "float32", "shape": [None, 4]}}
    output = {"dtype": "float32", "shape": [None, 3]}
    assert description == {
        "format": 1,
        "name": "digits",
        "version": 1,
        "labels": ["a", "b", "c"],
        "schema": {"kind": "array", "shape": [4]},
        "signatures": {
            "serving_default": {"inputs": inputs, "outputs": {"probabilities": output}},
            "logits": {"inputs": inputs, "outputs": {"logits": output}},
        },
        "details": {"metrics": {"accuracy": 0.5}},
    }


def test_columns_keep_their_names(tmp_path):
    model, examples = table_model(), table()
    path = export.export_saved_model(model, tmp_path / "adult", examples=examples)
    expected = softmax(model({name: tf.constant(column) for name, column in examples.items()}, training=False))
    loaded = tf.saved_model.load(str(path))
    tensors = {name: tf.constant(column) for name, column in examples.items()}
    answer = loaded.signatures["serving_default"](**tensors)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    # TensorFlow Serving reads the definitions, and runs them by the graph's tensors.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        definition = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def["serving_default"]
        assert set(definition.inputs) == set(examples)
        assert all(info.tensor_shape.dim[0].size == -1 for info in definition.inputs.values())
        feed = {definition.inputs[name].name: column for name, column in examples.items()}
        answer = session.run(definition.outputs["probabilities"].name, feed)
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    description = json.loads((path / "assets.extra/description.json").read_text())
    assert list(description["signatures"]["serving_default"]["inputs"]) == list(examples)
    assert description["labels"] == ["0", "1"]
    assert description["example"]["work class"] == "private"


@pytest.mark.parametrize("columns", [["self", "age"], ["a b", "a_b"], ["name", "training"]])
def test_columns_that_python_cannot_tell_apart(tmp_path, columns):
    # TensorFlow Serving, which makes no Python calls, takes them like any others.
    model, examples = table_model(columns), table(columns)
    path = export.export_saved_model(model, tmp_path / "m", examples=examples)
    artefact = load_artefact(path)
    expected = softmax(model({name: tf.constant(column) for name, column in examples.items()}, training=False))
    np.testing.assert_allclose(artefact.call("serving_default", examples)["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "edge"), [("uint8", "uint8"), ("float64", "float32"), ("float16", "float32"), ("uint16", "int32")]
)
def test_input_types(tmp_path, dtype, edge):
    model = array_model(dtype)
    path = export.export_saved_model(model, tmp_path / "m")
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    assert signature.structured_input_signature[1]["inputs"].dtype == edge
    values = np.array([[1, 2, 3, 4]], edge)
    expected = softmax(model(values.astype(dtype), training=False))
    np.testing.assert_allclose(signature(inputs=tf.constant(values))["probabilities"], expected, atol=1e-6)


def test_fixed_batch_and_half_precision_models(tmp_path):
    inputs = keras.Input(batch_shape=(8, 4), name="whatever")
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_float16")(inputs))
    path = export.export_saved_model(model, tmp_path / "m", examples=np.ones((5, 4)))
    answer = tf.saved_model.load(str(path)).signatures["serving_default"](inputs=tf.ones((3, 4)))
    assert answer["probabilities"].shape == (3, 3)
    np.testing.assert_allclose(np.sum(answer["probabilities"], axis=1), 1, atol=1e-6)


def test_list_of_one_input(tmp_path):
    inputs = keras.Input((2,), name="left")
    path = export.export_saved_model(keras.Model([inputs], keras.layers.Dense(2)(inputs)), tmp_path / "m")
    signature = tf.saved_model.load(str(path)).signatures["logits"]
    assert list(signature.structured_input_signature[1]) == ["inputs"]


def test_list_of_inputs(tmp_path):
    first, second = keras.Input((2,), name="left"), keras.Input((3,), name="right")
    model = keras.Model([first, second], keras.layers.Dense(2)(keras.layers.Concatenate()([first, second])))
    path = export.export_saved_model(model, tmp_path / "m")
    signature = tf.saved_model.load(str(path)).signatures["logits"]
    logits = signature(left=tf.ones((1, 2)), right=tf.zeros((1, 3)))["logits"]
    np.testing.assert_allclose(logits, model([np.ones((1, 2)), np.zeros((1, 3))]), atol=1e-6)


def test_versions(tmp_path):
    model = array_model()
    for entry in ("4", "tmp", ".tmp-9-9"):
        (tmp_path / "m" / entry).mkdir(parents=True)
    (tmp_path / "m" / "9").write_text("a file is no version")
    assert export.export_saved_model(model, str(tmp_path / "m")) == tmp_path / "m" / "5"
    assert export.export_saved_model(model, tmp_path / "m", 2) == tmp_path / "m" / "2"
    with pytest.raises(InputError) as caught:
        export.export_saved_model(model, tmp_path / "m", 2)
    assert str(caught.value) == (
        f"version: expected a version that does not exist yet; received 2, which is in {str(tmp_path / 'm')!r}. "
        "The next free one is 6."
    )
    with pytest.raises(InputError, match=r"version: expected a whole number of at least 1; received 0\."):
        export.export_saved_model(model, tmp_path / "m", 0)
    assert sorted(entry.name for entry in (tmp_path / "m").iterdir()) == [".tmp-9-9", "2", "4", "5", "9", "tmp"]


def test_leftovers_of_killed_exports(tmp_path):
    now = time.time()
    for name, hours in ((".tmp-0123abcd-1", 2), (".tmp-4567abcd-1", 0.9), (".tmp-89ababcd-probe", 2), ("2", 2)):
        path = tmp_path / "m" / name
        path.mkdir(parents=True)
        (path / "saved_model.pb").touch()
        os.utime(path, (now - 3600 * hours,) * 2)
    export.export_saved_model(array_model(), tmp_path / "m")
    # Less than an hour old: somebody else's export that may still be running.
    assert sorted(entry.name for entry in (tmp_path / "m").iterdir()) == [".tmp-4567abcd-1", "2", "3"]


def test_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert export.export_saved_model(array_model(), "m") == Path("m/1")
    assert json.loads((tmp_path / "m/1/assets.extra/description.json").read_text())["name"] == "m"


def head(layer):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layer(inputs))


LOGITS = "model: expected logits, which the export turns into probabilities itself; received "


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: head(keras.layers.Dense(3, activation="softmax", name="top")),
         LOGITS + "the activation softmax in the last layer, 'top'."),
        (lambda: head(keras.layers.Dense(3, activation="sigmoid", name="top")),
         LOGITS + "the activation sigmoid in the last layer, 'top'."),
        (lambda: head(keras.Sequential([keras.layers.Dense(3), keras.layers.Softmax(name="end")])),
         LOGITS + "the activation softmax in the last layer, 'end'."),
        (lambda: head(lambda x: keras.ops.softmax(keras.layers.Dense(3)(x))),
         LOGITS + "outputs of at least 0 that sum to 1."),
        (lambda: head(keras.layers.Reshape((2, 2))),
         "model: expected one output of shape (None, classes), with 2 classes or more; received (None, 2, 2)."),
        (lambda: head(keras.layers.Dense(1)),
         "model: expected one output of shape (None, classes), with 2 classes or more; received (None, 1)."),
        (lambda: keras.Sequential([keras.layers.Dense(3)]),
         "model: expected a built functional or sequential keras.Model; received Sequential, whose inputs are "
         "unknown."),
    ],
)  # fmt: skip
def test_models_that_are_refused(tmp_path, model, message):
    with pytest.raises(InputError) as caught:
        export.export_saved_model(model(), tmp_path / "m")
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a", "b"]}, "labels: expected a name for each of the 3 classes; received 2 names."),
        ({"labels": [1, "1", 2]}, "labels: expected a different name for each class; received '1' more than once."),
        ({"schema": {"kind": "tables"}},
         "kind in the schema: expected one of 'array', 'image', 'table'; received 'tables'. Did you mean 'table'?"),
        ({"schema": {"kind": "array", "shape": [0]}},
         "shape in the schema: expected a list of whole numbers above 0; received [0]."),
        ({"examples": np.zeros((2, 5))}, "examples['inputs']: expected the shape (None, 4); received (2, 5)."),
        ({"examples": np.zeros((0, 4))},
         "examples: expected the same number of examples in each column, at least 1; received {'inputs': 0}."),
        ({"examples": {"x": np.zeros((1, 4))}}, "examples: expected the inputs inputs; received x."),
        ({"examples": np.full((2, 4), "a")},
         "examples['inputs']: expected values of dtype float32; received <U1."),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError) as caught:
        export.export_saved_model(array_model(), tmp_path / "m", **arguments)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="path: expected a directory that can be written to; received "):
        export.export_saved_model(array_model(), tmp_path / "file" / "m")


@pytest.mark.parametrize("number", [math.nan, 1.0])
def test_other_answers_leave_nothing(tmp_path, monkeypatch, number):
    def wrong(model, inputs):
        correct = signatures_endpoints(model, inputs)
        return {
            **correct,
            "logits": lambda *tensors: {"logits": correct["logits"](*tensors)["logits"] * [1, 2, number]},
        }

    signatures_endpoints = signatures.endpoints
    monkeypatch.setattr(signatures, "endpoints", wrong)
    with pytest.raises(export.ExportMismatchError) as caught:
        export.export_saved_model(array_model(), tmp_path / "m", examples=np.ones((2, 4)))
    assert caught.value.signature == "logits"
    assert caught.value.batch_size == 2
    assert not caught.value.difference <= 1e-5
    assert str(caught.value) == (
        "signature 'logits': expected the probabilities of the Keras model to within 1e-05; received "
        f"{caught.value.difference:.3g} apart in a batch of 2. Nothing was written."
    )
    assert list((tmp_path / "m").iterdir()) == []


def nan_model():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, bias_initializer=keras.initializers.Constant(np.nan))(inputs))


def test_model_that_diverged(tmp_path):
    with pytest.raises(InputError) as caught:
        export.export_saved_model(nan_model(), tmp_path / "m")
    assert str(caught.value) == (
        "model: expected finite logits; received NaN or infinite ones for every example. "
        "Training may have diverged: try a smaller learning rate."
    )


def test_version_that_appears_meanwhile(tmp_path, monkeypatch):
    verify = verification.verify

    def slowly(*arguments):
        verify(*arguments)
        (tmp_path / "m" / "1" / "theirs").mkdir(parents=True)

    monkeypatch.setattr(verification, "verify", slowly)
    with pytest.raises(InputError, match=r"version: .*; received 1, which is in .* The next free one is 2\."):
        export.export_saved_model(array_model(), tmp_path / "m")
    assert [entry.name for entry in (tmp_path / "m").iterdir()] == ["1"]
    assert [entry.name for entry in (tmp_path / "m" / "1").iterdir()] == ["theirs"]
