"""What has been tried: a tree of the values of all trials, which knows repetitions and an exhausted space."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import active, count_values
from kerasbn.tuning.strategies import Choose, Strategy


@dataclass
class Tried:
    """A tree with a level for each hyperparameter, in the order in which the build function asks for them.

    What a build function asks for next depends on nothing but the values it has got so far, so draws that
    follow a path of the tree to its end are that trial again, and that is known without building a model.

    Args:
        hyperparameter: What is asked for here; None if nothing is.
        branches: The rest of the path for each value that has been drawn.
        end: Whether a trial ends here.
    """

    hyperparameter: kinds.HyperParameter | None = None
    branches: dict[Any, "Tried"] = field(default_factory=dict)
    end: bool = False

    def add(self, hp: keras_tuner.HyperParameters) -> None:
        """Add the values of a trial."""
        node, by_name = self, active(hp)
        for name, value in hp.values.items():
            if name in by_name:
                node.hyperparameter = by_name[name]
                node = node.branches.setdefault(value, Tried())
        node.end = True

    def repeats(self, choose: Choose) -> bool:
        """Return whether what `choose` gives are the values of a trial that was added."""
        node: Tried | None = self
        while node is not None and node.hyperparameter is not None:
            node = node.branches.get(choose(node.hyperparameter))
        return node is not None and node.end

    def exhausted(self, count: Callable[[kinds.HyperParameter], float] = count_values) -> bool:
        """Return whether every combination of values has been tried.

        Args:
            count: Gives how many values a hyperparameter can take.
        """
        if self.hyperparameter is None:
            return self.end
        return len(self.branches) >= count(self.hyperparameter) and all(
            branch.exhausted(count) for branch in self.branches.values()
        )

    def first_new(self, strategy: Strategy, choose: Callable[[int], Choose]) -> tuple[int, Choose] | None:
        """Return the first attempt at a trial that repeats none, and what gives its values.

        Args:
            strategy: Knows how many values there are, and how many attempts are worth it.
            choose: Gives what gives the values of an attempt.

        Returns:
            The attempt's number, from 0, and its values; None if nothing is left to try.
        """
        if self.exhausted(strategy.count):
            return None
        for attempt in range(strategy.attempts):
            chosen = _remembered(choose(attempt))
            if not self.repeats(chosen):
                return attempt, chosen
        return None


def _remembered(choose: Choose) -> Choose:
    """Return what gives each value once, and then the same again: some strategies count what they are asked for."""
    values: dict[str, Any] = {}

    def value(hyperparameter: kinds.HyperParameter) -> Any:
        if hyperparameter.name not in values:
            values[hyperparameter.name] = choose(hyperparameter)
        return values[hyperparameter.name]

    return value
