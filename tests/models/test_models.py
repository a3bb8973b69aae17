import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.config import MODEL_CONFIGS, ConvNetConfig, MLPConfig, ResNetConfig
from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model, factory, from_config, list_models

SMALL = {"mlp": {"units": (8, 6)}, "convnet": {"filters": (4, 6), "units": (5,)}, "resnet": {"depth": 8, "filters": 2}}


def trainable_count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def names(model):
    return [layer.name for layer in model.layers]


def test_every_family_of_the_configs_can_be_built():
    assert list_models() == sorted(MODEL_CONFIGS) == sorted(factory.BUILDERS) == ["convnet", "mlp", "resnet"]


@pytest.mark.parametrize("name", list_models())
def test_models_are_functional_and_give_logits(name):
    model = create_model(name, (8, 8), 3, **SMALL[name])
    assert isinstance(model, keras.Model)
    assert model.name == name
    assert model.inputs[0].name == "inputs"
    assert model(np.zeros((2, 8, 8), "float32")).shape == (2, 3)
    head = model.get_layer("logits")
    assert head is model.layers[-1]
    assert head.use_bias
    assert head.activation is keras.activations.linear


@pytest.mark.parametrize("name", list_models())
def test_linear_layers_before_a_batch_normalization_have_no_bias(name):
    model = create_model(name, (8, 8, 3), 3, **SMALL[name])
    linear = [x for x in model.layers if isinstance(x, keras.layers.Dense | keras.layers.Conv2D)]
    assert [x.use_bias for x in linear] == [False] * (len(linear) - 1) + [True]
    kinds = [x for x in model.layers if isinstance(x, BatchNormalization)]
    assert len(kinds) == len(linear) - 1
    assert not any(type(x) is keras.layers.BatchNormalization for x in model.layers)


def test_mlp_layers():
    model = create_model("mlp", (4, 2), 3, units=(8, 6), dropout=0.5)
    layers = "inputs flatten dense_1 bn_1 activation_1 dense_2 bn_2 activation_2 dropout logits"
    assert names(model) == layers.split()
    assert trainable_count(model) == 8 * 8 + 2 * 8 + 8 * 6 + 2 * 6 + 6 * 3 + 3


def test_mlp_without_hidden_layers_is_softmax_regression():
    assert names(create_model("mlp", (4,), 3, units=())) == ["inputs", "logits"]


def test_convnet_layers():
    model = create_model("convnet", (8, 8), 3, filters=(4, 6), units=(5,), dropout=0.1)
    layers = "inputs add_channel conv_1 bn_1 activation_1 pool_1 conv_2 bn_2 activation_2 pool_2 flatten "
    layers += "dense_1 bn_3 activation_3 dropout logits"
    assert names(model) == layers.split()
    assert trainable_count(model) == 9 * 4 + 8 + 9 * 4 * 6 + 12 + 24 * 5 + 10 + 5 * 3 + 3


def test_convnet_pools_while_the_image_is_large_enough():
    model = create_model("convnet", (5, 3, 2), 3, filters=(4, 4, 4, 4), kernel_size=5, units=())
    assert [name for name in names(model) if name.startswith("pool")] == ["pool_1"]  # 5 by 3, then 2 by 1
    assert model.get_layer("flatten").output.shape == (None, 2 * 1 * 4)


def test_resnet_layers():
    model = create_model("resnet", (8, 8, 3), 10, depth=14)
    assert len([x for x in names(model) if x.startswith("conv_")]) == 13
    assert [x for x in names(model) if x.startswith("shortcut")] == ["shortcut_1", "shortcut_2"]
    assert model.get_layer("add_6").output.shape == (None, 2, 2, 64)
    assert model.layers[-2].name == "average"


