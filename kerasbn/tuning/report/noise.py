"""How much better the best trial is than the noise between seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from kerasbn.callbacks.keep_best import sign_of
from kerasbn.tuning.report.axes import Axis, short
from kerasbn.tuning.report.figures import Section, escape, scored
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_CONFIDENCE = 0.95
_COLUMNS = ("noise estimated from", "standard deviation", "least difference that counts", "cannot be told apart")
_FEWEST = 10  # trials from which neighbours are compared


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a single execution's score if nothing but the seed differs, and how it is known.

    Args:
        deviation: In units of the objective.
        freedom: Degrees of freedom of the estimate, at least 1.
        source: Where it is from, as a sentence.
        overlap: Of folds, examples that a model is validated on for each that it is trained on: their models share
            most of these, and so part of the noise, which no number of folds averages out.
    """

    deviation: float
    freedom: int
    source: str
    overlap: float = 0.0


def better_half(content: StudyContent) -> list[TrialRecord]:
    """Return the better half of the completed trials, and all of them if there are fewer than six.

    The noise among good trials is what decides between them; that of trials that hardly learn is far larger.
    """
    ranked = [trial for trial in scored(content) if trial.status == "completed"] or scored(content)
    return ranked if len(ranked) < 6 else ranked[: (len(ranked) + 1) // 2]


def from_executions(content: StudyContent) -> Noise | None:
    """Return the pooled standard deviation of executions of one trial; None if no trial has two.

    s^2 = sum_i sum_j (y_ij - mean_i)^2 / sum_i (n_i - 1)

    Of folds, what a fold does to all trials is taken out first: all are compared on the same folds.

    Source: Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52, for their overlap.
    """
    several = [np.asarray(t.scores, float) for t in better_half(content) if len(t.scores) > 1]
    several = [scores for scores in several if np.isfinite(scores).all()]
    folds = int(content.settings.get("folds", 1))
    if folds > 1:
        models = folds * int(content.settings.get("executions_per_trial", 1))
        several = [scores for scores in several if len(scores) == models]  # a run_trial may have returned others
    freedom = sum(len(scores) - 1 for scores in several)
    if several and folds > 1:
        each = np.stack([(scores - scores.mean()).reshape(-1, folds) for scores in several])
        several, freedom = list(each - each.mean(axis=(0, 1))), freedom - (folds - 1)
    if not freedom:
        return None
    squares = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
    what, overlap = ("executions", 0.0) if folds == 1 else ("folds", 1 / (folds - 1))
    source = f"Measured: the {what} of {_trials(len(several))} of the better half, {freedom} degrees of freedom."
    return Noise(math.sqrt(squares / freedom), freedom, source, overlap)


def from_epochs(content: StudyContent) -> Noise | None:
    """Return by how much the objective varies about a straight line over the last half of the epochs; or None."""
    squares, freedom = 0.0, 0
    for trial in better_half(content):
        rows = [row for row in trial.history if row.get("execution", 0) == 0]
        values = np.array([row.get(content.objective.name, math.nan) for row in rows][len(rows) // 2 :], float)
        if len(values) < 4 or not np.isfinite(values).all():
            continue
        at = np.arange(len(values))
        squares += float(((values - np.polyval(np.polyfit(at, values, 1), at)) ** 2).sum())
        freedom += len(values) - 2
    if not freedom:
        return None
    return Noise(
        math.sqrt(squares / freedom),
        freedom,
        "Last epochs: by so much the objective varies about a straight line over the last half of the epochs. "
        "Other initial weights are not in it, so the noise between seeds is likely to be larger.",
    )


def from_neighbours(content: StudyContent, axes: Sequence[Axis]) -> Noise | None:
    """Return by how much trials differ whose hyperparameters are most alike; None if there are fewer than ten.

    s^2 = mean of (y_i - y_j)^2 / 2 over the third of the pairs of nearest neighbours that are nearest
    """
    trials = better_half(content)
    if len(trials) < _FEWEST:
        return None
    varied = [axis for axis in axes if axis.varies]
    pairs: dict[tuple[int, int], float] = {}
    for i, trial in enumerate(trials):
        away = [(_distance(varied, trial.number, o.number), j) for j, o in enumerate(trials) if j != i]
        distance, j = min(away)
        pairs[min(i, j), max(i, j)] = distance
    nearest = sorted(pairs, key=lambda pair: (pairs[pair], pair))[: max(5, len(pairs) // 3)]
    scores = [float(trial.score or 0) for trial in trials]
    squares = [(scores[i] - scores[j]) ** 2 / 2 for i, j in nearest]
    return Noise(
        math.sqrt(sum(squares) / len(squares)),
        len(squares),
        f"Nearest neighbours: by so much the {len(nearest)} pairs with the most similar hyperparameters differ. What "
        "the hyperparameters still do is in it, so the noise between seeds is likely to be smaller.",
    )


def _distance(axes: Sequence[Axis], one: int, other: int) -> float:
    """Return the squared distance of two trials in the unit cube; another category, or none, is as far as it gets."""
    total = 0.0
    for axis in axes:
        here, there = axis.values.get(one), axis.values.get(other)
        if axis.scale == "category" or here is None or there is None:
            total += here != there
        else:
            total += (axis.fraction(here) - axis.fraction(there)) ** 2
    return total


def critical_value(others: int, freedom: int, confidence: float = _CONFIDENCE) -> float:
    """Return Dunnett's one-sided critical value for comparisons of several means with one.

    P(max_j (Z_j - Z_0) / (sqrt(2) S) <= d) = confidence,  Z normal, S^2 chi-square / freedom

    Args:
        others: Number of other means, at least 1.
        freedom: Degrees of freedom of the common variance, at least 1.
        confidence: Probability, in (0, 1).

    Returns:
        d, in standard errors of a difference.

    Example:
        >>> round(critical_value(1, 10), 2), round(critical_value(5, 10), 2)
        (1.81, 2.56)

    Source: Dunnett (1955), A multiple comparison procedure for comparing several treatments with a control,
    JASA 50.
    """
    nodes, weights = special.roots_hermitenorm(80)
    weights = weights / weights.sum()
    parts = (np.arange(400) + 0.5) / 400
    scales = np.sqrt(stats.chi2.ppf(parts, freedom) / freedom)

    def missing(d: float) -> float:
        inside = special.log_ndtr(nodes[:, None] + d * math.sqrt(2) * scales[None, :])
        return float((weights[:, None] * np.exp(others * inside)).sum() / len(scales)) - confidence

    return float(optimize.brentq(missing, 0.0, 1000.0, xtol=1e-6))


def not_apart(ranked: Sequence[TrialRecord], noise: Noise, direction: str) -> tuple[int, float]:
    """Return how many of the first trials may be the best, and the smallest difference that tells two apart.

    A trial is kept if score_best - score_i <= d s sqrt(1 / n_best + 1 / n_i + 2 overlap). The one that is best without
    noise is among them with 95 % probability.

    Args:
        ranked: Trials with a score, the best first, at least one.
        noise: Of a single execution.
        direction: "max" or "min".

    Returns:
        The number, with the best itself, and the difference for as many executions as the best has.

    Source: Gupta (1965), On some multiple decision (selection and ranking) rules, Technometrics 7.
    """
    best, sign = ranked[0], sign_of(direction)
    executions = [max(1, len(trial.scores)) for trial in ranked]
    d = critical_value(len(ranked) - 1, noise.freedom) if len(ranked) > 1 else 0.0
    count = 1
    for trial, n in zip(ranked[1:], executions[1:], strict=True):
        limit = d * noise.deviation * math.sqrt(1 / executions[0] + 1 / n + 2 * noise.overlap)
        count += sign * ((best.score or 0) - (trial.score or 0)) <= limit * (1 + 1e-9)
    return count, d * noise.deviation * math.sqrt(2 / executions[0] + 2 * noise.overlap)


@dataclass(frozen=True)
class Verdict:
    """What can be said about the best trial: in a sentence, and the details as HTML.

    Args:
        sentence: Plain text.
        details: HTML.
    """

    sentence: str
    details: str


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _apart(count: int, total: int) -> str:
    if count == 1:
        return "Yes: the best stands apart from all other trials (95 % confidence)."
    if count >= total:
        return f"No: none of the {total} trials can be told apart from the best."
    return f"Not beyond the first {count}: the first {count} of {total} trials cannot be told apart."


def _row(name: str, noise: Noise, ranked: Sequence[TrialRecord], direction: str) -> str:
    count, difference = not_apart(ranked, noise, direction)
    cells = (f"{noise.deviation:.3g}", f"{difference:.3g}", f"{count} of {len(ranked)}")
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def verdict(content: StudyContent, axes: Sequence[Axis]) -> Verdict:
    """Return whether the best trial stands apart from the others, as far as that can be known."""
    ranked, direction = scored(content), content.objective.direction
    if len(ranked) < 2:
        sentence = "Cannot be said: there is one trial only." if ranked else "Cannot be said: no trial has a score."
        return Verdict(sentence, f'<p class="note">{sentence}</p>')
    measured = from_executions(content)
    found = (
        {"folds" if content.settings.get("folds") else "executions": measured}
        if measured
        else {
            "last epochs": from_epochs(content),
            "nearest neighbours": from_neighbours(content, axes),
        }
    )
    known = {name: noise for name, noise in found.items() if noise is not None}
    if not known:
        sentence = "Cannot be said: each trial was trained once, and there is too little for an estimate."
        return Verdict(sentence, f"<p>{sentence}</p>{_ADVICE}")
    counts = sorted(not_apart(ranked, noise, direction)[0] for noise in known.values())
    if measured:
        sentence = _apart(counts[0], len(ranked))
    else:
        span = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        if counts[-1] == 1:
            many = "the best trial stands apart"
            if list(known) == ["last epochs"]:
                many = "the best trial is ahead by more than scores vary from epoch to epoch; seeds may vary them more"
        elif counts[0] == len(ranked):
            many = f"none of the {len(ranked)} trials can be told apart from the best"
        else:
            least = "at least " if list(known) == ["last epochs"] else ""  # the noise between seeds is larger
            many = f"{least}the first {span} of {len(ranked)} trials cannot be told apart"
        sentence = f"Not measured: each trial was trained once. By an estimate, {many}."
    scores = np.array([float(trial.score or 0) for trial in ranked])
    ahead = [f"{abs(scores[0] - scores[1]):.3g} from the second"]
    ahead.append(f"{abs(scores[0] - np.median(scores)):.3g} from the median trial")
    table = "".join(_row(name, noise, ranked, direction) for name, noise in known.items())
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    sources = "".join(f"<p>{escape(noise.source)}</p>" for noise in known.values())
    details = (
        f"<p><strong>{escape(sentence)}</strong> The best is {' and '.join(ahead)} "
        f"({short(float(scores[0]))} against {short(float(scores[1]))} and {short(float(np.median(scores)))}).</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{table}</tbody></table></div>'
        f"{sources}"
        "<p>The trial that would be best without noise is among those that cannot be told apart with a probability "
        f"of 95 %, if the noise is about the same in all of them. The best score of {len(ranked)} trials is also "
        "their luckiest: expect a little less of it with another seed.</p>"
    )
    return Verdict(sentence, details + ("" if measured else _ADVICE))


_ADVICE = (
    '<p class="note">To measure the noise, train each trial more than once: executions_per_trial = 2 or '
    "more in Python, search.executions on the command line.</p>"
)


def section(verdict: Verdict) -> Section:
    """Return the verdict as a part of the page."""
    return Section("noise", "Is the best better than the noise?", verdict.details)
