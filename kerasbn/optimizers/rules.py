"""SGD, RMSprop, Adam, AdamW, Adagrad: Keras's update rules, reading rate, momentum and betas from variables."""

import functools
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from kerasbn import checks
from kerasbn.optimizers.planned import PlannedOptimizer

# Numerically these are Keras's rules: the same operations in the same order. What depends on no weight is computed once
# an update instead of once a weight.


@keras.saving.register_keras_serializable(package="kerasbn")
class SGD(PlannedOptimizer, keras.optimizers.SGD):
    """Keras's gradient descent, with a momentum that can change during training.

        v := momentum v - rate dw,   w := w + v        (nesterov: w := w + momentum v - rate dw)

    Without momentum w := w - rate dw; then there are no velocities v, and there can be no momentum later.
    Arguments, defaults and variables are those of `keras.optimizers.SGD`.

    Args:
        learning_rate: The rate, at least 0; or a schedule or function of Keras's, which cannot be planned.
        momentum: The momentum to begin with, in [0, 1]; 0: none, now and later.
        nesterov: Whether the momentum is Nesterov's.
        **kwargs: The others are as in `keras.optimizers.SGD`.

    Attributes:
        momentum: A float in [0, 1], which can be set at any time and holds from the next update on.

    Raises:
        InputError: If the momentum is out of range, or is set where it was 0 when the optimizer was built.

    Example:
        >>> optimizer = SGD(0.1, momentum=0.9)
        >>> model.compile(optimizer, "sparse_categorical_crossentropy")
        >>> optimizer.momentum = 0.8
        >>> optimizer.plan([0.1, 0.05, 0.025], momenta=[0.8, 0.85, 0.9])
        >>> float(optimizer.learning_rate), optimizer.momentum
        (0.10000000149011612, 0.8)

    Source: Ng, Improving Deep Neural Networks, week 2, gradient descent with momentum.
    """

    momentum_name: ClassVar[str | None] = "momentum"

    @property
    def momentum(self) -> float:
        """The momentum of the next update."""
        return self._get_momentum()

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._set_momentum(value)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight, and its velocity if there is one."""
        dtype = variable.dtype
        gradient = ops.cast(gradient, dtype)
        rate = self._once("rate", dtype, lambda _: ops.cast(learning_rate, dtype))
        if not self.momentums:
            self.assign_sub(variable, ops.multiply(gradient, rate))
            return
        momentum = self._once("momentum", dtype, lambda update: _rounded(update.momentum, dtype))
        velocity = self.momentums[self._get_variable_index(variable)]
        if not isinstance(gradient, tf.IndexedSlices) and not tf.distribute.has_strategy():
            # TensorFlow's kernel for these formulas: the same bits in one operation instead of six.
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=_native(variable).handle,
                accum=_native(velocity).handle,
                lr=rate,
                grad=gradient,
                momentum=momentum,
                use_nesterov=self.nesterov,
            )
            return
        step = ops.multiply(gradient, rate)
        self.assign(velocity, ops.subtract(ops.multiply(velocity, momentum), step))
        self.assign_add(variable, ops.subtract(ops.multiply(velocity, momentum), step) if self.nesterov else velocity)

    def _has_momentum(self) -> bool:
        return bool(self.momentums) if self.built else self.momentum > 0


@keras.saving.register_keras_serializable(package="kerasbn")
class RMSprop(PlannedOptimizer, keras.optimizers.RMSprop):
    """Keras's RMSprop, with a momentum that can change during training.

        s := rho s + (1 - rho) dw^2,   w := w - rate dw / sqrt(s + epsilon)

    With momentum v := momentum v + rate dw / sqrt(s + epsilon), w := w - v; without, there can be none later.
    Centered, s is less the square of the moving average of dw. Arguments, defaults and variables are those of
    `keras.optimizers.RMSprop`.

    Args:
        learning_rate: The rate, at least 0; or a schedule or function of Keras's, which cannot be planned.
        rho: Decay rate of the average of squares, in [0, 1].
        momentum: The momentum to begin with, in [0, 1]; 0: none, now and later.
        epsilon: What keeps the divisor from 0, at least 0.
        centered: Whether the squared average is subtracted.
        **kwargs: The others are as in `keras.optimizers.RMSprop`.

    Attributes:
        momentum: A float in [0, 1], which can be set at any time and holds from the next update on.

    Raises:
        InputError: If the momentum is out of range, or is set where it was 0 when the optimizer was built.

    Example:
        >>> optimizer = RMSprop(0.001, momentum=0.9)
        >>> model.compile(optimizer, "sparse_categorical_crossentropy")
        >>> optimizer.momentum = 0.8

    Source: Ng, Improving Deep Neural Networks, week 2, RMSprop.
    """

    momentum_name: ClassVar[str | None] = "momentum"

    @property
    def momentum(self) -> float:
        """The momentum of the next update."""
        return self._get_momentum()

    @momentum.setter
    def momentum(self, value: float) -> None:
        self._set_momentum(value)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight and its averages."""
        dtype, index, rho = variable.dtype, self._get_variable_index(variable), self.rho
        gradient = ops.cast(gradient, dtype)
        rate = self._once("rate", dtype, lambda _: ops.cast(learning_rate, dtype))
        # What is assigned goes on as a value: Keras reads it again, and waits for that.
        old = self._velocities[index]
        divisor = ops.add(ops.multiply(rho, old), ops.multiply(1 - rho, ops.square(gradient)))
        self.assign(old, divisor)
        if self.centered:
            old = self._average_gradients[index]
            average = ops.add(ops.multiply(rho, old), ops.multiply(1 - rho, gradient))
            self.assign(old, average)
            divisor = ops.subtract(divisor, ops.square(average))
        step = ops.divide(ops.multiply(rate, gradient), ops.sqrt(ops.add(divisor, self.epsilon)))
        if self._momentums:
            old = self._momentums[index]
            momentum = self._once("momentum", dtype, lambda update: ops.cast(update.momentum, dtype))
            step = ops.add(ops.multiply(momentum, old), step)
            self.assign(old, step)
        self.assign_sub(variable, step)

    def _has_momentum(self) -> bool:
        return bool(self._momentums) if self.built else self.momentum > 0


