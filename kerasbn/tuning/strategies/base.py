"""What a search strategy is: which trials are to be trained, how far, and with what values."""

import dataclasses
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import count_values, draw, uniform
from kerasbn.tuning.store.records import TrialRecord

# Gives the value of a hyperparameter that a build function asks for.
Choose = Callable[[kinds.HyperParameter], Any]


@dataclass(frozen=True)
class Job:
    """A piece of work: a trial, or a part of one.

    Args:
        number: The trial's, from 0.
        epochs: Up to which epoch it is trained, counted from the trial's first; None: as the fit's arguments say.
        final: Whether the trial is finished then; else it waits for the others of its rung.
        stop: Whether it is ended as it stands: nothing is trained.
        source: Of a new trial that goes on from where another stands, with its weights, optimizer and epochs: the
            number of that one; None: the trial begins anew, or it is its own next part.

    Example:
        >>> Job(3, epochs=9, final=False).stop
        False
    """

    number: int
    epochs: int | None = None
    final: bool = True
    stop: bool = False
    source: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Args:
        direction: "max" or "min": which scores are better.
        finished: Trials that are completed, stopped or failed, by number.
        waiting: Trials that are trained to the end of a rung, by number; a trial is never in both.
        objective: Name of the metric that is searched for.
        seed: The seed of all draws.

    Example:
        >>> Progress("max").finished
        {}
    """

    direction: str
    finished: Mapping[int, TrialRecord] = dataclasses.field(default_factory=dict)
    waiting: Mapping[int, TrialRecord] = dataclasses.field(default_factory=dict)
    objective: str = ""
    seed: int = 0


class Strategy(ABC):
    """Which trials are to be trained, how far, and with what values.

    All that a strategy knows is in its arguments: after a kill, on another machine and in a test it says the same.
    """

    name: ClassVar[str]
    # So many draws of one trial are all repetitions only if what is left of the space is next to impossible.
    attempts: ClassVar[int] = 100_000

    def settings(self) -> dict[str, Any]:
        """Return what decides the trials besides the seed, as JSON; a study is not continued under others."""
        return {"name": self.name}

    def jobs(self, progress: Progress, max_trials: int) -> Iterator[Job]:
        """Yield what can be done now, the most urgent first; workers take different ones.

        Args:
            progress: How far the search is.
            max_trials: Number of trials, with those that are finished.

        Yields:
            Jobs, those that other workers are at among them. None at all: the search is over.
        """
        for number in range(max_trials):
            if number not in progress.finished:
                yield Job(number)

    def choose(self, seed: int, number: int, attempt: int, progress: Progress) -> Choose:
        """Return what gives the values of a trial: here independent random draws.

        Args:
            seed: Of the search.
            number: The trial's.
            attempt: How often its draws have turned out to be a repetition so far.
            progress: How far the search is when the trial begins.

        Returns:
            A function of a hyperparameter, which returns its value.
        """
        return lambda hyperparameter: draw(hyperparameter, uniform(seed, number, hyperparameter.name, attempt))

    def together(self, jobs: Sequence[Job], progress: Progress) -> int:
        """Return how many jobs can be begun at once and come to the same as one after the other.

        Args:
            jobs: What `jobs` gave, or the first of it; at least one.
            progress: How far the search is.

        Returns:
            So many of the first of them, at least 1: the values of none depend on what another comes to.
        """
        return len(jobs)

    def vary(self, seed: int, number: int, source: TrialRecord) -> Choose:
        """Return what gives the values of a trial that goes on from where another stands: here the same.

        Args:
            seed: Of the search.
            number: The trial's.
            source: The other trial.

        Returns:
            A function of a hyperparameter, which returns its value.
        """
        return lambda hyperparameter: source.hyperparameters.values[hyperparameter.name]

    def sources(self, progress: Progress, max_trials: int) -> frozenset[int]:
        """Return the trials that others are still to go on from, so that their states are kept; here none.

        Args:
            progress: As `jobs`.
            max_trials: As `jobs`.

        Returns:
            Numbers of trials, some of which may be finished.
        """
        return frozenset()

    def count(self, hyperparameter: kinds.HyperParameter) -> float:
        """Return how many values of a hyperparameter there are to try; infinity for a continuous one."""
        return count_values(hyperparameter)

    def notes(self, seed: int, number: int, attempt: int, progress: Progress) -> dict[str, Any]:
        """Return JSON that is kept with the trial and shown in the report: the round, the box, the bracket.

        Args:
            seed: As `choose`.
            number: As `choose`.
            attempt: As `choose`.
            progress: As `choose`.

        Returns:
            Short texts, numbers, and for boxes {"box": {name: [low, high]}} in cumulative probabilities.
        """
        return {}
