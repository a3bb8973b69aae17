"""Folding: a model without those BatchNormalization layers that a neighbouring linear layer can do the work of."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras

from kerasbn import layers
from kerasbn.checks import InputError
from kerasbn.statistics import linear
from kerasbn.statistics.certificate import Certificate, certify
from kerasbn.statistics.graph import Call, Graph, batch_normalizations, graph_of, layers_within
from kerasbn.statistics.linear import Affine, Weights
from kerasbn.statistics.surgery import functional, has_graph, rebuild, runs_its_graph

# Layers that hand on their inputs at inference. Subclasses are not among them: they may do something else.
_PASSING = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    layers.UniformDropout,
)


class Folded(NamedTuple):
    """What `fold` returns.

    Args:
        model: The folded model.
        certificate: What was folded and what was not, and how far the two models are apart.

    Example:
        >>> model, certificate = fold(create_model("mlp", (4,), 3, units=(2,)))
        >>> [layer.name for layer in model.layers]
        ['inputs', 'dense_1', 'activation_1', 'logits']
    """

    model: keras.Model
    certificate: Certificate


def fold(model: keras.Model, data: Any = None) -> Folded:
    """Return a model that gives the same at inference, with BatchNormalization folded into kernels and biases.

    With scale = gamma / sqrt(moving_variance + epsilon) and shift = beta - scale moving_mean, by channel:

        scale (W x + b) + shift   =  (scale W) x + (scale b + shift)      the linear layer comes first
        W (scale x + shift) + b   =  (W scale) x + (W shift + b)          it comes second, and pads no border

    Linear layers are Dense, Conv1D, Conv2D, Conv3D, their transposes, DepthwiseConv1D and 2D, SeparableConv1D and 2D;
    layers that do nothing at inference, such as Dropout, may stand between. The weights are worked out in float64.
    Where both neighbours would do, it is the one before. Where neither does so exactly, the layer stays, and the
    certificate says why: an activation between, an output that something else uses too, another channel axis, a border
    padded with zeros, statistics that are not finite.

    Args:
        model: A functional model or a built sequential one; models nested in it and shared layers are folded too. It
            stays as it is.
        data: What to run the two models on, to compare them: whatever `model.fit` takes, labels or not. None: 8
            examples of standard normal numbers, if the inputs are such that these can be drawn.

    Returns:
        The folded model and its certificate. The model has copies of all weights and the names of the original's
        layers, and is not compiled. It is meant for inference: to train on, keep the original.

    Raises:
        InputError: If the model is subclassed, or sequential and not built, or the data has no form that `fit` takes.

    Example:
        >>> folded, certificate = fold(create_model("mlp", (4,), 3, units=(2,)), data=np.ones((5, 4)))
        >>> certificate.folded
        (('bn_1', 'dense_1'),)
        >>> certificate.absolute < 1e-5
        True

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, algorithm 2; `torch.nn.utils.fusion` has the same arithmetic.
    """
    _check_model(model)
    plan = _Plan(model)
    folded: dict[str, str] = {}
    left = batch_normalizations(model)
    reasons: dict[str, str] = {}
    progress = True
    while progress:
        # Again as long as something changes: one that is gone may bring another next to a linear layer.
        progress = False
        for path, layer in left.items():
            found = plan.fold(layer)
            if isinstance(found, str):
                reasons[path] = found
            else:
                folded[path] = plan.paths[found]
                progress = True
        left = {path: layer for path, layer in left.items() if path not in folded}
    result = rebuild(model, plan.without, plan.weights)
    pairs = tuple(folded.items())
    return Folded(result, certify(model, result, pairs, {path: reasons[path] for path in left}, data))


def _check_model(model: keras.Model) -> None:
    if not has_graph(model):
        received = "one that is not built" if isinstance(model, keras.Sequential) else type(model).__name__
        raise InputError(
            "model",
            "a functional model, or a sequential one that is built",
            received,
            "Build a sequential model by calling it on data. Of a subclassed model, fold the functional models that it "
            "is made of, one by one, or write it with keras.Input and keras.Model(inputs, outputs).",
        )
    for inner in (model, *(layer for _, layer in layers_within(model))):
        if has_graph(inner) and not runs_its_graph(inner):
            raise InputError(
                f"model {inner.name!r}",
                "a model that runs its graph of layers as it is",
                f"{type(inner).__name__}, which overrides `call`",
                "Make a plain model of its layers, keras.Model(model.inputs, model.outputs), if that does the same.",
            )


def _told_to_train(model: keras.Model, told: bool = False) -> Iterator[keras.Operation]:
    """Yield the layers of which some call in a model says training=True, as in MC dropout."""
    plain = functional(model)
    # The arguments of the calls are public only in the configuration.
    for operation, entry in zip(plain.operations, plain.get_config()["layers"], strict=True):
        here = told or any(call["kwargs"].get("training") for call in entry["inbound_nodes"])
        if has_graph(operation):
            yield from _told_to_train(operation, here)
        elif here:
            yield operation


class _Plan:
    """Which BatchNormalization goes into which layer: decided one by one, on the graph as the others leave it.

    Args:
        model: The model; nothing of it changes.

    Attributes:
        paths: The path of each layer in the model.
        without: The layers that are gone.
        weights: The new weights of the linear layers that took something in.
    """

    def __init__(self, model: keras.Model) -> None:
        self.paths = {layer: path for path, layer in layers_within(model)}
        self.without: set[keras.Operation] = set()
        self.weights: dict[keras.Operation, Weights] = {}
        self._graph: Graph = graph_of(model)  # type: ignore[assignment]  # _check_model has seen it
        self._told = set(_told_to_train(model))

    def fold(self, batch_norm: keras.layers.BatchNormalization) -> keras.Layer | str:
        """Fold one layer; return the linear layer that took it in, or why none did."""
        calls = self._calls(batch_norm)
        affine = self._affine(batch_norm, calls)
        if isinstance(affine, str):
            return affine
        reasons = []
        for find, arithmetic in ((self._preceding, linear.fold_after), (self._following, linear.fold_before)):
            found = find(batch_norm, calls, affine)
            if isinstance(found, str):
                reasons.append(found)
                continue
            weights = arithmetic(found, self.weights.get(found) or linear.read(found), affine)
            if not linear.fits(found, weights):
                reasons.append(f"the weights of {self.paths[found]} would not be finite in {found.compute_dtype}")
                continue
            self.without.add(batch_norm)
            self.weights[found] = weights
            return found
        return "; ".join(reasons)

    def _affine(self, batch_norm: keras.layers.BatchNormalization, calls: list[Call]) -> Affine | str:
        """Return what a layer does, or why it cannot be folded wherever it stands."""
        if type(batch_norm) not in (keras.layers.BatchNormalization, layers.BatchNormalization):
            return f"it is a {type(batch_norm).__name__}, a subclass that may compute something else"
        if not calls:
            return f"it is inside {self.paths[batch_norm].rpartition('/')[0]}, which is taken as a whole"
        if batch_norm in self._told:
            return "it is called with training=True"
        affine = linear.affine_of(batch_norm)
        return "its moving_variance is negative, or its weights are not finite" if affine is None else affine

    def _preceding(
        self, batch_norm: keras.layers.BatchNormalization, calls: list[Call], affine: Affine
    ) -> keras.Layer | str:
        """Return the linear layer whose outputs a layer takes, all of them and no others, or why there is none."""
        found = self._linear({self._giver(call.inputs[0]) for call in calls}, "follows", "an input of the model")
        if isinstance(found, str):
            return found
        name = self.paths[found]
        if activation := linear.activation_of(found):
            return f"{name} applies {activation} before it"
        others = self._takers(self._calls(found)) - {batch_norm}
        if others:
            return f"the output of {name} also goes to {self._names(others, 'an output of the model')}"
        return self._mismatch(batch_norm, found, calls) or found

    def _following(
        self, batch_norm: keras.layers.BatchNormalization, calls: list[Call], affine: Affine
    ) -> keras.Layer | str:
        """Return the linear layer that takes the outputs of a layer, all of them and no others, or why none does."""
        found = self._linear(self._takers(calls), "precedes", "an output of the model")
        if isinstance(found, str):
            return found
        name, its_calls = self.paths[found], self._calls(found)
        others = {self._giver(call.inputs[0]) for call in its_calls} - {batch_norm}
        if others:
            return f"{name} also follows {self._names(others, 'an input of the model')}"
        if affine.shift.any() and any(linear.pads(found, call.inputs[0].shape) for call in its_calls):
            return f"its shift is not zero, and {name} sees less of it at the border"
        if not all(keras.backend.is_float_dtype(call.inputs[0].dtype) for call in calls):
            return f"it makes floats of {calls[0].inputs[0].dtype} for {name}"
        return self._mismatch(batch_norm, found, calls) or found

    def _linear(self, found: set[keras.Operation | None], verb: str, edge: str) -> keras.Layer | str:
        """Return the one linear layer in a set of neighbours, or what is there instead."""
        if len(found) != 1 or None in found:
            return f"it {verb} {self._names(found, edge)}"
        (one,) = found
        if not linear.is_linear(one):
            return f"it {verb} {self._names(found, edge)} ({type(one).__name__}), neither Dense nor a convolution"
        altered = linear.altered(one)
        return f"{self.paths[one]} {altered}" if altered else one

    def _mismatch(
        self, batch_norm: keras.layers.BatchNormalization, found: keras.Layer, calls: list[Call]
    ) -> str | None:
        rank = len(calls[0].inputs[0].shape)
        axes = batch_norm.axis if isinstance(batch_norm.axis, Iterable) else (batch_norm.axis,)
        axis = linear.channel_axis(found, rank)
        if {each % rank for each in axes} != {axis}:
            return f"its axis is {batch_norm.axis}, and the channel axis of {self.paths[found]} is {axis}"
        if batch_norm.compute_dtype != found.compute_dtype:
            return f"it computes in {batch_norm.compute_dtype}, and {self.paths[found]} in {found.compute_dtype}"
        return None

    def _names(self, operations: set[keras.Operation | None], edge: str) -> str:
        """Return the names of some layers; `edge` is what to call None."""
        names = (edge if each is None else self.paths.get(each, each.name) for each in operations)
        # Nothing takes an output of a nested model that is not used.
        return " and ".join(sorted(names)) or "nothing"

    def _calls(self, operation: keras.Operation) -> list[Call]:
        return [call for call in self._graph.calls if call.operation is operation]

    def _giver(self, tensor: keras.KerasTensor) -> keras.Operation | None:
        """Return what gives a tensor, seen through layers that are gone or do nothing; None: it is an input."""
        call = self._graph.giver(tensor)
        while call is not None and self._passes(call):
            call = self._graph.giver(call.inputs[0])
        return None if call is None else call.operation

    def _takers(self, calls: Iterable[Call]) -> set[keras.Operation | None]:
        """Return what takes what some calls give, likewise; with None if an output of the model does."""
        found: set[keras.Operation | None] = set()
        for output in (output for call in calls for output in call.outputs):
            if output in self._graph.outputs:
                found.add(None)
            for taker in self._graph.takers(output):
                found |= self._takers([taker]) if self._passes(taker) else {taker.operation}
        return found

    def _passes(self, call: Call) -> bool:
        """Return whether a call hands on its inputs at inference."""
        operation = call.operation
        if operation in self.without:
            return True
        if type(operation) not in _PASSING or operation in self._told:
            return False
        # Of another dtype it would cast them.
        giver = self._graph.giver(call.inputs[0])
        return giver is not None and getattr(giver.operation, "compute_dtype", None) == operation.compute_dtype
