"""Running a model with other numbers than its own: tensors in their place while a function is traced."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf

from kerasbn.caviar.reading import read
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.caviar.varying import NOISES, Place
from kerasbn.layers import UniformDropout
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.statistics.graph import layers_within

_ABSENT = object()


@contextlib.contextmanager
def bound(model: keras.Model, values: Mapping[str, tf.Tensor]) -> Iterator[None]:
    """Let a model compute with tensors in the place of its own numbers, while a function is traced.

    Layers that draw noise draw the same numbers as ever, but with operations that `tf.vectorized_map` knows.

    Args:
        model: As `describe` takes it, after losses and metrics have their variables: Keras makes them at the first
            batch.
        values: Scalars by path, of the leaves that `describe` names. Those of the optimizer are left to the caller.

    Yields:
        Nothing. Afterwards the model is as it was, also after an exception.

    Raises:
        KeyError: If there is no such leaf.
        Unsuitable: If the model cannot be described.

    Example:
        >>> layer = keras.layers.GaussianNoise(0.5, name="noise")
        >>> noisy = keras.Sequential([keras.Input((2,)), layer])
        >>> noisy.compile("sgd", "mse")
        >>> with bound(noisy, {"model/noise/stddev": tf.constant(0.0)}):
        ...     noisy(np.ones((1, 2), "float32"), training=True).numpy().tolist()
        [[1.0, 1.0]]
    """
    with tf.init_scope():  # configs read variables of the optimizer
        reading = read(model)
    tensors = {path: value for path, value in values.items() if not path.startswith("optimizer/")}
    for path, place in reading.places.items():
        if isinstance(place.owner, SoftmaxCrossEntropy) and place.attribute == "label_smoothing":
            tensors.setdefault(path, tf.constant(place.owner.label_smoothing))
    with contextlib.ExitStack() as undo:
        for path, value in tensors.items():
            _bind(undo, reading.places[path], value)
        for layer in reading.noises:
            _replace(undo, layer, "call", functools.partial(_CALLS[type(layer)], layer))
        yield


def variables_of(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of a model such that models of one signature have them in the same places.

    A layer that draws noise has a variable for it, but not if its rate is 0: it gets one, which no call of it uses
    and which Keras does not know of. These variables are the last ones.

    Args:
        model: Built.

    Returns:
        Those of `model.variables`, and what is missing.

    Example:
        >>> layers = [keras.Input((2,)), keras.layers.Dense(1), keras.layers.Dropout(0.0)]
        >>> len(variables_of(keras.Sequential(layers)))
        3
    """
    states = []
    for _, layer in layers_within(model):
        if type(layer) in NOISES:
            if "seed_generator" not in vars(layer):
                vars(layer)["seed_generator"] = keras.random.SeedGenerator(0)
            states.append(layer.seed_generator.state)
    last = {id(state) for state in states}
    return [*(variable for variable in model.variables if id(variable) not in last), *states]


def _bind(undo: contextlib.ExitStack, place: Place, value: tf.Tensor) -> None:
    """Put a tensor in the place of a number."""
    owner, name = place.owner, place.attribute
    if isinstance(owner, keras.Model):
        _bind_loss_weight(undo, owner, place.key, value)
        return
    dtype = getattr(owner, "compute_dtype", None) or getattr(owner, "dtype", None)
    value = tf.cast(value, "float64" if dtype == "float64" else "float32")
    if isinstance(owner, keras.losses.CategoricalCrossentropy | keras.losses.BinaryCrossentropy):
        plain = type(owner).from_config({**owner.get_config(), name: 0.0})
        _replace(undo, owner, "call", functools.partial(_smoothed_call, plain, value))
    elif place.key is not None:
        parts = getattr(owner, name)
        items = dict(parts) if isinstance(parts, dict) else [*parts]
        items[place.key] = value
        _replace(undo, owner, name, items)
    else:
        _replace(undo, owner, name, value)
    if type(owner) is keras.regularizers.L1L2:
        undo.callback(setattr, owner, "__class__", keras.regularizers.L1L2)
        owner.__class__ = _L1L2


def _bind_loss_weight(undo: contextlib.ExitStack, model: keras.Model, key: Any, value: tf.Tensor) -> None:
    """Put a tensor in the place of one of `compile(loss_weights=...)`."""
    # Keras keeps the losses of a model in a loss of its own, as tuples with a field for the weight; there is no
    # public way to it.
    for loss in [one for one in vars(model).values() if isinstance(one, keras.Loss)]:
        for name, entries in list(vars(loss).items()):
            if isinstance(entries, list) and entries and all(hasattr(entry, "loss_weights") for entry in entries):
                found = [at for at, entry in enumerate(entries) if key in (None, at, entry.name)]
                if len(found) == 1:
                    weighted = entries[found[0]]._replace(loss_weights=value)
                    _replace(undo, loss, name, [*entries[: found[0]], weighted, *entries[found[0] + 1 :]])
                    return
    raise Unsuitable(f"the weight {key} of the losses is not found")


