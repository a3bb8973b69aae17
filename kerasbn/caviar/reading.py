"""Reading a model: what is equal in models that differ in known numbers only, and where those numbers are."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.caviar.suitable import Unsuitable
from kerasbn.caviar.user_code import (
    FUNCTIONS,
    PLAIN,
    attributes_of_keras,
    is_known,
    text_of_array,
    text_of_class,
    text_of_function,
)
from kerasbn.caviar.varying import NOISES, NUMBERS, OPTIMIZERS, Place

# Methods of keras.Model that a stack does without: one of the user's own would not be called.
_REPLACED = ("__call__", "fit", "evaluate", "train_step", "test_step", "make_train_function", "make_test_function")

LEAF = "leaf"


@dataclass
class Reading:
    """What was read of a model.

    Args:
        model: The model.
        leaves: Numbers in which models may differ, by path.
        places: Where those of them are that are used while a model runs, by path.
        noises: The layers that draw noise.
        signature: What must be equal; JSON can be made of it.
    """

    model: keras.Model
    leaves: dict[str, float] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    noises: list[keras.Layer] = field(default_factory=list)
    signature: Any = None
    _paths: dict[int, str] = field(default_factory=dict)  # of what was read, to see what is shared
    _tracked: set[int] = field(default_factory=set)  # variables that Keras knows of

    def read(self) -> "Reading":
        """Read everything."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of lambdas in configs
            layers, compiled = self._layer(self.model, "model"), self._compiled()
        weights = [
            (
                *(tuple(v.shape), v.dtype, v.trainable),
                self._object(v.regularizer, f"the regularizer of {v.path}"),
                self._object(v.constraint, f"the constraint of {v.path}"),
            )
            for v in self.model.weights
        ]
        self.signature = (layers, compiled, weights)
        return self

    def _layer(self, layer: keras.Layer, path: str, config: dict[str, Any] | None = None) -> Any:
        """Return what must be equal of a layer or model; `config` is what its `get_config` returned, if known."""
        if id(layer) in self._paths:
            return {"again": self._paths[id(layer)]}
        self._paths[id(layer)] = path
        kind = type(layer)
        if "call" in vars(layer):
            raise Unsuitable(f"the layer {layer.name} has another call than its class {kind.__name__}")
        if hasattr(layer, "save_assets"):
            raise Unsuitable(f"the layer {layer.name} ({kind.__name__}) has a vocabulary, which is in no config")
        own, writer = not is_known(kind), _writer_of_config(kind)
        found: dict[str, Any] = {
            "class": text_of_class(kind),
            "trainable": layer.trainable,
            "dtype": layer.dtype_policy.name,
        }
        if isinstance(layer, keras.Sequential) or getattr(layer, "operations", None):
            found["config"] = self._container(layer, path, config)
        elif not own or writer not in (keras.Layer, keras.Operation):
            found["config"] = self._cleaned(_config_of(layer, config, not own), layer, path)
            self._take(found["config"], layer, path, NUMBERS.get(kind, ()))
        if kind in NOISES:
            self.noises.append(layer)
        if own:
            found["attributes"] = self._attributes(layer, path, strict=is_known(writer))
        elif not isinstance(layer, keras.Model):  # layers that are in no config
            # What was computed when the layer was made or adapted, as Normalization's mean.
            tensors = {name: value for name, value in vars(layer).items() if isinstance(value, tf.Tensor)}
            found["tensors"] = {n: text_of_array(one) for n, one in tensors.items() if hasattr(one, "numpy")}
            found["inner"] = [
                self._layer(one, f"{path}/{one.name}")
                for value in list(vars(layer).values())
                for one in (value if isinstance(value, list | tuple) else (value,))
                if isinstance(one, keras.Layer) and id(one) not in self._paths
            ]
        return found

    def _container(self, model: keras.Model, path: str, config: dict[str, Any] | None) -> Any:
        """Return what must be equal of the layers of a sequential or functional model, and of how they are joined."""
        if isinstance(model, keras.Sequential):
            inputs = [(tuple(one.shape), one.dtype) for one in model.inputs or ()]
            known = config["layers"] if config and is_known(type(model)) else ()
            configs = {entry["config"]["name"]: entry["config"] for entry in known}
            return [inputs, *(self._layer(one, f"{path}/{one.name}", configs.get(one.name)) for one in model.layers)]
        if not is_known(type(model)):  # its graph need not be in its config
            model, config = keras.Model(model.inputs, model.outputs, name="graph"), None
        config = _config_of(model, config)
        layers = {layer.name: layer for layer in model.layers}
        joined = []
        for entry in config["layers"]:
            layer, inner = layers.get(entry["name"]), f"{path}/{entry['name']}"
            found = self._node(entry, None, inner) if layer is None else self._layer(layer, inner, entry["config"])
            joined.append((found, entry["inbound_nodes"]))
        return {**config, "layers": joined}

    def _compiled(self) -> Any:
        """Return what must be equal of what the model was compiled with."""
        model = self.model
        try:
            config = dict(model.get_compile_config())
        except Exception as error:  # whatever a class of the user's raises
            raise Unsuitable(f"what the model is compiled with has no config: {_first_line(error)}") from error
        optimizer = config.pop("optimizer")
        if not is_known(type(model.optimizer)):
            raise Unsuitable(f"the optimizer {type(model.optimizer).__name__} is neither Keras's nor kerasbn's")
        settings = optimizer["config"]
        rate = settings.get("learning_rate")
        if isinstance(rate, dict) and _is_known_node(rate):
            settings["learning_rate"] = {**rate, "config": self._schedule(rate["config"], "optimizer/learning_rate")}
        self._take(settings, None, "optimizer", OPTIMIZERS)
        self._take(config, model, "", ("loss_weights",))
        return {
            "optimizer": [text_of_class(type(model.optimizer)), self._cleaned(settings, None, "optimizer")],
            "loss": self._cleaned(config.pop("loss"), getattr(model, "loss", None), "loss"),
            **{name: self._cleaned(value, None, name) for name, value in config.items()},
        }

    def _schedule(self, value: Any, path: str) -> Any:
        """Move all numbers of a schedule's config to the leaves."""
        if isinstance(value, dict):
            return {key: self._schedule(one, f"{path}/{key}") for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._schedule(one, f"{path}/{at}") for at, one in enumerate(value)]
        if not _is_number(value):
            return value
        self.leaves[path] = float(value)
        return LEAF

    def _take(self, config: dict[str, Any], owner: Any, path: str, keys: tuple[str, ...]) -> None:
        """Move numbers from a config to the leaves; `owner` uses them while a model runs, None: nobody does."""
        for key in keys:
            value = config.get(key)
            if key == "momentum" and getattr(owner, "averaging", "ema") != "ema":
                continue  # there it is no plain factor
            if isinstance(value, dict | list | tuple):
                items = getattr(owner, key, value)
                parts = dict(items.items() if isinstance(items, dict) else enumerate(items))
            else:
                parts = {None: value}
            if not all(_is_number(one) for one in parts.values()):
                continue
            for at, one in parts.items():
                where = f"{path}/{key}".lstrip("/") + ("" if at is None else f"/{at}")
                self.leaves[where] = float(one)
                if owner is not None:
                    self.places[where] = Place(owner, key, at)
            config[key] = LEAF if None in parts else [LEAF, *parts]

    def _cleaned(self, value: Any, live: Any, path: str) -> Any:
        """Return a part of a config without leaves; `live` is what it is the config of, None if that is not known."""
        if isinstance(value, dict):
            if isinstance(live, FUNCTIONS):
                return text_of_function(live)
            if "class_name" in value and "config" in value:
                return self._node(value, live, path)
            return {key: self._cleaned(one, _part(live, key, one), f"{path}/{key}") for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._cleaned(one, _part(live, at, one), f"{path}/{at}") for at, one in enumerate(value)]
        return value.item() if isinstance(value, np.generic) else value

    def _node(self, node: dict[str, Any], live: Any, path: str) -> Any:
        """Return what must be equal of an object that is in a config."""
        name, config = node["class_name"], node["config"]
        if type(live).__name__ != name:
            live = None
        if isinstance(live, keras.Layer):
            return self._layer(live, path, config)
        if live is not None and (isinstance(live, keras.Loss | keras.Regularizer) or not is_known(type(live))):
            return self._object(live, path, config)
        if live is None and (name in ("function", "__lambda__") or not _is_known_node(node)):
            called = {"function": str(config).rpartition(">")[2], "__lambda__": "<lambda>"}.get(name, name)
            given = self._given_metrics().get(called)
            if given is None:
                raise Unsuitable(f"{path} has {called}, which cannot be told from another one")
            return [self._object(one, path) for one in given]
        return {"class": name, "config": self._cleaned(config, live, path)}

    def _object(self, thing: Any, path: str, config: dict[str, Any] | None = None) -> Any:
        """Return what must be equal of an object that is no layer, such as a regularizer, a loss or a function."""
        if thing is None:
            return None
        if isinstance(thing, FUNCTIONS):
            return text_of_function(thing)
        if id(thing) in self._paths:
            return {"again": self._paths[id(thing)]}
        self._paths[id(thing)] = path
        kind = type(thing)
        own, writer = not is_known(kind), _writer_of_config(kind)
        found: dict[str, Any] = {"class": text_of_class(kind), "dtype": str(getattr(thing, "dtype", None))}
        if not (own and is_known(writer)):
            found["config"] = self._cleaned(_config_of(thing, config), thing, path)
            self._take(found["config"], thing, path, NUMBERS.get(kind, ()))
        if own:
            found["attributes"] = self._attributes(thing, path, strict=is_known(writer))
        return found

    def _given_metrics(self) -> dict[str, list[Any]]:
        """Return the functions and objects of the user's that the model was given as metrics, by name."""
        found: dict[str, list[Any]] = {}

        def collect(value: Any) -> None:
            if isinstance(value, dict | list | tuple):
                for one in value.values() if isinstance(value, dict) else value:
                    collect(one)
            elif isinstance(value, FUNCTIONS) or not is_known(type(value)):
                found.setdefault(getattr(value, "__name__", type(value).__name__), []).append(value)

        for metric in self.model.metrics:
            collect(list(vars(metric).values()))
        return found

    def _attributes(self, owner: Any, path: str, strict: bool) -> Any:
        """Return the attributes of an object of the user's; `strict`: its config does not tell what it is."""
        kind: type = type(owner)
        skipped = attributes_of_keras(kind)
        self._tracked |= {id(variable) for variable in getattr(owner, "variables", ())}
        return {
            name: self._attribute(value, f"{path}/{name}", strict)
            for name, value in list(vars(owner).items())
            if name not in skipped and not name.startswith("_self_")  # TensorFlow's own
        }

    def _attribute(self, value: Any, path: str, strict: bool) -> Any:
        if isinstance(value, PLAIN):
            return repr(value)
        if isinstance(value, keras.Layer):
            return self._layer(value, path)
        if isinstance(value, dict):
            return {repr(key): self._attribute(one, f"{path}/{key}", strict) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._attribute(one, f"{path}/{at}", strict) for at, one in enumerate(value)]
        if isinstance(value, FUNCTIONS):
            return text_of_function(value)
        if isinstance(value, type):
            return text_of_class(value)
        if isinstance(value, np.ndarray) or (isinstance(value, tf.Tensor) and hasattr(value, "numpy")):
            return text_of_array(value)
        if isinstance(value, keras.random.SeedGenerator | keras.Initializer | keras.InputSpec | tf.TensorShape):
            return type(value).__name__
        variable = isinstance(value, keras.Variable | tf.Variable)
        if variable and id(value) in self._tracked:
            return "variable"
        if not variable and callable(getattr(value, "get_config", None)):
            return self._object(value, path)
        if variable or strict:
            raise Unsuitable(f"{path} is a {type(value).__qualname__}, which cannot be told from another one")
        return None


