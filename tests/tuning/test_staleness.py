"""staleness: verdicts against simulated truth, the rule's cases one by one, and the intervals' coverage."""

import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.retesting.replicates import Interval, gains_over_first, noise
from kerasbn.tuning.retesting.staleness import assess, rank_correlations

TRIALS, TOP, OTHERS, STUDIES = 40, 5, 5, 200


def simulated(generator, change, noise, rising=0.0, replicates=3):
    """Return old and new scores of a re-test of 40 trials in four dimensions, and their true new ones.

    Standard deviation of the true scores: 1. `rising`: by how much the noise is larger for each deviation that a
    trial is below the best.
    """
    points, weights = generator.random((TRIALS, 4)), np.geomspace(1, 0.1, 4)
    optimum = generator.uniform(0.25, 0.75, 4)

    def surface(place):
        return -(np.square(points - place) * weights).sum(axis=1)

    scale = surface(optimum).std()
    true = surface(optimum) / scale

    def noisy(scores, shape):
        return noise * (1 + rising * (scores.max() - scores)) * generator.standard_normal(shape)

    old = true + noisy(true, TRIALS)
    order = np.argsort(-old)
    today = {
        "nothing": true - 0.3,  # the data are harder, for all alike
        "order": generator.permutation(true),
        "optimum": surface(points[order[2]]) / scale,  # it moves to where the third best was
    }[change]
    drawn = [generator.choice(stratum) for stratum in np.array_split(order[TOP:], OTHERS)]
    chosen = np.concatenate([order[:TOP], drawn])
    common = 0.2 * generator.standard_normal(replicates)  # what a replicate's split does to all
    new = np.stack([today + noisy(today, TRIALS) for _ in range(replicates)], axis=1) + common
    return old[chosen], new[chosen], today[chosen]


def rates(change, studies=STUDIES, **settings):
    generator = np.random.default_rng(0)
    found = [assess(*simulated(generator, change, **settings)[:2], top=TOP).verdict for _ in range(studies)]
    return {verdict: found.count(verdict) / studies for verdict in ("keep", "narrowly", "fully")}


@pytest.mark.parametrize(("noise", "rising"), [(0.03, 0), (0.1, 0), (0.3, 0), (0.03, 3)])
def test_keep_where_nothing_has_changed(noise, rising):
    assert rates("nothing", noise=noise, rising=rising)["keep"] >= 0.9


@pytest.mark.parametrize(("noise", "rising"), [(0.03, 0), (0.3, 0), (0.03, 3)])
def test_fully_where_the_order_is_another(noise, rising):
    assert rates("order", noise=noise, rising=rising)["fully"] >= 0.85


def test_narrowly_where_the_optimum_has_moved_among_the_best():
    found = rates("optimum", noise=0.01)
    assert found["narrowly"] >= 0.8
    assert found["fully"] <= 0.05
    blurred = rates("optimum", noise=0.3)
    assert blurred["keep"] > blurred["narrowly"] > blurred["fully"]  # what cannot be seen is not claimed


def test_what_beats_the_incumbent_is_better():
    generator, false = np.random.default_rng(0), 0
    for _ in range(STUDIES):
        old, new, true = simulated(generator, "nothing", 0.3)
        false += any(true[i] <= true[0] for i in assess(old, new, TOP).beaten_by)
    assert false / STUDIES <= 0.05


def test_intervals_of_gains_hold_all_at_once():
    generator, true = np.random.default_rng(1), np.array([0.0, 0.0, -0.1, -0.2, -0.3, -0.5])
    spread = np.array([0.02, 0.02, 0.03, 0.05, 0.1, 0.2])  # the worse, the noisier
    missed = 0
    for _ in range(STUDIES):
        scores = true[:, None] + spread[:, None] * generator.standard_normal((6, 3)) + generator.standard_normal(3)
        missed += any(gain.low > t - true[0] for gain, t in zip(gains_over_first(scores), true[1:], strict=True))
    assert missed / STUDIES <= 0.08


def test_noise_is_of_each_as_far_as_they_differ():
    generator = np.random.default_rng(2)
    alike, degrees = noise(generator.standard_normal((20, 4)))
    assert degrees > 10
    assert alike == pytest.approx(np.ones(20), rel=0.5)
    spread = np.array([0.01] * 10 + [1.0] * 10)
    different, degrees = noise(spread[:, None] * generator.standard_normal((20, 4)))
    assert degrees < 6
    assert different[:10].max() < 0.01 < 0.1 < different[10:].min()


