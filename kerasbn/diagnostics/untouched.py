"""What a trial leaves behind: nothing. A model's state given back bit for bit, and an optimizer of the trial's own."""

import contextlib
import random
from collections.abc import Callable, Iterator

import keras
import numpy as np

from kerasbn.checks import InputError


@contextlib.contextmanager
def untouched(model: keras.Model) -> Iterator[Callable[[], None]]:
    """Give back the model's variables, its metrics, and the random states of Python and NumPy as they were.

    Args:
        model: Any model. Its optimizer is not looked after: use a copy, see `copy_optimizer`.

    Yields:
        A function to call when the model has been built, if it was not: from then on its new variables are kept, too.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> with untouched(model):
        ...     model.set_weights([np.ones((1, 1)), np.ones(1)])
        >>> model.layers[0].bias.numpy()
        array([0.], dtype=float32)
    """
    kept: dict[int, tuple[keras.Variable, np.ndarray]] = {}

    def keep(variables: list[keras.Variable]) -> None:
        for variable in variables:
            if id(variable) not in kept:
                kept[id(variable)] = variable, np.array(variable.numpy())  # a copy, of whatever TensorFlow shares

    def give_back() -> None:
        model.reset_metrics()  # those that a first loss has made; they have no values of before
        for variable, value in kept.values():
            variable.assign(value)
        random.setstate(python_state)
        np.random.set_state(numpy_state)

    keep([*model.variables, *model.metrics_variables])
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield lambda: keep(model.variables)
    finally:
        try:
            give_back()
        except KeyboardInterrupt:  # the second
            give_back()
            raise


def copy_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Return an optimizer that goes on from where the model's is and has a rate to be set; the model's stays as it is.

    Args:
        model: Built and compiled.

    Returns:
        The copy, built, with the slots and iterations of the model's optimizer, or fresh ones if that has none yet.
        Its rate is a plain one, no schedule, and has to be set.

    Raises:
        InputError: If the optimizer cannot be made anew from its configuration.

    Example:
        >>> copy = copy_optimizer(model)
        >>> copy.learning_rate = 0.5
        >>> float(copy.learning_rate), round(float(model.optimizer.learning_rate), 3)
        (0.5, 0.01)
    """
    copy = _anew(model.optimizer)
    # Which variables decay is no part of the configuration.
    for mine, theirs in zip(_and_inner(copy), _and_inner(model.optimizer), strict=True):
        if theirs.weight_decay is not None:
            spared = [variable for variable in model.trainable_variables if not theirs._use_weight_decay(variable)]
            mine.exclude_from_weight_decay(var_list=spared)
    copy.build(model.trainable_variables)
    if model.optimizer.built:
        state, original = copy.variables, model.optimizer.variables
        if len(state) > len(original):  # a schedule is no variable, a rate is
            state = [variable for variable in state if variable is not _and_inner(copy)[-1].learning_rate]
        for variable, value in zip(state, original, strict=True):
            variable.assign(value)
    return copy


def updates_every(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many batches make one update: 1, or those whose gradients are accumulated."""
    return max(one.gradient_accumulation_steps or 1 for one in _and_inner(optimizer))


def _and_inner(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Return an optimizer, and the one that it scales the loss for."""
    inner = [optimizer.inner_optimizer] if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else []
    return [optimizer, *inner]


def _anew(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return a new optimizer of the same configuration, but for the rate, which is a number."""
    config = optimizer.get_config()
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return type(optimizer)(**{**config, "inner_optimizer": _anew(optimizer.inner_optimizer)})
    try:
        return type(optimizer).from_config({**config, "learning_rate": 1.0})
    except TypeError as error:
        raise InputError(
            "optimizer", "one whose get_config() has all its arguments", type(optimizer).__name__, f"{error}."
        ) from error
