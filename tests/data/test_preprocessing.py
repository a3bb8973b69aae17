"""Tests of the layers that turn raw inputs into features, against float64 NumPy."""

import dataclasses

import keras
import numpy as np
import pytest

from kerasbn.config import DataConfig
from kerasbn.data import fit_preprocessor, load_splits, prepare, run_in_chunks

RANDOM = np.random.default_rng(0)


def reloaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def oracle(values, fitted):
    fitted = fitted.astype(np.float64)
    deviation = fitted.std(axis=tuple(range(fitted.ndim - 1)))
    return (values - fitted.mean(axis=tuple(range(fitted.ndim - 1)))) / np.where(deviation > 0, deviation, 1.0)


def texts(*values):
    return np.array(values, object)


@pytest.mark.parametrize("shape", [(500, 3), (500, 4, 4, 3), (50, 2, 2, 2, 5)])
def test_arrays(tmp_path, shape):
    values = (RANDOM.normal(size=shape) * RANDOM.uniform(0.1, 100, shape[-1]) + 50).astype(np.float32)
    model = fit_preprocessor(values)
    assert [tensor.name for tensor in model.inputs] == ["inputs"]
    assert model.inputs[0].dtype == "float32"
    features = run_in_chunks(model, values, chunk=64)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, oracle(values, values), atol=1e-4)
    np.testing.assert_array_equal(run_in_chunks(reloaded(model, tmp_path), values), features)


def test_gray_images_have_one_mean_and_get_a_channel():
    values = RANDOM.integers(0, 256, (300, 5, 6)).astype(np.uint8)
    features = run_in_chunks(fit_preprocessor(values), values)
    assert features.shape == (300, 5, 6, 1)
    np.testing.assert_allclose(features[..., 0], (values - values.mean()) / values.std(), atol=1e-5)


def test_more_examples_than_one_chunk():
    values = RANDOM.normal(size=(9001, 2)).astype(np.float32)
    np.testing.assert_allclose(run_in_chunks(fit_preprocessor(values), values), oracle(values, values), atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e8, 1e-12, 3e38])
def test_constant_features_become_zero(tmp_path, constant):
    values = np.stack([np.full(1001, constant), RANDOM.normal(size=1001)], axis=1).astype(np.float32)
    for model in (first := fit_preprocessor(values), reloaded(first, tmp_path)):
        features = run_in_chunks(model, values)
        np.testing.assert_array_equal(features[:, 0], 0.0)
        np.testing.assert_allclose(features[:, 1], oracle(values, values)[:, 1], atol=1e-5)
    other = np.array([[constant + 1, 0.0], [np.float32(-3e38), 0.0]], np.float32)
    assert np.isfinite(run_in_chunks(first, other)[0]).all()


@pytest.mark.parametrize("scale", [1e-20, 1e-9, 1e-7, 1e-5, 1.0, 1e10, 1e20, 1e37])
def test_features_of_any_scale(tmp_path, scale):
    # Keras divides by 1e-7 at least, and holds variances as float32.
    values = np.stack([RANDOM.normal(1, 1, 400) * scale, RANDOM.normal(5, 2, 400)], axis=1).astype(np.float32)
    for model in (first := fit_preprocessor(values), reloaded(first, tmp_path)):
        np.testing.assert_allclose(run_in_chunks(model, values), oracle(values, values), atol=1e-5)


TABLE = {
    "age": np.array([20, 30, np.nan, 50], np.float32),
    "work": texts("b", "", "a", "b"),
    "height": np.array([1.5, 1.5, 1.5, 1.5], np.float32),
    "empty": np.full(4, np.nan, np.float32),
}
UNSEEN = {
    "age": np.array([30, np.nan], np.float32),
    "work": texts("c", "ä"),
    "height": np.array([np.nan, 1.5], np.float32),
    "empty": np.array([1.0, np.nan], np.float32),
}