@keras.saving.register_keras_serializable(package="kerasbn")
class Adam(PlannedOptimizer, keras.optimizers.Adam):
    """Keras's Adam, with betas that can change during training.

        m := m + (1 - beta_1) (dw - m),   v := v + (1 - beta_2) (dw^2 - v)
        w := w - rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    in update number t, from 1. With AMSGrad the greatest v so far stands for v. Arguments, defaults and variables are
    those of `keras.optimizers.Adam`. The betas of the bias correction are those of the update, even if there were
    others before.

    Args:
        learning_rate: The rate, at least 0; or a schedule or function of Keras's, which cannot be planned.
        beta_1: Decay rate of the first moment to begin with, in [0, 1).
        beta_2: Decay rate of the second moment to begin with, in [0, 1).
        epsilon: What keeps the divisor from 0, at least 0.
        amsgrad: Whether the greatest second moment stands for the present one.
        **kwargs: The others are as in `keras.optimizers.Adam`.

    Attributes:
        beta_1: A float in [0, 1), which can be set at any time and holds from the next update on; the momentum.
        beta_2: Likewise.

    Raises:
        InputError: If a beta is out of range.

    Example:
        >>> optimizer = Adam(0.001)
        >>> model.compile(optimizer, "sparse_categorical_crossentropy")
        >>> optimizer.beta_1, optimizer.beta_2 = 0.8, 0.99
        >>> optimizer.beta_1, optimizer.get_config()["beta_2"]
        (0.8, 0.99)

    Source: Ng, Improving Deep Neural Networks, week 2, Adam.
    """

    momentum_name: ClassVar[str | None] = "beta_1"

    @property
    def beta_1(self) -> float:
        """The decay rate of the first moment in the next update."""
        return self._get_momentum()

    @beta_1.setter
    def beta_1(self, value: float) -> None:
        self._set_momentum(value, open_high=True)

    @property
    def beta_2(self) -> float:
        """The decay rate of the second moment in the next update."""
        with tf.init_scope():
            return float(self._beta_2.numpy())

    @beta_2.setter
    def beta_2(self, value: float) -> None:
        value = float(checks.in_range(f"{type(self).__name__}.beta_2", value, 0, 1, open_high=True))
        with tf.init_scope():
            self._beta_2.assign(value)

    @functools.cached_property  # which Keras does not track: the variables are those of Keras's Adam
    def _beta_2(self) -> tf.Variable:
        with tf.init_scope():
            return tf.Variable(0.0, trainable=False, dtype=tf.float64)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a weight and its moments."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        gradient = ops.cast(gradient, dtype)
        alpha, rest_1, rest_2 = self._once("alpha", dtype, lambda update: self._factors(update, dtype, learning_rate))
        m, v = self._momentums[index], self._velocities[index]
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), rest_1))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v), rest_2))
        if self.amsgrad:
            greatest = self._velocity_hats[index]
            self.assign(greatest, ops.maximum(greatest, v))
            v = greatest
        self.assign_sub(variable, ops.divide(ops.multiply(m, alpha), ops.add(ops.sqrt(v), self.epsilon)))

    def _factors(self, update: Any, dtype: Any, learning_rate: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return rate sqrt(1 - beta_2^t) / (1 - beta_1^t), 1 - beta_1 and 1 - beta_2."""
        beta_1, beta_2 = update.momentum, self._beta_2.read_value()
        t = ops.cast(self.iterations + 1, dtype)
        power_1, power_2 = ops.power(_rounded(beta_1, dtype), t), ops.power(_rounded(beta_2, dtype), t)
        alpha = ops.cast(learning_rate, dtype) * ops.sqrt(1 - power_2) / (1 - power_1)
        return alpha, ops.cast(1 - beta_1, dtype), ops.cast(1 - beta_2, dtype)


@keras.saving.register_keras_serializable(package="kerasbn")
class AdamW(Adam, keras.optimizers.AdamW):
    """Keras's AdamW, with betas that can change during training: Adam, and before it w := w - rate weight_decay w.

    Arguments, defaults and variables are those of `keras.optimizers.AdamW`.

    Args:
        learning_rate: The rate, at least 0; or a schedule or function of Keras's, which cannot be planned.
        weight_decay: Share of a weight that it loses in an update, over the rate; at least 0.
        **kwargs: The others are as in `Adam`.

    Example:
        >>> optimizer = AdamW(0.001, weight_decay=0.01)
        >>> optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        >>> model.compile(optimizer, "sparse_categorical_crossentropy")
        >>> optimizer.beta_1 = 0.8

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101.
    """


@keras.saving.register_keras_serializable(package="kerasbn")
class Adagrad(PlannedOptimizer, keras.optimizers.Adagrad):
    """Keras's AdaGrad, whose rate can be planned; it has no momentum.

        s := s + dw^2,   w := w - rate dw / sqrt(s + epsilon)

    Arguments, defaults and variables are those of `keras.optimizers.Adagrad`.

    Args:
        learning_rate: The rate, at least 0; or a schedule or function of Keras's, which cannot be planned.
        initial_accumulator_value: s to begin with, at least 0.
        epsilon: What keeps the divisor from 0, at least 0.
        **kwargs: The others are as in `keras.optimizers.Adagrad`.

    Example:
        >>> optimizer = Adagrad(0.01)
        >>> optimizer.plan([0.01, 0.005])
        >>> model.compile(optimizer, "sparse_categorical_crossentropy")

    Source: Duchi et al. (2011), Adaptive Subgradient Methods, JMLR 12.
    """


def _rounded(value: tf.Tensor, dtype: Any) -> tf.Tensor:
    """Return a float64 scalar in a dtype, by way of float32, as Keras makes a tensor of a Python number."""
    return ops.cast(ops.cast(value, "float32"), dtype)


def _native(variable: Any) -> tf.Variable:
    """Return TensorFlow's variable of Keras's."""
    return variable.value if isinstance(variable, keras.Variable) else variable
