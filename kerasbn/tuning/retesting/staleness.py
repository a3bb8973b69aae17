"""Whether the hyperparameters that a search chose have gone stale: statistics of old and new scores, and a verdict."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.tuning.retesting.replicates import Interval, gains_over_first, noise

Verdict = Literal["keep", "narrowly", "fully"]

# Fewer configurations have no order to speak of: chance puts one in 24 of four into a perfect one, of five one in 120;
# and the interval of Kendall's tau needs more than four.
FEWEST = 5
# With five good and five other configurations the rank correlation is at least 0.52 as long as every good one is
# above every other one, however they are ordered among themselves.
BROKEN = 0.5
# Where noise alone could well bring the correlation down to this, a low one says nothing.
TELLING = 0.2
_DRAWS = 1000  # of the correlation under "nothing has changed": its 5% quantile is then right to about 0.02


@dataclass(frozen=True)
class Staleness:
    """What old and new scores say; the first configuration is the incumbent.

    Args:
        verdict: "keep" the hyperparameters, or search again "narrowly" or "fully".
        reasons: Why, whole sentences.
        means: Mean new score of each configuration; None if it failed in any replicate.
        gains: By how much each is better than the incumbent, on the same replicates; the intervals hold all at the
            same time. None for the incumbent, and where one of the two failed.
        beaten_by: Positions of the configurations that beat the incumbent by more than the noise.
        visible: The smallest gain over the incumbent that would have been seen; None without any comparison.
        change: How much better the incumbent scores than it did, with the noise of its old score, 95%. Being the best
            of many by then, it scored better than it is: a small loss is to be expected.
        drift: The same of the configurations that were not chosen for their scores, 95%; None for fewer than three.
        spearman: Rank correlation of old and new scores, failures ranked worst, 95%; None if all old or all new ones
            are equal.
        kendall: The same, by Kendall's tau-b.
        expected: The correlation (Spearman's) that noise alone would leave in 95% of all re-tests if nothing had
            changed; None for fewer than five configurations without failures.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    means: tuple[float | None, ...]
    gains: tuple[Interval | None, ...]
    beaten_by: tuple[int, ...]
    visible: float | None
    change: Interval | None
    drift: Interval | None
    spearman: Interval | None
    kendall: Interval | None
    expected: float | None


def rank_correlations(old: np.ndarray, new: np.ndarray) -> tuple[Interval, Interval] | None:
    """Return Spearman's rho and Kendall's tau-b of two lists of scores, with 95% intervals.

        tanh(artanh(r) +- 1.96 se),  se^2 = (1 + rho^2 / 2) / (n - 3)  or  0.437 / (n - 4)

    A perfect order is taken for one with two neighbours swapped when the interval is made, since of few
    configurations it may come about by chance. Of fewer than five the interval is all of [-1, 1].

    Args:
        old: (n,) scores; infinite ones have their ranks.
        new: (n,) scores of the same configurations.

    Returns:
        Both; None if all of a list are equal.

    Example:
        >>> rho, tau = rank_correlations(np.arange(6.0), np.array([0.0, 1, 2, 3, 5, 4]))
        >>> print(rho)
        0.943 (0.383 to 0.996)

    Source: Bonett and Wright (2000), Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations, Psychometrika 65.
    """
    if len(np.unique(old)) < 2 or len(np.unique(new)) < 2:
        return None
    a, b, n = stats.rankdata(old), stats.rankdata(new), len(old)
    rho, tau = float(stats.spearmanr(a, b)[0]), float(stats.kendalltau(a, b)[0])
    if n < FEWEST:
        return Interval(rho, -1.0, 1.0), Interval(tau, -1.0, 1.0)

    def interval(value: float, variance: float, nearest: float) -> Interval:
        middle, half = math.atanh(max(-nearest, min(nearest, value))), 1.96 * math.sqrt(variance)
        low, high = math.tanh(middle - half), math.tanh(middle + half)
        return Interval(value, min(value, low), max(value, high))

    return (
        interval(rho, (1 + rho**2 / 2) / (n - 3), 1 - 12 / (n * (n**2 - 1))),
        interval(tau, 0.437 / (n - 4), 1 - 4 / (n * (n - 1))),
    )


def expected_correlation(scores: np.ndarray, executions: int = 1, overlap: float = 0.0, seed: int = 0) -> float:
    """Return the rank correlation that noise alone would leave in 95% of all re-tests if nothing had changed.

    Old and new scores are drawn as true scores plus noise. The true ones are the new means, drawn together as far as
    the noise explains their spread; where it might explain all of it, they are equal.

    Args:
        scores: (configurations, replicates) new scores, finite.
        executions: Of how many trainings each old score was the mean.
        overlap: As in `gains_over_first`.
        seed: Of the draws.

    Returns:
        The 5% quantile of Spearman's rho.

    Example:
        >>> expected_correlation(np.arange(30.0).reshape(10, 3)) > 0.9
        True
    """
    variances, _ = noise(scores)
    (n, replicates), means = scores.shape, scores.mean(axis=1)
    of_mean = variances * (1 / replicates + overlap)
    # The signal at the lower end of what the spread of the means allows, so that noise is not taken for it.
    spread = means.var(ddof=1) / stats.f.ppf(0.95, n - 1, (n - 1) * (replicates - 1))
    signal = 0.0 if spread <= of_mean.mean() else math.sqrt(1 - of_mean.mean() / spread)
    true = means.mean() + signal * (means - means.mean())
    generator = np.random.default_rng(seed)
    old = true + np.sqrt(variances / executions) * generator.standard_normal((_DRAWS, n))
    new = true + np.sqrt(of_mean) * generator.standard_normal((_DRAWS, n))
    difference = old.argsort(axis=1).argsort(axis=1) - new.argsort(axis=1).argsort(axis=1)
    return float(np.quantile(1 - 6 * np.square(difference).sum(axis=1) / (n * (n**2 - 1)), 0.05))


def _change(old: float, scores: np.ndarray, like: np.ndarray, executions: int, overlap: float) -> Interval:
    """Return by how much the mean of `scores` is above `old`; the noise is that of all configurations `like` it."""
    replicates = len(scores)
    # With what a replicate does to all of them: no pairing takes that out of a comparison with an old score.
    variance = float(like.var(axis=1, ddof=1).mean()) * (1 / replicates + overlap + 1 / executions)
    half = float(stats.t.ppf(0.975, replicates - 1)) * math.sqrt(variance)
    value = float(scores.mean() - old)
    return Interval(value, value - half, value + half)


def _drift(differences: np.ndarray) -> Interval | None:
    if len(differences) < 3:
        return None
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / math.sqrt(len(differences)))
    value = float(differences.mean())
    return Interval(value, value - half, value + half)


