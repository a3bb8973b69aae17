"""The state of a stack: made of the values of its members, gathered, and taken apart again."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kerasbn.caviar.program import Program, State


def state_of(
    program: Program, values: Sequence[Sequence[np.ndarray]], optimizers: Sequence[Sequence[np.ndarray] | None]
) -> State:
    """Return the state of a stack whose members have some values.

    Args:
        program: Of the stack.
        values: Of each member, as `Draft.values`.
        optimizers: Of each member the values of `optimizer.variables`; None: training begins.

    Returns:
        The state.
    """
    place = {id(variable): at for at, variable in enumerate(program.one.variables)}
    parameters = [
        np.concatenate([np.ravel(one[place[id(v)]]) for v in program.one.trainable]).astype("float32") for one in values
    ]
    others = [tf.constant(np.stack([one[place[id(v)]] for one in values])) for v in program.one.others]
    slots, updates = [], []
    for optimizer in optimizers:
        slots.append(program.rule.first_slots() if optimizer is None else program.rule.slots_of(optimizer))
        updates.append(0.0 if optimizer is None else float(program.rule.updates_of(optimizer)))
    return State(
        tf.constant(np.stack(parameters)),
        {name: tf.constant(np.stack([one[name] for one in slots])) for name in program.rule.slots},
        tf.constant(updates, tf.float32),
        others,
    )


class Rows:
    """The members of a stack, one by one, as NumPy arrays; fetched when they are asked for.

    Args:
        program: Of the stack.
        state: Of the stack.
    """

    def __init__(self, program: Program, state: State) -> None:
        self.program, self._state = program, state
        self._arrays: State | None = None

    @property
    def arrays(self) -> State:
        """The state as NumPy arrays."""
        if self._arrays is None:
            self._arrays = tf.nest.map_structure(lambda tensor: tensor.numpy(), self._state)
        return self._arrays

    def values(self, row: int) -> list[np.ndarray]:
        """Return a member's values, as `Draft.values`."""
        return self._values(row, self.program.one.variables)

    def weights(self, row: int) -> list[np.ndarray]:
        """Return a member's weights as `keras.Model.get_weights` gives them."""
        return self._values(row, self.program.one.model.weights)

    def _values(self, row: int, variables: Sequence[Any]) -> list[np.ndarray]:
        program, arrays = self.program, self.arrays
        ends = np.cumsum(program.one.sizes)[:-1]
        found = {
            id(variable): part.reshape(variable.shape)
            for variable, part in zip(program.one.trainable, np.split(arrays.parameters[row], ends), strict=True)
        }
        found |= {id(variable): values[row] for variable, values in zip(program.one.others, arrays.others, strict=True)}
        return [np.array(found[id(variable)]) for variable in variables]

    def optimizer(self, row: int, rate: float | None) -> list[np.ndarray]:
        """Return the values of a member's `optimizer.variables`; the rate is None where a schedule gives it."""
        arrays = self.arrays
        slots = {name: values[row] for name, values in arrays.slots.items()}
        return self.program.rule.variables_of(int(arrays.updates[row]), rate, slots)


def gathered(state: State, rows: Sequence[int]) -> State:
    """Return the state of some members of a stack, in an order, perhaps some of them several times."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, list(rows)), state)
