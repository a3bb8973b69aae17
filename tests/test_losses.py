import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.losses import SoftmaxCrossEntropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 5)).astype("float32") * 3
IDS = RNG.integers(0, 5, 12)
ONE_HOT = np.eye(5, dtype="float32")[IDS]
SOFT = RNG.dirichlet(np.ones(5), 12).astype("float32")


def oracle(y, z, smoothing=0.0, weight=None, temperature=1.0):
    """The formulas of the docstring in float64: losses of the rows, and their derivative by z."""
    y, z = np.float64(y), np.float64(z) / temperature
    shifted = z - z.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    q = (1 - smoothing) * y + smoothing / z.shape[-1]
    w = np.ones(y.shape[:-1]) if weight is None else y @ np.float64(weight)
    return -w * (q * log_p).sum(-1), w[..., None] * (np.exp(log_p) - q) / temperature


def rows(loss, y_true, y_pred, run="eager"):
    """Loss of each row and the derivative of their sum."""

    def both(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            losses = loss(y_true, y_pred)
        return losses, tape.gradient(losses, y_pred)

    both = both if run == "eager" else tf.function(both, jit_compile=run == "xla")
    return both(tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred))


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("labels", ["integer", "column", "one_hot", "soft"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"label_smoothing": 0.1},
        {"class_weight": [1.0, 2.0, 0.5, 0.0, 3.0]},
        {"temperature": 2.5},
        {"label_smoothing": 0.2, "class_weight": {1: 2.0, 4: 0.25}, "temperature": 0.5},
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
    )
    actual = rows(SoftmaxCrossEntropy(reduction=None, **arguments), y, LOGITS, run)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_agrees_with_keras():
    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=2)
    weights = RNG.random(12)
    for theirs, ours, y in (
        (sparse, SoftmaxCrossEntropy(), IDS),
        (dense, SoftmaxCrossEntropy(0.1), ONE_HOT),
        (ignoring, SoftmaxCrossEntropy(ignore_class=2), IDS),
    ):
        np.testing.assert_allclose(ours(y, LOGITS), theirs(y, LOGITS), rtol=1e-6)
        np.testing.assert_allclose(ours(y, LOGITS, weights), theirs(y, LOGITS, weights), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", None])
def test_reductions_are_those_of_keras(reduction):
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
    weights = RNG.random(12)
    np.testing.assert_allclose(
        SoftmaxCrossEntropy(reduction=reduction)(IDS, LOGITS, weights), theirs(IDS, LOGITS, weights), rtol=1e-5
    )


@pytest.mark.parametrize("run", ["eager", "xla"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("y", [[0, 1, 0], np.eye(2)[[0, 1, 0]]], ids=["integer", "one_hot"])
def test_extreme_logits_stay_finite(run, smoothing, y):
    z = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]], "float32")
    losses, gradient = rows(SoftmaxCrossEntropy(smoothing, reduction=None), y, z, run)
    expected, derivative = oracle(np.eye(2)[[0, 1, 0]], z, smoothing)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, derivative, atol=1e-6)


def test_two_classes_are_logistic_regression():
    margin, y = np.linspace(-6, 6, 9, dtype="float32"), np.arange(9) % 2
    ours = SoftmaxCrossEntropy(reduction="sum")(y, np.stack([np.zeros(9, "float32"), margin], 1))
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")(
        y[:, None].astype("float32"), margin[:, None]
    )
    np.testing.assert_allclose(ours, theirs * 1.0, rtol=1e-6)


def test_class_weight_is_that_of_fit():
    weight = {0: 1.0, 1: 2.0, 2: 0.5, 3: 0.1, 4: 3.0}
    sample_weight = np.array([weight[k] for k in IDS])
    np.testing.assert_allclose(
        SoftmaxCrossEntropy(0.1, class_weight=weight)(IDS, LOGITS),
        SoftmaxCrossEntropy(0.1)(IDS, LOGITS, sample_weight),
        rtol=1e-6,
    )


