"""Population-based training: while many trials are trained, varied copies of the best take the place of the worst."""

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from keras_tuner.engine import hyperparameters as kinds

from kerasbn import checks
from kerasbn.callbacks.keep_best import sign_of
from kerasbn.checks import InputError
from kerasbn.tuning.draws import count_values, draw, uniform
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies.base import Choose, Job, Progress, Strategy

_BELOW_ONE = math.nextafter(1.0, 0.0)  # the largest number that a value is drawn at


class Population(Strategy):
    """Train a population; every few epochs its worst members are replaced by copies of its best, with other values.

    At epochs interval, 2 interval, ..., when all members have come to it:
        n = max(1, floor(share * members)); the n worst are stopped, and each is replaced by a new trial that goes on
        from the weights, the optimizer and the values of one of the n best, drawn at random;
        each of its tuned values is drawn anew with probability `resample`, else moved by `step` up or down, in
        cumulative probability: on the hyperparameter's own scale, back at the ends of its range

    What counts is the objective in the last epoch before, the mean over executions; of equal ones the earlier trial
    is better. Members that failed, or whose objective is not finite, are the worst, and all of them are replaced. A
    trial thus has one set of values, and its score is that of its best epoch with these values: members are places,
    and each copy has a number of its own, from `population` on. All trials that are stopped or completed count as
    results, since the best of all may have been stopped for what came later.

    Decisions follow from the seed and from what the trials have come to: they are the same with one worker or many.

    Args:
        population: Number of members, at least 2.
        max_epochs: Epochs of a member, with those of its ancestors, at least 2 * interval.
        interval: Epochs between two comparisons, at least 1.
        tuned: Names of the hyperparameters that copies vary; they must not change the shapes of the model's variables.
            The others go with the weights. None: every hp.Float that is continuous.
        share: Of the members that are replaced, and of those that are copied, in (0, 0.5].
        step: How far a value is moved, as a share of its range's cumulative probability, in (0, 0.5]. On a log scale
            from 0.0001 to 0.1, 0.1 is a factor of 2; whole numbers and ordered choices move by at least one.
        resample: Probability with which a value is drawn anew, in [0, 1]. Booleans and choices without an order always
            are.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> Population(10, max_epochs=15, interval=3).trials
        18

    Source: Jaderberg et al. (2017), Population based training of neural networks, arXiv:1711.09846: truncation
        selection; there values are multiplied by 0.8 or 1.2.
    """

    name: ClassVar[str] = "population"

    def __init__(
        self,
        population: int,
        max_epochs: int,
        interval: int,
        tuned: Sequence[str] | None = None,
        share: float = 0.2,
        step: float = 0.1,
        resample: float = 0.25,
    ) -> None:
        self.population = int(checks.in_range("population", population, 2, integer=True))
        self.interval = int(checks.in_range("interval", interval, 1, integer=True))
        remedy = "With fewer, members would never be compared before their end."
        self.max_epochs = int(checks.in_range("max_epochs", max_epochs, 2 * self.interval, integer=True, remedy=remedy))
        if isinstance(tuned, str) or (tuned is not None and not tuned):
            raise InputError("tuned", "a tuple of names, or None for every continuous hp.Float", repr(tuned))
        self.tuned = None if tuned is None else tuple(tuned)
        self.share = checks.in_range("share", share, 0, 0.5, open_low=True)
        self.step = checks.in_range("step", step, 0, 0.5, open_low=True)
        self.resample = checks.in_range("resample", resample, 0, 1)

    def settings(self) -> dict[str, Any]:
        """Return what decides the trials besides the seed."""
        names = ("name", "population", "max_epochs", "interval", "tuned", "share", "step", "resample")
        return {name: getattr(self, name) for name in names}

    @property
    def ends(self) -> tuple[int, ...]:
        """Epochs after which members are compared, and their last."""
        return (*range(self.interval, self.max_epochs, self.interval), self.max_epochs)

    @property
    def trials(self) -> int:
        """Number of trials of a search in which none fails; each failure may be replaced by one more."""
        return self.population + (len(self.ends) - 1) * self._places(self.population)

    def _places(self, members: int) -> int:
        return max(1, int(self.share * members))

    def jobs(self, progress: Progress, max_trials: int) -> Iterator[Job]:
        """Yield what can be done now; arguments as the base's, but max_trials bounds the members, not their copies."""
        members, sources = list(range(min(self.population, max_trials))), dict[int, int]()
        following = self.population  # number of the next copy
        for end in self.ends:
            final = end == self.max_epochs
            known = {number: _record(progress, number) for number in members}
            here = {number: record for number, record in known.items() if record and record.epochs >= end}
            for number in members:
                if number not in here:
                    yield Job(number, end, final, source=None if known[number] else sources.get(number))
            if final or len(here) < len(members):
                return
            if end == self.ends[0]:
                self._check_tuned(list(here.values()))
            worst, best = self._compared(here, end, progress)
            sources = {}
            for number in worst:
                if number in progress.waiting:
                    yield Job(number, stop=True)
                sources[following] = best[int(uniform(progress.seed, following, "source") * len(best))]
                following += 1
            left = [n for n, record in here.items() if n not in worst and not _failed(record, end)]
            members = [*left, *sources]

    def sources(self, progress: Progress, max_trials: int) -> frozenset[int]:
        """Return the trials of which copies are still to be trained; arguments as the base's."""
        return frozenset(job.source for job in self.jobs(progress, max_trials) if job.source is not None)

    def _compared(
        self, members: Mapping[int, TrialRecord], end: int, progress: Progress
    ) -> tuple[list[int], list[int]]:
        """Return who is replaced, by number, and by copies of whom; nobody if there is nobody to copy."""
        values = {number: _value_at(record, end, progress.objective) for number, record in members.items()}
        sound = {number: sign_of(progress.direction) * value for number, value in values.items() if value is not None}
        order = sorted(sound, key=lambda number: (-sound[number], number))
        order += [number for number in members if number not in sound]
        replaced = max(self._places(len(members)), len(members) - len(sound))
        worst = order[-replaced:]
        best = [number for number in order[: self._places(len(members))] if number not in worst]
        return (sorted(worst), best) if best else ([], [])

    def _check_tuned(self, members: Sequence[TrialRecord]) -> None:
        """Raise an `InputError` if there is nothing to vary, or what is to be varied is not there."""
        asked = {h.name: h for record in members for h in record.hyperparameters.space}
        listed = ", ".join(repr(name) for name in asked) or "nothing"
        if self.tuned is None and not any(self._is_tuned(hyperparameter) for hyperparameter in asked.values()):
            expected = (
                f"names of what copies vary, since no hp.Float is continuous: the build function asks for {listed}"
            )
            remedy = "Give those that change no shapes of the model's variables."
            raise InputError("tuned", expected, None, remedy)
        for name in self.tuned or ():
            if name not in asked:
                raise InputError(
                    "tuned",
                    f"hyperparameters that the build function asks for: {listed}",
                    repr(name),
                    checks.nearest(name, asked),
                )

    def _is_tuned(self, hyperparameter: kinds.HyperParameter) -> bool:
        if self.tuned is not None:
            return hyperparameter.name in self.tuned and count_values(hyperparameter) > 1
        return count_values(hyperparameter) == math.inf

    def vary(self, seed: int, number: int, source: TrialRecord) -> Choose:
        """Return what gives the values of a copy; arguments as the base's.

        One that the source was not asked for, since another value has changed, is drawn.
        """
        values = source.hyperparameters.values

        def value(hyperparameter: kinds.HyperParameter) -> Any:
            name, u = hyperparameter.name, uniform(seed, number, hyperparameter.name)
            if name in values and not self._is_tuned(hyperparameter):
                return values[name]
            # Of booleans and texts none is next to another.
            ordered = getattr(hyperparameter, "ordered", not isinstance(hyperparameter, kinds.Boolean))
            if name not in values or not ordered or uniform(seed, number, f"{name} anew") < self.resample:
                return draw(hyperparameter, u)
            return moved(hyperparameter, values[name], self.step if u < 0.5 else -self.step)

        return value