# He et al. (2015), table 6, gives 0.27, 0.46, 0.66, 0.85 and 1.7 million.
@pytest.mark.parametrize(("depth", "published"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnet_parameters_are_those_published(depth, published):
    model = create_model("resnet", (32, 32, 3), 10, depth=depth)
    n = (depth - 2) // 6
    kernels = 27 * 16 + 9 * (2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
    gammas_and_betas = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert trainable_count(model) == kernels + gammas_and_betas + 64 * 10 + 10
    assert trainable_count(model) / 1e6 == pytest.approx(published, abs=0.05 if depth == 110 else 0.006)
    if depth in (20, 110):
        assert trainable_count(model) == {20: 269_722, 110: 1_727_962}[depth]


def test_resnet_shortcut_is_option_a():
    model = create_model("resnet", (4, 4, 1), 2, depth=8, filters=2)
    block = keras.Model(model.get_layer("activation_3").output, model.get_layer("add_2").output)
    block.get_layer("conv_4").set_weights([np.zeros((3, 3, 2, 4))])
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    np.testing.assert_allclose(block(x), np.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(0, 2)]))


@pytest.mark.parametrize(
    ("activation", "initializer"),
    [(name, "HeNormal") for name in ("relu", "leaky_relu", "elu", "gelu", "silu")]
    + [("selu", "LecunNormal"), ("tanh", "GlorotUniform"), ("sigmoid", "GlorotUniform")],
)
def test_initializers_fit_the_activation(activation, initializer):
    model = create_model("convnet", (8, 8), 3, activation=activation, filters=(2,), units=(3,))
    for name in ("conv_1", "dense_1"):
        assert type(model.get_layer(name).kernel_initializer).__name__ == initializer
    assert type(model.get_layer("logits").kernel_initializer).__name__ == "GlorotUniform"
    assert model.get_layer("activation_1").activation is keras.activations.get(activation)


@pytest.mark.parametrize("name", list_models())
def test_kernels_alone_are_regularized(name):
    model = create_model(name, (8, 8), 3, l1=0.25, l2=0.5, **SMALL[name])
    kernels = [v.numpy() for v in model.trainable_variables if v.name == "kernel"]
    expected = sum(0.25 * np.abs(k).sum() + 0.5 * np.square(k).sum() for k in kernels)
    np.testing.assert_allclose(sum(float(x) for x in model.losses), expected, rtol=1e-5)
    assert create_model(name, (8, 8), 3, **SMALL[name]).losses == []


@pytest.mark.parametrize("name", list_models())
def test_dropout_comes_after_the_last_batch_normalization(name):
    model = create_model(name, (8, 8), 3, dropout=0.25, **SMALL[name])
    places = [i for i, x in enumerate(model.layers) if isinstance(x, keras.layers.Dropout)]
    assert places == [len(model.layers) - 2]
    assert model.layers[places[0]].rate == 0.25


def test_batch_normalization_takes_the_config():
    model = create_model("mlp", (4,), 3, bn_momentum=0.7, bn_epsilon=1e-5)
    assert [(x.momentum, x.epsilon) for x in model.layers if x.name.startswith("bn")] == [(0.7, 1e-5)] * 2


@pytest.mark.parametrize("name", list_models())
def test_equal_seeds_give_equal_weights_and_names(name):
    models = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        models.append(create_model(name, (8, 8), 3, **SMALL[name]))
    assert names(models[0]) == names(models[1])
    assert [v.path for v in models[0].variables] == [v.path for v in models[1].variables]
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(models[0].trainable_weights[0], models[2].trainable_weights[0])


def test_from_config_is_create_model():
    for config in (MLPConfig(), ConvNetConfig(), ResNetConfig(depth=8)):
        overrides = {"depth": 8} if config.name == "resnet" else {}
        one, other = from_config(config, (8, 8), 4), create_model(config.name, (8, 8), 4, **overrides)
        assert one.get_config() == other.get_config()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_logits_are_float32_or_better(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = create_model("convnet", (8, 8), 3, **SMALL["convnet"])
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("conv_1").compute_dtype == policy.removeprefix("mixed_")
    assert model(np.zeros((2, 8, 8))).dtype == ("float64" if policy == "float64" else "float32")


@pytest.mark.parametrize("name", list_models())
def test_models_learn_and_are_saved(name, tmp_path):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(96) % 3
    x = (rng.normal(size=(96, 6, 6)) * 0.3 + y[:, None, None]).astype("float32")
    model = create_model(name, (6, 6), 3, **SMALL[name], bn_momentum=0.7)
    model.compile(keras.optimizers.Adam(0.02), SoftmaxCrossEntropy(), metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=15, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] > 0.9
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)


def test_nothing_depends_on_what_was_built_before(python):
    program = (
        "import keras; from kerasbn.models import create_model\n"
        "keras.layers.Dense(1); create_model('resnet', (8, 8), 2, depth=8)\n"
        "m = create_model('resnet', (8, 8), 2, depth=8); print(*[x.name for x in m.layers])"
    )
    printed = subprocess.check_output([*python, "-c", program], text=True, stderr=subprocess.DEVNULL)
    assert printed.split() == names(create_model("resnet", (8, 8), 2, depth=8))


@pytest.mark.parametrize("name", list_models())
def test_one_pixel_is_enough(name):
    assert create_model(name, (1, 1, 2), 2, **SMALL[name])(tf.zeros((3, 1, 1, 2))).shape == (3, 2)


@pytest.mark.parametrize(
    ("arguments", "overrides", "message"),
    [
        (
            ("resnett", (8, 8), 3),
            {},
            "name: expected one of 'convnet', 'mlp', 'resnet'; received 'resnett'. Did you mean 'resnet'?",
        ),
        (
            ("mlp", (8,), 3),
            {"unit": (3,)},
            "model: expected keys out of 'name', 'activation', 'dropout', 'l1', 'l2', 'bn_momentum', "
            "'bn_epsilon', 'units'; received 'unit'. Did you mean 'units'?",
        ),
        (("mlp", (8,), 3), {"dropout": 1.0}, "model.dropout: expected a number in [0, 1); received 1.0."),
        (
            ("mlp", (), 3),
            {},
            "input_shape: expected the sizes of one example, such as (64,) or (28, 28); received ().",
        ),
        (
            ("mlp", 64, 3),
            {},
            "input_shape: expected the sizes of one example, such as (64,) or (28, 28); received 64.",
        ),
        (("mlp", (8, None), 3), {}, "input_shape: expected a whole number of at least 1; received None."),
        (("mlp", (0,), 3), {}, "input_shape: expected a whole number of at least 1; received 0."),
        (
            ("mlp", (8,), 1),
            {},
            "num_classes: expected a whole number of at least 2; received 1. Two classes take two logits, not one.",
        ),
        (
            ("convnet", (8,), 3),
            {},
            "input_shape: expected (height, width, channels) or (height, width) for the family convnet; "
            "received (8,). Use the family mlp for inputs that are no images, or reshape them.",
        ),
        (
            ("resnet", (2, 8, 8, 3), 3),
            {},
            "input_shape: expected (height, width, channels) or (height, width) for the family resnet; "
            "received (2, 8, 8, 3). Use the family mlp for inputs that are no images, or reshape them.",
        ),
        (
            ("resnet", (8, 8, 3), 3),
            {"depth": 21},
            "model.depth: expected 6n+2 layers (8, 14, 20, 32, 44, 56, ...); received 21.",
        ),
    ],
)
def test_bad_arguments(arguments, overrides, message):
    with pytest.raises(InputError) as error:
        create_model(*arguments, **overrides)
    assert str(error.value) == message