def assess(old: np.ndarray, new: np.ndarray, top: int, executions: int = 1, overlap: float = 0.0) -> Staleness:
    """Return what new scores of old configurations say of them, and the verdict.

    The rule, the first that fits:

    fully     more than half of the configurations that were the best now fail in some replicate; or the order has
              changed: of those that do not fail there are at least FEWEST, and the rank correlation of their old
              and new scores is below BROKEN and below what noise alone would leave (`expected_correlation`), and that
              is at least TELLING, else the noise is too large to see an order in.
    narrowly  the incumbent fails in some replicate and others in none; or another configuration beats it: the
              lower end of its gain (`gains_over_first`) is above 0.
    keep      otherwise.

    200 simulated studies of 40 trials, the best 5 and 5 others again in 3 replicates; noise in standard deviations of
    the true scores over trials (tests/tuning/test_staleness.py):

        noise                    0.03   0.1    0.3    1
        nothing changed, keep    0.98   0.96   0.92   0.91
        order shuffled, fully    0.92   0.94   0.89   0.30  (the noise hides the order; else keep)
        optimum moved to the
        third best, narrowly     0.94   0.72   0.32   0.07  (what cannot be seen is not claimed)

    Args:
        old: (n,) scores when the configurations were chosen, higher is better; the first is the incumbent's.
        new: (n, replicates) scores today, NaN for a failure; in a replicate all have the same seed.
        top: How many of the first configurations were chosen for their old scores, at least 1; the others were
            drawn.
        executions: Of how many trainings each old score was the mean, at least 1.
        overlap: As in `gains_over_first`.

    Returns:
        The figures and the verdict.

    Raises:
        InputError: If there are fewer than two configurations or replicates, or none without a failure.

    Example:
        >>> old = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
        >>> assess(old, old[:, None] + [-0.01, 0.0, 0.02], top=3).verdict
        'keep'
    """
    new = np.asarray(new, np.float64)
    old = np.asarray(old, np.float64)
    checks.in_range("executions", executions, 1, integer=True)
    if new.ndim != 2 or min(new.shape) < 2 or len(old) != len(new):
        wanted = "scores of at least 2 configurations in at least 2 replicates, and as many old ones"
        raise InputError("new", wanted, f"shapes {new.shape} and {old.shape}")
    checks.in_range("top", top, 1, len(old), integer=True)
    fine = np.isfinite(new).all(axis=1)
    if not fine.any():
        raise InputError("new", "a configuration without failures", "none")
    whole = np.flatnonzero(fine)
    means = np.where(fine, np.where(np.isfinite(new), new, 0.0).mean(axis=1), -math.inf)
    gains: list[Interval | None] = [None] * len(old)
    if fine[0] and len(whole) > 1:
        for position, gain in zip(whole[1:], gains_over_first(new[whole], overlap), strict=True):
            gains[position] = gain
    beaten_by = tuple(i for i, gain in enumerate(gains) if gain is not None and gain.low > 0)
    compared = [gain for gain in gains[:top] if gain is not None] or [gain for gain in gains if gain is not None]
    correlations = rank_correlations(old, means)
    likely = expected_correlation(new[whole], executions, overlap) if len(whole) >= FEWEST else None
    # Failures are judged by themselves: one of the incumbent alone would look like another order.
    of_whole = rank_correlations(old[whole], means[whole])
    rho = of_whole[0].value if of_whole else None
    verdict, reasons = _judge(fine, top, beaten_by, rho, likely)
    chosen, drawn = whole[whole < top], whole[whole >= top]
    return Staleness(
        verdict=verdict,
        reasons=tuple(reasons),
        means=tuple(float(mean) if ok else None for mean, ok in zip(means, fine, strict=True)),
        gains=tuple(gains),
        beaten_by=beaten_by,
        visible=float(np.median([gain.high - gain.value for gain in compared])) if compared else None,
        change=_change(old[0], new[0], new[chosen], executions, overlap) if fine[0] else None,
        drift=_drift(means[drawn] - old[drawn]),
        spearman=correlations[0] if correlations else None,
        kendall=correlations[1] if correlations else None,
        expected=likely,
    )


