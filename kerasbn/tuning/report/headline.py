"""The head of the page: what was searched for, what was found, and whether it means anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.figures import epochs_of, escape, scored
from kerasbn.tuning.report.hyperparameters import values_of
from kerasbn.tuning.report.times import duration, elapsed, total_seconds
from kerasbn.tuning.store.records import StudyContent

_STATUSES = ("completed", "stopped", "failed")


def counts(content: StudyContent) -> str:
    """Return how many trials there are of each status: "25 (23 completed, 1 stopped, 1 failed)"."""
    numbers = {status: sum(trial.status == status for trial in content.trials) for status in _STATUSES}
    numbers["waiting"] = len(content.waiting)
    named = [f"{count} {status}" for status, count in numbers.items() if count]
    total = len(content.trials) + len(content.waiting)
    return f"{total} ({', '.join(named)})" if named else "none yet"


def _searched(content: StudyContent, axes: Sequence[Axis]) -> str:
    objective = content.objective
    way = "highest" if objective.direction == "max" else "lowest"
    varied = [axis.label for axis in axes if axis.varies]
    over = f" over {', '.join(varied)}" if varied else ""
    return f"the {way} {objective.name}{over}"


def _data(content: StudyContent) -> str:
    fingerprint = content.settings.get("fingerprint")
    data = fingerprint.get("data") if isinstance(fingerprint, Mapping) else None
    return str(data.get("content", "")) if isinstance(data, Mapping) else ""


def _versions(environment: Mapping[str, Any]) -> str:
    libraries = environment.get("libraries")
    named = {"Python": environment.get("python")} | dict(libraries if isinstance(libraries, Mapping) else {})
    return ", ".join(f"{name} {version}" for name, version in named.items() if version)


def _engines(content: StudyContent) -> str:
    """Return how many trials were trained at once with others of their kind, and how many one by one."""
    engines = Counter(trial.engine for trial in (*content.trials, *content.waiting))
    alone = engines.pop("fit", 0)
    if not engines:
        return ""
    parts = [f"{count} {name}" for name, count in sorted(engines.items())]
    return ", ".join([*parts, *([f"{alone} by fit, one by one"] if alone else [])])


def _facts(content: StudyContent, axes: Sequence[Axis], verdict: str, written: str) -> dict[str, str]:
    """Return what is known of the study, by name; what is not known is empty."""
    strategy = content.settings.get("strategy") or {}
    wall = elapsed(content)
    seconds = total_seconds(content)
    times = [f"{duration(seconds)} of training"] * (seconds > 0)
    times += [] if wall is None else [f"{duration(wall)} from beginning to end"]
    seed = content.settings.get("seed")
    workers = {trial.worker for trial in content.trials if trial.worker}
    revision = content.environment.get("git_revision")
    return {
        "Searched for": _searched(content, axes),
        "Trials": counts(content),
        "Better than the noise?": verdict,
        "Time": "; ".join(times),
        "Strategy": str(strategy.get("name", "")).replace("_", " "),
        "Executions of each trial": str(content.settings.get("executions_per_trial") or ""),
        "Folds of each execution": str(content.settings.get("folds") or ""),
        "Trained": _engines(content),
        "Seed": "" if seed is None else str(seed),
        "Begun": content.created,
        "Data": _data(content),
        "Versions": _versions(content.environment),
        "Code": f"git {revision}{' with changes' if content.environment.get('git_changes') else ''}"
        if revision
        else "",
        "Machine": str(content.environment.get("platform") or ""),
        "Workers": ", ".join(sorted(workers)[:6]) + (", …" if len(workers) > 6 else ""),
        "Study": str(content.directory),
        "Report written": written,
    }


def headline(content: StudyContent, axes: Sequence[Axis], verdict: str, written: str) -> str:
    """Return the head of the page as HTML.

    Args:
        content: The study.
        axes: Its hyperparameters.
        verdict: Whether the best is better than the noise.
        written: When the report was written.
    """
    ranked = scored(content)
    parts = [f"<header><h1>Search <em>{escape(content.name)}</em></h1>"]
    if ranked:
        best = ranked[0]
        values = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
            for name, value in values_of(axes, best.number).items()
        )
        epochs = epochs_of(best)
        trained = f", trained for {epochs} epoch{'s' * (epochs != 1)}" if epochs else ""
        parts.append(
            f'<div class="best"><p class="figure"><span>best {escape(content.objective.name)}</span>'
            f"<strong>{best.score:.5g}</strong><span>trial {best.number}{trained}</span></p>"
            f'<dl class="values">{values}</dl></div>'
        )
    else:
        parts.append(f'<p class="note">{"No trial has a score." if content.trials else "There is no trial yet."}</p>')
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in _facts(content, axes, verdict, written).items()
        if text
    )
    return f'{"".join(parts)}<dl class="facts">{facts}</dl></header>'
