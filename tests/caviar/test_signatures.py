"""What of a model is in its signature: everything but what is known not to matter, or known to be a leaf."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.caviar.leaves import describe
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.schedules import InverseTime

LAYERS, L2, SCHEDULES = keras.layers, keras.regularizers.L2, keras.optimizers.schedules


def compiled(model, optimizer="sgd", loss="mse", **others):
    model.compile(optimizer, loss, **others)
    return model


def of_layers(*layers):
    return lambda **others: compiled(keras.Sequential([keras.Input((4,)), *(layer() for layer in layers)]), **others)


def described(build):
    keras.utils.clear_session(free_memory=False)
    return describe(build())


def optimizer(make, **others):
    return lambda: of_layers(lambda: LAYERS.Dense(2))(optimizer=make(), **others)


def loss(make):
    return lambda: of_layers(lambda: LAYERS.Dense(2))(loss=make())


def metric(make):
    return lambda: of_layers(lambda: LAYERS.Dense(2))(metrics=["mae", make()])


def dense(**arguments):
    return of_layers(lambda: LAYERS.Dense(2, **arguments))


def two_dense(first, second):
    return of_layers(
        lambda: LAYERS.Dense(2, kernel_regularizer=first), lambda: LAYERS.Dense(2, kernel_regularizer=second)
    )


def nested(rate, twice=False):
    def build():
        inputs = keras.Input((4,))
        block = keras.Sequential([keras.Input((4,)), LAYERS.Dense(4), LAYERS.Dropout(rate)], name="block")
        outputs = block(inputs)
        return compiled(keras.Model(inputs, block(outputs) if twice else outputs))

    return build


def frozen(trainable):
    def build():
        model = of_layers(lambda: LAYERS.Dense(2), lambda: LAYERS.BatchNormalization())()
        model.layers[1].trainable = trainable
        return model

    return build


class Scaled(LAYERS.Layer):
    def __init__(self, scale, hidden=None):
        super().__init__()
        self.scale, self._hidden = scale, hidden

    def call(self, x):
        return x * self.scale


class Configured(Scaled):
    def get_config(self):
        return {**super(Scaled, self).get_config(), "scale": self.scale}


class Net(keras.Model):
    def __init__(self, hp, units=(2,), rate=0.5):
        super().__init__()
        self.scale = hp["scale"]
        self.blocks = [LAYERS.Dense(n) for n in units]
        self.noise = LAYERS.Dropout(rate)

    def call(self, x):
        for block in self.blocks:
            x = self.scale * block(x)
        return self.noise(x)


def net(**arguments):
    def build():
        model = compiled(Net(**arguments))
        model(np.zeros((1, 4), "float32"))
        return model

    return build


def scaled_by(scale):
    return lambda x: x * scale


def error_times(scale):
    def error(y_true, y_pred):
        return keras.ops.mean(scale * keras.ops.abs(y_true - y_pred), axis=-1)

    return error


def local_class(scale):
    class Local(LAYERS.Layer):
        def call(self, x):
            return x * scale

    return Local()


class Weighted(keras.Loss):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def call(self, y_true, y_pred):
        return self.weight * (y_true - y_pred) ** 2


class Counted(keras.Metric):
    def __init__(self, step):
        super().__init__(name="counted")
        self.step, self.total = step, self.add_weight(name="total", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(self.step)

    def result(self):
        return self.total


ADAM, SGD, DECAY = keras.optimizers.Adam, keras.optimizers.SGD, SCHEDULES.ExponentialDecay
SCALE = "model/scale"

SAME = {
    "seeds": (of_layers(lambda: LAYERS.Dropout(0.1, seed=1)), of_layers(lambda: LAYERS.Dropout(0.1, seed=2)), []),
    "initializers": (dense(kernel_initializer="zeros"), dense(kernel_initializer="ones"), []),
    "nested": (nested(0.0), nested(0.5), ["model/block/dropout/rate"]),
    "rate and betas": (
        optimizer(lambda: ADAM(0.1, beta_1=0.5, beta_2=0.9, epsilon=1e-3, weight_decay=0.1)),
        optimizer(lambda: ADAM(0.2, beta_1=0.6, beta_2=0.8, epsilon=1e-4, weight_decay=0.2)),
        [f"optimizer/{name}" for name in ("beta_1", "beta_2", "epsilon", "learning_rate", "weight_decay")],
    ),
    "schedules": (
        optimizer(lambda: SGD(DECAY(0.1, 100, 0.5))),
        optimizer(lambda: SGD(DECAY(0.2, 50, 0.9))),
        [f"optimizer/learning_rate/{name}" for name in ("decay_rate", "decay_steps", "initial_learning_rate")],
    ),
    "schedules of kerasbn": (
        optimizer(lambda: SGD(InverseTime(0.1).as_keras())),
        optimizer(lambda: SGD(InverseTime(0.2).as_keras())),
        ["optimizer/learning_rate/initial_learning_rate"],
    ),
    "weights of losses": (
        optimizer(SGD, loss_weights=[0.5]),
        optimizer(SGD, loss_weights=[2.0]),
        ["loss_weights/0"],
    ),
    "class weights": (
        loss(lambda: SoftmaxCrossEntropy(class_weight={0: 1, 1: 2})),
        loss(lambda: SoftmaxCrossEntropy(class_weight={0: 1, 1: 3})),
        ["loss/class_weight/1"],
    ),
    "layers of a class of the user's": (
        net(hp={"scale": 2.0}, rate=0.1),
        net(hp={"scale": 2.0}, rate=0.2),
        ["model/noise/rate"],
    ),
    "functions made anew": (loss(lambda: error_times(2.0)), loss(lambda: error_times(2.0)), []),
    "classes made anew": (of_layers(lambda: local_class(2.0)), of_layers(lambda: local_class(2.0)), []),
    "lambdas made anew": (dense(activation=scaled_by(2.0)), dense(activation=scaled_by(2.0)), []),
    "metrics of the user's": (metric(lambda: Counted(1)), metric(lambda: Counted(1)), []),
}


@pytest.mark.parametrize("case", SAME)
def test_signatures_are_equal_where_only_leaves_differ(case):
    first, second, paths = SAME[case]
    one, other = described(first), described(second)
    assert one.signature == other.signature
    assert one.leaves.keys() == other.leaves.keys()
    assert sorted(path for path in one.leaves if one.leaves[path] != other.leaves[path]) == paths


DIFFERENT = {
    "units": (dense(), of_layers(lambda: LAYERS.Dense(3))),
    "activations": (dense(), dense(activation="relu")),
    "functions": (dense(activation=scaled_by(1.0)), dense(activation=scaled_by(2.0))),
    "a regularizer and none": (dense(), dense(kernel_regularizer=L2(0.0))),
    "regularizers that are no leaves": (
        dense(kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.1)),
        dense(kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.2)),
    ),
    "dtypes": (dense(), dense(dtype="float16")),
    "frozen layers": (frozen(True), frozen(False)),
    "shared layers": (nested(0.5), nested(0.5, twice=True)),
    "weight decay and none": (optimizer(lambda: ADAM(weight_decay=0.0)), optimizer(ADAM)),
    "optimizers": (optimizer(SGD), optimizer(ADAM)),
    "kinds of schedules": (
        optimizer(lambda: SGD(DECAY(0.1, 10, 0.5))),
        optimizer(lambda: SGD(SCHEDULES.InverseTimeDecay(0.1, 10, 0.5))),
    ),
    "momentum of a debiased average": (
        of_layers(lambda: BatchNormalization(averaging="debiased", momentum=0.9)),
        of_layers(lambda: BatchNormalization(averaging="debiased", momentum=0.8)),
    ),
    "losses": (loss(lambda: "mse"), loss(lambda: "mae")),
    "dtypes of losses": (
        loss(keras.losses.MeanSquaredError),
        loss(lambda: keras.losses.MeanSquaredError(dtype="float64")),
    ),
    "losses of the user's": (loss(lambda: Weighted(1.0)), loss(lambda: Weighted(2.0))),
    "functions as losses": (loss(lambda: error_times(1.0)), loss(lambda: error_times(2.0))),
    "functions as metrics": (metric(lambda: error_times(1.0)), metric(lambda: error_times(2.0))),
    "metrics of the user's": (metric(lambda: Counted(1)), metric(lambda: Counted(2))),
    "attributes of models": (net(hp={"scale": 1.0}), net(hp={"scale": 2.0})),
    "layers in a list of a model": (net(hp={"scale": 1.0}), net(hp={"scale": 1.0}, units=(2, 2))),
    "attributes of layers": (of_layers(lambda: Scaled(1.0)), of_layers(lambda: Scaled(2.0))),
    "arrays in layers": (of_layers(lambda: Scaled(1.0, np.ones(2))), of_layers(lambda: Scaled(1.0, np.zeros(2)))),
    "configs of layers": (of_layers(lambda: Configured(1.0)), of_layers(lambda: Configured(2.0))),
    "what a class takes from around it": (of_layers(lambda: local_class(1.0)), of_layers(lambda: local_class(2.0))),
    "lambdas": (
        of_layers(lambda: LAYERS.Lambda(lambda x: x * 2.0)),
        of_layers(lambda: LAYERS.Lambda(lambda x: x * 3.0)),
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_signatures_differ_where_anything_else_does(case):
    first, second = DIFFERENT[case]
    assert described(first).signature != described(second).signature


def test_shared_regularizers_are_not_like_two():
    shared = L2(0.1)
    one, two = described(two_dense(shared, shared)), described(two_dense(L2(0.1), L2(0.1)))
    assert one.signature != two.signature
    assert len(one.leaves) == len(two.leaves) - 1


class OwnStep(keras.Model):
    def call(self, x):
        return x

    def train_step(self, data):
        return {"loss": 0.0}


class Rate(SCHEDULES.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}


def called_anew():
    model = dense()()
    model.layers[0].call = lambda x: x
    return model


UNSUITABLE = {
    "the model is not compiled": lambda: keras.Sequential([keras.Input((4,)), LAYERS.Dense(2)]),
    "the model is compiled with run_eagerly=True": lambda: dense()(run_eagerly=True),
    "OwnStep has a train_step of its own": lambda: compiled(OwnStep()),
    "the layer dense has another call than its class Dense": called_anew,
    "the optimizer Mine is neither Keras's nor kerasbn's": optimizer(lambda: type("Mine", (SGD,), {})()),
    "optimizer/learning_rate has Rate, which cannot be told from another one": optimizer(lambda: SGD(Rate())),
    "the layer words (StringLookup) has a vocabulary, which is in no config": of_layers(
        lambda: LAYERS.StringLookup(vocabulary=["a"], name="words")
    ),
    "model/scaled/_hidden is a object, which cannot be told from another one": of_layers(lambda: Scaled(1.0, object())),
    "model/scaled/_hidden is a ResourceVariable, which cannot be told from another one": of_layers(
        lambda: Scaled(1.0, tf.Variable(1.0))
    ),
    "scale, which scaled_by.<locals>.<lambda> uses, is a object, which cannot be told from another one": dense(
        activation=scaled_by(object())
    ),
}


@pytest.mark.parametrize("reason", UNSUITABLE)
def test_what_cannot_be_compared_is_refused(reason):
    with pytest.raises(Unsuitable) as refusal:
        described(UNSUITABLE[reason])
    assert str(refusal.value) == reason