def test_scores_in_steps_have_the_noise_of_rounding():
    variances, _ = noise(np.array([[0.5, 0.5], [0.75, 0.75], [1.0, 1.0]]))
    assert variances == pytest.approx([0.25**2 / 12] * 3)


def test_an_overlap_widens():
    scores = np.random.default_rng(3).standard_normal((4, 3))
    alone, split = gains_over_first(scores), gains_over_first(scores, overlap=1 / 3)
    for a, b in zip(alone, split, strict=True):
        assert (b.high - b.value) / (a.high - a.value) == pytest.approx(2**0.5)


@pytest.mark.parametrize("truth", [0.0, 0.9])
def test_intervals_of_correlations(truth):
    generator, held = np.random.default_rng(4), np.zeros(2)
    rho, tau = 6 / np.pi * np.arcsin(truth / 2), 2 / np.pi * np.arcsin(truth)
    for _ in range(400):
        x = generator.multivariate_normal([0, 0], [[1, truth], [truth, 1]], 10)
        spearman, kendall = rank_correlations(x[:, 0], x[:, 1])
        held += spearman.low <= rho <= spearman.high, kendall.low <= tau <= kendall.high
    assert (held / 400 >= 0.9).all()


def test_correlations_of_few_and_of_equal_ones():
    assert rank_correlations(np.arange(4.0), np.arange(4.0))[0] == Interval(pytest.approx(1), -1, 1)
    assert rank_correlations(np.zeros(4), np.arange(4.0)) is None
    spearman, kendall = rank_correlations(np.arange(6.0), np.arange(6.0))
    assert spearman.value == spearman.high == pytest.approx(1)
    assert spearman.low < 0.6
    assert kendall.low < 0.6


OLD = np.linspace(0.9, 0.1, 9)
QUIET = np.array([-0.01, 0.0, 0.01])


def told(new, top=4):
    return assess(OLD, np.asarray(new), top)


def test_rule_failures():
    new = OLD[:, None] + QUIET
    new[0, 1] = np.nan
    assert told(new).verdict == "narrowly"
    assert told(new).reasons[0] == "The incumbent fails now, and others do not."
    assert told(new).means[0] is None
    assert told(new).change is None
    assert told(new).gains == (None,) * 9
    new[1:3] = np.inf
    assert told(new).verdict == "fully"
    assert told(new).reasons == ("3 of the 4 configurations that were the best fail now.",)
    new[:] = np.nan
    with pytest.raises(InputError, match=r"^new: expected a configuration without failures; received none"):
        told(new)


def test_rule_order_and_gains():
    assert told(OLD[:, None] + QUIET).verdict == "keep"
    reversed_order = told(OLD[::-1, None] + QUIET)
    assert reversed_order.verdict == "fully"
    assert "rank correlation is -1.00" in reversed_order.reasons[0]
    swapped = OLD.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    beaten = told(swapped[:, None] + QUIET + 1e-3 * np.random.default_rng(0).standard_normal((9, 3)))
    assert (beaten.verdict, beaten.beaten_by) == ("narrowly", (1,))
    assert beaten.gains[1].value == pytest.approx(0.1, abs=0.01)
    assert beaten.change.value == pytest.approx(-0.1, abs=0.01)
    assert beaten.drift.value == pytest.approx(0, abs=0.01)


def test_noise_that_hides_all_order_says_so():
    new = np.random.default_rng(5).standard_normal((9, 3))
    assert told(new).verdict == "keep"
    assert "The noise is too large to see an order in" in told(new).reasons[1]


def test_few_configurations_have_no_order():
    found = assess(OLD[:3], OLD[:3, None] + QUIET, top=3)
    assert found.verdict == "keep"
    assert "Whether the order has changed cannot be told: that takes 5" in found.reasons[1]
    assert found.expected is found.drift is None


def test_one_replicate_is_refused():
    with pytest.raises(InputError, match=r"at least 2 replicates, and as many old ones; received shapes \(9, 1\)"):
        told(OLD[:, None])
