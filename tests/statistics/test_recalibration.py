"""Tests of kerasbn.statistics.recalibrate: statistics against float64 NumPy, what is left alone, what is refused."""

from inspect import signature

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization
from kerasbn.statistics.batches import Batches
from kerasbn.statistics.recalibration import recalibrate

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(50, 3)) * [1, 5, 0.1] + [0, -2, 30]).astype("float32")


@pytest.fixture(params=[keras.layers.BatchNormalization, BatchNormalization], ids=["keras", "kerasbn"])
def norm(request):
    return request.param


def randomized(model):
    """Give a model's weights, and its moving statistics, other values than the initial ones."""
    for number, variable in enumerate(model.variables):
        if variable.dtype == "float32":
            variable.assign(np.abs(np.random.default_rng(number).normal(size=variable.shape)) + 0.1)
    return model


def two_layers(norm=BatchNormalization, dropout=0.0, **arguments):
    """dense, bn, relu, dense, bn: the second is deep enough to see what the first does."""
    inputs = keras.Input((3,))
    x = norm(name="first", **arguments)(keras.layers.Dense(4, name="a")(inputs))
    x = keras.layers.Dropout(dropout)(keras.layers.ReLU()(x))
    x = norm(name="second", **arguments)(keras.layers.Dense(5, name="b")(x))
    return randomized(keras.Model(inputs, keras.layers.Dense(2)(x)))


def statistics(model):
    return {
        layer.name: (layer.moving_mean.numpy(), layer.moving_variance.numpy())
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }


def dense(model, name, x):
    kernel, bias = (np.asarray(w, np.float64) for w in model.get_layer(name).get_weights())
    return x @ kernel + bias


