"""The family mlp: fully connected layers on inputs of any shape."""

import keras

from kerasbn.config import MLPConfig
from kerasbn.models import blocks


def build(inputs: keras.KerasTensor, config: MLPConfig, num_classes: int) -> keras.Model:
    """Return [Dense, BatchNormalization, activation] for each of `config.units`, then logits.

    Args:
        inputs: (batch, ...); flattened first.
        config: The shape of the model.
        num_classes: Number of logits.
    """
    x = inputs
    if len(x.shape) > 2:
        x = keras.layers.Flatten(name="flatten")(x)
    for index, units in enumerate(config.units, start=1):
        x = blocks.dense(x, units, config, index)
        x = blocks.normalized(x, config, index)
        x = blocks.activated(x, config, index)
    return blocks.classified(inputs, x, config, num_classes)
