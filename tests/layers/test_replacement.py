import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization
from kerasbn.layers.replacement import replace_batch_normalization

KERAS = layers.BatchNormalization
RNG = np.random.default_rng(0)
ROWS = RNG.normal(2, 3, (8, 4)).astype("float32")


def filled(model):
    """The model with weights that are not those it starts with."""
    model.set_weights([RNG.uniform(0.5, 2, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def sequential():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), KERAS(), layers.ReLU(), KERAS(scale=False)])


def built_by_a_call():
    model = keras.Sequential([layers.Dense(3), KERAS(momentum=0.9)])
    model(ROWS)
    return model


def functional():
    x = inputs = keras.Input((4,), name="rows")
    x = layers.Dense(3, name="dense")(x)
    y = KERAS(name="bn", epsilon=0.1, gamma_regularizer="l2")(x) + x
    return keras.Model(inputs, {"y": y, "x": [x, -y]}, name="branches")


def called_twice():
    a, b = keras.Input((4,)), keras.Input((4,))
    dense, bn = layers.Dense(3), KERAS(center=False)
    return keras.Model([a, b], bn(dense(a)) * bn(dense(b)))


def nested():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), KERAS()], name="inner")
    outer = keras.Model(inputs, KERAS()(inner(inner(inputs), training=False)), name="outer")
    return keras.Sequential([keras.Input((4,)), outer, layers.Dense(2)])


def shared_across_models():
    dense, bn = layers.Dense(4, name="dense"), KERAS(name="bn")
    a, b = keras.Input((4,)), keras.Input((4,))
    inner = keras.Model(a, bn(dense(a)), name="inner")
    return keras.Model(b, bn(dense(inner(b))))


def from_the_middle():
    base = keras.Sequential([keras.Input((4,)), layers.Dense(4), KERAS(), layers.Dense(4), layers.ReLU()])
    start = keras.Model(base.inputs, base.layers[2].output)
    end = keras.Model(base.layers[1].output, KERAS()(base.outputs[0]))
    inputs = keras.Input((4,))
    return keras.Model([inputs, *start.inputs], end(inputs) + start.outputs[0])


def with_a_lambda():
    return keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: 2 * x), KERAS()])


def wrapped():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Reshape((2, 2)),
            layers.TimeDistributed(KERAS()),
            layers.TimeDistributed(keras.Sequential([keras.Input((2,)), layers.Dense(2), KERAS()])),
            Residual(KERAS()),
        ]
    )


class Residual(layers.Layer):
    """A layer with another one in it, which is in its config; not registered."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, inputs, training=None):
        return inputs + self.inner(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


class Block(layers.Layer):
    """A layer that makes its batch normalization itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bn = KERAS(name="inner_bn")

    def build(self, input_shape):
        self.bn.build(input_shape)

    def call(self, inputs, training=None):
        return self.bn(inputs, training=training)


class Subclassed(keras.Model):
    def __init__(self, batch_normalization=KERAS, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)
        self.bns = [batch_normalization(name="first"), batch_normalization(name="second")]

    def call(self, inputs, training=None):
        x = self.dense(inputs)
        for bn in self.bns:
            x = bn(x, training=training)
        return x


class OwnStep(keras.Model):
    """A functional model with a training step of its own."""

    def train_step(self, data):
        return {"own": super().train_step(data)["loss"]}


class Stack(keras.Sequential):
    pass


