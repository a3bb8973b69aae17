"""LearningRateDecay: the owner of the learning rate, and of the momentum where it is cycled, during training."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.optimizers import PlannedOptimizer
from kerasbn.schedules import Schedule
from kerasbn.schedules.ending import end_of

_STATE = ("multiplier", "momentum", "momentum_before", "first")


def check_keys(subject: str, state: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Raise an `InputError` unless a saved state has just these keys."""
    if sorted(state) != sorted(keys):
        raise InputError(subject, f"the keys {', '.join(keys)}", ", ".join(sorted(state)) or "none")


class LearningRateDecay(keras.callbacks.Callback):
    """Set the learning rate of each update: a multiplier times the schedule's value at the update's position.

        rate = multiplier * schedule(t)

    in float64, rounded to the optimizer's type. The position t depends only on where training is, in no way on what
    was before: a run that goes on has the rates that it would have had in one go.

        unit="epoch"                          t = epoch + batch / steps, the epoch being that of `fit`, from 0
        unit="epoch", steps_per_epoch given   t = updates * accumulation / steps_per_epoch
        unit="step"                           t = updates

    The updates are those of the optimizer since it was made, and are saved with it. With gradient accumulation several
    batches (the accumulation) make an update, whose batch is the first of them; a step that a LossScaleOptimizer skips
    is no update. If Keras does not know how many steps an epoch has, as with a generator, the rate changes once an
    epoch, and a warning says so. When a schedule is over its last rate holds; a warning says so where the schedule
    falls till then and training goes on.

    With `steps_per_execution` above 1 Keras calls back once an execution. An optimizer of `kerasbn.optimizers` gets
    the rates of all its updates beforehand, up to 64: the weights are bit for bit the same as with one step. Another
    optimizer has the first one's rate in the whole execution.

    The rate has one owner: what others set is set anew, and a warning says so. For a plateau there is
    `ReduceOnPlateau`, for a change by hand `multiplier` and `momentum`. The logs of each epoch, and with them the
    history and what stands after this callback in the list (CSVLogger, TensorBoard), have "learning_rate", the rate
    of the epoch's first update, and "momentum" likewise if it is cycled or set. Only Keras's TensorBoard puts the
    rate at the end of the epoch in place of it.

    Args:
        schedule: Maps a position of at least 0 to a rate, such as `kerasbn.schedules.InverseTime(0.2)`; a function
            does. If it is a schedule that cycles the momentum, the momentum is set, too, to `schedule.momentum(t)`.
        unit: What the position counts: "epoch" or "step".
        steps_per_epoch: Batches in a whole epoch, at least 1, for unit "epoch": where `fit` goes on in the middle of
            an epoch, or its epochs are not those of the schedule.

    Attributes:
        multiplier: The factor, at least 0; it can be set at any time and holds from the next execution on.
        momentum: A momentum in [0, 1) in place of the optimizer's or the schedule's, likewise; None: there is none.

    Raises:
        InputError: If `schedule` cannot be called or another argument is out of range; when training begins, if the
            optimizer has a schedule of its own or is several, or the momentum is to be set and it has none that can
            be; during training, if the schedule returns no usable rate.

    Example:
        >>> decay = LearningRateDecay(InverseTime(0.2, decay_rate=1.0))
        >>> history = model.fit(x, y, epochs=4, callbacks=[decay], verbose=0).history
        >>> [round(rate, 3) for rate in history["learning_rate"]]
        [0.2, 0.1, 0.067, 0.05]
    """

    def __init__(
        self, schedule: Callable[[float], float], unit: str = "epoch", *, steps_per_epoch: int | None = None
    ) -> None:
        super().__init__()
        if not callable(schedule) or isinstance(schedule, type):
            raise InputError(
                "schedule",
                "a function from a position to a rate",
                repr(schedule),
                "Use one of kerasbn.schedules, such as Constant(0.1).",
            )
        self.schedule = schedule
        self.unit = checks.one_of("unit", unit, ("epoch", "step"))
        if steps_per_epoch is not None:
            checks.in_range("steps_per_epoch", steps_per_epoch, 1, integer=True)
            if unit == "step":
                raise InputError("steps_per_epoch", "None, since the unit is 'step'", steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        self._multiplier = 1.0
        self._momentum: float | None = None
        self._momentum_before: float | None = None  # what the optimizer had before this set it
        self._epoch = 0
        self._ending: float | None = None  # the rate after the last execution
        self._first: dict[str, float] = {}  # an epoch, and what its logs are to have
        self._fresh = True  # whether the epoch is about to have its first execution
        self._said: set[str] = set()

    @property
    def multiplier(self) -> float:
        """The factor of all rates to come."""
        return self._multiplier

    @multiplier.setter
    def multiplier(self, value: float) -> None:
        self._multiplier = float(checks.in_range("multiplier", value, 0))

    @property
    def momentum(self) -> float | None:
        """The momentum of all updates to come; None: the optimizer's own, or the schedule's."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float | None) -> None:
        if value is not None:
            value = float(checks.in_range("momentum", value, 0, 1, open_high=True))
            if getattr(self, "model", None) is not None:
                self._check_momentum_can_change()
        self._momentum = value

    def rate_now(self, batch: int) -> float:
        """Return the rate of the next update, in the execution of the present epoch that begins with a batch.

        Args:
            batch: Number of the batch in the epoch, from 0.

        Returns:
            The rate, in float64, with the present multiplier.

        Raises:
            InputError: If the schedule returns no usable rate.
        """
        return self._rates(self._positions(self._optimizer(), batch)[:1])[0]

    def state(self) -> dict[str, Any]:
        """Return what does not follow from the position, as JSON.

        Returns:
            `multiplier`, `momentum`, `momentum_before`: the optimizer's, before this callback set it, and `first`: the
            present epoch and what its logs will have.
        """
        return {
            "multiplier": self._multiplier,
            "momentum": self._momentum,
            "momentum_before": self._momentum_before,
            "first": dict(self._first),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` returned.

        Args:
            state: The state.

        Raises:
            InputError: If it has other keys, or a value is out of range.
        """
        check_keys("state of LearningRateDecay", state, _STATE)
        self.multiplier, self.momentum = state["multiplier"], state["momentum"]
        self._momentum_before, self._first = state["momentum_before"], dict(state["first"])

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raise an `InputError` if the rate, or the momentum, cannot be set."""
        if self._ending is not None:  # an earlier fit was left in the middle of an epoch
            self._first = {}
        self._ending = None
        optimizer = self._optimizer()
        if hasattr(optimizer, "optimizers"):
            names = ", ".join(type(one).__name__ for one in optimizer.optimizers)
            raise InputError("optimizer", "one optimizer, whose rate LearningRateDecay can set", f"several: {names}")
        if isinstance(optimizer, PlannedOptimizer):
            optimizer.forget_plan()
        # A rate that can be set is a variable, of a stand-in an array; a LearningRateSchedule gives a tensor, a
        # function a number. Keras refuses to set the first only at the first epoch, and lets the second pass without
        # effect.
        if not isinstance(getattr(optimizer, "learning_rate", None), keras.Variable | np.ndarray):
            raise InputError(
                "learning_rate of the optimizer",
                "a number, which LearningRateDecay can set",
                "a schedule",
                "Compile with a number, or leave LearningRateDecay out.",
            )
        if self._cycles or self._momentum is not None:
            self._check_momentum_can_change()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch; before the first one warn if the rates will not be what one might expect."""
        self._epoch, self._fresh = epoch, True
        if self._first.get("epoch") != epoch:  # else a run goes on in the middle of it
            self._first = {}
        if self._ending is None:
            self._warn_before(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the rates of the updates of this execution."""
        optimizer = self._optimizer()
        planned = hasattr(optimizer, "plan")  # one of kerasbn.optimizers, or a stand-in for one
        positions = self._positions(optimizer, batch)[: None if planned else 1]
        rates, momenta = self._rates(positions), self._momenta(optimizer, positions)
        if self._fresh:
            if planned:
                optimizer.forget_plan()  # of which there may be a rest, if there was less data than expected
            self._warn_of_another_owner(float(tf.convert_to_tensor(optimizer.learning_rate)))
            self._fresh = False
        if not self._first:
            self._first = {"epoch": self._epoch, "learning_rate": rates[0]}
            if momenta is not None:
                self._first["momentum"] = momenta[0]
        if planned:
            optimizer.plan(rates, momenta)
        else:
            optimizer.learning_rate = rates[0]
        self._ending = rates[-1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the rate of the epoch's first update, and the momentum if it is cycled or set."""
        if logs is not None:
            logs.update({name: value for name, value in self._first.items() if name != "epoch"})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave the optimizer with the last rate."""
        self._first = {}
        optimizer = self._optimizer()
        if isinstance(optimizer, PlannedOptimizer):
            optimizer.forget_plan()

    @property
    def _cycles(self) -> bool:
        return isinstance(self.schedule, Schedule) and self.schedule.cycles_momentum

    def _optimizer(self) -> Any:
        """Return the optimizer that updates, which a LossScaleOptimizer has inside."""
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)

    def _check_momentum_can_change(self) -> None:
        optimizer = self._optimizer()
        if not isinstance(optimizer, PlannedOptimizer):
            raise InputError(
                "optimizer",
                "one of kerasbn.optimizers, whose momentum can change during training",
                f"{type(optimizer).__name__} of Keras",
                "Use kerasbn.optimizers, or a schedule that does not cycle the momentum.",
            )
        optimizer.check_momentum_can_change()

    def _positions(self, optimizer: Any, batch: int) -> list[float]:
        """Return the positions of the updates that the execution which begins with a batch makes, or begins to make."""
        steps, accumulation = self.params.get("steps"), optimizer.gradient_accumulation_steps or 1
        batches = self.model.steps_per_execution
        if steps:
            batches = max(1, min(batches, steps - batch))
        done = _batches_done(optimizer)
        updates = range(done // accumulation, (done + batches - 1) // accumulation + 1)
        if len(updates) > PlannedOptimizer.LONGEST_PLAN and isinstance(optimizer, PlannedOptimizer):
            longest = PlannedOptimizer.LONGEST_PLAN
            self._warn_once(f"Of {len(updates)} updates in one execution those after the {longest}th have its rate.")
            updates = updates[:longest]
        if self.unit == "step":
            return [float(update) for update in updates]
        if self.steps_per_epoch:
            return [update * accumulation / self.steps_per_epoch for update in updates]
        if not steps:
            return [float(self._epoch)]
        # Not `batch` alone: the first of an update's batches, be it in the execution before or even the epoch before.
        first = (batch + update * accumulation - done for update in updates)
        return [max(0.0, self._epoch + b / steps) for b in first]

    def _rates(self, positions: list[float]) -> list[float]:
        if isinstance(self.schedule, Schedule) and len(positions) > 1:  # the same bit for bit, and ten times faster
            values = self.schedule(np.array(positions)).tolist()
        else:
            values = [_number(self.schedule(position), position) for position in positions]
        for position, value in zip(positions, values, strict=True):
            if not 0 <= value <= 1e38:  # NaN neither; float32 ends a little above
                raise InputError(f"schedule({position:g})", "a rate in [0, 1e+38]", value)
        return [self._multiplier * value for value in values]

    def _momenta(self, optimizer: Any, positions: list[float]) -> list[float] | None:
        """Return the momenta at positions, or None if the optimizer is to keep its own."""
        if self._momentum is not None:
            if self._momentum_before is None:
                self._momentum_before = getattr(optimizer, optimizer.momentum_name)
            return [self._momentum] * len(positions)
        before, self._momentum_before = self._momentum_before, None
        if self._cycles:
            return self.schedule.momentum(np.array(positions)).tolist()  # type: ignore[attr-defined]
        return None if before is None else [before] * len(positions)

    def _warn_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            warnings.warn(f"LearningRateDecay: {message}", stacklevel=2)

    def _warn_before(self, epoch: int) -> None:
        """Warn of what is not known, and of a schedule that ends too early, when training begins with an epoch."""
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        by_epoch = self.unit == "epoch" and self.steps_per_epoch is None
        if by_epoch and not steps and getattr(self.schedule, "length", None) != 0:
            self._warn_once(
                "the number of steps in an epoch is not known, so the rate changes once an epoch. "
                "Give `fit` steps_per_epoch, or LearningRateDecay a schedule in steps and unit='step'."
            )
        end = end_of(self.schedule)
        if end is None or not epochs or not (by_epoch or steps):
            return
        if by_epoch:
            last = float(epochs)
        else:
            optimizer = self._optimizer()
            batches = _batches_done(optimizer) + (epochs - epoch) * steps
            last = batches / (self.steps_per_epoch or optimizer.gradient_accumulation_steps or 1)
        if last > end:
            rate = self._multiplier * float(self.schedule(end))
            self._warn_once(
                f"the schedule ends at {self.unit} {end:g} and training at {last:g}; "
                f"in between the rate stays at {rate:.3g}."
            )

    def _warn_of_another_owner(self, rate: float) -> None:
        # The optimizer holds it in its own type.
        if self._ending is not None and abs(rate - self._ending) > 0.01 * self._ending:
            self._warn_once(
                f"something else set the learning rate, from {self._ending:.3g} to {rate:.3g}. It is set anew. "
                "Leave other schedulers out; ReduceOnPlateau and `multiplier` change the rate together with this one."
            )


def _number(value: Any, position: float) -> float:
    """Return what a function of the user's has returned as a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"schedule({position:g})", "a number", repr(value)) from None


def _batches_done(optimizer: Any) -> int:
    """Return how many batches an optimizer had, which under gradient accumulation is not its `iterations`."""
    return int(tf.convert_to_tensor(optimizer.variables[0]))
