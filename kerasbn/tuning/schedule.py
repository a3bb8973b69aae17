"""The schedule of hyperparameters that led to a trial's model, and what a trial takes over of its ancestors."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import Draws
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.outcome import ModelState
from kerasbn.tuning.store.records import Segment, TrialRecord


def schedule_of(record: TrialRecord) -> tuple[Segment, ...]:
    """Return the schedule that led to a trial's model: the segments of its ancestors, and then its own.

    Args:
        record: A trial of any search; where no trial goes on from another, the schedule is one segment.

    Returns:
        Segments in the order of their epochs, the first from epoch 0. The last ends with the trial.

    Example:
        >>> [(part.epoch, part.values) for part in schedule_of(TrialRecord(0, "failed", None, Draws(0, 0)))]
        [(0, {})]
    """
    ancestors = (Segment(**one) for one in record.notes.get("ancestors", ()))
    return (*ancestors, Segment(record.notes.get("begins", 0), record.number, dict(record.hyperparameters.values)))


def descent(source: TrialRecord, begins: int) -> dict[str, Any]:
    """Return the notes of a trial that goes on from where another stood.

    Args:
        source: The other trial.
        begins: After how many epochs.

    Returns:
        JSON: "begins", and "ancestors", the segments before.
    """
    return {"begins": begins, "ancestors": [dataclasses.asdict(segment) for segment in schedule_of(source)]}


def following(seed: int, segment: Segment) -> Draws:
    """Return the hyperparameters of epochs that are trained again.

    Args:
        seed: Of the search.
        segment: Which epochs they are.

    Returns:
        Hyperparameters that have the segment's values; to ask for another one is a `MisuseError`.
    """

    def value(hyperparameter: kinds.HyperParameter) -> Any:
        if hyperparameter.name not in segment.values:
            asked = ", ".join(map(repr, segment.values)) or "nothing"
            expected = f"a build function that asks for what it did in trial {segment.trial}: {asked}"
            raise MisuseError("HyperModel.build", expected, repr(hyperparameter.name))
        return segment.values[hyperparameter.name]

    return Draws(seed, segment.trial, choose=value)


def rate_place(model: keras.Model) -> int | None:
    """Return where the learning rate is among the optimizer's variables; None: a schedule gives it, or nothing."""
    optimizer = getattr(model, "optimizer", None)
    rate = getattr(optimizer, "learning_rate", None)
    if optimizer is None or not isinstance(rate, keras.Variable):
        return None
    return [variable is rate for variable in optimizer.variables].index(True)


def rate_of(model: keras.Model) -> float | None:
    """Return the learning rate that a model has; None: a schedule gives it, or it has no optimizer."""
    place = rate_place(model)
    return None if place is None else float(model.optimizer.variables[place].numpy())


def taken_over(
    state: ModelState, model: keras.Model, hp: Draws, before: Segment, objective: keras_tuner.Objective
) -> ModelState:
    """Return the state in which a trial goes on from where another one stands: weights, optimizer, and no best epoch.

    The learning rate is the model's own, if that is another one than the other trial's model was built with: it was
    varied, and what was left of the old one must not take its place.

    Args:
        state: Of the other trial's model.
        model: The trial's, as it was built.
        hp: Its hyperparameters.
        before: The other trial.
        objective: What the best epoch is chosen by.

    Raises:
        MisuseError: If the shapes of the models' variables differ.
    """
    count, place, rate = len(model.variables), rate_place(model), rate_of(model)
    _check_shapes(hp, before, model.variables, state.variables[:count])
    variables = list(state.variables)
    if place is not None and rate != state.rate and count + place < len(variables):
        variables[count + place] = np.asarray(rate, variables[count + place].dtype)
    worst = -math.inf if objective.direction == "max" else math.inf
    return dataclasses.replace(state, variables=variables, best_epoch=None, best_value=worst)


def _check_shapes(hp: Draws, before: Segment, variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Raise a `MisuseError` if a model cannot take over the variables of the one that it goes on from."""
    ours, theirs = ([tuple(np.shape(one)) for one in several] for several in (variables, values))
    if ours == theirs:
        return
    changes = [
        f"{name} {before.values.get(name)!r} -> {value!r}"
        for name, value in hp.values.items()
        if before.values.get(name) != value
    ]
    pairs = itertools.zip_longest(ours, theirs, fillvalue="none")
    one, other = next(pair for pair in pairs if pair[0] != pair[1])
    raise MisuseError(
        "tuned",
        f"hyperparameters that change no shapes, so that trial {hp.trial} can go on with the variables of trial "
        f"{before.trial}",
        f"{', '.join(changes) or 'the same values'}, and a variable of shape {one} in place of {other}",
        "Give tuned=(...) without those that change layers or the optimizer; these are drawn once, and kept.",
    )