MODELS = (
    sequential,
    built_by_a_call,
    functional,
    called_twice,
    nested,
    shared_across_models,
    from_the_middle,
    with_a_lambda,
    wrapped,
)
models = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def parts(value, seen):
    """All the layers in a model, wherever they are."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, layers.Layer):
        yield value
        value = vars(value)
    if isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from parts(inner, seen)


def normalizations(model):
    return [layer for layer in parts(model, set()) if isinstance(layer, KERAS)]


def same(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        assert (a.name, a.dtype, a.trainable) == (b.name, b.dtype, b.trainable)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def close(actual, expected):
    keras.tree.assert_same_structure(actual, expected)
    for a, b in zip(keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.float64(a), np.float64(b), rtol=1e-5, atol=1e-5)


@models
def test_there_and_back(make):
    model = filled(make())
    config, weights = model.get_config(), model.get_weights()
    inputs = ROWS if len(model.inputs) == 1 else [ROWS, ROWS + 1]
    there = replace_batch_normalization(model)
    back = replace_batch_normalization(there, into=KERAS)
    assert {type(layer) for layer in normalizations(there)} == {BatchNormalization}
    assert {type(layer) for layer in normalizations(back)} == {KERAS}
    assert len(normalizations(model)) == len(normalizations(there)) == len(normalizations(back))
    for copy in (there, back):
        assert type(copy) is type(model)
        same(copy.variables, model.variables)
        if make is not from_the_middle:  # there the paths are those of other models
            assert [v.path for v in copy.variables] == [v.path for v in model.variables]
        assert copy.name == model.name
        assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
        assert not {id(layer) for layer in parts(copy, set())} & {id(layer) for layer in parts(model, set())}
        close(copy(inputs), model(inputs))
    assert model.get_config() == config
    if make not in (with_a_lambda, called_twice):  # marshalled code varies, and so does the order of two calls
        assert back.get_config() == config
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    close(there(inputs, training=True), model(inputs, training=True))
    for moved, expected in zip(there.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_what_is_shared_stays_shared():
    copy = replace_batch_normalization(shared_across_models())
    assert copy.get_layer("bn") is copy.get_layer("inner").get_layer("bn")
    assert copy.get_layer("dense") is copy.get_layer("inner").get_layer("dense")
    assert len(copy.weights) == 6


def test_inputs_and_outputs_keep_names_and_structure():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    scale = keras.Input((1,), name="scale", optional=True)
    masked = layers.Embedding(5, 2, mask_zero=True)(tokens)
    pooled = layers.GlobalAveragePooling1D()(KERAS(momentum=0.0)(masked))
    model = filled(keras.Model({"tokens": tokens, "scale": scale}, {"pooled": pooled, "scaled": [pooled * scale]}))
    copy = replace_batch_normalization(model)
    assert copy.get_config()["input_layers"] == model.get_config()["input_layers"]
    assert copy.output_names == model.output_names
    assert copy.inputs[0].dtype == model.inputs[0].dtype
    kept = model.get_layer("scale").get_config()
    assert copy.get_layer("scale").optional is kept.get("optional", False)  # which Keras 3.12 does not write
    data = {"tokens": np.array([[1, 2, 0], [3, 0, 0]]), "scale": np.ones((2, 1), "float32")}
    close(copy(data), model(data))
    close(copy(data, training=True), model(data, training=True))  # the mask arrives
    for moved, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(moved, expected, rtol=1e-5)


def test_dtypes_stay():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, dtype="mixed_bfloat16"), KERAS(dtype="mixed_float16"), KERAS()]
    )
    copy = replace_batch_normalization(filled(model))
    assert [layer.dtype_policy.name for layer in copy.layers] == ["mixed_bfloat16", "mixed_float16", "float32"]
    assert copy(ROWS).dtype == model(ROWS).dtype


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_frozen_stays_frozen(whole):
    model = nested()
    outer = model.layers[0]
    outer.trainable = whole
    outer.get_layer("inner").layers[1].trainable = not whole
    outer.layers[-1].trainable = False
    copy = replace_batch_normalization(model)
    flags = [[layer.trainable for layer in parts(m, set())] for m in (copy, model)]
    assert flags[0] == flags[1]
    assert [v.path for v in copy.trainable_variables] == [v.path for v in model.trainable_variables]


def test_state_that_is_no_weight_is_kept():
    text = keras.Input((1,), dtype="string")
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array([["a"], ["b"], ["b"]]))
    standard = layers.Normalization()
    standard.adapt(ROWS)
    rows = keras.Input((4,))
    x = layers.Concatenate()([lookup(text), standard(rows)])
    model = keras.Model([text, rows], KERAS()(layers.Dropout(0.5)(x)))
    data = [keras.ops.convert_to_tensor([["b"]] * 8), keras.ops.convert_to_tensor(ROWS)]
    model(data, training=True)
    copy = replace_batch_normalization(model)
    close(copy(data), model(data))
    close(copy(data, training=True), model(data, training=True))  # drops the same


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("make", [sequential, nested])
def test_training_goes_on(policy, make):
    keras.config.set_dtype_policy(policy)
    try:
        model = make()
        model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"], steps_per_execution=2)
        targets = np.ones((8, model.output_shape[-1]))
        model.fit(ROWS, targets, epochs=3, verbose=0)
        copy = replace_batch_normalization(model)
        assert type(copy.optimizer) is type(model.optimizer)
        assert copy.steps_per_execution == 2
        for moved, expected in zip(copy.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(moved.numpy(), expected.numpy())
        histories = [m.fit(ROWS, targets, batch_size=4, verbose=0, shuffle=False).history for m in (copy, model)]
    finally:
        keras.config.set_dtype_policy("float32")
    assert histories[0].keys() == histories[1].keys()
    for key, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][key], rtol=1e-4 if policy == "float32" else 2e-2)


def test_compiled_with_a_function_of_the_users():
    def own_loss(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred))

    model = sequential()
    model.compile("sgd", own_loss)
    with pytest.raises(TypeError, match="Could not locate function 'own_loss'"):
        replace_batch_normalization(model)
    with keras.saving.custom_object_scope({"own_loss": own_loss}):
        assert replace_batch_normalization(model).loss is own_loss


@pytest.mark.parametrize("nest", [False, True])
def test_models_of_other_classes_keep_them(nest):
    inputs = keras.Input((4,))
    x = Stack([keras.Input((4,)), layers.Dense(3), KERAS()], name="stack")(inputs) if nest else inputs
    model = OwnStep(inputs, KERAS()(x))
    model.compile("sgd", "mse")
    copy = replace_batch_normalization(filled(model))
    assert type(copy) is OwnStep
    same(copy.variables, model.variables)
    assert copy.fit(ROWS, copy(ROWS), verbose=0).history.keys() == {"own"}
    if nest:
        assert type(copy.get_layer("stack")) is Stack


def test_a_model_that_is_not_built():
    copy = replace_batch_normalization(keras.Sequential([layers.Dense(3), KERAS(momentum=0.5, name="bn")]))
    assert not copy.built
    assert copy(ROWS).shape == (8, 3)
    assert type(copy.layers[-1]) is BatchNormalization
    assert copy.layers[-1].momentum == 0.5


def test_built_layers_in_a_model_that_is_not():
    built = [layers.Dense(3), KERAS()]
    for layer, size in zip(built, (4, 3), strict=True):
        layer.build((None, size))
    model = keras.Sequential(built)
    copy = replace_batch_normalization(model)
    same(copy.layers[0].variables, built[0].variables)
    close(copy(ROWS), model(ROWS))


def test_a_network_of_keras():
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=3)
    copy = replace_batch_normalization(model)
    assert len(normalizations(copy)) == 52
    assert {type(layer) for layer in normalizations(copy)} == {BatchNormalization}
    same(copy.variables, model.variables)
    images = RNG.normal(size=(2, 32, 32, 3)).astype("float32")
    close(copy(images), model(images))


def test_subclassed_model():
    model = Subclassed(name="mine")
    model(ROWS)
    with pytest.raises(InputError) as error:
        replace_batch_normalization(filled(model))
    assert str(error.value) == (
        "mine (Subclassed): expected a layer or model that can be made again from its config, with its batch "
        "normalization in it; received one whose code makes first, second. Write the other BatchNormalization into "
        "the code of Subclassed, make it anew, call it once, and give it the weights: "
        "new.set_weights(old.get_weights())."
    )
    remedied = Subclassed(BatchNormalization)
    remedied(ROWS)
    remedied.set_weights(model.get_weights())
    close(remedied(ROWS), model(ROWS))


def test_subclassed_model_whose_config_holds_its_layers():
    class Configured(keras.Model):
        def __init__(self, inner, **kwargs):
            super().__init__(**kwargs)
            self.inner = inner

        def call(self, inputs, training=None):
            return 2 * self.inner(inputs, training=training)

        def get_config(self):
            return {"name": self.name, "inner": keras.saving.serialize_keras_object(self.inner)}

        @classmethod
        def from_config(cls, config):
            return cls(keras.saving.deserialize_keras_object(config["inner"]), name=config["name"])

    model = Configured(sequential())
    model.compile("adam", "mse")
    model.fit(ROWS, ROWS[:, :3], verbose=0)
    copy = replace_batch_normalization(model)
    assert {type(layer) for layer in normalizations(copy)} == {BatchNormalization}
    same(copy.variables, model.variables)
    same(copy.optimizer.variables, model.optimizer.variables)
    close(copy(ROWS), model(ROWS))


def test_subclassed_model_without_a_config():
    class Deep(Subclassed):
        def __init__(self, anything):
            super().__init__(name="deep")
            self.anything = anything

    with pytest.raises(InputError, match=r"deep \(Deep\): .* one whose code makes first, second"):
        replace_batch_normalization(Deep(object()))


def test_layer_that_makes_its_own():
    model = keras.Sequential([keras.Input((4,)), KERAS(), Block(name="block_1")])
    with pytest.raises(InputError, match=r"block_1 \(Block\): .* one whose code makes inner_bn\. Write the other"):
        replace_batch_normalization(model)


def test_layer_that_makes_its_own_whatever_its_config_says():
    class Deaf(Block):
        def get_config(self):
            return {**super().get_config(), "bn": keras.saving.serialize_keras_object(self.bn)}

        @classmethod
        def from_config(cls, config):
            return cls(name=config["name"])

    model = keras.Sequential([keras.Input((4,)), Deaf(name="deaf_1")])
    with pytest.raises(InputError, match=r"deaf_1 \(Deaf\): "):
        replace_batch_normalization(model)


def test_layer_with_something_added():
    dense = layers.Dense(3, name="dense_1")
    dense.helper = layers.Dense(2)
    model = keras.Sequential([keras.Input((4,)), KERAS(), dense])
    with pytest.raises(InputError) as error:
        replace_batch_normalization(model)
    assert str(error.value) == (
        "dense_1 (Dense): expected a layer of the same parts when it is made again from its config; received one of "
        "other parts. Let get_config and from_config of Dense say all that is in it."
    )


def test_layer_without_a_config_and_without_batch_normalization():
    class Opaque(layers.Layer):
        def __init__(self, anything):
            super().__init__()

        def call(self, inputs):
            return inputs

    model = keras.Sequential([keras.Input((4,)), Opaque(object()), KERAS()])
    with pytest.raises(NotImplementedError, match="get_config"):
        replace_batch_normalization(model)


@pytest.mark.parametrize("base", [KERAS, BatchNormalization])
def test_layer_of_a_class_of_its_own(base):
    class Special(base):
        pass

    model = keras.Sequential([keras.Input((4,)), Special(name="bn_1")])
    with pytest.raises(InputError, match=r"^bn_1: expected .*; received Special, which derives from it\. What it adds"):
        replace_batch_normalization(model)


def test_options():
    model = filled(wrapped())
    options = {"averaging": "cumulative", "freeze": "affine", "virtual_batch_size": 4, "momentum": 0.5}
    copy = replace_batch_normalization(model, **options, kernel="scratch")
    for layer in normalizations(copy):
        assert {key: getattr(layer, key) for key in options} == options
        assert layer.kernel.path == "scratch"
        assert not layer.updates.numpy().any()
    close(copy(ROWS), model(ROWS))
    again = replace_batch_normalization(copy, virtual_batch_size=None, freeze="none")
    same(
        [v for v in again.variables if not v.trainable],
        [v for v in copy.variables if v.name not in ("gamma", "beta") and not v.trainable],
    )
    assert {layer.averaging for layer in normalizations(again)} == {"cumulative"}


def test_counted_batches_are_kept():
    copy = replace_batch_normalization(sequential(), averaging="debiased")
    copy(ROWS, training=True)
    same(replace_batch_normalization(copy).variables, copy.variables)
    back = replace_batch_normalization(copy, into=KERAS, averaging="ema")
    assert type(back.layers[1]) is KERAS
    close(back(ROWS), copy(ROWS))


def test_freezing_says_that_the_optimizer_starts_anew():
    model = sequential()
    model.compile("adam", "mse")
    model.fit(ROWS, ROWS[:, :3], verbose=0)
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        copy = replace_batch_normalization(model, freeze="all")
    assert [v.name for v in copy.trainable_variables] == ["kernel", "bias"]


@pytest.mark.parametrize(
    ("option", "value", "default"),
    [
        ("virtual_batch_size", 4, "None"),
        ("averaging", "debiased", "'ema'"),
        ("variance_estimator", "unbiased", "'biased'"),
        ("freeze", "affine", "'none'"),
    ],
)
def test_what_keras_cannot_do_is_refused(option, value, default):
    model = keras.Sequential([keras.Input((4,)), BatchNormalization(name="bn_1", **{option: value})])
    with pytest.raises(InputError) as error:
        replace_batch_normalization(model, into=KERAS)
    assert str(error.value) == (
        f"bn_1: {option}: expected an option that keras.layers.BatchNormalization has; received {option}={value!r}. "
        f"Give {option}={default} to replace_batch_normalization too, if the copy can do without."
    )
    without = {option: {"None": None}.get(default, default.strip("'"))}
    assert type(replace_batch_normalization(model, into=KERAS, **without).layers[0]) is KERAS


def test_several_axes_are_refused_by_keras():
    model = keras.Sequential([keras.Input((4, 5)), BatchNormalization(axis=(1, 2), name="bn_1")])
    with pytest.raises(InputError, match=r"bn_1: axis: .*received \(1, 2\)\. It takes one axis"):
        replace_batch_normalization(model, into=KERAS)
    assert replace_batch_normalization(model).layers[0].axis == (1, 2)


def test_kernel_is_no_hindrance():
    model = keras.Sequential([keras.Input((4,)), BatchNormalization(kernel="scratch")])
    assert type(replace_batch_normalization(model, into=KERAS).layers[0]) is KERAS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": layers.Dense(3)}, "model: expected a keras.Model; received Dense."),
        (
            {"model": keras.Sequential(), "into": layers.Dense},
            "into: expected kerasbn.layers.BatchNormalization or keras.layers.BatchNormalization; "
            "received <class 'keras.src.layers.core.dense.Dense'>.",
        ),
        (
            {"model": keras.Sequential(), "freez": "all"},
            "options: expected keys out of 'momentum', 'synchronized', 'virtual_batch_size', 'averaging', "
            "'variance_estimator', 'freeze', 'kernel'; received 'freez'. Did you mean 'freeze'?",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError) as error:
        replace_batch_normalization(**arguments)
    assert str(error.value) == message


def test_a_bad_option_is_refused_by_the_layer():
    with pytest.raises(InputError, match=r"momentum: expected a number in \[0, 1\]; received 2"):
        replace_batch_normalization(sequential(), momentum=2)


@models
def test_weights_files_go_both_ways(make, tmp_path):
    model = filled(make())
    copy, path = replace_batch_normalization(make()), tmp_path / "model.weights.h5"
    model.save_weights(path)
    copy.load_weights(path)
    for moved, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(moved, expected)
    again = make()
    copy.save_weights(path)
    again.load_weights(path)
    for moved, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(moved, expected)


def test_keras_files_go_both_ways(tmp_path):
    model, x = filled(nested()), tmp_path / "x.npy"
    model.compile("adam", "mse")
    model.fit(ROWS, ROWS[:, :2], verbose=0)
    model.save(tmp_path / "keras.keras")
    ours = replace_batch_normalization(keras.saving.load_model(tmp_path / "keras.keras"))
    close(ours(ROWS), model(ROWS))
    ours.save(tmp_path / "ours.keras")
    np.save(x, ROWS)
    # As Keras's layer, in a process that knows nothing of kerasbn.
    code = f"""
import sys
import keras, numpy as np
custom = {{"kerasbn>BatchNormalization": keras.layers.BatchNormalization}}
model = keras.saving.load_model({str(tmp_path / "ours.keras")!r}, custom_objects=custom)
assert type(model.layers[0].layers[-1]) is keras.layers.BatchNormalization
assert int(model.optimizer.iterations) == 1
assert not any(name.startswith("kerasbn") for name in sys.modules)
np.save({str(tmp_path / "y.npy")!r}, model.predict(np.load({str(x)!r}), verbose=0))
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model(ROWS), rtol=1e-5, atol=1e-5)
