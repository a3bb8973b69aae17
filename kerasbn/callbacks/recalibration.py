"""RecalibrateStatistics: the callback that recalibrates the moving statistics before validation, or at the end."""

import hashlib
from typing import Any

import keras
import numpy as np

from kerasbn import checks
from kerasbn.statistics.batches import Batches
from kerasbn.statistics.recalibration import (
    ESTIMATORS,
    ORDERS,
    Recalibration,
    give_back,
    layers_to_recalibrate,
    recalibrate,
    statistics_of,
)


class RecalibrateStatistics(keras.callbacks.Callback):
    """Give the model the statistics of the data for the weights it has: before each validation, or when training ends.

    Moving averages lag behind the weights; the first epochs' validation suffers most. With "before_validation" the
    statistics are recalibrated before it (in an epoch without validation, at the end of the epoch) and stay:
    what is saved then is what was validated, and training goes on from them. In either case they are at the end of
    training, if the weights are others by then.

    Statistics belong to weights. If another callback exchanges the weights for averaged ones during validation,
    as `keras.callbacks.SwapEMAWeights` does, the averaged weights get statistics of their own, and the weights
    that training goes on with get theirs back. For that, place this callback after the other. An optimizer with
    `use_ema=True` gives the model its averaged weights before the end of training, which then get theirs.

    It acts in `fit` only; before `evaluate` by itself, call `recalibrate`.

    Args:
        data: The training data, or enough of it: see `kerasbn.statistics.recalibrate`, as for all that follows but
            `when` and `every`. It is run through the model each time, and in epochs of few examples that may take
            longer than training does: some 1000 examples are enough, or `order="one_pass"`.
        when: "before_validation" or "end".
        every: Epochs from one recalibration to the next, at least 1; not for "end".
        estimator: "population" or "mean_of_unbiased".
        order: "layerwise" or "one_pass".
        batch_size: Examples in a batch, at least 1; None: batches as they come, and arrays in batches of 128.
        steps: Batches of the given data to use, at least 1; None: all.
        frozen: Whether layers with frozen statistics are recalibrated, too.

    Attributes:
        last: What the last recalibration did; None before the first.

    Raises:
        InputError: If an argument is out of range or the data has an unknown form, no examples or no end; when
            training begins, if the model has nothing to recalibrate; then, if `recalibrate` raises it.

    Example:
        >>> recalibration = RecalibrateStatistics(x, "before_validation")
        >>> history = model.fit(x, y, validation_data=(x, y), epochs=2, callbacks=[recalibration], verbose=0)
        >>> [change.layer for change in recalibration.last.layers]
        ['bn_1']

    Source: Wu and Johnson (2021), arXiv:2105.07576, section 3; Izmailov et al. (2018), arXiv:1803.05407, section 3.2.
    """

    def __init__(
        self,
        data: Any,
        when: str = "before_validation",
        every: int = 1,
        *,
        estimator: str = "population",
        order: str = "layerwise",
        batch_size: int | None = None,
        steps: int | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.when = checks.one_of("when", when, ("before_validation", "end"))
        self.every = checks.in_range("every", every, 1, integer=True)
        self.estimator = checks.one_of("estimator", estimator, ESTIMATORS)
        self.order = checks.one_of("order", order, ORDERS)
        self.batches = Batches(data, batch_size, steps)
        self.frozen = frozen
        self.last: Recalibration | None = None
        self._due = False  # in this epoch
        self._weights: bytes | None = None  # that the model's statistics belong to; None: unknown
        self._replaced: list[tuple[keras.Variable, np.ndarray]] = []  # the statistics before

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Raise an `InputError` if there is nothing to recalibrate."""
        layers_to_recalibrate(self.model, self.frozen)
        self._due, self._weights = False, None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note whether this epoch is one for it."""
        self._undo_if_exchanged()
        self._weights = None  # training will change them
        self._due = self.when == "before_validation" and (epoch + 1) % self.every == 0

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Recalibrate before the validation of an epoch."""
        if self._due:
            self._recalibrate_if_exchanged()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Give the weights of training their statistics back, if they are back themselves."""
        self._undo_if_exchanged()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Recalibrate if there was no validation, or the weights are others by now."""
        if self._due:
            self._recalibrate_if_exchanged()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Recalibrate if the weights are others by now."""
        self._recalibrate_if_exchanged()
        self._due, self._weights, self._replaced = False, None, []

    def _recalibrate_if_exchanged(self) -> None:
        weights = _fingerprint(self.model)
        if weights == self._weights:
            return
        layers, _ = layers_to_recalibrate(self.model, self.frozen)
        variables = [variable for layer in layers.values() for variable in statistics_of(layer).values()]
        replaced = [(variable, variable.numpy()) for variable in variables]
        self.last = recalibrate(
            self.model, self.batches, estimator=self.estimator, order=self.order, frozen=self.frozen
        )
        self._weights, self._replaced = weights, replaced

    def _undo_if_exchanged(self) -> None:
        if self._weights is None:
            return
        weights = _fingerprint(self.model)
        if weights != self._weights:
            give_back(self._replaced)
            self._weights = weights


def _fingerprint(model: keras.Model) -> bytes:
    """Return what tells these weights from others."""
    digest = hashlib.blake2b()
    for variable in model.trainable_variables:
        digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest.digest()
