"""What stands in for the model of one member of a stack: as much of it as the known callbacks ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Weight:
    """The value of one weight, which callbacks ask for as they ask a variable.

    Args:
        value: The value.
    """

    value: np.ndarray

    def numpy(self) -> np.ndarray:
        """Return the value."""
        return self.value


class OptimizerStandIn:
    """The learning rate of one member, by the names that Keras's optimizers have for it.

    Like an optimizer of `kerasbn.optimizers` it can be told the rates of updates beforehand: of a whole epoch.

    Args:
        learning_rate: A number; or a function from the numbers of updates, from 0, to their rates: then it cannot be
            set.

    Attributes:
        updates: Number of updates done.

    Example:
        >>> optimizer = OptimizerStandIn(0.5)
        >>> optimizer.learning_rate = 0.25
        >>> optimizer.rates(2)
        array([0.25, 0.25], dtype=float32)
    """

    gradient_accumulation_steps = None

    def __init__(self, learning_rate: float | Callable[[np.ndarray], np.ndarray]) -> None:
        self.updates = 0
        self.schedule = learning_rate if callable(learning_rate) else None
        self._rate = np.array(0.0 if callable(learning_rate) else learning_rate, np.float32)
        self._planned: np.ndarray | None = None

    @property
    def variables(self) -> list[Any]:
        """The first of an optimizer's: how many batches it had."""
        return [np.int64(self.updates)]

    @property
    def learning_rate(self) -> Any:
        """The rate now: an array without axes if it can be set, else a number."""
        return self._rate if self.schedule is None else self.schedule(np.array([self.updates]))[0]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if self.schedule is not None:
            raise TypeError("The learning rate is a schedule of the optimizer's own, and cannot be set.")  # as in Keras
        self._rate = np.array(value, np.float32)
        self._planned = None

    def plan(self, rates: Sequence[float], momenta: None = None) -> None:
        """Set the rates of the coming updates; the last one holds after them."""
        self.learning_rate = rates[-1]
        self._planned = np.array(rates, np.float32)

    def forget_plan(self) -> None:
        """Let the rate that holds now hold from the next update on."""
        self._planned = None

    def rates(self, updates: int) -> np.ndarray:
        """Return the rates of so many updates to come, float32."""
        if self.schedule is not None:
            return self.schedule(self.updates + np.arange(updates))
        return np.full(updates, self._rate) if self._planned is None else self._planned

    def advance(self, updates: int) -> None:
        """Note that so many updates are done."""
        if self._planned is not None:
            self.learning_rate = self._planned[updates - 1]
        self.updates += updates


class ModelStandIn:
    """The model of one member, between two epochs.

    Args:
        optimizer: Its optimizer.
        metrics: As `keras.Model.metrics`: whether they are better when greater is asked of them.
        steps: Number of updates in an epoch.
        get_weights: Returns the member's weights now.

    Attributes:
        stop_training: Whether a callback has ended training.
        history: The `keras.callbacks.History`.
        weights_set: Weights that a callback has put in place of the trained ones; None: there are none.
    """

    def __init__(
        self,
        optimizer: OptimizerStandIn,
        metrics: Sequence[Any],
        steps: int,
        get_weights: Callable[[], list[np.ndarray]],
    ) -> None:
        self.optimizer, self.metrics, self._get_weights = optimizer, metrics, get_weights
        self.steps_per_execution = steps  # LearningRateDecay then plans all of an epoch at once
        self.stop_training = False
        self.history: Any = None
        self.weights_set: list[np.ndarray] | None = None

    @property
    def weights(self) -> list[Weight]:
        """The weights, as callbacks that want variables get them."""
        return [Weight(value) for value in self.get_weights()]

    def get_weights(self) -> list[np.ndarray]:
        """Return the weights."""
        return self._get_weights() if self.weights_set is None else self.weights_set

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Put others in the place of the weights."""
        self.weights_set = list(weights)