def _judge(
    fine: np.ndarray, top: int, beaten_by: tuple[int, ...], rho: float | None, expected: float | None
) -> tuple[Verdict, list[str]]:
    """Return the verdict by the rule of `assess`, and why."""
    failing = int((~fine[:top]).sum())
    if 2 * failing > top:
        return "fully", [f"{failing} of the {top} configurations that were the best fail now."]
    order, broken = _order(rho, expected)
    if broken:
        return "fully", [order]
    if not fine[0]:
        return "narrowly", ["The incumbent fails now, and others do not.", order]
    if beaten_by:
        others = "Another configuration beats" if len(beaten_by) == 1 else f"{len(beaten_by)} others beat"
        return "narrowly", [f"{others} the incumbent by more than the noise.", order]
    return "keep", ["No other configuration beats the incumbent by more than the noise.", order]


def _order(rho: float | None, expected: float | None) -> tuple[str, bool]:
    """Return what can be said of the order of the configurations, and whether it has changed."""
    if rho is None or expected is None:
        return f"Whether the order has changed cannot be told: that takes {FEWEST} that differ and do not fail.", False
    told = f"the rank correlation is {rho:.2f}, and noise alone would leave {expected:.2f} or more in 95% of re-tests"
    if expected < TELLING:
        return f"The noise is too large to see an order in: {told}. More replicates would help.", False
    if rho < min(BROKEN, expected):
        return f"What was good is good no longer: {told}.", True
    if rho < expected:
        return f"The order has changed, but what was good still tends to be: {told}.", False
    return f"The order is what it was, as far as the noise lets see: {told}.", False
