"""A re-test in words: a table of the trials that were trained again, and what follows from them."""

from rich.table import Table

from kerasbn.tuning.retesting.replicates import Interval
from kerasbn.tuning.retesting.staleness import Staleness
from kerasbn.tuning.retesting.trials import Retested, RetestResult
from kerasbn.tuning.space.drawn import number

_VERDICTS = (
    ("keep", "keep the hyperparameters"),
    ("narrowly", "search again, narrowly around today's best"),
    ("fully", "search again, all of the space"),
)


def _now(trial: Retested, mean: float | None) -> str:
    if mean is not None:
        scores = [score for score in trial.scores if score is not None]
        return f"{sum(scores) / len(scores):.4f}"
    failed = sum(score is None for score in trial.scores)
    return f"failed ({failed} of {len(trial.scores)})"


def table(result: RetestResult) -> Table:
    """Return the trials in a table: score then and now, and by how much each is better than the incumbent.

    Args:
        result: Of a re-test.

    Returns:
        A row a trial, the incumbent first.
    """
    shown = Table("trial", "", f"{result.study.objective.name} then", "now", "better than the incumbent by")
    told = result.staleness
    for position, (trial, mean, gain) in enumerate(zip(result.trials, told.means, told.gains, strict=True)):
        beats = "  *" if position in told.beaten_by else ""
        by = "" if gain is None else f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}){beats}"
        then = "" if trial.record.score is None else f"{trial.record.score:.4f}"
        shown.add_row(str(trial.record.number), trial.role, then, _now(trial, mean), by)
    return shown


def _by(change: Interval) -> str:
    def word(value: float) -> str:
        return f"{abs(value):.4f} {'better' if value >= 0 else 'worse'}"

    return f"{word(change.value)} than then ({word(change.low)} to {word(change.high)})"


def _order(told: Staleness, count: int) -> str:
    if told.spearman is None or told.kendall is None:
        return f"no rank correlation: all {count} scores are equal, then or now"
    text = f"rank correlation of {count} trials, then and now: Spearman {told.spearman}, Kendall {told.kendall}"
    if told.spearman.low <= 0 <= told.spearman.high:
        text += "; so few tell little: it might as well be 0"
    return text


def lines(result: RetestResult) -> list[str]:
    """Return what a re-test came to, a line for each thing, in the form of the command line's other results.

    Args:
        result: Of a re-test.

    Returns:
        Lines, the verdict and the next command at the end.
    """
    told, study = result.staleness, result.study
    age = "of unknown age" if result.days is None else f"{result.days} days old"
    said = [f"study       {study.directory}, {age}, {len(study.trials)} trials"]
    said += [f"{name:<11} {old} then, {new} now" for name, (old, new) in result.versions.items()]
    if told.change is not None:
        lucky = "; the best of many, it looked better than it was" if told.change.value < 0 else ""
        said.append(f"incumbent   {_by(told.change)}{lucky}")
    if told.drift is not None:
        said.append(f"others      {_by(told.drift)}, the mean of those that were drawn")
    said.append(f"order       {_order(told, len(result.trials))}")
    beaten = ", ".join(str(result.trials[position].record.number) for position in told.beaten_by)
    if beaten:
        said.append(f"beaten      by trial {beaten}, by more than the noise (* in the table)")
    if told.visible is not None:
        replicates = len(result.trials[0].scores)
        said.append(f"noise       with {replicates} replicates a gain below {told.visible:.2g} would not be seen")
    tracebacks = [(t.record.number, text) for t in result.trials for text in t.tracebacks]
    if tracebacks:
        trial, text = tracebacks[0]
        said.append(f"failures    {len(tracebacks)}; the first, of trial {trial}: {text.strip().splitlines()[-1]}")
    said += [f"note        {note}" for note in result.notes]
    said.append(f"verdict     {dict(_VERDICTS)[told.verdict]}")
    said += [f"            {reason}" for reason in told.reasons]
    if told.verdict == "narrowly":
        said += [f"            {name}: {_range(values)}" for name, values in result.ranges.items()]
    said.append(f"kept        {result.path}")
    return said + [f"next        {result.command}"] * bool(result.command)


def _range(values: tuple[object, ...]) -> str:
    texts = [number(value) for value in values]
    numeric = len(values) == 2 and all(isinstance(value, int | float) for value in values)
    return " to ".join(texts) if numeric else ", ".join(texts)
