"""The axes of a search: each hyperparameter on its own scale, with the values that trials have on it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_tuner.engine import hyperparameters as kinds

from kerasbn.tuning.draws import active
from kerasbn.tuning.store.records import TrialRecord

_ONE_MINUS = "one_minus_"
_FEW_DECADES = 2.5  # up to which a logarithmic axis has 2 and 5 labelled as well as 1


def short(value: Any) -> str:
    """Return a value as text: four significant digits of a fraction, whole numbers whole."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def steps_of_ten(low: float, high: float) -> list[float]:
    """Return the values 1, 2 and 5 times a power of ten from `low` to `high`; of a wide range the powers alone."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if math.log10(high / low) <= _FEW_DECADES else (1,)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
    inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    while len(inside) > 8:
        inside = inside[::2]
    return inside if len(inside) > 2 else even_steps(low, high)


def even_steps(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from `low` to `high` at even distances, at most `most` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _one_minus(rest: float) -> str:
    """Return 1 - rest as text, with three significant digits of its distance from 1."""
    decimals = 2 - math.floor(math.log10(rest))
    return f"{1 - rest:.{max(decimals, 0)}f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Axis:
    """A hyperparameter as an axis of a picture.

    Args:
        name: The hyperparameter's.
        label: What the axis is called: its name; "momentum" for one_minus_momentum; with the condition where
            another one has the same name.
        scale: "linear", "log", "one minus" (drawn as 1 minus the value on a log scale), "reverse log" (the
            distance from the other end on a log scale, as KerasTuner has it) or "category".
        low: Smallest value; of categories -0.5.
        high: Largest value; of categories half above the last one's place.
        categories: Values in order, for a scale of categories.
        whole: Whether values are whole numbers.
        values: Values by the number of the trial, of those trials in which the hyperparameter is active.

    Example:
        >>> Axis("rate", "rate", "log", 1e-4, 1.0).fraction(0.01)
        0.5
    """

    name: str
    label: str
    scale: str
    low: float
    high: float
    categories: tuple[Any, ...] = ()
    whole: bool = False
    values: Mapping[int, Any] = dataclasses.field(default_factory=dict)

    @property
    def varies(self) -> bool:
        """Whether there is more than one value to choose."""
        return len(self.categories) > 1 if self.scale == "category" else self.low < self.high

    def coordinate(self, value: Any) -> float:
        """Return where a value stands on the axis of a plot: the place of a category, else a number."""
        if self.scale == "category":
            return float(_place(value, self.categories))
        return self.low + self.high - value if self.scale == "reverse log" else float(value)

    def fraction(self, value: Any) -> float:
        """Return how far from the lower end of the scale (0) to the upper end (1) a value stands."""
        low, high, at = self.low, self.high, self.coordinate(value)
        if not self.varies:
            return 0.5
        if self.scale in ("linear", "category"):
            return (at - low) / (high - low)
        part = math.log(at / low) / math.log(high / low)
        return part if self.scale == "log" else 1 - part

    def text(self, value: Any) -> str:
        """Return a value as it is called on this axis: of one_minus_momentum 0.1 it is the momentum 0.9."""
        return _one_minus(value) if self.scale == "one minus" else short(value)

    def ticks(self) -> list[tuple[float, str]]:
        """Return coordinates and texts of round values, in the order of the coordinates."""
        if self.scale == "category":
            return [(float(place), short(value)) for place, value in enumerate(self.categories)]
        if self.scale == "linear":
            steps = even_steps(self.low, self.high)
            return [(step, f"{step:g}") for step in steps if not self.whole or step == int(step)]
        if self.scale == "reverse log":
            steps = even_steps(self.low, self.high)
            return [(self.coordinate(step), f"{step:g}") for step in reversed(steps)]
        label = _one_minus if self.scale == "one minus" else short
        return [(tick, label(tick)) for tick in steps_of_ten(self.low, self.high)]

    def plotly(self) -> dict[str, Any]:
        """Return the axis of a plot, with what its scale is in the title."""
        if self.scale == "category":
            title, kind, ends = self.label, "linear", [self.low, self.high]
        elif self.scale == "linear":
            pad = 0.04 * (self.high - self.low)
            title, kind, ends = self.label, "linear", [self.low - pad, self.high + pad]
        else:
            pad = 0.04 * math.log10(self.high / self.low)
            title, kind, ends = (
                f"{self.label} (log scale)",
                "log",
                [math.log10(self.low) - pad, math.log10(self.high) + pad],
            )
        if self.scale == "one minus":
            title = f"{self.label} (1 - {self.label.split(' (')[0]} on a log scale)"
        if self.scale in ("one minus", "reverse log"):
            ends.reverse()
        axis: dict[str, Any] = {"title": title, "type": kind, "range": ends, "zeroline": False}
        if self.scale != "linear" or self.whole:
            axis |= {"tickvals": [tick for tick, _ in self.ticks()], "ticktext": [text for _, text in self.ticks()]}
        return axis


def _place(value: Any, values: Iterable[Any]) -> int:
    """Return the place of a value among others, where True is not 1 and 1 is not 1.0."""
    return next(place for place, other in enumerate(values) if type(other) is type(value) and other == value)


def _scale(hyperparameter: kinds.HyperParameter) -> str:
    """Return the name of a hyperparameter's scale, as `Axis` has it."""
    if not isinstance(hyperparameter, kinds.Int | kinds.Float):
        return "category"
    if hyperparameter.sampling == "reverse_log":
        return "reverse log"
    if hyperparameter.sampling != "log":
        return "linear"
    near_one = hyperparameter.name.rsplit("/")[-1].startswith(_ONE_MINUS) and hyperparameter.max_value <= 1
    return "one minus" if near_one and isinstance(hyperparameter, kinds.Float) else "log"


