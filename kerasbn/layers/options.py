"""The options of BatchNormalization: their ranges, which of them conflict, and what they mean for an input."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.layers import normalization
from kerasbn.layers.fused import LEAST_SIZE_IN_TRAINING, Kernel, reason_against
from kerasbn.layers.moving_average import AVERAGINGS

if TYPE_CHECKING:
    from kerasbn.layers.batch_normalization import BatchNormalization

VARIANCE_ESTIMATORS = ("biased", "unbiased")
FREEZES = ("none", "statistics", "affine", "all")
KERNELS = ("auto", "fused", "scratch")
_AUTO = "kernel='auto' takes it wherever it can be taken."


def checked_axis(name: str, axis: Any) -> int | tuple[int, ...]:
    """Return `axis` as a whole number or a tuple of different ones, or raise InputError."""
    subject = f"{name}.axis"
    if not isinstance(axis, Sequence) or isinstance(axis, str):
        return int(checks.in_range(subject, axis, integer=True))
    axes = tuple(int(checks.in_range(subject, a, integer=True)) for a in axis)
    if not axes or len(set(axes)) < len(axes):
        raise InputError(subject, "one axis, or several different ones", axis, "Name each channel axis once.")
    return axes


def checked_momentum(subject: str, momentum: Any) -> float:
    """Return `momentum` as a float, or raise InputError."""
    remedy = "It is the weight of the old average; 0.99 is usual."
    return float(checks.in_range(subject, momentum, 0, 1, remedy=remedy))


def checked_epsilon(subject: str, epsilon: Any) -> float:
    """Return `epsilon` as a float, or raise InputError."""
    remedy = "Without it a constant channel divides by zero."
    epsilon = float(checks.in_range(subject, epsilon, 0, open_low=True, remedy=remedy))
    return float(checks.in_range(subject, epsilon, float(np.finfo("float32").tiny), remedy="Less is 0 in float32."))


def checked_freeze(name: str, freeze: Any) -> str:
    """Return `freeze`, or raise InputError."""
    return str(checks.one_of(f"{name}.freeze", freeze, FREEZES))


def checked_clipping(name: str, clipping: Any) -> dict[str, float]:
    """Return the bounds of batch renormalization without those that are None, or raise InputError."""
    subject, keys = f"{name}.renorm_clipping", ("rmax", "rmin", "dmax")
    if not isinstance(clipping, Mapping | None):
        raise InputError(subject, "a dict of bounds, or None", repr(clipping), 'Such as {"rmax": 3.0, "dmax": 5.0}.')
    given = dict(clipping or {})
    if set(given) - set(keys):
        raise InputError(f"{subject}: Received invalid keys", f"only {', '.join(keys)}", clipping)
    bounds = {key: value for key, value in given.items() if value is not None}
    for key, value in bounds.items():
        checks.in_range(f"{subject}[{key!r}]", value)
    if bounds.get("dmax", 0) < 0:
        raise InputError(f"{subject}: dmax should be non-negative", "at least 0", bounds["dmax"])
    if "rmax" in bounds and bounds["rmax"] < bounds.get("rmin", 0):
        raise InputError(
            f"{subject}: rmax should be greater than rmin", f"at least {bounds.get('rmin', 0)}", bounds["rmax"]
        )
    return given


def check_together(layer: "BatchNormalization", kernel: Any, trainable: bool | None) -> None:
    """Check the options that Keras's layer lacks, and raise InputError where two options conflict.

    Args:
        layer: The layer, with its attributes set.
        kernel: What was asked for.
        trainable: As given to the constructor; None if it was not.
    """
    name, size = layer.name, layer.virtual_batch_size
    checks.one_of(f"{name}.averaging", layer.averaging, AVERAGINGS)
    checks.one_of(f"{name}.variance_estimator", layer.variance_estimator, VARIANCE_ESTIMATORS)
    checks.one_of(f"{name}.kernel", kernel, KERNELS)
    checked_freeze(name, layer.freeze)
    for option in ("center", "scale", "renorm", "synchronized"):
        if not isinstance(getattr(layer, option), bool | np.bool_):
            raise InputError(f"{name}.{option}", "True or False", repr(getattr(layer, option)))
    if size is not None:
        remedy = "None takes the whole batch."
        layer.virtual_batch_size = int(
            checks.in_range(f"{name}.virtual_batch_size", size, 1, integer=True, remedy=remedy)
        )
    conflicts = (
        (
            layer.renorm and size is not None,
            f"renorm=True with virtual_batch_size={size}",
            "Choose one: ghost batches make the statistics vary more, batch renormalization less.",
        ),
        (
            layer.synchronized and size is not None,
            f"synchronized=True with virtual_batch_size={size}",
            "Choose one: the one makes the batch larger than a replica's, the other smaller.",
        ),
        (
            trainable is False and layer.freeze in ("statistics", "affine"),
            f"trainable=False with freeze={layer.freeze!r}",
            "trainable=False freezes everything; leave one of the two out.",
        ),
        (
            trainable is True and layer.freeze == "all",
            "trainable=True with freeze='all'",
            "Leave one of the two out.",
        ),
        (
            layer.averaging == "debiased" and layer.momentum == 1,
            "averaging='debiased' with momentum=1",
            "With momentum 1 nothing is averaged in; take less, or averaging='cumulative' for the plain average.",
        ),
        (
            kernel == "fused" and (size is not None or layer.synchronized),
            f"kernel='fused' with {'synchronized=True' if layer.synchronized else f'virtual_batch_size={size}'}",
            "The fused kernel knows nothing of it; take kernel='auto'.",
        ),
    )
    for conflict, received, remedy in conflicts:
        if conflict:
            raise InputError(name, "options that go together", received, remedy)


def checked_axes(layer: "BatchNormalization", shape: Sequence[int | None]) -> tuple[int, ...]:
    """Return the channel axes of inputs of `shape`, from 0 and ascending, or raise InputError."""
    rank, subject = len(shape), f"{layer.name}.axis"
    if rank < 2:
        remedy = "Give single values an axis of one channel: x[:, None]."
        raise InputError(
            f"{layer.name}: inputs", "examples and at least one more axis", f"shape {tuple(shape)}", remedy
        )
    given = (layer.axis,) if isinstance(layer.axis, int) else layer.axis
    if not all(-rank <= a < rank for a in given):
        raise InputError(
            subject,
            f"an axis from {-rank} to {rank - 1} of inputs of shape {tuple(shape)}",
            layer.axis,
            "Use -1 for channels last, 1 for channels first.",
        )
    axes = normalization.kept_axes(given, rank)
    if len(set(axes)) < len(axes) or len(axes) == rank:
        raise InputError(
            subject,
            f"different axes of inputs of shape {tuple(shape)}, and one left over to take means of",
            layer.axis,
            "Statistics are taken over the axes that are not named.",
        )
    if 0 in axes and layer.virtual_batch_size is not None:
        remedy = "Leave out one of the two."
        raise InputError(subject, "no axis 0, which virtual_batch_size divides into groups", layer.axis, remedy)
    return axes


def checked_shape(layer: "BatchNormalization", shape: Sequence[int | None]) -> tuple[int, ...]:
    """Return the channel axes of inputs of `shape`, whose sizes have to be known; InputError if they are not."""
    axes = checked_axes(layer, shape)
    if None in (shape[a] for a in axes):
        raise InputError(
            f"{layer.name}: size of axis {layer.axis}",
            "a known number of channels",
            f"inputs of shape {tuple(shape)}",
            "Give keras.Input the size of this axis.",
        )
    return axes


def flat_values(layer: "BatchNormalization", inputs: tf.RaggedTensor, mask: Any) -> tf.Tensor:
    """Return the values of ragged inputs, which have only the last axis in common; InputError if that is not enough."""
    rank = len(inputs.shape)
    channels_last = normalization.kept_axes(layer.axis, rank) == (rank - 1,) and inputs.flat_values.shape.rank > 1
    if mask is None and channels_last and layer.virtual_batch_size is None:
        return inputs.flat_values
    remedy = "Make them dense: inputs.to_tensor(), with a mask of what is there."
    raise InputError(
        f"{layer.name}: inputs", "no ragged ones, but with channels last and no mask", "ragged ones", remedy
    )


def check_dtype(name: str, dtype: Any) -> None:
    """Raise InputError unless `dtype` is a floating one."""
    dtype = tf.as_dtype(dtype)
    if not dtype.is_floating:
        remedy = 'Cast them first: keras.ops.cast(x, "float32").'
        raise InputError(f"{name}: inputs", "floating-point numbers", dtype.name, remedy)


def chosen_kernel(
    layer: "BatchNormalization", asked: str, shape: Sequence[int | None], axes: tuple[int, ...], dtype: tf.DType
) -> Kernel:
    """Return the path that a layer takes in training for inputs of `shape`, as far as that shows in them."""
    if asked == "scratch":
        return Kernel("scratch", "it was asked for")
    if tf.is_tensor(layer.epsilon):
        return Kernel("scratch", "epsilon is a tensor, and the fused kernel takes a number")
    if layer.virtual_batch_size is not None:
        return Kernel("scratch", "with virtual_batch_size each group has statistics of its own")
    reason = reason_against(shape, axes, dtype, 0 if asked == "fused" else LEAST_SIZE_IN_TRAINING)
    if not reason:
        return Kernel(
            "fused", "it was asked for" if asked == "fused" else "float32 statistics of many values, channels last"
        )
    if asked == "fused":
        raise InputError(f"{layer.name}.kernel", "'auto' or 'scratch'", f"'fused', which cannot be: {reason}", _AUTO)
    return Kernel("scratch", reason)


def kernel_for_call(name: str, asked: str, chosen: Kernel, masked: bool, synchronized: bool) -> Kernel:
    """Return the path for a call, of which more is known than the shape; InputError if it is not the one asked for."""
    if chosen.path == "scratch":
        return chosen
    if masked:
        reason = "a mask, which the fused kernel ignores"
    elif synchronized:
        reason = "statistics of all replicas"
    elif normalization.in_xla():
        reason = "XLA, whose version of the fused kernel loses the variance of values far from zero"
    else:
        return chosen
    if asked == "fused":
        raise InputError(f"{name}.kernel", "'auto' or 'scratch'", f"'fused', which cannot be: {reason}", _AUTO)
    return Kernel("scratch", reason)


def checked_mask(name: str, mask: Any, x: tf.Tensor, axes: tuple[int, ...]) -> tf.Tensor:
    """Return a mask that can be broadcast to `x`, or raise InputError.

    One of a smaller rank lacks the channel axes; or, if that does not fit, the last axis: the masks of Keras's Masking
    and Embedding are over examples and time, wherever the channels are.
    """
    rank = len(x.shape)
    mask = tf.convert_to_tensor(mask)
    for lacking in ((), axes, (rank - 1,)):
        if len(mask.shape) == rank - len(lacking):
            aligned = normalization.aligned_mask(mask, rank, lacking)
            pairs = zip(aligned.shape, x.shape, strict=True)
            if all(size in (1, None) or wanted in (size, None) for size, wanted in pairs):
                return aligned
    raise InputError(
        f"{name}: mask",
        f"the inputs' axes without {axes} or without the last, or all {rank}, each of the inputs' size or of size 1",
        f"shape {tuple(mask.shape)} for inputs of shape {tuple(x.shape)}",
        "Expand it to the inputs' rank to say which axes it is for.",
    )
