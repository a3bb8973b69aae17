"""ReduceOnPlateau: lowers the learning rate, whatever its schedule, when a metric no longer gets better."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from kerasbn import checks
from kerasbn.callbacks.keep_best import sign_of
from kerasbn.callbacks.learning_rate import LearningRateDecay, check_keys
from kerasbn.checks import InputError

_STATE = ("best", "waited", "cooling")


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiply the learning rate by a factor when a metric has not got better for some epochs.

        decay.multiplier := max(factor decay.multiplier, minimum)

    The epochs are counted as by Keras's `ReduceLROnPlateau`. But the rate keeps its one owner, so that any schedule
    will do, and the state can be saved: here and in `LearningRateDecay.state`. It is not forgotten when `fit` is
    called again; for a new start make a new callback. A metric that is NaN or infinite is never better.

    In the list of callbacks it stands after the `LearningRateDecay`: that one logs the rate of the epoch that ends,
    this one changes those of the next.

    Args:
        decay: The callback that sets the rate.
        monitor: Name of a metric in the logs.
        factor: What the rate is multiplied by, in (0, 1).
        patience: Epochs without a better value after which it is, at least 1.
        direction: "max" or "min"; None: "max" if the monitor's name ends in "accuracy", else "min".
        min_delta: How much better a value must be than the best one to count, at least 0.
        cooldown: Epochs after a change that are not counted, at least 0.
        minimum: The smallest multiplier, in [0, 1].
        required: Whether a monitor that is not in the logs is an error; else such an epoch is not counted, as where
            only every second one has a validation.

    Attributes:
        best: The best value so far; None before there is one.
        waited: Epochs since.
        cooling: Epochs still not to be counted.

    Raises:
        InputError: If an argument is out of range; at the end of an epoch, if the monitor is not in the logs.

    Example:
        >>> decay = LearningRateDecay(Constant(0.1))
        >>> plateau = ReduceOnPlateau(decay, "val_loss", factor=0.5, patience=1, min_delta=100.0)
        >>> data = {"x": x, "y": y, "validation_data": (x, y)}
        >>> history = model.fit(**data, epochs=3, callbacks=[decay, plateau], verbose=0).history
        >>> history["learning_rate"], decay.multiplier
        ([0.1, 0.1, 0.05], 0.25)
    """

    def __init__(
        self,
        decay: LearningRateDecay,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        direction: str | None = None,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        minimum: float = 0.0,
        required: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(decay, LearningRateDecay):
            raise InputError("decay", "the LearningRateDecay that sets the rate", repr(decay))
        self.decay, self.monitor, self.required = decay, monitor, required
        self.factor = checks.in_range("factor", factor, 0, 1, open_low=True, open_high=True)
        self.patience = checks.in_range("patience", patience, 1, integer=True)
        if direction is None:
            direction = "max" if monitor.endswith("accuracy") else "min"
        self._sign = sign_of(checks.one_of("direction", direction, ("max", "min")))
        self.min_delta = checks.in_range("min_delta", min_delta, 0)
        self.cooldown = checks.in_range("cooldown", cooldown, 0, integer=True)
        self.minimum = checks.in_range("minimum", minimum, 0, 1)
        self.best: float | None = None
        self.waited = 0
        self.cooling = 0

    def state(self) -> dict[str, Any]:
        """Return `best`, `waited` and `cooling`, as JSON; the multiplier is in the state of the decay."""
        return {"best": self.best, "waited": self.waited, "cooling": self.cooling}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state` returned.

        Args:
            state: The state.

        Raises:
            InputError: If it has other keys, or a value is out of range.
        """
        check_keys("state of ReduceOnPlateau", state, _STATE)
        self.best = None if state["best"] is None else float(checks.in_range("best", state["best"]))
        self.waited = checks.in_range("waited", state["waited"], 0, integer=True)
        self.cooling = checks.in_range("cooling", state["cooling"], 0, integer=True)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raise an `InputError` if the decay has no part in this training."""
        if self.decay.model is not self.model:
            remedy = "Put both in the list, the decay first."
            raise InputError("decay", "one in the list of callbacks of the same `fit`", "one that is not", remedy)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the epoch, and lower the multiplier if it was one too many."""
        logs = logs or {}
        if self.monitor not in logs:
            if self.required:
                remedy = "Pass required=False if it is measured in some epochs only, as with validation_freq."
                raise InputError("monitor", f"a metric out of {sorted(logs)}", repr(self.monitor), remedy)
            return
        value = float(logs[self.monitor])
        if self.cooling:
            self.cooling, self.waited = self.cooling - 1, 0
        if math.isfinite(value) and (self.best is None or self._sign * value - self.min_delta > self._sign * self.best):
            self.best, self.waited = value, 0
        elif not self.cooling:
            self.waited += 1
            if self.waited >= self.patience and self.decay.multiplier > self.minimum:
                self.decay.multiplier = max(self.factor * self.decay.multiplier, self.minimum)
                self.cooling, self.waited = self.cooldown, 0
