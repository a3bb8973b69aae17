"""Replay: a trial's model trained again, by the schedule of hyperparameters that led to it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from kerasbn.checks import InputError
from kerasbn.tuning.engine import BuildFunction, OnEpoch, build, run_trial
from kerasbn.tuning.objective import objective_of
from kerasbn.tuning.outcome import Part
from kerasbn.tuning.schedule import following, schedule_of
from kerasbn.tuning.store.records import TrialRecord


def replay(
    hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model],
    record: TrialRecord,
    objective: str | keras_tuner.Objective,
    seed: int,
    *fit_args: Any,
    on_epoch: OnEpoch | None = None,
    **fit_kwargs: Any,
) -> keras.Model:
    """Train a trial's model again from the first epoch, by the schedule that led to it.

    Segment after segment is trained with its values, each from the weights and the optimizer that the one before has
    left. With the search's seed, data and arguments this comes to the weights that the search kept: bit for bit if it
    trained one by one, to rounding if it trained many at once. With another seed it tells how good the schedule is for
    other initial weights.

    Args:
        hypermodel: The search's hypermodel, or its build function.
        record: The trial.
        objective: The search's.
        seed: The search's, or another one.
        fit_args: Positional arguments of the search.
        on_epoch: Called after each epoch with the trial's number, the epoch (from 0) and its metrics; of several
            executions one after the other.
        fit_kwargs: Keyword arguments of the search.

    Returns:
        The model, with the weights of the best epoch of the last segment; of several executions, the best one's.

    Raises:
        InputError: If the trial has no score, or the build function asks for something else than it did.

    Example:
        >>> tuner = PopulationBasedTraining(build_model, "val_accuracy", 2, max_epochs=2, interval=1, seed=0)
        >>> tuner.search(x, y, validation_data=(x_val, y_val), verbose=0)
        >>> best = tuner.study.ranked[0]
        >>> model = replay(build_model, best, "val_accuracy", 0, x, y, validation_data=(x_val, y_val), verbose=0)

    Source: Jaderberg et al. (2017), Population based training of neural networks, arXiv:1711.09846, section 4.4.
    """
    if not record.scored:
        raise InputError(f"trial {record.number}", "a trial with a score", record.status, "Take one that was trained.")
    if not isinstance(hypermodel, keras_tuner.HyperModel):
        hypermodel = BuildFunction(hypermodel)
    *ancestors, own = schedule_of(record)
    hp = following(seed, own)
    spans = tuple(zip((0, *record.parts), record.parts or (None,), strict=False))
    with tempfile.TemporaryDirectory() as directory:  # of checkpoints, which no one will go on from
        outcome = run_trial(
            hypermodel,
            hp,
            objective_of(objective),
            fit_args,
            fit_kwargs,
            len(record.scores) or 1,
            on_epoch,
            Part(spans, None, None, Path(directory), begins=own.epoch, ancestors=tuple(ancestors)),
        )
    model = build(hypermodel, hp.copy())
    if not model.built:  # such as a Sequential without Input
        model.build_from_config(outcome.build_config or {})
    model.set_weights(outcome.weights)
    return model
