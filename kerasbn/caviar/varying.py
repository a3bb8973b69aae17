"""Which numbers of which classes may differ between the models of a stack."""

from types import MappingProxyType
from typing import Any, NamedTuple

import keras

from kerasbn.layers import BatchNormalization, UniformDropout
from kerasbn.losses import SoftmaxCrossEntropy

# Numbers in configs that may differ, by exact class: a subclass may do with them what it likes.
NOISES = MappingProxyType(
    {
        keras.layers.Dropout: ("rate",),
        keras.layers.SpatialDropout1D: ("rate",),
        keras.layers.SpatialDropout2D: ("rate",),
        keras.layers.SpatialDropout3D: ("rate",),
        keras.layers.AlphaDropout: ("rate",),
        keras.layers.GaussianDropout: ("rate",),
        keras.layers.GaussianNoise: ("stddev",),
        UniformDropout: ("beta",),
    }
)
NORMALIZATIONS = MappingProxyType(
    dict.fromkeys((keras.layers.BatchNormalization, BatchNormalization), ("momentum", "epsilon"))
)
REGULARIZERS = MappingProxyType(
    {
        keras.regularizers.L1: ("l1",),
        keras.regularizers.L2: ("l2",),
        keras.regularizers.L1L2: ("l1", "l2"),
    }
)
LOSSES = MappingProxyType(
    {
        keras.losses.CategoricalCrossentropy: ("label_smoothing",),
        keras.losses.BinaryCrossentropy: ("label_smoothing",),
        SoftmaxCrossEntropy: ("label_smoothing", "class_weight", "temperature", "z_loss"),
    }
)
OPTIMIZERS = (
    "learning_rate",
    "momentum",
    "beta_1",
    "beta_2",
    "rho",
    "epsilon",
    "weight_decay",
)


NUMBERS = MappingProxyType({**NOISES, **NORMALIZATIONS, **REGULARIZERS, **LOSSES})


class Place(NamedTuple):
    """Where a leaf is: an attribute of a layer, a regularizer or a loss, or an item (`key`) of that attribute."""

    owner: Any
    attribute: str
    key: Any = None
