"""The tuner: KerasTuner's language and API over our strategies, engines and study."""

import functools
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.tuning.compatibility import summary
from kerasbn.tuning.compatibility.api import outcome_of, reported, trial_id
from kerasbn.tuning.compatibility.overrides import only_given
from kerasbn.tuning.compatibility.refused import refuse
from kerasbn.tuning.compatibility.results import Results
from kerasbn.tuning.compatibility.trial_callbacks import hooks
from kerasbn.tuning.draws import Draws, trial_seed
from kerasbn.tuning.engine import BuildFunction, OnEpoch, run_trial
from kerasbn.tuning.engines import ENGINES, stacks_of
from kerasbn.tuning.folds import fold_ids, labels_of
from kerasbn.tuning.loop import Limits, Loop
from kerasbn.tuning.objective import MisuseError, objective_of
from kerasbn.tuning.outcome import Outcome, Part
from kerasbn.tuning.store import settings
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.strategies import Random, Strategy

# Methods that subclasses may override, and that are called while a trial is trained.
_DURING_FIT = ("run_trial", "on_trial_begin", "on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end")
_ALL = 10**9  # trials of a search that ends when its space is exhausted


class Tuner(Results):
    """A search for good hyperparameters by some strategy; see `RandomSearch` for the usual one.

    Trial number n of a seed is always the same, given the trials before it: in its draws, its initial weights and
    its order of examples. Finished trials are in an Optuna study; the same search started again goes on where it
    was stopped or killed. Subclasses may override `run_trial` and the methods of `Overridable`, as KerasTuner's may.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes hyperparameters and returns a compiled
            model. Overrides of `HyperModel.fit` and `declare_hyperparameters` are honoured. None: only if
            `run_trial` is overridden.
        objective: Name of a metric ("val_accuracy", "val_loss"), a `keras_tuner.Objective`, or a list of these: the
            sum of those to be minimised less the sum of the others. None: the number that `HyperModel.fit` returns,
            to be minimised.
        max_trials: Number of trials, at least 1, with those that are in the study already; it may grow. None: as
            many as the space has combinations.
        seed: Seed of all draws and of all initial weights, at least 0; None: a random one, kept in the study.
        hyperparameters: Hyperparameters that are registered beforehand: their ranges and fixed values take
            the place of those that the build function asks for under the same names.
        tune_new_entries: Whether others than these are tuned; else they have their default values.
        allow_new_entries: Whether the build function may ask for others; else that is an error.
        max_retries_per_trial: Taken for KerasTuner's sake; only 0, since a trial comes out the same each time.
        max_consecutive_failed_trials: So many failures one after the other end the search with an error, at least
            1; None: failures never end it.
        strategy: Which trials are trained, how far, and with what values; None: independent random draws.
        optimizer: In place of the one that the model was compiled with; each model gets a new one of its settings.
        loss: In place of the model's.
        metrics: In place of the model's.
        max_model_size: Most trainable parameters that a model may have, at least 1; a trial with a larger one fails.
        distribution_strategy: A `tf.distribute.Strategy` in whose scope models are built.
        executions_per_trial: Models trained from different initial weights in each trial, at least 1; their
            mean counts.
        folds: Folds of a cross-validation, at least 2: each trial is trained on all examples but one fold in turn,
            validated on that fold, and the mean counts; the weights kept are those of its best model. `search` takes
            arrays, and no validation data. None: one model, and `search` says what it is validated on.
        directory: Where projects are kept; None: the working directory.
        project_name: The project's directory in it; None: "untitled_project".
        overwrite: Whether the trials in the project's directory are deleted first.
        engine: What trains trials: "fit", one model after the other; "auto", as many at once as differ in numbers
            only, with the same results, and the others by "fit"; "vectorized", which refuses the others.
        memory_limit: Bytes that the models that are trained at once may take, above 0; None: half of what is free.
        keep_models: Of how many of the best trials the weights are kept on disk, at least 0.
        max_minutes: Minutes after which `search` starts no new trial but the first, above 0; None: no limit.
        total_epochs: Epochs of all trials together after which no new trial starts, at least 1; None: no limit.
        storage: URL of a database, such as "postgresql://user@host/database", in which several searches share the
            trials; None: a journal in the project's directory, for one search at a time.
        lease_seconds: How long a trial in a database stays with a search that no longer says that it is alive,
            above 0.
        fingerprint: JSON that stands for the data and whatever else decides the scores, such as a hash; None: of
            the arguments of `search`. A study is not continued under another one.
        on_trial: Called with each finished `TrialRecord`; None: a line is printed, unless `search` is called with
            verbose=0.
        on_epoch: Called after each epoch with the trial's number, the epoch (from 0) and its metrics.
        say: Called with lines about other searches and the storage; None: they are printed.
        **others: Other arguments of KerasTuner's tuners, which are refused with what to do instead.

    Attributes:
        study: The `Study` with all finished trials.
        note: Why the last `search` ended before max_trials, or had nothing to do; else empty.

    Raises:
        InputError: If an argument is out of its range or not supported, or the directory holds a study of other
            settings.

    Example:
        >>> tuner = Tuner(build_model, "val_accuracy", 1, 0, strategy=Random(), on_trial=lambda trial: None)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=1, verbose=0)
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model] | None = None,
        objective: str | keras_tuner.Objective | Sequence[str | keras_tuner.Objective] | None = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        *,
        strategy: Strategy | None = None,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: Any = None,
        metrics: Any = None,
        max_model_size: int | None = None,
        distribution_strategy: Any = None,
        executions_per_trial: int = 1,
        folds: int | None = None,
        directory: str | Path | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        engine: str = "auto",
        memory_limit: float | None = None,
        keep_models: int = 10,
        max_minutes: float | None = None,
        total_epochs: int | None = None,
        storage: str | None = None,
        lease_seconds: float = 60.0,
        fingerprint: Any = None,
        on_trial: Callable[[TrialRecord], None] | None = None,
        on_epoch: OnEpoch | None = None,
        say: Callable[[str], None] | None = None,
        **others: Any,
    ) -> None:
        refuse(type(self).__name__, max_retries_per_trial=max_retries_per_trial, **others)
        if not isinstance(hypermodel, keras_tuner.HyperModel) and not self._without(hypermodel):
            if not callable(hypermodel):
                raise InputError("hypermodel", "a keras_tuner.HyperModel or a function", repr(hypermodel))
            hypermodel = BuildFunction(hypermodel)
        self.hypermodel, self.strategy = hypermodel, strategy or Random()
        self.optimizer, self.loss, self.metrics = optimizer, loss, metrics
        self.max_model_size, self.distribution_strategy = max_model_size, distribution_strategy
        self._choose = functools.partial(only_given, hyperparameters, tune_new_entries, allow_new_entries)
        self._choose(lambda hyperparameter: hyperparameter.default)  # complains before anything is done
        self._all_tuned = tune_new_entries and allow_new_entries
        self._running: Trial | None = None
        self.objective = objective_of(objective)
        self.max_trials = max_trials
        if seed is not None:
            seed = int(checks.in_range("seed", seed, 0, integer=True))
        self.hyperparameters = hyperparameters
        self.executions_per_trial = checks.in_range("executions_per_trial", executions_per_trial, 1, integer=True)
        for name, value in (
            ("max_trials", max_trials),
            ("max_consecutive_failed_trials", max_consecutive_failed_trials),
            ("total_epochs", total_epochs),
        ):
            if value is not None:
                checks.in_range(name, value, 1, integer=True)
        if folds is not None:
            checks.in_range("folds", folds, 2, integer=True)
        self.folds = folds
        self.max_consecutive_failed_trials, self.total_epochs = max_consecutive_failed_trials, total_epochs
        self.engine, self.memory_limit = checks.one_of("engine", engine, ENGINES), memory_limit
        if memory_limit is not None:
            checks.in_range("memory_limit", memory_limit, 0, open_low=True)
        self.keep_models = checks.in_range("keep_models", keep_models, 0, integer=True)
        self.max_minutes = max_minutes
        if max_minutes is not None:
            checks.in_range("max_minutes", max_minutes, 0, open_low=True)
        checks.in_range("lease_seconds", lease_seconds, 0, open_low=True)
        self.on_trial, self.on_epoch = on_trial, on_epoch
        self.say = say or print
        self._fingerprint = fingerprint
        wanted = {
            "seed": seed,
            "strategy": self.strategy.settings(),
            "executions_per_trial": executions_per_trial,
            "hyperparameters": None if hyperparameters is None else hyperparameters.get_config()["space"],
            "fingerprint": fingerprint,
        }
        wanted |= {} if folds is None else {"folds": folds}
        if changes := self._built.settings() | ({} if self._all_tuned else {"tune_new_entries": False}):
            wanted["overrides"] = changes
        try:
            json.dumps(wanted)
        except TypeError as error:
            raise InputError("fingerprint", "what JSON can hold", repr(fingerprint)) from error
        self.study = Study(
            Path(directory or ".") / (project_name or "untitled_project"),
            self.objective,
            wanted,
            new_seed=secrets.randbelow(2**31),
            overwrite=overwrite,
            storage=storage,
            lease_seconds=lease_seconds,
            say=self.say,
        )
        self.note = ""

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until there are `max_trials`.

        Args:
            *fit_args: Positional arguments of `keras.Model.fit`, or of `HyperModel.fit` after hp and model.
            **fit_kwargs: Keyword arguments of the same.

        Raises:
            InputError: If another search is running in the directory, if the build function or the arguments are not
                those the study was started with, or if `fit` returns nothing with the objective in it.
            TaskError: If every trial failed, its message has the first one's traceback; or if
                max_consecutive_failed_trials did.
        """
        self._quiet = fit_kwargs.get("verbose") == 0 or self.on_trial is not None
        self.on_search_begin()
        with self.study.exclusive():
            self._search(fit_args, fit_kwargs)
        self.on_search_end()
        if self.note and not self._quiet:
            print(self.note)

    def _search(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        if self.folds is not None and not self._overrides("run_trial"):  # complains before anything is kept
            fold_ids(labels_of(fit_args, fit_kwargs), self.folds, self.study.seed)
        if self._fingerprint is None:
            given = settings.of_fit(fit_args, fit_kwargs)
            if different := settings.differences(self.study.attribute("fit", given), given):
                raise settings.different_study(self.study.place, different)
        if self.study.ranked:
            self._check_space()
        overridden = [name for name in _DURING_FIT if self._overrides(name)]
        stacks = stacks_of(
            self.engine,
            self._built,
            overridden,
            self.study,
            fit_args,
            fit_kwargs,
            self.executions_per_trial,
            self.folds,
            self.on_epoch,
            (lambda line: None) if self.say is print and self._quiet else self.say,
            self.memory_limit,
        )
        limits = Limits(
            self.max_trials or _ALL,
            self.max_minutes,
            self.total_epochs,
            self.max_consecutive_failed_trials,
            self.keep_models,
        )
        loop = Loop(
            self.study,
            self.strategy,
            functools.partial(self._train, fit_args, fit_kwargs),
            self.hyperparameters,
            limits,
            self._finished,
            self.say,
            self._choose,
            stacks,
        )
        self.note = loop.run()

    def _overrides(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Tuner, method)

    def _without(self, hypermodel: Any) -> bool:
        """Return whether there is no hypermodel, and none is needed."""
        return hypermodel is None and self._overrides("run_trial")

    def _train(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], hp: Draws, part: Part) -> Outcome:
        """Train a trial or a part of it by `run_trial`."""
        trial = Trial(hp, trial_id(hp.trial, self.max_trials), TrialStatus.RUNNING)
        self._running, self._part = trial, part
        self._trained: Outcome | None = None
        if self._overrides("run_trial"):  # which may do without the engine
            keras.utils.clear_session()
            keras.utils.set_random_seed(trial_seed(hp.seed, hp.trial))
        try:
            self.on_trial_begin(trial)
            result = self.run_trial(trial, *fit_args, **fit_kwargs)
        finally:
            self._running = None
        if self.folds is not None and self._trained is None:
            remedy = "Call it, or leave folds out."
            raise MisuseError("run_trial", "super().run_trial(...) to be called, which cuts the folds", "none", remedy)
        return outcome_of(reported(trial, result, self.objective), self._trained, part, self.objective)

    def run_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> Any:
        """Train a trial. Subclasses override it as KerasTuner's, to change the arguments or to do without a model.

        Args:
            trial: The trial; its hyperparameters are drawn when they are asked for.
            *fit_args: Positional arguments of `search`.
            **fit_kwargs: Keyword arguments of `search`.

        Returns:
            Metrics by name; an override may return whatever `HyperModel.fit` may.
        """
        self._trained = trained = run_trial(
            self._built,
            trial.hyperparameters,
            self.objective,
            fit_args,
            {**fit_kwargs, "callbacks": [*(fit_kwargs.get("callbacks") or ()), *hooks(self, trial)]},
            self.executions_per_trial,
            self.on_epoch,
            self._part,
            self.folds,
        )
        return trained.metrics

    def _finished(self, record: TrialRecord) -> None:
        if self._overrides("on_trial_end"):
            self.on_trial_end(self._trial(record))
        if self.on_trial is not None:
            self.on_trial(record)
        elif not self._quiet:
            self.print_trial(record)

    def _check_space(self) -> None:
        """Raise an `InputError` if the build function no longer asks for what an earlier trial drew."""
        record = next((t for t in self.study.ranked if t.scored), None)  # those that wait are among them
        if record is None or self.hypermodel is None:
            return
        before, after = summary.asked(self.hypermodel, record, self.study.seed, self.hyperparameters)
        different = [
            f"{name} {now} instead of {before.get(name, 'nothing')}"
            for name, now in after.items()
            if before.get(name) != now
        ]
        if type(self.hypermodel).fit is keras_tuner.HyperModel.fit and not self._overrides("run_trial"):
            # No others can be asked for later, in the fit.
            different += [f"nothing instead of {name} {was}" for name, was in before.items() if name not in after]
        if different:
            raise settings.different_study(self.study.place, different)

    def print_trial(self, record: TrialRecord) -> None:
        """Print a line about a finished trial."""
        print(summary.line_of(record, self.study.trials, self.study.ranked[0], self.max_trials, self.objective.name))
