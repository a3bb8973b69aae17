"""Tests of folding: each linear layer on either side, what is refused and why, what stays, and the certificate."""

import json
import math
from inspect import signature

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kerasbn.layers
from kerasbn.checks import InputError
from kerasbn.models import create_model
from kerasbn.statistics import folding, linear
from kerasbn.statistics.folding import fold
from kerasbn.statistics.graph import layers_within
from kerasbn.statistics.linear import Affine, Weights

OUT = "; it precedes an output of the model"
BOTH = (layers.BatchNormalization, kerasbn.layers.BatchNormalization)

# Inputs of 4 channels, so that groups and depth multipliers have something to mix up.
LINEAR = {
    "dense": ((4,), lambda **k: layers.Dense(3, **k)),
    "dense of sequences": ((5, 4), lambda **k: layers.Dense(3, **k)),
    "conv1d": ((9, 4), lambda **k: layers.Conv1D(6, 3, strides=2, **k)),
    "conv1d, dilated groups": ((9, 4), lambda **k: layers.Conv1D(6, 3, dilation_rate=2, groups=2, **k)),
    "conv2d": ((6, 7, 4), lambda **k: layers.Conv2D(6, (3, 2), strides=2, **k)),
    "conv2d, groups": ((6, 7, 4), lambda **k: layers.Conv2D(6, 3, groups=2, **k)),
    "conv3d": ((4, 5, 6, 4), lambda **k: layers.Conv3D(5, 2, **k)),
    "depthwise1d": ((9, 4), lambda **k: layers.DepthwiseConv1D(3, depth_multiplier=3, **k)),
    "depthwise2d": ((6, 7, 4), lambda **k: layers.DepthwiseConv2D(3, depth_multiplier=2, **k)),
    "separable1d": ((9, 4), lambda **k: layers.SeparableConv1D(5, 3, depth_multiplier=3, **k)),
    "separable2d": ((6, 7, 4), lambda **k: layers.SeparableConv2D(5, 3, depth_multiplier=2, **k)),
}
ONLY_AFTER = {
    "conv1d, causal": ((9, 4), lambda **k: layers.Conv1D(6, 3, padding="causal", **k)),
    "conv2d, same": ((6, 7, 4), lambda **k: layers.Conv2D(6, 3, padding="same", **k)),
    "conv1d transposed": ((9, 4), lambda **k: layers.Conv1DTranspose(5, 3, strides=2, **k)),
    "conv2d transposed": ((6, 7, 4), lambda **k: layers.Conv2DTranspose(5, 3, padding="same", strides=2, **k)),
    "conv3d transposed": ((3, 4, 5, 4), lambda **k: layers.Conv3DTranspose(5, 2, **k)),
}
ONLY_BEFORE = {
    "dense with an activation": ((4,), lambda **k: layers.Dense(3, activation="relu", **k)),
    "kernel of one pixel, same": ((6, 7, 4), lambda **k: layers.Conv2D(5, 1, padding="same", strides=2, **k)),
    "patches, same": ((6, 9, 4), lambda **k: layers.Conv2D(5, 3, padding="same", strides=3, **k)),
    "separable patches, same": ((6, 9, 4), lambda **k: layers.SeparableConv2D(5, 3, padding="same", strides=3, **k)),
    "conv2d transposed, one pixel": ((6, 7, 4), lambda **k: layers.Conv2DTranspose(5, 1, **k)),
}


def disturbed(model, seed=0):
    """Give a model weights and statistics that no fold could get right by chance."""
    generator = np.random.default_rng(seed)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            if variable.path.endswith(("moving_variance", "moving_stddev")):
                variable.assign(generator.uniform(0.2, 2, variable.shape))
            else:
                variable.assign(generator.normal(size=variable.shape) * 0.5)
    return model


def sequential(*parts, shape=(4,), name="net"):
    return disturbed(keras.Sequential([keras.Input(shape), *parts], name=name))


