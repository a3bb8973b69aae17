"""The objective of a search, and what is read of it from whatever a fit returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn import checks
from kerasbn.callbacks.keep_best import not_finite, sign_of
from kerasbn.checks import InputError


class MisuseError(InputError):
    """A build or fit function that cannot be searched over, whatever the hyperparameters; ends the search."""


def objective_of(
    objective: str | keras_tuner.Objective | Sequence[str | keras_tuner.Objective] | None,
) -> keras_tuner.Objective:
    """Return a `keras_tuner.Objective` with its direction.

    Args:
        objective: Name of a metric of Keras, with or without "val_": its direction is known. Or an Objective. Or a
            list of these: the sum of those to be minimised less the sum of those to be maximised, to be minimised
            under the name "multi_objective". None: the number that `HyperModel.fit` returns, to be minimised.

    Returns:
        The Objective.

    Raises:
        InputError: If the direction of a name is not known, or it is none of these.

    Example:
        >>> objective_of("val_accuracy").direction
        'max'
        >>> objective_of(["val_loss", "val_accuracy"]).get_value({"val_loss": 0.5, "val_accuracy": 0.75})
        -0.25
    """
    if isinstance(objective, list | tuple):
        parts = [objective_of(part) for part in objective]
        names = [part.name for part in parts]
        if not parts or len(set(names)) < len(names) or any(part is None for part in objective):
            raise InputError("objective", "a list of different metrics", objective)
        return keras_tuner.oracles.RandomSearchOracle(objective=parts).objective
    if isinstance(objective, keras_tuner.Objective):
        if objective.direction not in ("min", "max"):
            raise InputError("objective: direction", "'min' or 'max'", repr(objective.direction))
        return objective
    if objective is not None and not isinstance(objective, str):
        raise InputError("objective", "the name of a metric, a keras_tuner.Objective or a list of these", objective)
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


def settings_of(objective: keras_tuner.Objective) -> dict[str, Any]:
    """Return JSON that `from_settings` makes the objective of.

    Args:
        objective: The objective.

    Returns:
        Its "name" and "direction"; of several also "objectives", the same of each.

    Example:
        >>> settings_of(objective_of("val_loss"))
        {'name': 'val_loss', 'direction': 'min'}
    """
    settings: dict[str, Any] = {"name": objective.name, "direction": objective.direction}
    if parts := getattr(objective, "objectives", None):
        settings["objectives"] = [settings_of(part) for part in parts]
    return settings


def from_settings(settings: Mapping[str, Any]) -> keras_tuner.Objective:
    """Return the objective that `settings_of` was called on."""
    if "objectives" in settings:
        return objective_of([from_settings(part) for part in settings["objectives"]])
    return keras_tuner.Objective(settings["name"], settings["direction"])


def with_objective(metrics: Mapping[str, Any], objective: keras_tuner.Objective) -> dict[str, Any]:
    """Return metrics with the value of the objective among them, where it follows from them.

    Args:
        metrics: Metrics of an epoch by name.
        objective: The objective, which may be a sum of several of them.

    Returns:
        The metrics, with the objective under its name.

    Example:
        >>> with_objective({"loss": 0.5, "accuracy": 0.75}, objective_of(["loss", "accuracy"]))
        {'loss': 0.5, 'accuracy': 0.75, 'multi_objective': -0.25}
    """
    if objective.name in metrics or not objective.has_value(metrics):
        return dict(metrics)
    return {**metrics, objective.name: objective.get_value(metrics)}


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


def _never_reported(objective: keras_tuner.Objective, reported: Sequence[str], source: str) -> MisuseError:
    """Return the error for an objective that is not among the metrics of a fit."""
    names = [part.name for part in getattr(objective, "objectives", [objective])]
    missing = [name for name in names if name not in reported]
    listed = ", ".join(repr(name) for name in sorted(reported)) or "nothing"
    if missing[0] == objective_of(None).name:
        remedy = f"Give the search an objective, one of {listed}; or return the number that is to be minimised."
        return MisuseError(source, "a number to be returned, since there is no objective", listed, remedy)
    remedy = f"Compile the model with that metric, or return it from {source}."
    if missing[0].startswith("val_") and missing[0].removeprefix("val_") in reported:
        remedy = "Pass validation_data or validation_split to search()."
    elif similar := checks.nearest(missing[0], reported):
        remedy = f"{similar} {remedy}"
    received = ", ".join(repr(name) for name in missing)
    return MisuseError("objective", f"a metric that the fit reports, one of {listed}", received, remedy)


def metrics_of(result: Any, objective: keras_tuner.Objective, source: str = "HyperModel.fit") -> dict[str, float]:
    """Return the metrics that a fit ended with, the objective among them.

    Args:
        result: What `HyperModel.fit` returned: a `keras.callbacks.History` (its best epoch counts), a dict of
            metrics, a number (the objective), or a list of these (the mean counts).
        objective: The objective.
        source: What returned it, for messages.

    Returns:
        Metrics by name.

    Raises:
        MisuseError: If it is none of these, or the objective is not in it.
    """
    if isinstance(result, list) and result:
        each = [metrics_of(one, objective, source) for one in result]
        names = dict.fromkeys(name for metrics in each for name in metrics)
        return {name: float(np.mean([m[name] for m in each if name in m])) for name in names}
    if isinstance(result, int | float | np.floating) and not isinstance(result, bool):
        return {objective.name: float(result)}
    if isinstance(result, Mapping | keras.callbacks.History):
        rows = _table(result) if isinstance(result, keras.callbacks.History) else [dict(result)]
        rows = [with_objective(row, objective) for row in rows]
        if not rows or any(objective.name not in row for row in rows):
            reported = set.intersection(*(set(row) for row in rows)) if rows else set()
            raise _never_reported(objective, list(reported), source)
        return {name: float(value) for name, value in best_of(rows, objective).items()}
    raise MisuseError(
        source,
        "a History, a dict of metrics, or a number to be returned",
        type(result).__name__,
        "Return what model.fit(...) returns.",
    )


def history_of(result: Any) -> list[dict[str, float]]:
    """Return one dict of metrics an epoch if a fit returned a History, and nothing otherwise."""
    return _table(result) if isinstance(result, keras.callbacks.History) else []
