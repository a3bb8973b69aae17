"""Learning rates of Keras's schedules, known before training: what `fit` would compute, to the last bits of float32."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.caviar.suitable import Unsuitable
from kerasbn.schedules.keras_schedule import KerasSchedule

_Config = Mapping[str, Any]
_float32 = np.float32


def rate_at(schedule: float | keras.optimizers.schedules.LearningRateSchedule | _Config, steps: Any) -> np.ndarray:
    """Return the learning rates that an optimizer has at some steps of `fit`.

    TensorFlow divides by constants in a graph by multiplying with their reciprocals in float32: so a staircase of 41
    steps has its first stair at step 42 in `fit`, and here.

    Args:
        schedule: A number, a schedule or the dictionary that `keras.optimizers.schedules.serialize` gives. Keras's
            schedules and those of `Schedule.as_keras` are computed in NumPy; others are called, step by step.
        steps: Numbers of the steps, (n,) whole numbers, 0 for the first update.

    Returns:
        (n,) float32.

    Raises:
        Unsuitable: If the schedule cannot be called in a graph.

    Example:
        >>> schedule = keras.optimizers.schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5, staircase=True)
        >>> rate_at(schedule, [0, 9, 10, 20])
        array([0.1  , 0.1  , 0.05 , 0.025], dtype=float32)
    """
    steps = np.asarray(steps, np.int64)
    if isinstance(schedule, Mapping):
        schedule = keras.optimizers.schedules.deserialize(dict(schedule))
    if isinstance(schedule, float):
        return np.full(steps.shape, schedule, np.float32)
    if type(schedule) is KerasSchedule:
        return np.asarray(schedule.schedule(steps)).astype(np.float32)
    formula = _FORMULAS.get(type(schedule))
    if formula is not None:
        config = schedule.get_config()
        # From other numbers than Python's floats Keras makes tensors of other types.
        first = config["values"] if "values" in config else [config["initial_learning_rate"]]
        if all(type(value) is float for value in first) and keras.config.floatx() == "float32":
            return formula(config, steps)
    return _called(schedule, steps)


def _called(schedule: Any, steps: np.ndarray) -> np.ndarray:
    """Return what a schedule returns for each step, called with a variable in a graph as by an optimizer in `fit`."""
    iterations = keras.Variable(0, dtype="int64", trainable=False, name="iteration")

    def rate(step: tf.Tensor) -> tf.Tensor:
        with keras.StatelessScope(state_mapping=[(iterations, step)]):
            return tf.ensure_shape(tf.cast(schedule(iterations), tf.float32), [])

    try:
        rates = tf.function(lambda numbers: tf.map_fn(rate, numbers, fn_output_signature=tf.float32), autograph=False)(
            tf.constant(steps)
        )
    except Exception as error:  # whatever a class of the user's raises
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise Unsuitable(f"the schedule {type(schedule).__name__} cannot be computed beforehand: {reason}") from error
    return np.array(rates)


def _exactly(function: Callable[..., np.ndarray], *values: Any) -> np.ndarray:
    """Return what a function of float32 numbers is, rounded once: NumPy's own float32 is off in the last bits."""
    return np.asarray(function(*(np.asarray(value, np.float64) for value in values))).astype(np.float32)


def _divided(values: np.ndarray, constant: Any) -> np.ndarray:
    """Return values over a constant, as TensorFlow's graphs have it."""
    return values * (_float32(1) / _float32(constant))


def _exponential(config: _Config, steps: np.ndarray) -> np.ndarray:
    way = _way(config, steps)
    return _float32(config["initial_learning_rate"]) * _exactly(np.power, _float32(config["decay_rate"]), way)


def _inverse_time(config: _Config, steps: np.ndarray) -> np.ndarray:
    way = _way(config, steps)
    return _float32(config["initial_learning_rate"]) / (_float32(1) + _float32(config["decay_rate"]) * way)


def _way(config: _Config, steps: np.ndarray) -> np.ndarray:
    """Return step / decay_steps, rounded down for a staircase."""
    way = _divided(steps.astype(np.float32), config["decay_steps"])
    return np.floor(way) if config["staircase"] else way


def _piecewise(config: _Config, steps: np.ndarray) -> np.ndarray:
    edges = [-math.inf, *(int(boundary) for boundary in config["boundaries"]), math.inf]
    rates = np.zeros(steps.shape, np.float32)
    for low, high, value in zip(edges[:-1], edges[1:], config["values"], strict=True):
        rates += ((steps > low) & (steps <= high)) * _float32(value)
    return rates


def _polynomial(config: _Config, steps: np.ndarray) -> np.ndarray:
    start, end, length = (_float32(config[k]) for k in ("initial_learning_rate", "end_learning_rate", "decay_steps"))
    at = steps.astype(np.float32)
    if config["cycle"]:
        way = at / (length * np.where(at == 0, _float32(1), np.ceil(_divided(at, length))))
    else:
        way = _divided(np.minimum(at, length), length)
    return (start - end) * _exactly(np.power, _float32(1) - way, _float32(config["power"])) + end


def _cosine(config: _Config, steps: np.ndarray) -> np.ndarray:
    start, length, warm_up = config["initial_learning_rate"], _float32(config["decay_steps"]), _float32(0)
    top, at = start, steps.astype(np.float32)
    if config["warmup_target"] is not None:
        top, warm_up = config["warmup_target"], _float32(config["warmup_steps"])
    way = _divided(np.minimum(at, length + warm_up) - warm_up, length)
    decayed = _float32(1 - config["alpha"]) * _half_cosine(way) + _float32(config["alpha"])
    rates = _float32(top) * decayed
    if warm_up:
        rising = (_float32(top) - _float32(start)) * _divided(at, warm_up) + _float32(start)
        rates = np.where(at < warm_up, rising, rates)
    return rates


def _cosine_restarts(config: _Config, steps: np.ndarray) -> np.ndarray:
    start, alpha, longer, less = (
        _float32(config[name]) for name in ("initial_learning_rate", "alpha", "t_mul", "m_mul")
    )
    one = _float32(1)
    way = _divided(steps.astype(np.float32), config["first_decay_steps"])
    if longer == 1:
        restarts = np.floor(way)
        way = way - restarts
    else:
        restarts = np.floor(_divided(_exactly(np.log, one - way * (one - longer)), _exactly(np.log, longer)))
        stretch = _exactly(np.power, longer, restarts)
        way = (way - _divided(one - stretch, one - longer)) / stretch
    decayed = (one - alpha) * (_exactly(np.power, less, restarts) * _half_cosine(way)) + alpha
    return start * decayed


def _half_cosine(way: np.ndarray) -> np.ndarray:
    return _float32(0.5) * (_float32(1) + _exactly(np.cos, _float32(np.pi) * way))


_FORMULAS: Mapping[type, Callable[[_Config, np.ndarray], np.ndarray]] = MappingProxyType(
    {
        keras.optimizers.schedules.ExponentialDecay: _exponential,
        keras.optimizers.schedules.InverseTimeDecay: _inverse_time,
        keras.optimizers.schedules.PiecewiseConstantDecay: _piecewise,
        keras.optimizers.schedules.PolynomialDecay: _polynomial,
        keras.optimizers.schedules.CosineDecay: _cosine,
        keras.optimizers.schedules.CosineDecayRestarts: _cosine_restarts,
    }
)
