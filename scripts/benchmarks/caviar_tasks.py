"""The tasks of caviar.py: data, and build functions that KerasTuner and kerasbn call alike."""

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from kerasbn.tuning import log, one_minus_log

Data = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # for training, for validation
Build = Callable[[keras_tuner.HyperParameters], keras.Model]


@dataclass(frozen=True)
class Task:
    """What both sides search.

    Args:
        title: What the table calls it.
        build: The build function.
        data: Reads the data, from a file or from none.
        trials: Of a search.
        epochs: Of a trial.
        batch_size: Examples a step.
        asked: How many times KerasTuner's trials a minute are asked for.
        aim: How many are the aim.
        file: Which option names the file of the data; empty: scikit-learn brings it.
    """

    title: str
    build: Build
    data: Callable[[Path | None], Data]
    trials: int
    epochs: int
    batch_size: int
    asked: float
    aim: float
    file: str = ""


def digits(path: Path | None = None) -> Data:
    """Return scikit-learn's digits, 1350 for training and 447 for validation, features in [0, 1]."""
    inputs, labels = load_digits(return_X_y=True)
    inputs, labels = (inputs / 16).astype(np.float32), labels.astype(np.int32)
    return (inputs[:1350], labels[:1350]), (inputs[1350:], labels[1350:])


def digit_images(path: Path | None = None) -> Data:
    """Return the digits as images of 8 x 8 x 1."""
    (x, y), (x_validation, y_validation) = digits()
    return (x.reshape(-1, 8, 8, 1), y), (x_validation.reshape(-1, 8, 8, 1), y_validation)


def letters(path: Path | None) -> Data:
    """Return Letter Recognition: 14,000 rows for training and 2,000 for validation of the usual 16,000."""
    assert path is not None
    table = pd.read_csv(path)
    labels = table.pop("letter").astype("category").cat.codes.to_numpy(np.int32)
    inputs = (table.to_numpy(np.float32) - 7.5) / 7.5
    return (inputs[:14000], labels[:14000]), (inputs[14000:16000], labels[14000:16000])


def fashion(path: Path | None) -> Data:
    """Return Fashion-MNIST: 55,000 images of 28 x 28 x 1 for training and 5,000 for validation."""
    assert path is not None
    with np.load(path) as arrays:
        inputs = (arrays["x_train"][..., None] / 255).astype(np.float32)
        labels = arrays["y_train"].astype(np.int32)
    return (inputs[:55000], labels[:55000]), (inputs[55000:], labels[55000:])


def compiled(hp: keras_tuner.HyperParameters, shape: Sequence[int], hidden: Sequence[Any], classes: int) -> keras.Model:
    """Return a model of some hidden layers, dropout and a dense layer, compiled with Adam.

    Args:
        hp: Asked for the rate of the dropout, the learning rate and beta_1.
        shape: Of an example.
        hidden: The layers.
        classes: How many the labels have.

    Returns:
        The model, which returns logits.
    """
    dropout = keras.layers.Dropout(hp.Float("dropout", 0.0, 0.5))
    model = keras.Sequential([keras.Input(shape), *hidden, dropout, keras.layers.Dense(classes)])
    optimizer = keras.optimizers.Adam(log(hp, "learning_rate", 1e-4, 1e-1), one_minus_log(hp, "beta_1", 0.8, 0.99))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def perceptron(
    hp: keras_tuner.HyperParameters, widths: Sequence[int], features: int = 64, classes: int = 10
) -> keras.Model:
    """Return a perceptron with BatchNormalization before each activation and L2 on the hidden kernels."""
    factor = log(hp, "l2", 1e-6, 1e-2)
    hidden: list[Any] = []
    for width in widths:
        kernel = keras.layers.Dense(width, use_bias=False, kernel_regularizer=keras.regularizers.L2(factor))
        hidden += [kernel, keras.layers.BatchNormalization(), keras.layers.ReLU()]
    return compiled(hp, (features,), hidden, classes)


def perceptron_of_any_size(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return a perceptron of 1 to 3 layers, all of one width: nine architectures, of which 128-128 is one."""
    layers, units = hp.Int("layers", 1, 3, default=2), hp.Choice("units", [64, 128, 256], default=128)
    return perceptron(hp, [units] * layers, features=16, classes=26)


def convnet(hp: keras_tuner.HyperParameters, side: int, filters: Sequence[int] = (16, 32)) -> keras.Model:
    """Return convolutions of 3 x 3 with BatchNormalization, each followed by pooling of 2 x 2."""
    hidden: list[Any] = []
    for channels in filters:
        hidden += [keras.layers.Conv2D(channels, 3, padding="same", use_bias=False), keras.layers.BatchNormalization()]
        hidden += [keras.layers.ReLU(), keras.layers.MaxPooling2D()]
    return compiled(hp, (side, side, 1), [*hidden, keras.layers.Flatten()], 10)


MLP = functools.partial(perceptron, widths=(64, 64))
WIDE = functools.partial(perceptron, widths=(512, 512))  # for the memory: small stacks drown in what a trace takes

TASKS: Mapping[str, Task] = types.MappingProxyType(
    {
        "mlp": Task("digits, MLP 64-64", MLP, digits, 64, 10, 32, 25, 60),
        "cnn": Task("digits, CNN 16-32", functools.partial(convnet, side=8), digit_images, 24, 10, 32, 8, 12),
        "letter": Task(
            "letter, MLP of 1-3 layers of 64-256", perceptron_of_any_size, letters, 64, 5, 32, 6, 10, "letter"
        ),
        "fashion": Task(
            "Fashion-MNIST, CNN 16-32", functools.partial(convnet, side=28), fashion, 8, 2, 128, 1.3, 1.3, "fashion"
        ),
    }
)
