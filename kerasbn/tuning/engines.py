"""The engines of a search: what trains its trials, by name, and whether they can be trained together."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras_tuner

from kerasbn.caviar.order import is_keras_order
from kerasbn.caviar.plan import plan_of_fit
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.checks import InputError
from kerasbn.tuning.engine import OnEpoch
from kerasbn.tuning.folds import Fold, fold_ids, labels_of
from kerasbn.tuning.stacks import Stacks
from kerasbn.tuning.store.study import Study

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
        if getattr(type(inner), "fit", None) is not keras_tuner.HyperModel.fit:
            raise Unsuitable(f"{type(inner).__name__} has a fit of its own")
        plan = plan_of_fit(*fit_args, **fit_kwargs)
        cut: list[Fold | None] = [None]
        if folds is not None:
            cut = [*fold_ids(labels_of(fit_args, fit_kwargs), folds, study.seed)]
            # What is weighted by its class in training counts as it is where it is validated on.
            held = plan_of_fit(*fit_args, **{**fit_kwargs, "class_weight": None}).train
            plan = dataclasses.replace(plan, validation=held)
        if plan.shuffle and not is_keras_order():
            raise Unsuitable("this version of Keras takes examples in an order that is not known here")
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
        plan,
        cut * executions,
        on_epoch,
        say,
        memory_limit,
        engine == "vectorized",
        remembered,
        study.directory,
        {"settings": study.settings, "environment": study.environment},
    )
