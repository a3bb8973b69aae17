"""Moving averages: what each batch weighs, which batches are left out, and which variance is averaged."""

import keras
import numpy as np
import pytest
from reference import draw, formulas, in_mode, statistics, step

from kerasbn.layers import BatchNormalization
from kerasbn.layers.moving_average import AVERAGINGS, weight_of_next

COLUMN = np.array([[1.0], [2.0], [3.0], [4.0]], "float32")


def averages(values, averaging, momentum, initial):
    """Return the average after each value: bias correction as in the course, not as the layer writes it."""
    result, raw = [], initial if averaging == "ema" else 0.0
    for t, value in enumerate(np.float64(values), 1):
        raw = momentum * raw + (1 - momentum) * value
        corrections = {"ema": raw, "debiased": raw / (1 - momentum**t), "cumulative": np.mean(values[:t], 0)}
        result.append(corrections[averaging])
    return result


@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_each_averaging_after_each_batch(averaging, momentum, estimator):
    layer = BatchNormalization(momentum=momentum, averaging=averaging, variance_estimator=estimator)
    batches = [draw((rows, 3), seed=rows, offset=4) for rows in (8, 5, 2, 9, 12)]
    results = []
    for batch in batches:
        layer(batch, training=True)
        results.append(statistics(layer))
    ddof = 0 if estimator == "biased" else 1
    means = averages([np.float64(b).mean(0) for b in batches], averaging, momentum, 0.0)
    variances = averages([np.float64(b).var(0, ddof=ddof) for b in batches], averaging, momentum, 1.0)
    for (mean, variance), mean_wanted, variance_wanted in zip(results, means, variances, strict=True):
        np.testing.assert_allclose(mean, mean_wanted, rtol=1e-5)
        np.testing.assert_allclose(variance, variance_wanted, rtol=1e-5)


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("averaging", ["debiased", "cumulative"])
def test_the_average_of_a_constant_is_exact_at_the_first_step(averaging, run):
    layer = BatchNormalization(averaging=averaging)
    x = np.array([[-7.3], [11.7]], "float32")
    layer.build(x.shape)
    call = in_mode(lambda x: layer(x, training=True), run)
    call(x)
    exact = np.float32(np.float64(x).mean()), np.float32(np.float64(x).var())
    assert layer.moving_mean.numpy()[0] == exact[0]
    assert layer.moving_variance.numpy()[0] == exact[1]
    for _ in range(50):
        call(x)
    np.testing.assert_allclose(layer.moving_mean.numpy(), exact[0], rtol=2e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), exact[1], rtol=2e-6)


def test_a_plain_average_keeps_36_percent_of_what_it_began_with_after_100_steps():
    layer = BatchNormalization(
        moving_mean_initializer="ones", moving_variance_initializer=keras.initializers.Constant(2)
    )
    x = np.array([[-1.0], [1.0]], "float32")
    call = in_mode(lambda x: layer(x, training=True), "graph")
    for _ in range(100):
        call(x)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.99**100, rtol=1e-5)  # 0.366
    np.testing.assert_allclose(layer.moving_variance.numpy(), 1 + 0.99**100, rtol=1e-5)


@pytest.mark.parametrize(("averaging", "weight"), [("ema", 0.25), ("debiased", 0.25), ("cumulative", 1e-4)])
def test_weights_after_many_batches(averaging, weight):
    weights = np.broadcast_to(weight_of_next(averaging, 0.75, np.float32([9999, 9999])), 2)
    np.testing.assert_allclose(weights, weight, rtol=1e-6)


def test_the_debiased_weight_keeps_its_digits_near_momentum_one():
    momentum, t = 0.9999, np.arange(1.0, 50.0)
    exact = [1 / sum(momentum**k for k in range(int(n))) for n in t]
    np.testing.assert_allclose(weight_of_next("debiased", momentum, np.float32(t - 1)), exact, rtol=1e-5)


