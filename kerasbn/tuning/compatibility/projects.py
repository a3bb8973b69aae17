"""Projects of KerasTuner, read as studies; nothing in them is changed."""

import datetime
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from kerasbn import files
from kerasbn.checks import InputError
from kerasbn.tuning.objective import objective_of, settings_of
from kerasbn.tuning.store.records import StudyContent, TrialRecord

ORACLE = "oracle.json"
_RUNG = "tuner/"  # what Hyperband keeps of its rounds among the values of a trial


def is_project(path: str | Path) -> bool:
    """Return whether a directory is a project of KerasTuner.

    Args:
        path: The directory, such as my_dir/untitled_project.

    Returns:
        True if there is an oracle or a trial of KerasTuner's in it.

    Example:
        >>> is_project("studies")
        False
    """
    path = Path(path)
    return (path / ORACLE).is_file() or any(path.glob("trial_*/trial.json"))


def read_project(
    path: str | Path, objective: str | keras_tuner.Objective | Sequence[str | keras_tuner.Objective] | None = None
) -> StudyContent:
    """Return what a project of KerasTuner holds, as a study.

    KerasTuner keeps the metrics of the best epoch alone, so that each trial's history is this epoch. It does not keep
    the objective: that is the metric which equals the score in all trials. Trials that were running are left out, and
    those that cannot be read too, with a warning that names the file. Each round of Hyperband is a trial there: its
    bracket, round and epochs are in the notes.

    Args:
        path: The project's directory, such as my_dir/untitled_project.
        objective: The search's, as its tuner was given it; None: found out from the trials.

    Returns:
        Its settings and trials.

    Raises:
        InputError: If there is no project or no trial that can be read, or if the objective cannot be found out.

    Example:
        >>> read_project("runs/iris")
        Traceback (most recent call last):
        kerasbn.checks.InputError: project: expected the directory of a KerasTuner project; received 'runs/iris', which
        has no oracle.json. It is directory/project_name.

    Source: keras_tuner 1.4.8, engine/oracle.py and engine/trial.py (what they save).
    """
    path = Path(path)
    if not is_project(path):
        received = f"{str(path)!r}, which has no {ORACLE}" if path.is_dir() else f"{str(path)!r}, no directory"
        raise InputError("project", "the directory of a KerasTuner project", received, "It is directory/project_name.")
    oracle = _read_oracle(path / ORACLE)
    trials = _read_trials(path)
    if not trials:
        raise InputError("project", f"at least one readable trial in {path}", "none", "There is nothing to import.")
    found = _found_out(path, trials) if objective is None else objective_of(objective)
    numbers = _numbers([trial.trial_id for trial in trials], oracle.get("start_order", []))
    finished = [t for t in trials if t.status in (TrialStatus.COMPLETED, TrialStatus.INVALID, TrialStatus.FAILED)]
    if running := [t.trial_id for t in trials if t not in finished]:
        warnings.warn(f"{path}: trials that were not finished are left out: {', '.join(running)}.", stacklevel=2)
    records = [_record(trial, numbers, found) for trial in finished]
    begun = oracle.get("display", {}).get("search_start")
    return StudyContent(
        name=path.resolve().name,
        directory=path,
        objective=found,
        settings={
            "objective": settings_of(found),
            "seed": oracle.get("seed"),
            "strategy": _strategy(oracle),
            "executions_per_trial": 1,  # it keeps their mean
            "hyperparameters": None,
            "fingerprint": None,
        },
        # KerasTuner writes local time without its offset.
        created=datetime.datetime.fromisoformat(begun).astimezone().isoformat(timespec="seconds") if begun else "",
        environment={},
        trials=tuple(sorted(records, key=lambda record: record.number)),
    )


def _read_oracle(path: Path) -> dict[str, Any]:
    """Return the state of the oracle; empty if it cannot be read: the trials tell all but the seed and the strategy."""
    try:
        oracle = files.read_json(path, "oracle")
    except InputError as error:
        warnings.warn(f"The seed and the strategy of the project are not known. {error}", stacklevel=3)
        return {}
    return oracle if isinstance(oracle, dict) else {}


def _read_trials(directory: Path) -> list[Trial]:
    """Return the trials of a project that can be read, in the order of their directories' names."""
    trials = []
    for path in sorted(trial / "trial.json" for trial in directory.glob("trial_*")):
        try:
            state = files.read_json(path, "trial")
            state["hyperparameters"]["space"] = _parents_first(state["hyperparameters"]["space"])
            trials.append(Trial.from_state({"message": None, "best_step": 0} | state))
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = error if isinstance(error, InputError) else f"{path}: {type(error).__name__}: {error}"
            warnings.warn(f"A trial that cannot be read is left out. {reason}", stacklevel=3)
    return trials


