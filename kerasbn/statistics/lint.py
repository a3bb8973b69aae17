"""What is wrong with a model by its looks: layers in an order that hurts, losses that misread it, stale averages."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from kerasbn import checks
from kerasbn.layers.normalization import kept_axes
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.statistics import linear
from kerasbn.statistics.graph import Call, Graph, batch_normalizations, graph_of, layers_within
from kerasbn.statistics.staleness import averages, calls_of, staleness, steps_of, updates_of

# Largest share of the initial value that may be left in a moving average. At momentum 0.9 that takes 29 steps, at
# 0.99 it takes 299. What is left shifts a mean by as much of its distance from 0, and bends a variance likewise.
MOST_STALE = 0.05

# AlphaDropout is none of these: it keeps mean and variance. SpatialDropout is a kind of Dropout.
_DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout)
_VALUES_KEPT = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Identity)


@dataclass(frozen=True)
class Finding:
    """Something to mend in a model.

    Args:
        layer: Path of the layer, such as "encoder/bn_1".
        rule: What kind of finding it is: a short name.
        problem: What is wrong, with its numbers: a sentence.
        remedy: What to do: a sentence.

    Example:
        >>> print(Finding("dense", "bias-before-bn", "The bias does nothing.", "Set use_bias=False."))
        dense [bias-before-bn]: The bias does nothing. Set use_bias=False.
    """

    layer: str
    rule: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.layer} [{self.rule}]: {self.problem} {self.remedy}"


class Lint(NamedTuple):
    """What `lint` says of a model.

    Args:
        findings: What to mend.
        notes: What could not be told, and why: sentences.

    Example:
        >>> lint(create_model("mlp", (4,), 3))
        Lint(findings=(), notes=())
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def lint(model: keras.Model, *, training_steps: int | None = None) -> Lint:
    """Look for mistakes around a model's BatchNormalization layers that need no data to be seen.

    The rules:

        bias-before-bn       a Dense or convolution with a bias and no activation, all of whose outputs go to a
                             BatchNormalization: the mean it takes off takes the bias off
        dropout-before-bn    a BatchNormalization after a Dropout, SpatialDropout or GaussianDropout: these raise
                             the variance in training, by 1 / (1 - rate) for values of mean zero, but not at
                             inference
        softmax-and-logits   an output through softmax or sigmoid, and a loss with `from_logits=True`
        logits-and-softmax   logits as output, and a loss with `from_logits=False`
        stale-average        momentum^updates above 0.05: so much of the initial value is left in the averages

    A layer with frozen statistics takes off no mean of the batch's, and no rule speaks of it.

    Args:
        model: Of any kind. The first two rules, and the next two as to the outputs, see sequential and functional
            models and those nested in them; a note names what they do not see.
        training_steps: Training steps that the model has made, or is going to; None: those its optimizer counts.

    Returns:
        Findings and notes.

    Raises:
        InputError: If `model` is no Keras model, or `training_steps` is out of range.

    Example:
        >>> layers = [keras.Input((4,)), keras.layers.Dense(8, name="dense"), keras.layers.BatchNormalization()]
        >>> found = lint(keras.Sequential(layers)).findings
        >>> [(finding.layer, finding.rule) for finding in found]
        [('dense', 'bias-before-bn')]

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, section 3.2, for the bias; Li et al. (2018),
        arXiv:1801.05134, for dropout.
    """
    if not isinstance(model, keras.Model):
        raise checks.InputError("model", "a keras.Model", repr(type(model).__name__))
    steps = steps_of(model)
    if training_steps is not None:
        steps = int(checks.in_range("training_steps", training_steps, 1, integer=True))
    paths = {id(layer): path for path, layer in layers_within(model)}
    findings, notes = [], []
    graphs, unseen = graphs_of(model)
    for graph in graphs:
        findings += [*_biases(graph, paths), *_dropouts(graph, paths)]
    if unseen:
        notes.append(
            f"What stands before and after {', '.join(unseen)} cannot be seen: only sequential and functional models "
            "tell how their layers are connected. Biases and dropout before them were not looked for."
        )
    whole = graph_of(model)
    if whole is not None:
        findings += _outputs(model, whole, paths)
    elif any(_takes_logits(loss) is not None for loss in keras.tree.flatten(getattr(model, "loss", None))):
        notes.append("Whether the outputs are what the loss takes cannot be told of a model without a graph.")
    for path, layer in batch_normalizations(model).items():
        findings += _stale(path, layer, steps, calls_of(layer, graphs))
    return Lint(tuple(findings), tuple(notes))


