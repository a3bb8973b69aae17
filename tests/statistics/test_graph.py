"""Tests of the graph of a model, and of the paths of its layers."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasbn.layers import BatchNormalization
from kerasbn.statistics.graph import batch_normalizations, graph_of, layers_within

KERAS = tuple(int(part) for part in keras.__version__.split(".")[:2])


def names(calls):
    return [call.operation.name for call in calls]


def test_calls_stand_in_the_order_in_which_they_run():
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="dense")(inputs)
    outputs = layers.Add(name="add")([layers.ReLU(name="relu")(x), x])
    graph = graph_of(keras.Model(inputs, [outputs, x]))
    assert names(graph.calls) == ["dense", "relu", "add"]
    assert names(graph.takers(graph.inputs[0])) == ["dense"]
    assert names(graph.takers(graph.outputs[1])) == ["relu", "add"]
    assert graph.giver(graph.outputs[0]).operation.name == "add"
    assert graph.giver(graph.inputs[0]) is None


def test_nested_models_are_replaced_by_their_calls():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="a"), layers.ReLU(name="b")])
    inputs = keras.Input((4,))
    graph = graph_of(keras.Model(inputs, inner(inner(inputs=inputs))))
    assert names(graph.calls) == ["a", "b", "a", "b"]
    assert graph.calls[0].inputs == graph.inputs
    assert graph.calls[2].inputs == graph.calls[1].outputs
    assert graph.outputs == graph.calls[3].outputs
    assert graph.calls[0].operation is graph.calls[2].operation


@pytest.mark.skipif(KERAS < (3, 13), reason="Keras 3.12 has no model whose output is its input")
def test_a_nested_model_without_layers():
    same = keras.Input((4,))
    nothing = keras.Model(same, same)
    inputs = keras.Input((4,))
    graph = graph_of(keras.Model(inputs, nothing(layers.ReLU(name="a")(nothing(inputs)))))
    assert names(graph.calls) == ["a"]
    assert graph.calls[0].inputs == graph.inputs
    assert graph.outputs == graph.calls[0].outputs


def test_a_nested_model_of_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outputs = {"sum": layers.Add(name="add")([a, b]), "twice": layers.Rescaling(2.0, name="twice")(a)}
    inner = keras.Model({"a": a, "b": b}, outputs)
    x, y = keras.Input((4,)), keras.Input((4,))
    given = inner({"b": x, "a": y})
    graph = graph_of(keras.Model([x, y], layers.ReLU(name="relu")(given["twice"])))
    assert sorted(names(graph.calls)) == ["add", "relu", "twice"]
    relu = next(call for call in graph.calls if call.operation.name == "relu")
    twice = graph.giver(relu.inputs[0])
    assert twice.operation.name == "twice"
    assert twice.inputs == (graph.inputs[1],)


def test_a_model_without_a_graph():
    assert graph_of(keras.Sequential([layers.Dense(3)])) is None

    class Own(keras.Model):
        def call(self, x):
            return x

    assert graph_of(Own()) is None


class Wrapped(keras.layers.Layer):
    """A layer that Keras cannot make anew from its config."""

    def __init__(self, function):
        super().__init__(name="wrapped")
        self.function = function
        self.parts = {"first": [BatchNormalization(name="bn")], 2: (layers.ReLU(name="relu"),)}
        self.outer = None

    def call(self, x):
        return self.parts["first"][0](self.function(x))


def test_own_layers_that_cannot_be_cloned_and_losses_that_cannot_be_loaded():
    wrapped = Wrapped(lambda x: x + 1)
    model = keras.Sequential([keras.Input((4,)), wrapped])
    model.compile("sgd", lambda y_true, y_pred: y_pred)
    assert names(graph_of(model).calls) == ["wrapped"]


def test_layers_within_layers_have_paths():
    wrapped = Wrapped(lambda x: x)
    wrapped.outer = wrapped
    inner = keras.Sequential([wrapped, layers.TimeDistributed(layers.Dense(2, name="d"), name="td")], name="inner")
    model = keras.Sequential([inner, layers.BatchNormalization(name="bn")])
    assert [path for path, _ in layers_within(model)] == [
        "inner",
        "inner/wrapped",
        "inner/wrapped/bn",
        "inner/wrapped/relu",
        "inner/td",
        "inner/td/d",
        "bn",
    ]
    found = batch_normalizations(model)
    assert list(found) == ["inner/wrapped/bn", "bn"]
    assert found["inner/wrapped/bn"] is wrapped.parts["first"][0]


def test_shared_layers_come_once():
    shared = BatchNormalization(name="bn")
    a, b = keras.Input((3,)), keras.Input((3,))
    assert list(batch_normalizations(keras.Model([a, b], shared(a) + shared(b)))) == ["bn"]


@pytest.mark.parametrize("mask", [False, True])
def test_a_mask_is_an_input_of_the_call(mask):
    parts = [layers.Masking(name="masking")] * mask + [BatchNormalization(name="bn")]
    graph = graph_of(keras.Sequential([keras.Input((5, 3)), *parts]))
    bn = next(call for call in graph.calls if call.operation.name == "bn")
    assert len(bn.inputs) == 1 + mask
    source = graph.giver(bn.inputs[0])
    assert source.operation.name == "masking" if mask else source is None


def test_the_model_gets_no_new_calls():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2), BatchNormalization()])
    tensors = [layer.output for layer in model.layers]
    graph_of(model)
    assert all(layer.output is tensor for layer, tensor in zip(model.layers, tensors, strict=True))
    model(np.zeros((1, 4)))
