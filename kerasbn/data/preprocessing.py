"""From raw inputs to features: normalisation, missing values and categories, as layers inside the model."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from kerasbn.data.dataset import Features, Inputs, Splits, count, take

_BYTES = 32 * 2**20  # of memory that a chunk of examples may take: no second copy of the data is made
_SMALLEST, _LARGEST = 1e-6, 1e18  # standard deviations that Keras's Normalization divides by as they are


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance over all axes but the last, in float64, ignoring NaN.

    Keras's `Normalization` divides a constant feature by 1e-7; scikit-learn finds those features (rounding
    included) and gives them scale 1, so that they become 0.
    """
    scaler = StandardScaler()
    rows = max(1, _BYTES // (8 * values[0].size))
    for start in range(0, len(values), rows):
        chunk = values[start : start + rows]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a feature has no value at all
            scaler.partial_fit(chunk.reshape(-1, values.shape[-1]).astype(np.float64))
    return np.nan_to_num(scaler.mean_), np.nan_to_num(scaler.scale_**2, nan=1.0)


def _normalized(x: keras.KerasTensor, values: np.ndarray) -> keras.KerasTensor:
    """Return (x - mean) / sqrt(variance), with the statistics of `values`."""
    mean, variance = _statistics(values)
    deviation = np.sqrt(variance)
    if deviation.min() < _SMALLEST or deviation.max() > _LARGEST:
        # Keras divides by 1e-7 at least, and a variance above 3e38 is no float32: so the scale is changed first.
        scale = np.clip(1 / deviation, 1e-30, 1e30)
        x = keras.layers.Rescaling(scale.tolist(), name="scale")(x)
        mean, variance = mean * scale, variance * scale**2
    return keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name="normalization")(x)


def _array_preprocessor(values: np.ndarray) -> keras.Model:
    shape = values.shape[1:]
    inputs = keras.Input(shape, dtype="float32", name="inputs")
    x = inputs
    if len(shape) == 2:  # gray images: one channel, with one mean and variance
        x = keras.layers.Reshape((*shape, 1), name="channel")(x)
        values = values[..., None]
    return keras.Model(inputs, _normalized(x, values), name="preprocessor")


def free_name(name: str, taken: Collection[str]) -> str:
    """Return `name`, with underscores after it while it is taken: names of layers and columns must differ."""
    while name in taken:
        name += "_"
    return name


def _table_inputs(table: Mapping[str, np.ndarray], names: Iterable[str]) -> list[keras.KerasTensor]:
    dtypes = ("string" if column.dtype == object else "float32" for column in table.values())
    return [keras.Input((), dtype=dtype, name=name) for dtype, name in zip(dtypes, names, strict=True)]


def _table_preprocessor(table: Mapping[str, np.ndarray]) -> keras.Model:
    # A model of its own, whose layers cannot be called as a column is; the columns' names stand outside only.
    columns = _table_inputs(table, (f"column_{position}" for position in range(len(table))))
    inputs = dict(zip(table, columns, strict=True))
    numeric = [name for name, column in table.items() if column.dtype != object]
    features = []
    if numeric:
        values = np.stack([table[name] for name in numeric], axis=-1)
        x = keras.ops.stack([inputs[name] for name in numeric], axis=-1)
        missing = keras.ops.isnan(x)
        # A missing value is put at the mean, and a column that had any in training says so in a feature.
        features.append(keras.ops.where(missing, 0.0, _normalized(x, values)))
        sometimes = np.flatnonzero(np.isnan(values).any(axis=0)).tolist()
        if sometimes:
            features.append(keras.ops.cast(keras.ops.take(missing, sometimes, axis=-1), "float32"))
    for name, column in table.items():
        if column.dtype == object:
            vocabulary = sorted(set(column.tolist()))
            lookup = keras.layers.StringLookup(
                vocabulary=vocabulary, output_mode="one_hot", name=f"categories_{len(features)}"
            )
            features.append(lookup(inputs[name]))
    x = keras.layers.Concatenate(name="features")(features) if len(features) > 1 else features[0]
    encode = keras.Model(columns, x, name=free_name("columns", table))
    named = _table_inputs(table, table)
    return keras.Model(dict(zip(table, named, strict=True)), encode(named), name="preprocessor")


def fit_preprocessor(inputs: Inputs) -> keras.Model:
    """Return a model from raw inputs to features, with the statistics and categories of `inputs`.

    Numbers: (x - mean) / sqrt(variance) by feature (by channel for images); constant features become 0, missing
    values 0 and a feature that says so. Categories: one-hot, with one place for those not seen here.

    Args:
        inputs: Of the training examples only: (n, ...) numbers, or columns by name.

    Returns:
        A model with one float32 input named `inputs`, or one input a column; features (batch, ...) float32.

    Example:
        >>> fit_preprocessor(np.array([[1.0, 5.0], [3.0, 5.0]]))(np.array([[3.0, 5.0]])).numpy()
        array([[1., 0.]], dtype=float32)
    """
    return _table_preprocessor(inputs) if isinstance(inputs, dict) else _array_preprocessor(inputs)


def _tensors(inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return {name: tf.constant(column) for name, column in inputs.items()}
    return tf.cast(tf.constant(inputs), tf.float32)


def examples_at_once(model: keras.Model) -> int:
    """Return how many examples a model takes in a call whose largest layer stays within 32 MiB.

    Args:
        model: A functional or sequential model.

    Returns:
        1 to 4096.

    Example:
        >>> examples_at_once(create_model("mlp", (64,), 10))
        4096
    """
    values = (math.prod(side or 1 for side in layer.output.shape[1:]) for layer in model.layers)
    return max(1, min(4096, _BYTES // (4 * max(values))))


def run_in_chunks(model: keras.Model, inputs: Inputs, chunk: int | None = None) -> np.ndarray:
    """Return the model's output (inference mode) for all examples, a chunk at a time.

    Args:
        model: Takes such inputs.
        inputs: Raw inputs, or features.
        chunk: Examples in a call, at least 1; None: as many as the model takes at once.

    Returns:
        (n, ...) float32.

    Example:
        >>> run_in_chunks(create_model("mlp", (64,), 10), np.zeros((5, 64), np.float32), chunk=2).shape
        (5, 10)
    """
    chunk = chunk or examples_at_once(model)
    output = np.empty((count(inputs), *model.output_shape[1:]), np.float32)
    for start in range(0, len(output), chunk):
        output[start : start + chunk] = model(_tensors(take(inputs, slice(start, start + chunk))), training=False)
    return output


@dataclass(frozen=True)
class Prepared:
    """The three parts as features, and the model that made them.

    Args:
        preprocessor: From raw inputs to features.
        train: Features (n, ...) float32 and labels of the training examples.
        validation: The same of the validation examples.
        test: The same of the test examples.

    Example:
        >>> prepare(load_splits(DataConfig(source="iris"))).preprocessor.output_shape
        (None, 4)
    """

    preprocessor: keras.Model
    train: Features
    validation: Features
    test: Features


def prepare(splits: Splits) -> Prepared:
    """Return the features of all three parts, computed once, with statistics of the training part only.

    Args:
        splits: The three parts, from `load_splits`.

    Returns:
        Features and labels of each part, and the preprocessor.

    Example:
        >>> prepare(load_splits(DataConfig(source="iris"))).train.inputs.shape
        (106, 4)
    """
    preprocessor = fit_preprocessor(splits.train.inputs)
    parts = [
        Features(run_in_chunks(preprocessor, part.inputs), part.labels)
        for part in (splits.train, splits.validation, splits.test)
    ]
    return Prepared(preprocessor, *parts)
