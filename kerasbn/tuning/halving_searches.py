"""The searches that give more epochs to better trials, with KerasTuner's arguments in its order."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import keras_tuner

from kerasbn import checks
from kerasbn.tuning import strategies
from kerasbn.tuning.tuner import Tuner

HyperModel: TypeAlias = keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model]
Objective: TypeAlias = str | keras_tuner.Objective | list[str | keras_tuner.Objective] | None


class SuccessiveHalving(Tuner):
    """Train many trials for a few epochs, and go on with the best third, for three times as many, again and again.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_trials: See `Tuner`.
        max_epochs: Epochs that the best trials get; those of `search` do not count.
        min_epochs: Epochs that every trial gets.
        factor: One in so many goes on, for so many times the epochs.
        seed: See `Tuner`.
        hyperparameters: See `Tuner`.
        tune_new_entries: See `Tuner`.
        allow_new_entries: See `Tuner`.
        max_retries_per_trial: See `Tuner`.
        max_consecutive_failed_trials: See `Tuner`.
        **others: Further arguments of `Tuner`: executions_per_trial, directory, project_name, overwrite, storage, ...

    Raises:
        InputError: As `Tuner`.

    Example:
        >>> tuner = SuccessiveHalving(build_model, "val_accuracy", max_trials=3, max_epochs=2, factor=2, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=2, verbose=0)

    Source: Jamieson and Talwalkar (2016), Non-stochastic best arm identification, AISTATS.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_trials: int | None = 27,
        max_epochs: int = 27,
        min_epochs: int = 1,
        factor: int = 3,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__(
            hypermodel,
            objective,
            max_trials,
            seed,
            hyperparameters,
            tune_new_entries,
            allow_new_entries,
            max_retries_per_trial,
            max_consecutive_failed_trials,
            **{"strategy": strategies.SuccessiveHalving(max_epochs, min_epochs, factor), **others},
        )


class Hyperband(Tuner):
    """Successive halving in brackets that begin with more and more epochs.

    Takes the place of `keras_tuner.Hyperband`.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_epochs: Epochs that the best trials get; those of `search` do not count.
        factor: One in so many goes on, for so many times the epochs.
        hyperband_iterations: How often all brackets are gone through, at least 1.
        seed: See `Tuner`.
        hyperparameters: See `Tuner`.
        tune_new_entries: See `Tuner`.
        allow_new_entries: See `Tuner`.
        max_retries_per_trial: See `Tuner`.
        max_consecutive_failed_trials: See `Tuner`.
        **others: Further arguments of `Tuner`: executions_per_trial, directory, project_name, overwrite, storage, ...

    Raises:
        InputError: As `Tuner`.

    Example:
        >>> tuner = Hyperband(build_model, "val_accuracy", max_epochs=2, factor=2, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=2, verbose=0)

    Source: Li et al. (2018), Hyperband: a novel bandit-based approach to hyperparameter optimization, JMLR 18.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int = 1,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        **others: Any,
    ) -> None:
        checks.in_range("hyperband_iterations", hyperband_iterations, 1, integer=True)
        if "max_trials" in others:
            remedy = "Give hyperband_iterations: how often all brackets are gone through."
            raise checks.InputError("max_trials", "none: the brackets decide", others["max_trials"], remedy)
        strategy = strategies.Hyperband(max_epochs, factor)
        trials = hyperband_iterations * sum(size for size, _ in strategy.cycle)
        super().__init__(
            hypermodel,
            objective,
            trials,
            seed,
            hyperparameters,
            tune_new_entries,
            allow_new_entries,
            max_retries_per_trial,
            max_consecutive_failed_trials,
            **{"strategy": strategy, **others},
        )
