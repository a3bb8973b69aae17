"""All trials as a table for other programs, and the best ones as a table for people."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import pandas as pd

from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.failures import last_line
from kerasbn.tuning.report.figures import Section, epochs_of, escape, finite_score, scored
from kerasbn.tuning.report.hyperparameters import values_of
from kerasbn.tuning.report.times import duration
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_SHOWN = 10


def _plain(value: Any) -> Any:
    """Return a note as a cell: JSON of what has parts."""
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value


def _row(trial: TrialRecord, rank: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "number": trial.number,
        "status": trial.status,
        "rank": rank,
        "score": trial.score,
        "epochs": epochs_of(trial),
        "seconds": round(trial.seconds, 3),
        "finished": trial.finished,
        "worker": trial.worker,
        "engine": trial.engine,
        "attempt": trial.attempt,
        "error": last_line(trial.traceback),
    }
    row |= {f"execution.{place}": score for place, score in enumerate(trial.scores)}
    row |= {f"hyperparameter.{name}": value for name, value in trial.hyperparameters.values.items()}
    row |= {f"metric.{name}": value for name, value in trial.metrics.items()}
    return row | {f"note.{name}": _plain(value) for name, value in trial.notes.items()}


def all_trials(content: StudyContent) -> pd.DataFrame:
    """Return all trials by number, with everything but their curves and tracebacks.

    Args:
        content: The study.

    Returns:
        A row a trial. Columns: number, status, rank (1 for the best), score, epochs, seconds, finished, worker,
        engine, attempt, error; execution.0, ...; hyperparameter.*, metric.*, note.* by name.
    """
    ranks = {trial.number: place for place, trial in enumerate(content.ranked, 1) if trial.score is not None}
    trials = sorted((*content.trials, *content.waiting), key=lambda trial: trial.number)
    rows = [_row(trial, ranks.get(trial.number)) for trial in trials]
    # Without any trial there are still the columns that every table has.
    every = _row(TrialRecord(0, "waiting", None, keras_tuner.HyperParameters()), None)
    names = list(dict.fromkeys(name for row in (every, *rows) for name in row))
    order = ("execution", "hyperparameter", "metric", "note")
    names.sort(key=lambda name: order.index(name.split(".")[0]) if "." in name else -1)
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: Sequence[Any]) -> pd.Series:
    """Return a column in which whole numbers stay whole, also where some trials have none."""
    whole = all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in values)
    return pd.Series(values, dtype="Int64" if whole and any(v is not None for v in values) else object)


def _score(trial: TrialRecord) -> str:
    if not finite_score(trial):
        return "none"
    return f"{trial.score:.5g}"


def _deviation(trial: TrialRecord) -> str:
    """Return the standard deviation of a trial's executions."""
    if len(trial.scores) < 2 or not all(map(math.isfinite, trial.scores)):
        return "-"
    return f"{statistics.stdev(trial.scores):.2g}"


def section(content: StudyContent, axes: Sequence[Axis]) -> Section:
    """Return the best trials, a column each, with all their hyperparameters."""
    shown, total = scored(content)[:_SHOWN], len(content.trials) + len(content.waiting)
    if not shown:
        nothing = "There is no trial yet." if not total else "No trial has a score."
        return Section("best", "Best trials", f'<p class="note">{nothing}</p>')
    values = [values_of(axes, trial.number) for trial in shown]
    between = "± between folds" if content.settings.get("folds") else "± between executions"
    rows: dict[str, list[str]] = {
        content.objective.name: [_score(trial) for trial in shown],
        between: [_deviation(trial) for trial in shown],
        "status": [trial.status for trial in shown],
        "epochs": [str(epochs_of(trial) or "-") for trial in shown],
        "time": [duration(trial.seconds) for trial in shown],
    }
    if all(cell == "-" for cell in rows[between]):
        del rows[between]
    figures = len(rows)
    for axis in axes:
        cells = [each.get(axis.label, "-") for each in values]
        if any(cell != "-" for cell in cells):
            rows[axis.label] = cells
    head = "".join(f'<th scope="col" data-trial="{trial.number}">trial {trial.number}</th>' for trial in shown)
    body = []
    for place, (name, cells) in enumerate(rows.items()):
        kind = ' class="score"' if place == 0 else ' class="first"' if place == figures else ""
        each = "".join(f'<td data-trial="{t.number}">{escape(cell)}</td>' for t, cell in zip(shown, cells, strict=True))
        body.append(f'<tr{kind}><th scope="row" title="{escape(name)}">{escape(name)}</th>{each}</tr>')
    words = "All trials with a score; report.csv has them too."
    if total > len(shown):
        words = f"The best {len(shown)} of {total} trials; all of them are in report.csv."
    table = f'<div class="scroll"><table class="best"><thead><tr><th></th>{head}</tr></thead><tbody>'
    return Section("best", "Best trials", f"<p>{words}</p>{table}{''.join(body)}</tbody></table></div>")