def examples(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def bn(name="bn", **arguments):
    return layers.BatchNormalization(name=name, **arguments)


def left(model):
    return dict(fold(model).certificate.left)


@pytest.mark.parametrize(("shape", "make"), {**LINEAR, **ONLY_AFTER}.values(), ids=[*LINEAR, *ONLY_AFTER])
def test_after_each_linear_layer(shape, make):
    norm = bn(dtype="float64")
    model = sequential(make(use_bias=False, dtype="float64", name="linear"), norm, shape=shape)
    folded, certificate = fold(model)
    assert certificate.folded == (("bn", "linear"),)
    assert dict(certificate.left) == {}
    assert [layer.name for layer in folded.layers] == ["linear"]
    assert folded.layers[0].use_bias
    x = examples(3, *shape)
    np.testing.assert_allclose(folded(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "make"), {**LINEAR, **ONLY_BEFORE}.values(), ids=[*LINEAR, *ONLY_BEFORE])
def test_before_each_linear_layer(shape, make):
    norm = bn(dtype="float64")
    model = sequential(norm, make(dtype="float64", name="linear"), shape=shape)
    folded, certificate = fold(model)
    assert certificate.folded == (("bn", "linear"),)
    assert [layer.name for layer in folded.layers] == ["linear"]
    x = examples(3, *shape)
    np.testing.assert_allclose(folded(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D])
def test_channels_first(kind, order):
    """TensorFlow has no such convolutions on a CPU, but kernels are laid out alike: the numbers must be the same."""
    filters = () if kind is layers.DepthwiseConv2D else (6,)
    results = []
    for data_format, axis, shape in (("channels_last", -1, (6, 7, 4)), ("channels_first", 1, (4, 6, 7))):
        conv, norm = kind(*filters, 3, data_format=data_format, name="conv"), bn(axis=axis)
        plan = folding._Plan(sequential(*[conv, norm][::order], shape=shape))
        assert plan.fold(norm) is conv
        (weights,) = plan.weights.values()
        results.append([*weights.kernels, weights.bias])
    for last, first in zip(*results, strict=True):
        np.testing.assert_array_equal(first, last)


def test_channels_first_with_the_other_axis():
    conv, norm = layers.Conv2D(6, 3, data_format="channels_first", name="conv"), bn()
    plan = folding._Plan(sequential(conv, norm, shape=(4, 6, 7)))
    assert plan.fold(norm) == f"its axis is -1, and the channel axis of conv is 1{OUT}"


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}, {"renorm": True}, {"trainable": False}])
def test_both_kinds_of_batch_normalization_in_float32(kind, arguments):
    if not set(arguments) <= {*signature(kind).parameters, "trainable"}:
        pytest.skip(f"the layer of Keras {keras.__version__} has no renorm")
    model = sequential(layers.Dense(3), kind(**arguments), layers.ReLU(), kind(**arguments), layers.Dense(2))
    folded, certificate = fold(model)
    assert len(certificate.folded) == 2
    x = examples(5, 4).astype("float32")
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
    assert certificate.relative < 1e-5


def test_arguments_of_kerasbn_that_matter_only_in_training():
    norm = kerasbn.layers.BatchNormalization(axis=(-1,), virtual_batch_size=2, averaging="debiased", freeze="all")
    model = sequential(layers.Dense(3), norm)
    assert fold(model).certificate.absolute < 1e-5


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_before_a_padded_border_only_without_shift(padding):
    model = sequential(bn(center=False), layers.Conv2D(3, 3, padding=padding, name="conv"), shape=(6, 6, 4))
    model.layers[0].moving_mean.assign(np.zeros(4))
    folded, certificate = fold(model)
    assert certificate.folded == (("bn", "conv"),)
    x = examples(2, 6, 6, 4)
    np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((6, 6, 4), lambda: layers.Conv2D(3, 3, padding="same", name="conv")),
        ((6, 6, 4), lambda: layers.Conv2D(3, 2, padding="same", name="conv")),
        ((7, 6, 4), lambda: layers.Conv2D(3, 3, strides=3, padding="same", name="conv")),
        ((None, 6, 4), lambda: layers.Conv2D(3, 3, strides=3, padding="same", name="conv")),
        ((6, 4), lambda: layers.Conv1D(3, 2, padding="causal", name="conv")),
        ((6, 4), lambda: layers.DepthwiseConv1D(2, padding="same", name="conv")),
        ((6, 4), lambda: layers.Conv1DTranspose(3, 2, name="conv")),
        ((6, 4), lambda: layers.Conv1DTranspose(3, 1, strides=2, name="conv")),
    ],
)
def test_a_shift_before_a_padded_border_stays(shape, layer):
    assert left(sequential(bn(), layer(), shape=shape)) == {
        "bn": "it follows an input of the model; its shift is not zero, and conv sees less of it at the border"
    }


