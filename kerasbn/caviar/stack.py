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
    """The members of a stack, one by one, as NumPy arrays of their own; the stack is not copied for it.

    Args:
        program: Of the stack.
        state: Of the stack.
    """

    def __init__(self, program: Program, state: State) -> None:
        self.program, self._state = program, state

    def values(self, row: int) -> list[np.ndarray]:
        """Return a member's values, as `Draft.values`."""
        return self._values(row, self.program.one.variables)

    def weights(self, row: int) -> list[np.ndarray]:
        """Return a member's weights as `keras.Model.get_weights` gives them."""
        return self._values(row, self.program.one.model.weights)

    def _values(self, row: int, variables: Sequence[Any]) -> list[np.ndarray]:
        one = self.program.one
        parts = np.split(np.asarray(memoryview(self._state.parameters))[row], np.cumsum(one.sizes)[:-1])
        found = {id(v): part.reshape(v.shape) for v, part in zip(one.trainable, parts, strict=True)}
        pairs = zip(one.others, self._state.others, strict=True)
        found |= {id(variable): np.asarray(memoryview(values))[row] for variable, values in pairs}
        return [np.array(found[id(variable)]) for variable in variables]

    def optimizer(self, row: int, rate: float | None) -> list[np.ndarray]:
        """Return the values of a member's `optimizer.variables`; the rate is None where a schedule gives it."""
        slots = {name: np.asarray(memoryview(values))[row] for name, values in self._state.slots.items()}
        return self.program.rule.variables_of(int(self._state.updates[row]), rate, slots)


def gathered(state: State, rows: Sequence[int]) -> State:
    """Return the state of some members of a stack, in an order, perhaps some of them several times."""
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, tf.constant(rows, tf.int32)), state)
