"""Batch renormalization: the same as Keras's, and what goes beyond it."""

import inspect

import keras
import numpy as np
import pytest
from reference import draw, step

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

in_keras = pytest.mark.skipif(
    "renorm" not in inspect.signature(keras.layers.BatchNormalization).parameters,
    reason=f"the layer of Keras {keras.__version__} has no renorm",
)
CLIPPINGS = [None, {"rmax": 1.2, "rmin": 0.9, "dmax": 0.1}, {"dmax": 0.5}, {"rmax": 2.0}, {"rmin": 0.99, "rmax": None}]


@in_keras
@pytest.mark.parametrize("clipping", CLIPPINGS)
@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}, {"axis": 1}])
def test_the_same_as_keras(arguments, clipping):
    layers = [
        kind(renorm=True, renorm_clipping=clipping, momentum=0.9, renorm_momentum=0.7, **arguments)
        for kind in (keras.layers.BatchNormalization, BatchNormalization)
    ]
    for seed in range(4):
        x, dy = draw((12, 4, 3), seed, scale=seed + 1, offset=seed), draw((12, 4, 3), 9)
        theirs, ours = (step(layer, x, dy) for layer in layers)
        for one, other in zip(ours, theirs, strict=True):
            if other is not None:
                np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
    assert [w.name for w in layers[1].weights] == [w.name for w in layers[0].weights]
    for one, other in zip(layers[1].get_weights(), layers[0].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("run", ["graph", "unknown", "xla"])
@pytest.mark.parametrize("kernel", ["scratch", "fused"])
def test_in_every_mode(kernel, run):
    if (kernel, run) == ("fused", "xla"):
        kernel = "auto"
    layers = [BatchNormalization(renorm=True, kernel=kernel) for _ in range(2)]
    x, dy = draw((12, 3)), draw((12, 3), 1)
    for _ in range(3):
        for one, other in zip(step(layers[0], x, dy), step(layers[1], x, dy, run=run), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for one, other in zip(*(layer.get_weights() for layer in layers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_unclipped_training_normalises_by_the_averages():
    layer = BatchNormalization(renorm=True)
    layer.build((None, 2))
    layer.renorm_mean.assign([1.0, -1.0])
    layer.renorm_stddev.assign([2.0, 4.0])
    x = draw((8, 2))
    np.testing.assert_allclose(layer(x, training=True), (x - [1, -1]) / [2, 4], rtol=1e-4, atol=1e-5)


def test_masks_count_in_all_averages():
    x = draw((6, 2))
    mask = np.array([1, 1, 1, 1, 0, 0], bool)
    layers = [BatchNormalization(renorm=True, momentum=0.5, renorm_momentum=0.5) for _ in range(2)]
    layers[0](np.where(mask[:, None], x, 1e9), training=True, mask=mask)
    layers[1](x[:4], training=True)
    for one, other in zip(*(layer.get_weights() for layer in layers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_deviations_begin_at_the_root_of_the_initial_variance():
    layer = BatchNormalization(renorm=True, moving_variance_initializer=keras.initializers.Constant(4.0))
    layer.build((None, 3))
    np.testing.assert_allclose(layer.moving_stddev, np.full(3, 2.0))
    np.testing.assert_allclose(layer.renorm_stddev, np.full(3, 2.0))


def test_the_unbiased_variance_and_a_debiased_average_go_with_it():
    layer = BatchNormalization(renorm=True, averaging="debiased", variance_estimator="unbiased", epsilon=1e-6)
    layer(np.float32([[1], [2], [3], [4]]), training=True)
    assert float(layer.moving_variance[0]) == pytest.approx(5 / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("clipping", "message"),
    [
        ({"rmix": 1.0}, "bn.renorm_clipping: Received invalid keys: expected only rmax, rmin, dmax; received {'rmix'"),
        ({"rmax": 0.0, "rmin": 1.0}, "bn.renorm_clipping: rmax should be greater than rmin: expected at least 1.0;"),
        ({"dmax": -1.0}, "bn.renorm_clipping: dmax should be non-negative: expected at least 0; received -1.0."),
        ({"dmax": "wide"}, "bn.renorm_clipping['dmax']: expected a number; received 'wide'."),
    ],
)
def test_bad_clipping(clipping, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(renorm=True, renorm_clipping=clipping, name="bn")
    assert str(error.value).startswith(message)


def test_bad_momentum():
    with pytest.raises(InputError, match=r"bn.renorm_momentum: expected a number in \[0, 1\]; received 2. It is the"):
        BatchNormalization(renorm=True, renorm_momentum=2, name="bn")
