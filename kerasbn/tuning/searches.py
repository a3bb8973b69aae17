"""The searches by name: KerasTuner's, with its arguments in its order, and those that it does not have."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import keras_tuner

from kerasbn import checks
from kerasbn.tuning import strategies
from kerasbn.tuning.tuner import Tuner

HyperModel: TypeAlias = keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model]
Objective: TypeAlias = str | keras_tuner.Objective | list[str | keras_tuner.Objective] | None


class RandomSearch(Tuner):
    """Search for good hyperparameters by independent random draws.

    Takes the place of `keras_tuner.RandomSearch`. Trial number n of a seed is always the same: it depends on
    no other trial, neither in its draws nor in its initial weights.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_trials: See `Tuner`.
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
        >>> tuner = RandomSearch(build_model, objective="val_accuracy", max_trials=20, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=10, verbose=0)
        >>> model = tuner.get_best_models()[0]

    Source: Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_trials: int | None = 10,
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
            **{"strategy": strategies.Random(), **others},
        )


class GridSearch(Tuner):
    """Try every combination of values, in order: for comparison; random search covers each axis better.

    Takes the place of `keras_tuner.GridSearch`. Of a continuous hyperparameter ten values are tried.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_trials: See `Tuner`.
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
        >>> tuner = GridSearch(build_model, objective="val_accuracy", max_trials=2)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=2, verbose=0)

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: try random values, do not use a grid.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_trials: int | None = None,
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
            **{"strategy": strategies.Grid(), **others},
        )


class CoarseToFine(Tuner):
    """Search at random, then zoom into a box around the best trials, again and again.

    The first 20 trials are those of `RandomSearch`; a share of the later ones stays global, so that a wrong zoom
    recovers.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_trials: See `Tuner`.
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
        >>> tuner = CoarseToFine(build_model, objective="val_accuracy", max_trials=2, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=2, verbose=0)

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: coarse to fine.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_trials: int | None = 10,
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
            **{"strategy": strategies.CoarseToFine(), **others},
        )


class BayesianOptimization(Tuner):
    """Search where a model of the scores so far promises most, by Optuna's samplers.

    Takes the place of `keras_tuner.BayesianOptimization`.

    Args:
        hypermodel: See `Tuner`.
        objective: See `Tuner`.
        max_trials: See `Tuner`.
        num_initial_points: Random trials before the first that is chosen, at least 1; None: 10.
        alpha: Taken for KerasTuner's sake; only its default.
        beta: The same.
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
        >>> tuner = BayesianOptimization(build_model, objective="val_accuracy", max_trials=2, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=2, verbose=0)

    Source: Bergstra et al. (2011), Algorithms for hyper-parameter optimization, NeurIPS 24.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        **others: Any,
    ) -> None:
        for name, value, default in (("alpha", alpha, 1e-4), ("beta", beta, 2.6)):
            if value != default:
                remedy = "It belongs to KerasTuner's Gaussian process; leave it out."
                raise checks.InputError(name, f"{default:g}, since Optuna's sampler has none", value, remedy)
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
            **{"strategy": strategies.Bayesian("tpe", num_initial_points or 10), **others},
        )
