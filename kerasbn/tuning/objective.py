"""The objective of a search, and what is read of it from whatever a fit returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn.callbacks.keep_best import not_finite, sign_of
from kerasbn.checks import InputError


class MisuseError(InputError):
    """A build or fit function that cannot be searched over, whatever the hyperparameters; ends the search."""


def objective_of(objective: str | keras_tuner.Objective | None) -> keras_tuner.Objective:
    """Return a `keras_tuner.Objective` with its direction.

    Args:
        objective: Name of a metric of Keras, with or without "val_": its direction is known. Or an Objective.
            None: the number that `HyperModel.fit` returns, to be minimised.

    Returns:
        The Objective.

    Raises:
        InputError: If the direction of a name is not known, or it is none of these.

    Example:
        >>> objective_of("val_accuracy").direction
        'max'
    """
    if isinstance(objective, keras_tuner.Objective) and objective.direction not in ("min", "max"):
        raise InputError("objective: direction", "'min' or 'max'", repr(objective.direction))
    if objective is not None and not isinstance(objective, str | keras_tuner.Objective):
        raise InputError("objective", "the name of one metric or a keras_tuner.Objective", repr(objective))
    try:
        # An oracle knows the directions of Keras's metrics, and is the public way to ask for them.
        return keras_tuner.oracles.RandomSearchOracle(objective=objective).objective
    except ValueError:
        raise InputError(
            "objective",
            "a metric of Keras, whose direction is known",
            repr(objective),
            f'Give the direction: keras_tuner.Objective("{objective}", direction="min") or "max".',
        ) from None


def _table(history: keras.callbacks.History) -> list[dict[str, float]]:
    """Return a History as one dict an epoch."""
    values = history.history
    return [
        {name: float(column[row]) for name, column in values.items() if row < len(column)}
        for row in range(max((len(column) for column in values.values()), default=0))
    ]


def best_of(rows: Sequence[Mapping[str, float]], objective: keras_tuner.Objective) -> dict[str, float]:
    """Return the row with the best objective, the first among equals; if training diverged in all, the first."""
    sign = sign_of(objective.direction)
    finite = [row for row in rows if not not_finite(row, objective.name)]
    return dict(max(finite, key=lambda row: sign * row[objective.name], default=rows[0]))


def metrics_of(result: Any, objective: keras_tuner.Objective) -> dict[str, float]:
    """Return the metrics that a fit ended with, the objective among them.

    Args:
        result: What `HyperModel.fit` returned: a `keras.callbacks.History` (its best epoch counts), a dict of
            metrics, a number (the objective), or a list of these (the mean counts).
        objective: The objective.

    Returns:
        Metrics by name.

    Raises:
        MisuseError: If it is none of these, or the objective is not in it.
    """
    remedy = "Compile the model with that metric, and pass validation data to search() for a val_ metric."
    if isinstance(result, list) and result:
        each = [metrics_of(one, objective) for one in result]
        return {name: float(np.mean([m[name] for m in each if name in m])) for name in each[0]}
    if isinstance(result, int | float | np.floating) and not isinstance(result, bool):
        return {objective.name: float(result)}
    if isinstance(result, Mapping):
        if objective.name not in result:
            raise MisuseError("objective", f"one of {sorted(result)}", repr(objective.name), remedy)
        return {name: float(value) for name, value in result.items()}
    if isinstance(result, keras.callbacks.History):
        rows = _table(result)
        if not rows or any(objective.name not in row for row in rows):
            raise MisuseError("objective", f"one of {sorted(result.history)}", repr(objective.name), remedy)
        return best_of(rows, objective)
    raise MisuseError(
        "HyperModel.fit",
        "a History, a dict of metrics, or a number to be returned",
        type(result).__name__,
        "Return what model.fit(...) returns.",
    )


def history_of(result: Any) -> list[dict[str, float]]:
    """Return one dict of metrics an epoch if a fit returned a History, and nothing otherwise."""
    return _table(result) if isinstance(result, keras.callbacks.History) else []