def normalized(layer, x, mean, variance):
    gamma, beta = layer.gamma.numpy().astype(np.float64), layer.beta.numpy().astype(np.float64)
    return (x - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


def two_layers_in_numpy(model, x, moments):
    """Return what `statistics` should be; `moments` maps values to mean and variance."""
    first = dense(model, "a", x.astype(np.float64))
    hidden = np.maximum(normalized(model.get_layer("first"), first, *moments(first)), 0)
    return {"first": moments(first), "second": moments(dense(model, "b", hidden))}


def population(values, ddof=0):
    return values.mean(0), values.var(0, ddof=ddof)


def assert_close(found, expected, rtol=1e-5):
    assert set(found) == set(expected)
    for name, values in expected.items():
        for one, other in zip(found[name], values, strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-6, err_msg=name)


def test_population_layer_by_layer(norm):
    model = two_layers(norm, dropout=0.9)
    weights = [w.numpy() for w in model.trainable_variables]
    old = statistics(model)
    done = recalibrate(model, X)
    new = statistics(model)
    assert_close(new, two_layers_in_numpy(model, X, population))
    for before, now in zip(weights, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, now.numpy())
    assert [(change.layer, change.values) for change in done.layers] == [("first", 50), ("second", 50)]
    assert (done.left, done.sweeps) == ({}, 1)
    mean_change = np.max(np.abs(old["first"][0] - new["first"][0]) / np.sqrt(new["first"][1] + 1e-3))
    assert done.layers[0].mean_change == pytest.approx(mean_change, rel=1e-5)
    again = recalibrate(model, X).layers[1]
    assert again.mean_change < 1e-6
    assert again.variance_ratio == pytest.approx(1, abs=1e-6)


def test_a_moving_variance_that_is_to_be_unbiased():
    model = two_layers(variance_estimator="unbiased")
    recalibrate(model, X)
    assert_close(statistics(model), two_layers_in_numpy(model, X, lambda values: population(values, ddof=1)))


@pytest.mark.parametrize("size", [1, 7, 50])
def test_population_does_not_depend_on_the_cut(size):
    model, other = two_layers(), two_layers()
    recalibrate(model, tf.data.Dataset.from_tensor_slices(X).batch(size))
    recalibrate(other, X, batch_size=16)
    assert_close(statistics(model), statistics(other), rtol=1e-6)


@pytest.mark.parametrize("order", ["layerwise", "one_pass"])
@pytest.mark.parametrize("estimator", ["population", "mean_of_unbiased"])
def test_with_a_batch_size_nothing_depends_on_the_cut(order, estimator):
    model, other = two_layers(), two_layers()
    options = {"order": order, "estimator": estimator, "batch_size": 10}
    recalibrate(model, [(X[:3],), (X[3:4],), (X[4:29],), (X[29:],)], **options)
    recalibrate(other, X, **options)
    assert_close(statistics(model), statistics(other), rtol=1e-6)


def test_mean_of_unbiased():
    model = two_layers()

    def papers(values):
        batches = values.reshape(5, 10, -1)
        return batches.mean(1).mean(0), 10 / 9 * batches.var(1).mean(0)

    recalibrate(model, X, estimator="mean_of_unbiased", batch_size=10)
    assert_close(statistics(model), two_layers_in_numpy(model, X, papers))


def test_mean_of_unbiased_with_a_smaller_last_batch():
    model = two_layers()
    recalibrate(model, X[:21], estimator="mean_of_unbiased", batch_size=10)  # the last has one example
    values = dense(model, "a", X[:21].astype(np.float64))
    within = sum(part.var(0) * len(part) for part in (values[:10], values[10:20])) / 18
    assert_close({"": statistics(model)["first"]}, {"": (values.mean(0), within)})


def test_one_pass(norm):
    model = two_layers(norm, dropout=0.9)
    first = dense(model, "a", X.astype(np.float64))
    parts = [
        np.maximum(normalized(model.get_layer("first"), part, *population(part)), 0) for part in np.split(first, 5)
    ]
    expected = {"first": population(first), "second": population(dense(model, "b", np.concatenate(parts)))}
    recalibrate(model, X, order="one_pass", batch_size=10)
    assert_close(statistics(model), expected)
    other = two_layers(norm, dropout=0.9)
    recalibrate(other, X, order="one_pass", batch_size=50)
    recalibrate(model, X)
    assert_close(statistics(model), statistics(other))


def test_a_large_offset_loses_no_digits():
    model = keras.Sequential([keras.Input((1,)), BatchNormalization()])
    x = (RNG.normal(size=(1000, 1)) * 0.5 + 1e4).astype("float32")
    recalibrate(model, x, batch_size=7)
    mean, variance = population(x.astype(np.float64))
    np.testing.assert_allclose(model.layers[0].moving_mean, mean, rtol=1e-7)
    np.testing.assert_allclose(model.layers[0].moving_variance, variance, rtol=1e-6)


@pytest.mark.parametrize("axis", [-1, 1, (1, 3)])
def test_images(axis):
    images = RNG.normal(2, 3, size=(9, 4, 5, 6)).astype("float32")
    model = keras.Sequential([keras.Input((4, 5, 6)), BatchNormalization(axis=axis)])
    done = recalibrate(model, images, batch_size=4)
    others = {-1: (0, 1, 2), 1: (0, 2, 3), (1, 3): (0, 2)}[axis]
    np.testing.assert_allclose(model.layers[0].moving_mean, images.mean(others), rtol=1e-5)
    np.testing.assert_allclose(model.layers[0].moving_variance, images.var(others), rtol=1e-5)
    assert done.layers[0].values == np.prod([images.shape[a] for a in others])


def test_activations_larger_than_what_is_summed_at_once():
    x = RNG.normal(size=(5, 500, 1000)).astype("float32")
    model = keras.Sequential([keras.Input((500, 1000)), BatchNormalization(axis=1)])
    recalibrate(model, x)
    np.testing.assert_allclose(model.layers[0].moving_variance, x.var((0, 2), dtype=np.float64), rtol=1e-6)


def test_masks(norm):
    words = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 1, 2, 0]])
    inputs = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(5, 3, mask_zero=True, name="embedding")(inputs)
    model = randomized(keras.Model(inputs, norm(name="bn")(x)))
    done = recalibrate(model, words, batch_size=2)
    vectors = model.get_layer("embedding").get_weights()[0][words[words > 0]]
    assert_close(statistics(model), {"bn": population(vectors)})
    assert done.layers[0].values == 6


def test_where_nothing_counts_the_statistics_stay():
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.Masking(), BatchNormalization(name="bn")])
    before = statistics(randomized(model))
    for order in ("layerwise", "one_pass"):
        assert recalibrate(model, np.zeros((2, 4, 3), "float32"), order=order).layers[0].values == 0
        assert_close(statistics(model), before, rtol=0)


