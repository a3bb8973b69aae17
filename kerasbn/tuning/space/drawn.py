"""What a space draws: its hyperparameters over many draws, and whether it is empty or contradicts itself."""

import inspect
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.tuning.draws import Draws, active

Space: TypeAlias = keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], Any]


@dataclass(frozen=True)
class Drawn:
    """A hyperparameter over many draws of a space.

    Args:
        name: Its full name.
        scale: "linear", "log" or "reverse_log"; of one with a list of values "choice".
        low: Smallest bound of a draw; None for a choice.
        high: Largest bound of a draw; None for a choice.
        choices: Values to choose from; empty for a number.
        integer: Whether it is a whole number on a scale.
        values: What was drawn, where it was active.

    Example:
        >>> Drawn("dropout", "linear", 0.0, 0.5, (), False, (0.2, 0.3)).values
        (0.2, 0.3)
    """

    name: str
    scale: str
    low: float | None
    high: float | None
    choices: tuple[Any, ...]
    integer: bool
    values: tuple[Any, ...]

    @property
    def near_one(self) -> str | None:
        """Name of the value near 1 that this is the rest of, as `one_minus_log` has it; None: it is no such rest."""
        scopes, slash, last = self.name.rpartition("/")
        name = last.removeprefix("one_minus_")
        return None if name == last or self.scale == "choice" else f"{scopes}{slash}{name}"


def number(value: Any) -> str:
    """Return a value as a short text."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def one_minus(rest: float) -> str:
    """Return 1 - rest as a text with the digits that tell it from 1."""
    digits = max(2, 1 - math.floor(math.log10(rest))) if rest > 0 else 2
    return f"{1 - rest:.{digits}f}".rstrip("0").rstrip(".")


class _Asked(Draws):
    """Draws that compare all requests of one name."""

    def __init__(self, seed: int, trial: int, given: keras_tuner.HyperParameters | None) -> None:
        self._scopes: list[str] = []
        self._requests: dict[str, dict[str, Any]] = {}
        self.contradiction: InputError | None = None
        super().__init__(seed, trial, given=given)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        self._scopes.append(name)
        try:
            with super().name_scope(name):
                yield
        finally:
            self._scopes.pop()

    def _asked(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        value = getattr(super(), kind)(*args, **kwargs)
        if value is None:  # not active
            return None
        arguments = inspect.signature(getattr(keras_tuner.HyperParameters, kind)).bind(None, *args, **kwargs).arguments
        alone = keras_tuner.HyperParameters()  # where it has neither scopes nor a parent
        left_out: tuple[str, ...] = ("self", "parent_name", "parent_values", "default", "ordered")
        getattr(alone, kind)(**{key: argument for key, argument in arguments.items() if key not in left_out})
        name = "/".join([*self._scopes, arguments["name"]])
        config = alone.space[0].get_config()
        left_out += ("name", "conditions")
        request = {"kind": kind} | {key: v for key, v in config.items() if key not in left_out}
        first = self._requests.setdefault(name, request)
        if first != request and self.contradiction is None:
            self.contradiction = InputError(
                f"hyperparameter {name!r}",
                f"the same each time it is asked for: {_words(first)}",
                _words(request),
                "One draw has one value of a name. Give the second another name, or put it in an hp.name_scope.",
            )
        return value

    def Choice(self, *args: Any, **kwargs: Any) -> Any:
        return self._asked("Choice", *args, **kwargs)

    def Int(self, *args: Any, **kwargs: Any) -> Any:
        return self._asked("Int", *args, **kwargs)

    def Float(self, *args: Any, **kwargs: Any) -> Any:
        return self._asked("Float", *args, **kwargs)

    def Boolean(self, *args: Any, **kwargs: Any) -> Any:
        return self._asked("Boolean", *args, **kwargs)

    def Fixed(self, *args: Any, **kwargs: Any) -> Any:
        return self._asked("Fixed", *args, **kwargs)


def _words(request: dict[str, Any]) -> str:
    """Return a request as code."""
    arguments = {key: value for key, value in request.items() if key != "kind" and value is not None}
    return f"{request['kind']}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _function(space: Space) -> Callable[[keras_tuner.HyperParameters], Any]:
    """Return what asks for a space's hyperparameters."""
    if isinstance(space, keras_tuner.HyperModel):

        def build(hp: keras_tuner.HyperParameters) -> None:
            space.declare_hyperparameters(hp)
            space.build(hp)

        return build
    if not callable(space) or isinstance(space, type):
        raise InputError("space", "a function of hp or a HyperModel", repr(space), "Give what the search is given.")
    return space


