"""Configs of the models: one a family."""

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.fields import check_fields

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "selu", "tanh", "sigmoid"]


@dataclass(frozen=True)
class ModelConfig:
    """What every family of models shares; the base of one config a family.

    Args:
        name: The family.
        activation: After each BatchNormalization.
        dropout: Share of activations dropped after the last hidden layer, in [0, 1).
        l1: Factor of the sum of absolute kernel weights added to the loss, at least 0.
        l2: Factor of the sum of squared kernel weights added to the loss, at least 0.
        bn_momentum: Weight of the old moving average at each step, in [0, 1).
        bn_epsilon: Added to the variance under the root, above 0.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> ModelConfig(activation="gelu", dropout=0.5).bn_momentum
        0.9
    """

    name: str = ""
    activation: Activation = "relu"
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        checks.in_range("model.dropout", self.dropout, 0, 1, open_high=True)
        checks.in_range("model.l1", self.l1, 0)
        checks.in_range("model.l2", self.l2, 0)
        checks.in_range("model.bn_momentum", self.bn_momentum, 0, 1, open_high=True)
        checks.in_range("model.bn_epsilon", self.bn_epsilon, 0, open_low=True)


@dataclass(frozen=True)
class MLPConfig(ModelConfig):
    """Fully connected layers: Dense without bias, BatchNormalization, activation; any input shape.

    Args:
        name: The family, mlp.
        units: Number of units of each hidden layer, each at least 1.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> MLPConfig(units=(64, 32)).activation
        'relu'
    """

    name: Literal["mlp"] = "mlp"
    units: tuple[int, ...] = (128, 128)

    def __post_init__(self) -> None:
        super().__post_init__()
        for units in self.units:
            checks.in_range("model.units", units, 1, integer=True)


@dataclass(frozen=True)
class ConvNetConfig(ModelConfig):
    """Convolutions with pooling, then one hidden layer: Conv without bias, BatchNormalization, activation.

    Args:
        name: The family, convnet.
        filters: Number of filters of each convolution, each followed by 2 by 2 pooling while the image is
            large enough.
        kernel_size: Height and width of each convolution in pixels, at least 1.
        units: Number of units of each hidden layer after the convolutions, each at least 1; may be empty.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> ConvNetConfig(filters=(16, 32, 64)).kernel_size
        3
    """

    name: Literal["convnet"] = "convnet"
    filters: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    units: tuple[int, ...] = (128,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.filters:
            raise InputError("model.filters", "at least one convolution", "()", "Use the family mlp for none.")
        for filters in self.filters:
            checks.in_range("model.filters", filters, 1, integer=True)
        for units in self.units:
            checks.in_range("model.units", units, 1, integer=True)
        checks.in_range("model.kernel_size", self.kernel_size, 1, integer=True)


@dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    """The residual network for small images of He et al. (2015), section 4.2: 6n+2 layers, identity shortcuts.

    Args:
        name: The family, resnet.
        depth: Number of layers with weights, 6n+2: 8, 14, 20, 32, 44, 56, 110, ...
        filters: Number of filters of the first stage; each of the next two has twice as many.

    Raises:
        InputError: If a value is of another type or out of its range, or the depth is not 6n+2.

    Example:
        >>> ResNetConfig(depth=32).filters
        16

    Source: He et al. (2015), arXiv:1512.03385, section 4.2.
    """

    name: Literal["resnet"] = "resnet"
    depth: int = 20
    filters: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.in_range("model.depth", self.depth, 8, integer=True)
        if (self.depth - 2) % 6:
            raise InputError("model.depth", "6n+2 layers (8, 14, 20, 32, 44, 56, ...)", self.depth)
        checks.in_range("model.filters", self.filters, 1, integer=True)


# The families by name: create_model and the command line read this table.
MODEL_CONFIGS: Mapping[str, type[ModelConfig]] = types.MappingProxyType(
    {"mlp": MLPConfig, "convnet": ConvNetConfig, "resnet": ResNetConfig}
)