def test_a_layer_with_two_inputs_counts_both(norm):
    one, two = keras.Input((3,), name="one"), keras.Input((3,), name="two")
    shared, after = norm(name="shared"), norm(name="after")
    model = keras.Model([one, two], after(keras.layers.Add()([shared(one), shared(two)])))
    randomized(model)
    data = {"one": X, "two": X[::-1] * 2}
    done = recalibrate(model, data, batch_size=20)
    both = population(np.concatenate([data["one"], data["two"]]).astype(np.float64))
    added = sum(normalized(shared, x, *both) for x in data.values())
    assert_close(statistics(model), {"shared": both, "after": population(added)})
    assert [change.values for change in done.layers] == [100, 50]
    assert done.sweeps == 2  # the second shows that nothing moves any more
    recalibrate(model, [X, X[::-1] * 2], order="one_pass", batch_size=20)  # a list is in the order of the inputs
    assert_close({"shared": statistics(model)["shared"]}, {"shared": both})


def test_a_layer_that_depends_on_itself_settles():
    inputs, bn, layer = keras.Input((3,)), BatchNormalization(name="bn"), keras.layers.Dense(3, activation="tanh")
    x = inputs
    for _ in range(3):
        x = layer(bn(x))
    model = randomized(keras.Model(inputs, x))
    done = recalibrate(model, X)
    assert done.sweeps > 2
    mean, variance = statistics(model)["bn"]
    seen, x = [], X
    for _ in range(3):
        seen.append(x)
        x = layer(bn(x)).numpy()
    assert_close({"": (mean, variance)}, {"": population(np.concatenate(seen))})


def test_what_never_settles_is_said(monkeypatch):
    monkeypatch.setattr("kerasbn.statistics.recalibration._MOST_SWEEPS", 1)
    inputs, bn = keras.Input((3,)), BatchNormalization()
    model = keras.Model(inputs, bn(bn(inputs)))
    with pytest.warns(UserWarning, match="After 1 sweeps the statistics still move by .* deviations"):
        recalibrate(model, X)


class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.steps = [keras.layers.Dense(4, name="a"), BatchNormalization(name="first"), keras.layers.ReLU()]

    def call(self, x):
        for step in self.steps:
            x = step(x)
        return x


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.block, self.b, self.second = Block(), keras.layers.Dense(5, name="b"), BatchNormalization(name="second")
        self.unused = BatchNormalization(name="unused")
        self.state = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def build(self, shape):
        self.unused.build(shape)

    def call(self, x):
        self.state.assign_add(1.0)
        return self.traced(self.block(x))

    @tf.function  # is traced before `recalibrate` sees it
    def traced(self, x):
        return self.second(self.b(x))


def test_models_of_the_users_own():
    model = Own()
    model(X)
    calls = float(model.state)
    done = recalibrate(model, X)
    model.get_layer = {layer.name: layer for layer in (*model.block.steps, model.b, model.second)}.__getitem__
    layers = [model.block.steps[1], model.second]
    found = {layer.name: (layer.moving_mean.numpy(), layer.moving_variance.numpy()) for layer in layers}
    assert_close(found, two_layers_in_numpy(model, X, population))
    assert done.left == {"unused": "nothing of the data comes to it"}
    assert float(model.state) == calls
    assert not tf.config.functions_run_eagerly()


def test_nested_models():
    inner = two_layers()
    outer = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0), inner, BatchNormalization(name="outer")])
    done = recalibrate(outer, X)
    assert [change.layer.split("/")[-1] for change in done.layers] == ["first", "second", "outer"]
    assert_close(statistics(inner), two_layers_in_numpy(inner, X * 2, population))
    assert_close(statistics(outer), {"outer": population(inner(X * 2).numpy())})


def test_time_distributed_layers_see_all_steps():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.TimeDistributed(BatchNormalization())])
    x = X[:48].reshape(8, 6, 3)
    recalibrate(model, [(x[:4, :1],), (x[4:],)])
    layer = model.layers[0].layer
    values = np.concatenate([x[:4, :1].reshape(-1, 3), x[4:].reshape(-1, 3)])
    assert_close({"": (layer.moving_mean.numpy(), layer.moving_variance.numpy())}, {"": population(values)})


