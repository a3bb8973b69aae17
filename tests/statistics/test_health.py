"""Tests of the health report: the figures of each layer, each finding on its classic case, none on sound models."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from sklearn.datasets import load_digits

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model
from kerasbn.statistics.channels import gap_of
from kerasbn.statistics.graph import batch_normalizations
from kerasbn.statistics.health import Health, LayerHealth, health
from kerasbn.statistics.moments import input_moments
from kerasbn.statistics.recalibration import recalibrate

EITHER = pytest.mark.parametrize("bn", [layers.BatchNormalization, BatchNormalization], ids=["keras", "kerasbn"])
RNG = np.random.default_rng(0)


def found(report):
    return [(finding.layer, finding.rule) for finding in report.findings]


def lone(bn=BatchNormalization, *after, shape=(2,), mean=0.5, variance=4.0, **arguments):
    """A model of one BatchNormalization, named bn, with given statistics, as if it were trained."""
    layer = bn(name="bn", **arguments)
    model = keras.Sequential([keras.Input(shape), layer, *after])
    layer.moving_mean.assign(np.broadcast_to(mean, layer.moving_mean.shape))
    layer.moving_variance.assign(np.broadcast_to(variance, layer.moving_variance.shape))
    return model


def sample(mean=0.5, variance=4.0, shape=(400, 2)):
    """Values whose moments are exactly these, in every channel."""
    x = RNG.normal(size=shape)
    axes = tuple(range(len(shape) - 1))
    return ((x - x.mean(axes)) / x.std(axes) * np.sqrt(variance) + mean).astype("float32")


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype("float32"), y[order].astype("int32")


# The figures


@EITHER
def test_a_row_of_figures(bn):
    model = lone(bn, mean=[0.5, -1.0], variance=[4.0, 0.25], epsilon=1e-3, momentum=0.9)
    data = np.concatenate([sample(1.5, 16.0, (400, 1)), sample(-1.0, 0.25, (400, 1))], axis=1)
    (row,) = health(model, data, training_steps=50).layers
    assert (row.layer, row.channels, row.momentum, row.updates, row.examples) == ("bn", 2, 0.9, 50, 400)
    assert row.staleness == pytest.approx(0.9**50)
    gap = 1 / np.sqrt(4.001)
    assert row.mean_gap == pytest.approx((gap / 2, gap), abs=1e-5)
    assert row.variance_ratio == pytest.approx(((1 + 16.001 / 4.001) / 2, 16.001 / 4.001), rel=1e-5)
    assert (row.dead, row.small_variances) == ((), ())


def test_without_data_and_steps_their_figures_are_none():
    (row,) = health(lone()).layers
    assert row == LayerHealth("bn", 2, 0.99, None, None, None, None, None, None, ())


def test_the_report_as_text():
    model = lone(mean=0.5, momentum=0.9)
    assert str(health(model, sample(0.9, 4.4), training_steps=100)).splitlines() == [
        "layer  channels  momentum  updates  stale  mean gap   variance ratio  dead  small variance",
        "bn     2         0.9       100      0%     0.2 (0.2)  1.1 (1.1)       0     0",
        "No findings.",
    ]
    lines = str(health(model, sample(3.5), training_steps=10)).splitlines()
    assert lines[2] == "2 findings:"
    assert lines[3].startswith("  bn [stale-average]: momentum 0.9 over 10 updates leaves 35%")
    assert lines[4].startswith("  bn [gap]: On these 400 examples 2 of 2 channels are off")
    assert str(Health((), (), ("A note.",))) == "No findings.\nNote: A note."


def test_the_report_as_json():
    report = health(lone(), sample(3.0))
    again = json.loads(json.dumps(report.to_dict()))
    assert again["layers"][0]["examples"] == 400
    assert again["findings"][0]["rule"] == "gap"
    assert again["notes"] == []


# gap


@EITHER
@pytest.mark.parametrize(
    ("mean", "variance", "is_found"),
    [
        (0.5, 4.0, False),
        (0.5 + 2 * 0.4, 4.0, False),
        (0.5 + 2 * 0.8, 4.0, True),
        (0.5 - 2 * 0.8, 4.0, True),
        (0.5, 4.0 * 1.3, False),
        (0.5, 4.0 / 1.3, False),
        (0.5, 4.0 * 2.2, True),
        (0.5, 4.0 / 2.2, True),
    ],
)
def test_how_far_off_is_a_gap(bn, mean, variance, is_found):
    assert found(health(lone(bn), sample(mean, variance))) == [("bn", "gap")] * is_found


def test_a_gap_has_its_numbers_and_a_remedy():
    (finding,) = health(lone(), sample(4.5, 16.0)).findings
    assert finding.problem == (
        "On these 400 examples 2 of 2 channels are off the moving statistics: means by up to 2 deviations, "
        "variances by up to 4 times."
    )
    assert "kerasbn.statistics.recalibrate(model, data)" in finding.remedy


@pytest.mark.parametrize(("channels", "is_found"), [(10, True), (11, False)])
def test_from_a_tenth_of_the_channels_on_the_layer_is_off(channels, is_found):
    data = sample(shape=(400, channels))
    data[:, 0] += 5
    assert found(health(lone(shape=(channels,)), data)) == [("bn", "gap")] * is_found


@pytest.mark.parametrize("examples", [1, 2, 3, 5, 10, 30, 100])
def test_noise_of_few_examples_is_no_gap(examples):
    """2000 channels, none of which has a gap in truth; by the look of five examples, half of them have one."""
    model = lone(shape=(2000,))
    data = (RNG.normal(size=(examples, 2000)) * 2 + 0.5).astype("float32")
    watched = batch_normalizations(model)
    gap = gap_of(watched["bn"], input_moments(model, watched, [data])["bn"])
    assert gap.off.sum() <= 4
    if examples <= 5:
        assert ((gap.mean > 0.5) | (np.abs(np.log(gap.variance)) > np.log(1.5))).mean() > 0.5
    assert found(health(model, data)) == []


def test_pixels_of_one_image_are_no_independent_witnesses():
    """Five images, each of one grey: 5 values that tell something, not 5 * 64."""
    greys = np.array([2.0, 2.4, 3.1, 2.2, 0.9]).reshape(5, 1, 1, 1) + RNG.normal(size=(5, 8, 8, 1)) / 100
    assert found(health(lone(shape=(8, 8, 1), mean=0.5), greys)) == []
    assert found(health(lone(shape=(8, 8, 1), mean=0.5), np.repeat(greys, 10, axis=0))) == [("bn", "gap")]


def test_few_examples_that_are_far_off_are_a_gap_and_the_rest_is_noted():
    report = health(lone(), sample(50.0, shape=(8, 2)))
    assert found(report) == [("bn", "gap")]
    assert report.layers[0].dead is None
    assert report.notes == ("Fewer than 100 examples came to the layers: too few for variances and dead channels.",)


def test_masked_values_do_not_count():
    data = sample(shape=(400, 6, 2))
    data[:, 3:] = 77
    model = keras.Sequential([keras.Input((6, 2)), layers.Masking(77.0), BatchNormalization(name="bn")])
    recalibrate(model, data)
    assert found(health(model, data)) == []
    (row,) = health(model, data).layers
    assert row.mean_gap[1] < 1e-5
    plain = lone(shape=(6, 2), mean=model.layers[1].moving_mean, variance=model.layers[1].moving_variance)
    assert found(health(plain, data)) == [("bn", "gap")]


def test_channels_first_and_several_channel_axes():
    for axis, channels in ((1, 3), ((1, 2), 6)):
        model = lone(shape=(3, 2), axis=axis)
        data = sample(shape=(400, 6)).reshape(400, 3, 2)
        (row,) = health(model, data).layers
        assert (row.channels, row.mean_gap[1] < 1e-3) == (channels, True)
        data[:, 1] += 5
        assert found(health(model, data)) == [("bn", "gap")]


def test_a_shared_layer_is_judged_by_all_it_takes():
    layer, left, right = BatchNormalization(name="bn"), keras.Input((2,)), keras.Input((2,))
    model = keras.Model([left, right], [layer(left), layer(right)])
    layer.moving_mean.assign([0.5, 0.5])
    layer.moving_variance.assign([13.0, 13.0])  # of both together: 4 + 3^2
    report = health(model, [sample(3.5), sample(-2.5)], training_steps=10)
    assert found(report) == []
    assert (report.layers[0].examples, report.layers[0].updates) == (800, 20)
    assert found(health(model, [sample(3.5), sample(3.5)])) == [("bn", "gap")]


def test_data_in_every_form():
    x = sample(3.0)
    forms = [(x, np.zeros(400)), tf.data.Dataset.from_tensor_slices((x, x)).batch(30), [(x[:200], 0), (x[200:], 0)]]
    expected = health(lone(), x)
    for data in forms:
        report = health(lone(), data)
        assert report.findings == expected.findings
        assert report.layers[0].mean_gap == pytest.approx(expected.layers[0].mean_gap)
    endless = ((x, x) for _ in iter(int, 1))
    assert health(lone(), endless, steps=2, batch_size=64).layers[0].examples == 800


# stale-average


def test_stale_averages_that_are_right_all_the_same_are_no_finding():
    model, data = lone(momentum=0.99), sample()
    assert found(health(model, training_steps=100)) == [("bn", "stale-average")]
    assert found(health(model, data, training_steps=100)) == []
    assert found(health(model, data + 1, training_steps=100)) == [("bn", "stale-average")]
    assert health(model, data, training_steps=100).layers[0].staleness == pytest.approx(0.366, abs=1e-3)


# dead-channels, small-variance


@EITHER
def test_channels_that_say_nothing_are_dead(bn):
    data = sample(shape=(400, 4))
    data[:, 1] = 0.5
    model = lone(bn, shape=(4,))
    model.layers[0].gamma.assign([1, 1, 0, 1])
    report = health(model, data)
    assert report.layers[0].dead == (1, 2)
    (finding,) = [one for one in report.findings if one.rule == "dead-channels"]
    assert finding.problem == "2 of 4 channels (1, 2) have the same output for all 400 examples."
    assert health(model, data[:99]).layers[0].dead is None


@pytest.mark.parametrize(
    ("after", "is_dead"),
    [
        (layers.ReLU(), True),
        (layers.Activation("relu"), True),
        (layers.ReLU(negative_slope=0.1), False),
        (layers.Activation("tanh"), False),
        (layers.Dense(2, activation="relu"), False),
        (None, False),
    ],
    ids=["ReLU", "relu", "leaky", "tanh", "dense", "nothing"],
)
def test_what_a_relu_lets_nothing_of_through_is_dead(after, is_dead):
    model = lone(BatchNormalization, *([] if after is None else [after]))
    model.layers[0].beta.assign([-20, 0])
    report = health(model, sample())
    assert report.layers[0].dead == ((0,) if is_dead else ())
    assert found(report) == [("bn", "dead-channels")] * is_dead
    if is_dead:
        assert "1 of 2 channels (0) has the same output for all 400 examples after the ReLU." in str(report)


def test_what_goes_past_the_relu_too_is_not_dead():
    inputs = keras.Input((2,))
    bn = BatchNormalization(name="bn", beta_initializer=keras.initializers.Constant(-20))
    x = bn(inputs)
    for outputs, dead in ((keras.ops.relu(x), (0, 1)), (layers.ReLU()(x) + x, ())):
        model = keras.Model(inputs, outputs)
        recalibrate(model, sample())
        assert health(model, sample()).layers[0].dead == dead


def test_a_gamma_of_zero_is_not_dead_in_a_model_that_is_not_trained():
    report = health(keras.Sequential([keras.Input((2,)), BatchNormalization(gamma_initializer="zeros")]), sample())
    assert found(report) == []


@EITHER
def test_a_variance_that_epsilon_drowns_is_found(bn):
    model = lone(bn, shape=(3,), variance=[4.0, 9e-5, 1.1e-4], epsilon=1e-3)
    (finding,) = health(model).findings
    assert (finding.layer, finding.rule) == ("bn", "small-variance")
    assert finding.problem == (
        "1 of 3 channels (1) has a moving variance down to 9e-05, where epsilon is 0.001: epsilon decides their size."
    )
    assert health(model).layers[0].small_variances == (1,)
    assert found(health(lone(bn, shape=(3,), variance=[4.0, 9e-5, 1.1e-4], epsilon=1e-5))) == []


def test_a_constant_input_is_one_finding_not_two():
    data = sample()
    data[:, 0] = 0.5
    report = health(lone(variance=[0.0, 4.0]), data)
    assert found(report) == [("bn", "dead-channels")]
    assert report.layers[0].small_variances == (0,)


# never-updated, not-finite, untrained


class Forgetful(keras.Model):
    """Does not pass `training` on: its layers never learn that it trains."""

    def __init__(self):
        super().__init__()
        self.bn, self.end = BatchNormalization(name="bn"), layers.Dense(1)

    def call(self, x, training=None):
        return self.end(self.bn(x, training=False))


def test_statistics_that_were_never_updated_are_found():
    model = Forgetful()
    model.compile("sgd", "mse")
    data = sample(mean=0.0, variance=1.0)
    assert "has not been trained yet" in str(health(model, data))
    model.fit(data, np.zeros(400), verbose=0)
    (finding,) = health(model, data).findings
    assert (finding.layer, finding.rule) == ("bn", "never-updated")
    assert "pass `training` on" in finding.remedy
    assert len(health(model, data).notes) == 1  # that the graph cannot be seen


def test_a_layer_frozen_from_the_start_is_found_among_trained_ones():
    first, second = BatchNormalization(name="first"), BatchNormalization(name="second", trainable=False)
    model = keras.Sequential([keras.Input((2,)), first, second])
    first.moving_mean.assign([0.5, 0.5])
    assert found(health(model)) == [("second", "never-updated")]


def test_statistics_and_inputs_that_are_not_finite_are_found():
    assert found(health(lone(variance=[np.nan, 1.0]), sample())) == [("bn", "not-finite")]
    data = sample()
    data[7, 1] = np.inf
    (finding,) = health(lone(), data).findings
    assert finding.problem == "What comes into the layer is NaN or infinite."


def test_a_model_that_is_not_trained_has_no_findings():
    report = health(create_model("mlp", (4,), 3, units=(5,)), sample(9.0, 50.0, (400, 4)))
    assert found(report) == []
    assert report.notes == ("The model has not been trained yet: its moving statistics are the initial ones.",)
    assert report.layers[0].mean_gap[1] > 1
    planned = health(create_model("mlp", (4,), 3, units=(5,)), training_steps=5)
    assert found(planned) == [("bn_1", "stale-average")]


def test_a_model_without_bn():
    report = health(keras.Sequential([keras.Input((2,)), layers.Dense(2)]), sample())
    assert report == Health((), (), ("There is no BatchNormalization in the model.",))
    assert str(report) == "No findings.\nNote: There is no BatchNormalization in the model."


def test_a_layer_that_the_data_do_not_come_to_is_noted():
    class Idle(keras.Model):
        def __init__(self):
            super().__init__()
            self.bn, self.idle = BatchNormalization(name="bn"), BatchNormalization(name="idle")
            self.idle.build((None, 2))

        def call(self, x):
            return self.bn(x)

    model = Idle()
    model(sample())
    recalibrate(model, sample())
    model.idle.moving_mean.assign([0.5, 0.5])
    assert health(model, sample()).notes[-1] == "The data did not come to idle."


# Sound models


@pytest.mark.parametrize(("name", "arguments"), [("mlp", {}), ("convnet", {"dropout": 0.3}), ("resnet", {"depth": 8})])
def test_the_factorys_models_have_no_findings(digits, name, arguments):
    x, y = digits
    x = x if name == "mlp" else x.reshape(-1, 8, 8, 1)
    keras.utils.set_random_seed(0)
    model = create_model(name, x.shape[1:], 10, **arguments)
    model.compile("adam", SoftmaxCrossEntropy())
    fresh = health(model, x[:200])
    assert (found(fresh), len(fresh.notes)) == ([], 1)
    model.fit(x[:1400], y[:1400], batch_size=32, epochs=2, verbose=0)
    for data in (x[:1400], x[1400:], x[1400:1410], None):
        report = health(model, data)
        assert report.findings == ()
        assert all(row.updates == 88 for row in report.layers)
    assert health(model, x[:1400]).notes == ()


def test_the_classic_failures_are_found(digits):
    x, y = digits

    def trained(momentum=0.9, rate=0.0):
        keras.utils.set_random_seed(0)
        parts = [layers.Dense(32, use_bias=False), layers.BatchNormalization(momentum=momentum, name="first")]
        parts += [layers.ReLU(), layers.Dropout(rate, name="drop"), layers.Dense(32, use_bias=False)]
        parts += [layers.BatchNormalization(momentum=momentum, name="second"), layers.ReLU(), layers.Dense(10)]
        model = keras.Sequential([keras.Input((64,)), *parts])
        model.compile("adam", SoftmaxCrossEntropy())
        model.fit(x, y, batch_size=32, epochs=3, verbose=0)
        return model

    assert found(health(trained(), x)) == []
    # Momentum of 0.99 in 3 short epochs: poor validation, though the weights are good.
    stale = [(layer, rule) for rule in ("stale-average", "gap") for layer in ("first", "second")]
    model = trained(momentum=0.99)
    assert set(stale) <= set(found(health(model, x)))
    recalibrate(model, x)  # as the remedy says
    assert found(health(model, x)) == []
    # Half of the activations dropped before a BN: its variance at inference is smaller.
    model = trained(rate=0.5)
    report = health(model, x)
    assert found(report) == [("drop", "dropout-before-bn"), ("second", "gap")]
    assert 0.4 < report.layers[1].variance_ratio[0] < 2 / 3
    # Inputs that are not divided by 16 as in training.
    assert ("first", "gap") in found(health(trained(), x * 16))


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (layers.Dense(2), {}, "model: expected a keras.Model; received 'Dense'."),
        (
            keras.Sequential([BatchNormalization(name="bn")]),
            {},
            "model: expected one that is built; received the layer bn without weights. "
            "Call the model once on data, or give it a keras.Input.",
        ),
        (lone, {"training_steps": 0}, "training_steps: expected a whole number of at least 1; received 0."),
        (lone, {"data": np.zeros((0, 2))}, "data: expected at least one example; received none."),
        (
            lone,
            {"data": np.zeros((5, 2)), "batch_size": 0},
            "batch_size: expected a whole number of at least 1; received 0.",
        ),
    ],
    ids=["no model", "not built", "no steps", "no examples", "empty batches"],
)
def test_bad_input(model, arguments, said):
    with pytest.raises(InputError) as raised:
        health(model() if model is lone else model, **arguments)
    assert str(raised.value) == said
