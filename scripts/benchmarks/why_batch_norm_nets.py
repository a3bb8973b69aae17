"""The nets of why_batch_norm.py and their training: with and without BatchNormalization, from the same weights."""

import itertools
import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasbn.layers import BatchNormalization
from kerasbn.losses import SoftmaxCrossEntropy

BATCH, EVALUATIONS = 60, 40
PERCENTILES = (15, 50, 85)  # as in Ioffe and Szegedy's figure 1
NORMS = PLAIN, BN, SHIFTS = ("plain", "BN", "BN + shifts")


class Kind(NamedTuple):
    """A net: what it is built of, how its weights begin, and the rate that is best for it without BN."""

    filters: tuple[tuple[int, int], ...]  # filters and stride of each convolution; () for the MLP
    deviation: float | None  # of the initial weights; None: sqrt(2 / fan_in)
    rate: float


NETS = {
    "sigmoid MLP": Kind((), 0.1, 1.0),
    "sigmoid MLP, weights a tenth": Kind((), 0.01, 1.0),
    "ReLU convnet": Kind(((8, 2), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1)), None, 0.2),
}
MLP, SMALL, CONVNET = NETS


class Data(NamedTuple):
    """Images (n, height, width, channels) and labels (n,), to train with and to validate with."""

    images: tf.Tensor
    labels: tf.Tensor
    validation_images: tf.Tensor
    validation_labels: tf.Tensor