def test_renorm(norm):
    if "renorm" not in signature(norm).parameters:
        pytest.skip(f"the layer of Keras {keras.__version__} has no renorm")
    model = keras.Sequential([keras.Input((3,)), norm(renorm=True)])
    recalibrate(model, X)
    layer = model.layers[0]
    deviation = np.sqrt(X.var(0) + layer.epsilon)
    for name, value in (
        ("moving_mean", X.mean(0)),
        ("moving_variance", X.var(0)),
        ("moving_stddev", deviation),
        ("renorm_mean", X.mean(0)),
        ("renorm_stddev", deviation),
    ):
        np.testing.assert_allclose(getattr(layer, name), value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_frozen_layers_are_left(norm):
    model = two_layers(norm)
    model.get_layer("first").trainable = False
    before = statistics(model)
    assert recalibrate(model, X).left == {"first": "its statistics are frozen"}
    assert_close({"": statistics(model)["first"]}, {"": before["first"]}, rtol=0)
    assert recalibrate(model, X, frozen=True).left == {}
    assert_close(statistics(model), two_layers_in_numpy(model, X, population))
    assert not model.get_layer("first").trainable
    model = two_layers(freeze="statistics")
    with pytest.raises(InputError, match="its statistics are frozen.*frozen=True recalibrates"):
        recalibrate(model, X)


def test_mixed_precision():
    inputs = keras.Input((3,))
    layer = BatchNormalization(dtype="mixed_float16")
    model = keras.Model(inputs, layer(inputs))
    x = X * np.float32(100)  # squares beyond the range of float16
    recalibrate(model, x)
    half = x.astype("float16").astype(np.float64)
    assert_close({"": (layer.moving_mean.numpy(), layer.moving_variance.numpy())}, {"": population(half)})


def test_training_goes_on_as_if_nothing_had_been():
    def trained(between):
        keras.utils.set_random_seed(0)
        model = two_layers(dropout=0.5)
        model.compile("adam", "mse")
        model.fit(X, np.zeros((50, 2)), verbose=0, shuffle=False)
        before = model.get_weights()
        if between:
            recalibrate(model, X, order=between)
            model.set_weights(before)  # back to the moving averages
        model.fit(X, np.zeros((50, 2)), verbose=0, shuffle=False)
        return model.get_weights()

    for order in ("layerwise", "one_pass"):
        for one, other in zip(trained(None), trained(order), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["layerwise", "one_pass"])
def test_what_fails_leaves_the_model_as_it_was(order):
    model = two_layers()
    before = model.get_weights()
    bad = X.copy()
    bad[-1, 0] = np.inf
    with pytest.raises(InputError) as caught:
        recalibrate(model, bad, order=order, batch_size=10)
    assert str(caught.value) == (
        "first: inputs: expected finite values; received NaN or infinite ones. "
        "Look for such values in the data, and for weights that diverged."
    )

    def interrupted():
        yield X
        raise KeyboardInterrupt

    class Interrupted:
        __iter__ = staticmethod(interrupted)

    with pytest.raises(KeyboardInterrupt):
        recalibrate(model, Interrupted(), order=order)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "call" not in vars(model.get_layer("first"))


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return X[10 * index : 10 * index + 10], np.zeros(10)


def test_forms_of_data():
    expected = two_layers()
    recalibrate(expected, X)
    slices = tf.data.Dataset.from_tensor_slices((X, np.zeros(50)))
    for data, options in (
        ((X, np.zeros(50)), {}),
        ((X, np.zeros(50), None), {}),
        (tf.constant(X), {}),
        (pd.DataFrame(X), {}),
        (slices.batch(20), {"batch_size": 7}),
        (slices.batch(10).repeat(), {"steps": 5}),
        (Sequence(), {}),
        ((Sequence()[i] for i in range(5)), {"steps": 9}),  # a generator is gone through once
        ([Sequence()[i] for i in range(5)], {}),
        ([(X[:0],), (X,)], {}),
    ):
        model = two_layers()
        recalibrate(model, data, **options)
        assert_close(statistics(model), statistics(expected), rtol=1e-6)


def test_batches_of_other_shapes_are_not_put_together():
    given = [np.zeros((3, 2)), np.zeros((2, 2)), np.zeros((3, 4)), np.zeros((1, 4))]
    batches = Batches([(x,) for x in given], batch_size=4)
    assert [x.shape for x in batches] == [(4, 2), (1, 2), (4, 4)]
    assert len(list(batches)) == 3  # and again


def test_progress_is_told(capsys):
    recalibrate(two_layers(), X, verbose=True)
    assert capsys.readouterr().err == "recalibrating: layer 1/2  first\nrecalibrating: layer 2/2  second\n"


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (X, {"estimator": "mean"}, "estimator: expected one of 'population', 'mean_of_unbiased'; received 'mean'."),
        (X, {"order": "one"}, "order: expected one of 'layerwise', 'one_pass'; received 'one'."),
        (X, {"batch_size": 0}, "batch_size: expected a whole number of at least 1; received 0."),
        (X, {"steps": 1.5}, "steps: expected a whole number of at least 1; received 1.5."),
        (X[:0], {}, "data: expected at least one example; received none."),
        ([X, X[:9]], {}, "data: expected inputs with the same number of examples; received 9 and 50."),
        (None, {}, "data: expected an array, a list or dict of arrays"),
        ([([[1.0, 2.0]],)], {}, "data: expected batches of arrays; received a batch whose inputs are list."),
        ([], {}, "data: expected examples that come to a BatchNormalization; received none."),
        (tf.data.Dataset.from_tensors(X).repeat(), {}, "steps: expected a number of batches for data that may have no"),
        (iter([(X,)]), {}, "steps: expected a number of batches for data that may have no end; received None. Say"),
        (X[:, :2], {}, "data: expected batches that the model can be called on; received (50, 2)."),
        (X[:9], {"estimator": "mean_of_unbiased", "batch_size": 1}, "first: inputs: expected more than one value of"),
    ],
)
def test_refused_data(data, options, message):
    with pytest.raises(InputError) as caught:
        recalibrate(two_layers(), data, **options)
    assert str(caught.value).startswith(message)


