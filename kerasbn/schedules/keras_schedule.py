"""KerasSchedule: a schedule as the `learning_rate` of a Keras optimizer."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kerasbn.schedules.arithmetic import Arithmetic
from kerasbn.schedules.base import Schedule
from kerasbn.schedules.serialization import from_dict


def _pick(t: Any, boundaries: Sequence[float], values: Sequence[float]) -> Any:
    found = ops.searchsorted(ops.convert_to_tensor(boundaries, "float64"), ops.reshape(t, (-1,)), side="right")
    return ops.reshape(ops.take(ops.convert_to_tensor(values, "float64"), found), ops.shape(t))


TENSORS = Arithmetic(
    where=ops.where,
    minimum=ops.minimum,
    maximum=ops.maximum,
    floor=ops.floor,
    sin=ops.sin,
    log=ops.log,
    sqrt=ops.sqrt,
    power=ops.power,
    pick=_pick,
)


@keras.saving.register_keras_serializable(package="kerasbn")
class KerasSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of kerasbn as one of Keras's, whose position is the number of the step.

    Args:
        schedule: What `Schedule.as_keras` was called of.

    Example:
        >>> optimizer = keras.optimizers.SGD(InverseTime(0.2).as_keras())
        >>> round(float(optimizer.learning_rate), 6)
        0.2
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """Return the rate at a step, a tensor of Keras's default float type."""
        return ops.cast(self.schedule.formula(ops.cast(step, "float64"), TENSORS), keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """Return the dictionary of the schedule."""
        return self.schedule.to_dict()

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "KerasSchedule":
        """Return the schedule that `get_config` returned the dictionary of."""
        return cls(from_dict(config))
