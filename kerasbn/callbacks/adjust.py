"""ApplyAdjustments: takes the changes that `kerasbn adjust` asks for, and repeats them when a run is resumed."""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import keras

from kerasbn.adjustments import Adjustments, Record, Request, in_force
from kerasbn.callbacks.learning_rate import LearningRateDecay
from kerasbn.checks import InputError
from kerasbn.config import Change
from kerasbn.optimizers import PlannedOptimizer
from kerasbn.statistics.graph import layers_within

_Values = Mapping[str, float | None]


class ApplyAdjustments(keras.callbacks.Callback):
    """Change learning rate, momentum and dropout while a model trains, or end it, as `kerasbn adjust` asks.

    It looks for a change before every execution and, without one, costs some microseconds. A change is written down
    before it is made. When training goes on from a checkpoint, it is made again at the step at which it was made,
    with the very same numbers: what it makes of the learning rate is a multiplier of the schedule,

        multiplier <- multiplier x / rate    with the rate so far

    so that the rate at that step is x and the schedule's shape goes on from there. Undoing divides by the same
    number: what `ReduceOnPlateau` made of the multiplier in between stays.

    A new share of dropout needs a new graph: TensorFlow traces the step once more, for about a second. The random
    numbers go on from where they are.

    Place it before the callback that sets the rate. What was changed up to a checkpoint must be in the state of that
    callback by the beginning of training.

    Args:
        adjustments: Of the run; see `kerasbn.adjustments.Adjustments`.
        decay: The callback that sets the rate.
        say: Told each change in a line.
        stop: Set when training is to end; None: training ends after the present execution, and its validation.
        listen: Whether to take new changes; else those of before are only made again.

    Raises:
        InputError: Never during training: what cannot be changed is refused, which is said and written down.

    Example:
        >>> decay = LearningRateDecay(Constant(0.1))
        >>> adjust = ApplyAdjustments(Adjustments("runs/iris"), decay, print)
        >>> history = model.fit(x, y, callbacks=[adjust, decay], verbose=0)
    """

    def __init__(
        self,
        adjustments: Adjustments,
        decay: LearningRateDecay,
        say: Callable[[str], None],
        stop: threading.Event | None = None,
        *,
        listen: bool = True,
    ) -> None:
        super().__init__()
        self.adjustments, self.decay, self.say, self.stop, self.listen = adjustments, decay, say, stop, listen
        self._epoch = 0
        self._to_come: deque[Record] = deque()  # made before a kill, and to be made again
        self._dropouts: list[tuple[keras.layers.Dropout, float]] = []  # with the shares they were built with
        self._dropout: float | None = None  # of all of them; None: as built
        self._complaint = ""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Put things as they were at this step."""
        if not self._dropouts:  # the model is the same in each fit
            # A layer that was built with no dropout has no random numbers to draw it with.
            layers = (layer for _, layer in layers_within(self.model) if isinstance(layer, keras.layers.Dropout))
            self._dropouts = [(layer, layer.rate) for layer in layers if hasattr(layer, "seed_generator")]
        step = self._step()
        made = [record for record in self.adjustments.records if record.refused is None and not record.change.stop]
        # A checkpoint is written between two steps; a change is made right before the next.
        self._to_come = deque(record for record in made if record.step >= step)
        dropouts = [record.after["dropout"] for record in made if record.step < step and "dropout" in record.after]
        if dropouts and dropouts[-1] != self._dropout:
            self._set_dropout(dropouts[-1])

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Give the dropout layers back the shares they were built with: they are part of a saved model."""
        if self._dropout is not None:
            self._set_dropout(None)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch + 1

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make the changes that are due."""
        if self._to_come:
            step = self._step()
            while self._to_come and self._to_come[0].step <= step:
                record = self._to_come.popleft()
                self._make(record)
                self.say(f"again {record}")
        # What is asked for now comes after all that was changed already.
        if self.listen and not self._to_come:
            try:
                stopping = False
                for request in self.adjustments.poll():
                    if request.change.stop or not stopping:  # the others wait until training goes on
                        self._take(request, batch)
                    stopping |= request.change.stop
            except OSError as error:  # a full disk: the request stays, and training goes on
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    self.say(f"No change can be taken: {error}")

    def _optimizer(self) -> Any:
        """Return the optimizer that updates, which a LossScaleOptimizer has inside."""
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)

    def _step(self) -> int:
        return int(self._optimizer().iterations)

    def _take(self, request: Request, batch: int) -> None:
        try:
            before, after = self._values(request.change, batch)
        except InputError as error:
            record = self.adjustments.take(request, self._step(), self._epoch, refused=str(error))
        else:
            record = self.adjustments.take(request, self._step(), self._epoch, before, after)
            self._make(record)
            if request.change.stop:
                self._end()
        self.say(str(record))

    def _values(self, change: Change, batch: int) -> tuple[_Values, _Values]:
        """Return the values that a change replaces and those it brings, or raise an `InputError`."""
        if change.stop:
            return {}, {}
        if change.undo:
            changes = in_force(self.adjustments.records)
            if not changes:
                raise InputError("undo", "a change that is in force", "none")
            return changes[-1].after, changes[-1].before
        before: dict[str, float | None] = {}
        after: dict[str, float | None] = {}
        if change.learning_rate is not None:
            before["multiplier"] = self.decay.multiplier
            after["multiplier"] = self._multiplier(change.learning_rate, self.decay.rate_now(batch))
        if change.momentum is not None:
            self._check_momentum()
            before["momentum"], after["momentum"] = self.decay.momentum, change.momentum
        if change.dropout is not None:
            if not self._dropouts:
                remedy = "Train anew with --model.dropout, however small: without it there is no layer that could drop."
                raise InputError("dropout", "a model with dropout", "one that was built without", remedy)
            before["dropout"], after["dropout"] = self._dropout, change.dropout
        return before, after

    def _multiplier(self, rate: float, so_far: float) -> float:
        # Divided first: with a multiplier of 1 it is the schedule's own rate, and the new one is exact to a bit.
        multiplier = rate / (so_far / self.decay.multiplier) if so_far > 0 else math.inf
        if not math.isfinite(multiplier):
            remedy = "No multiple of that is another rate. Ask again when the schedule has risen."
            raise InputError("learning_rate", "a schedule that is above 0 at this step", so_far, remedy)
        return multiplier

    def _check_momentum(self) -> None:
        optimizer = self._optimizer()
        if not isinstance(optimizer, PlannedOptimizer):
            remedy = "Keras's own have it in the graph as a constant."
            raise InputError("momentum", "an optimizer of kerasbn.optimizers", type(optimizer).__name__, remedy)
        optimizer.check_momentum_can_change()

    def _make(self, record: Record) -> None:
        """Put the new values in the place of the old ones."""
        after = record.after
        old, new = record.before.get("multiplier"), after.get("multiplier")
        if old is not None and new is not None:
            self.decay.multiplier = self.decay.multiplier / old * new
        if "momentum" in after:
            self.decay.momentum = after["momentum"]
        if "dropout" in after:
            self._set_dropout(after["dropout"])

    def _set_dropout(self, share: float | None) -> None:
        self._dropout = share
        for layer, built_with in self._dropouts:
            layer.rate = built_with if share is None else share
        self.model.make_train_function(force=True)  # the share is a constant of the graph

    def _end(self) -> None:
        if self.stop is None:
            self.model.stop_training = True
        else:
            self.stop.set()
