"""Draws: hyperparameters whose values are a pure function of the seed, the trial's number and their name."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds


def _hash(*parts: int | str) -> int:
    """Return 64 bits that depend on every part; JSON keeps ("a", "b") and ("ab",) apart."""
    text = json.dumps(parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def uniform(seed: int, trial: int, name: str, attempt: int = 0) -> float:
    """Return a number in [0, 1) for a hyperparameter of a trial.

    u = hash(seed, trial, attempt, name) / 2^64, the first 53 bits of it

    There is no counter to run on: what else is drawn, in what order and in which process changes nothing.

    Args:
        seed: Seed of the search, a whole number; 0 is a seed like any other.
        trial: Number of the trial, from 0.
        name: Full name of the hyperparameter.
        attempt: How often this trial's draws have turned out to be a repetition so far.

    Returns:
        A float64 in [0, 1), always the same for the same arguments.

    Example:
        >>> uniform(0, 0, "learning_rate") == uniform(0, 0, "learning_rate")
        True
    """
    return (_hash(seed, trial, attempt, name) >> 11) / 2**53


def trial_seed(seed: int, trial: int, execution: int = 0) -> int:
    """Return the seed of the initial weights, shuffling and dropout of a trial, in [0, 2^31)."""
    return _hash(seed, trial, execution) >> 33


def draw(hyperparameter: kinds.HyperParameter, u: float) -> Any:
    """Return the value of a hyperparameter at the cumulative probability u, never outside its range.

    Args:
        hyperparameter: A `keras_tuner.engine.hyperparameters.HyperParameter`.
        u: A number in [0, 1).

    Returns:
        A value as the hyperparameter's own `prob_to_value` gives it.
    """
    value = hyperparameter.prob_to_value(u)
    if isinstance(hyperparameter, kinds.Int | kinds.Float):
        # KerasTuner maps u on [min, max + 1) for an Int: just below u = 1 rounding gives max + 1.
        value = min(max(value, hyperparameter.min_value), hyperparameter.max_value)
    return value


def count_steps(hyperparameter: kinds.Int | kinds.Float) -> int:
    """Return how many values the steps of a number reach, as KerasTuner counts them."""
    low, high, step = hyperparameter.min_value, hyperparameter.max_value, hyperparameter.step
    if hyperparameter.sampling == "linear":  # not from `values`: an Int has a step of 1, and may have 2^31 of them
        return int((high - low) // step + 1)
    return int(math.log(high / low, step) + 1e-8) + 1


def count_values(hyperparameter: kinds.HyperParameter) -> float:
    """Return how many values a hyperparameter can take; infinity for a continuous one."""
    if isinstance(hyperparameter, kinds.Int | kinds.Float):
        if hyperparameter.min_value == hyperparameter.max_value:
            return 1
        if hyperparameter.step is not None:
            return count_steps(hyperparameter)
        if isinstance(hyperparameter, kinds.Float):
            return math.inf
        return hyperparameter.max_value - hyperparameter.min_value + 1
    return len(set(hyperparameter.values))


def active(hp: keras_tuner.HyperParameters) -> Mapping[str, kinds.HyperParameter]:
    """Return the hyperparameters that have a value, by name; the first one, where two share a name."""
    return {h.name: h for h in reversed(hp.space) if h.name in hp.values and hp.is_active(h)}


class Draws(keras_tuner.HyperParameters):
    """Hyperparameters of one trial, each drawn when the build function first asks for it.

    So a build function runs once a trial: there is no space to explore beforehand, and `if` and `for` around
    hyperparameters are as good as conditional scopes.

    Args:
        seed: Seed of the search.
        trial: Number of the trial, from 0.
        attempt: How often this trial's draws have turned out to be a repetition so far.
        given: Hyperparameters that are registered beforehand; where a build function asks for one of the same
            name and conditions, the given one's range or fixed value holds, as in KerasTuner.
        choose: Gives the value of each hyperparameter that is asked for and active, once; None: `draw` at the
            `uniform` number of seed, trial, attempt and name.

    Example:
        >>> hp = Draws(seed=0, trial=3)
        >>> hp.Float("learning_rate", 1e-4, 1e-1, sampling="log") == hp.get("learning_rate")
        True
        >>> type(hp.copy()) is keras_tuner.HyperParameters and hp.copy().values == hp.values
        True
    """

    def __init__(
        self,
        seed: int,
        trial: int,
        attempt: int = 0,
        given: keras_tuner.HyperParameters | None = None,
        choose: Callable[[kinds.HyperParameter], Any] | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.trial, self.attempt = seed, trial, attempt
        self.choose = choose
        if given is not None:
            self.merge(given, overwrite=False)

    def _chosen(self, hyperparameter: kinds.HyperParameter) -> Any:
        if self.choose is not None:
            return self.choose(hyperparameter)
        return draw(hyperparameter, uniform(self.seed, self.trial, hyperparameter.name, self.attempt))

    def _drawn(self, register: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        known, named = len(self.space), set(self.values)
        value = register(*args, **kwargs)
        for new in self.space[known:]:
            if new.name not in named and self.is_active(new):
                value = self.values[new.name] = self._chosen(new)
        return value

    def Choice(self, *args: Any, **kwargs: Any) -> Any:
        """Return one of several values; arguments as in `keras_tuner.HyperParameters.Choice`."""
        return self._drawn(super().Choice, *args, **kwargs)

    def Int(self, *args: Any, **kwargs: Any) -> Any:
        """Return a whole number; arguments as in `keras_tuner.HyperParameters.Int`."""
        return self._drawn(super().Int, *args, **kwargs)

    def Float(self, *args: Any, **kwargs: Any) -> Any:
        """Return a number; arguments as in `keras_tuner.HyperParameters.Float`."""
        return self._drawn(super().Float, *args, **kwargs)

    def Boolean(self, *args: Any, **kwargs: Any) -> Any:
        """Return True or False; arguments as in `keras_tuner.HyperParameters.Boolean`."""
        return self._drawn(super().Boolean, *args, **kwargs)

    def Fixed(self, *args: Any, **kwargs: Any) -> Any:
        """Return the value given; arguments as in `keras_tuner.HyperParameters.Fixed`."""
        return self._drawn(super().Fixed, *args, **kwargs)

    def merge(self, hps: Any, overwrite: bool = True) -> None:
        """Register the hyperparameters of another space; arguments as in `keras_tuner.HyperParameters`."""
        # One at a time: whether a child is active depends on the value its parent has drawn.
        for hyperparameter in hps.space if isinstance(hps, keras_tuner.HyperParameters) else hps:
            if overwrite and self.is_active(hyperparameter):
                self.values.pop(hyperparameter.name, None)  # drawn anew, from the range that takes the old one's place
            self._drawn(super().merge, [hyperparameter], overwrite)