def test_the_linear_layer_before_comes_first():
    model = sequential(layers.Dense(3, name="one"), bn(), layers.Dense(2, name="two"))
    folded, certificate = fold(model)
    assert certificate.folded == (("bn", "one"),)
    np.testing.assert_array_equal(folded.layers[1].get_weights()[0], model.layers[2].get_weights()[0])


def test_chains():
    after = sequential(layers.Dense(3, name="dense"), bn("a"), bn("b"), layers.ReLU())
    assert fold(after).certificate.folded == (("a", "dense"), ("b", "dense"))
    # a has no linear neighbour until b is gone
    before = sequential(bn("a"), bn("b"), layers.Dense(3, name="dense"))
    assert fold(before).certificate.folded == (("b", "dense"), ("a", "dense"))
    around = sequential(bn("a"), layers.Dense(3, name="dense"), bn("b"))
    assert fold(around).certificate.folded == (("a", "dense"), ("b", "dense"))
    for model in (after, before, around):
        folded, certificate = fold(model)
        x = examples(5, 4)
        np.testing.assert_allclose(folded(x), model(x), rtol=1e-5, atol=1e-5)
        assert certificate.absolute < 1e-5


def test_layers_that_do_nothing_at_inference_stay_and_are_seen_through():
    model = sequential(layers.Dense(3), layers.Dropout(0.5), layers.GaussianNoise(1.0), bn("a"), layers.ReLU())
    folded, certificate = fold(model)
    assert [type(layer).__name__ for layer in folded.layers] == ["Dense", "Dropout", "GaussianNoise", "ReLU"]
    assert certificate.absolute < 1e-5


def test_nested_models_and_a_nested_model_that_is_shared():
    block = sequential(
        layers.Conv1D(4, 3, padding="same", name="conv"), bn(), layers.ReLU(), shape=(8, 4), name="block"
    )
    inside = keras.Input((8, 4))
    twice = keras.Model(inside, layers.Add()([block(inside), inside]), name="twice")
    x, y = keras.Input((8, 4), name="x"), keras.Input((8, 4), name="y")
    model = disturbed(keras.Model([x, y], layers.Concatenate()([twice(x), twice(block(y))])))
    folded, certificate = fold(model)
    assert certificate.folded == (("block/bn", "block/conv"),)
    assert folded.get_layer("block") is folded.get_layer("twice").get_layer("block")
    assert [layer.name for layer in folded.get_layer("block").layers] == ["conv", block.layers[-1].name]
    pair = [examples(3, 8, 4), examples(3, 8, 4, seed=2)]
    np.testing.assert_allclose(folded(pair), model(pair), rtol=1e-5, atol=1e-5)


def test_across_the_border_of_a_nested_model():
    inputs = keras.Input((4,))
    alone = keras.Input((3,))
    norm = keras.Model(alone, bn()(alone), name="norm")
    dense = keras.Sequential([layers.Dense(3, name="dense")], name="head")
    for nested in (norm, keras.Sequential([keras.Input((3,)), bn()], name="norm")):
        model = disturbed(keras.Model(inputs, layers.ReLU()(nested(dense(inputs)))))
        folded, certificate = fold(model)
        assert certificate.folded == (("norm/bn", "head/dense"),)
        assert certificate.absolute < 1e-5
        assert [layer.name for layer in folded.layers] == [layer.name for layer in model.layers]


def test_a_pair_that_is_shared_in_the_same_way():
    x, y = keras.Input((4,), name="x"), keras.Input((4,), name="y")
    dense, norm = layers.Dense(4, name="dense"), bn()
    model = disturbed(keras.Model({"x": x, "y": y}, {"a": norm(dense(x)), "b": norm(dense(norm(dense(y))))}))
    folded, certificate = fold(model)
    assert certificate.folded == (("bn", "dense"),)
    given = {"x": examples(3, 4), "y": examples(3, 4, seed=2)}
    expected, received = model(given), folded(given)
    assert list(received) == ["a", "b"]
    for key in expected:
        np.testing.assert_allclose(received[key], expected[key], rtol=1e-5, atol=1e-5)


