"""Train every configuration of a small net on the digits: the table that search_quality.py searches.

python scripts/benchmarks/search_table.py [--output FILE.npz] [--check N]

An MLP of two hidden layers, each Dense without bias, BatchNormalization (momentum 0.9), ReLU and dropout, learns 512
of scikit-learn's digits by SGD with momentum; the rate decays by the epoch, rate / (1 + decay_rate epoch). 2,304
configurations on the grids of AXES, SEEDS seeds (of the initial weights and the shuffling), 27 epochs. Models of the
same shapes are trained at once, in stacked weights, which is many times as fast on a small machine as one by one.

The file has "validation" (counts of right answers out of 640; configuration axes in the order of AXES, then seed and
epoch), "test" (out of 645, after the epoch that is best in validation; the last axis is the seed) and "meta" (JSON:
grids, split, versions). --check trains N of the configurations anew by plain Keras, from the same weights with the
same batches, and prints both.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf

from kerasbn import files
from kerasbn.training.environment import environment

AXES: dict[str, tuple[float, ...]] = {
    "learning_rate": tuple(10 ** (-3.5 + i / 2) for i in range(8)),
    "one_minus_momentum": tuple(10 ** (-2 + 2 * i / 3) for i in range(4)),
    "units": (16, 32, 64, 128),
    "batch_size": (16, 32, 64),
    "decay_rate": (0.02, 0.2),
    "dropout": (0.0, 0.25, 0.5),
}
SHAPES = ("units", "batch_size")  # what models that are trained at once have in common
SEEDS, EPOCHS, TRAIN, VALIDATION, CLASSES = 4, 27, 512, 640, 10
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-3
AT_ONCE = 1_500_000  # weights of the models that are trained at once
Weights = dict[str, np.ndarray]


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, labels and the order in which they are cut into training, validation and test."""
    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] / 16).astype(np.float32), labels[order].astype(np.int32), order


def initial(seed: int, units: int) -> Weights:
    """Return the initial weights of a seed: Glorot's uniform, as a Dense layer's."""
    random = np.random.default_rng([seed, units])

    def kernel(rows: int, columns: int) -> np.ndarray:
        limit = math.sqrt(6 / (rows + columns))
        return random.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    weights = {"kernel_0": kernel(64, units), "kernel_1": kernel(units, units), "kernel_2": kernel(units, CLASSES)}
    for layer in range(2):
        weights |= {f"gamma_{layer}": np.ones(units, np.float32), f"beta_{layer}": np.zeros(units, np.float32)}
    return weights | {"bias": np.zeros(CLASSES, np.float32)}


def shuffled(seed: int, epoch: int) -> np.ndarray:
    """Return the order of the training images in an epoch."""
    return np.random.default_rng([seed, epoch, 1]).permutation(TRAIN)