def test_tables(tmp_path):
    model = fit_preprocessor(TABLE)
    assert {tensor.name: tensor.dtype for tensor in model.inputs} == {
        "age": "float32",
        "work": "string",
        "height": "float32",
        "empty": "float32",
    }
    deviation = np.std([20.0, 30, 50])
    mean = 100 / 3
    expected = np.array(
        [  # age, height, empty; age and empty missing; work: unseen, "", a, b
            [(20 - mean) / deviation, 0, 0, 0, 1, 0, 0, 0, 1],
            [(30 - mean) / deviation, 0, 0, 0, 1, 0, 1, 0, 0],
            [0, 0, 0, 1, 1, 0, 0, 1, 0],
            [(50 - mean) / deviation, 0, 0, 0, 1, 0, 0, 0, 1],
        ]
    )
    unseen = np.array([[(30 - mean) / deviation, 0, 1, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0, 0]])
    for each in (model, reloaded(model, tmp_path)):
        np.testing.assert_allclose(run_in_chunks(each, TABLE), expected, atol=1e-6)
        np.testing.assert_allclose(run_in_chunks(each, UNSEEN), unseen, atol=1e-6)


def test_features_of_a_column_do_not_depend_on_its_place():
    reversed_table = dict(reversed(TABLE.items()))
    shuffled = {name: TABLE[name] for name in ("work", "empty", "age", "height")}
    model = fit_preprocessor(TABLE)
    for table in (reversed_table, shuffled):  # a dict is read by name
        np.testing.assert_array_equal(run_in_chunks(model, table), run_in_chunks(model, TABLE))


@pytest.mark.parametrize("only", [{"a": TABLE["age"][:2]}, {"a": texts("x", "y")}, {"a": TABLE["height"]}])
def test_a_single_column(tmp_path, only):
    model = fit_preprocessor(only)
    features = run_in_chunks(model, only)
    assert features.ndim == 2
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(run_in_chunks(reloaded(model, tmp_path), only), features)


def test_odd_categories(tmp_path):
    table = {"a": texts("[UNK]", "", "two\nlines", "größe 😀", "a,b", "'\"\\")}
    model = reloaded(fit_preprocessor(table), tmp_path)
    features = run_in_chunks(model, table)
    assert features.sum(axis=1).tolist() == [1.0] * 6
    assert len({row.tobytes() for row in features}) == 6


NAMES = (
    *("features", "normalization", "scale", "columns", "column_0", "categories_1", "preprocessor", "mlp", "inputs"),
    *("stack", "isnan", "where", "take", "cast"),
    *("a b", "größe", "Unnamed: 0", "100%", "$x", "a[0]", "-"),
)


@pytest.mark.parametrize("name", NAMES)
def test_columns_may_be_called_as_layers_are(tmp_path, name):
    keras.utils.clear_session()  # names begin anew, as in a fresh process
    table = {name: np.array([1, 2, np.nan], np.float32), "other": texts("a", "b", "")}
    model = fit_preprocessor(table)
    assert {tensor.name for tensor in model.inputs} == {name, "other"}
    features = run_in_chunks(model, table)
    np.testing.assert_allclose(features[:, :2], [[-1, 0], [1, 0], [0, 1]], atol=1e-6)
    np.testing.assert_array_equal(run_in_chunks(reloaded(model, tmp_path), table), features)


def test_statistics_are_of_the_training_examples_only():
    splits = load_splits(DataConfig(source="wine"))
    clean = prepare(splits)
    planted = splits.validation.inputs.copy()
    planted[0] = 1e6
    spoiled = dataclasses.replace(splits, validation=dataclasses.replace(splits.validation, inputs=planted))
    spoiled = dataclasses.replace(spoiled, test=spoiled.validation)
    np.testing.assert_array_equal(prepare(spoiled).train.inputs, clean.train.inputs)
    np.testing.assert_array_equal(prepare(spoiled).validation.inputs[1:], clean.validation.inputs[1:])
    for part, raw in ((clean.train, splits.train), (clean.validation, splits.validation), (clean.test, splits.test)):
        np.testing.assert_allclose(part.inputs, oracle(raw.inputs, splits.train.inputs), atol=1e-5)
        np.testing.assert_array_equal(part.labels, raw.labels)


def test_categories_of_validation_are_unseen_in_training(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "".join(f"n{i},{'pq'[i % 2]}\n" for i in range(60)))
    prepared = prepare(load_splits(DataConfig(source=str(path), target="y", categorical=("a",))))
    assert prepared.train.inputs.shape[1] == 42 + 1
    np.testing.assert_array_equal(prepared.validation.inputs[:, 0], 1.0)
