"""Random search: a drop-in for `keras_tuner.RandomSearch` that is reproducible and survives kill -9."""

import json
import secrets
import time
import traceback
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kerasbn import checks
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError, TaskError
from kerasbn.tuning import summary, weights
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.engine import BuildFunction, OnEpoch, Outcome, build, quick_collections, run_trial
from kerasbn.tuning.objective import MisuseError, objective_of
from kerasbn.tuning.refused import refuse
from kerasbn.tuning.study import Study, TrialRecord, different_study
from kerasbn.tuning.tried import Tried

# What trains a trial, by name; each takes what `run_trial` takes.
ENGINES: Mapping[str, Callable[..., Outcome]] = types.MappingProxyType({"fit": run_trial})
# If so many trials fail before any has succeeded, the fault is not in the hyperparameters.
FAILURES = 5


def _add(tried: Tried, record: TrialRecord) -> None:
    # A trial that failed before anything was drawn says nothing about the values it would have drawn.
    if record.completed or record.hyperparameters.values:
        tried.add(record.hyperparameters)


class RandomSearch:
    """Search for good hyperparameters by independent random draws.

    Takes the place of `keras_tuner.RandomSearch`. Trial number n of a seed is always the same: it depends on
    no other trial, neither in its draws nor in its initial weights. Finished trials are in an Optuna journal
    in the project's directory; the same search started again goes on where it was stopped or killed.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, or a function that takes hyperparameters and returns a compiled
            model. Overrides of `HyperModel.fit` and `declare_hyperparameters` are honoured.
        objective: Name of a metric ("val_accuracy", "val_loss"), or a `keras_tuner.Objective`; None: the
            number that `HyperModel.fit` returns, to be minimised.
        max_trials: Number of trials, at least 1, with those that are in the directory already; it may grow.
        seed: Seed of all draws and of all initial weights, at least 0; None: a random one, kept in the study.
        hyperparameters: Hyperparameters that are registered beforehand: their ranges and fixed values take
            the place of those that the build function asks for under the same names.
        tune_new_entries: Taken for KerasTuner's sake; only True.
        allow_new_entries: The same.
        max_retries_per_trial: The same; only 0, since a trial comes out the same each time.
        max_consecutive_failed_trials: So many failures one after the other end the search with an error, at least
            1; None: five before any trial has succeeded, and no limit afterwards.
        executions_per_trial: Models trained from different initial weights in each trial, at least 1; their
            mean counts.
        directory: Where projects are kept; None: the working directory.
        project_name: The project's directory in it; None: "untitled_project".
        overwrite: Whether the trials in the project's directory are deleted first.
        engine: What trains trials: "fit", which is one model after the other; "auto" chooses.
        keep_models: Of how many of the best trials the weights are kept on disk, at least 0.
        max_minutes: Minutes after which `search` starts no new trial but the first, above 0; None: no limit.
        fingerprint: JSON that stands for the data and whatever else decides the scores, such as a hash.
            A study is not continued under another one.
        on_trial: Called with each finished `TrialRecord`; None: a line is printed.
        on_epoch: Called after each epoch with the trial's number, the epoch (from 0) and its metrics.
        **others: Other arguments of `keras_tuner.RandomSearch`, which are refused with what to do instead.

    Attributes:
        study: The `Study` with all finished trials.
        note: Why the last `search` ended before max_trials, or had nothing to do; else empty.

    Raises:
        InputError: If an argument is out of its range or not supported, or the directory holds a study of other
            settings.

    Example:
        >>> tuner = RandomSearch(build_model, objective="val_accuracy", max_trials=20, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), epochs=10, verbose=0)
        >>> model = tuner.get_best_models()[0]

    Source: Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model],
        objective: str | keras_tuner.Objective | None = None,
        max_trials: int = 10,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = None,
        *,
        executions_per_trial: int = 1,
        directory: str | Path | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        engine: str = "auto",
        keep_models: int = 1,
        max_minutes: float | None = None,
        fingerprint: Any = None,
        on_trial: Callable[[TrialRecord], None] | None = None,
        on_epoch: OnEpoch | None = None,
        **others: Any,
    ) -> None:
        refuse(
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            **others,
        )
        if not isinstance(hypermodel, keras_tuner.HyperModel):
            if not callable(hypermodel):
                raise InputError("hypermodel", "a keras_tuner.HyperModel or a function", repr(hypermodel))
            hypermodel = BuildFunction(hypermodel)
        self.hypermodel = hypermodel
        self.objective = objective_of(objective)
        self.max_trials = checks.in_range("max_trials", max_trials, 1, integer=True)
        if seed is not None:
            seed = int(checks.in_range("seed", seed, 0, integer=True))
        self.hyperparameters = hyperparameters
        self.executions_per_trial = checks.in_range("executions_per_trial", executions_per_trial, 1, integer=True)
        self.max_consecutive_failed_trials = max_consecutive_failed_trials
        if max_consecutive_failed_trials is not None:
            checks.in_range("max_consecutive_failed_trials", max_consecutive_failed_trials, 1, integer=True)
        self.engine = "fit" if engine == "auto" else checks.one_of("engine", engine, ("auto", *ENGINES))
        self.keep_models = checks.in_range("keep_models", keep_models, 0, integer=True)
        self.max_minutes = max_minutes
        if max_minutes is not None:
            checks.in_range("max_minutes", max_minutes, 0, open_low=True)
        self.on_trial, self.on_epoch = on_trial, on_epoch
        settings = {
            "objective": {"name": self.objective.name, "direction": self.objective.direction},
            "seed": seed,
            "executions_per_trial": executions_per_trial,
            "hyperparameters": None if hyperparameters is None else hyperparameters.get_config()["space"],
            "fingerprint": fingerprint,
        }
        try:
            json.dumps(settings)
        except TypeError as error:
            raise InputError("fingerprint", "what JSON can hold", repr(fingerprint)) from error
        self.study = Study(
            Path(directory or ".") / (project_name or "untitled_project"),
            self.objective,
            settings,
            new_seed=secrets.randbelow(2**31),
            overwrite=overwrite,
        )
        self.note = ""

    @property
    def project_dir(self) -> str:
        """The project's directory."""
        return str(self.study.directory)

    @property
    def remaining_trials(self) -> int:
        """Number of trials that `search` has still to run."""
        return max(0, self.max_trials - len(self.study.trials))

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until there are `max_trials`.

        Args:
            *fit_args: Positional arguments of `keras.Model.fit`, or of `HyperModel.fit` after hp and model.
            **fit_kwargs: Keyword arguments of the same.

        Raises:
            InputError: If another search is running in the directory, if the build function is not the one the
                study was started with, or if `fit` returns nothing with the objective in it.
            TaskError: If every trial failed, its message has the first one's traceback; or if
                max_consecutive_failed_trials did.
        """
        with self.study.exclusive():
            self._search(fit_args, fit_kwargs)
        if self.note and self.on_trial is None:
            print(self.note)

    def _search(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        if self.study.trials:
            self._check_space()
        tried = Tried()
        for record in self.study.trials:
            _add(tried, record)
        self.note = "" if self.remaining_trials else f"All {self.max_trials} trials were there already."
        limit, failures = self.max_consecutive_failed_trials, 0  # one after the other
        first_error: InputError | None = None
        try:
            with quick_collections():
                started = time.monotonic()
                while self.remaining_trials:
                    if self.max_minutes and self.study.trials and time.monotonic() - started > 60 * self.max_minutes:
                        self.note = f"No more trials after {self.max_minutes:g} minutes."
                        break
                    number = max((t.number for t in self.study.trials), default=-1) + 1
                    attempt = tried.next_attempt(self.study.seed, number)
                    if attempt is None:
                        self.note = f"The space is exhausted: all its {number} combinations have been tried."
                        break
                    record, error = self._run(number, attempt, fit_args, fit_kwargs)
                    _add(tried, record)
                    failures = 0 if record.completed else failures + 1
                    first_error = first_error or error
                    (self.on_trial or self.print_trial)(record)
                    if failures == (limit or FAILURES) and (limit or not any(t.completed for t in self.study.trials)):
                        break
        finally:
            keras.utils.clear_session()
        if self.study.trials and not any(t.completed for t in self.study.trials):
            if first_error is not None:
                raise first_error
            failed = self.study.trials[0]
            raise TaskError(f"All {len(self.study.trials)} trials failed, the first one with:\n{failed.traceback}")
        if failures == limit:
            last = self.study.trials[-1].traceback
            raise TaskError(f"{limit} trials failed one after the other, the last one with:\n{last}")

    def _run(
        self, number: int, attempt: int, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]
    ) -> tuple[TrialRecord, InputError | None]:
        """Run a trial and record it; also return the error if it was an `InputError`."""
        hp = Draws(self.study.seed, number, attempt, self.hyperparameters)
        started = time.perf_counter()
        outcome, failure, error = None, "", None
        try:
            outcome = ENGINES[self.engine](
                self.hypermodel,
                hp,
                self.objective,
                fit_args,
                fit_kwargs,
                self.executions_per_trial,
                self.on_epoch,
            )
            if name := not_finite(outcome.metrics, self.objective.name):
                failure = f"{name} is {outcome.metrics[name]}: training diverged.\n"
        except (MisuseError, keras_tuner.errors.FatalError):
            raise
        except Exception as raised:  # recorded with its traceback; the search goes on with other values
            failure = traceback.format_exc()
            if isinstance(raised, InputError):
                error = raised.with_traceback(None)
        record = TrialRecord(
            number=number,
            status="failed" if failure else "completed",
            score=outcome.metrics[self.objective.name] if outcome and not failure else None,
            hyperparameters=hp.copy(),
            metrics=outcome.metrics if outcome else {},
            history=outcome.history if outcome else (),
            seconds=time.perf_counter() - started,
            attempt=attempt,
            engine=self.engine,
            build_config=outcome.build_config if outcome else None,
            traceback=failure,
        )
        # Weights first: after a kill between the two the trial is run again and they are written again.
        kept = self.study.rank([*self.study.trials, record])[: self.keep_models]
        if outcome and not failure and any(one is record for one in kept):
            weights.write(self.study, record, outcome.weights)
        self.study.add(record)
        weights.prune(self.study, kept)
        return record, error

    def _check_space(self) -> None:
        """Raise an `InputError` if the build function no longer asks for what an earlier trial drew."""
        record = next((t for t in self.study.trials if t.completed), None)
        if record is None:
            return
        hp = Draws(self.study.seed, record.number, record.attempt, self.hyperparameters)
        build(self.hypermodel, hp)
        before = summary.values_by_name(record.hyperparameters)
        different = [
            f"{name} {now} instead of {before.get(name, 'nothing')}"
            for name, now in summary.values_by_name(hp).items()
            if before.get(name) != now
        ]
        if different:
            raise different_study(self.study.directory, different)

    def print_trial(self, record: TrialRecord) -> None:
        """Print a line about a finished trial."""
        best = self.study.ranked[0]
        result = f"{self.objective.name} {record.score:.4g}" if record.completed else "failed"
        standing = f" (best {best.score:.4g}, trial {best.number})" if best.completed else ""
        finished = f"{len(self.study.trials)} of {self.max_trials} finished"
        print(f"Trial {record.number}, {finished}: {result}{standing}, {record.seconds:.1f} s")

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[keras_tuner.HyperParameters]:
        """Return the hyperparameters of the best trials, the best first.

        Args:
            num_trials: How many; fewer come back if fewer trials were completed.

        Returns:
            Plain `keras_tuner.HyperParameters`, which the hypermodel builds the same model from.
        """
        completed = [t for t in self.study.ranked if t.completed]
        return [t.hyperparameters.copy() for t in completed[:num_trials]]

    def get_best_models(self, num_models: int = 1) -> list[keras.Model]:
        """Return the models of the best trials with the weights of their best epochs, the best first.

        Args:
            num_models: How many; fewer come back if fewer trials were completed.

        Returns:
            Models, built and compiled as the hypermodel does.

        Raises:
            InputError: If the weights of one of them were not kept.
        """
        return weights.best_models(self.study, self.hypermodel, num_models)

    def search_space_summary(self, extended: bool = False) -> None:
        """Print the hyperparameters that the build function has asked for so far.

        Args:
            extended: Taken for KerasTuner's sake, where it changes nothing either.
        """
        space = keras_tuner.HyperParameters()
        for record in self.study.trials:
            space.merge(record.hyperparameters, overwrite=False)
        if not self.study.trials:
            hp = Draws(self.study.seed, 0, 0, self.hyperparameters)
            build(self.hypermodel, hp)
            space.merge(hp, overwrite=False)
        print(summary.space_summary(space))

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials with their hyperparameters and scores; failed ones come last.

        Args:
            num_trials: How many at most.
        """
        print(summary.results_summary(self.study, num_trials))
