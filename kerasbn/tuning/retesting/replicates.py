"""Scores of several configurations on the same replicates: their noise, and who is better by more than that."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

# Probability of one or more false alarms among all comparisons with the first configuration: one re-test in twenty.
ERROR = 0.05


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty.

    Args:
        value: The estimate.
        low: Lower end of the interval.
        high: Upper end.

    Example:
        >>> print(Interval(0.0123, -0.001, 0.0256))
        0.0123 (-0.001 to 0.0256)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


def noise(scores: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the variance of each configuration's scores between replicates, and their degrees of freedom.

    Two or three replicates say little of a variance, and those of bad configurations are often much larger than
    those of good ones: neither each alone nor all pooled is right. So each is drawn towards what they have in common,
    as far as they are alike:

        v_i = (d_0 s_0^2 + d s_i^2) / (d_0 + d),  d = replicates - 1

    with d_0 and s_0 from the moments of log s_i^2. What a replicate does to all configurations (its seed, its split) is
    taken out first, as the median over them. Scores that come in steps, as accuracies do, have at least the variance
    of rounding to a step.

    Args:
        scores: (configurations, replicates), at least 2 of each; finite.

    Returns:
        (configurations,) variances, and the degrees of freedom of each, infinite never.

    Example:
        >>> variances, degrees = noise(np.array([[1.0, 1.2, 1.1], [2.0, 2.3, 2.3]]))
        >>> degrees
        2.0

    Source: Smyth (2004), Linear models and empirical Bayes methods, Stat. Appl. Genet. Mol. Biol. 3(1).
    """
    count, degrees = len(scores), scores.shape[1] - 1
    deviations = scores - scores.mean(axis=1, keepdims=True)
    common = np.median(deviations, axis=0)
    deviations = deviations - (common - common.mean())
    own = np.square(deviations).sum(axis=1) / (degrees * (1 - 1 / count))
    steps = np.diff(np.unique(scores))
    own = np.maximum(own, 0 if len(steps) == 0 else steps.min() ** 2 / 12)
    pooled, most = np.full(count, own.mean()), float((count - 1) * degrees)
    if count < 3 or own.min() <= 0:
        return pooled, most
    logs = np.log(own) - special.digamma(degrees / 2) + math.log(degrees / 2)
    excess = logs.var(ddof=1) - special.polygamma(1, degrees / 2)
    if excess <= 1e-6:  # no more different than chance has it
        return pooled, most
    prior = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-5, 1e7)
    center = math.exp(logs.mean() + special.digamma(prior / 2) - math.log(prior / 2))
    return (prior * center + degrees * own) / (prior + degrees), min(prior + degrees, most)


def gains_over_first(scores: np.ndarray, overlap: float = 0.0) -> list[Interval]:
    """Return by how much each configuration is better than the first, with intervals that hold all at the same time.

        gain_i = mean_r (s_ir - s_0r),  gain_i +- t sqrt((v_i + v_0) (1 / replicates + overlap))

    with v of `noise`, and t the quantile of Student's distribution at 1 - ERROR / (number of comparisons)
    (Bonferroni). So with probability 1 - ERROR no lower end is above a true gain, and of configurations that are no
    better, none seems better. Simulated with 3 replicates: 0.96 where all have the same noise, 0.93 where one has five
    times that of the others.

    Args:
        scores: (configurations, replicates), higher is better; finite.
        overlap: Validation examples for each training example, where every replicate splits the same examples
            anew: such replicates are less different than new examples would be. 0 where they are not split anew.

    Returns:
        One for each configuration but the first.

    Example:
        >>> print(gains_over_first(np.array([[0.5, 0.6, 0.6], [0.7, 0.8, 0.8]]))[0])
        0.2 (0.131 to 0.269)

    Source: Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52.
    """
    variances, degrees = noise(scores)
    means, width = scores.mean(axis=1), 1 / scores.shape[1] + overlap
    found = []
    for mean, variance in zip(means[1:], variances[1:], strict=True):
        # As many degrees of freedom as one variance has: those of the sum (Satterthwaite) promise too much, since the
        # variances of few replicates are not drawn together in just the right measure.
        half = float(stats.t.isf(ERROR / (len(means) - 1), degrees) * math.sqrt((variance + variances[0]) * width))
        gain = float(mean - means[0])
        found.append(Interval(gain, gain - half, gain + half))
    return found
