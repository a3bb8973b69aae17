"""Which hyperparameters matter: importances with their uncertainty, and what chance alone would give."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from kerasbn.callbacks.keep_best import sign_of
from kerasbn.tuning.report.axes import Axis
from kerasbn.tuning.report.figures import COLORS, Section, escape, figure, label, place, rounded, scored
from kerasbn.tuning.store import journal
from kerasbn.tuning.store.records import StudyContent, TrialRecord

_FEWEST = 10  # trials with a score
_REPEATS = 60  # of the halving, and of the shuffling
_BEST = 0.1  # share of the trials that counts as the best; of few trials at least five


@dataclass(frozen=True)
class Importance:
    """How much a hyperparameter matters.

    Args:
        label: The hyperparameter.
        share: Of the sum over all hyperparameters.
        low: The 10th percentile of `share` over random halves of the trials, which vary about as much as studies do.
        high: The 90th percentile.
        chance: What `share` stays below if scores have nothing to do with hyperparameters, for all of them at once
            with a probability of 95 %.
        trials: In how many trials it is active.
    """

    label: str
    share: float
    low: float
    high: float
    chance: float
    trials: int

    @property
    def above_chance(self) -> bool:
        """Whether it is more than chance would give."""
        return self.share > self.chance


def _distribution(axis: Axis) -> optuna.distributions.BaseDistribution:
    if axis.scale == "category":  # by place: Optuna takes True and 1 for the same
        return optuna.distributions.CategoricalDistribution([str(place) for place in range(len(axis.categories))])
    log = axis.scale != "linear"
    if axis.whole and axis.scale != "reverse log":
        return optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=log)
    return optuna.distributions.FloatDistribution(float(axis.low), float(axis.high), log=log)


def _parameter(axis: Axis, number: int) -> float | int | str:
    at = axis.coordinate(axis.values[number])
    if axis.scale == "category":
        return str(int(at))
    return int(at) if axis.whole and axis.scale != "reverse log" else min(max(at, float(axis.low)), float(axis.high))


def _study(ranked: Sequence[TrialRecord], axes: Mapping[str, Axis]) -> optuna.Study:
    """Return the trials as a study of Optuna in memory, in their order; hyperparameters are called by their keys."""
    study = optuna.create_study()
    for trial in ranked:
        here = {key: axis for key, axis in axes.items() if trial.number in axis.values}
        distributions = {key: _distribution(axis) for key, axis in here.items()}
        params = {key: _parameter(axis, trial.number) for key, axis in here.items()}
        study.add_trial(optuna.trial.create_trial(value=0.0, params=params, distributions=distributions))
    return study


def _evaluate(study: optuna.Study, losses: np.ndarray) -> dict[str, float]:
    """Return PED-ANOVA's importances if these were the trials' losses; those that are NaN are left out."""
    count = int(np.isfinite(losses).sum())
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=_best_share(count))
    return optuna.importance.get_param_importances(
        study, evaluator=evaluator, target=lambda trial: float(losses[trial.number]), normalize=False
    )


def _best_share(trials: int) -> float:
    return min(max(_BEST, 5 / trials), 0.5)


def importances(content: StudyContent, axes: Sequence[Axis]) -> list[Importance]:
    """Return how much each hyperparameter tells about whether a trial is among the best, the most important first.

    Args:
        content: The study.
        axes: Its hyperparameters.

    Returns:
        The importances; none if there are fewer than ten trials with a score, scores are all the same, or nothing
        varies.

    Source: Watanabe, Bansal and Hutter (2023), PED-ANOVA, arXiv:2304.10255, as Optuna has it.
    """
    drawn, ranked = [axis for axis in axes if axis.varies], scored(content)
    scores = np.array([trial.score for trial in ranked], float)
    if len(ranked) < _FEWEST or scores.min() == scores.max() or not drawn:
        return []
    by_key = {str(place): axis for place, axis in enumerate(drawn)}
    losses = -sign_of(content.objective.direction) * scores
    random = np.random.default_rng(0)
    halves: list[Mapping[str, float]] = []
    shuffled: list[Mapping[str, float]] = []
    with journal.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that low targets are good, and of halves without a best trial
        study = _study(ranked, by_key)
        found = _evaluate(study, losses)
        for _ in range(_REPEATS):
            left_out = random.permutation(len(losses)) < len(losses) // 2
            halves.append(_evaluate(study, np.where(left_out, np.nan, losses)))
            shuffled.append(_evaluate(study, random.permutation(losses)))
    total = sum(found.values())
    if not total > 0:
        return []
    shares = {key: [each.get(key, 0.0) / (sum(each.values()) or 1.0) for each in halves] for key in found}
    chance = _chance(np.array([[each.get(key, 0.0) for key in found] for each in shuffled]))
    result = []
    for (key, value), limit in zip(found.items(), chance, strict=True):
        low, high = np.quantile(shares[key], [0.1, 0.9])
        active = sum(trial.number in by_key[key].values for trial in ranked)
        result.append(Importance(by_key[key].label, value / total, float(low), float(high), limit / total, active))
    return sorted(result, key=lambda one: -one.share)


def _chance(shuffled: np.ndarray) -> list[float]:
    """Return what importances without any meaning, a row a shuffling, stay below: all at once in 95 of 100 cases."""
    mean, deviation = shuffled.mean(axis=0), shuffled.std(axis=0) + 1e-12
    farthest = ((shuffled - mean) / deviation).max(axis=1)
    return (mean + np.quantile(farthest, 0.95) * deviation).tolist()


def section(content: StudyContent, axes: Sequence[Axis]) -> Section:
    """Return the importances as a picture and in words."""
    title, ranked = "Which hyperparameters matter", scored(content)
    found = importances(content, axes)
    if not found:
        if len(ranked) < _FEWEST:
            why = f"There are {len(ranked)} trials with a score; below {_FEWEST} importances would be guesses."
        elif not any(axis.varies for axis in axes):
            why = "The search has no hyperparameter that varies."
        else:
            why = "The scores do not tell hyperparameters apart."
        return Section("importances", title, f'<p class="note">{why}</p>')
    names = [one.label for one in found]
    places = list(range(len(found)))
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": places,
        "x": [rounded(one.share) for one in found],
        "marker": {"color": [COLORS["completed"] if one.above_chance else "#b9c4cd" for one in found]},
        "width": 0.6,
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [rounded(max(0.0, one.high - one.share)) for one in found],
            "arrayminus": [rounded(max(0.0, one.share - one.low)) for one in found],
            "color": "#222222",
            "thickness": 1.3,
            "width": 4,
        },
        "hoverinfo": "none",
    }
    chance = {
        "type": "scatter",
        "mode": "markers",
        "y": places,
        "x": [rounded(min(one.chance, 1.0)) for one in found],  # no share is above all
        "marker": {"symbol": "line-ns-open", "size": 20, "color": COLORS["stopped"], "line": {"width": 3}},
        "hoverinfo": "none",
    }
    y = {
        "tickvals": places,
        "ticktext": [label(name if len(name) <= 30 else name[:29] + "…") for name in names],
        "range": [len(found) - 0.4, -0.6],
        "showgrid": False,
        "ticks": "",
    }
    x = {"title": "share of the importance", "rangemode": "tozero", "tickformat": ".0%", "zeroline": False}
    above = [one.label for one in found if one.above_chance]
    verdict = (
        f"More than chance: {', '.join(above)}."
        if above
        else ("None is more important than chance would make it: more trials are needed to tell.")
    )
    words = (
        f"{verdict} A bar says how much a hyperparameter tells about whether a trial is among the best "
        f"{_best_share(len(ranked)):.0%} of the {len(ranked)} trials with a score (PED-ANOVA). Lines: from the 10th to "
        f"the 90th percentile over {_REPEATS} random halves of the trials. Orange marks: what chance stays below in 95 "
        f"of 100 cases, for all hyperparameters at once, from {_REPEATS} shufflings of the scores; pale bars do not "
        "exceed theirs."
    )
    if partly := [f"{one.label} in {one.trials}" for one in found if one.trials < len(ranked)]:
        words += f" Active in some of the {len(ranked)} trials only: {', '.join(partly)}."
    name = "plot-importances"
    body = f"<p>{escape(words)}</p>{place(name, 90 + 34 * len(found))}"
    return Section("importances", title, body, {name: figure([bars, chance], x, y, bargap=0.3)})
