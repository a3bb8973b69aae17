"""Models built for a stack: cheaply, since only their first values and their configs are wanted."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.caviar.binding import variables_of
from kerasbn.caviar.leaves import Description, describe
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.caviar.updates import traits_of
from kerasbn.statistics.graph import layers_within


@dataclass(frozen=True)
class Draft:
    """A model that a build function returned, as far as a stack needs it.

    Args:
        model: The model. Its variables may hold values of another draft by now: `values` are its own.
        description: What it has in common with other models, and what not.
        values: First values of `binding.variables_of(model)`, in their order.
        own: Where each of `model.variables` is among them.
        rate: The optimizer's learning rate: a number, or the schedule that it follows.
        seed: TensorFlow's after the build, which a fit shuffles by: the one given, unless the function has set another.
        build_config: `keras.Model.get_build_config`.
    """

    model: keras.Model
    description: Description
    values: tuple[np.ndarray, ...]
    own: tuple[int, ...]
    rate: float | keras.optimizers.schedules.LearningRateSchedule
    seed: int
    build_config: dict[str, Any] | None

    def after(self, variables: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return its values when `model.variables` have some values."""
        values = list(self.values)
        for at, value in zip(self.own, variables, strict=True):
            values[at] = value
        return values


class Pool:
    """Variables that one model after the other is built with, since making one takes longer than filling it.

    A model that is built within `lent` is right until the next one is built; then its variables have other values.

    Example:
        >>> pool = Pool()
        >>> with pool.lent():
        ...     first = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="one")], name="model")
        >>> with pool.lent():
        ...     second = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="one")], name="model")
        >>> first.weights[0].value is second.weights[0].value
        True
    """

    def __init__(self) -> None:
        self._free: dict[Any, list[tf.Variable]] = {}
        self._lent: list[tuple[Any, tf.Variable]] = []
        self._known: set[int] = set()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Lend variables to what is built in the block, after taking back those that were lent before."""
        for key, variable in self._lent:
            self._free[key].append(variable)
        self._lent = []
        with tf.variable_creator_scope(self._create):
            yield

    def foreign(self, model: keras.Model) -> bool:
        """Return whether a model has a variable of one that was built before, as with a layer made only once."""
        mine = {id(variable) for _, variable in self._lent}
        values = (variable.value for variable in model.variables)
        return any(id(value) in self._known and id(value) not in mine for value in values)

    def _create(self, create: Callable[..., tf.Variable], **arguments: Any) -> tf.Variable:
        given = arguments["initial_value"]
        value = tf.convert_to_tensor(given() if callable(given) else given, arguments.get("dtype"))
        shape = arguments.get("shape")
        if shape is not None and tf.TensorShape(shape) != value.shape:  # such as one whose size changes
            return create(**{**arguments, "initial_value": value})
        # Of the same name, too: `exclude_from_weight_decay` goes by it.
        name = f"{tf.get_current_name_scope()}/{arguments.get('name')}"
        how = (repr(arguments.get(argument)) for argument in ("trainable", "aggregation"))
        key = (name, value.dtype, tuple(value.shape), *how)
        free = self._free.setdefault(key, [])
        if free:
            variable = free.pop()
            variable.assign(value)
        else:
            variable = create(**{**arguments, "initial_value": value})
            self._known.add(id(variable))
        self._lent.append((key, variable))
        return variable


def draft(build: Callable[[], keras.Model], seed: int, example: Any, pool: Pool) -> Draft:
    """Build a model as it would be built alone with a seed.

    Args:
        build: Returns a compiled model.
        seed: What `keras.utils.set_random_seed` is called with before.
        example: Inputs of one example, or a nested structure of them: (1, ...) each.
        pool: Lends the variables.

    Returns:
        The draft.

    Raises:
        Unsuitable: If the model is not known to work on a stack.
        Exception: What `build` raises.
    """
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(seed)
    with pool.lent():
        model = build()
        if not all(layer.built for layer in model.layers) or not model.built:
            model(example, training=False)
    if pool.foreign(model):
        raise Unsuitable("its layers were made for another trial")
    description = describe(model)
    if int(model.optimizer.iterations) != 0:
        raise Unsuitable("its optimizer has made updates before the fit")
    traits = traits_of(model.optimizer, model.trainable_variables)
    description = replace(description, signature=json.dumps([description.signature, traits, _adapted(model)]))
    variables = variables_of(model)
    place = {id(variable): at for at, variable in enumerate(variables)}
    return Draft(
        model,
        description,
        tuple(np.array(variable.value) for variable in variables),
        tuple(place[id(variable)] for variable in model.variables),
        rate_of(model.optimizer),
        tf.compat.v1.random.get_seed(0)[0],
        model.get_build_config(),
    )


def rate_of(optimizer: keras.optimizers.Optimizer) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return an optimizer's learning rate, or the schedule that it follows."""
    rate = optimizer.get_config()["learning_rate"]
    return keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else float(rate)


def _adapted(model: keras.Model) -> list[str]:
    """Return what tells adapted layers apart: what they learned of data is in other places than variables, too."""
    adapted = [layer for _, layer in layers_within(model) if hasattr(layer, "adapt")]
    values = [np.array(variable.value) for layer in adapted for variable in layer.variables]
    return [hashlib.sha256(value.tobytes()).hexdigest()[:16] for value in values]