def _parents_first(space: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the hyperparameters of a space, each after those it depends on.

    A search on several machines leaves them by kind: all Floats, all Ints, all Choices.
    """
    names = {entry["config"]["name"] for entry in space}
    rest, ordered, placed = list(space), [], set[str]()
    while rest:
        waits_for = names - placed
        free = (entry for entry in rest if not waits_for & _parents(entry))
        entry = next(free, rest[0])  # in a circle none is free
        rest.remove(entry)
        ordered.append(entry)
        placed.add(entry["config"]["name"])
    return ordered


def _parents(entry: Mapping[str, Any]) -> set[str]:
    return {condition["config"]["name"] for condition in entry["config"].get("conditions") or ()}


def _numbers(ids: Sequence[str], started: Sequence[str]) -> dict[str, int]:
    """Return the number of each trial by its id: "07" is 7; ids of older versions are hashes, without an order."""
    if all(one.isdecimal() for one in ids) and len({int(one) for one in ids}) == len(ids):
        return {one: int(one) for one in ids}
    order = {one: place for place, one in enumerate(started)}
    return {one: number for number, one in enumerate(sorted(ids, key=lambda one: (order.get(one, len(order)), one)))}


def _found_out(path: Path, trials: Sequence[Trial]) -> keras_tuner.Objective:
    """Return the objective: the metric whose best value is the score in all trials that have one."""
    scored = [t for t in trials if t.status == TrialStatus.COMPLETED and t.score is not None]
    if not scored:
        return objective_of(None)
    candidates = [
        keras_tuner.Objective(name, history.direction)
        for name, history in scored[0].metrics.metrics.items()
        if all(_best_value(t, name) == t.score for t in scored)
    ]
    # A validation metric before its training twin, a sum of several or the number of a fit before all.
    candidates.sort(
        key=lambda o: (o.name not in ("multi_objective", "default_objective"), not o.name.startswith("val_"))
    )
    if not candidates or len({o.direction for o in candidates}) > 1:
        names = ", ".join(f"{o.name} ({o.direction})" for o in candidates) or "none"
        raise InputError(
            f"The project {path}",
            "one metric that equals the score in all trials",
            names,
            'Give the objective: read_project(path, objective="val_loss").',
        )
    return candidates[0]


def _best_value(trial: Trial, name: str) -> float | None:
    """Return the best value of a metric, the mean over executions; None if there is none but NaN."""
    if not trial.metrics.exists(name):
        return None
    values = [float(observation.mean()) for observation in trial.metrics.get_history(name)]
    best = min if trial.metrics.get_direction(name) == "min" else max
    return best((value for value in values if not math.isnan(value)), default=None)


def _strategy(oracle: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the trials were chosen, as far as the oracle's state tells."""
    if "hyperband_iterations" in oracle:
        settings = {name: oracle.get(name) for name in ("max_epochs", "factor", "hyperband_iterations")}
        return {"name": "hyperband of KerasTuner", **settings}
    if "num_initial_points" in oracle:
        return {"name": "bayesian of KerasTuner", **{name: oracle.get(name) for name in ("alpha", "beta")}}
    return {"name": "random or grid of KerasTuner" if oracle else "KerasTuner's"}


def _record(trial: Trial, numbers: Mapping[str, int], objective: keras_tuner.Objective) -> TrialRecord:
    """Return a trial of KerasTuner's as one of ours."""
    score = trial.score
    failed = trial.status != TrialStatus.COMPLETED or score is None or not math.isfinite(score)
    rounds = {name.removeprefix(_RUNG): v for name, v in trial.hyperparameters.values.items() if name.startswith(_RUNG)}
    if "trial_id" in rounds:
        rounds["continues"] = numbers.get(rounds.pop("trial_id"))
    rows = _history(trial)
    best = next((row for row in rows if row["epoch"] == trial.best_step and objective.name in row), None)
    metrics = {name: _best_value(trial, name) for name in trial.metrics.metrics}
    metrics |= {name: value for name, value in (best or {}).items() if name not in ("execution", "epoch")}
    return TrialRecord(
        number=numbers[trial.trial_id],
        status="failed" if failed else "completed",
        score=None if failed else float(score),
        hyperparameters=_own_values(trial.hyperparameters),
        metrics={name: float(value) for name, value in metrics.items() if value is not None},
        history=tuple(rows),
        engine="keras_tuner",
        traceback=(trial.message or f"{trial.status}; the score is {score}.\n") if failed else "",
        scores=() if failed else (float(score),),
        epochs=int(rounds.get("epochs", 0)),
        notes=rounds,
    )


def _own_values(hp: keras_tuner.HyperParameters) -> keras_tuner.HyperParameters:
    """Return hyperparameters with the values of those that are active, in the order of the space."""
    own = hp.copy()
    own.values = {h.name: hp.values[h.name] for h in hp.space if h.name in hp.values and hp.is_active(h)}
    return own


def _history(trial: Trial) -> list[dict[str, float]]:
    """Return one row for each epoch and execution that KerasTuner has kept of a trial."""
    rows: dict[tuple[int, int], dict[str, float]] = {}
    for name in trial.metrics.metrics:
        for observation in trial.metrics.get_history(name):
            for execution, value in enumerate(observation.value):
                row = rows.setdefault(
                    (execution, observation.step), {"execution": execution, "epoch": observation.step}
                )
                row[name] = float(value)
    return [rows[key] for key in sorted(rows)]
