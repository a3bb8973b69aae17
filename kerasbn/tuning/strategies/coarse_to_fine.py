"""Coarse-to-fine search: random draws first, then a box around the best trials, narrower from round to round."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

from keras_tuner.engine import hyperparameters as kinds

from kerasbn import checks
from kerasbn.tuning.draws import active, count_values, draw, uniform
from kerasbn.tuning.store.records import TrialRecord, rank
from kerasbn.tuning.strategies.base import Choose, Job, Progress, Strategy

FEWEST = 3  # trials that a box is drawn around
BOX_ATTEMPTS = 20  # so many repetitions, and a box of few values has been searched to its end


def unordered(hyperparameter: kinds.HyperParameter) -> bool:
    """Return whether a hyperparameter's values have no order, so that nothing lies between two of them."""
    return isinstance(hyperparameter, kinds.Boolean) or not getattr(hyperparameter, "ordered", True)


def place(hyperparameter: kinds.HyperParameter, record: TrialRecord) -> float | None:
    """Return the cumulative probability of a trial's value; None if the trial has none that is in the range."""
    value = record.hyperparameters.values.get(hyperparameter.name)
    if value is None:
        return None
    if not isinstance(hyperparameter, kinds.Int | kinds.Float):
        return hyperparameter.value_to_prob(value) if value in hyperparameter.values else None
    if isinstance(value, str) or not hyperparameter.min_value <= value <= hyperparameter.max_value:
        return None
    if hyperparameter.step is not None and hyperparameter.sampling == "linear":
        # KerasTuner divides and rounds down: 10.1 would be no step of 0.1 above 10, but just below it.
        value += hyperparameter.step / 2
    return hyperparameter.value_to_prob(value)


def favour(best: Sequence[float], count: int, u: float) -> float:
    """Return u in [0, 1) bent so that each of `count` values comes in proportion to 1 + its number among the best."""
    weights = [1] * count
    for probability in best:
        weights[int(probability * count)] += 1
    rest = u * sum(weights)
    for value, weight in enumerate(weights):
        if rest < weight:
            return (value + rest / weight) / count
        rest -= weight
    return (count - 0.5) / count  # rounding errors have taken u to the end