def functional(build, *shapes):
    inputs = [keras.Input(shape, name=f"x{index}") for index, shape in enumerate(shapes or [(4,)])]
    return disturbed(keras.Model(inputs, build(*inputs)))


def conv_used_twice(x):
    hidden = layers.Dense(4, name="dense")(x)
    return layers.Add(name="add")([bn()(hidden), hidden])


def two_batch_norms(x):
    hidden = layers.Dense(4, name="dense")(x)
    return layers.Add(name="add")([bn("a")(hidden), bn("b")(hidden)])


def shared_dense(x):
    dense = layers.Dense(4, name="dense")
    return [layers.ReLU()(bn()(dense(x))), dense(layers.ReLU(name="relu")(x))]


def dense_that_is_an_output(x):
    hidden = layers.Dense(4, name="dense")(x)
    return [hidden, bn()(hidden)]


def shared_batch_norm(x):
    norm = bn()
    return [norm(layers.Dense(4, name="one")(x)), norm(layers.Dense(4, name="two")(x))]


def next_dense_shared(x):
    dense = layers.Dense(4, name="dense")
    return [dense(bn()(x)), dense(x)]


def unused_output_of_a_nested_model(x):
    inside = keras.Input((4,))
    return keras.Model(inside, [bn()(inside), layers.ReLU()(inside)], name="inner")(x)[1]


def before_two(x):
    hidden = bn()(x)
    return [layers.Dense(4, name="one")(hidden), layers.Dense(4, name="two")(hidden)]


def told_to_train(x):
    return bn()(layers.Dense(4)(x), training=True)


def a_model_told_to_train(x):
    inside = keras.Input((4,))
    return keras.Model(inside, bn()(layers.Dense(4)(inside)), name="inner")(x, training=True)


def dropout_told_to_train(x):
    return bn()(layers.Dropout(0.5, name="dropout")(layers.Dense(4)(x), training=True))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (
            conv_used_twice,
            {"bn": "the output of dense also goes to add; it precedes add (Add), neither Dense nor a convolution"},
        ),
        (
            two_batch_norms,
            {
                "a": "the output of dense also goes to b; it precedes add (Add), neither Dense nor a convolution",
                "b": "the output of dense also goes to a; it precedes add (Add), neither Dense nor a convolution",
            },
        ),
        (
            dense_that_is_an_output,
            {"bn": "the output of dense also goes to an output of the model; it precedes an output of the model"},
        ),
        (shared_batch_norm, {"bn": "it follows one and two; it precedes an output of the model"}),
        (next_dense_shared, {"bn": "it follows an input of the model; dense also follows an input of the model"}),
        (unused_output_of_a_nested_model, {"inner/bn": "it follows an input of the model; it precedes nothing"}),
        (before_two, {"bn": "it follows an input of the model; it precedes one and two"}),
        (told_to_train, {"bn": "it is called with training=True"}),
        (a_model_told_to_train, {"inner/bn": "it is called with training=True"}),
        (
            dropout_told_to_train,
            {"bn": "it follows dropout (Dropout), neither Dense nor a convolution; it precedes an output of the model"},
        ),
    ],
)
def test_refusals_by_the_graph(build, expected):
    certificate = fold(functional(build)).certificate
    assert certificate.folded == ()
    assert dict(certificate.left) == expected
    assert certificate.absolute == 0 or build is dropout_told_to_train


def test_shared_dense_is_refused():
    (reason,) = left(functional(shared_dense)).values()
    assert reason.startswith("the output of dense also goes to an output of the model; it precedes re_lu")


def test_masks_do_not_matter_at_inference():
    def build(x):
        hidden = layers.Dense(4, name="dense")(layers.Masking()(x))
        return bn("b")(layers.Dense(3, name="last")(bn("a")(hidden, mask=keras.ops.greater(x[..., 0], 0))))

    folded, certificate = fold(functional(build, (5, 4)))
    assert certificate.folded == (("a", "dense"), ("b", "last"))
    assert certificate.absolute < 1e-5
    # The mask of the call that is gone is no longer worked out.
    assert "greater" not in [operation.name for operation in folded.operations]


class OtherBatchNormalization(layers.BatchNormalization):
    pass


def quantized():
    layer = layers.Dense(3, name="dense")
    layer.build((None, 4))
    layer.quantize("int8")
    return layer


