"""Tests of the loss: formulas for all labels and options, in every mode, against float64, Keras and each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from written_out import IDS, LOGITS, ONE_HOT, RNG, RUNS, SOFT, oracle, rows

from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.losses.softmax import FEW_CLASSES

REDUCTIONS = ["mean_with_sample_weight", "sum_over_batch_size", "mean", "sum", None]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("labels", ["integer", "column", "one_hot", "soft"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"label_smoothing": 0.1},
        {"class_weight": [1.0, 2.0, 0.5, 0.0, 3.0]},
        {"temperature": 2.5},
        {"z_loss": 0.01},
        {"label_smoothing": 0.2, "class_weight": {1: 2.0, 4: 0.25}, "temperature": 0.5, "z_loss": 0.1},
    ],
)
def test_formulas_hold_for_all_labels_and_modes(run, labels, arguments):
    y = {"integer": IDS, "column": IDS[:, None], "one_hot": ONE_HOT, "soft": SOFT}[labels]
    weight = arguments.get("class_weight")
    if isinstance(weight, dict):
        weight = [weight.get(k, 1.0) for k in range(5)]
    expected = oracle(
        SOFT if labels == "soft" else ONE_HOT,
        LOGITS,
        arguments.get("label_smoothing", 0.0),
        weight,
        arguments.get("temperature", 1.0),
        arguments.get("z_loss", 0.0),
    )
    actual = rows(SoftmaxCrossEntropy(reduction=None, **arguments), y, LOGITS, run)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [5, FEW_CLASSES + 1])
def test_agrees_with_keras(classes):
    z = RNG.normal(size=(12, classes)).astype("float32")
    soft = RNG.dirichlet(np.ones(classes), 12).astype("float32")
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)
    dense = keras.losses.CategoricalCrossentropy(from_logits=True)
    smoothing = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    for theirs, ours, y in (
        (sparse, SoftmaxCrossEntropy(), IDS),
        (ignoring, SoftmaxCrossEntropy(ignore_class=2), IDS),
        (dense, SoftmaxCrossEntropy(), soft),
        (smoothing, SoftmaxCrossEntropy(0.1), soft),
    ):
        for run in ("eager", "graph"):
            for one, other in zip(rows(ours, y, z, run), rows(theirs, y, z, run), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_are_those_of_keras(reduction):
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    ours, weights = SoftmaxCrossEntropy(reduction=reduction), RNG.random(12)
    for sample_weight in (None, weights, weights[:, None]):
        expected = np.squeeze(theirs(IDS, LOGITS, sample_weight))
        np.testing.assert_allclose(ours(IDS, LOGITS, sample_weight), expected, rtol=1e-5)


@pytest.mark.parametrize("run", ["eager", "xla"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("y", [[0, 1, 0], np.eye(2)[[0, 1, 0]]], ids=["integer", "one_hot"])
def test_extreme_logits_stay_finite(run, smoothing, y):
    z = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]], "float32")
    losses, gradient = rows(SoftmaxCrossEntropy(smoothing, reduction=None), y, z, run)
    expected, derivative = oracle(np.eye(2)[[0, 1, 0]], z, smoothing)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, derivative, atol=1e-6)


@pytest.mark.parametrize("run", RUNS)
def test_two_classes_are_logistic_regression(run):
    margin, y = np.linspace(-6, 6, 9, dtype="float32"), np.arange(9) % 2
    logits = np.stack([np.zeros(9, "float32"), margin], 1)
    value, gradient = rows(SoftmaxCrossEntropy(reduction="sum"), y, logits, run)
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    np.testing.assert_allclose(value, theirs(y[:, None].astype("float32"), margin[:, None]), rtol=1e-6)
    np.testing.assert_allclose(gradient[:, 1], 1 / (1 + np.exp(-margin)) - y, atol=1e-6)


def test_smoothing_along_another_axis():
    # The example of keras#23451, as logits: Keras 3.15 divides by the 2 of the last axis and not by the 3 classes.
    y = np.array([[[1, 0], [0, 1], [0, 0]]], "float32")
    z = np.log(np.array([[[0.8, 0.1], [0.1, 0.8], [0.1, 0.1]]], "float32"))
    expected = -(0.9 + 0.1 / 3) * np.log(0.8) - 2 * 0.1 / 3 * np.log(0.1)
    for labels in (y, y.argmax(1)):
        np.testing.assert_allclose(SoftmaxCrossEntropy(0.1, axis=1)(labels, z), expected, rtol=1e-6)
    # As in tensorflow#127249: the classes on the first axis.
    for labels in (y[0], y[0].argmax(0)):
        np.testing.assert_allclose(SoftmaxCrossEntropy(0.1, axis=0)(labels, z[0]), expected, rtol=1e-6)


# Weights


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("labels", ["integer", "one_hot", "soft"])
def test_class_weights_are_sample_weights(reduction, labels):
    weight = {0: 1.0, 1: 2.0, 2: 0.5, 3: 0.1, 4: 3.0}
    y = {"integer": IDS, "one_hot": ONE_HOT, "soft": SOFT}[labels]
    of_rows = (SOFT if labels == "soft" else ONE_HOT) @ np.array(list(weight.values()))
    others = RNG.random(12)
    for given in (None, others):
        np.testing.assert_allclose(
            SoftmaxCrossEntropy(0.1, weight, reduction=reduction)(y, LOGITS, given),
            SoftmaxCrossEntropy(0.1, reduction=reduction)(y, LOGITS, of_rows if given is None else of_rows * given),
            rtol=1e-5,
        )


def test_the_mean_is_weighted():
    losses, _ = oracle(ONE_HOT, LOGITS)
    weights = RNG.random(12)
    class_weight = np.array([1, 2, 3, 4, 5])
    both = weights * class_weight[IDS]
    loss = SoftmaxCrossEntropy(class_weight=class_weight.tolist())
    np.testing.assert_allclose(loss(IDS, LOGITS, weights), (both * losses).sum() / both.sum(), rtol=1e-6)
    kerass = SoftmaxCrossEntropy(class_weight=class_weight.tolist(), reduction="sum_over_batch_size")
    np.testing.assert_allclose(kerass(IDS, LOGITS, weights), (both * losses).sum() / 12, rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (1, 3), (4, 3), (4, 3, 1)], ids=str)
@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum_over_batch_size", "sum"])
def test_weights_of_sequences(shape, reduction):
    z, y = RNG.normal(size=(4, 3, 5)), RNG.integers(0, 5, (4, 3))
    losses, weights = oracle(np.eye(5)[y], z)[0], RNG.random(shape) + 0.1
    given = weights[:, None] if shape == (4,) else weights[..., 0] if shape == (4, 3, 1) else weights
    every = np.broadcast_to(given, (4, 3))
    parts = {"mean_with_sample_weight": every.sum(), "sum_over_batch_size": 12, "sum": 1}[reduction]
    loss = SoftmaxCrossEntropy(reduction=reduction, dtype="float64")
    np.testing.assert_allclose(loss(y, z, weights), (every * losses).sum() / parts, rtol=1e-12)
    unknown = [tf.TensorSpec((None, None), tf.int64), tf.TensorSpec((None, None, 5), tf.float64)]
    unknown.append(tf.TensorSpec([None] * len(shape), tf.float64))
    run = tf.function(loss, input_signature=unknown)
    np.testing.assert_allclose(run(y, z, weights), (every * losses).sum() / parts, rtol=1e-12)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("y", [IDS, SOFT], ids=["integer", "soft"])
def test_rows_of_weight_zero_add_nothing_whatever_their_logits(run, y):
    z, weights = LOGITS.copy(), np.ones(12, "float32")
    z[0], z[1], z[2], weights[:3] = np.nan, -np.inf, np.inf, 0
    value, gradient = rows(lambda y, z: SoftmaxCrossEntropy()(y, z, weights), y, z, run)
    np.testing.assert_allclose(value, SoftmaxCrossEntropy()(y[3:], LOGITS[3:]), rtol=1e-6)
    assert not gradient.numpy()[:3].any()
    assert np.isfinite(gradient).all()


# Rows that do not count


@pytest.mark.parametrize("run", ["eager", "xla"])
@pytest.mark.parametrize(("ignored", "marker"), [(-1, -1), (255, 255), (2, 2)])
def test_ignored_rows_do_not_count(run, ignored, marker):
    y = IDS.copy()
    y[::3] = marker
    counted = y != marker
    for reduction in REDUCTIONS[:2]:
        loss = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignored, reduction=reduction)
        value, gradient = rows(loss, y, LOGITS, run)
        kept = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], reduction=reduction)(y[counted], LOGITS[counted])
        np.testing.assert_allclose(value, kept, rtol=1e-5)
        assert not gradient.numpy()[~counted].any()
        assert gradient.numpy()[counted].any(1).all()


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("reduction", REDUCTIONS[:2])
@pytest.mark.parametrize("y", [np.full(12, 3), np.eye(5)[[3] * 12]], ids=["integer", "one_hot"])
def test_everything_ignored_gives_zero(run, reduction, y):
    loss = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class=3, reduction=reduction)
    value, gradient = rows(loss, y, LOGITS, run)
    assert not np.any(value)
    assert not gradient.numpy().any()


@pytest.mark.parametrize("reduction", REDUCTIONS[:4])
def test_no_weights_and_no_rows_give_zero(reduction):
    loss = SoftmaxCrossEntropy(reduction=reduction)
    assert float(loss(IDS, LOGITS, np.zeros(12))) == 0
    assert float(loss(IDS[:0], LOGITS[:0])) == 0
    assert float(loss(SOFT[:0], LOGITS[:0])) == 0


def test_ignored_class_of_one_hot_labels():
    expected = SoftmaxCrossEntropy(ignore_class=2)(IDS, LOGITS)
    np.testing.assert_allclose(SoftmaxCrossEntropy(ignore_class=2)(ONE_HOT, LOGITS), expected, rtol=1e-6)


def masking_model():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 5, mask_zero=True)])
    return model, np.array([[1, 2, 0], [3, 0, 0]])


@pytest.mark.parametrize("soft", [False, True])
def test_masked_time_steps_and_ignored_class_together(soft):
    model, x = masking_model()
    z, y = model(x), np.array([[1, -1, 2], [4, 0, 0]])
    counted = np.array([[True, False, False], [True, False, False]])
    if soft:
        y[0, 1] = 3
    loss = SoftmaxCrossEntropy(ignore_class=3 if soft else -1)
    kept = SoftmaxCrossEntropy()(y[counted], z.numpy()[counted])
    np.testing.assert_allclose(loss(np.eye(5)[y] if soft else y, z), kept, rtol=1e-6)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("reduction", ["mean_with_sample_weight", "sum_over_batch_size"])
def test_masks_in_fit(jit, reduction):
    model, x = masking_model()
    y = np.array([[1, 3, -9], [4, -9, -9]])  # what is masked may have any label
    counted = y != -9
    weights = RNG.random((2, 3)).astype("float32")
    expected = SoftmaxCrossEntropy(reduction=reduction)(y[counted], model(x).numpy()[counted], weights[counted])
    model.compile("sgd", SoftmaxCrossEntropy(reduction=reduction), jit_compile=jit)
    history = model.fit(x, y, sample_weight=weights, batch_size=2, verbose=0).history
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


# In Keras


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("y", [IDS, ONE_HOT, IDS[:, None]], ids=["integer", "one_hot", "column"])
def test_fit_with_sample_weight(jit, y):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
    model.compile("adam", SoftmaxCrossEntropy(0.1), jit_compile=jit)
    weights = RNG.random(12)
    expected = SoftmaxCrossEntropy(0.1)(y, model(LOGITS), weights)
    history = model.fit(LOGITS, y, batch_size=12, sample_weight=weights, verbose=0).history
    np.testing.assert_allclose(history["loss"], [expected], rtol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_with_many_classes(policy):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(300, dtype=policy)])
    model.compile(keras.optimizers.SGD(0.0), SoftmaxCrossEntropy())
    y = IDS + 290
    expected = SoftmaxCrossEntropy()(y, model(LOGITS))
    np.testing.assert_allclose(model.evaluate(LOGITS, y, verbose=0), expected, rtol=1e-4)


def test_call_is_the_loss_of_each_row():
    loss = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class=2)
    each = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class=2, reduction=None)(IDS, LOGITS)
    np.testing.assert_array_equal(loss.call(IDS, LOGITS), each)
    assert each.shape == (12,)


def test_config_keeps_everything(tmp_path):
    for class_weight in ({0: 2.0, 3: 0.5}, [1.0, 2.0, 3.0, 4.0, 5.0], None):
        loss = SoftmaxCrossEntropy(0.1, class_weight, -1, 2.0, 1, 0.01, "sum", "named", "float64")
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert again.get_config() == loss.get_config()
        assert again.get_config() == {
            "label_smoothing": 0.1,
            "class_weight": class_weight,
            "ignore_class": -1,
            "temperature": 2.0,
            "axis": 1,
            "z_loss": 0.01,
            "reduction": "sum",
            "name": "named",
            "dtype": "float64",
        }
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5)])
        model.compile("sgd", loss)
        model.save(tmp_path / "model.keras")
        assert keras.saving.load_model(tmp_path / "model.keras").loss.get_config() == loss.get_config()


def test_class_weight_survives_json():
    assert SoftmaxCrossEntropy(class_weight={"0": 2, "3": 0.5}).class_weight == {0: 2.0, 3: 0.5}