def read(model: keras.Model) -> Reading:
    """Read a compiled model.

    Args:
        model: The model; nothing of it changes.

    Returns:
        What was read.

    Raises:
        Unsuitable: If it cannot be told whether another model is the same, or if the model trains in its own way.

    Example:
        >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(label_smoothing=0.1))
        >>> read(model).places["loss/label_smoothing"].attribute
        'label_smoothing'
    """
    kind = type(model)
    if not model.compiled:
        raise Unsuitable("the model is not compiled")
    if model.run_eagerly:
        raise Unsuitable("the model is compiled with run_eagerly=True")
    for name in _REPLACED:
        if name in vars(model) or getattr(kind, name) is not getattr(keras.Model, name):
            raise Unsuitable(f"{kind.__name__} has a {name} of its own")
    return Reading(model).read()


def layers_of(model: keras.Model) -> Any:
    """Return what must be equal of a model's layers."""
    return Reading(model)._layer(model, "model")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_known_node(node: Mapping[str, Any]) -> bool:
    """Return whether a config is that of an object of Keras or kerasbn."""
    return str(node.get("module")).partition(".")[0] in ("keras", "kerasbn") or node["class_name"].startswith("__")


def _part(live: Any, key: Any, config: Any) -> Any:
    """Return the attribute or item of an object that a part of its config is the config of; None if unknown."""
    if not isinstance(config, dict | list | tuple) or live is None:
        return None
    if isinstance(live, dict):
        return live.get(key)
    if isinstance(live, list | tuple):
        return live[key] if isinstance(key, int) and key < len(live) else None
    if key == "layer" and isinstance(live, keras.layers.Bidirectional):
        return live.forward_layer
    return getattr(live, key, None) if isinstance(key, str) else None


def _config_of(thing: Any, config: dict[str, Any] | None = None, without_first_values: bool = False) -> dict[str, Any]:
    """Return an object's config, of its own or as given; without what only its first values depend on, if asked."""
    if config is None:
        try:
            config = thing.get_config()
        except Exception as error:  # whatever a class of the user's raises
            raise Unsuitable(
                f"{getattr(thing, 'name', type(thing).__name__)} has no config: {_first_line(error)}"
            ) from error
    if not without_first_values:
        return dict(config)
    return {key: value for key, value in config.items() if key != "seed" and not key.endswith("initializer")}


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _writer_of_config(kind: type) -> type:
    """Return the class that has the `get_config` of a class."""
    return next((base for base in kind.__mro__ if "get_config" in vars(base)), object)
