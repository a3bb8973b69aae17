"""The engines of a search: what trains its trials, by name, and whether they can be trained together."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn.caviar.plan import FitPlan, plan_of_fit
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.checks import InputError
from kerasbn.tuning.compatibility.trial_callbacks import own_callbacks
from kerasbn.tuning.draws import trial_seed
from kerasbn.tuning.engine import OnEpoch
from kerasbn.tuning.folds import Fold, fold_ids, labels_of
from kerasbn.tuning.space.factory import FactoryHyperModel
from kerasbn.tuning.stacks import Stacks
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.units import NoMemberError, Planned

# "auto": together where that comes to the same; "vectorized": together, or an error; "fit": one after the other.
ENGINES = ("auto", "vectorized", "fit")


def stacks_of(
    engine: str,
    hypermodel: keras_tuner.HyperModel | None,
    overridden: Sequence[str],
    study: Study,
    fit_args: Sequence[Any],
    fit_kwargs: Mapping[str, Any],
    executions: int,
    folds: int | None,
    on_epoch: OnEpoch | None,
    say: Callable[[str], None],
    memory_limit: float | None,
) -> Stacks | None:
    """Return what trains the trials of a search together, or None if they are trained one by one.

    Args:
        engine: One of ENGINES.
        hypermodel: Builds and fits the models.
        overridden: Names of what a subclass of the tuner has overridden, that is called during a fit.
        study: Remembers which way was found to be the faster one.
        fit_args: Positional arguments of the fit.
        fit_kwargs: Keyword arguments of the fit.
        executions: Models a trial.
        folds: Folds of a cross-validation; None: there is none.
        on_epoch: Called after each epoch of each trial.
        say: Takes lines about it.
        memory_limit: Bytes that a stack may take; None: half of what is free.

    Raises:
        InputError: If "vectorized" is demanded, and the fit is none for it.
    """
    if engine == "fit":
        return None
    try:
        if overridden:
            raise Unsuitable(f"the tuner overrides {', '.join(overridden)}")
        inner = getattr(hypermodel, "hypermodel", hypermodel)  # of `Overridden`
        if getattr(hypermodel, "distribution_strategy", None) is not None:
            raise Unsuitable("the tuner has a distribution_strategy")
        cut: list[Fold | None] = [None]
        if folds is not None:
            cut = [*fold_ids(labels_of(fit_args, fit_kwargs), folds, study.seed)]
        if isinstance(inner, FactoryHyperModel):
            planned = functools.partial(_factory_fit, inner, fit_args, fit_kwargs)
            example, most_epochs = np.asarray(fit_args[0].inputs[:1]), inner.config.search.epochs
        elif getattr(type(inner), "fit", None) is keras_tuner.HyperModel.fit:
            plan = plan_of_fit(*fit_args, **fit_kwargs)
            if folds is not None:
                # What is weighted by its class in training counts as it is where it is validated on.
                held = plan_of_fit(*fit_args, **{**fit_kwargs, "class_weight": None}).train
                plan = dataclasses.replace(plan, validation=held)
            planned = functools.partial(_keras_fit, plan)
            example = keras.tree.map_structure(lambda array: array[:1], plan.train.inputs)
            most_epochs = plan.epochs - plan.initial_epoch
        else:
            raise Unsuitable(f"{type(inner).__name__} has a fit of its own")
    except Unsuitable as reason:
        if engine == "vectorized":
            raise InputError(
                "engine",
                "'auto' or 'fit' for this search",
                f"'vectorized', but {reason}",
                'With engine="auto" its trials are trained one by one.',
            ) from reason
        say(f"Trials are trained one by one: {reason}.")
        return None

    def remembered(signature: str, way: str | None) -> str | None:
        name = f"way:{hashlib.sha256(signature.encode()).hexdigest()[:16]}"
        if way is None and name not in study.optuna.user_attrs:
            return None
        return study.attribute(name, way)

    return Stacks(
        hypermodel,
        study.objective,
        planned,
        example,
        most_epochs,
        cut * executions,
        on_epoch,
        say,
        memory_limit,
        engine == "vectorized",
        remembered,
        study.directory,
        {"settings": study.settings, "environment": study.environment},
    )


def _keras_fit(plan: FitPlan, member: Planned) -> tuple[FitPlan, int]:
    """Return what Keras's own fit does for a member, and the seed of its order."""
    start, until = member.part.spans[-1]
    callbacks = (*own_callbacks(plan.callbacks, member.hp, member.execution), *member.watch.callbacks)
    if until is not None:
        plan = dataclasses.replace(plan, epochs=until, initial_epoch=start)
    return dataclasses.replace(plan, callbacks=callbacks), member.draft.seed


def _factory_fit(
    hypermodel: FactoryHyperModel, fit_args: Sequence[Any], fit_kwargs: Mapping[str, Any], member: Planned
) -> tuple[FitPlan, int]:
    """Return what the fit of the factory's models does for a member, and the seed of its order."""
    start, until = member.part.spans[-1]
    train, validation = (*fit_args, fit_kwargs.get("validation"))[:2]
    if unknown := sorted(set(fit_kwargs) - {"validation", "callbacks", "epochs", "verbose"}):
        raise Unsuitable(f"fit has {', '.join(unknown)}")
    callbacks = own_callbacks(fit_kwargs.get("callbacks"), member.hp, member.execution)
    plan = hypermodel.plan_fit(
        member.hp,
        member.draft.model,
        train,
        validation,
        [*callbacks, *member.watch.callbacks],
        epochs=fit_kwargs.get("epochs") if until is None else until,
        initial_epoch=start,
        examples=len(train) if member.fold is None else len(member.fold[0]),
    )
    if plan is None:
        raise NoMemberError
    return plan, trial_seed(member.hp.seed, member.hp.trial, member.execution)