def with_lora():
    layer = layers.Dense(3, name="dense")
    layer.build((None, 4))
    layer.enable_lora(1)
    return layer


@pytest.mark.parametrize(
    ("parts", "shape", "reason"),
    [
        (lambda: [layers.Dense(3, activation="relu", name="dense"), bn()], (4,), f"dense applies relu before it{OUT}"),
        (
            lambda: [layers.Dense(3), layers.ReLU(name="relu"), bn()],
            (4,),
            f"it follows relu (ReLU), neither Dense nor a convolution{OUT}",
        ),
        (
            lambda: [layers.EinsumDense("ab,bc->ac", 3, name="einsum"), bn()],
            (4,),
            f"it follows einsum (EinsumDense), neither Dense nor a convolution{OUT}",
        ),
        (
            lambda: [layers.Dense(3, name="dense"), bn(axis=1)],
            (5, 4),
            f"its axis is 1, and the channel axis of dense is 2{OUT}",
        ),
        (
            lambda: [layers.Dense(3, name="dense"), kerasbn.layers.BatchNormalization(axis=(1, 2), name="bn")],
            (5, 4),
            f"its axis is (1, 2), and the channel axis of dense is 2{OUT}",
        ),
        (
            lambda: [layers.Dense(3, name="dense", dtype="float32"), bn(dtype="float16")],
            (4,),
            f"it computes in float16, and dense in float32{OUT}",
        ),
        (
            lambda: [layers.Dense(3), OtherBatchNormalization(name="bn")],
            (4,),
            "it is a OtherBatchNormalization, a subclass that may compute something else",
        ),
        (lambda: [quantized(), bn()], (4,), f"dense is quantized to int8{OUT}"),
        (lambda: [with_lora(), bn()], (4,), f"dense has LoRA weights{OUT}"),
        (
            lambda: [layers.TimeDistributed(bn("inner"), name="each"), layers.Dense(3)],
            (5, 4),
            "it is inside each, which is taken as a whole",
        ),
    ],
)
def test_refusals_by_the_layers(parts, shape, reason):
    model = sequential(*parts(), shape=shape)
    certificate = fold(model).certificate
    assert list(certificate.left.values()) == [reason]
    assert certificate.absolute == 0


@pytest.mark.parametrize("variance", [-0.5, math.nan])
def test_statistics_that_make_no_factors_stay(variance):
    model = sequential(layers.Dense(3), bn())
    model.layers[1].moving_variance.assign([1, variance, 1])
    certificate = fold(model).certificate
    assert dict(certificate.left) == {"bn": "its moving_variance is negative, or its weights are not finite"}
    assert certificate.absolute == 0  # NaN in both


def test_weights_that_would_overflow_stay():
    model = sequential(layers.Dense(3, name="dense", dtype="mixed_float16"), bn(dtype="mixed_float16"))
    model.layers[1].gamma.assign([1, 1e6, 1])
    assert left(model) == {"bn": f"the weights of dense would not be finite in float16{OUT}"}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_half_precision_is_folded_and_told(policy):
    model = sequential(layers.Dense(3, dtype=policy), bn(dtype=policy))
    folded, certificate = fold(model)
    assert len(certificate.folded) == 1
    assert folded.layers[0].dtype_policy.name == policy
    assert folded.layers[0].variable_dtype == model.layers[0].variable_dtype
    assert 1e-6 < certificate.relative < 0.03


def test_integer_inputs_keep_what_makes_floats_of_them():
    model = disturbed(keras.Sequential([keras.Input((4,), dtype="int32"), bn(), layers.Dense(3, name="dense")]))
    certificate = fold(model).certificate
    assert dict(certificate.left) == {"bn": "it follows an input of the model; it makes floats of int32 for dense"}
    assert (certificate.absolute, certificate.relative, certificate.examples) == (None, None, 0)
    assert certificate.data == "none"
    assert "not measured; give data" in str(certificate)
    assert fold(model, np.arange(8).reshape(2, 4)).certificate.absolute == 0