class Stack(tf.Module):
    """Models of one shape, of which each has its own rate, momentum, dropout and seed.

    Args:
        settings: One dict a model: "learning_rate", "one_minus_momentum", "decay_rate", "dropout" and "seed".
        units: Of each hidden layer.
        batch_size: Of training.
        images: Training, validation and test images, one after the other.
        labels: Theirs.
    """

    def __init__(
        self, settings: list[dict[str, Any]], units: int, batch_size: int, images: np.ndarray, labels: np.ndarray
    ) -> None:
        super().__init__()
        self.images, self.labels, self.batch_size = tf.constant(images), tf.constant(labels), batch_size
        self.seeds = np.array([s["seed"] for s in settings])
        self.rates = np.array([s["learning_rate"] for s in settings], np.float32)
        self.decays = np.array([s["decay_rate"] for s in settings], np.float32)
        self.dropout = tf.constant([s["dropout"] for s in settings], tf.float32)
        self.momentum = tf.constant([1 - s["one_minus_momentum"] for s in settings], tf.float32)
        weights = [initial(seed, units) for seed in range(SEEDS)]
        self.weights = {name: tf.Variable([weights[seed][name] for seed in self.seeds]) for name in weights[0]}
        self.velocities = {name: tf.Variable(tf.zeros_like(value)) for name, value in self.weights.items()}
        shape = (len(settings), units)
        self.random = tf.random.Generator.from_seed(0)
        self.means = [tf.Variable(tf.zeros(shape)) for _ in range(2)]
        self.variances = [tf.Variable(tf.ones(shape)) for _ in range(2)]

    def logits(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """Return [models, examples, classes] for inputs of [models or 1, examples, 64]."""
        value = inputs
        for layer, (moving_mean, moving_variance) in enumerate(zip(self.means, self.variances, strict=True)):
            value = tf.matmul(value, self.weights[f"kernel_{layer}"])
            mean, variance = moving_mean[:, None], moving_variance[:, None]
            if training:
                mean, variance = tf.nn.moments(value, [1], keepdims=True)
                for moving, new in ((moving_mean, mean), (moving_variance, variance)):
                    moving.assign(BN_MOMENTUM * moving + (1 - BN_MOMENTUM) * tf.stop_gradient(new[:, 0]))
            scale = self.weights[f"gamma_{layer}"][:, None] * tf.math.rsqrt(variance + BN_EPSILON)
            value = tf.nn.relu((value - mean) * scale + self.weights[f"beta_{layer}"][:, None])
            if training:
                rate = self.dropout[:, None, None]
                value *= tf.cast(self.random.uniform(tf.shape(value)) >= rate, tf.float32) / (1 - rate)
        return tf.matmul(value, self.weights["kernel_2"]) + self.weights["bias"][:, None]

    @tf.function
    def train(self, orders: tf.Tensor, rates: tf.Tensor) -> None:
        """Train an epoch: orders of [models, examples], rates of [models]."""
        for step in tf.range(TRAIN // self.batch_size):
            batch = orders[:, step * self.batch_size : (step + 1) * self.batch_size]
            with tf.GradientTape() as tape:
                logits = self.logits(tf.gather(self.images, batch), training=True)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(self.labels, batch), logits)
                loss = tf.reduce_sum(tf.reduce_mean(losses, 1))  # models have no weight in common
            for name, gradient in tape.gradient(loss, self.weights).items():
                each = [-1] + [1] * (gradient.shape.rank - 1)
                velocity = self.velocities[name]
                velocity.assign(velocity * tf.reshape(self.momentum, each) - gradient * tf.reshape(rates, each))
                self.weights[name].assign_add(velocity)

    @tf.function
    def right(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the counts of right answers in validation and test; none for logits that are not finite."""
        logits = self.logits(self.images[None, TRAIN:], training=False)
        finite = tf.reduce_all(tf.math.is_finite(logits), -1)
        right = tf.cast((tf.argmax(logits, -1, tf.int32) == self.labels[TRAIN:]) & finite, tf.int32)
        return tf.reduce_sum(right[:, :VALIDATION], 1), tf.reduce_sum(right[:, VALIDATION:], 1)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Train all epochs; return the counts of right answers in validation and test, of [models, epochs]."""
        counts = []
        for epoch in range(EPOCHS):
            orders = np.stack([shuffled(seed, epoch) for seed in range(SEEDS)]).astype(np.int32)
            self.train(tf.constant(orders[self.seeds]), tf.constant(self.rates / (1 + self.decays * epoch)))
            counts.append(self.right())
        validation, test = (np.stack([c[part].numpy() for c in counts], 1) for part in range(2))
        return validation, test


def groups() -> Iterator[tuple[dict[str, int], list[dict[str, Any]]]]:
    """Yield the shapes, each with the settings of the models that have it, the cheap ones first."""
    others = [name for name in AXES if name not in SHAPES]
    grid = np.stack(np.meshgrid(*(np.arange(len(AXES[name])) for name in others), indexing="ij"), -1)
    for u, units in enumerate(AXES["units"]):
        for b, batch_size in enumerate(AXES["batch_size"]):
            settings = []
            for places in grid.reshape(-1, len(others)):
                place = dict(zip(others, places.tolist(), strict=True)) | {"units": u, "batch_size": b}
                values = {name: AXES[name][place[name]] for name in AXES}
                index = tuple(place[name] for name in AXES)
                settings += [values | {"seed": seed, "index": (*index, seed)} for seed in range(SEEDS)]
            yield {"units": int(units), "batch_size": int(batch_size)}, settings


def make() -> tuple[np.ndarray, np.ndarray]:
    """Train all models; return the counts of right answers in validation and test."""
    images, labels, _ = load()
    shape = (*(len(values) for values in AXES.values()), SEEDS)
    validation, test = np.zeros((*shape, EPOCHS), np.uint16), np.zeros(shape, np.uint16)
    for shapes, settings in groups():
        begun = time.perf_counter()
        units = shapes["units"]
        at_once = max(SEEDS, AT_ONCE // (units * (units + 80)))
        for start in range(0, len(settings), at_once):
            chunk = settings[start : start + at_once]
            right, tested = Stack(chunk, units, shapes["batch_size"], images, labels).run()
            for setting, row, test_row in zip(chunk, right, tested, strict=True):
                validation[setting["index"]] = row
                test[setting["index"]] = test_row[row.argmax()]
        print(f"{shapes}: {len(settings)} models, {time.perf_counter() - begun:.0f} s", flush=True)
    return validation, test


def train_by_keras(setting: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of right answers in validation of one model, trained by plain Keras."""
    layers: list[keras.Layer] = [keras.Input((64,))]
    for _ in range(2):
        layers += [keras.layers.Dense(setting["units"], use_bias=False)]
        layers += [keras.layers.BatchNormalization(momentum=BN_MOMENTUM, epsilon=BN_EPSILON), keras.layers.ReLU()]
        layers += [keras.layers.Dropout(setting["dropout"])]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    weights = initial(setting["seed"], setting["units"])
    names = ["kernel_0", "gamma_0", "beta_0", "kernel_1", "gamma_1", "beta_1", "kernel_2", "bias"]
    for variable, name in zip(model.trainable_variables, names, strict=True):
        variable.assign(weights[name])
    model.compile(
        keras.optimizers.SGD(0.0, momentum=1 - setting["one_minus_momentum"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    shares = []
    for epoch in range(EPOCHS):
        model.optimizer.learning_rate = setting["learning_rate"] / (1 + setting["decay_rate"] * epoch)
        order = shuffled(setting["seed"], epoch)
        model.fit(images[order], labels[order], batch_size=int(setting["batch_size"]), shuffle=False, verbose=0)
        part = slice(TRAIN, TRAIN + VALIDATION)
        shares.append(np.mean(model.predict_on_batch(images[part]).argmax(-1) == labels[part]))
    return np.array(shares)


def check(validation: np.ndarray, number: int) -> None:
    """Print how models come out that are drawn from the table and trained anew by plain Keras."""
    images, labels, _ = load()
    random = np.random.default_rng(1)
    settings = [setting for _, group in groups() for setting in group]
    for i in random.choice(len(settings), number, replace=False):
        setting = settings[i]
        ours, theirs = validation[setting["index"]] / VALIDATION, train_by_keras(setting, images, labels)
        said = ", ".join(f"{name} {setting[name]:.3g}" for name in (*AXES, "seed"))
        after = "  ".join(f"{e}: {ours[e - 1]:.3f} {theirs[e - 1]:.3f}" for e in (1, 3, 9, EPOCHS))
        print(f"{said}\n  table and Keras after epoch {after}  best {ours.max():.3f} {theirs.max():.3f}", flush=True)


def main() -> None:
    """Make the table, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    path = Path(__file__).with_suffix(".npz")
    parser.add_argument("--output", type=Path, default=path, help="the table (search_table.npz beside this file)")
    parser.add_argument("--check", type=int, metavar="N", help="train N configurations of the table by plain Keras")
    arguments = parser.parse_args()
    if arguments.check:
        with np.load(arguments.output) as table:
            check(table["validation"], arguments.check)
        return
    begun = time.perf_counter()
    validation, test = make()
    meta = {"axes": AXES, "seeds": SEEDS, "epochs": EPOCHS, "order": load()[2].tolist(), "environment": environment()}
    meta |= {"train": TRAIN, "validation": VALIDATION, "batch_normalization": [BN_MOMENTUM, BN_EPSILON]}
    with files.whole_file(arguments.output) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, meta=np.array(json.dumps(meta)), validation=validation, test=test)
    size = arguments.output.stat().st_size
    print(f"{time.perf_counter() - begun:.0f} s; {arguments.output}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
