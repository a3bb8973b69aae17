"""Tests of the lint of a model: each rule on its classic case, and not on its neighbours."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model
from kerasbn.statistics.lint import Finding, lint

EITHER = pytest.mark.parametrize("bn", [layers.BatchNormalization, BatchNormalization], ids=["keras", "kerasbn"])


def rules(model, **arguments):
    return [(finding.layer, finding.rule) for finding in lint(model, **arguments).findings]


def chain(*parts, shape=(8,)):
    return keras.Sequential([keras.Input(shape), *parts])


def compiled(model, loss, optimizer="sgd"):
    model.compile(optimizer, loss)
    return model


# bias-before-bn


@EITHER
def test_a_bias_before_bn_is_found_with_its_numbers(bn):
    model = chain(layers.Dense(5, name="dense"), bn(name="bn"), layers.ReLU())
    assert lint(model).findings == (
        Finding(
            "dense",
            "bias-before-bn",
            "bn takes the bias off again with the mean: 5 weights that are trained in vain.",
            "Build it with use_bias=False; beta does the bias's work.",
        ),
    )
    assert lint(model).notes == ()


@pytest.mark.parametrize(
    ("linear", "shape"),
    [
        (layers.Conv1D(4, 2, name="x"), (6, 3)),
        (layers.Conv2D(4, 2, name="x"), (6, 6, 3)),
        (layers.Conv3D(4, 2, name="x"), (4, 4, 4, 2)),
        (layers.Conv2DTranspose(4, 2, name="x"), (6, 6, 3)),
        (layers.DepthwiseConv2D(2, name="x"), (6, 6, 3)),
        (layers.SeparableConv2D(4, 2, name="x"), (6, 6, 3)),
        (layers.Dense(4, activation="linear", name="x"), (6, 3)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.Layer) else "",
)
def test_a_bias_of_every_linear_layer_is_found(linear, shape):
    assert rules(chain(linear, BatchNormalization(), shape=shape)) == [("x", "bias-before-bn")]


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [layers.Dense(5, use_bias=False), BatchNormalization()],
        lambda: [layers.Dense(5, activation="relu"), BatchNormalization()],
        lambda: [layers.Dense(5), layers.ReLU(), BatchNormalization()],
        lambda: [BatchNormalization(), layers.Dense(5)],
        lambda: [layers.Dense(5), BatchNormalization(trainable=False)],
        lambda: [layers.Dense(5), BatchNormalization(freeze="statistics")],
        lambda: [layers.Dense(5), layers.LayerNormalization()],
    ],
    ids=["no bias", "activated", "relu between", "after", "frozen", "frozen statistics", "another layer"],
)
def test_a_bias_that_works_is_no_finding(parts):
    assert rules(chain(*parts())) == []


def test_a_bias_that_goes_elsewhere_too_is_no_finding():
    inputs = keras.Input((8,))
    x = layers.Dense(8)(inputs)
    normalized = BatchNormalization()(x)
    assert rules(keras.Model(inputs, layers.Add()([normalized, x]))) == []
    assert rules(keras.Model(inputs, [normalized, x])) == []
    assert rules(keras.Model(inputs, normalized + x)) == []
    assert len(rules(keras.Model(inputs, normalized))) == 1


def test_a_shared_dense_is_found_only_if_all_its_outputs_are_normalised():
    left, right, shared = keras.Input((8,)), keras.Input((8,)), layers.Dense(4, name="shared")
    first, second = shared(left), shared(right)
    both = keras.Model([left, right], [BatchNormalization()(first), BatchNormalization()(second)])
    assert rules(both) == [("shared", "bias-before-bn")]
    one = keras.Model([left, right], [BatchNormalization()(first), layers.ReLU()(second)])
    assert rules(one) == []


def test_the_axis_decides_whether_the_bias_is_taken_off():
    assert rules(chain(layers.Dense(5), BatchNormalization(axis=1), shape=(7, 8))) == []
    assert len(rules(chain(layers.Dense(5), BatchNormalization(axis=(1, 2)), shape=(7, 8)))) == 1
    first = layers.Conv2D(4, 2, data_format="channels_first")
    assert rules(chain(first, BatchNormalization(), shape=(3, 6, 6))) == []
    first = layers.Conv2D(4, 2, data_format="channels_first")
    assert len(rules(chain(first, BatchNormalization(axis=1), shape=(3, 6, 6)))) == 1


# dropout-before-bn


@EITHER
@pytest.mark.parametrize(
    ("dropout", "factor"),
    [
        (layers.Dropout(0.5, name="drop"), "2"),
        (layers.Dropout(0.2, name="drop"), "1.25"),
        (layers.GaussianDropout(0.5, name="drop"), "2"),
    ],
    ids=["0.5", "0.2", "gaussian"],
)
def test_dropout_before_bn_is_found_with_the_factor(bn, dropout, factor):
    model = chain(dropout, layers.Dense(5, use_bias=False), bn(name="bn"), layers.ReLU())
    (finding,) = lint(model).findings
    assert (finding.layer, finding.rule) == ("drop", "dropout-before-bn")
    assert finding.problem == (
        f"bn averages variances of training, which rate {dropout.rate:g} makes {factor} times those at inference "
        "(for values of mean zero)."
    )
    assert "UniformDropout" in finding.remedy
    assert "recalibrate" in finding.remedy


def test_the_factor_is_that_of_dropout():
    x = np.random.default_rng(0).normal(size=(100_000, 1)).astype("float32")
    keras.utils.set_random_seed(0)
    for dropout in (layers.Dropout(0.5), layers.GaussianDropout(0.5)):
        assert np.var(dropout(x, training=True)) / np.var(x) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    "parts",
    [
        lambda: [BatchNormalization(), layers.Dropout(0.5)],
        lambda: [layers.Dropout(0.0), BatchNormalization()],
        lambda: [layers.AlphaDropout(0.5), BatchNormalization()],
        lambda: [layers.Dropout(0.5), BatchNormalization(trainable=False)],
    ],
    ids=["after", "rate 0", "alpha", "frozen"],
)
def test_dropout_that_shifts_nothing_is_no_finding(parts):
    assert rules(chain(*parts())) == []


def test_every_bn_after_a_dropout_counts_and_the_dropout_comes_once():
    model = chain(
        BatchNormalization(name="before"),
        layers.SpatialDropout1D(0.1, name="drop"),
        layers.Conv1D(3, 2, use_bias=False),
        BatchNormalization(name="first"),
        layers.ReLU(),
        BatchNormalization(name="second"),
        layers.Dropout(0.5),
        shape=(6, 2),
    )
    (finding,) = lint(model).findings
    assert finding.layer == "drop"
    assert finding.problem.startswith("first and 1 more averages")
    assert "1.11 times" in finding.problem


# softmax-and-logits, logits-and-softmax

LOGITS_LOSSES = (
    SoftmaxCrossEntropy(),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    keras.losses.CategoricalCrossentropy(from_logits=True),
    functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
)
PROBABILITY_LOSSES = (
    "sparse_categorical_crossentropy",
    keras.losses.SparseCategoricalCrossentropy(),
    keras.losses.categorical_crossentropy,
    "binary_crossentropy",
)
SOFTMAX_ENDS = (
    lambda: [layers.Dense(3, activation="softmax", name="end")],
    lambda: [layers.Dense(3), layers.Softmax(name="end")],
    lambda: [layers.Dense(3), layers.Activation("softmax", name="end"), layers.Reshape((3, 1))],
    lambda: [layers.Dense(3, activation="sigmoid", name="end")],
)
LINEAR_ENDS = (
    lambda: [layers.Dense(3, name="end")],
    lambda: [layers.Dense(3, name="end"), layers.Activation("linear"), layers.Dropout(0.1)],
    lambda: [layers.Dense(3, use_bias=False), BatchNormalization(name="end")],
)


@pytest.mark.parametrize("end", SOFTMAX_ENDS)
@pytest.mark.parametrize("loss", LOGITS_LOSSES, ids=lambda loss: type(loss).__name__)
def test_softmax_with_a_loss_from_logits_is_found(end, loss):
    (finding,) = lint(compiled(chain(*end()), loss)).findings
    assert (finding.layer, finding.rule) == ("end", "softmax-and-logits")
    assert "Leave out the s" in finding.remedy


@pytest.mark.parametrize("end", LINEAR_ENDS)
@pytest.mark.parametrize(
    "loss", PROBABILITY_LOSSES, ids=lambda loss: loss if isinstance(loss, str) else type(loss).__name__
)
def test_logits_with_a_loss_of_probabilities_are_found(end, loss):
    (finding,) = lint(compiled(chain(*end()), loss)).findings
    assert (finding.layer, finding.rule) == ("end", "logits-and-softmax")
    assert "from_logits=True" in finding.remedy


@pytest.mark.parametrize(
    ("ends", "losses"), [(SOFTMAX_ENDS, PROBABILITY_LOSSES), (LINEAR_ENDS, LOGITS_LOSSES)], ids=["softmax", "logits"]
)
def test_outputs_that_fit_their_loss_are_no_finding(ends, losses):
    for end in ends:
        for loss in losses:
            assert rules(compiled(chain(*end()), loss)) == []


@pytest.mark.parametrize(
    "loss", ["mse", "hinge", None, lambda y_true, y_pred: y_pred], ids=["mse", "hinge", "none", "own"]
)
def test_other_losses_are_no_finding(loss):
    assert rules(compiled(chain(layers.Dense(3, activation="softmax")), loss)) == []


def test_an_output_of_unknown_kind_is_no_finding():
    assert rules(compiled(chain(layers.Dense(3), layers.ReLU()), "sparse_categorical_crossentropy")) == []
    inputs = keras.Input((8,))
    outputs = keras.ops.softmax(layers.Dense(3)(inputs))
    assert [rule for _, rule in rules(compiled(keras.Model(inputs, outputs), SoftmaxCrossEntropy()))] == [
        "softmax-and-logits"
    ]


def test_each_output_has_its_own_loss():
    inputs = keras.Input((8,))
    a = layers.Dense(3, activation="softmax", name="a")(inputs)
    b = layers.Dense(3, activation="softmax", name="b")(inputs)
    good, bad = "sparse_categorical_crossentropy", SoftmaxCrossEntropy()
    assert rules(compiled(keras.Model(inputs, [a, b]), [good, bad])) == [("b", "softmax-and-logits")]
    assert rules(compiled(keras.Model(inputs, [a, b]), {"a": bad, "b": good})) == [("a", "softmax-and-logits")]
    assert rules(compiled(keras.Model(inputs, {"b": a, "a": b}), {"a": good, "b": bad})) == [
        ("a", "softmax-and-logits")
    ]
    assert len(rules(compiled(keras.Model(inputs, [a, b]), bad))) == 2
    assert rules(compiled(chain(layers.Dense(3, activation="softmax", name="a")), {"a": bad})) == [
        ("a", "softmax-and-logits")
    ]


# stale-average


@EITHER
def test_momentum_with_few_steps_is_found_with_its_numbers(bn):
    model = chain(layers.Dense(5, use_bias=False), bn(name="bn"))
    assert rules(model) == []
    (finding,) = lint(model, training_steps=100).findings
    assert (finding.layer, finding.rule) == ("bn", "stale-average")
    assert finding.problem == (
        "momentum 0.99 over 100 updates leaves 37% of the initial value in the moving averages; "
        "more than 5% is too much."
    )
    assert finding.remedy.startswith('Set momentum to 0.97 or less, or averaging="debiased"')
    assert 0.97**100 < 0.05 < 0.98**100


@pytest.mark.parametrize(
    ("momentum", "enough"), [(0.99, 299), (0.9, 29), (0.999, 2995), (0.0, 1)], ids=["0.99", "0.9", "0.999", "0"]
)
def test_how_many_steps_are_enough(momentum, enough):
    model = chain(BatchNormalization(momentum=momentum))
    assert rules(model, training_steps=enough) == []
    if enough > 1:
        assert len(rules(model, training_steps=enough - 1)) == 1


def test_averages_that_hold_nothing_of_the_start_are_not_stale():
    for averaging in ("debiased", "cumulative"):
        assert rules(chain(BatchNormalization(averaging=averaging)), training_steps=2) == []
    assert rules(chain(BatchNormalization(trainable=False)), training_steps=2) == []


@pytest.mark.parametrize(
    ("optimizer", "updates"),
    [
        (keras.optimizers.SGD(0.0), 3),
        (keras.optimizers.SGD(0.0, gradient_accumulation_steps=2), 2),  # the one left over is not known
        (keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0)), 3),
    ],
    ids=["sgd", "accumulating", "scaling"],
)
def test_steps_are_those_of_the_optimizer(optimizer, updates):
    model = compiled(chain(BatchNormalization(name="bn"), layers.Dense(1)), "mse", optimizer)
    assert rules(model) == []
    model.fit(np.zeros((6, 8)), np.zeros(6), batch_size=2, epochs=1, verbose=0)
    (finding,) = lint(model).findings
    assert f"over {updates} updates" in finding.problem
    assert rules(model, training_steps=300) == []


def test_a_layer_called_twice_averages_twice_a_step():
    left, right, shared = keras.Input((8,)), keras.Input((8,)), BatchNormalization()
    model = keras.Model([left, right], [shared(left), shared(right)])
    assert rules(model, training_steps=150) == []
    assert len(rules(model, training_steps=149)) == 1


# Models of every kind


def test_the_factorys_models_have_no_findings():
    for name, shape in (("mlp", (8,)), ("convnet", (8, 8, 1)), ("resnet", (8, 8, 1))):
        model = compiled(create_model(name, shape, 3, dropout=0.5), SoftmaxCrossEntropy())
        assert lint(model, training_steps=30) == ((), ())


def test_nested_models_are_seen_through():
    encoder = chain(layers.Dense(5, name="dense"), BatchNormalization(name="bn"), layers.Dropout(0.5, name="drop"))
    encoder.name = "encoder"
    head = chain(BatchNormalization(name="bn"), layers.Dense(3, activation="softmax", name="logits"), shape=(5,))
    head.name = "head"
    inputs = keras.Input((8,))
    model = compiled(keras.Model(inputs, head(encoder(inputs))), SoftmaxCrossEntropy())
    assert rules(model, training_steps=100) == [
        ("encoder/dense", "bias-before-bn"),
        ("encoder/drop", "dropout-before-bn"),
        ("head/logits", "softmax-and-logits"),
        ("encoder/bn", "stale-average"),
        ("head/bn", "stale-average"),
    ]
    assert "head/bn averages" in lint(model).findings[1].problem


class Block(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(5, name="dense"), BatchNormalization(name="bn")]

    def call(self, x, training=None):
        return self.parts[1](self.parts[0](x), training=training)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder = chain(layers.Dense(5, name="dense"), BatchNormalization(name="bn"))
        self.encoder.name = "encoder"
        self.block = Block(name="block")

    def call(self, x, training=None):
        return self.block(self.encoder(x, training=training), training=training)


def test_what_cannot_be_seen_is_told():
    model = compiled(Subclassed(), SoftmaxCrossEntropy())
    model(np.zeros((2, 8)))
    found = lint(model, training_steps=10)
    assert [(one.layer, one.rule) for one in found.findings] == [
        ("encoder/dense", "bias-before-bn"),
        ("encoder/bn", "stale-average"),
        ("block/bn", "stale-average"),
    ]
    assert len(found.notes) == 2
    assert found.notes[0].startswith("What stands before and after block/bn cannot be seen")
    assert found.notes[1].startswith("Whether the outputs are what the loss takes")
    assert len(lint(chain(Block(name="block"))).notes) == 1


def test_the_model_is_left_as_it_was():
    model = create_model("mlp", (8,), 3)
    lint(model)
    dense = model.get_layer("dense_1")
    assert dense.output is model.get_layer("bn_1").input  # raises if there were a second call
    assert keras.layers.Dense(1).name.startswith("dense")


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (layers.Dense(3), {}, "model: expected a keras.Model; received 'Dense'."),
        (None, {}, "model: expected a keras.Model; received 'NoneType'."),
        (0, {"training_steps": 0}, "training_steps: expected a whole number of at least 1; received 0."),
        (0, {"training_steps": 1.5}, "training_steps: expected a whole number of at least 1; received 1.5."),
    ],
    ids=["layer", "none", "no steps", "half a step"],
)
def test_bad_input(model, arguments, said):
    with pytest.raises(InputError) as raised:
        lint(chain(BatchNormalization()) if model == 0 else model, **arguments)
    assert str(raised.value) == said
