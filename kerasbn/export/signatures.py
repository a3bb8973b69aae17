"""Signatures of the artefact: stable names and float32 at the edge, whatever the model has inside."""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasbn.checks import InputError

# Clients send JSON, in which half, bfloat16 and uint16 cannot be written; double would only be rounded.
_EDGE_DTYPES: Mapping[str, str] = types.MappingProxyType(
    {"float64": "float32", "float16": "float32", "bfloat16": "float32", "uint16": "int32"}
)


@dataclass(frozen=True)
class Input:
    """One input of every signature.

    Args:
        name: What clients call it: `inputs`, or the column's own name, whatever characters it is made of.
        argument: What TensorFlow calls it: a name that its function arguments may have.
        shape: Shape with the batch, which is None.
        dtype: What clients send.
        model_dtype: What the model takes.
    """

    name: str
    argument: str
    shape: tuple[int | None, ...]
    dtype: str
    model_dtype: str


def _input(name: str, argument: str, tensor: Any) -> Input:
    if len(tensor.shape) == 0:
        raise InputError("model", f"input {name!r} with a batch dimension", "a scalar input")
    model_dtype = str(tensor.dtype)
    # The batch is left open even if the model was built for a fixed one.
    shape = (None, *tensor.shape[1:])
    return Input(name, argument, shape, _EDGE_DTYPES.get(model_dtype, model_dtype), model_dtype)


def read_inputs(model: keras.Model) -> list[Input]:
    """Return the inputs that the signatures of a model have, in the model's order.

    A model with one input has `inputs`; a model with a dict of inputs has its keys, and one with a list of
    inputs the names of its `keras.Input`s.

    Args:
        model: A built functional or sequential model.

    Returns:
        The inputs.

    Raises:
        InputError: If the model has no symbolic inputs, or an input without a batch dimension.
    """
    structure = getattr(model, "input", None) if getattr(model, "inputs", None) else None
    if structure is None:
        raise InputError(
            "model",
            "a built functional or sequential keras.Model",
            f"{type(model).__name__}, whose inputs are unknown",
            "Build it from keras.Input, as in keras.Model(inputs, outputs).",
        )
    if not isinstance(structure, dict) and len(model.inputs) == 1:
        return [_input("inputs", "inputs", model.inputs[0])]
    tensors = structure.items() if isinstance(structure, dict) else ((each.name, each) for each in structure)
    named = dict(tensors)
    # An argument's name must not be the name of another column, or a call by names would mix them up.
    prefix = "column"
    while any(name.startswith(prefix) for name in named):
        prefix += "_"
    return [_input(name, f"{prefix}_{position}", tensor) for position, (name, tensor) in enumerate(named.items())]


def check_classifier(model: keras.Model) -> int:
    """Return the number of classes of a model that gives logits.

    Args:
        model: A built functional or sequential model.

    Returns:
        The number of classes, at least 2.

    Raises:
        InputError: If the output is not (None, classes), or comes from a softmax or a sigmoid.
    """
    outputs = model.outputs
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] is None or shapes[0][1] < 2:
        received = " and ".join(map(str, shapes))
        raise InputError("model", "one output of shape (None, classes), with 2 classes or more", received)
    layer: Any = model
    while isinstance(layer, keras.Model) and layer.layers:
        layer = layer.layers[-1]
    activation = getattr(layer, "activation", None)
    if isinstance(layer, keras.layers.Softmax):
        activation = keras.activations.softmax
    if activation in (keras.activations.softmax, keras.activations.sigmoid):
        raise InputError(
            "model",
            "logits, which the export turns into probabilities itself",
            f"the activation {activation.__name__} in the last layer, {layer.name!r}",
            "Build the last layer without activation and train it with a loss on logits.",
        )
    return shapes[0][1]


