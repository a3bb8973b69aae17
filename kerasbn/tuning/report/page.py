"""The page: one HTML file with its style, its script and its data in it, which needs no network."""

import datetime
import json
from importlib import resources
from typing import Any

from kerasbn.checks import TaskError
from kerasbn.tuning.report import (
    curves,
    failures,
    headline,
    hyperparameters,
    importance,
    noise,
    parallel,
    strategy,
    table,
    times,
)
from kerasbn.tuning.report.axes import Axis, axes
from kerasbn.tuning.report.figures import Section, epochs_of, escape, finite_score
from kerasbn.tuning.store.records import StudyContent, TrialRecord

# The browser itself refuses whatever would need a network.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def plotly_script() -> str:
    """Return the source of plotly.js, or raise a `TaskError` that says what is to be installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError:
        raise TaskError(
            "The report's pictures need plotly, which is not installed: pip install 'kerasbn[report]'."
        ) from None
    return get_plotlyjs()


def _title(trial: TrialRecord, objective: str) -> str:
    score = f"{objective} {trial.score:.5g}" if finite_score(trial) else "no score"
    epochs = epochs_of(trial)
    return f"trial {trial.number}, {trial.status}: {score}" + (f", {epochs} epochs" if epochs > 1 else "")


def _data(content: StudyContent, axes: list[Axis], sections: list[Section]) -> str:
    """Return what the page's script needs as JSON in HTML: no "<" in it, so that nothing there can be a tag."""
    name = content.objective.name
    trials: dict[int, Any] = {
        trial.number: {
            "title": _title(trial, name),
            "values": list(hyperparameters.values_of(axes, trial.number).items()),
        }
        for trial in (*content.trials, *content.waiting)
    }
    figures = {name: figure for section in sections for name, figure in section.figures.items()}
    data = {"trials": trials, "figures": figures, "objective": name}
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def sections_of(content: StudyContent, axes: list[Axis], verdict: noise.Verdict) -> list[Section]:
    """Return the parts of the page in their order."""
    return [
        table.section(content, axes),
        noise.section(verdict),
        curves.section(content),
        hyperparameters.section(content, axes),
        parallel.section(content, axes),
        importance.section(content, axes),
        strategy.section(content, axes),
        times.section(content),
        failures.section(content),
    ]


def page(content: StudyContent) -> str:
    """Return the report of a study as HTML.

    Args:
        content: The study.

    Returns:
        A whole document.

    Raises:
        TaskError: If plotly is not installed.
    """
    script = plotly_script()
    found = axes((*content.trials, *content.waiting))
    verdict = noise.verdict(content, found)
    sections = sections_of(content, found, verdict)
    written = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    head = headline.headline(content, found, verdict.sentence, written)
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in sections)
    bodies = "".join(
        f'<section id="{section.anchor}"><h2>{escape(section.title)}</h2>{section.body}</section>'
        for section in sections
    )
    files = resources.files("kerasbn.tuning.report")
    style, own = (files.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(content.name)}: search report</title><style>{style}</style></head><body>\n"
        f'{head}\n<nav><div>{links}</div></nav><noscript><p class="note">The pictures need JavaScript.</p></noscript>'
        f'<div id="errors"></div><main>\n{bodies}\n</main><div id="tip"></div>\n'
        f'<script type="application/json" id="data">{_data(content, found, sections)}</script>\n'
        f"<script>{script}</script>\n<script>{own}</script>\n</body></html>\n"
    )
