"""Several channel axes, and masks of every shape: exact counts whatever is left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import channels, draw, formulas, statistics, step, worst

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization

RUNS = ("eager", "graph", "unknown", "xla")
AXES = [
    ((6, 4, 3), (1, 2)),
    ((6, 4, 3), (-1, 0)),
    ((3, 4, 5, 2), (1, 3)),
    ((3, 4, 5, 2), [2, 1]),
    ((3, 4, 5, 2), (-2, -1)),
    ((3, 2, 4, 2, 3), (1, 2, 4)),
    ((5, 1, 4), (1,)),
]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(("shape", "axis"), AXES)
def test_several_channel_axes(shape, axis, run):
    x, dy = draw(shape), draw(shape, 1)
    layer = BatchNormalization(axis=axis, momentum=0.0, moving_mean_initializer="ones")
    layer.build(x.shape)
    layer.gamma.assign(draw(channels(x, axis), 2))
    expected = formulas(x, dy, gamma=layer.gamma.numpy(), axis=axis)
    y, dx, dgamma, dbeta = step(layer, x, dy, run=run)
    for actual, wanted in ((y, expected.y), (dx, expected.dx), (dgamma, expected.dgamma), (dbeta, expected.dbeta)):
        assert worst(actual, wanted) < 2e-5
    assert layer.gamma.shape == channels(x, axis)
    assert worst(statistics(layer)[0], expected.mean) < 1e-5
    assert worst(statistics(layer)[1], expected.variance) < 1e-5
    layer.beta.assign(draw(channels(x, axis), 3))
    exact = formulas(x, gamma=layer.gamma.numpy(), beta=layer.beta.numpy(), axis=axis).y
    assert worst(layer(x).numpy(), exact) < 1e-4  # momentum is 0: at inference by the same statistics


MASKS = [
    ((6, 4, 3), -1, (6, 4)),
    ((6, 4, 3), -1, (6, 1)),
    ((6, 4, 3), -1, (1, 4)),
    ((6, 4, 3), -1, (6, 4, 3)),
    ((6, 4, 3), -1, (1, 1, 3)),
    ((6, 4, 3), -1, (6, 1, 1)),
    ((6, 4, 3), 1, (6, 3)),  # without the channel axis
    ((6, 3, 4, 5), 1, (6, 4, 5)),  # channels first
    ((6, 3, 4, 5), 1, (6, 1, 4, 5)),
    ((6, 1, 4), 1, (6, 4)),  # C = 1
    ((6, 4, 2, 3), (2, 3), (6, 4)),
    ((6, 4, 2, 3), (1, 3), (6, 1, 2, 1)),
]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(("shape", "axis", "mask_shape"), MASKS)
def test_masks_of_every_shape(shape, axis, mask_shape, run):
    x, dy = draw(shape), draw(shape, 1)
    mask = np.random.default_rng(4).random(mask_shape) < 0.6
    expected = formulas(x, dy, axis=axis, mask=mask)
    layer = BatchNormalization(axis=axis, momentum=0.0)
    for actual, wanted in zip(step(layer, x, dy, mask, run), expected[:1] + expected[4:], strict=True):
        assert worst(actual, wanted) < 2e-5
    counted = expected.count > 0
    np.testing.assert_allclose(statistics(layer)[0][counted], expected.mean[counted], rtol=1e-5, atol=1e-6)
    several = expected.count > 1
    np.testing.assert_allclose(statistics(layer)[1][several], expected.variance[several], rtol=1e-5, atol=1e-6)


def test_masks_of_masking_lack_the_last_axis_wherever_the_channels_are():
    x = draw((5, 2, 3))
    x[1, 1] = 0
    model = keras.Sequential([keras.Input((2, 3)), keras.layers.Masking(), BatchNormalization(axis=1, momentum=0.0)])
    model(x, training=True)
    expected = formulas(x, axis=1, mask=(x != 0).any(-1)[..., None])
    np.testing.assert_allclose(statistics(model.layers[-1])[0], expected.mean, rtol=1e-5, atol=1e-6)


def test_a_mask_that_leaves_nothing_out_is_none():
    """keras#19848: these were -0.577."""
    layer = BatchNormalization()
    y = layer(np.ones((1, 2, 3, 4), "float32"), training=True, mask=np.ones((1, 2, 1), bool))
    np.testing.assert_array_equal(y, np.zeros((1, 2, 3, 4)))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_what_is_masked_spoils_nothing(bad, run):
    x, dy = draw((8, 3)), draw((8, 3), 1)
    mask = np.arange(8) < 6
    dy[6:] = 0  # as a loss leaves out what is masked
    expected = formulas(x, dy, mask=mask)
    spoiled = np.where(mask[:, None], x, np.float32(bad))
    layer = BatchNormalization(momentum=0.0)
    y, dx, dgamma, dbeta = step(layer, spoiled, dy, mask, run)
    assert worst(y[:6], expected.y[:6]) < 1e-5
    assert worst(dx, expected.dx) < 1e-5
    assert worst(dgamma, expected.dgamma) < 1e-5
    assert worst(dbeta, expected.dbeta) < 1e-5
    assert worst(statistics(layer)[0], expected.mean) < 1e-5


