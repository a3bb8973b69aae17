"""Successive halving and Hyperband: many trials are begun, and only the best of them are trained on."""

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.tuning.store.records import rank
from kerasbn.tuning.strategies.base import Job, Progress, Strategy


@dataclass(frozen=True)
class Bracket:
    """Trials that compete with each other.

    Args:
        number: The bracket's, from 0.
        first: Number of its first trial; the others follow.
        size: Number of its trials.
        rungs: Epochs, counted from a trial's first, after which its trials are compared; at the last one they end.

    Example:
        >>> Bracket(1, first=27, size=12, rungs=(3, 9, 27)).rungs[0]
        3
    """

    number: int
    first: int
    size: int
    rungs: tuple[int, ...]


def _halvings(max_epochs: int, min_epochs: int, factor: int) -> int:
    """Return how often max_epochs can be divided by the factor before it is below min_epochs."""
    return next(s for s in itertools.count() if max_epochs // factor ** (s + 1) < min_epochs)


def _rungs(max_epochs: int, factor: int, halvings: int) -> tuple[int, ...]:
    return tuple(max_epochs // factor**s for s in range(halvings, -1, -1))


class _Halving(Strategy):
    """Brackets, one after the other, and what is to be done in them.

    Args:
        factor: Of so many trials one is trained on.
        cycle: Size and rungs of brackets; after the last comes the first again.
    """

    def __init__(self, factor: int, cycle: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        self.factor, self.cycle = factor, tuple(cycle)

    def brackets(self, max_trials: int) -> Iterator[Bracket]:
        """Yield the brackets that the trials below a number are in; the last one may have room for more."""
        first = 0
        for number, (size, rungs) in enumerate(itertools.cycle(self.cycle)):
            if first >= max_trials:
                return
            yield Bracket(number, first, size, rungs)
            first += size

    def jobs(self, progress: Progress, max_trials: int) -> Iterator[Job]:
        """Yield what can be done now; arguments as the base's.

        Earlier brackets come first, and in a bracket what ends a rung. Where a rung waits for trials that other
        workers are at, the next brackets' trials follow, so nobody idles.
        """
        for bracket in self.brackets(max_trials):
            members = range(bracket.first, min(bracket.first + bracket.size, max_trials))
            if not all(number in progress.finished for number in members):
                yield from self._jobs(bracket.rungs, members, progress)

    def _jobs(self, rungs: Sequence[int], members: range, progress: Progress) -> Iterator[Job]:
        known = [progress.waiting.get(n) or progress.finished.get(n) for n in members]
        # A failed trial has its rung too, the one on the way to which it failed.
        at = {record.number: bisect.bisect_left(rungs, record.epochs) for record in known if record}
        entering: Sequence[int] = members
        for rung, epochs in enumerate(rungs):
            missing = [number for number in entering if at.get(number, -1) < rung]
            final = rung == len(rungs) - 1
            for number in missing:
                yield Job(number, epochs, final)
            if missing or final:
                return
            here = [record for record in known if record and at[record.number] == rung]
            gone = sum(reached > rung for reached in at.values())
            places = max(1, len(members) // self.factor ** (rung + 1)) - gone
            best = rank(here, progress.direction)[: max(places, 0)]
            entering = sorted(record.number for record in best if record.status == "waiting")
            for record in here:
                if record.status == "waiting" and record.number not in entering:
                    yield Job(record.number, stop=True)

    def notes(self, seed: int, number: int, attempt: int, progress: Progress) -> dict[str, Any]:
        """Return the trial's bracket and the epochs of its first rung; arguments as the base's."""
        *_, bracket = self.brackets(number + 1)
        return {"bracket": bracket.number, "first_rung": bracket.rungs[0]}


class SuccessiveHalving(_Halving):
    """Train factor^s trials a little, the best of them factor times as long, until one is trained to the end.

    rung i of s:  r_i = floor(max_epochs / factor^(s - i)) epochs,  n_i = max(1, floor(n / factor^i)) of n trials,
    s the largest number with r_0 >= min_epochs

    A rung is decided when all its trials have come to it. Then the best go on from where they stand, in order of
    their score; of equal scores the earlier trial; a failed one never. The others are stopped. A score is that of the
    best epoch so far: it is what the search is for and what a trial will be kept with, every trial of a rung has had
    as many epochs to reach it, and one bad last epoch says little. Values are independent random draws.

    Trials 0 to factor^s - 1 are one bracket, the next factor^s the next one: whole brackets cost the same and find the
    same in one search or several, with one worker or many. `max_trials` may cut the last bracket short; n is then
    what there is of it. When it grows afterwards, n grows, and the new trials run against those that were at a rung:
    who went on has a place in the next rung already, who was stopped stays so, and if its score would be good enough
    now, its place remains empty.

    Args:
        max_epochs: Epochs of a trial that is trained to the end, at least min_epochs * factor.
        min_epochs: Fewest epochs after which trials are compared, at least 1.
        factor: Of so many trials one is trained on, at least 2.

    Raises:
        InputError: If one of them is not such a whole number.

    Example:
        >>> halving = SuccessiveHalving(max_epochs=27)
        >>> next(halving.brackets(1))
        Bracket(number=0, first=0, size=27, rungs=(1, 3, 9, 27))

    Source: Jamieson and Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization,
        AISTATS.
    """

    name: ClassVar[str] = "successive_halving"

    def __init__(self, max_epochs: int, min_epochs: int = 1, factor: int = 3) -> None:
        factor = int(checks.in_range("factor", factor, 2, integer=True))
        self.min_epochs = int(checks.in_range("min_epochs", min_epochs, 1, integer=True))
        self.max_epochs = _at_least(max_epochs, self.min_epochs * factor, f"{factor} times min_epochs")
        halvings = _halvings(self.max_epochs, self.min_epochs, factor)
        super().__init__(factor, [(factor**halvings, _rungs(self.max_epochs, factor, halvings))])

    def settings(self) -> dict[str, Any]:
        """Return what decides the trials besides the seed."""
        return {
            "name": self.name,
            "max_epochs": self.max_epochs,
            "min_epochs": self.min_epochs,
            "factor": self.factor,
        }


class Hyperband(_Halving):
    """Successive halving from several numbers of epochs, for when it is not known how early trials can be compared.

    bracket s = S, S - 1, ..., 0, and again:  n = ceil((S + 1) / (s + 1) * factor^s) trials,
    rungs floor(max_epochs / factor^(s - i)), i = 0 ... s,  S the largest number with factor^S <= max_epochs

    Rungs are decided as in `SuccessiveHalving`. With max_epochs=27 and factor=3 a round of all brackets has 27, 12, 6
    and 4 trials: 49, of which 49 parts of trials and another 20 after promotions are trained, 357 epochs or 13.2 times
    max_epochs. KerasTuner's Hyperband, which rounds the rungs' sizes up, takes 13.9 for the same 49.

    Args:
        max_epochs: Epochs of a trial that is trained to the end, at least the factor.
        factor: Of so many trials one is trained on, at least 2.

    Raises:
        InputError: If one of them is not such a whole number.

    Example:
        >>> [(bracket.size, bracket.rungs) for bracket in Hyperband(max_epochs=9).brackets(17)]
        [(9, (1, 3, 9)), (5, (3, 9)), (3, (9,))]

    Source: Li et al. (2018), Hyperband: a novel bandit-based approach to hyperparameter optimization, JMLR 18,
        algorithm 1.
    """

    name: ClassVar[str] = "hyperband"

    def __init__(self, max_epochs: int, factor: int = 3) -> None:
        factor = int(checks.in_range("factor", factor, 2, integer=True))
        self.max_epochs = _at_least(max_epochs, factor, "the factor")
        most = _halvings(self.max_epochs, 1, factor)
        super().__init__(
            factor,
            [
                (-(-(most + 1) * factor**halvings // (halvings + 1)), _rungs(self.max_epochs, factor, halvings))
                for halvings in range(most, -1, -1)
            ],
        )

    def settings(self) -> dict[str, Any]:
        """Return what decides the trials besides the seed."""
        return {"name": self.name, "max_epochs": self.max_epochs, "factor": self.factor}


def _at_least(max_epochs: int, least: int, what: str) -> int:
    """Return max_epochs if there can be two rungs."""
    checks.in_range("max_epochs", max_epochs, 1, integer=True)
    if max_epochs < least:
        remedy = "With fewer, trials could not be compared before their end: take random search, or more epochs."
        raise InputError("max_epochs", f"at least {least}, {what}", max_epochs, remedy)
    return int(max_epochs)
