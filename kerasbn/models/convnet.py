"""The family convnet: convolutions with pooling, then fully connected layers."""

import keras

from kerasbn.config import ConvNetConfig
from kerasbn.models import blocks


def build(inputs: keras.KerasTensor, config: ConvNetConfig, num_classes: int) -> keras.Model:
    """Return [Conv2D, BatchNormalization, activation, pooling] for each filter count, hidden units, logits.

    Args:
        inputs: (batch, height, width, channels) or (batch, height, width).
        config: The shape of the model.
        num_classes: Number of logits.

    Raises:
        InputError: If the inputs are no images.
    """
    x = blocks.image(inputs, config.name)
    for index, filters in enumerate(config.filters, start=1):
        x = blocks.conv(x, filters, config.kernel_size, config, index)
        x = blocks.normalized(x, config, index)
        x = blocks.activated(x, config, index)
        if min(x.shape[1:3]) >= 2:  # small images run out of pixels before the model runs out of layers
            x = keras.layers.MaxPooling2D(2, name=f"pool_{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(config.units, start=1):
        index = len(config.filters) + number
        x = blocks.dense(x, units, config, number)
        x = blocks.normalized(x, config, index)
        x = blocks.activated(x, config, index)
    return blocks.classified(inputs, x, config, num_classes)
