"""The arithmetic of folding: an affine map of the channels goes into the weights of a linear layer."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
LINEAR = (keras.layers.Dense, *CONVOLUTIONS, *TRANSPOSED, *DEPTHWISE, *SEPARABLE)


class Affine(NamedTuple):
    """What a BatchNormalization does at inference: y = scale (x - mean) + beta.

    Args:
        scale: gamma / sqrt(moving_variance + epsilon), (channels,), float64.
        mean: moving_mean, likewise.
        beta: beta, likewise.
    """

    scale: np.ndarray
    mean: np.ndarray
    beta: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """What it makes of 0: beta - scale mean."""
        return self.beta - self.scale * self.mean


class Weights(NamedTuple):
    """The weights of a linear layer in float64.

    Args:
        kernels: Its kernel; of a SeparableConv the depthwise one and the pointwise one.
        bias: Its bias, (outputs,); zeros if it has none.
    """

    kernels: tuple[np.ndarray, ...]
    bias: np.ndarray


def affine_of(layer: keras.layers.BatchNormalization) -> Affine | None:
    """Return what a built BatchNormalization does at inference; None if its statistics make no finite factors.

    Example:
        >>> layer = keras.layers.BatchNormalization(epsilon=1.0)
        >>> layer.build((None, 2))
        >>> affine_of(layer).scale.round(3).tolist()
        [0.707, 0.707]
    """
    mean, variance = (_float64(value) for value in (layer.moving_mean, layer.moving_variance))
    gamma = np.ones_like(mean) if layer.gamma is None else _float64(layer.gamma)
    beta = np.zeros_like(mean) if layer.beta is None else _float64(layer.beta)
    # Not `variance < 0`, which is false for NaN.
    if not (variance >= 0).all():
        return None
    affine = Affine(gamma / np.sqrt(variance + layer.epsilon), mean, beta)
    return affine if all(np.isfinite(values).all() for values in affine) else None


def is_linear(layer: keras.Operation) -> bool:
    """Return whether a layer is one of `LINEAR`; a subclass is not, since it may compute something else."""
    return type(layer) in LINEAR


def altered(layer: keras.Layer) -> str | None:
    """Return what has been done to the weights of a linear layer so that they are no plain kernel, or None."""
    if getattr(layer, "quantization_mode", None):
        return f"is quantized to {layer.quantization_mode}"
    return "has LoRA weights" if getattr(layer, "lora_enabled", False) else None


def activation_of(layer: keras.Layer) -> str | None:
    """Return the name of the activation that a linear layer ends with, or None."""
    if layer.activation in (None, keras.activations.linear):
        return None
    return getattr(layer.activation, "__name__", type(layer.activation).__name__)


def channel_axis(layer: keras.Layer, rank: int) -> int:
    """Return the axis of the channels, of inputs and outputs alike, where these have `rank` axes."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def pads(layer: keras.Layer, input_shape: tuple[int | None, ...]) -> bool:
    """Return whether some outputs of a linear layer see fewer inputs than others do, as at a padded border.

    With SAME padding the border is wide max((ceil(size / stride) - 1) stride + (kernel - 1) dilation + 1 - size, 0).
    """
    if isinstance(layer, keras.layers.Dense):
        return False
    if isinstance(layer, TRANSPOSED):
        # Each input is spread over its surroundings; only a kernel of one pixel spreads nothing.
        return max(*layer.kernel_size, *layer.strides) > 1
    if layer.padding != "same":
        return layer.padding == "causal" and layer.kernel_size[0] > 1
    sides = input_shape[2:] if channel_axis(layer, len(input_shape)) == 1 else input_shape[1:-1]
    return any(
        kernel > 1 and (side is None or (-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 > side)
        for side, kernel, stride, dilation in zip(
            sides, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
        )
    )


def read(layer: keras.Layer) -> Weights:
    """Return the weights of a built linear layer."""
    kernels = tuple(_float64(variable) for variable in _kernels(layer))
    *_, depth, width = kernels[-1].shape
    outputs = depth * width if isinstance(layer, DEPTHWISE) else depth if isinstance(layer, TRANSPOSED) else width
    return Weights(kernels, np.zeros(outputs) if layer.bias is None else _float64(layer.bias))


def write(layer: keras.Layer, weights: Weights) -> None:
    """Set the weights of a built linear layer, which has a bias."""
    variables = [*_kernels(layer), layer.bias]
    for variable, values in zip(variables, [*weights.kernels, weights.bias], strict=True):
        variable.assign(values.astype(_numpy_dtype(variable.dtype)))


def fits(layer: keras.Layer, weights: Weights) -> bool:
    """Return whether weights are finite in the dtypes in which a layer keeps them and computes with them."""
    largest = min(float(tf.as_dtype(dtype).max) for dtype in (layer.variable_dtype, layer.compute_dtype))
    return all(bool((np.abs(values) <= largest).all()) for values in (*weights.kernels, weights.bias))


def fold_after(layer: keras.Layer, weights: Weights, affine: Affine) -> Weights:
    """Return the weights with which a linear layer does what `affine` does to its outputs.

    kernel' = scale kernel, bias' = scale (bias - mean) + beta, by output channel.

    Example:
        >>> layer = keras.layers.Dense(1)
        >>> half = Affine(np.array([0.5]), np.array([2.0]), np.array([1.0]))
        >>> folded = fold_after(layer, Weights((np.array([[4.0]]),), np.array([6.0])), half)
        >>> folded.kernels[0].tolist(), folded.bias.tolist()
        ([[2.0]], [3.0])
    """
    *others, last = weights.kernels
    scale = affine.scale
    if isinstance(layer, DEPTHWISE):
        scale = scale.reshape(last.shape[-2:])  # output c depth_multiplier + m is at (c, m)
    elif isinstance(layer, TRANSPOSED):
        scale = scale[:, np.newaxis]  # (..., outputs, inputs)
    # The difference first: bias and mean are often large and alike.
    return Weights((*others, last * scale), affine.scale * (weights.bias - affine.mean) + affine.beta)


def fold_before(layer: keras.Layer, weights: Weights, affine: Affine) -> Weights:
    """Return the weights with which a linear layer does to x what it did to the outputs of `affine`.

    kernel' = kernel scale, by input channel, and bias' = bias + kernel shift, summed over all that an output sees:
    exact where `pads` is false, or the shift is zero.

    Example:
        >>> layer = keras.layers.Dense(1)
        >>> half = Affine(np.array([0.5]), np.array([2.0]), np.array([1.5]))
        >>> folded = fold_before(layer, Weights((np.array([[4.0]]),), np.array([6.0])), half)
        >>> folded.kernels[0].tolist(), folded.bias.tolist()
        ([[2.0]], [8.0])
    """
    first, *others = weights.kernels
    shifts = first * _by_input(layer, affine.shift, first.shape)
    if isinstance(layer, (*DEPTHWISE, *SEPARABLE)):
        shifts = shifts.reshape(-1, first.shape[-2] * first.shape[-1]).sum(axis=0)
        for pointwise in others:
            shifts = shifts @ pointwise.reshape(pointwise.shape[-2:])
    else:
        output_axis = first.ndim - (2 if isinstance(layer, TRANSPOSED) else 1)
        shifts = shifts.sum(axis=tuple(axis for axis in range(first.ndim) if axis != output_axis))
    return Weights((first * _by_input(layer, affine.scale, first.shape), *others), weights.bias + shifts)


def _by_input(layer: keras.Layer, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return one value for each input channel in the form of the last two axes of the (first) kernel."""
    if isinstance(layer, TRANSPOSED):
        return values  # (..., outputs, inputs)
    if isinstance(layer, (*DEPTHWISE, *SEPARABLE)):
        return values[:, np.newaxis]  # (..., inputs, depth_multiplier)
    # (..., inputs of a group, outputs); the outputs of a group stand side by side.
    groups = getattr(layer, "groups", 1)
    return values.reshape(groups, -1).repeat(shape[-1] // groups, axis=0).T


def _kernels(layer: keras.Layer) -> tuple[keras.Variable, ...]:
    return (layer.depthwise_kernel, layer.pointwise_kernel) if isinstance(layer, SEPARABLE) else (layer.kernel,)


def _float64(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable)).astype(np.float64)


def _numpy_dtype(dtype: str) -> type:
    return tf.as_dtype(dtype).as_numpy_dtype  # NumPy itself has no bfloat16
