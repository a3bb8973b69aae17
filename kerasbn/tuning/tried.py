"""What has been tried: a tree of the values of all trials, which knows repetitions and an exhausted space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import draw, uniform

# So many draws of one trial are all repetitions only if what is left of the space is next to impossible.
ATTEMPTS = 100_000


def count_values(hyperparameter: kinds.HyperParameter) -> float:
    """Return how many values a hyperparameter can take; infinity for a continuous one."""
    if isinstance(hyperparameter, kinds.Int | kinds.Float):
        if hyperparameter.min_value == hyperparameter.max_value:
            return 1
        if hyperparameter.step is not None:
            return len(set(hyperparameter.values))
        if isinstance(hyperparameter, kinds.Float):
            return math.inf
        return hyperparameter.max_value - hyperparameter.min_value + 1
    return len(set(hyperparameter.values))


def active(hp: keras_tuner.HyperParameters) -> Mapping[str, kinds.HyperParameter]:
    """Return the hyperparameters that have a value, by name; the first one, where two share a name."""
    return {h.name: h for h in reversed(hp.space) if h.name in hp.values and hp.is_active(h)}


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

    def repeats(self, seed: int, trial: int, attempt: int) -> bool:
        """Return whether the draws of this attempt are those of a trial that was added."""
        node: Tried | None = self
        while node is not None and node.hyperparameter is not None:
            u = uniform(seed, trial, node.hyperparameter.name, attempt)
            node = node.branches.get(draw(node.hyperparameter, u))
        return node is not None and node.end

    def exhausted(self) -> bool:
        """Return whether every combination of values has been tried."""
        if self.hyperparameter is None:
            return self.end
        return len(self.branches) >= count_values(self.hyperparameter) and all(
            branch.exhausted() for branch in self.branches.values()
        )

    def next_attempt(self, seed: int, trial: int) -> int | None:
        """Return the first attempt of a trial that repeats none; None if nothing is left to try."""
        if self.exhausted():
            return None
        return next((a for a in range(ATTEMPTS) if not self.repeats(seed, trial, a)), None)
