"""freeze: what stays as it is in training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import draw

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

X, Y = draw((32, 3)), draw((32, 3), seed=1)


def trained(freeze, **arguments):
    """Return which weights of a layer change when it is trained, by name."""
    keras.utils.set_random_seed(0)
    layer = BatchNormalization(freeze=freeze, **arguments)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense"), layer])
    before = {weight.name: weight.numpy() for weight in layer.weights}
    kernel = model.get_layer("dense").kernel.numpy()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(X, Y, epochs=1, verbose=0)
    assert (model.get_layer("dense").kernel.numpy() != kernel).any()  # the gradient goes through it all the same
    return {weight.name for weight in layer.weights if (weight.numpy() != before[weight.name]).any()}


AFFINE, STATISTICS = {"gamma", "beta"}, {"moving_mean", "moving_variance"}
CHANGING = {"none": AFFINE | STATISTICS, "statistics": AFFINE, "affine": STATISTICS, "all": set()}


@pytest.mark.parametrize("freeze", CHANGING)
def test_what_is_frozen_stays(freeze):
    assert trained(freeze) == CHANGING[freeze]


@pytest.mark.parametrize("freeze", CHANGING)
def test_trainable_variables(freeze):
    layer = BatchNormalization(freeze=freeze)
    layer.build((None, 3))
    trainable = 0 if freeze in ("affine", "all") else 2
    assert len(layer.trainable_variables) == trainable
    assert len(layer.weights) == 4
    layer.trainable = False
    assert len(layer.trainable_variables) == 0
    layer.trainable = True
    assert len(layer.trainable_variables) == trainable


def test_frozen_statistics_normalise():
    layer = BatchNormalization(freeze="statistics")
    layer.build(X.shape)
    layer.moving_mean.assign([1, 2, 3])
    np.testing.assert_array_equal(layer(X, training=True), layer(X, training=False))


def test_a_frozen_affine_transformation_still_normalises_by_the_batch():
    y = BatchNormalization(freeze="affine")(X, training=True)
    np.testing.assert_allclose(tf.reduce_mean(y, 0), np.zeros(3), atol=1e-6)


def test_freeze_may_be_set_later():
    layer = BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), layer])
    for freeze, trainable in (("affine", 0), ("statistics", 2), ("all", 0), ("none", 2)):
        layer.freeze = freeze
        assert len(model.trainable_variables) == trainable
        assert layer.trainable
    with pytest.raises(
        InputError, match="freeze: expected one of 'none', 'statistics', 'affine', 'all'; received 'bet"
    ):
        layer.freeze = "beta"
    assert layer.freeze == "none"


def test_models_that_are_unfrozen_leave_it_frozen():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), BatchNormalization(freeze="affine")])
    model.trainable = False
    model.trainable = True
    assert len(model.trainable_variables) == 2  # of the Dense


def test_config_round_trip_keeps_freeze_and_what_was_set_later(tmp_path):
    model = keras.Sequential([keras.Input((3,)), BatchNormalization(freeze="statistics")])
    model.layers[0].trainable = False  # which the constructor would refuse together with freeze
    model.save(tmp_path / "model.keras")
    layer = keras.saving.load_model(tmp_path / "model.keras").layers[0]
    assert (layer.freeze, layer.trainable) == ("statistics", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"freeze": "everything"}, "bn.freeze: expected one of 'none', 'statistics', 'affine', 'all'; received"),
        (
            {"freeze": "statistics", "trainable": False},
            "bn: expected options that go together; received trainable=False with freeze='statistics'. trainable=False "
            "freezes everything; leave one of the two out.",
        ),
        ({"freeze": "affine", "trainable": False}, "bn: expected options that go together; received trainable=False"),
        ({"freeze": "all", "trainable": True}, "bn: expected options that go together; received trainable=True with"),
    ],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(name="bn", **arguments)
    assert str(error.value).startswith(message)


def test_all_and_not_trainable_agree():
    assert not BatchNormalization(freeze="all", trainable=False).trainable