def test_subclassed_models_are_refused():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.norm = layers.Dense(3), bn()

        def call(self, x):
            return self.norm(self.dense(x))

    class Doubled(keras.Model):
        def call(self, x):
            return 2 * super().call(x)

    net = Net()
    net(np.ones((1, 4)))
    with pytest.raises(InputError, match="model: expected a functional model, or a sequential one.*received Net"):
        fold(net)
    with pytest.raises(InputError, match="received one that is not built. Build a sequential model by calling it"):
        fold(keras.Sequential([layers.Dense(3), bn()]))
    inputs = keras.Input((4,))
    doubled = Doubled(inputs, bn()(layers.Dense(3)(inputs)), name="doubled")
    outer = keras.Model(inputs, doubled(inputs))
    for model in (doubled, outer):
        with pytest.raises(InputError, match="model 'doubled': expected .*received Doubled, which overrides `call`"):
            fold(model)


def test_the_original_stays_as_it_is():
    model = create_model("convnet", (8, 8, 3), 4)
    disturbed(model)
    model.compile("adam", "mse")
    before, config = [weight.copy() for weight in model.get_weights()], model.get_config()
    calls = {layer.name: len(layer._inbound_nodes) for layer in model.layers}
    folded = fold(model).model
    for variable in folded.variables:
        variable.assign(keras.ops.zeros_like(variable))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert model.get_config() == config
    assert {layer.name: len(layer._inbound_nodes) for layer in model.layers} == calls
    assert model.compiled
    assert not folded.compiled


@pytest.mark.parametrize(
    "model",
    [
        lambda: create_model("mlp", (4,), 3, units=(5, 4)),
        lambda: create_model("convnet", (8, 8, 3), 4),
        lambda: create_model("resnet", (8, 8, 3), 4, depth=8),
        lambda: keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), alpha=0.35, classes=10),
    ],
    ids=["mlp", "convnet", "resnet", "mobilenet"],
)
def test_whole_networks(model, tmp_path):
    model = disturbed(model())
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    folded, certificate = fold(model)
    assert len(certificate.folded) == len(norms)
    assert not certificate.left
    assert certificate.relative < 1e-5
    names = [layer.name for layer in model.layers if layer not in norms]
    assert [layer.name for layer in folded.layers] == names
    assert folded.name == model.name
    assert folded.input_shape == model.input_shape
    assert certificate.operations_after < certificate.operations_before
    # The layers of kerasbn that trained it are not needed to run it, but for the shortcut that a ResNet has.
    assert ("kerasbn" in folded.to_json()) == ("resnet" in model.name)
    folded.save(tmp_path / "folded.keras")
    again = keras.saving.load_model(tmp_path / "folded.keras")
    x = examples(2, *model.input_shape[1:])
    np.testing.assert_array_equal(again(x), folded(x))


def test_export(tmp_path):
    model = sequential(layers.Dense(3), bn(), layers.ReLU())
    folded = fold(model).model
    folded.export(tmp_path / "folded", verbose=False)
    x = tf.constant(examples(2, 4), tf.float32)
    artefact = tf.saved_model.load(tmp_path / "folded")
    np.testing.assert_allclose(artefact.serve(x), model(x), rtol=1e-5, atol=1e-5)


def test_the_rest_of_a_model_comes_along(tmp_path):
    """Masks, operations, lambdas, a vocabulary, a layer that derives values from its weights, LoRA."""
    words = layers.TextVectorization(output_mode="multi_hot", name="words")
    words.adapt(np.array(["red green", "blue green"]))
    normalization = layers.Normalization(name="normalization")
    normalization.adapt(examples(20, 4))
    text, numbers = keras.Input((), dtype="string", name="text"), keras.Input((5, 4), name="numbers")
    masked = layers.Masking(name="masking")(normalization(numbers))
    masked = layers.LSTM(3, name="lstm")(bn("a")(layers.Dense(4, name="dense")(masked)))
    tagged = bn("b")(layers.Dense(3, name="tags")(words(text)))
    mixed = keras.ops.tanh(masked + 2 * tagged)[:, :2]
    outputs = {"y": with_lora_of(layers.Lambda(lambda t: 3 * t, name="times")(mixed)), "z": masked}
    model = keras.Model({"text": text, "numbers": numbers}, outputs, name="both")
    generator = np.random.default_rng(0)
    for _, layer in layers_within(model):
        if layer is not normalization:
            weights = [generator.uniform(0.2, 1, weight.shape) for weight in layer.get_weights()]
            if not isinstance(layer, layers.TextVectorization | layers.LSTM):
                layer.set_weights(weights)
    numbers = examples(3, 5, 4)
    numbers[0, 3:] = normalization.mean  # masked
    given = {"text": tf.constant(["red", "blue green", ""]), "numbers": numbers}
    folded, certificate = fold(model, given)
    assert certificate.folded == (("a", "dense"), ("b", "tags"))
    assert certificate.data == "given"
    assert certificate.relative < 1e-5
    assert set(folded.output) == {"y", "z"}
    assert set(folded.input) == {"text", "numbers"}


