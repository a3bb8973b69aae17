"""What models may differ in and be trained as one stack all the same: their leaves, and what is left of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import keras

from kerasbn.caviar.reading import read
from kerasbn.caviar.suitable import Unsuitable


@dataclass(frozen=True)
class Description:
    """A model as far as a stack is concerned.

    Args:
        signature: JSON, equal for models that differ in leaves only.
        leaves: Numbers by path, such as "model/dropout/rate", "loss/label_smoothing" or "optimizer/learning_rate".
    """

    signature: str
    leaves: Mapping[str, float]


def describe(model: keras.Model) -> Description:
    """Take the known numbers out of what a model is: out of the configs of its layers, its loss and its optimizer.

    Numbers are known by the exact class that they belong to: rates of dropout and the like, momentum and epsilon of
    BatchNormalization, factors of L1 and L2, label smoothing, weights of losses, settings of the optimizer. Seeds and
    initializers are in no signature, since a stack takes the first values of all variables from the models. All else
    must be equal: structure, sizes, dtypes, what is trainable, the code of what the user wrote and the plain
    attributes of its objects. Names must be equal too, so `keras.utils.clear_session` is to be called before each
    build.

    Args:
        model: Compiled and built.

    Returns:
        The description.

    Raises:
        Unsuitable: If it cannot be told whether another model is the same, or if the model trains in its own way.

    Example:
        >>> def build(rate):
        ...     keras.utils.clear_session(free_memory=False)
        ...     layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dropout(rate)]
        ...     model = keras.Sequential(layers)
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> one, other = describe(build(0.25)), describe(build(0.5))
        >>> one.signature == other.signature, one.leaves["model/dropout/rate"]
        (True, 0.25)
    """
    reading = read(model)
    try:
        signature = json.dumps(reading.signature)
    except (TypeError, ValueError) as error:
        raise Unsuitable(f"the model's config is no JSON: {error}") from error
    return Description(signature, MappingProxyType(reading.leaves))
