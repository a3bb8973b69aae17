"""The engine "fit": one trial trained by its own `HyperModel.fit`, one model after the other."""

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import keras_tuner

from kerasbn.tuning.compatibility.trial_callbacks import own_callbacks
from kerasbn.tuning.draws import Draws, trial_seed
from kerasbn.tuning.folds import Fold, fold_ids, labels_of, of_fit
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.outcome import WHOLE, Execution, ModelState, Outcome, Part, of_execution, outcome_of_executions
from kerasbn.tuning.preparation import prepare_for_fit
from kerasbn.tuning.schedule import following, rate_of, taken_over
from kerasbn.tuning.watch import Watch

# Called at the end of each epoch with the trial's number, the epoch (from 0) and its metrics.
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


class BuildFunction(keras_tuner.HyperModel):
    """A function that builds a model, as a `keras_tuner.HyperModel`.

    Args:
        function: Takes `keras_tuner.HyperParameters` and returns a compiled `keras.Model`.
    """

    def __init__(self, function: Callable[[keras_tuner.HyperParameters], keras.Model]) -> None:
        self.function = function
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the function's model."""
        return self.function(hp)


def seed_of(hp: Draws, execution: int, start: int) -> int:
    """Return the seed of a part of a trial: the same whether the parts before it ran in this process or not."""
    return (trial_seed(hp.seed, hp.trial, execution) + start) % 2**31