class CoarseToFine(Strategy):
    """Random search first; then, round by round, most draws from a box around the best trials so far.

    For a hyperparameter of which the best trials, k = min(max(ceil(elite_share n), 3), max_elites) of n, have the
    cumulative probabilities u_1 <= ... <= u_k, the draws of a round are uniform on

    [u_1 - margin * g, u_k + margin * g],  g = (u_k - u_1) / (k - 1)

    within [0, 1]. g is the mean distance between neighbours. k uniform draws leave g free at either end on average,
    so with a margin of 1 a hyperparameter that does not matter keeps its range, and the box is narrower only where the
    best trials are closer together than chance has it. Values in steps are in a box as a whole. Values without an order
    (strings, True and False) are drawn in proportion to 1 + their number among the best. A share of the trials is drawn
    from the whole space, so that a zoom into the wrong place is found out.

    The box of a round is that of the trials of earlier rounds, and the round of a trial depends on its number only:
    25 trials and 25 more are the same as 50. Where the build function asks for a hyperparameter in some trials only,
    its box is that of the best among these.

    Args:
        random_trials: Trials of the first round, which is random search, at least 3.
        round_trials: Trials of each later round, at least 1.
        elite_share: Which share of the trials is the best, in (0, 1].
        max_elites: How many are the best at most, at least 3. With more of them, as trials become more, the box would
            hardly become narrower.
        margin: By how much the box is wider than the best, in mean distances between neighbours, at least 0.
        global_share: Which share of the later trials is drawn from the whole space, in (0, 1].

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> strategy = CoarseToFine(random_trials=10, round_trials=5)
        >>> [strategy.notes(0, number, 0, Progress("max"))["round"] for number in (9, 10, 14, 15)]
        [0, 1, 1, 2]

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: random search, then coarse to fine.
    """

    name: ClassVar[str] = "coarse_to_fine"

    def __init__(
        self,
        random_trials: int = 20,
        round_trials: int = 5,
        elite_share: float = 0.15,
        max_elites: int = 5,
        margin: float = 1.0,
        global_share: float = 0.1,
    ) -> None:
        self.random_trials = int(checks.in_range("random_trials", random_trials, FEWEST, integer=True))
        self.round_trials = int(checks.in_range("round_trials", round_trials, 1, integer=True))
        remedy = "The course takes 0.1 to 0.2."
        self.elite_share = checks.in_range("elite_share", elite_share, 0, 1, open_low=True, remedy=remedy)
        self.max_elites = int(checks.in_range("max_elites", max_elites, FEWEST, integer=True))
        self.margin = checks.in_range("margin", margin, 0)
        remedy = "Without draws from the whole space a wrong zoom would never be found out."
        self.global_share = checks.in_range("global_share", global_share, 0, 1, open_low=True, remedy=remedy)

    def settings(self) -> dict[str, Any]:
        """Return the arguments, as `Strategy.settings`."""
        names = ("random_trials", "round_trials", "elite_share", "max_elites", "margin", "global_share")
        return {"name": self.name} | {name: getattr(self, name) for name in names}

    def choose(self, seed: int, number: int, attempt: int, progress: Progress) -> Choose:
        """Return what gives the values of a trial, as `Strategy.choose`."""
        earlier = [] if self._is_global(seed, number, attempt) else self._earlier(number, progress)

        def value(hyperparameter: kinds.HyperParameter) -> Any:
            u = uniform(seed, number, hyperparameter.name, attempt)
            best = self._best(hyperparameter, earlier)
            if best and unordered(hyperparameter):
                u = favour(best, int(count_values(hyperparameter)), u)
            elif best:
                low, high = self._box(hyperparameter, best)
                u = low + u * (high - low)
            return draw(hyperparameter, u)

        return value

    def together(self, jobs: Sequence[Job], progress: Progress) -> int:
        """Return how many of the first jobs are of one round; arguments as the base's."""
        first = self._round(jobs[0].number)
        return sum(1 for _ in itertools.takewhile(lambda job: self._round(job.number) == first, jobs))

    def notes(self, seed: int, number: int, attempt: int, progress: Progress) -> dict[str, Any]:
        """Return the trial's round, that round's box, and whether the trial is drawn from the whole space."""
        earlier = self._earlier(number, progress)
        asked = {name: h for record in reversed(earlier) for name, h in active(record.hyperparameters).items()}
        box = {
            name: list(self._box(hyperparameter, best))
            for name, hyperparameter in asked.items()
            if count_values(hyperparameter) > 1
            and not unordered(hyperparameter)
            and (best := self._best(hyperparameter, earlier))
        }
        drawn_globally = bool(earlier) and self._is_global(seed, number, attempt)
        return {"round": self._round(number), "box": box, "global": drawn_globally}

    def _is_global(self, seed: int, number: int, attempt: int) -> bool:
        return attempt >= BOX_ATTEMPTS or uniform(seed, number, "/global", attempt) < self.global_share

    def _round(self, number: int) -> int:
        """Return the round of a trial, from 0."""
        return max(0, 1 + (number - self.random_trials) // self.round_trials)

    def _earlier(self, number: int, progress: Progress) -> list[TrialRecord]:
        """Return the finished trials of earlier rounds, the best first."""
        this = self._round(number)
        return rank((t for t in progress.finished.values() if self._round(t.number) < this), progress.direction)

    def _best(self, hyperparameter: kinds.HyperParameter, ranked: Sequence[TrialRecord]) -> list[float]:
        """Return the places of the best of the trials that have a hyperparameter, none if they are too few."""
        having = [(record, u) for record in ranked if (u := place(hyperparameter, record)) is not None]
        best = having[: min(max(FEWEST, math.ceil(self.elite_share * len(having))), self.max_elites)]
        places = [u for record, u in best if record.scored]
        return places if len(places) >= FEWEST else []

    def _box(self, hyperparameter: kinds.HyperParameter, best: Sequence[float]) -> tuple[float, float]:
        """Return the range of the best places, with the margin and with whole steps."""
        low, high = min(best), max(best)
        margin = self.margin * (high - low) / (len(best) - 1)
        if not isinstance(hyperparameter, kinds.Int | kinds.Float) or hyperparameter.step is not None:
            margin += 0.5 / count_values(hyperparameter)
        return max(low - margin, 0.0), min(high + margin, 1.0)