@pytest.mark.parametrize(("estimator", "expected"), [("biased", 1.25), ("unbiased", 5 / 3)])
@pytest.mark.parametrize("kernel", ["fused", "scratch"])
def test_the_variance_of_1_2_3_4(estimator, expected, kernel):
    # keras#10443, tensorflow#55545: the fused kernel's own variance is 1.6667, whatever one asks for.
    layer = BatchNormalization(momentum=0.0, variance_estimator=estimator, kernel=kernel)
    y = layer(COLUMN, training=True)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [expected], rtol=1e-6)
    np.testing.assert_allclose(y, (COLUMN - 2.5) / np.sqrt(1.25 + 1e-3), rtol=1e-5)  # by the biased one in any case


@pytest.mark.parametrize("kernel", ["fused", "scratch"])
def test_batches_of_two_do_not_halve_an_unbiased_variance(kernel):
    # keras#8982: with two values a batch the biased variance ends near a half of the true one.
    x = np.random.default_rng(0).normal(size=(1000, 2, 4)).astype("float32")
    ends = {}
    for estimator in ("biased", "unbiased"):
        layer = BatchNormalization(averaging="cumulative", variance_estimator=estimator, kernel=kernel)
        layer.build((None, 4))
        call = in_mode(lambda x, layer=layer: layer(x, training=True), "graph")
        for batch in x:
            call(batch)
        ends[estimator] = layer.moving_variance.numpy().mean()
    np.testing.assert_allclose(ends["biased"], x.var(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(ends["biased"], 0.5, atol=0.05)
    np.testing.assert_allclose(ends["unbiased"], 1.0, atol=0.1)


def test_the_unbiased_variance_counts_what_the_mask_leaves():
    x = draw((6, 5, 3))
    mask = np.random.default_rng(1).random(x.shape) < 0.5
    layer = BatchNormalization(momentum=0.0, variance_estimator="unbiased")
    layer(x, training=True, mask=mask)
    expected = [np.float64(x[..., c][mask[..., c]]).var(ddof=1) for c in range(3)]
    np.testing.assert_allclose(layer.moving_variance.numpy(), expected, rtol=1e-5)


# Batches that tell nothing -------------------------------------------------------------------------------------

NOTHING = {
    "empty": (np.zeros((0, 3), "float32"), None),
    "masked": (draw((4, 3)), np.zeros(4, bool)),
    "masked and not finite": (np.full((4, 3), np.nan, "float32"), np.zeros((4, 1), bool)),
}


def trained(**arguments):
    layer = BatchNormalization(momentum=0.9, **arguments)
    for seed in range(3):
        layer(draw((8, 3), seed), training=True)
    return layer


@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("case", NOTHING)
def test_a_batch_of_nothing_changes_no_bit(case, averaging, run):
    x, mask = NOTHING[case]
    layer = trained(averaging=averaging)
    before = layer.get_weights()
    y, _, dgamma, dbeta = step(layer, x, np.zeros(x.shape), mask=mask, run=run)
    for weight, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)
    if np.isfinite(x).all():
        assert np.isfinite(y).all()
    assert not dgamma.any()
    assert not dbeta.any()


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("kernel", ["fused", "scratch"])
def test_a_single_value_has_a_mean_but_no_variance(kernel, averaging, estimator):
    layer = trained(averaging=averaging, variance_estimator=estimator, kernel=kernel)
    mean, variance = statistics(layer)
    y = layer(np.full((1, 3), 100.0, "float32"), training=True)
    assert np.isfinite(y).all()
    assert (statistics(layer)[0] > mean).all()
    np.testing.assert_array_equal(statistics(layer)[1], variance)


@pytest.mark.parametrize("averaging", ["debiased", "cumulative"])
def test_each_channel_has_a_weight_of_its_own(averaging):
    """A channel of which a batch tells nothing is as if there had been no such batch."""
    layer = BatchNormalization(momentum=0.8, averaging=averaging)
    layer.build((None, 3))
    rng = np.random.default_rng(3)
    means, variances = [[], [], []], [[], [], []]
    for seed in range(6):
        x, mask = draw((5, 3), seed), rng.random((5, 3)) < 0.3
        layer(x, training=True, mask=mask)
        for c in range(3):
            values = np.float64(x[:, c][mask[:, c]])
            means[c] += [values.mean()] if len(values) > 0 else []
            variances[c] += [values.var()] if len(values) > 1 else []
    counts = [[len(values) for values in kind] for kind in (means, variances)]
    assert len({*map(tuple, counts)}) == 2  # the draw has what this test is about
    np.testing.assert_array_equal(layer.updates.numpy(), counts)
    for moving, kind, initial in ((layer.moving_mean, means, 0.0), (layer.moving_variance, variances, 1.0)):
        for c, values in enumerate(kind):
            expected = averages(values, averaging, 0.8, initial)[-1] if values else initial
            np.testing.assert_allclose(moving.numpy()[c], expected, rtol=1e-5)


def test_a_channel_that_is_masked_keeps_its_bits_while_others_move():
    layer = trained()
    before = [weight[1] for weight in layer.get_weights()]
    mask = np.ones((4, 3), bool)
    mask[:, 1] = False
    layer(draw((4, 3), 9), training=True, mask=mask)
    after = layer.get_weights()
    assert [weight[1] for weight in after] == before
    assert (after[2][[0, 2]] != before[2]).all()


# Momentum and its ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["fused", "scratch"])
def test_momentum_zero_takes_the_last_batch_and_one_the_first_value(kernel):
    last, first = (BatchNormalization(momentum=m, kernel=kernel) for m in (0.0, 1.0))
    for seed in range(3):
        x = draw((8, 3), seed)
        for layer in (last, first):
            layer(x, training=True)
    np.testing.assert_allclose(last.moving_mean.numpy(), x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(last.moving_variance.numpy(), x.var(0), rtol=1e-5)
    np.testing.assert_array_equal(first.moving_mean.numpy(), np.zeros(3))
    np.testing.assert_array_equal(first.moving_variance.numpy(), np.ones(3))


def test_momentum_set_later_counts_from_the_next_step():
    layer = trained()
    layer.momentum = 0.0
    x = draw((8, 3), 5)
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(0), rtol=1e-5)


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_saving_goes_on_where_it_was(tmp_path, averaging):
    model = keras.Sequential([keras.Input((3,)), BatchNormalization(momentum=0.8, averaging=averaging)])
    for seed in range(3):
        model(draw((8, 3), seed), training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each(draw((8, 3), 7), training=True)
    assert len(loaded.weights) == (4 if averaging == "ema" else 5)
    for actual, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_float16_variables_still_average(averaging):
    layer = BatchNormalization(momentum=0.5, averaging=averaging, dtype="float16")
    for _ in range(3):
        layer(COLUMN.astype("float16"), training=True)
    first = {"ema": 0.875, "debiased": 1.0, "cumulative": 1.0}[averaging]
    np.testing.assert_allclose(layer.moving_mean.numpy(), [2.5 * first], rtol=2e-3)


@pytest.mark.parametrize("averaging", AVERAGINGS)
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_renorm_averages_the_deviation(averaging, estimator):
    """With renorm the deviation is averaged, not the variance, and inference uses its square."""
    layer = BatchNormalization(
        momentum=0.8, averaging=averaging, variance_estimator=estimator, renorm=True, renorm_momentum=0.6
    )
    batches = [draw((8, 3), seed, offset=3) for seed in range(4)]
    for batch in batches:
        layer(batch, training=True)
    ddof = 0 if estimator == "biased" else 1
    means = [np.float64(b).mean(0) for b in batches]
    deviations = [np.sqrt(np.float64(b).var(0, ddof=ddof) + 1e-3) for b in batches]
    deviation = averages(deviations, averaging, 0.8, 1.0)[-1]
    expected = {
        "moving_mean": averages(means, averaging, 0.8, 0.0)[-1],
        "moving_stddev": deviation,
        "moving_variance": deviation**2 - 1e-3,
        "renorm_mean": averages(means, "ema", 0.6, 0.0)[-1],
        "renorm_stddev": averages(deviations, "ema", 0.6, 1.0)[-1],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(layer, name).numpy(), value, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(
        layer(batches[0]), (batches[0] - expected["moving_mean"]) / deviation, rtol=1e-4, atol=1e-5
    )


def test_the_oracle_agrees_with_numpy():
    x = draw((7, 3))
    results = formulas(x)
    np.testing.assert_allclose(results.mean, np.float64(x).mean(0))
    np.testing.assert_allclose(results.variance, np.float64(x).var(0))