def call_model(model: keras.Model, inputs: Sequence[Input], tensors: Sequence[Any]) -> Any:
    """Return the float32 logits (batch, classes) of a model, in inference mode.

    Args:
        model: The model.
        inputs: Its inputs.
        tensors: A tensor for each of them, of the dtype clients send.
    """
    cast = [
        tensor if given.dtype == given.model_dtype else tf.cast(tensor, given.model_dtype)
        for given, tensor in zip(inputs, tensors, strict=True)
    ]
    if isinstance(model.input, dict):
        value: Any = {given.name: tensor for given, tensor in zip(inputs, cast, strict=True)}
    elif isinstance(model.input, list | tuple):
        value = type(model.input)(cast)
    else:
        (value,) = cast
    return tf.cast(model(value, training=False), tf.float32)


def endpoints(model: keras.Model, inputs: Sequence[Input]) -> dict[str, Callable[..., dict[str, Any]]]:
    """Return the functions behind the signatures, by the signatures' names."""

    def logits(*tensors: Any) -> dict[str, Any]:
        return {"logits": call_model(model, inputs, tensors)}

    def probabilities(*tensors: Any) -> dict[str, Any]:
        # Softmax in float32: in half precision the probabilities of a row miss 1 by a thousandth.
        return {"probabilities": tf.nn.softmax(call_model(model, inputs, tensors))}

    return {"serving_default": probabilities, "logits": logits}


def write_saved_model(model: keras.Model, inputs: Sequence[Input], directory: Path) -> None:
    """Write a SavedModel with the signatures `serving_default` and `logits`.

    Args:
        model: The model.
        inputs: Its inputs.
        directory: An empty directory.
    """
    archive = keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec(given.shape, given.dtype, name=given.argument) for given in inputs]
    for name, function in endpoints(model, inputs).items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(directory), verbose=False)
    renames = {given.argument: given.name for given in inputs if given.argument != given.name}
    if renames:
        _rename_inputs(directory, renames)


def _rename_inputs(directory: Path, renames: Mapping[str, str]) -> None:
    """Give the signatures' inputs the columns' own names in a SavedModel on disk.

    `tf.saved_model.save` makes its names from Python arguments, so "capital-gain" would become "capital_gain"
    and "sepal length (cm)" is refused. The format itself allows any text: TensorFlow Serving takes names from
    the signature definitions, `tf.saved_model.load` from the functions' keywords, and both are renamed here.
    """
    file = directory / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        for signature in meta_graph.signature_def.values():
            for argument, name in renames.items():
                if argument in signature.inputs:
                    signature.inputs[name].CopyFrom(signature.inputs[argument])
                    del signature.inputs[argument]
        for node in meta_graph.object_graph_def.nodes:
            if node.WhichOneof("kind") == "bare_concrete_function":
                function = node.bare_concrete_function
                keywords = [renames.get(keyword, keyword) for keyword in function.argument_keywords]
                function.argument_keywords[:] = keywords
    file.write_bytes(saved_model.SerializeToString(deterministic=True))
    # The fingerprint holds hashes of the file as it was; it is optional, and a wrong one is worse than none.
    (directory / "fingerprint.pb").unlink(missing_ok=True)


def describe(inputs: Sequence[Input], classes: int) -> dict[str, Any]:
    """Return the signatures as JSON: dtype and shape of every input and output, null for the batch."""
    given = {entry.name: {"dtype": entry.dtype, "shape": list(entry.shape)} for entry in inputs}
    result = {"dtype": "float32", "shape": [None, classes]}
    return {
        "serving_default": {"inputs": given, "outputs": {"probabilities": result}},
        "logits": {"inputs": given, "outputs": {"logits": result}},
    }


def made_up(inputs: Sequence[Input], count: int) -> dict[str, np.ndarray]:
    """Return `count` examples of zeros, and of "" for strings, by the inputs' names."""
    # An open dimension of an image is given 32 pixels, which most networks can pool a few times.
    return {
        given.name: np.full((count, *(side or 32 for side in given.shape[1:])), "", object)
        if given.dtype == "string"
        else np.zeros((count, *(side or 32 for side in given.shape[1:])), given.dtype)
        for given in inputs
    }
