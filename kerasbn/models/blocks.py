"""What the families of models share: linear layer, BatchNormalization, activation; and the logits."""

import keras

from kerasbn.checks import InputError
from kerasbn.config import ModelConfig
from kerasbn.layers import BatchNormalization


def kernel_initializer(activation: str) -> str:
    """Return the initializer that keeps the variance of signals from layer to layer.

    He normal (variance 2 / fan_in) for the relu-like, which pass about half of their input; LeCun normal
    (1 / fan_in) for selu, whose fixed point supposes it; Glorot uniform (2 / (fan_in + fan_out)) for tanh and
    sigmoid, and for the linear logits.

    Source: He et al. (2015), arXiv:1502.01852; Klambauer et al. (2017), arXiv:1706.02515; Glorot and Bengio (2010).
    """
    if activation in ("relu", "leaky_relu", "elu", "gelu", "silu"):
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"


def kernel_regularizer(config: ModelConfig) -> keras.regularizers.Regularizer | None:
    """Return l1 sum |w| + l2 sum w^2, or None if both factors are 0."""
    return keras.regularizers.L1L2(l1=config.l1, l2=config.l2) if config.l1 or config.l2 else None


def normalized(x: keras.KerasTensor, config: ModelConfig, index: int) -> keras.KerasTensor:
    """Return bn_<index> of `x`."""
    return BatchNormalization(momentum=config.bn_momentum, epsilon=config.bn_epsilon, name=f"bn_{index}")(x)


def activated(x: keras.KerasTensor, config: ModelConfig, index: int) -> keras.KerasTensor:
    """Return activation_<index> of `x`."""
    return keras.layers.Activation(config.activation, name=f"activation_{index}")(x)


def dense(x: keras.KerasTensor, units: int, config: ModelConfig, index: int) -> keras.KerasTensor:
    """Return dense_<index> of `x`, without bias: beta of the BatchNormalization that follows does its work."""
    return keras.layers.Dense(
        units,
        use_bias=False,
        kernel_initializer=kernel_initializer(config.activation),
        kernel_regularizer=kernel_regularizer(config),
        name=f"dense_{index}",
    )(x)


def conv(
    x: keras.KerasTensor, filters: int, kernel_size: int, config: ModelConfig, index: int, strides: int = 1
) -> keras.KerasTensor:
    """Return conv_<index> of `x`, padded to the same size and without bias, as `dense`."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=kernel_initializer(config.activation),
        kernel_regularizer=kernel_regularizer(config),
        name=f"conv_{index}",
    )(x)


def image(inputs: keras.KerasTensor, family: str) -> keras.KerasTensor:
    """Return `inputs` as (batch, height, width, channels); (batch, height, width) gets one channel.

    Args:
        inputs: What the model is given.
        family: Name of the family, for the message.

    Raises:
        InputError: If they are no images.
    """
    shape = inputs.shape[1:]
    if len(shape) == 3:
        return inputs
    if len(shape) == 2:
        return keras.layers.Reshape((*shape, 1), name="add_channel")(inputs)
    raise InputError(
        "input_shape",
        f"(height, width, channels) or (height, width) for the family {family}",
        shape,
        "Use the family mlp for inputs that are no images, or reshape them.",
    )


def classified(inputs: keras.KerasTensor, x: keras.KerasTensor, config: ModelConfig, num_classes: int) -> keras.Model:
    """Return the model from `inputs` to logits: dropout, if any, and a Dense layer with bias on `x`.

    Dropout comes here, after the last BatchNormalization, and nowhere else: before one it would make the
    variance in training greater than at inference (Li et al., 2018, arXiv:1801.05134).

    Args:
        inputs: What the model is given.
        x: (batch, features), the last hidden layer.
        config: The model's config.
        num_classes: Number of logits.

    Returns:
        A model named after the family. Logits are float32 (float64 under that policy) whatever the rest is,
        since their differences are what the softmax lives on.
    """
    if config.dropout:
        x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    policy = keras.config.dtype_policy()
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=kernel_initializer("linear"),
        kernel_regularizer=kernel_regularizer(config),
        dtype="float64" if policy.compute_dtype == "float64" else "float32",
        name="logits",
    )(x)
    return keras.Model(inputs, logits, name=config.name)