@pytest.mark.parametrize("run", ["eager", "xla"])
@pytest.mark.parametrize(("ignored", "marker"), [(-1, -1), (255, 255), (2, 2)])
def test_ignored_rows_do_not_count(run, ignored, marker):
    y = IDS.copy()
    y[::3] = marker
    counted = y != marker
    loss = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class=ignored)
    value, gradient = rows(loss, y, LOGITS, run)
    np.testing.assert_allclose(value, SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5])(y[counted], LOGITS[counted]), rtol=1e-5)
    assert not gradient.numpy()[~counted].any()
    assert gradient.numpy()[counted].any(1).all()


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum"])
@pytest.mark.parametrize("y", [np.full(12, 3), np.eye(5)[[3] * 12]], ids=["integer", "one_hot"])
def test_everything_ignored_gives_zero(reduction, y):
    value, gradient = rows(SoftmaxCrossEntropy(ignore_class=3, reduction=reduction), y, LOGITS)
    assert float(value) == 0
    assert not gradient.numpy().any()


def test_ignored_class_of_one_hot_labels():
    expected = SoftmaxCrossEntropy(ignore_class=2)(IDS, LOGITS)
    np.testing.assert_allclose(SoftmaxCrossEntropy(ignore_class=2)(ONE_HOT, LOGITS), expected, rtol=1e-6)


@pytest.mark.parametrize("ignore_class", [None, -1])
@pytest.mark.parametrize("bad", [5, -2, 1.5, float("nan")])
def test_labels_out_of_range_are_never_silently_right(bad, ignore_class):
    y = IDS.astype("float32")
    y[3] = bad
    loss = SoftmaxCrossEntropy(0.1, [1, 2, 3, 4, 5], ignore_class)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 5\)"):
        loss(y, LOGITS)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[0, 5\)"):
        tf.function(loss)(y, LOGITS)
    assert np.isnan(tf.function(loss, jit_compile=True)(y, LOGITS))


def test_many_classes_are_told_apart():
    # bfloat16 has no 257, and float16 no 2049: labels that went through either would miss their class.
    z = np.zeros((2, 5000), "float32")
    z[0, 257], z[1, 4999] = 50, 50
    for dtype in (tf.float32, tf.bfloat16, tf.float16):
        assert float(SoftmaxCrossEntropy()(np.array([257, 4999]), tf.cast(z, dtype))) < 1e-6


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_low_precision_logits_are_computed_in_float32(dtype):
    z = tf.cast(LOGITS, dtype)
    value, gradient = rows(SoftmaxCrossEntropy(0.1, reduction="sum"), IDS, z)
    expected, derivative = oracle(ONE_HOT, tf.cast(z, tf.float64), 0.1)
    assert value.dtype == tf.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(tf.cast(gradient, tf.float64), derivative, atol=1e-2)


def test_low_floatx_does_not_lower_the_loss():
    before = keras.config.floatx()
    keras.config.set_floatx("bfloat16")
    try:
        assert SoftmaxCrossEntropy().dtype == "float32"
    finally:
        keras.config.set_floatx(before)
    assert SoftmaxCrossEntropy(dtype="float64")(IDS, LOGITS).dtype == tf.float64


@pytest.mark.parametrize("axis", [1, -2, 0])
@pytest.mark.parametrize("labels", ["integer", "size_one", "soft"])
def test_any_class_axis(axis, labels):
    z, soft = RNG.normal(size=(4, 3, 5)), RNG.dirichlet(np.ones(5), (4, 3))
    ids = soft.argmax(-1)
    y = soft if labels == "soft" else np.eye(5)[ids]
    given = np.moveaxis(soft, -1, axis) if labels == "soft" else ids
    if labels == "size_one":
        given = np.expand_dims(ids, axis)
    weight = [1, 2, 3, 4, 5]
    loss = SoftmaxCrossEntropy(0.1, weight, axis=axis, reduction=None, dtype="float64")
    np.testing.assert_allclose(loss(given, np.moveaxis(z, -1, axis)), oracle(y, z, 0.1, weight)[0], rtol=1e-10)


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


