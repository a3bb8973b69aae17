"""The certificate of a folded model: how far it is from the original, what was folded, and what that saved."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.statistics.batches import Batches
from kerasbn.statistics.surgery import functional

EXAMPLES = 8  # drawn where no data is given
# Operations of a graph that compute nothing.
_IDLE = ("Placeholder", "Const", "Identity", "IdentityN", "NoOp", "ReadVariableOp")


@dataclass(frozen=True)
class Certificate:
    """What `fold` did, and how far the folded model's outputs are from those of the original.

    Args:
        folded: The path of each BatchNormalization that is gone and that of the layer it went into, such as
            ("encoder/bn_1", "encoder/conv_1").
        left: The path of each BatchNormalization that stayed, and why.
        absolute: Largest absolute difference |folded - original| of an output over the data; infinite if only one of
            them is NaN; None: not measured.
        relative: The same by the largest |original| of that output, so that outputs close to zero do not decide.
        examples: How many examples the outputs were compared on.
        data: Which: "given"; "random", standard normal with a fixed seed; or "none", since inputs that are integers,
            text, or of unknown shape cannot be made up.
        operations_before: Operations in TensorFlow's graph of the original at inference that compute something.
        operations_after: The same of the folded model.
        parameters_before: Numbers in the weights of the original.
        parameters_after: The same of the folded model.

    Example:
        >>> certificate = fold(create_model("mlp", (4,), 3, units=(2,))).certificate
        >>> certificate.folded, certificate.left, certificate.absolute < 1e-5
        ((('bn_1', 'dense_1'),), {}, True)
        >>> print(certificate)
        BatchNormalization folded    1 of 1
        largest absolute difference  ... over 8 random examples
        largest relative difference  ...
        operations                   ... -> 5
        parameters                   25 -> 19
    """

    folded: tuple[tuple[str, str], ...]
    left: Mapping[str, str]
    absolute: float | None
    relative: float | None
    examples: int
    data: str
    operations_before: int
    operations_after: int
    parameters_before: int
    parameters_after: int

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, which JSON can express."""
        return {**asdict(self), "folded": [list(pair) for pair in self.folded], "left": dict(self.left)}

    def __str__(self) -> str:
        where = f"over {self.examples} {self.data} examples"
        rows = {
            "BatchNormalization folded": f"{len(self.folded)} of {len(self.folded) + len(self.left)}",
            "largest absolute difference": _number(self.absolute, where),
            "largest relative difference": _number(self.relative),
            "operations": f"{self.operations_before} -> {self.operations_after}",
            "parameters": f"{self.parameters_before} -> {self.parameters_after}",
        }
        rows |= {f"left: {path}": reason for path, reason in self.left.items()}
        width = max(map(len, rows))
        return "\n".join(f"{name:{width}}  {value}".rstrip() for name, value in rows.items())


def certify(
    original: keras.Model,
    folded: keras.Model,
    pairs: tuple[tuple[str, str], ...],
    left: Mapping[str, str],
    data: Any = None,
) -> Certificate:
    """Return the certificate of a folded model.

    Args:
        original: The model as it was.
        folded: The model with its BatchNormalization layers folded.
        pairs: What was folded, as in `Certificate`.
        left: What was not, likewise.
        data: What to compare on, as `fold` takes it; None: random examples if the inputs allow that.

    Raises:
        InputError: If the data has another form than `fit` takes, or no examples.
    """
    source = "none" if data is None else "given"
    batches: Any = () if data is None else Batches(data)
    if data is None and (made_up := _random_inputs(original)) is not None:
        source, batches = "random", (made_up,)
    absolute, relative, examples = _differences(original, folded, batches)
    return Certificate(
        folded=pairs,
        left=left,
        absolute=absolute,
        relative=relative,
        examples=examples,
        data=source,
        operations_before=_count_operations(original),
        operations_after=_count_operations(folded),
        parameters_before=original.count_params(),
        parameters_after=folded.count_params(),
    )


def _number(value: float | None, where: str = "") -> str:
    return "not measured; give data" if value is None else f"{value:.3g} {where}"


def _random_inputs(model: keras.Model) -> Any:
    """Return standard normal inputs of a model's structure, or None if its inputs are not all floats of known shape."""
    inputs = functional(model).input
    tensors = keras.tree.flatten(inputs)
    if any(None in tensor.shape[1:] or not keras.backend.is_float_dtype(tensor.dtype) for tensor in tensors):
        return None
    generator = np.random.default_rng(0)
    return keras.tree.map_structure(
        lambda tensor: generator.standard_normal((tensor.shape[0] or EXAMPLES, *tensor.shape[1:])), inputs
    )


def _differences(original: keras.Model, folded: keras.Model, batches: Any) -> tuple[float | None, float | None, int]:
    """Return the largest absolute and relative difference, and the number of examples."""
    largest, examples = None, 0
    for x in batches:
        examples += len(keras.tree.flatten(x)[0])
        outputs = zip(_outputs(original, x), _outputs(folded, x), strict=True)
        here = np.array([(_apart(expected, received), _size(expected)) for expected, received in outputs])
        largest = here if largest is None else np.maximum(largest, here)
    if largest is None:
        return None, None, 0
    relative = [0.0 if apart == 0 else apart / size if size else math.inf for apart, size in largest.tolist()]
    return float(largest[:, 0].max()), max(relative), examples


def _outputs(model: keras.Model, x: Any) -> list[np.ndarray]:
    inputs = keras.tree.map_structure(tf.convert_to_tensor, x)  # a model takes no arrays and tensors mixed
    outputs = keras.tree.flatten(model(inputs, training=False))
    return [keras.ops.convert_to_numpy(output).astype(np.float64) for output in outputs]


def _apart(expected: np.ndarray, received: np.ndarray) -> float:
    same = (expected == received) | (np.isnan(expected) & np.isnan(received))
    with np.errstate(invalid="ignore"):
        differences = np.where(same, 0.0, np.abs(received - expected))
    return float(np.where(np.isnan(differences), math.inf, differences).max(initial=0.0))


def _size(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _count_operations(model: keras.Model) -> int:
    inputs = functional(model).input
    specs = keras.tree.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), inputs)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(specs)
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return sum(node.op not in _IDLE for node in nodes)
