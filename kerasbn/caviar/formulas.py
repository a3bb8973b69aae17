"""The update formulas of Keras's optimizers, on matrices with a row for each model."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import keras
import tensorflow as tf

from kerasbn import optimizers


class Update(NamedTuple):
    """What an update is made of: [K, P] each, but numbers and rates [K, 1].

    Args:
        parameters: The weights.
        gradients: Of the loss, clipped.
        squares: Of the gradients, as Keras takes them.
        slots: By name.
        numbers: t, 1 in the first update.
        rates: Learning rates.
        leaf: From the name of a setting to its values, [K, 1] float64.
        flag: Whether the variant is wanted: Nesterov's momentum, centered RMSprop, AMSGrad.
    """

    parameters: tf.Tensor
    gradients: tf.Tensor
    squares: tf.Tensor
    slots: Mapping[str, tf.Tensor]
    numbers: tf.Tensor
    rates: tf.Tensor
    leaf: Callable[[str], tf.Tensor]
    flag: bool


Updated = tuple[tf.Tensor, dict[str, tf.Tensor]]


def single(values: tf.Tensor) -> tf.Tensor:
    """Return float64 numbers as Keras makes tensors of Python's: 1 - beta is taken before, so it is exact."""
    return tf.cast(values, tf.float32)


# These are Keras's rules to the last bit: the same operations in the same order.
def _sgd(now: Update) -> Updated:
    step = now.gradients * now.rates
    if "momentum" not in now.slots:
        return now.parameters - step, {}
    momentum = single(now.leaf("momentum"))
    velocity = now.slots["momentum"] * momentum - step
    return now.parameters + (velocity * momentum - step if now.flag else velocity), {"momentum": velocity}


def _rmsprop(now: Update) -> Updated:
    rho, rest, epsilon = single(now.leaf("rho")), single(1 - now.leaf("rho")), single(now.leaf("epsilon"))
    slots = {"velocity": rho * now.slots["velocity"] + rest * now.squares}
    divisor = slots["velocity"]
    if now.flag:
        slots["average_gradient"] = rho * now.slots["average_gradient"] + rest * now.gradients
        divisor -= tf.square(slots["average_gradient"])
    step = now.rates * now.gradients / tf.sqrt(divisor + epsilon)
    if "momentum" in now.slots:
        step = slots["momentum"] = single(now.leaf("momentum")) * now.slots["momentum"] + step
    return now.parameters - step, slots


def _adagrad(now: Update) -> Updated:
    accumulator = now.slots["accumulator"] + now.squares
    step = now.rates * now.gradients / tf.sqrt(accumulator + single(now.leaf("epsilon")))
    return now.parameters - step, {"accumulator": accumulator}


def _adam(now: Update) -> Updated:
    beta_1, beta_2 = now.leaf("beta_1"), now.leaf("beta_2")
    alpha = now.rates * tf.sqrt(1 - _power(beta_2, now.numbers)) / (1 - _power(beta_1, now.numbers))
    m, v = now.slots["momentum"], now.slots["velocity"]
    m += (now.gradients - m) * single(1 - beta_1)
    v += (now.squares - v) * single(1 - beta_2)
    slots = {"momentum": m, "velocity": v}
    if now.flag:
        v = slots["velocity_hat"] = tf.maximum(now.slots["velocity_hat"], v)
    return now.parameters - m * alpha / (tf.sqrt(v) + single(now.leaf("epsilon"))), slots


def _power(betas: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Return beta^t in float32. Computed in float32, several powers at once differ from one, and then 1 - beta^t."""
    return single(tf.pow(tf.cast(single(betas), tf.float64), tf.cast(numbers, tf.float64)))


class Kind(NamedTuple):
    """A rule: its formula, the attribute that says whether the variant is wanted, its settings and its slots."""

    formula: Callable[[Update], Updated]
    flag: str
    leaves: tuple[str, ...]
    slots: tuple[str, ...]


_SGD = Kind(_sgd, "nesterov", ("momentum",), ("momentum",))
_RMSPROP = Kind(_rmsprop, "centered", ("rho", "momentum", "epsilon"), ("velocity", "momentum", "average_gradient"))
_ADAGRAD = Kind(_adagrad, "", ("epsilon",), ("accumulator",))
_ADAM = Kind(_adam, "amsgrad", ("beta_1", "beta_2", "epsilon"), ("momentum", "velocity", "velocity_hat"))
KINDS = MappingProxyType(  # by exact class: a subclass may do what it likes
    {
        getattr(room, name): kind
        for room in (keras.optimizers, optimizers)
        for name, kind in (
            *(("SGD", _SGD), ("RMSprop", _RMSPROP), ("Adagrad", _ADAGRAD)),
            *(("Adam", _ADAM), ("AdamW", _ADAM)),
        )
    }
)
