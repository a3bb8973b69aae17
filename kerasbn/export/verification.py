"""Verification of an artefact before it appears: it must answer as the Keras model does."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from kerasbn.checks import InputError, TaskError
from kerasbn.export.signatures import Input, call_model, made_up

TOLERANCE = 1e-5  # of a probability; float32 kernels that sum in another order differ by about 1e-7


class ExportMismatchError(TaskError):
    """What was written does not answer as the Keras model does; nothing was kept of it.

    Args:
        signature: The signature that gave other answers.
        batch_size: Number of examples in the call.
        difference: Largest difference of a probability; NaN if either gave NaN.

    Example:
        >>> error = ExportMismatchError("serving_default", batch_size=1, difference=0.25)
        >>> isinstance(error, TaskError)
        True
    """

    def __init__(self, signature: str, batch_size: int, difference: float) -> None:
        super().__init__(signature, batch_size, difference)
        self.signature, self.batch_size, self.difference = signature, batch_size, difference

    def __str__(self) -> str:
        return (
            f"signature {self.signature!r}: expected the probabilities of the Keras model to within "
            f"{TOLERANCE:g}; received {self.difference:.3g} apart in a batch of {self.batch_size}. "
            "Nothing was written."
        )


def check_examples(inputs: Sequence[Input], examples: object) -> dict[str, np.ndarray]:
    """Return raw examples as arrays of the inputs' dtypes, by the inputs' names.

    Args:
        inputs: Inputs of the signatures.
        examples: One array, or arrays by name, examples first; None: zeros are made up.

    Returns:
        At least one example.

    Raises:
        InputError: If names, shapes or dtypes do not fit the inputs.
    """
    if examples is None:
        return made_up(inputs, 2)
    if not isinstance(examples, Mapping):
        if len(inputs) > 1:
            raise InputError("examples", "a dict with a column for each input", type(examples).__name__)
        examples = {inputs[0].name: examples}
    names = [given.name for given in inputs]
    if set(examples) != set(names):
        raise InputError("examples", f"the inputs {', '.join(names)}", ", ".join(map(str, examples)) or "none")
    arrays = {}
    for given in inputs:
        value = np.asarray(examples[given.name])
        if len(value.shape) != len(given.shape) or any(
            side not in (None, length) for side, length in zip(given.shape, value.shape, strict=True)
        ):
            raise InputError(f"examples[{given.name!r}]", f"the shape {given.shape}", value.shape)
        if (value.dtype.kind in "OSUT") != (given.dtype == "string"):
            raise InputError(f"examples[{given.name!r}]", f"values of dtype {given.dtype}", value.dtype)
        arrays[given.name] = value.astype(object if given.dtype == "string" else given.dtype)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise InputError("examples", "the same number of examples in each column, at least 1", counts)
    return arrays


def keras_probabilities(model: keras.Model, inputs: Sequence[Input], examples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what the Keras model itself says: softmax of its logits, (examples, classes).

    Raises:
        InputError: If what it gives are probabilities already, or no example has finite logits.
    """
    tensors = [tf.constant(examples[given.name], given.dtype) for given in inputs]
    logits = call_model(model, inputs, tensors).numpy().astype(np.float64)
    if not np.isfinite(logits).all(axis=-1).any():
        raise InputError(
            "model",
            "finite logits",
            "NaN or infinite ones for every example",
            "Training may have diverged: try a smaller learning rate.",
        )
    # A softmax written as an operation is no layer and can only be told by what comes out.
    if logits.min() >= 0 and np.allclose(logits.sum(axis=-1), 1, rtol=0, atol=1e-6):
        raise InputError(
            "model",
            "logits, which the export turns into probabilities itself",
            "outputs of at least 0 that sum to 1",
            "Leave out the softmax at the end and train with a loss on logits.",
        )
    return softmax(logits, axis=-1)


def verify(
    directory: Path,
    inputs: Sequence[Input],
    examples: Mapping[str, np.ndarray],
    expected: np.ndarray,
) -> None:
    """Load a SavedModel and compare every signature with the Keras model, for a batch and for one example.

    Args:
        directory: The SavedModel.
        inputs: Inputs of its signatures.
        examples: Arrays by the inputs' names.
        expected: (examples, classes), what the Keras model says.

    Raises:
        ExportMismatchError: If a probability is more than 1e-5 off.
    """
    loaded = tf.saved_model.load(str(directory))
    for name, signature in loaded.signatures.items():
        for batch_size in dict.fromkeys((len(expected), 1)):
            # By the arguments: TensorFlow's Python calls cannot tell a column "a b" from another named "a_b".
            tensors = {given.argument: tf.constant(examples[given.name][:batch_size], given.dtype) for given in inputs}
            (answer,) = signature(**tensors).values()
            received = answer.numpy().astype(np.float64)
            if name == "logits":
                received = softmax(received, axis=-1)
            same = np.isnan(received) & np.isnan(expected[:batch_size])  # both say NaN for a missing value
            difference = float(np.where(same, 0, np.abs(received - expected[:batch_size])).max())
            if not difference <= TOLERANCE:  # so that NaN is refused, too
                raise ExportMismatchError(name, batch_size, difference)
