"""Tests of the expected calibration error."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.metrics import ExpectedCalibrationError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(200, 4)).astype("float32") * 2
IDS = np.where(RNG.random(200) < 0.6, LOGITS.argmax(1), RNG.integers(0, 4, 200))
ONE_HOT = np.eye(4, dtype="float32")[IDS]
WEIGHTS = RNG.random(200)


def oracle(y, z, bins=15, weights=None):
    """As Guo et al. have it: sum_m |B_m| / n |acc(B_m) - conf(B_m)|."""
    z, weights = np.float64(z), np.ones(len(z)) if weights is None else weights
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    confidence, right = p.max(1), p.argmax(1) == y
    error, edges = 0.0, np.linspace(0, 1, bins + 1)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        share = weights[inside].sum()
        if share:
            gap = np.average(right[inside], weights=weights[inside]) - np.average(
                confidence[inside], weights=weights[inside]
            )
            error += share / weights.sum() * abs(gap)
    return error


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize(
    "y", [IDS, IDS[:, None], ONE_HOT, IDS.astype("float32")], ids=["ids", "column", "hot", "float"]
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weights"])
def test_equals_the_definition(bins, y, weights):
    metric = ExpectedCalibrationError(bins)
    for part in (slice(0, 30), slice(30, 200)):
        metric.update_state(y[part], LOGITS[part], None if weights is None else weights[part])
    assert float(metric.result()) == pytest.approx(oracle(IDS, LOGITS, bins, weights), abs=1e-6)


def test_by_hand():
    z = np.log([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]])
    metric = ExpectedCalibrationError(10)
    metric.update_state([0, 1, 1, 1], z)  # 80% sure: 1 of 2 right; 60% sure: 2 of 2
    assert float(metric.result()) == pytest.approx(0.5 * 0.3 + 0.5 * 0.4, abs=1e-6)


def test_certainty_is_in_the_last_bin():
    metric = ExpectedCalibrationError()
    metric.update_state([0, 1], [[1e4, 0.0], [1e4, 0.0]])
    assert float(metric.result()) == 0.5


def test_an_ignored_class_does_not_count():
    metric, kept = ExpectedCalibrationError(ignore_class=-1), ExpectedCalibrationError()
    y = np.where(np.arange(200) % 3 == 0, -1, IDS)
    metric.update_state(y, LOGITS)
    kept.update_state(IDS[y >= 0], LOGITS[y >= 0])
    assert float(metric.result()) == pytest.approx(float(kept.result()), abs=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected labels in \[0, 4\); received -1"):
        kept.update_state(y, LOGITS)


def test_a_column_of_unknown_width_is_refused():
    metric = ExpectedCalibrationError()
    unknown = tf.function(metric.update_state, input_signature=[tf.TensorSpec((None, None)), tf.TensorSpec((None, 4))])
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        unknown(np.zeros((200, 1), "float32"), np.float32(LOGITS))


def test_nothing_is_zero_and_reset():
    metric = ExpectedCalibrationError()
    assert float(metric.result()) == 0
    metric.update_state(IDS, LOGITS)
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(IDS[:0], LOGITS[:0])
    metric.update_state(IDS, LOGITS, np.zeros(200))
    assert float(metric.result()) == 0


def test_sequences_and_masks():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 5, mask_zero=True)])
    x, y = np.array([[1, 2, 0], [3, 0, 0]]), np.array([[1, 3, -9], [4, -9, -9]])
    z, metric = model(x), ExpectedCalibrationError()
    metric.update_state(y, z)
    kept = ExpectedCalibrationError()
    kept.update_state(y[y >= 0], z.numpy()[y >= 0])
    assert float(metric.result()) == pytest.approx(float(kept.result()), abs=1e-6)
    metric.reset_state()
    metric.update_state(np.abs(y) % 5, z.numpy(), np.array([1.0, 0.0]))
    kept.reset_state()
    kept.update_state((np.abs(y) % 5)[0], z.numpy()[0])
    assert float(metric.result()) == pytest.approx(float(kept.result()), abs=1e-6)


@pytest.mark.parametrize("how", [{}, {"jit_compile": True}, {"run_eagerly": True}], ids=["graph", "xla", "eager"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_in_compile(how, policy):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, dtype=policy)])
    model.compile("sgd", metrics=[ExpectedCalibrationError()], loss="mse", **how)
    results = model.evaluate(LOGITS, ONE_HOT, batch_size=64, verbose=0, return_dict=True)
    expected = oracle(IDS, tf.cast(model(LOGITS), tf.float32))
    assert results["expected_calibration_error"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_logits_of_any_dtype(dtype):
    z = tf.cast(LOGITS, dtype)
    metric = ExpectedCalibrationError()
    metric.update_state(IDS, z)
    assert metric.dtype == "float32"
    assert float(metric.result()) == pytest.approx(oracle(IDS, tf.cast(z, tf.float64)), abs=1e-6)


def test_config_round_trip(tmp_path):
    metric = ExpectedCalibrationError(7, name="ece", dtype="float64")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is ExpectedCalibrationError
    assert (
        again.get_config()
        == metric.get_config()
        == {
            "name": "ece",
            "dtype": "float64",
            "bins": 7,
            "ignore_class": None,
        }
    )
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("sgd", "mse", metrics=[metric])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(LOGITS, ONE_HOT, verbose=0) == model.evaluate(LOGITS, ONE_HOT, verbose=0)


@pytest.mark.parametrize("bins", [0, 2.5, "15"])
def test_bad_bins(bins):
    with pytest.raises(InputError) as error:
        ExpectedCalibrationError(bins)
    assert str(error.value) == f"bins: expected a whole number of at least 1; received {bins!r}."


@pytest.mark.parametrize(
    ("y", "z", "message"),
    [
        (IDS[:3], LOGITS, "y_true: expected integer labels of the logits' shape (200, 4) without axis -1"),
        (LOGITS, IDS, "y_true: expected at most the 1 axes of y_pred"),
        (ONE_HOT, ONE_HOT.astype(int), "y_pred: expected logits, which are floating-point numbers; received int64"),
        (IDS, tf.nn.softmax(LOGITS), "y_pred: expected logits; received 200 rows"),
    ],
)
def test_bad_calls(y, z, message):
    with pytest.raises(InputError) as error:
        ExpectedCalibrationError().update_state(y, z)
    assert str(error.value).startswith(message)
