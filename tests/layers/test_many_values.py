"""From 100,000 values on sums are taken otherwise: from a value in the middle, and under XLA in slices of rows."""

import numpy as np
import pytest
from reference import draw, formulas, statistics, step, worst

from kerasbn.layers import BatchNormalization
from kerasbn.layers.normalization import MANY

SHAPES = [
    ((40_001, 3), -1),  # a row more than slices of four
    ((43, 55, 50, 1), -1),
    ((33, 21, 7, 23), -1),
    ((7, 19, 31, 5, 5), -1),
    ((300, 4, 101), 1),
    ((3, 5_003, 7), (0, 2)),  # slices of the axis in between
    ((3, 40_001), 0),
    ((1_001, 11, 11), (1, 2)),
]


def check(layer, x, expected, dy, mask=None, run="eager"):
    assert x.size >= MANY
    y, dx, dgamma, dbeta = step(layer, x, dy, mask, run)
    assert layer.kernel.path == "scratch"
    terms = np.abs(dy).sum() / len(expected.dbeta.flat)  # that cancel
    for actual, wanted, most in (
        (y, expected.y, 1e-5 * np.abs(expected.y).max()),
        (dx, expected.dx, 2e-5 * np.abs(expected.dx).max()),
        (dgamma, expected.dgamma, 4e-6 * terms),
        (dbeta, expected.dbeta, 4e-6 * terms),
        (statistics(layer)[0], expected.mean, 2e-5),
        (statistics(layer)[1], expected.variance, 1e-4),
    ):
        assert np.abs(actual - wanted).max() < most


@pytest.mark.parametrize("run", ["eager", "unknown", "xla"])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_sums_of_many_values(shape, axis, run):
    x, dy = draw(shape, offset=10.0), draw(shape, 1)
    layer = BatchNormalization(axis=axis, momentum=0.0, kernel="scratch")
    check(layer, x, formulas(x, dy, axis=axis), dy, run=run)


@pytest.mark.parametrize("run", ["graph", "xla"])
def test_sums_of_many_values_that_a_mask_leaves(run):
    x, dy = draw((5_001, 7, 4)), draw((5_001, 7, 4), 1)
    mask = np.random.default_rng(2).random((5_001, 7)) < 0.5
    check(BatchNormalization(momentum=0.0), x, formulas(x, dy, mask=mask), dy, mask, run)


@pytest.mark.parametrize("run", ["eager", "unknown", "xla"])
def test_many_values_in_ghost_batches(run):
    x, dy, size = draw((2_003, 5, 11), offset=5.0), draw((2_003, 5, 11), 1), 400
    cuts = range(size, len(x), size)
    parts = [formulas(part, upstream) for part, upstream in zip(np.split(x, cuts), np.split(dy, cuts), strict=True)]
    whole = formulas(x)
    expected = whole._replace(
        y=np.concatenate([part.y for part in parts]),
        dx=np.concatenate([part.dx for part in parts]),
        dgamma=sum(part.dgamma for part in parts),
        dbeta=sum(part.dbeta for part in parts),
    )
    check(BatchNormalization(momentum=0.0, virtual_batch_size=size), x, expected, dy, run=run)


@pytest.mark.parametrize("kernel", ["auto", "scratch"])
@pytest.mark.parametrize("run", ["eager", "graph", "xla"])
def test_an_offset_is_taken_out_of_many_values(run, kernel):
    # The plain mean of these, which TensorFlow adds one by one, is hundreds of deviations off.
    x = draw((250_000, 2), scale=1.0, offset=1e6)
    layer = BatchNormalization(momentum=0.0, kernel=kernel)
    y, *_ = step(layer, x, x, run=run)
    expected = formulas(x)
    mean, variance = statistics(layer)
    assert worst(y, expected.y) < 2e-3  # what is left is TensorFlow's sum of so many squares, one by one
    assert worst(mean, expected.mean) < 1e-7
    assert worst(variance, expected.variance) < 2e-3


@pytest.mark.parametrize("run", ["graph", "xla"])
@pytest.mark.parametrize("row", [0, 10_000, 20_000, 30_000, 39_999])  # among them those of the estimate
@pytest.mark.parametrize("outlier", [1e4, -1e8])
def test_a_single_value_far_off_spoils_no_estimate(outlier, row, run):
    x = draw((40_000, 3), scale=1.0, offset=0.0)
    x[row] = outlier
    layer = BatchNormalization(momentum=0.0, kernel="scratch")
    expected = formulas(x)
    y, *_ = step(layer, x, x, run=run)
    mean, variance = statistics(layer)
    # In float32 the large value alone takes from the sum of the others what is behind its own last digit.
    assert np.abs(mean - expected.mean).max() < 2e-7 * abs(outlier)
    assert worst(variance, expected.variance) < 1e-3
    assert np.abs(y - expected.y).max() < 1e-3 * np.abs(expected.y).max()


@pytest.mark.parametrize("row", [0, 20_000, 30_000])
def test_what_is_not_a_number_spoils_its_channel_alone(row):
    x = draw((40_000, 3))
    x[row, 1] = np.nan
    layer = BatchNormalization(momentum=0.0, kernel="scratch")
    y, *_ = step(layer, x, x)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
    assert np.isnan(layer.moving_mean.numpy()).tolist() == [False, True, False]


@pytest.mark.parametrize("shape", [(0, 5_000), (0, 2_500, 2)])
@pytest.mark.parametrize("run", ["unknown", "xla"])  # a graph made for many, and none come
def test_none_of_many(shape, run):
    layer = BatchNormalization()
    y, *_ = step(layer, np.zeros(shape, "float32"), np.zeros(shape), run=run)
    assert y.shape == shape
    assert not layer.moving_mean.numpy().any()
    assert (layer.moving_variance.numpy() == 1).all()