def test_refused_models():
    with pytest.raises(InputError, match=r"model: expected a keras\.Model; received BatchNormalization\."):
        recalibrate(BatchNormalization(), X)
    with pytest.raises(InputError, match="model: expected one that is built; .* Call it once on a batch"):
        recalibrate(keras.Sequential([BatchNormalization()]), X)
    with pytest.raises(InputError, match="model: expected at least one BatchNormalization; received 'plain' without"):
        recalibrate(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="plain"), X)
    with pytest.raises(InputError, match="bn: inputs: expected a mean and a variance within float32"):
        recalibrate(
            keras.Sequential([keras.Input((1,)), BatchNormalization(name="bn")]), np.array([[0], [1e30]], "float32")
        )


def test_masks_that_are_passed_by_position_and_lack_the_last_axis_count():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = BatchNormalization(axis=1)

        def call(self, x, training=None):
            return self.norm(x, None, keras.ops.any(x != 0, -1))

    model, x = Own(), X[:40].reshape(8, 5, 3).copy()
    x[:, 3:][np.arange(8) % 2 == 0] = 0
    model(x)
    recalibrate(model, x)
    mask = np.broadcast_to((x != 0).any(-1, keepdims=True), x.shape)
    for channel in range(5):
        values = np.float64(x[:, channel][mask[:, channel]])
        assert float(model.norm.moving_mean[channel]) == pytest.approx(values.mean(), rel=1e-5)
        assert float(model.norm.moving_variance[channel]) == pytest.approx(values.var(), rel=1e-5)


def test_layers_that_are_not_built_are_told_what_to_do():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = BatchNormalization()
            self.built = True

    with pytest.raises(InputError, match=r"1: it has no weights yet\. Call the model once on a batch\.$"):
        recalibrate(Own(), X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": X[:1]}, "expected more than one value of each channel; received one. Pass more data, or larger"),
        (
            {"data": X, "batch_size": 1, "order": "one_pass"},
            "expected more than one value of each channel in a batch; received one. Pass a larger batch_size,",
        ),
    ],
)
def test_one_value_has_no_variance(arguments, message):
    model = keras.Sequential([keras.Input((3,)), BatchNormalization(name="one"), BatchNormalization(name="two")])
    before = model.get_weights()
    with pytest.raises(InputError, match=message):
        recalibrate(model, **arguments)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_nested_lists_are_no_arrays():
    model = keras.Sequential([keras.Input((3,)), BatchNormalization()])
    with pytest.raises(InputError, match="received nested lists. np.asarray makes an array of them."):
        recalibrate(model, X.tolist())