def graphs_of(model: keras.Model) -> tuple[list[Graph], list[str]]:
    """Return the graphs that there are in a model, and the BatchNormalization layers that are in none of them.

    Args:
        model: Of any kind.

    Returns:
        The model's own graph, or those of the outermost models in it that have one; and paths of layers.
    """
    graphs: list[Graph] = []
    covered: set[int] = set()
    for layer in (model, *(layer for _, layer in layers_within(model))):
        graph = graph_of(layer) if isinstance(layer, keras.Model) and id(layer) not in covered else None
        if graph is not None:
            graphs.append(graph)
            covered.update(id(inner) for _, inner in layers_within(layer))
    seen = {id(call.operation) for graph in graphs for call in graph.calls}
    return graphs, [path for path, layer in batch_normalizations(model).items() if id(layer) not in seen]


def _biases(graph: Graph, paths: dict[int, str]) -> Iterator[Finding]:
    operations = {id(call.operation): call.operation for call in graph.calls}
    for layer in operations.values():
        if not isinstance(layer, linear.LINEAR) or not layer.use_bias or _name(layer.activation) != "linear":
            continue
        outputs = [tensor for call in graph.calls if call.operation is layer for tensor in call.outputs]
        takers = [call for tensor in outputs for call in graph.takers(tensor)]
        if set(outputs) & set(graph.outputs) or not takers or not all(_takes_off_bias(layer, call) for call in takers):
            continue
        names = ", ".join(sorted({paths[id(call.operation)] for call in takers}))
        yield Finding(
            paths[id(layer)],
            "bias-before-bn",
            f"{names} takes the bias off again with the mean: {layer.bias.shape[0]} weights that are trained in vain.",
            "Build it with use_bias=False; beta does the bias's work.",
        )


def _takes_off_bias(layer: keras.Layer, call: Call) -> bool:
    bn = call.operation
    if not isinstance(bn, keras.layers.BatchNormalization) or not averages(bn):
        return False
    rank = len(call.inputs[0].shape)
    return linear.channel_axis(layer, rank) in kept_axes(bn.axis, rank)


def _dropouts(graph: Graph, paths: dict[int, str]) -> Iterator[Finding]:
    found: dict[int, tuple[keras.Layer, list[str]]] = {}
    for call in graph.calls:
        if not isinstance(call.operation, _DROPOUT) or not call.operation.rate:
            continue
        reached, names = set(call.outputs), found.setdefault(id(call.operation), (call.operation, []))[1]
        for later in graph.calls:  # each comes after those whose outputs it takes
            if reached.isdisjoint(later.inputs):
                continue
            reached.update(later.outputs)
            bn = later.operation
            if isinstance(bn, keras.layers.BatchNormalization) and averages(bn) and paths[id(bn)] not in names:
                names.append(paths[id(bn)])
    for dropout, names in found.values():
        if names:
            factor = 1 / (1 - dropout.rate) if dropout.rate < 1 else math.inf
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            yield Finding(
                paths[id(dropout)],
                "dropout-before-bn",
                f"{names[0]}{others} averages variances of training, which rate {dropout.rate:g} makes "
                f"{factor:.3g} times those at inference (for values of mean zero).",
                "Move it after the last BatchNormalization, or lower the rate, or use kerasbn.layers.UniformDropout, "
                "or call kerasbn.statistics.recalibrate(model, training_data) after training.",
            )


