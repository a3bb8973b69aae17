"""The graph of a model: its layers by path, and which call of a layer takes what which other call gives."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras


class Call(NamedTuple):
    """One call of a layer, or of an operation such as `+`, when the model runs.

    Args:
        operation: The layer or operation that is called; a shared one is called more than once.
        inputs: Symbolic tensors it takes: its arguments in order, masks among them.
        outputs: Symbolic tensors it gives, which are nobody else's.
    """

    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]


class Graph(NamedTuple):
    """The calls of a model, with those of the models nested in it in place of the nested models.

    Args:
        calls: Each after those whose outputs it takes.
        inputs: What the model takes.
        outputs: What the model gives, flat.
    """

    calls: tuple[Call, ...]
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]

    def giver(self, tensor: keras.KerasTensor) -> Call | None:
        """Return the call that gives `tensor`, or None if it is an input of the model."""
        return next((call for call in self.calls if tensor in call.outputs), None)

    def takers(self, tensor: keras.KerasTensor) -> list[Call]:
        """Return the calls that take `tensor`."""
        return [call for call in self.calls if tensor in call.inputs]


class _Step(keras.Operation):
    """Stands in for an operation while its graph is read, so that the model itself gets no new calls."""

    def __init__(self, operation: keras.Operation, name: str) -> None:
        super().__init__(name=name)
        self.operation = operation

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.operation.compute_output_spec(*args, **kwargs)


def _tensors(structure: Any) -> tuple[keras.KerasTensor, ...]:
    return tuple(leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor))


def graph_of(model: keras.Model) -> Graph | None:
    """Read the graph of a sequential or functional model.

    Args:
        model: The model; nothing of it changes.

    Returns:
        Its calls; None if it has no graph: a subclassed model, or a sequential one that is not built.

    Example:
        >>> graph = graph_of(create_model("mlp", (4,), 3, units=(2,)))
        >>> [call.operation.name for call in graph.calls]
        ['dense_1', 'bn_1', 'activation_1', 'logits']
        >>> [call.operation.name for call in graph.takers(graph.calls[0].outputs[0])]
        ['bn_1']
    """
    if not getattr(model, "inputs", None):
        return None
    calls: list[Call] = []
    same: dict[keras.KerasTensor, keras.KerasTensor] = {}  # at the border of a nested model, two names for one

    def note(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        outputs = _Step(operation, f"step_{len(calls)}_{len(same)}")(*args, **kwargs)
        inner = graph_of(operation) if isinstance(operation, keras.Model) else None
        if inner is None:
            calls.append(Call(operation, _tensors((args, kwargs)), _tensors(outputs)))
        else:
            given = args[0] if args else kwargs["inputs"]
            same.update(zip(inner.inputs, _tensors(given), strict=True))
            calls.extend(inner.calls)
            same.update(zip(_tensors(outputs), inner.outputs, strict=True))
        return outputs

    def known(tensors: Any) -> tuple[keras.KerasTensor, ...]:
        found = []
        for tensor in tensors:
            while tensor in same:
                tensor = same[tensor]
            found.append(tensor)
        return tuple(found)

    # clone_model is Keras's public way along a graph, call by call. On a model of the same tensors that is not
    # compiled, since it would compile its clone likewise, and a loss of the user's own need not allow that.
    bare = keras.Model(model.inputs, model.outputs, name="graph")
    clone = keras.models.clone_model(bare, clone_function=lambda operation: operation, call_function=note)
    steps = tuple(Call(call.operation, known(call.inputs), call.outputs) for call in calls)
    return Graph(steps, tuple(clone.inputs), known(clone.outputs))


def layers_within(layer: keras.Layer, prefix: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Yield the layers within a model or layer, at any depth, with their paths.

    Args:
        layer: The outermost; it is not yielded itself.
        prefix: What the paths begin with.

    Yields:
        The path, such as "encoder/bn_1", and the layer. One that occurs more than once comes once.

    Example:
        >>> [path for path, layer in layers_within(create_model("mlp", (4,), 3, units=(2,)))]
        ['inputs', 'dense_1', 'bn_1', 'activation_1', 'logits']
    """
    seen = {id(layer)}

    def walk(outer: keras.Layer, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
        # Keras has no public list of the layers in a layer, but they are among its attributes.
        for inner in outer.layers if isinstance(outer, keras.Model) else _layers_among(vars(outer)):
            if id(inner) not in seen:
                seen.add(id(inner))
                yield prefix + inner.name, inner
                yield from walk(inner, f"{prefix}{inner.name}/")

    return walk(layer, prefix)


def _layers_among(value: Any) -> Iterator[keras.Layer]:
    if isinstance(value, keras.Layer):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _layers_among(part)


def batch_normalizations(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Return every BatchNormalization of a model, Keras's own and kerasbn's, by path.

    Args:
        model: Of any kind; layers within layers are found too.

    Returns:
        The layers in the model's order, each once.

    Example:
        >>> list(batch_normalizations(create_model("mlp", (4,), 3, units=(2, 2))))
        ['bn_1', 'bn_2']
    """
    return {path: layer for path, layer in layers_within(model) if isinstance(layer, keras.layers.BatchNormalization)}
