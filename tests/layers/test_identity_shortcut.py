import keras
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.layers import IdentityShortcut


def test_takes_every_second_pixel_and_adds_zeros():
    x = np.arange(2 * 5 * 4 * 3, dtype="float32").reshape(2, 5, 4, 3)
    y = IdentityShortcut(filters=5, strides=2)(x).numpy()
    np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
    assert y.shape == (2, 3, 2, 5)
    assert not y[..., 3:].any()


def test_static_shape_agrees():
    layer = IdentityShortcut(filters=4, strides=2)
    assert layer(keras.Input((5, None, 3))).shape == (None, 3, None, 4)
    assert layer.weights == []


def test_config_round_trip():
    layer = IdentityShortcut(filters=4, strides=2, name="shortcut_1")
    assert IdentityShortcut.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("arguments", [{"filters": 0}, {"filters": 4, "strides": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(InputError, match=r"expected a whole number of at least 1; received 0\."):
        IdentityShortcut(**arguments)


@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 8)])
def test_bad_inputs(shape):
    with pytest.raises(InputError) as error:
        IdentityShortcut(filters=2, name="shortcut_1")(keras.Input(shape))
    assert str(error.value) == (
        "shortcut_1: inputs: expected shape (batch, height, width, channels) with at most 2 channels; "
        f"received shape {(None, *shape)}."
    )