def test_masked_time_steps_and_ignored_class_together():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(4, 5, mask_zero=True),
        ]
    )
    x, y = np.array([[1, 2, 0], [3, 0, 0]]), np.array([[1, -1, 2], [4, 0, 0]])
    z = model(x)
    loss = SoftmaxCrossEntropy(ignore_class=-1)(y, z)
    rows_that_count = np.array([[True, False, False], [True, False, False]])
    np.testing.assert_allclose(loss, SoftmaxCrossEntropy()(y[rows_that_count], z.numpy()[rows_that_count]), rtol=1e-6)


def test_serialization_keeps_everything():
    for class_weight in ({0: 2.0, 3: 0.5}, [1.0, 2.0, 3.0, 4.0, 5.0], None):
        loss = SoftmaxCrossEntropy(0.1, class_weight, -1, 2.0, 1, "sum", "named", "float64")
        again = keras.losses.deserialize(keras.losses.serialize(loss))
        assert again.get_config() == loss.get_config()
        assert again.get_config() == {
            "label_smoothing": 0.1,
            "class_weight": class_weight,
            "ignore_class": -1,
            "temperature": 2.0,
            "axis": 1,
            "reduction": "sum",
            "name": "named",
            "dtype": "float64",
        }


def test_class_weight_survives_json():
    assert SoftmaxCrossEntropy(class_weight={"0": 2, "3": 0.5}).class_weight == {0: 2.0, 3: 0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing: expected a number in [0, 1); received 1.0."),
        ({"class_weight": [1, -2]}, "class_weight[1]: expected a number of at least 0; received -2."),
        ({"class_weight": {2: "a"}}, "class_weight[2]: expected a number of at least 0; received 'a'."),
        (
            {"class_weight": {"cat": 1}},
            "class of class_weight: expected a whole number of at least 0; received 'cat'.",
        ),
        ({"ignore_class": 0.5}, "ignore_class: expected a whole number; received 0.5."),
        ({"temperature": 0}, "temperature: expected a number above 0; received 0."),
        ({"axis": None}, "axis: expected a whole number; received None."),
        (
            {"dtype": "bfloat16"},
            "dtype: expected float32 or float64; received bfloat16. Logits may be float16 or bfloat16; the "
            "loss itself, and the numbers of classes, need more bits.",
        ),
        (
            {"dtype": keras.DTypePolicy("mixed_float16")},
            "dtype: expected float32 or float64; received float16. Logits may be float16 or bfloat16; the "
            "loss itself, and the numbers of classes, need more bits.",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("arguments", "y", "z", "message"),
    [
        ({"axis": 2}, IDS, LOGITS, "axis: expected an axis of logits of shape (12, 5); received 2."),
        (
            {},
            IDS,
            LOGITS[:, :1],
            "number of classes: expected a whole number in [2, 16777216]; received 1. Two classes take two "
            "logits, not one.",
        ),
        (
            {},
            ONE_HOT[:, :4],
            LOGITS,
            "y_true: expected integer labels of the logits' shape (12, 5) without axis -1, or soft labels of "
            "that shape; received shape (12, 4).",
        ),
        (
            {},
            IDS[:6],
            LOGITS,
            "y_true: expected integer labels of the logits' shape (12, 5) without axis -1, or soft labels of "
            "that shape; received shape (6,).",
        ),
        (
            {"class_weight": [1, 2]},
            IDS,
            LOGITS,
            "class_weight: expected 5 weights, one a class; received 2.",
        ),
        (
            {"class_weight": {5: 2}},
            IDS,
            LOGITS,
            "class_weight: expected classes from 0 to 4; received class 5.",
        ),
        (
            {"ignore_class": -1},
            ONE_HOT,
            LOGITS,
            "ignore_class: expected a whole number in [0, 4]; received -1. Soft labels have no other classes.",
        ),
    ],
)
def test_bad_calls(arguments, y, z, message):
    with pytest.raises(InputError) as error:
        SoftmaxCrossEntropy(**arguments)(y, z)
    assert str(error.value) == message


def test_unknown_number_of_classes():
    shapes = [tf.TensorSpec((None,)), tf.TensorSpec((None, None))]
    with pytest.raises(InputError) as error:
        tf.function(SoftmaxCrossEntropy(), input_signature=shapes, autograph=False)(IDS.astype("float32"), LOGITS)
    assert str(error.value) == "y_pred: expected a known number of classes on axis -1; received an unknown one."