def _condition(hyperparameter: kinds.HyperParameter) -> str:
    return " and ".join(f"{c.name} = {' or '.join(map(short, c.values))}" for c in hyperparameter.conditions)


def _axis(found: list[tuple[int, kinds.HyperParameter, Any]], label: str) -> Axis:
    """Return the axis of hyperparameters that differ at most in their ranges."""
    _, first, _ = found[0]
    scale = _scale(first)
    values = {number: value for number, _, value in found}
    if scale == "category":
        # KerasTuner has True first among the values of a Boolean, and last on its scale of probabilities.
        offers = [(False, True) if isinstance(h, kinds.Boolean) else h.values for _, h, _ in found]
        offered = [value for offer, (_, _, own) in zip(offers, found, strict=True) for value in (*offer, own)]
        categories = [v for place, v in enumerate(offered) if _place(v, offered) == place]
        return Axis(first.name, label, scale, -0.5, len(categories) - 0.5, tuple(categories), False, values)
    low = min(min(h.min_value, value) for _, h, value in found)
    high = max(max(h.max_value, value) for _, h, value in found)
    if low <= 0 and scale != "linear":  # a value that came from elsewhere
        scale = "linear"
    if scale == "one minus":
        label = label.replace(_ONE_MINUS, "", 1)
    return Axis(first.name, label, scale, low, high, (), isinstance(first, kinds.Int), values)


def axes(trials: Iterable[TrialRecord]) -> list[Axis]:
    """Return the axes of all hyperparameters, in the order in which trials have them.

    Hyperparameters of one name are one axis if their conditions and scales are the same: where ranges differ
    between trials, the axis has all of them.

    Args:
        trials: The trials.

    Returns:
        The axes, of hyperparameters with a single value too.
    """
    groups: dict[tuple[str, str, str], list[tuple[int, kinds.HyperParameter, Any]]] = {}
    for trial in trials:
        for name, h in sorted(active(trial.hyperparameters).items(), key=lambda item: _order(trial, item[0])):
            # A fixed value may be anything, beside numbers that are drawn.
            key = (name, _condition(h), _scale(h) + "!" * isinstance(h, kinds.Fixed))
            groups.setdefault(key, []).append((trial.number, h, trial.hyperparameters.values[name]))
    names = [name for name, _, _ in groups]
    found = []
    for (name, condition, _), members in groups.items():
        found.append(_axis(members, f"{name} ({condition})" if names.count(name) > 1 and condition else name))
    return found


def _order(trial: TrialRecord, name: str) -> int:
    return next(place for place, h in enumerate(trial.hyperparameters.space) if h.name == name)