def with_lora_of(tensor):
    layer = layers.Dense(2, name="lora")
    layer.build(tensor.shape)
    layer.enable_lora(1)
    return layer(tensor)


def test_regularizers_and_constraints_of_the_old_weights_go():
    parts = {"kernel_regularizer": "l2", "bias_constraint": "non_neg", "activity_regularizer": "l1"}
    model = sequential(layers.Dense(3, **parts), bn(), layers.ReLU(), layers.Dense(2, kernel_regularizer="l2"))
    dense, _, last = fold(model).model.layers
    assert (dense.kernel_regularizer, dense.bias_constraint, dense.activity_regularizer) == (None, None, None)
    assert last.kernel_regularizer is not None


def test_the_certificate_measures_each_output_by_its_own_size():
    x = keras.Input((4,))
    small = bn("a")(layers.Dense(3, name="one")(x))
    large = layers.Rescaling(1e4)(bn("b")(layers.Dense(3, name="two")(x)))
    model = disturbed(keras.Model(x, [small, large]))
    data = examples(70, 4).astype("float32")
    folded, certificate = fold(model, tf.data.Dataset.from_tensor_slices((data, np.zeros(70))).batch(32))
    expected = [np.concatenate([model(data[i : i + 32])[k] for i in (0, 32, 64)]).astype("float64") for k in (0, 1)]
    received = [np.concatenate([folded(data[i : i + 32])[k] for i in (0, 32, 64)]).astype("float64") for k in (0, 1)]
    apart = [np.abs(a - b).max() for a, b in zip(expected, received, strict=True)]
    assert certificate.absolute == max(apart)
    assert certificate.relative == max(a / np.abs(b).max() for a, b in zip(apart, expected, strict=True))
    assert certificate.examples == 70
    assert certificate.parameters_before == 2 * (15 + 12)
    assert certificate.parameters_after == 2 * 15


def test_the_certificate_as_json_and_as_text():
    model = sequential(layers.Dense(3, name="dense"), bn("a"), layers.ReLU(name="relu"), bn("b"))
    certificate = fold(model).certificate
    plain = certificate.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["folded"] == [["a", "dense"]]
    assert plain["left"] == {"b": f"it follows relu (ReLU), neither Dense nor a convolution{OUT}"}
    assert plain["examples"] == 8
    text = str(certificate).splitlines()
    assert text[0] == "BatchNormalization folded    1 of 2"
    assert text[1].endswith("over 8 random examples")
    assert text[-1] == f"left: b                      {plain['left']['b']}"


def test_a_difference_that_is_nan_on_one_side_only_is_infinite():
    model = sequential(layers.Dense(3), bn())
    data = np.full((2, 4), 1e38, "float32")
    model.layers[0].kernel.assign(np.ones((4, 3)))
    model.layers[1].gamma.assign(np.full(3, 1e-3))  # folded, the same numbers do not overflow
    certificate = fold(model, data).certificate
    assert certificate.absolute == math.inf
    assert certificate.relative == math.inf


def test_arithmetic_on_numbers():
    affine = Affine(np.array([2.0, 3.0]), np.array([1.0, 1.0]), np.array([10.0, 20.0]))
    assert affine.shift.tolist() == [8.0, 17.0]
    weights = Weights((np.array([[1.0, 2.0], [3.0, 4.0]]),), np.array([5.0, 6.0]))
    after = linear.fold_after(layers.Dense(2), weights, affine)
    assert after.kernels[0].tolist() == [[2.0, 6.0], [6.0, 12.0]]
    assert after.bias.tolist() == [18.0, 35.0]
    before = linear.fold_before(layers.Dense(2), weights, affine)
    assert before.kernels[0].tolist() == [[2.0, 4.0], [9.0, 12.0]]
    assert before.bias.tolist() == [5 + 8 + 51, 6 + 16 + 68]
