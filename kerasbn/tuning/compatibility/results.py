"""What a search has come to, in the words of KerasTuner's API: its best trials, their models, summaries, the oracle."""

from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial

from kerasbn.tuning.compatibility import summary
from kerasbn.tuning.compatibility.api import Oracle, trial_of
from kerasbn.tuning.compatibility.overrides import Overridden
from kerasbn.tuning.compatibility.trial_callbacks import Overridable
from kerasbn.tuning.store import weights
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study


class Results(Overridable):
    """The part of a tuner that tells what it has found.

    Attributes:
        study: The `Study` with all finished trials.
        hypermodel: The user's; None: `run_trial` does without.
        objective: What is searched for.
        max_trials: Number of trials; None: as many as the space has combinations.
        hyperparameters: Those that were registered beforehand.
        optimizer: What models are compiled with, if not with their own.
        loss: The same.
        metrics: The same.
        max_model_size: Most trainable parameters that a model may have; None: no limit.
        distribution_strategy: In whose scope models are built; None: in none.
    """

    study: Study
    hypermodel: keras_tuner.HyperModel | None
    objective: keras_tuner.Objective
    max_trials: int | None
    hyperparameters: keras_tuner.HyperParameters | None
    optimizer: str | keras.optimizers.Optimizer | None
    loss: Any
    metrics: Any
    max_model_size: int | None
    distribution_strategy: Any
    _all_tuned: bool  # not only those that were registered beforehand
    _running: Trial | None = None

    @property
    def _built(self) -> Overridden:
        """What trials are built by; `hypermodel` is the user's own."""
        return Overridden(
            self.hypermodel, self.optimizer, self.loss, self.metrics, self.max_model_size, self.distribution_strategy
        )

    @property
    def project_dir(self) -> str:
        """The project's directory."""
        return str(self.study.directory)

    @property
    def remaining_trials(self) -> int | None:
        """Number of trials that `search` has still to run; None: no limit."""
        return self.oracle.remaining_trials()

    @property
    def oracle(self) -> Oracle:
        """The trials and the space, as KerasTuner's oracle gives them."""
        return Oracle(self.study, self.objective, self.max_trials, self._space, self._running)

    def _trial(self, record: TrialRecord) -> Trial:
        return trial_of(record, self.objective, self.max_trials)

    def _space(self) -> keras_tuner.HyperParameters:
        """Return what is known of the space, with default values."""
        if self.hyperparameters is not None and not self._all_tuned:
            return self.hyperparameters.copy()
        return summary.space_of(self.hypermodel, self.study.trials, self.hyperparameters)

    def reload(self) -> None:
        """Look again at what the study holds; taken for KerasTuner's sake, since a tuner begins with that."""
        self.study.refresh()

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[keras_tuner.HyperParameters]:
        """Return the hyperparameters of the best trials, the best first.

        Args:
            num_trials: How many; fewer come back if fewer trials were completed.

        Returns:
            Plain `keras_tuner.HyperParameters`, which the hypermodel builds the same model from.
        """
        completed = [t for t in self.study.ranked if t.scored]
        return [t.hyperparameters.copy() for t in completed[:num_trials]]

    def get_best_models(self, num_models: int = 1) -> list[keras.Model]:
        """Return the models of the best trials with the weights of their best epochs, the best first.

        Args:
            num_models: How many; fewer come back if fewer trials were completed.

        Returns:
            Models, built and compiled as in the trials.

        Raises:
            InputError: If the weights of one of them were not kept.
        """
        return weights.best_models(self.study, self._built, num_models)

    def search_space_summary(self, extended: bool = False) -> None:
        """Print the hyperparameters that the build function asks for, as far as they are known.

        Args:
            extended: Taken for KerasTuner's sake, where it changes nothing either.
        """
        print(summary.space_summary(self._space()))

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials with their hyperparameters and scores; failed ones come last.

        Args:
            num_trials: How many at most.
        """
        print(summary.results_summary(self.study, num_trials, self.max_trials))