def build(hypermodel: keras_tuner.HyperModel, hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return the model of a hypermodel, or raise a `MisuseError` if it returns something else."""
    hypermodel.declare_hyperparameters(hp)
    model = hypermodel.build(hp)
    if not isinstance(model, keras.Model):
        raise MisuseError("HyperModel.build", "a keras.Model to be returned", type(model).__name__)
    return model


@contextlib.contextmanager
def quick_collections() -> Iterator[None]:
    """Leave what is there now out of garbage collections, of which every trial needs one.

    TensorFlow and Keras alone are half a million objects: to look through them takes as long as a short trial.
    """
    if gc.get_freeze_count():  # somebody else's freeze, which we could not undo alone
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _variables(model: keras.Model) -> list[Any]:
    """Return weights, random states and what the optimizer remembers, in an order that the model decides."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:  # a fit of the user's own that has none
        return list(model.variables)
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return [*model.variables, *optimizer.variables]


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Put garbage collections off: models that are all still needed are looked through for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass
class _Training:
    """One execution of a trial, part by part."""

    hypermodel: keras_tuner.HyperModel
    hp: Draws
    objective: keras_tuner.Objective
    fit_args: Sequence[Any]
    fit_kwargs: Mapping[str, Any]
    execution: int
    report: Callable[[int, Mapping[str, float]], None]
    part: Part
    build_config: dict[str, Any] | None = None

    def run(self, span: tuple[int, int | None], state: ModelState | None) -> tuple[Any, ModelState]:
        """Train a part, and return what its fit came to (metrics and epochs), and where it has left the model."""
        start, until = span
        hp = self._drawn(start)
        keras.utils.clear_session()  # collects the garbage too: models are cycles
        keras.utils.set_random_seed(seed_of(hp, self.execution, start))
        model = build(self.hypermodel, hp)
        rate = rate_of(model)
        if state is not None:
            state = self._restore(model, state, start)
        watch = Watch(self.objective, self.report, state)
        prepare_for_fit(model, self.hypermodel, self.fit_args)
        callbacks = [*own_callbacks(self.fit_kwargs.get("callbacks"), hp, self.execution), *watch.callbacks]
        kwargs: dict[str, Any] = {**self.fit_kwargs, "callbacks": callbacks}
        if until is not None:
            kwargs |= {"epochs": until, "initial_epoch": start}
        if self.part.checkpoints is not None and getattr(self.hypermodel, "resumable", False):
            # An ancestor's, which is trained again, are its own: the trial goes on from its model alone.
            name = str(self.execution) if hp is self.hp else f"{self.execution}-{hp.trial}"
            kwargs["checkpoints"] = self.part.checkpoints / name
            kwargs["identity"] = dict(self.part.identity)
            kwargs["seed"] = trial_seed(hp.seed, hp.trial, self.execution)
        result = self.hypermodel.fit(hp, model, *self.fit_args, **kwargs)
        self.build_config = model.get_build_config()
        variables = [variable.numpy() for variable in _variables(model)] if until is not None else []
        metrics, rows, state = watch.ended(result, model.get_weights, variables, rate)
        return (metrics, of_execution(rows, self.execution, start)), state

    def _drawn(self, start: int) -> Draws:
        """Return the hyperparameters of the part that begins with an epoch: the trial's, or an ancestor's."""
        past = [segment for segment in self.part.ancestors if segment.epoch <= start < self.part.begins]
        return following(self.hp.seed, past[-1]) if past else self.hp

    def _restore(self, model: keras.Model, state: ModelState, start: int) -> ModelState:
        """Give the model the values of a state, and return that; where it is an ancestor's, as it is taken over."""
        if not model.built:  # such as a Sequential without Input
            model.build_from_config(dict(self.build_config or self.part.build_config or {}))
        if self.part.takes_over(start):
            before = [segment for segment in self.part.ancestors if segment.epoch < start][-1]
            state = taken_over(state, model, self._drawn(start), before, self.objective)
        for variable, value in zip(_variables(model), state.variables, strict=True):
            variable.assign(value)
        return state


def run_trial(
    hypermodel: keras_tuner.HyperModel,
    hp: Draws,
    objective: keras_tuner.Objective,
    fit_args: Sequence[Any],
    fit_kwargs: Mapping[str, Any],
    executions: int = 1,
    on_epoch: OnEpoch | None = None,
    part: Part = WHOLE,
    folds: int | None = None,
) -> Outcome:
    """Build and fit a model with the hyperparameters of a trial, or train a part of it.

    Seeds are set from the trial's number, so a trial comes out the same whatever ran before it.

    Args:
        hypermodel: Builds and fits the model.
        hp: Its hyperparameters; they are drawn while the model is built and fitted.
        objective: What the best epoch is chosen by.
        fit_args: Positional arguments of `hypermodel.fit` after hp and model.
        fit_kwargs: Its keyword arguments; callbacks are copied for each execution.
        executions: How many models are trained from different initial weights, at least 1.
        on_epoch: Called at the end of each epoch.
        part: What is trained of the trial.
        folds: How many folds the examples are cut into, at least 2, the same for all trials: each execution trains
            one model a fold, which "execution" counts, too: execution * folds + fold. None: they are not cut.

    Returns:
        What it has come to, with its earlier parts.

    Raises:
        MisuseError: If `build` returns no model or `fit` nothing with the objective in it, or the arguments of the
            fit cannot be cut into folds.
    """

    def report(epoch: int, row: Mapping[str, float]) -> None:
        if on_epoch is not None:
            on_epoch(hp.trial, epoch, row)

    done: list[Execution] = []
    build_config = None
    cut: list[Fold | None] = [None]
    if folds is not None:
        cut = [*fold_ids(labels_of(fit_args, fit_kwargs), folds, hp.seed)]
    for execution, fold in enumerate(cut * executions):
        args, kwargs = (fit_args, fit_kwargs) if fold is None else of_fit(fit_args, fit_kwargs, fold)
        training = _Training(hypermodel, hp, objective, args, kwargs, execution, report, part)
        state = None if part.states is None else part.states[execution]
        whole = Execution.after(part, execution, objective, state)
        for span in part.spans[-1:] if state is not None else part.spans:
            if part.takes_over(span[0]):  # what its ancestors have come to is theirs
                whole = Execution(None, (), None)
            (metrics, rows), state = training.run(span, state)
            whole = whole.and_then(metrics, rows, state, objective)
        done.append(whole)
        build_config = training.build_config
    return outcome_of_executions(done, objective, build_config, part)
