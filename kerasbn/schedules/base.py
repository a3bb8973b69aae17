"""Schedule: what all schedules have in common: calling, momentum, repr, dictionary, picture, and the one for Keras."""

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, overload

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.arithmetic import Arithmetic

if TYPE_CHECKING:  # loaded only when needed: configs hold schedules, and are read before any of these
    import keras
    import numpy as np
    from matplotlib.figure import Figure


class Schedule:
    """A learning rate as a function of the position t >= 0: epochs or steps since the start, whole or not.

    Schedules are small frozen values: equal if they are alike, hashable, with a repr that makes them again and a
    dictionary for JSON and YAML. Those in this package are all there are; any other function from a position to a
    rate does for `kerasbn.callbacks.LearningRateDecay`, but has no dictionary.

    Attributes:
        name: What stands for the kind of schedule in its dictionary, such as "inverse_time".

    Raises:
        InputError: When called, if a position is below 0, NaN, infinite or not a number.

    Example:
        >>> schedule = InverseTime(0.2)
        >>> schedule(3), schedule(np.array([0, 1, 3]))
        (0.05, array([0.2 , 0.1 , 0.05]))
        >>> schedule == from_dict(schedule.to_dict())
        True
    """

    name: ClassVar[str]

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate at positions t, floats, float64 arrays or tensors, by the operations `xp` for these."""
        raise NotImplementedError

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the momentum at positions t, of a schedule that cycles it."""
        raise NotImplementedError

    @property
    def cycles_momentum(self) -> bool:
        """Whether the schedule has a momentum, too."""
        return False

    @property
    def length(self) -> float | None:
        """The position from which on the rate is sure not to change any more; None: there is none."""
        return None

    @property
    def horizon(self) -> float:
        """The position up to which a picture shows what is worth seeing, above 0."""
        return 1.1 * (self.length or 10.0)

    @overload
    def __call__(self, position: float) -> float: ...
    @overload
    def __call__(self, position: "np.ndarray") -> "np.ndarray": ...
    def __call__(self, position: Any) -> Any:
        """Return the rate at a position, or an array of rates at an array of positions.

        Args:
            position: Epochs or steps since the start of training, at least 0.

        Returns:
            A float, or a float64 array of the same shape.

        Raises:
            InputError: If a position is below 0, NaN, infinite or not a number.
        """
        from kerasbn.schedules.evaluation import evaluate

        return evaluate(self.formula, position)

    @overload
    def momentum(self, position: float) -> float | None: ...
    @overload
    def momentum(self, position: "np.ndarray") -> "np.ndarray | None": ...
    def momentum(self, position: Any) -> Any:
        """Return the momentum at a position, as a call does the rate; None if the schedule has none.

        Args:
            position: Epochs or steps since the start of training, at least 0.

        Returns:
            A float, or a float64 array of the same shape, in [0, 1); or None.

        Raises:
            InputError: If a position is below 0, NaN, infinite or not a number.
        """
        from kerasbn.schedules.evaluation import evaluate

        return evaluate(self.momentum_formula, position) if self.cycles_momentum else None

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the arguments, as JSON and YAML have them; `from_dict` makes the schedule again."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {"name": self.name, **{f.name: _plain(getattr(self, f.name)) for f in fields}}

    def as_keras(self) -> "keras.optimizers.schedules.LearningRateSchedule":
        """Return the schedule for `learning_rate` of a Keras optimizer, which calls it with the number of its steps.

        It computes in float64, in eager mode, in graphs and under XLA, and returns Keras's default float type. Keras
        saves and loads it with a model, once `kerasbn.schedules.keras_schedule` has been imported. The momentum is
        not in it: an optimizer of Keras has a fixed one.
        """
        from kerasbn.schedules.keras_schedule import KerasSchedule

        return KerasSchedule(self)

    def plot(self, until: float | None = None, path: str | os.PathLike[str] | None = None) -> "Figure":
        """Draw the rate by position, and the momentum if there is one.

        Args:
            until: The last position, above 0; None: `horizon`.
            path: A file to write, whole or not at all, of the format that its suffix says; None: none.

        Returns:
            The figure, which notebooks show.

        Raises:
            InputError: If `until` is no such number, or a directory is at `path`.
        """
        from kerasbn.schedules import picture

        if until is not None:
            checks.in_range("until", until, 0, open_low=True)
        return picture.plot(self, until or self.horizon, path)

    def __repr__(self) -> str:
        first, *others = dataclasses.fields(self)  # type: ignore[arg-type]
        shown = [repr(getattr(self, first.name))]
        for f in others:
            value = getattr(self, f.name)
            if value != f.default:
                shown.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check(self, field: str, *args: Any, **kwargs: Any) -> None:
        """Check that a field is a number in a range, as `checks.in_range`; hold it as a number of Python's own."""
        self._hold(field, own_number(checks.in_range(field, getattr(self, field), *args, **kwargs)))

    def _check_rate(self, field: str) -> None:
        self._check(field, 0, open_low=True)

    def _check_truth(self, field: str) -> None:
        if not isinstance(getattr(self, field), bool):
            raise InputError(field, "True or False", repr(getattr(self, field)))

    def _hold(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)  # frozen from here on


def own_number(value: Any) -> Any:
    """Return NumPy's and others' numbers as Python's, which have a repr and JSON."""
    return value.item() if getattr(value, "shape", None) == () else value


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def as_tuple(subject: str, values: Any) -> tuple[Any, ...]:
    """Return a list or an array as a tuple of Python's own numbers; raise an InputError if it is none."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(subject, "a list", repr(values))
    return tuple(own_number(value) for value in values)


def check_boundaries(boundaries: tuple[Any, ...]) -> None:
    """Raise an InputError unless boundaries are positions above 0, each greater than the one before."""
    before = 0.0
    for index, boundary in enumerate(boundaries):
        checks.in_range(f"boundaries[{index}]", boundary, before, open_low=True, remedy="Boundaries increase.")
        before = boundary


def check_schedule(subject: str, value: Any) -> None:
    """Raise an InputError unless a value is a schedule."""
    if not isinstance(value, Schedule):
        raise InputError(subject, "a schedule", repr(value), "Use one of kerasbn.schedules, such as Constant(0.1).")
