"""What a call of Keras's `fit` does, as values."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerasbn.caviar.order import is_keras_order, keras_orders
from kerasbn.caviar.suitable import Unsuitable

# Arguments of `fit` that are fine as they are by default, and otherwise not known to work on a stack.
_PLAIN = MappingProxyType({"steps_per_epoch": None, "validation_steps": None, "validation_freq": 1})


Order: TypeAlias = Callable[[int, Sequence[int]], Callable[[int], np.ndarray]]


def in_keras_order(examples: int, seeds: Sequence[int]) -> Callable[[int], np.ndarray]:
    """Return `fit(shuffle=True)`'s order; as `FitPlan.order`."""
    orders = keras_orders(examples, seeds)
    return lambda epoch: orders


def as_they_are(examples: int, seeds: Sequence[int]) -> Callable[[int], np.ndarray]:
    """Return the order that the examples are in; as `FitPlan.order`."""
    orders = np.broadcast_to(np.arange(examples, dtype=np.int32), (len(seeds), examples))
    return lambda epoch: orders


@dataclass(frozen=True)
class Examples:
    """Examples, all in memory.

    Args:
        inputs: An array (n, ...), or a nested structure of them, as the model takes it.
        labels: Likewise; None: there are none.
        weights: (n,) or (n, 1) sample weights, or a structure of them; None: all are 1.

    Example:
        >>> len(Examples(np.zeros((4, 2), "float32"), np.array([0, 1, 0, 1]), None))
        4
    """

    inputs: Any
    labels: Any
    weights: Any

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.inputs)[0])


@dataclass(frozen=True)
class FitPlan:
    """What a fit does.

    Args:
        train: What is trained on.
        validation: What each epoch ends with; None: nothing.
        batch_size: Examples in a step, at least 1; the last step of an epoch has the rest.
        validation_batch_size: Likewise, of validation.
        epochs: The epoch before which training ends, from 0.
        initial_epoch: The first.
        order: In what order examples are taken: of their number and the seeds of K members it makes a function from
            an epoch to the positions that each takes in it, (K, taken) int32.
        callbacks: As `fit` takes them.

    Example:
        >>> plan = plan_of_fit(np.zeros((64, 4)), np.zeros(64, int), epochs=3)
        >>> plan.batch_size, plan.epochs, len(plan.train), plan.train.inputs.dtype
        (32, 3, 64, dtype('float32'))
    """

    train: Examples
    validation: Examples | None = None
    batch_size: int = 32
    validation_batch_size: int = 32
    epochs: int = 1
    initial_epoch: int = 0
    order: Order = in_keras_order
    callbacks: Sequence[keras.callbacks.Callback] = field(default=())


def parts_of(examples: Examples) -> dict[str, Any]:
    """Return what there is of inputs "x", labels "y" and weights "w"."""
    parts = {"x": examples.inputs, "y": examples.labels, "w": examples.weights}
    return {name: value for name, value in parts.items() if value is not None}


def plan_of_fit(*args: Any, **kwargs: Any) -> FitPlan:
    """Return what `keras.Model.fit` would do with some arguments.

    Args:
        *args: Positional arguments of `fit`.
        **kwargs: Keyword arguments of the same.

    Returns:
        The plan.

    Raises:
        Unsuitable: If there is one that is not known to work on a stack, such as a dataset in place of arrays.
    """
    try:
        bound = inspect.signature(keras.Model.fit).bind(None, *args, **kwargs)
    except TypeError as error:
        raise Unsuitable(f"fit does not take these arguments: {error}") from error
    bound.apply_defaults()
    given = bound.arguments
    for name, plain in _PLAIN.items():
        if given.get(name, plain) != plain:
            raise Unsuitable(f"fit has {name}={given[name]!r}")
    if given["shuffle"] not in (True, False):
        raise Unsuitable(f"fit has shuffle={given['shuffle']!r}")
    if given["shuffle"] and not is_keras_order():
        raise Unsuitable("this version of Keras takes examples in an order that is not known here")
    train = _examples("x", given["x"], given["y"], given["sample_weight"])
    validation = _validation(given["validation_data"])
    if given["validation_split"] and validation is None:
        train, validation = _split(train, given["validation_split"])
    if given["class_weight"] is not None:
        train = _class_weighted(train, given["class_weight"])
    batch_size = given["batch_size"] or 32
    return FitPlan(
        train,
        validation,
        batch_size,
        given["validation_batch_size"] or batch_size,
        given["epochs"],
        given["initial_epoch"],
        in_keras_order if given["shuffle"] else as_they_are,
        tuple(given["callbacks"] or ()),
    )


def _examples(name: str, inputs: Any, labels: Any, weights: Any) -> Examples:
    arrays = Examples(
        *(None if one is None else keras.tree.map_structure(_array, one) for one in (inputs, labels, weights))
    )
    flat = [array for one in (arrays.inputs, arrays.labels, arrays.weights) for array in keras.tree.flatten(one)]
    sizes = {len(array) for array in flat if array is not None}
    if len(sizes) != 1 or not len(arrays):
        raise Unsuitable(f"{name}, y and sample_weight have different numbers of examples, or none")
    return arrays


def _array(value: Any) -> np.ndarray:
    """Return what Keras makes of one of the arguments of fit: fractions in its own precision."""
    if isinstance(value, pd.Series):
        array = value.to_numpy()[:, None]  # as Keras does it
    elif isinstance(value, pd.DataFrame):
        array = value.to_numpy()
    elif isinstance(value, np.ndarray) or (tf.is_tensor(value) and hasattr(value, "numpy")):
        array = np.asarray(value)
    else:
        raise Unsuitable(f"fit was given a {type(value).__name__} in place of an array")
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise Unsuitable(f"fit was given an array of {array.dtype.name} with {array.ndim} axes")
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _validation(data: Any) -> Examples | None:
    if data is None:
        return None
    if not isinstance(data, tuple | list) or not 2 <= len(data) <= 3:
        raise Unsuitable(f"validation_data is a {type(data).__name__} and not a tuple of arrays")
    return _examples("validation_data: x", data[0], data[1], data[2] if len(data) == 3 else None)


def _split(train: Examples, share: float) -> tuple[Examples, Examples]:
    """Return the first examples and the last ones, as Keras splits them."""
    at = math.floor(len(train) * (1.0 - share))
    if not 0 < at < len(train):
        raise Unsuitable(f"validation_split={share} leaves one side of {len(train)} examples empty")

    def part(where: slice) -> Examples:
        values = (train.inputs, train.labels, train.weights)
        return Examples(*(None if one is None else keras.tree.map_structure(lambda a: a[where], one) for one in values))

    return part(slice(at)), part(slice(at, None))


def _class_weighted(train: Examples, class_weight: Mapping[int, float]) -> Examples:
    if train.weights is not None or not isinstance(train.labels, np.ndarray):
        raise Unsuitable("fit has class_weight besides sample_weight, or with several outputs")
    labels = train.labels
    if labels.ndim > 1:
        labels = labels.argmax(-1) if labels.shape[-1] > 1 else labels[..., 0]
    if labels.ndim != 1:
        raise Unsuitable("fit has class_weight with labels of several axes")
    weights = np.ones(len(labels), keras.config.floatx())
    for label, weight in class_weight.items():
        weights[labels.astype("int64") == int(label)] = weight
    return Examples(train.inputs, train.labels, weights)
