"""The family resnet: the residual network for small images of He et al. (2015), section 4.2."""

import keras

from kerasbn.config import ResNetConfig
from kerasbn.layers import IdentityShortcut
from kerasbn.models import blocks


def build(inputs: keras.KerasTensor, config: ResNetConfig, num_classes: int) -> keras.Model:
    """Return one convolution, three stages of n blocks of two, global average pooling and logits: 6n+2 layers.

    A block is y = activation(F(x) + x), F two 3 by 3 convolutions with BatchNormalization. The second and the
    third stage begin with stride 2 and twice the filters; their shortcut takes every second pixel and adds
    channels of zeros, so that no shortcut has weights (option A).

    Args:
        inputs: (batch, height, width, channels) or (batch, height, width).
        config: The shape of the model.
        num_classes: Number of logits.

    Raises:
        InputError: If the inputs are no images.

    Source: He et al. (2015), arXiv:1512.03385, section 4.2 and figure 2.
    """
    x = blocks.conv(blocks.image(inputs, config.name), config.filters, 3, config, 1)
    x = blocks.activated(blocks.normalized(x, config, 1), config, 1)
    blocks_a_stage = (config.depth - 2) // 6
    for number in range(3 * blocks_a_stage):
        stage, place = divmod(number, blocks_a_stage)
        filters = config.filters * 2**stage
        strides = 2 if stage and place == 0 else 1
        first, second = 2 * number + 2, 2 * number + 3
        shortcut = x
        if strides > 1:
            shortcut = IdentityShortcut(filters, strides, name=f"shortcut_{stage}")(x)
        x = blocks.conv(x, filters, 3, config, first, strides)
        x = blocks.activated(blocks.normalized(x, config, first), config, first)
        x = blocks.conv(x, filters, 3, config, second)
        x = blocks.normalized(x, config, second)
        x = keras.layers.Add(name=f"add_{number + 1}")([x, shortcut])
        x = blocks.activated(x, config, second)
    x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    return blocks.classified(inputs, x, config, num_classes)