class Shifts(keras.layers.Layer):
    """Scale and shift each unit at random, anew at every training step: a covariate shift made on purpose.

    After Santurkar et al. (2018). Such shifts are noise too, which costs accuracy as such: twice as large, they leave
    the convnet, after 1500 steps, at an accuracy of 0.82, where the plain net has 0.86.
    """

    def __init__(self) -> None:
        super().__init__()
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return scale * inputs + shift, with scale ~ U(0.75, 1.25) and shift ~ U(-0.5, 0.5) of each unit."""
        if not training:
            return inputs
        scale, shift = (keras.random.uniform(inputs.shape[-1:], -0.5, 0.5, seed=self.generator) for _ in range(2))
        return inputs * (1 + scale / 2) + shift


class Net:
    """A net to be trained again and again from new weights, its graphs traced once."""

    def __init__(self, name: str, norm: str, data: Data, ghost: int | None = None) -> None:
        """Build it with `norm`, "plain", "BN" or "BN + shifts", before every activation."""
        self.name, self.norm, self.kind = name, norm, NETS[name]
        self.data = data
        classes = int(tf.reduce_max(data.labels)) + 1
        inputs = x = keras.Input(data.images.shape[1:])
        bias = norm == PLAIN  # beta does its work otherwise
        linear: list[keras.layers.Layer] = [keras.layers.Dense(100, use_bias=bias) for _ in range(3)]
        if self.kind.filters:
            linear = [
                keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=bias)
                for filters, strides in self.kind.filters
            ]
        else:
            x = keras.layers.Flatten()(x)
        hidden = []
        for layer in linear:
            x = layer(x)
            if norm != PLAIN:
                x = BatchNormalization(momentum=0.9, averaging="debiased", virtual_batch_size=ghost)(x)
            if norm == SHIFTS:
                x = Shifts()(x)
            hidden.append(x)
            x = keras.layers.Activation("relu" if self.kind.filters else "sigmoid")(x)
        if self.kind.filters:
            x = keras.layers.GlobalAveragePooling2D()(x)
        self.model = keras.Model(inputs, keras.layers.Dense(classes)(x))
        self.hidden = keras.Model(inputs, hidden)  # inputs of the activations
        self.initial = [variable.numpy() for variable in self.model.non_trainable_variables]
        self.loss = SoftmaxCrossEntropy()

    def start(self, random: np.random.Generator) -> None:
        """Set the weights to new ones: the kernels are the same with and without BN."""
        for variable, value in zip(self.model.non_trainable_variables, self.initial, strict=True):
            variable.assign(value)
        for variable in self.model.trainable_variables:
            if len(variable.shape) == 1:
                variable.assign(np.full(variable.shape, float(variable.name == "gamma")))
            else:
                deviation = self.kind.deviation or math.sqrt(2 / math.prod(variable.shape[:-1]))
                variable.assign(random.normal(0, deviation, variable.shape))

    @tf.function
    def train(self, images: tf.Tensor, labels: tf.Tensor, order: tf.Tensor, rate: tf.Tensor) -> None:
        """Take a step of gradient descent for each row of `order`: the positions of a batch."""
        for batch in order:
            with tf.GradientTape() as tape:
                loss = self.loss(tf.gather(labels, batch), self.model(tf.gather(images, batch), training=True))
            weights = [variable.value for variable in self.model.trainable_variables]
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(rate * gradient)

    @tf.function
    def evaluate(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return accuracy and loss, in inference mode."""
        logits = self.model(images, training=False)
        right = tf.argmax(logits, -1, tf.int32) == labels
        return tf.reduce_mean(tf.cast(right, tf.float32)), self.loss(labels, logits)

    @tf.function
    def activation_inputs(self, images: tf.Tensor) -> list[tf.Tensor]:
        """Return what each activation would be given in training, (values, units); no state changes."""
        state = [[v.value for v in vs] for vs in (self.hidden.trainable_variables, self.hidden.non_trainable_variables)]
        outputs, _ = self.hidden.stateless_call(*state, images, training=True)
        return [tf.reshape(output, (-1, output.shape[-1])) for output in outputs]

    def distributions(self, images: tf.Tensor) -> list[np.ndarray]:
        """Return the inputs of each activation, every unit's sorted."""
        return [np.sort(values, axis=0) for values in self.activation_inputs(images)]

    def run(
        self,
        seed: int,
        multiple: float,
        steps: int,
        few: int | None = None,
        batch: int = BATCH,
        watched: int = 0,
    ) -> dict[str, Any]:
        """Train from new weights, on all images or the first few; return what validation says.

        With `watched`, also how the inputs of the activations drift, of so many images of the validation.
        """
        random = np.random.default_rng(seed)
        self.start(random)
        images, labels = self.data.images[:few], self.data.labels[:few]
        validation = self.data.validation_images, self.data.validation_labels
        epochs = [random.permutation(len(labels)) for _ in range(math.ceil(steps * batch / len(labels)))]
        order = np.concatenate(epochs)[: steps * batch].reshape(steps, batch).astype(np.int32)
        rate = multiple * self.kind.rate
        curve: dict[str, list[Any]] = {"steps": [], "accuracy": []}
        distributions = [self.distributions(validation[0][:watched])] if watched else []
        every = max(1, steps // EVALUATIONS)
        for step in range(every, steps + 1, every):
            self.train(images, labels, tf.constant(order[step - every : step]), tf.constant(rate))
            accuracy, loss = self.evaluate(*validation)
            curve["steps"].append(step)
            curve["accuracy"].append(float(accuracy))
            if not math.isfinite(loss):  # it has diverged, for good
                break
            if watched:
                distributions.append(self.distributions(validation[0][:watched]))
        result = {"net": self.name, "norm": self.norm, "multiple": multiple, "rate": rate, "seed": seed, **curve}
        if few is not None:
            for name, part in (("training", (images, labels)), ("validation", validation)):
                result[name] = dict(zip(("accuracy", "loss"), map(float, self.evaluate(*part)), strict=True))
        return result | (movement(distributions) if distributions else {})


def movement(distributions: list[list[np.ndarray]]) -> dict[str, Any]:
    """Return how far the units of each layer move from one evaluation to the next, and how a typical one does.

    That is the Wasserstein distance of a unit's two distributions (the mean distance of sorted values), over its
    standard deviation; a mean over the units. The typical unit is that of the last layer with the median drift.
    """
    drifts = [
        [np.mean(np.abs(new - old), axis=0) / new.std(axis=0) for old, new in zip(before, now, strict=True)]
        for before, now in itertools.pairwise(distributions)
    ]
    of_units = np.mean([layers[-1] for layers in drifts], axis=0)
    typical = np.argsort(of_units)[len(of_units) // 2]
    percentiles = [np.percentile(layers[-1][:, typical], PERCENTILES).tolist() for layers in distributions]
    return {"drift": [[float(layer.mean()) for layer in layers] for layers in drifts], "percentiles": percentiles}
