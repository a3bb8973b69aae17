"""PlannedOptimizer: what the optimizers of this room have in common: plans, and settings that can be changed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.optimizers.plan import Plan, Update, assign


class PlannedOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer that knows the learning rates and momenta of its coming updates.

    Keras calls its callbacks once for all the steps of an execution (`steps_per_execution`), and has momentum and
    betas in the graph as constants. Here the graph reads both from variables, by the number of updates done, so that
    every step has its own and nothing is traced anew. With gradient accumulation an update is one of several steps.

    The variables are those of Keras's optimizer, in number, order and shape: weights go from one to the other. The
    plan, the momentum and the betas are not among them. `.keras` files have momentum and betas in the optimizer's
    config; from other checkpoints whoever sets them must set them anew, as `kerasbn.callbacks.LearningRateDecay` does.

    Args:
        args: Those of the Keras optimizer.

    Attributes:
        LONGEST_PLAN: The most updates that can be planned.
        momentum_name: What the optimizer calls its momentum: "momentum", "beta_1", or None if it has none.

    Raises:
        InputError: When the momentum is set and there is none.

    Example:
        >>> isinstance(SGD(0.1), PlannedOptimizer), SGD.LONGEST_PLAN, Adam.momentum_name
        (True, 64, 'beta_1')
    """

    LONGEST_PLAN: ClassVar[int] = 64
    momentum_name: ClassVar[str | None] = None

    def plan(self, rates: Sequence[float] | np.ndarray, momenta: Sequence[float] | np.ndarray | None = None) -> None:
        """Set the learning rates, and the momenta, of the coming updates; the last ones hold after them.

        Args:
            rates: (n,) rates of at least 0, for 1 to `LONGEST_PLAN` updates from the next one on.
            momenta: (n,) momenta in [0, 1]; None: the momentum stays.

        Raises:
            InputError: If an argument is out of range, the rate is a schedule or function of Keras's, or the
                optimizer has no momentum.
        """
        values = self._planned("rates", rates, np.inf)
        rate = super().learning_rate
        if not isinstance(rate, keras.Variable):
            raise InputError(
                "learning_rate of the optimizer", "a number, which can be set", "a schedule", "Create it with a number."
            )
        if momenta is not None:
            momenta = self._planned("momenta", momenta, 1.0)
            if len(momenta) != len(values):
                raise InputError("momenta", f"{len(values)} of them, as of rates", len(momenta))
            self.check_momentum_can_change()
        if len(values) > 1:
            self._plan.write(self._count(), values, momenta)
        else:  # in half the time
            if momenta is not None:
                self._plan.hold_momentum(momenta[0])
            elif self._plan.end:
                self._plan.keep_momentum(self._count())
            self._plan.forget()
        assign(rate.value, values[-1])

    def forget_plan(self) -> None:
        """Let the last rate and momentum of the plan hold from the next update on.

        To be called where the number of updates goes back: a plan is for updates by their number.
        """
        self._plan.forget()

    def check_momentum_can_change(self) -> None:
        """Raise an `InputError` if the optimizer has no momentum, or was made without.

        Raises:
            InputError: Then.
        """
        if self.momentum_name is None:
            raise InputError(
                f"momentum of {type(self).__name__}", "an optimizer with a momentum", "one without", "SGD has one."
            )
        if not self._has_momentum():
            raise InputError(
                f"{type(self).__name__}.momentum",
                "a momentum above 0 when the optimizer is made, if it is to change",
                "0.0",
                "Without momentum it keeps no velocities. Create it with the momentum to begin with, such as 0.9.",
            )

    @property
    def learning_rate(self) -> Any:
        """The rate of the next update; setting it ends a plan."""
        plan, rate = self._plan, super().learning_rate
        if plan.update is not None and plan.update.rate is not None:
            return plan.update.rate
        if plan.end and tf.executing_eagerly():
            return plan.rate(self._count(), rate)
        return rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        keras.optimizers.Optimizer.learning_rate.fset(self, learning_rate)
        self._plan.forget()

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the weights, as Keras does, with the rate and momentum that are planned for this update."""
        rate = super().learning_rate
        if not isinstance(rate, keras.Variable):
            rate = None
        with self._plan.updating(self.iterations, rate, self._has_momentum()):
            super().apply(grads, trainable_variables)

    def load_own_variables(self, store: Any) -> None:
        """Load the variables, as Keras does, and forget the plan."""
        super().load_own_variables(store)
        self._plan.forget()

    def set_weights(self, weights: Any) -> None:
        """Set the variables, as Keras does, and forget the plan."""
        super().set_weights(weights)
        self._plan.forget()

    @functools.cached_property  # which Keras does not track: the variables are not the optimizer's
    def _plan(self) -> Plan:
        return Plan(self.LONGEST_PLAN, keras.config.floatx())

    def _once(self, key: str, dtype: Any, compute: Callable[[Update], Any]) -> Any:
        """Return what `compute` makes of the present update for weights of a dtype; it does so once an update."""
        present = self._plan.update
        if present is not None:
            return present.once((key, dtype), lambda: compute(present))
        with self._plan.updating(self.iterations, None, True) as update:  # `update_step` called by itself
            return compute(update)

    def _count(self) -> int:
        """Return the number of updates done."""
        with tf.init_scope():
            return int(tf.convert_to_tensor(self.variables[0])) // (self.gradient_accumulation_steps or 1)

    def _has_momentum(self) -> bool:
        """Return whether the optimizer has, or will have, what it takes to have a momentum."""
        return self.momentum_name is not None

    def _get_momentum(self) -> float:
        return self._plan.momentum(self._count())

    def _set_momentum(self, value: Any, open_high: bool = False) -> None:
        subject = f"{type(self).__name__}.{self.momentum_name}"
        value = float(checks.in_range(subject, value, 0, 1, open_high=open_high))
        if value and self.built:
            self.check_momentum_can_change()
        self._plan.hold_momentum(value)

    def _planned(self, subject: str, values: Any, high: float) -> np.ndarray:
        """Return planned values as float64, or raise an InputError."""
        array = np.asarray(values, np.float64)
        if array.ndim != 1 or not 1 <= len(array) <= self.LONGEST_PLAN:
            raise InputError(subject, f"a list of 1 to {self.LONGEST_PLAN} numbers", f"shape {array.shape}")
        if not (array.min() >= 0 and array.max() <= high and array.max() < np.inf):
            raise InputError(subject, "finite numbers of at least 0" if high > 1 else "numbers in [0, 1]", values)
        return array
