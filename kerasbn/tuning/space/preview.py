"""A preview of a space: a table and a picture of what it will draw, before a search begins."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import keras_tuner
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kerasbn.tuning.space import picture as preview_picture
from kerasbn.tuning.space.drawn import Drawn, Space, draw_all, number, one_minus

_QUANTILES = (0.05, 0.5, 0.95)
_WIDTH = 110  # of the table as text, where no terminal says how wide it is
_MOST_CHOICES = 8  # that are told one by one


@dataclass(frozen=True)
class Preview:
    """What a space draws; as text, a table of it.

    Args:
        draws: How many draws there are.
        hyperparameters: What was drawn, in the order in which it was first asked for.
        failed: In how many draws the function raised an exception; what it had asked for before counts.
        failure: The first of these exceptions as a text; empty if there was none.

    Example:
        >>> drawn = preview(lambda hp: one_minus_log(hp, "momentum", 0.9, 0.999))
        >>> print(drawn)
        1000 draws
        ...
        │ one_minus_momentum │ log   │ 0.001 to 0.1 │ 0.0012 │ 0.00999 │ 0.0794 │ 100%   │
        │ momentum           │ 1 - x │ 0.9 to 0.999 │ 0.921  │ 0.99    │ 0.9988 │ 100%   │
        ...
    """

    draws: int
    hyperparameters: tuple[Drawn, ...]
    failed: int
    failure: str

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=_WIDTH, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __rich__(self) -> RenderableType:
        # Names stay whole: of "convnet/filters_1" and "convnet/filters_2" the ends are what tells them apart.
        table = Table(
            Column("hyperparameter", no_wrap=True), "scale", "range", *(f"{q:.0%}" for q in _QUANTILES), "active"
        )
        for drawn in self.hyperparameters:
            for row in _rows(drawn):
                table.add_row(*map(Text, row), Text(f"{len(drawn.values) / self.draws:.0%}"))
        parts: list[RenderableType] = [Text(f"{self.draws} draws"), table]
        if self.failed:
            parts.append(Text(f"{self.failed} of {self.draws} draws fail, the first with {self.failure}"))
        return Group(*parts)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw a histogram of each hyperparameter on its own scale; a good scale makes it flat.

        Args:
            path: Where the picture is written, as PNG, SVG or PDF by its suffix; None: nowhere.

        Returns:
            The figure.

        Raises:
            InputError: If something is there that is no regular file.
        """
        return preview_picture.plot(self.draws, self.hyperparameters, path)


def _rows(drawn: Drawn) -> Iterator[tuple[str, ...]]:
    """Yield name, scale, range and quantiles of a hyperparameter; of a rest of 1 those of the value, too."""
    if drawn.low is None or drawn.high is None:
        yield (drawn.name, "choice", _shares(drawn), "", "", "")
        return
    quantiles = np.quantile(drawn.values, _QUANTILES, method="inverted_cdf").tolist()
    texts = [str(round(q)) if drawn.integer else number(q) for q in quantiles]
    scale = "fixed" if drawn.low == drawn.high else drawn.scale
    yield (drawn.name, scale, f"{number(drawn.low)} to {number(drawn.high)}", *texts)
    if drawn.near_one is not None:
        bounds = f"{one_minus(drawn.high)} to {one_minus(drawn.low)}"
        yield (drawn.near_one, "1 - x", bounds, *(one_minus(q) for q in reversed(quantiles)))


def _shares(drawn: Drawn) -> str:
    """Return how often each choice was drawn, the most frequent first if there are many."""
    counts = Counter(drawn.values)
    shown = drawn.choices
    if len(shown) > _MOST_CHOICES:
        shown = tuple(value for value, _ in counts.most_common(_MOST_CHOICES))
    texts = [f"{number(value)} {counts[value] / len(drawn.values):.0%}" for value in shown]
    if len(shown) < len(drawn.choices):
        texts.append(f"{len(drawn.choices) - len(shown)} others")
    return ", ".join(texts)


def preview(
    space: Space,
    trials: int = 1000,
    seed: int = 0,
    *,
    given: keras_tuner.HyperParameters | None = None,
    seconds: float = 10.0,
) -> Preview:
    """Show what a space draws, before a search begins; nothing is trained.

    The draws are those of a random search with the same seed. Where a function asks for a hyperparameter in some draws
    only, it says how often. Of a HyperModel or a build function each draw builds a model: then there are as many draws
    as the time allows. What a HyperModel's own `fit` asks for is not known before.

    Args:
        space: A build function, a HyperModel, or any other function of a `keras_tuner.HyperParameters`.
        trials: Number of draws, at least 1.
        seed: Of the draws.
        given: Hyperparameters that the search is given, too: they hold in place of those of the same name.
        seconds: Time after which no other draw is made, above 0.

    Returns:
        The preview: `print` shows a table of it, `plot` a picture.

    Raises:
        InputError: If the space is empty, or contradicts itself: a name that is asked for twice in one draw, with
            another range or kind; see `check`.

    Example:
        >>> search = SearchConfig(tiers=1, learning_rate=(1e-4, 1.0))
        >>> drawn = preview(lambda hp: sample_config(hp, TuneConfig(search=search)))
        >>> [(h.name, h.scale, h.low, h.high, len(h.values)) for h in drawn.hyperparameters]
        [('learning_rate', 'log', 0.0001, 1.0, 1000)]
    """
    return Preview(*draw_all(space, trials, seed, given, seconds))
