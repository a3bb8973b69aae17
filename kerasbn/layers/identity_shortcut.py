"""IdentityShortcut: the parameter-free shortcut of a residual block that changes the shape."""

from typing import Any

import keras
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError


@keras.saving.register_keras_serializable(package="kerasbn")
class IdentityShortcut(keras.layers.Layer):
    """Take every `strides`-th pixel, and add channels of zeros: option A of He et al. (2015).

        y[n, i, j, :] = [x[n, strides i, strides j, :], 0, ..., 0]

    Args:
        filters: Number of channels of the result, at least that of the inputs.
        strides: Distance in pixels between those that are kept, at least 1.
        **kwargs: `name` and `dtype` of the layer.

    Call arguments:
        inputs: (batch, height, width, channels).

    Raises:
        InputError: If an argument is out of range, or the inputs have more channels or are no images.

    Example:
        >>> IdentityShortcut(filters=2, strides=2)(np.ones((1, 3, 3, 1), "float32")).shape
        TensorShape([1, 2, 2, 2])

    Source: He et al. (2015), arXiv:1512.03385, section 3.3 (A).
    """

    def __init__(self, filters: int, strides: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = int(checks.in_range(f"{self.name}.filters", filters, 1, integer=True))
        self.strides = int(checks.in_range(f"{self.name}.strides", strides, 1, integer=True))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Check the shape of the inputs; there are no weights."""
        if len(input_shape) != 4 or input_shape[-1] is None or input_shape[-1] > self.filters:
            raise InputError(
                f"{self.name}: inputs",
                f"shape (batch, height, width, channels) with at most {self.filters} channels",
                f"shape {tuple(input_shape)}",
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, ceil(height / strides), ceil(width / strides), filters)."""
        height, width = (None if side is None else -(-side // self.strides) for side in input_shape[1:3])
        return (input_shape[0], height, width, self.filters)

    def call(self, inputs: Any) -> tf.Tensor:
        """Return the shortened `inputs`; see the class."""
        x = tf.convert_to_tensor(inputs)
        new = self.filters - x.shape[-1]
        return tf.pad(x[:, :: self.strides, :: self.strides], [[0, 0], [0, 0], [0, 0], [0, new]])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor, as JSON."""
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}