def moved(hyperparameter: kinds.HyperParameter, value: Any, step: float) -> Any:
    """Return another value of a hyperparameter, one that is a step away on its scale.

    u' = u + step, back by as much as it would be beyond 0 or 1, and on until the value is another one

    Args:
        hyperparameter: With at least two values, in an order.
        value: Its value, of the cumulative probability u.
        step: In cumulative probability, in [-0.5, 0.5], not 0.

    Returns:
        The other value.

    Example:
        >>> moved(kinds.Float("dropout", 0.0, 0.5), 0.25, 0.25), moved(kinds.Float("dropout", 0.0, 0.5), 0.25, -0.25)
        (0.375, 0.125)
    """
    u, new = hyperparameter.value_to_prob(value), value
    while new == value:
        u += step
        if not 0 <= u < 1:
            u, step = min(abs(u), 2 - u, _BELOW_ONE), -step
        new = draw(hyperparameter, u)
    return new


def _record(progress: Progress, number: int) -> TrialRecord | None:
    return progress.waiting.get(number) or progress.finished.get(number)


def _failed(record: TrialRecord, end: int) -> bool:
    """Return whether a trial failed in the part with this end, not in a later one."""
    return record.status == "failed" and record.epochs == end


def _value_at(record: TrialRecord, end: int, objective: str) -> float | None:
    """Return the objective in the last epoch before an end, the mean over executions; None if it failed or diverged."""
    if _failed(record, end):
        return None
    history, values, first = record.history, [], 0
    while first < len(history):  # executions follow each other, each in the order of its epochs
        execution = history[first]["execution"]
        after = bisect.bisect_left(history, (execution, float(end)), key=lambda row: (row["execution"], row["epoch"]))
        row = history[max(after - 1, first)]
        values.append(row.get(objective, math.nan))
        first = bisect.bisect_left(history, execution + 1, key=lambda row: row["execution"])
    value = math.fsum(values) / len(values) if values else record.score
    return value if value is not None and math.isfinite(value) else None