def _row(hyperparameters: list[kinds.HyperParameter], values: list[Any]) -> Drawn:
    """Return what was drawn of a hyperparameter, of which each draw has its own range."""
    first = hyperparameters[0]
    if isinstance(first, kinds.Int | kinds.Float):
        low = min(hyperparameter.min_value for hyperparameter in hyperparameters)
        high = max(hyperparameter.max_value for hyperparameter in hyperparameters)
        return Drawn(first.name, first.sampling, low, high, (), isinstance(first, kinds.Int), tuple(values))
    choices = dict.fromkeys(value for hyperparameter in hyperparameters for value in hyperparameter.values)
    return Drawn(first.name, "choice", None, None, tuple(choices), False, tuple(values))


def draw_all(
    space: Space, trials: int, seed: int, given: keras_tuner.HyperParameters | None, seconds: float | None
) -> tuple[int, tuple[Drawn, ...], int, str]:
    """Draw a space many times; nothing is trained.

    Args:
        space: A function of hp, such as a build function, or a HyperModel, whose `build` is called.
        trials: How many draws are made at most, at least 1.
        seed: Of the draws: those of a random search with that seed.
        given: Hyperparameters that the search is given.
        seconds: Time after which no other draw is made, above 0; the first one always is. None: no limit.

    Returns:
        How many draws were made; what they drew, in the order in which it was first asked for; in how many the
        function raised an exception; and the first of these as a text.

    Raises:
        InputError: If the space is none, is empty or contradicts itself; see `check`.
    """
    checks.in_range("trials", trials, 1, integer=True)
    if seconds is not None:
        checks.in_range("seconds", seconds, 0, open_low=True)
    function, end = _function(space), math.inf if seconds is None else time.monotonic() + seconds
    found: dict[tuple[str, ...], tuple[list[kinds.HyperParameter], list[Any]]] = {}
    order: list[tuple[str, ...]] = []
    count, failures = 0, []
    while count < trials and (count == 0 or time.monotonic() < end):
        hp = _Asked(seed, count, given)
        count += 1
        try:
            function(hp)
        except Exception as error:  # one trial fails, as it would in the search
            failures.append(f"{type(error).__name__}: {error}")
        if hp.contradiction is not None:
            raise hp.contradiction
        by_name, place = active(hp), 0
        for name in (name for name in hp.values if name in by_name):
            hyperparameter = by_name[name]
            scale, conditions = getattr(hyperparameter, "sampling", ""), hyperparameter.get_config()["conditions"]
            key = (name, type(hyperparameter).__name__, scale, repr(conditions))
            if key not in found:
                found[key] = ([], [])
                order.insert(place, key)  # where it was asked for: a third layer comes after the second
            place = order.index(key) + 1
            found[key][0].append(hyperparameter)
            found[key][1].append(hp.values[name])
    fits = isinstance(space, keras_tuner.HyperModel) and type(space).fit is not keras_tuner.HyperModel.fit
    if not found and not fits and len(failures) < count:  # a fit of one's own may ask for some
        raise InputError(
            "space",
            "at least one hyperparameter",
            f"none in {count} draws",
            'Ask for one in the build function: hp.Float("learning_rate", 1e-4, 1e-1, sampling="log").',
        )
    return count, tuple(_row(*found[key]) for key in order), len(failures), (failures or [""])[0]


def check(space: Space, trials: int = 1, seed: int = 0, given: keras_tuner.HyperParameters | None = None) -> None:
    """Raise an `InputError` if a space is empty or contradicts itself, before a search begins.

    A space is a function: what it asks for may depend on what it has got, and whatever it asks for is there to be
    drawn. So there is one way only to contradict oneself: to ask for the same name twice in one draw, both times
    where it is active, with another kind, range, step, sampling or list of values. One draw has one value of a name:
    the first range would hold, and KerasTuner hands its value to the second without a word. It is no contradiction

    - to ask for the same thing again, as for units that several layers share; a default does not matter;
    - to ask for the name with another range in another draw, or in a conditional scope that is not active;
    - to allow one value only: `hp.Fixed`, or a range whose bounds are equal;
    - that the search is given another range or a fixed value for the name: that holds, as in KerasTuner.

    A space is empty if the function asks for nothing. What a HyperModel's own `fit` asks for is not known before.

    Args:
        space: A function of hp, such as a build function, or a HyperModel, whose `build` is called.
        trials: How many draws are looked at, at least 1: in each the function is called.
        seed: Of the draws.
        given: Hyperparameters that the search is given.

    Raises:
        InputError: If the space is empty or contradicts itself, or is no function.

    Example:
        >>> check(lambda hp: hp.Int("units", 8, 64) + hp.Int("units", 16, 64))
        Traceback (most recent call last):
        kerasbn.checks.InputError: hyperparameter 'units': expected the same each time it is asked for: ...
    """
    draw_all(space, trials, seed, given, seconds=None)
