"""A model is run on a batch, and what comes into its BatchNormalization layers is seen."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization, normalization, options

Layers: TypeAlias = Mapping[str, keras.layers.BatchNormalization]  # by path
See: TypeAlias = Callable[[str, tf.Tensor, tf.Tensor | None], None]


class Enough(BaseException):
    """What was to be seen was seen; the rest of the model need not run.

    It is no Exception since Keras catches those in each layer, and makes them anew with another message.
    """


def run_watched(model: keras.Model, x: Any, layers: Layers, see: See) -> None:
    """Call a model as at inference, and have `see` see each call of some layers before it is made.

    Not by a model made out of parts of this one: so it also sees into layers and models of the user's own, and what
    masks and dtypes the layers are given there.

    Args:
        model: Of any kind.
        x: What it is called on.
        layers: The layers, by path.
        see: Is given path, inputs and mask (of their rank; or None) of a call, all with values. It may raise `Enough`.

    Raises:
        InputError: If the model cannot be called on `x`, or calls a layer where there are no values.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), BatchNormalization(name="bn")])
        >>> run_watched(model, np.ones((2, 1)), {"bn": model.layers[0]}, lambda path, x, mask: print(path, x.shape))
        bn (2, 1)
    """

    def seen(path: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def seen_call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            inputs = tf.convert_to_tensor(inputs)
            if tf.is_symbolic_tensor(inputs):
                remedy = "Call the layer on all of it at once, in place of vectorized_map."
                raise InputError(f"{path}: inputs", "values", "a symbolic tensor", remedy)
            mask = kwargs.get("mask", args[1] if len(args) > 1 else None)
            see(path, inputs, None if mask is None else _aligned(layers[path], mask, inputs))
            return call(inputs, *args, **kwargs)

        return seen_call

    calls = {path: (layer.__dict__.get("call"), layer.call) for path, layer in layers.items()}
    eagerly = tf.config.functions_run_eagerly()
    try:
        for path, layer in layers.items():
            layer.__dict__["call"] = seen(path, calls[path][1])  # around Keras's tracking of attributes
        # A tf.function within the model was perhaps traced before, and would run as it was.
        tf.config.run_functions_eagerly(True)
        with contextlib.suppress(Enough):
            model(x, training=False)
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, tf.errors.InvalidArgumentError) as error:
        received = keras.tree.map_structure(lambda leaf: getattr(leaf, "shape", leaf), x)
        raise InputError("data", "batches that the model can be called on", received, str(error)) from error
    finally:
        tf.config.run_functions_eagerly(eagerly)
        for path, layer in layers.items():
            own = calls[path][0]
            if own is None:
                layer.__dict__.pop("call", None)
            else:
                layer.__dict__["call"] = own


def _aligned(layer: keras.layers.BatchNormalization, mask: Any, x: tf.Tensor) -> tf.Tensor:
    """Return a mask as the layer takes it; Keras's own always takes the last axis for the one that it lacks."""
    axes = normalization.kept_axes(layer.axis, len(x.shape))
    if isinstance(layer, BatchNormalization):
        return options.checked_mask(layer.name, mask, x, axes)
    return normalization.aligned_mask(mask, len(x.shape), -1)