@pytest.mark.parametrize(
    ("axis", "shape", "message"),
    [
        (
            (1, -1),
            (4, 3),
            "bn.axis: expected different axes of inputs of shape (4, 3), and one left over to take means",
        ),
        ((0, 1), (4, 3), "bn.axis: expected different axes of inputs of shape (4, 3), and one left over to take means"),
        ((1, 5), (4, 3, 2), "bn.axis: expected an axis from -3 to 2 of inputs of shape (4, 3, 2); received (1, 5)."),
        (
            (1, 2),
            (4, None, 2),
            "bn: size of axis (1, 2): expected a known number of channels; received inputs of shape",
        ),
    ],
)
def test_bad_axes(axis, shape, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(axis=axis, name="bn").build(shape)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("axis", [(), (1, 1), "last", (1, 1.5), None])
def test_axes_that_are_none(axis):
    with pytest.raises(InputError, match=r"bn.axis: expected (one axis, or several different ones|a whole number)"):
        BatchNormalization(axis=axis, name="bn")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mask_shape", [(7, 7), (4, 3, 1), (3,), ()])
def test_masks_of_a_wrong_shape(mask_shape, training):
    with pytest.raises(
        InputError, match=r"bn: mask: expected the inputs' axes without \(1,\) or without the last"
    ) as error:
        BatchNormalization(name="bn")(draw((4, 3)), training=training, mask=np.ones(mask_shape, bool))
    assert f"received shape {mask_shape} for inputs of shape (4, 3)" in str(error.value)


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_whole_numbers_are_refused(dtype):
    message = f"bn: inputs: expected floating-point numbers; received {dtype}. Cast them first"
    with pytest.raises(InputError, match=message):
        BatchNormalization(name="bn")(np.ones((4, 3), dtype))
    with pytest.raises(InputError, match=message):
        BatchNormalization(name="bn")(keras.Input((3,), dtype=dtype))


def test_ragged_inputs_are_normalised_by_the_values_that_are_there():
    values = draw((6, 3))
    layer = BatchNormalization(momentum=0.0)
    layer.build((None, None, 3))
    y = layer(tf.RaggedTensor.from_row_lengths(values, [2, 4]), training=True)
    assert worst(y.flat_values.numpy(), formulas(values).y) < 1e-5
    assert y.row_lengths().numpy().tolist() == [2, 4]
    layer = BatchNormalization(axis=1, name="bn")
    layer.build((None, 2, 3))
    with pytest.raises(InputError, match=r"bn: inputs: expected no ragged ones, .*inputs.to_tensor\(\)"):
        layer(tf.RaggedTensor.from_row_lengths(values, [2, 4]), training=True)


def test_shapes_are_known_where_sizes_are_not():
    assert BatchNormalization(axis=1).compute_output_shape((None, None, 6)) == (None, None, 6)


@pytest.mark.parametrize("kernel", ["auto", "scratch"])
def test_no_channels_at_all(kernel):
    assert BatchNormalization(kernel=kernel)(np.zeros((4, 0), "float32"), training=True).shape == (4, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 1e-50}, "bn.epsilon: expected a number of at least 1.17"),
        ({"center": "no"}, "bn.center: expected True or False; received 'no'."),
        ({"synchronized": 3}, "bn.synchronized: expected True or False; received 3."),
        ({"renorm": True, "renorm_clipping": [1]}, "bn.renorm_clipping: expected a dict of bounds, or None; received"),
    ],
)
def test_options_of_a_wrong_kind(arguments, message):
    with pytest.raises(InputError) as error:
        BatchNormalization(name="bn", **arguments)
    assert str(error.value).startswith(message)
