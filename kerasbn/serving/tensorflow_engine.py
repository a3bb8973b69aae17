"""TensorFlow as the engine: a SavedModel's signatures, read and run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from kerasbn.checks import InputError
from kerasbn.serving.artefact import Engine, Signature, TensorInfo
from kerasbn.serving.errors import RequestError

_INITIALISATION = "__saved_model_init_op"  # runs once on loading; TensorFlow lists it among the signatures
# What tf.saved_model.load raises where a file is damaged; IndexError is a file of variables that is cut short.
_NOT_LOADABLE = (OSError, ValueError, KeyError, IndexError, tf.errors.OpError)


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError("model", f"a whole SavedModel in {str(path)!r}", error, "Export it again with `kerasbn export`.")


def _tensor_info(info: Any) -> TensorInfo:
    dtype = types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower()
    if info.tensor_shape.unknown_rank:
        return TensorInfo(dtype, None)
    sizes = [size.size for size in info.tensor_shape.dim]
    return TensorInfo(dtype, tuple(None if size < 0 else size for size in sizes))


def read_signatures(path: Path) -> tuple[dict[str, Signature], dict[str, Any]]:
    """Return the signatures of a SavedModel, and the same as TensorFlow Serving's metadata reply has them.

    Args:
        path: The SavedModel.

    Returns:
        Signatures by name, and their definitions as JSON.

    Raises:
        InputError: If the file is damaged, or there is nothing to serve in it.
    """
    try:
        saved_model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise _damaged(path, error) from error
    graphs = [graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags]
    definitions = dict(graphs[0].signature_def) if graphs else {}
    signatures = {
        name: Signature(
            inputs={key: _tensor_info(info) for key, info in sorted(definition.inputs.items())},
            outputs={key: _tensor_info(info) for key, info in sorted(definition.outputs.items())},
        )
        for name, definition in sorted(definitions.items())
        if name != _INITIALISATION
    }
    if not signatures:
        raise InputError("model", f"signatures to serve in {str(path)!r}", "none")
    metadata = {
        name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, definition in definitions.items()
    }
    return signatures, metadata


def load_engine(path: Path, signatures: Mapping[str, Signature], metadata: Mapping[str, Any]) -> Engine:
    """Load a SavedModel and return what runs its signatures.

    Args:
        path: The SavedModel.
        signatures: Its signatures.
        metadata: Their definitions, from `read_signatures`.

    Returns:
        A function of a signature's name and its inputs; it may be called from several threads.

    Raises:
        InputError: If the SavedModel is damaged.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        functions = {name: loaded.signatures[name] for name in signatures}
    except _NOT_LOADABLE as error:
        raise _damaged(path, error) from error
    arguments: dict[str, dict[str, tuple[str, Any]]] = {}
    for name, signature in signatures.items():
        known = functions[name].structured_input_signature[1]
        arguments[name] = {}
        for key, info in signature.inputs.items():
            # What clients call an input need not be a name of Python's; the graph's tensor tells the argument.
            tensor = metadata[name]["inputs"][key]["name"].partition(":")[0]
            argument = tensor.removeprefix(f"{name}_")
            arguments[name][key] = (argument if argument in known else key, tf.as_dtype(info.dtype))

    def call(signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {}
        for key, value in inputs.items():
            argument, dtype = arguments[signature][key]
            tensors[argument] = tf.constant(value, dtype)
        try:
            outputs = functions[signature](**tensors)
        except tf.errors.OpError as error:
            # What a caller can get wrong comes as an invalid argument; anything else is the server's own fault.
            code = "INVALID_ARGUMENT" if isinstance(error, tf.errors.InvalidArgumentError) else "INTERNAL"
            raise RequestError(error.message, code) from error
        return {key: value.numpy() for key, value in outputs.items()}

    return call
