"""Narrower ranges: the part of a space around some good trials, and the options that search it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_tuner.engine import hyperparameters as kinds

from kerasbn.config import SearchConfig
from kerasbn.tuning.draws import active, draw
from kerasbn.tuning.space.drawn import number, one_minus
from kerasbn.tuning.store.records import TrialRecord

CHOICES = ("batch_size", "kernel_size", "families")  # of `search`: values to choose from, each once
# Of a hyperparameter's scale, on either side: where the good ones lie close together, a fifth of it is searched.
MARGIN = 0.1


def ranges_around(trials: Sequence[TrialRecord], margin: float = MARGIN) -> dict[str, tuple[Any, ...]]:
    """Return the part of the space around some trials, each hyperparameter on its own scale.

    Numbers: from the smallest to the largest, in cumulative probabilities, widened by the margin and cut off at the
    ends of the scale. Choices: those that occur.

    Args:
        trials: Good trials.
        margin: Share of the scale on either side, in [0, 1].

    Returns:
        By name: (smallest, largest), or the choices. Fixed hyperparameters are left out.

    Example:
        >>> hp = keras_tuner.HyperParameters()
        >>> rate = hp.Float("learning_rate", 1e-4, 1.0, sampling="log", default=1e-2)
        >>> ranges_around([TrialRecord(0, "completed", 1.0, hp)])
        {'learning_rate': (0.00398..., 0.0251...)}
    """
    found: dict[str, list[tuple[kinds.HyperParameter, Any]]] = {}
    for trial in trials:
        for name, hyperparameter in active(trial.hyperparameters).items():
            found.setdefault(name, []).append((hyperparameter, trial.hyperparameters.values[name]))
    ranges: dict[str, tuple[Any, ...]] = {}
    for name, pairs in found.items():
        hyperparameter = pairs[0][0]
        if isinstance(hyperparameter, kinds.Int | kinds.Float):
            places = [each.value_to_prob(value) for each, value in pairs]
            ends = (max(0.0, min(places) - margin), min(1.0, max(places) + margin))
            ranges[name] = tuple(draw(hyperparameter, end) for end in ends)
        elif not isinstance(hyperparameter, kinds.Fixed):
            ranges[name] = tuple(dict.fromkeys(sorted(value for _, value in pairs)))
    return ranges


def search_options(ranges: Mapping[str, tuple[Any, ...]]) -> list[str]:
    """Return the options of `kerasbn tune` that search these ranges of its own hyperparameters, as words.

    Args:
        ranges: As `ranges_around` gives them, of a space that `kerasbn.tuning.sample_config` draws.

    Returns:
        Option and value in turns; hyperparameters that `search` has no range for are left out.

    Example:
        >>> search_options({"one_minus_momentum": (0.05, 0.2), "units_1": (32, 64), "units_2": (16, 48)})
        ['--search.momentum', '0.8,0.95', '--search.units', '16,64']
    """
    keys = {f.name for f in dataclasses.fields(SearchConfig)}
    wanted: dict[str, tuple[Any, ...]] = {}
    for full_name, values in ranges.items():
        name = full_name.rpartition("/")[2]  # of several families each has its own
        if name.startswith("one_minus_"):
            key, texts = name.removeprefix("one_minus_"), tuple(one_minus(value) for value in reversed(values))
        else:
            key = "families" if name == "family" else re.sub(r"_\d+$", "", name)  # of all layers there is one range
            texts = (*wanted.get(key, ()), *values)
            if key in ("units", "filters", "layers"):
                texts = (min(texts), max(texts))
        if key in keys:
            wanted[key] = texts
    return [
        word
        for key, values in wanted.items()
        for word in (f"--search.{key}", ",".join(map(number, dict.fromkeys(values) if key in CHOICES else values)))
    ]
