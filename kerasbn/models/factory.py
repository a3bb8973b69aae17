"""create_model: from the name of a family, or a config, to a Keras model."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config import MODEL_CONFIGS, ModelConfig, from_dict
from kerasbn.models import convnet, mlp, resnet

# The families by name, those of kerasbn.config.MODEL_CONFIGS.
BUILDERS: Mapping[str, Callable[..., keras.Model]] = types.MappingProxyType(
    {"mlp": mlp.build, "convnet": convnet.build, "resnet": resnet.build}
)


def list_models() -> list[str]:
    """Return the names that `create_model` takes.

    Returns:
        The families, sorted.

    Example:
        >>> list_models()
        ['convnet', 'mlp', 'resnet']
    """
    return sorted(BUILDERS)


def create_model(name: str, input_shape: Sequence[int], num_classes: int, **overrides: Any) -> keras.Model:
    """Build a batch-normalised classifier that returns logits.

    Args:
        name: The family: one of `list_models()`.
        input_shape: Shape of one example, without the batch.
        num_classes: Number of classes, at least 2.
        **overrides: Keys of the family's config (`kerasbn.config.MODEL_CONFIGS[name]`) to change from their
            defaults, such as `units`, `depth`, `activation`, `dropout`, `l2`.

    Returns:
        A functional model. Its layers have the same names in every process, and after
        `keras.utils.set_random_seed(seed)` it has the same weights.

    Raises:
        InputError: If an argument or a key is unknown or out of range, or the shape does not fit the family.

    Example:
        >>> create_model("mlp", (64,), 10, units=(128, 64), dropout=0.5).output_shape
        (None, 10)
    """
    checks.one_of("name", name, list_models())
    return from_config(from_dict(MODEL_CONFIGS[name], overrides, "model"), input_shape, num_classes)


def from_config(config: ModelConfig, input_shape: Sequence[int], num_classes: int) -> keras.Model:
    """Build the model that a config describes; see `create_model`.

    Args:
        config: Config of a family.
        input_shape: Shape of one example, without the batch.
        num_classes: Number of classes, at least 2.

    Returns:
        A functional model.

    Raises:
        InputError: If an argument is out of range, or the shape does not fit the family.

    Example:
        >>> from_config(ResNetConfig(depth=20), (32, 32, 3), 10).count_params()
        271098
    """
    checks.one_of("config.name", config.name, list_models())
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str) or not input_shape:
        raise InputError("input_shape", "the sizes of one example, such as (64,) or (28, 28)", repr(input_shape))
    shape = tuple(int(checks.in_range("input_shape", size, 1, integer=True)) for size in input_shape)
    num_classes = int(
        checks.in_range("num_classes", num_classes, 2, integer=True, remedy="Two classes take two logits, not one.")
    )
    inputs = keras.Input(shape=shape, name="inputs")
    return BUILDERS[config.name](inputs, config, num_classes)
