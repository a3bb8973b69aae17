"""Rates that rise and fall: triangles again and again, and one cycle of rate and momentum."""

from dataclasses import dataclass
from typing import Any, ClassVar

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.schedules.annealing import between, half_cosine
from kerasbn.schedules.arithmetic import Arithmetic, periods
from kerasbn.schedules.base import Schedule

_MODES = ("triangular", "triangular2", "exp_range")
_SHAPES = ("cosine", "linear")


@dataclass(frozen=True, repr=False)
class Triangular(Schedule):
    """A rate that goes up to a peak and down again, cycle after cycle. It has no end.

        a(t) = a0 + (a1 - a0) min(u / s, (c - u) / s') h(t),   u = t mod c,   c = s + s'
        h(t) = 1 (triangular), 1 / 2^floor(t / c) (triangular2), d^t (exp_range)

    Args:
        initial_learning_rate: a0, above 0: where each cycle begins and ends.
        max_learning_rate: a1, at least a0: the first peak.
        step_size: s, epochs or steps from the beginning of a cycle to its peak, above 0.
        step_size_down: s', epochs or steps from the peak to the end of the cycle, above 0; None: as many.
        mode: "triangular": all peaks are alike; "triangular2": each cycle is half as high as the one before;
            "exp_range": the height falls by a factor with each epoch or step.
        decay_rate: d, that factor, in (0, 1]; of the other modes 1.

    Raises:
        InputError: If an argument is out of range, or another mode has a `decay_rate`.

    Example:
        >>> schedule = Triangular(0.1, 0.3, step_size=4, mode="triangular2")
        >>> [round(schedule(epoch), 3) for epoch in (0, 2, 4, 6, 8, 12)]
        [0.1, 0.2, 0.3, 0.2, 0.1, 0.2]

    Source: Smith (2017), arXiv:1506.01186.
    """

    name: ClassVar[str] = "triangular"
    initial_learning_rate: float
    max_learning_rate: float
    step_size: float
    step_size_down: float | None = None
    mode: str = "triangular"
    decay_rate: float = 1.0

    def __post_init__(self) -> None:
        self._check_rate("initial_learning_rate")
        self._check("max_learning_rate", self.initial_learning_rate)
        self._check("step_size", 0, open_low=True)
        if self.step_size_down is not None:
            self._check("step_size_down", 0, open_low=True)
        checks.one_of("mode", self.mode, _MODES)
        self._check("decay_rate", 0, 1, open_low=True)
        if self.decay_rate != 1 and self.mode != "exp_range":
            raise InputError(
                "decay_rate", f"1, since the mode is {self.mode!r}", self.decay_rate, "'exp_range' has it."
            )

    @property
    def cycle(self) -> float:
        """Epochs or steps in a cycle."""
        return self.step_size + (self.step_size if self.step_size_down is None else self.step_size_down)

    @property
    def horizon(self) -> float:
        """Three cycles."""
        return 3 * self.cycle

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate on the triangle that t is in."""
        cycle, index = self.cycle, periods(t, self.cycle, xp)
        into = xp.maximum(t - index * cycle, 0.0)
        down = self.step_size if self.step_size_down is None else self.step_size_down
        height = xp.minimum(into / self.step_size, (cycle - into) / down)
        if self.mode == "triangular2":
            height = height * xp.power(0.5, index)
        elif self.mode == "exp_range":
            height = height * xp.power(self.decay_rate, t)
        return self.initial_learning_rate + (self.max_learning_rate - self.initial_learning_rate) * height


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """One cycle: the rate goes up while the momentum goes down, and back; in the end the rate falls to nearly nothing.

        rate      a1 / f -> a1 -> a1 / (f g)        momentum  m1 -> m0 -> m1
        at             0    pT    T                           0     pT    T

    In three phases the rate goes down as it went up before it falls to the last one:

        rate      a1 / f -> a1 -> a1 / f -> a1 / (f g)        momentum  m1 -> m0 -> m1 -> m1
        at             0    pT      2pT    T                            0     pT   2pT    T

    The corners lie where fastai and optax have them. PyTorch's OneCycleLR counts the steps from 0 to T - 1, and has
    them at p T - 1 and T - 1.

    Args:
        max_learning_rate: a1, above 0.
        decay_steps: T, epochs or steps of the whole cycle, above 0.
        pct_start: p, share of them in which the rate rises, in (0, 1); for three phases at most 0.5.
        div_factor: f, the peak over the first rate, at least 1.
        final_div_factor: g, the first rate over the last, at least 1.
        shape: "cosine" or "linear": the curve of each phase.
        three_phase: Whether the rate goes down as it went up first.
        base_momentum: m0, the momentum where the rate is at its peak, in [0, 1); None: the momentum is not cycled.
        max_momentum: m1, the momentum at the beginning and the end, in [m0, 1); None: the momentum is not cycled.

    Raises:
        InputError: If an argument is out of range, or only one momentum is None.

    Example:
        >>> schedule = OneCycle(0.5, decay_steps=100, pct_start=0.25)
        >>> [(round(schedule(step), 4), round(schedule.momentum(step), 4)) for step in (0, 25, 100)]
        [(0.02, 0.95), (0.5, 0.85), (0.0, 0.95)]

    Source: Smith and Topin (2018), arXiv:1708.07120; fastai's `fit_one_cycle` for the two phases.
    """

    name: ClassVar[str] = "one_cycle"
    max_learning_rate: float
    decay_steps: float
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    shape: str = "cosine"
    three_phase: bool = False
    base_momentum: float | None = 0.85
    max_momentum: float | None = 0.95

    def __post_init__(self) -> None:
        self._check_rate("max_learning_rate")
        self._check("decay_steps", 0, open_low=True)
        self._check_truth("three_phase")
        if self.three_phase:
            self._check("pct_start", 0, 0.5, open_low=True)
        else:
            self._check("pct_start", 0, 1, open_low=True, open_high=True)
        self._check("div_factor", 1)
        self._check("final_div_factor", 1)
        checks.one_of("shape", self.shape, _SHAPES)
        if self.base_momentum is None and self.max_momentum is None:
            return
        remedy = "None for both: the momentum is not cycled."
        self._check("base_momentum", 0, 1, open_high=True, remedy=remedy)
        self._check("max_momentum", self.base_momentum, 1, open_high=True, remedy=remedy)

    @property
    def cycles_momentum(self) -> bool:
        """Whether there are momenta to cycle between."""
        return self.base_momentum is not None

    @property
    def length(self) -> float | None:
        """T."""
        return float(self.decay_steps)

    def formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the rate on the curve that t is in."""
        peak, first = self.max_learning_rate, self.max_learning_rate / self.div_factor
        last = first / self.final_div_factor
        return self._curves(t, (first, peak, first, last) if self.three_phase else (first, peak, last), xp)

    def momentum_formula(self, t: Any, xp: Arithmetic) -> Any:
        """Return the momentum on the curve that t is in."""
        low, high = self.base_momentum, self.max_momentum
        return self._curves(t, (high, low, high, high) if self.three_phase else (high, low, high), xp)

    def _curves(self, t: Any, values: tuple[Any, ...], xp: Arithmetic) -> Any:
        """Return what goes from each of the values to the next in the phases."""
        rise = self.pct_start * self.decay_steps
        corners = (0.0, rise, 2 * rise, self.decay_steps) if self.three_phase else (0.0, rise, self.decay_steps)
        result = 0 * t + values[-1]
        for index in reversed(range(len(corners) - 1)):
            start, end = corners[index], corners[index + 1]
            if start < end:  # three phases of which two fill the cycle have no third
                left = (end - xp.minimum(xp.maximum(t, start), end)) / (end - start)
                way_left = left if self.shape == "linear" else half_cosine(left, xp)
                result = xp.where(t < end, between(values[index], values[index + 1], way_left), result)
        return result
