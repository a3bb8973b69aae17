"""The search that replaces its worst trials by copies of its best while they are trained, as KerasTuner's searches."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import keras_tuner

from kerasbn.checks import InputError
from kerasbn.tuning import strategies
from kerasbn.tuning.tuner import Tuner

HyperModel: TypeAlias = keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model]
Objective: TypeAlias = str | keras_tuner.Objective | list[str | keras_tuner.Objective] | None


class PopulationBasedTraining(Tuner):
    """Train a population; every few epochs, replace its worst members by copies of its best, with varied values.

    See `kerasbn.tuning.strategies.Population` for what exactly is done. `schedule_of` returns the schedule that a
    trial's model was trained by, and `replay` trains by it again.

    Args:
        hypermodel: See `Tuner`. What copies vary must not change the shapes of the model's variables. Where the build
            function sets the learning rate from a hyperparameter, a copy begins with its own; what else is in the
            optimizer's variables, it has from the model that it is a copy of.
        objective: See `Tuner`.
        population: Number of trials that are trained at a time, at least 2.
        max_epochs: Epochs of a member, with those of the trials that it goes on from; those of `search` do not count.
        interval: Epochs between two comparisons.
        tuned: Names of the hyperparameters that copies vary; None: every hp.Float that is continuous.
        share: Of the members that are replaced, and of those that are copied, in (0, 0.5].
        step: How far a copy's values are moved, as a share of the range on its scale, in (0, 0.5].
        resample: Probability with which they are drawn anew instead.
        seed: See `Tuner`.
        hyperparameters: See `Tuner`.
        tune_new_entries: See `Tuner`.
        allow_new_entries: See `Tuner`.
        max_retries_per_trial: See `Tuner`.
        max_consecutive_failed_trials: See `Tuner`.
        **others: Further arguments of `Tuner`: executions_per_trial, directory, project_name, overwrite, storage, ...

    Raises:
        InputError: As `Tuner`; and from `search`, if there is nothing that copies could vary.

    Example:
        >>> tuner = PopulationBasedTraining(build_model, "val_accuracy", 4, max_epochs=4, interval=2, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), verbose=0)
        >>> schedule = schedule_of(tuner.study.ranked[0])

    Source: Jaderberg et al. (2017), Population based training of neural networks, arXiv:1711.09846.
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: Objective = None,
        population: int = 20,
        max_epochs: int = 30,
        interval: int = 3,
        tuned: Sequence[str] | None = None,
        share: float = 0.2,
        step: float = 0.1,
        resample: float = 0.25,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        **others: Any,
    ) -> None:
        if "max_trials" in others:
            remedy = "Give population and interval: they decide how many trials there are."
            raise InputError("max_trials", "none", others["max_trials"], remedy)
        strategy = strategies.Population(population, max_epochs, interval, tuned, share, step, resample)
        super().__init__(
            hypermodel,
            objective,
            strategy.trials,
            seed,
            hyperparameters,
            tune_new_entries,
            allow_new_entries,
            max_retries_per_trial,
            max_consecutive_failed_trials,
            **{"strategy": strategy, **others},
        )
