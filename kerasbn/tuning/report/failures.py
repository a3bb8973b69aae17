"""Trials that failed, with their tracebacks."""

from kerasbn.tuning.report.figures import Section, escape
from kerasbn.tuning.store.records import StudyContent

_MOST = 20  # different tracebacks
_LONGEST = 20_000  # characters of one; the end says what went wrong


def last_line(traceback: str) -> str:
    """Return what went wrong: the last line of a traceback that is not empty."""
    return next((line.strip() for line in reversed(traceback.splitlines()) if line.strip()), "")


def section(content: StudyContent) -> Section:
    """Return each different traceback once, folded, with the trials that it ended."""
    failed = [trial for trial in content.trials if trial.status == "failed"]
    if not failed:
        return Section("failures", "Failures", '<p class="note">No trial failed.</p>')
    groups: dict[str, list[int]] = {}
    for trial in failed:
        groups.setdefault(trial.traceback, []).append(trial.number)
    parts = [f"<p>{len(failed)} of {len(content.trials)} trials failed.</p>"]
    for traceback, numbers in list(groups.items())[:_MOST]:
        named = (
            f"trial {numbers[0]}"
            if len(numbers) == 1
            else (f"{len(numbers)} trials: {', '.join(map(str, numbers[:20]))}{', …' if len(numbers) > 20 else ''}")
        )
        summary = f"<summary><b>{named}</b> {escape(last_line(traceback)[:300] or 'no traceback')}</summary>"
        text = traceback if len(traceback) <= _LONGEST else "…" + traceback[-_LONGEST:]
        parts.append(f"<details>{summary}<pre>{escape(text)}</pre></details>")
    if len(groups) > _MOST:
        parts.append(
            f"<p>{len(groups) - _MOST} other tracebacks are left out; report.csv has the last line of each.</p>"
        )
    return Section("failures", "Failures", "".join(parts))
