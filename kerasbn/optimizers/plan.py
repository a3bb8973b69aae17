"""Plan: the rates and momenta of the coming updates, in variables that the graph reads by the number of updates."""

import contextlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf


class Update:
    """What one update reads, once for all weights.

    Args:
        rate: The learning rate, a scalar tensor; None: Keras knows it.
        momentum: The momentum, a float64 scalar tensor; None: it is not needed.
    """

    def __init__(self, rate: tf.Tensor | None, momentum: tf.Tensor | None = None) -> None:
        self.rate, self.momentum = rate, momentum
        self._results: dict[Hashable, Any] = {}

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what `compute` returns; of calls with one key, the first is the one that computes."""
        if key not in self._results:
            self._results[key] = compute()
        return self._results[key]


class Plan:
    """The rates and momenta of the updates below `end`; after them the optimizer's own rate and momentum hold.

    Update number u, counted from 0, finds its own in slot u mod n. What holds when the plan is over is the optimizer's
    `learning_rate`, as in Keras, and the momentum in a variable here. So whoever sets `learning_rate` by Keras's
    means, as loading a checkpoint does, need not know of plans.

    Not a `tf.Module`, and in no list of the optimizer's variables: these are the same as Keras's.

    Args:
        size: n, the number of slots, a power of 2.
        dtype: Of the rates.
    """

    def __init__(self, size: int, dtype: str) -> None:
        self.size = size
        self.end = 0
        self._level = True  # whether the momenta in all slots are the one that holds
        with tf.init_scope():  # whoever asks first may be tracing
            self._rates = tf.Variable(np.zeros(size, dtype), trainable=False)
            # In float64, so that 1 - beta is Python's, rounded: that is what Keras has in the graph.
            self._momenta = tf.Variable(np.zeros(size), trainable=False)
            self._momentum = tf.Variable(np.float64(0), trainable=False)
            self._end = tf.Variable(np.int64(0), trainable=False)
        self.update: Update | None = None  # the one being made

    def write(self, first: int, rates: np.ndarray, momenta: np.ndarray | None) -> None:
        """Plan the updates from `first` on, at most n; without momenta the one that holds does for all."""
        slots = np.arange(first, first + len(rates)) % self.size
        assign(self._rates, _placed(slots, rates, self.size))
        if momenta is not None:
            assign(self._momentum, momenta[-1])
            assign(self._momenta, _placed(slots, momenta, self.size))
            self._level = False
        else:
            self.keep_momentum(first)
        self.end = first + len(rates)
        assign(self._end, self.end)

    def forget(self) -> None:
        """Let what holds after the plan hold from now on."""
        if self.end:
            self.end = 0
            assign(self._end, 0)

    def rate(self, update: int, otherwise: Any) -> Any:
        """Return the rate planned for an update as a scalar tensor, or `otherwise` if none is."""
        return self._rates[update % self.size] if update < self.end else otherwise

    def momentum(self, update: int) -> float:
        """Return the momentum of an update as a float."""
        with tf.init_scope():
            return float(self._momenta.numpy()[update % self.size] if update < self.end else self._momentum.numpy())

    def hold_momentum(self, momentum: float) -> None:
        """Set the momentum of all updates to come."""
        with tf.init_scope():
            assign(self._momentum, momentum)
            assign(self._momenta, np.full(self.size, momentum))
        self._level = True

    def keep_momentum(self, update: int) -> None:
        """Let the momentum of an update hold for those after it, too."""
        if not self._level:
            self.hold_momentum(self.momentum(update))

    @contextlib.contextmanager
    def updating(self, count: Any, rate: Any, with_momentum: bool) -> Iterator[Update]:
        """Read what update number `count` needs, in eager mode or into the graph, and hold it for the while.

        Args:
            count: Number of updates before, a scalar tensor or variable.
            rate: The rate that holds when no plan does, a variable; None: Keras knows the rate.
            with_momentum: Whether the momentum is needed.
        """
        if rate is None:
            self.update = Update(None, self._momentum.read_value())
        else:
            count = tf.convert_to_tensor(count, tf.int64)
            read = [(self._rates, rate)] + [(self._momenta, self._momentum)] * with_momentum

            def planned() -> list[tf.Tensor]:
                slot = tf.bitwise.bitwise_and(count, self.size - 1)
                return [tf.gather(table, slot) for table, _ in read]

            def held() -> list[tf.Tensor]:
                return [tf.convert_to_tensor(variable) for _, variable in read]

            # Not a table with the last values in all other slots: they would come again after n updates.
            self.update = Update(*tf.cond(count < self._end, planned, held))
        try:
            yield self.update
        finally:
            self.update = None


def assign(variable: tf.Variable, value: Any) -> None:
    """Assign a value of the variable's shape, in half the time that the variable's method takes."""
    array = np.asarray(value, variable.dtype.as_numpy_dtype)  # of numbers TensorFlow makes tensors more slowly
    if isinstance(variable, tf.distribute.DistributedValues):
        variable.assign(array)
    else:
        tf.raw_ops.AssignVariableOp(resource=variable.handle, value=array)


def _placed(slots: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Return an array with values in slots, and 0 in the others."""
    array = np.zeros(size)
    array[slots] = values
    return array