def _outputs(model: keras.Model, graph: Graph, paths: dict[int, str]) -> Iterator[Finding]:
    for loss, output in _losses(model, graph):
        takes_logits, (kind, call) = _takes_logits(loss), _kind(graph, output)
        if takes_logits is None or kind is None or call is None:
            continue
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
        path = paths.get(id(call.operation), call.operation.name)
        if takes_logits and kind in ("softmax", "sigmoid"):
            yield Finding(
                path,
                "softmax-and-logits",
                f"The loss {name} takes logits and applies {kind} itself; here it gets what {kind} has made of them, "
                "and its gradients shrink.",
                f"Leave out the {kind} of the model; apply it where probabilities are wanted.",
            )
        elif not takes_logits and kind == "linear":
            yield Finding(
                path,
                "logits-and-softmax",
                f"The loss {name} takes probabilities, from_logits=False; here it gets logits, cuts them to [0, 1] "
                "and takes their logarithm.",
                "Build the loss with from_logits=True, or use kerasbn.losses.SoftmaxCrossEntropy().",
            )


def _losses(model: keras.Model, graph: Graph) -> list[tuple[Any, keras.KerasTensor]]:
    """Return each output with its loss, as `compile` pairs them."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        # A dictionary of outputs is flattened in the order of its sorted keys. A sequential model has no names.
        given = getattr(model, "output", None)
        names = sorted(given) if isinstance(given, dict) else getattr(model, "output_names", list(loss))
        return [(loss.get(name), output) for name, output in zip(names, graph.outputs, strict=False)]
    losses = loss if isinstance(loss, list | tuple) else [loss] * len(graph.outputs)
    return list(zip(losses, graph.outputs, strict=False))


def _takes_logits(loss: Any) -> bool | None:
    """Return whether a loss takes logits; None if it takes neither logits nor probabilities."""
    if isinstance(loss, SoftmaxCrossEntropy):
        return True
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss) or not callable(loss):
        return getattr(loss, "from_logits", None)
    argument = inspect.signature(loss).parameters.get("from_logits")
    return argument.default if argument and isinstance(argument.default, bool) else None


def _kind(graph: Graph, output: keras.KerasTensor) -> tuple[str | None, Call | None]:
    """Return what an output is, "softmax", "sigmoid", "linear" or None for what is not known, and whose it is."""
    call = graph.giver(output)
    if call is None:
        return None, None
    layer = call.operation
    # keras.ops.softmax is an operation of that name, a layer is one with it, and Dense has it as activation.
    name = _name(getattr(layer, "activation", layer))
    if name in ("softmax", "sigmoid"):
        return name, call
    if isinstance(layer, _VALUES_KEPT) or (isinstance(layer, keras.layers.Activation) and name == "linear"):
        return _kind(graph, call.inputs[0])
    is_linear = name == "linear" and isinstance(layer, linear.LINEAR)
    return ("linear" if is_linear or isinstance(layer, keras.layers.BatchNormalization) else None), call


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", type(activation).__name__)).lower().removesuffix("_v2")


def _stale(path: str, layer: keras.layers.BatchNormalization, steps: int | None, calls: int) -> Iterator[Finding]:
    updates = updates_of(layer, steps, calls)
    share = staleness(layer, updates)
    if updates and share is not None and share > MOST_STALE:
        momentum = math.floor(100 * MOST_STALE ** (1 / updates)) / 100
        yield Finding(
            path,
            "stale-average",
            f"momentum {layer.momentum:g} over {updates} updates leaves {share:.0%} of the initial value in the moving "
            f"averages; more than {MOST_STALE:.0%} is too much.",
            f'Set momentum to {momentum:g} or less, or averaging="debiased" of kerasbn.layers.BatchNormalization, or '
            "call kerasbn.statistics.recalibrate(model, training_data) after training.",
        )