def _replace(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until `undo`, past what Keras does when one is set."""
    attributes = vars(owner)
    old = attributes.get(name, _ABSENT)
    undo.callback(attributes.pop, name) if old is _ABSENT else undo.callback(attributes.__setitem__, name, old)
    attributes[name] = value


class _L1L2(keras.regularizers.L1L2):
    """L1L2 without Keras's look at whether a factor is 0, which a tensor does not answer."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        penalty = tf.cast(self.l1, x.dtype) * tf.reduce_sum(tf.abs(x))
        return penalty + tf.cast(self.l2, x.dtype) * tf.reduce_sum(tf.square(x))


def _smoothed_call(loss: keras.Loss, share: tf.Tensor, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Return a loss of smoothed labels; `loss` itself does not smooth."""
    share = tf.cast(share, y_true.dtype)
    if isinstance(loss, keras.losses.BinaryCrossentropy):
        return loss.call(y_true * (1 - share) + share / 2, y_pred)
    return loss.call(y_true * (1 - share) + share / tf.cast(tf.shape(y_true)[-1], y_true.dtype), y_pred)


def _seed(layer: keras.Layer) -> tf.Tensor:
    """Return the next seed of a layer, as Keras makes it for TensorFlow."""
    return tf.cast(tf.math.floormod(layer.seed_generator.next(), tf.int32.max - 1), tf.int32)


def _shape(layer: keras.Layer, x: tf.Tensor) -> list[Any]:
    """Return the shape of a layer's noise for inputs x."""
    sizes = [*tf.unstack(tf.shape(x))]
    if isinstance(layer, keras.layers.SpatialDropout1D | keras.layers.SpatialDropout2D | keras.layers.SpatialDropout3D):
        channel = 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else len(sizes) - 1
        return [size if axis in (0, channel) else 1 for axis, size in enumerate(sizes)]
    given = getattr(layer, "noise_shape", None) or [None] * len(sizes)
    return [size if one is None else one for one, size in zip(given, sizes, strict=True)]


# The operations of random numbers that TensorFlow had first give the numbers of those that it has now, and are the
# only ones that tf.vectorized_map converts.
def _uniform(layer: keras.Layer, x: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.StatelessRandomUniform(shape=_shape(layer, x), seed=_seed(layer), dtype=x.dtype)


def _normal(layer: keras.Layer, x: tf.Tensor) -> tf.Tensor:
    dtype = tf.as_dtype(layer.compute_dtype)
    return tf.raw_ops.StatelessRandomNormal(shape=_shape(layer, x), seed=_seed(layer), dtype=dtype)


def _is_off(amount: Any, training: Any) -> bool:
    return not training or (not tf.is_tensor(amount) and not amount)


def _dropout(layer: keras.Layer, inputs: tf.Tensor, training: Any = False) -> tf.Tensor:
    """Drop with the rate q: y = x / (1 - q) where a number in [0, 1) is at least q, else 0."""
    if _is_off(layer.rate, training):
        return inputs
    x, rate = tf.convert_to_tensor(inputs), tf.cast(layer.rate, tf.float32)
    kept = _uniform(layer, x) >= tf.cast(rate, x.dtype)
    return tf.where(kept, x * tf.cast(tf.math.divide_no_nan(1.0, 1 - rate), x.dtype), tf.zeros([], x.dtype))


def _alpha_dropout(layer: keras.Layer, inputs: tf.Tensor, training: Any = False) -> tf.Tensor:
    """Drop to the least value of SELU, and scale such that mean 0 and variance 1 remain."""
    if _is_off(layer.rate, training):
        return inputs
    x, rate = tf.convert_to_tensor(inputs), tf.cast(layer.rate, tf.float32)
    least = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946
    numbers = tf.raw_ops.StatelessRandomUniform(shape=_shape(layer, x), seed=_seed(layer))
    kept = tf.cast(numbers >= rate, x.dtype)
    scale = tf.math.rsqrt((1 - rate) * (1 + rate * least**2))
    offset = tf.cast(-scale * least * rate, x.dtype)
    return tf.cast(scale, x.dtype) * (x * kept + least * (1 - kept)) + offset


def _gaussian_dropout(layer: keras.Layer, inputs: tf.Tensor, training: Any = False) -> tf.Tensor:
    """Multiply by noise of mean 1 and the variance q / (1 - q)."""
    if _is_off(layer.rate, training):
        return inputs
    x, rate = tf.convert_to_tensor(inputs), tf.cast(layer.rate, tf.float32)
    return x * (1 + tf.cast(tf.sqrt(rate / (1 - rate)), x.dtype) * _normal(layer, x))


def _gaussian_noise(layer: keras.Layer, inputs: tf.Tensor, training: Any = False) -> tf.Tensor:
    if _is_off(layer.stddev, training):
        return inputs
    x = tf.convert_to_tensor(inputs)
    return x + tf.cast(layer.stddev, x.dtype) * _normal(layer, x)


def _uniform_dropout(layer: UniformDropout, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
    if _is_off(layer.beta, training):
        return inputs
    x = tf.convert_to_tensor(inputs)
    bits = tf.raw_ops.StatelessRandomUniformFullInt(
        shape=_shape(layer, x), seed=tf.cast(layer.seed_generator.next(), tf.int64), dtype=tf.int32
    )
    noise = 1 + tf.cast(bits, tf.float32) * (tf.cast(layer.beta, tf.float32) / 2**31)
    return x * tf.cast(noise, x.dtype)


_CALLS: Mapping[type, Callable[..., tf.Tensor]] = MappingProxyType(
    {
        **dict.fromkeys(NOISES, _dropout),
        keras.layers.AlphaDropout: _alpha_dropout,
        keras.layers.GaussianDropout: _gaussian_dropout,
        keras.layers.GaussianNoise: _gaussian_noise,
        UniformDropout: _uniform_dropout,
    }
)
