"""RateRange: what the learning-rate range test measured, how it is read, and its picture."""

import os
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from kerasbn import files

# A fall counts from so many standard errors of the two averages it lies between. The lower one is the least of many:
# in 200 steps of noise around a constant it lies 4 of them below the first in 6 cases of 100, and 5 in 3.
_SURE = 5.0
_LOSS, _AVERAGE, _CHOSEN, _OTHER = "0.75", "C0", "C3", "C2"  # colours


@dataclass(frozen=True, eq=False)
class RateRange:
    """What `find_learning_rate` found; as text, a few lines.

    Args:
        rates: (steps,) learning rates of the updates made, geometrically spaced.
        losses: (steps,) training loss of each batch, before the update at its rate.
        smoothed: (steps,) the losses' bias-corrected exponential averages.
        steepest: Rate at which the smoothed loss fell fastest over the logarithm of the rate; None if it never fell.
        below_minimum: Rate of the least smoothed loss, divided by `factor`; None if it never fell.
        suggestion: The rate to begin with: `below_minimum`; None if the loss never fell.
        reason: Why this suggestion, or why none: a sentence.
        end: Why the test ended where it did: a sentence.

    Example:
        >>> falls = np.array([1.0, 0.5, 0.2])
        >>> print(RateRange(np.array([0.1, 1.0, 10.0]), falls, falls, 0.1, 1.0, 1.0, "Why not.", "It was enough."))
        Learning rate: 1 is suggested. Why not.
        Steepest descent at 0.1; below the minimum: 1.
        3 rates from 0.1 to 10. It was enough.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float | None
    below_minimum: float | None
    suggestion: float | None
    reason: str
    end: str

    def __str__(self) -> str:
        tested = f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}. {self.end}"
        if self.suggestion is None:
            return f"Learning rate: none is suggested. {self.reason}\n{tested}"
        return (
            f"Learning rate: {self.suggestion:.2g} is suggested. {self.reason}\n"
            f"Steepest descent at {self.steepest:.2g}; below the minimum: {self.below_minimum:.2g}.\n{tested}"
        )

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the losses over the rates, with both suggestions.

        Args:
            path: A file for the picture, whole or not at all; its suffix says the format. None: no file.

        Returns:
            The picture.

        Raises:
            InputError: If `path` is something else than a file.
        """
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color=_LOSS, linewidth=0.8, label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color=_AVERAGE, linewidth=2, label="smoothed")
        marks = ((self.below_minimum, "below the minimum", _CHOSEN), (self.steepest, "steepest descent", _OTHER))
        for rate, name, color in marks:
            if rate is not None:
                chosen = " (suggested)" if rate == self.suggestion and name == marks[0][1] else ""
                axes.axvline(rate, color=color, linestyle="--", label=f"{name}: {rate:.2g}{chosen}")
        axes.set(xlabel="learning rate", ylabel="training loss", xscale="log", ylim=self._visible())
        axes.margins(x=0)
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
        axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # labels within a decade
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small")
        axes.set_title("Learning-rate range test" + (": no suggestion" if self.suggestion is None else ""))
        if path is not None:
            with files.whole_file(path) as temporary:
                figure.savefig(temporary, dpi=110)
        return figure

    def _visible(self) -> tuple[float, float] | None:
        """Return the losses between which the picture lies: the end, where they explode, would hide the fall."""
        if self.suggestion is None:
            return None
        fall = self.losses[: int(np.argmin(self.smoothed)) + 1]
        low, high = fall.min(), max(np.percentile(fall, 99), self.smoothed[: len(fall)].max())
        margin = 0.25 * (high - low)
        return low - 0.2 * margin, high + margin


def lag_of(smoothing: float) -> int:
    """Return over how many steps an exponential average reaches: 1 / (1 - beta)."""
    return round(1 / (1 - smoothing))


def read_range(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, smoothing: float, factor: float, end: str
) -> RateRange:
    """Return what the losses say of the rates.

    Args:
        rates: (steps,) geometrically spaced.
        losses: (steps,) finite losses.
        smoothed: (steps,) their bias-corrected exponential averages.
        smoothing: beta of these.
        factor: By which the rate of the least loss is divided.
        end: Why the test ended.

    Returns:
        The range, with suggestions if the loss fell by more than its noise.
    """
    lag = lag_of(smoothing)
    full = min(lag, len(losses)) - 1  # the averages before are of too few losses
    least = full + int(np.argmin(smoothed[full:]))
    arrays = rates, losses, smoothed
    for array in arrays:
        array.flags.writeable = False
    if not _falls(losses, smoothed, least, smoothing):
        reason = (
            "At no rate did the loss fall by more than its noise. If the rates are right, pass a larger batch_size, "
            "or look at the data."
        )
        return RateRange(*arrays, None, None, None, reason, end)
    # The slope over as many steps as are averaged, to either side: that of single steps is mostly noise.
    reach = max(1, min(lag, least // 2))
    rises = smoothed[2 * reach : least + 1] - smoothed[: least + 1 - 2 * reach]
    steepest = float(rates[reach + int(np.argmin(rises))])
    below = float(rates[least] / factor)
    reason = f"That is the rate of the least smoothed loss, {rates[least]:.2g}, divided by {factor:g}."
    if least == len(rates) - 1:
        reason += " The loss still fell at the greatest rate: with a greater maximum the suggestion may be greater."
    return RateRange(*arrays, steepest, below, below, reason, end)


def _falls(losses: np.ndarray, smoothed: np.ndarray, least: int, smoothing: float) -> bool:
    """Whether the loss fell from its first values to the least smoothed one, by more than chance."""
    if least < 2:
        return False
    first = losses[: min(lag_of(smoothing), least)]
    # The noise of a loss, from those that follow each other: the median does not see where they fall or explode.
    noise = np.median(np.abs(np.diff(losses))) / 0.6745 / np.sqrt(2)
    error = noise * np.sqrt(1 / len(first) + (1 - smoothing) / (1 + smoothing))
    return bool(first.mean() - smoothed[least] > _SURE * error)
