"""Replacement: a copy of a model with other BatchNormalization layers in it, and everything else as it was."""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import keras

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.layers.batch_normalization import BatchNormalization

# None of them changes a weight, or what a model returns at inference.
OPTIONS = ("momentum", "synchronized", "virtual_batch_size", "averaging", "variance_estimator", "freeze", "kernel")

Swap = Callable[[dict[str, Any]], keras.layers.Layer]


def replace_batch_normalization(
    model: keras.Model, into: type[Any] = BatchNormalization, **options: Any
) -> keras.Model:
    """Return a copy of a model in which every batch normalization is of another class, with all weights kept.

    Bit for bit the same are the weights, the state of random generators and what preprocessing layers have adapted to;
    the same are names, inputs and outputs with their structure, dtypes, masks, what is shared or nested, and what is
    trainable. A compiled model comes compiled, its optimizer with its state. Nothing of `model` changes, and at
    inference the copy returns what it returns, up to rounding. Layers within wrappers, such as `TimeDistributed`, and
    within layers that serialize their inner layers in `get_config`, are replaced too.

    Files go both ways by themselves. A weights file (`.weights.h5`) of a model with either class loads into the like
    model with the other. A `.keras` file with Keras's class: `keras.saving.load_model`, then this function. One with
    kerasbn's class, and no options but those of Keras, is loaded where there is no kerasbn by

        keras.saving.load_model(path, custom_objects={"kerasbn>BatchNormalization": keras.layers.BatchNormalization})

    Args:
        model: Sequential or functional, with layers of any kind in it. Custom functions in it, and those it is compiled
            with, must be registered or in a `keras.saving.custom_object_scope`, as for loading; classes need not.
        into: `kerasbn.layers.BatchNormalization`, or `keras.layers.BatchNormalization` for the way back.
        **options: Options that all layers get from now on: `momentum`, `synchronized`, `virtual_batch_size`,
            `averaging`, `variance_estimator`, `freeze`, `kernel`. The others stay as each layer has them. With
            `averaging` changed the moving statistics hold until the first batch, which starts the new average; with
            "affine" or "all" for `freeze` the optimizer has fewer variables and starts anew, of which Keras warns.

    Returns:
        The copy, of the class of `model`.

    Raises:
        InputError: If an argument is not as above; if a layer has an option that `into` lacks; or if a layer cannot
            be replaced, because a class makes it in its code (as subclassed models do) or derives from it. The
            message names it, and says what to do.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(name="bn")])
        >>> copy = replace_batch_normalization(model, averaging="debiased")
        >>> type(copy.get_layer("bn")).__module__, copy.get_layer("bn").averaging
        ('kerasbn.layers.batch_normalization', 'debiased')
    """
    _check(model, into, options)
    copies: dict[int, tuple[Any, Any]] = {}  # by id: what is shared is copied once

    def swap(config: dict[str, Any]) -> keras.layers.Layer:
        return _made(config, into, options)

    def copy(old: Any) -> Any:
        if id(old) not in copies:
            new = _copy_of_graph(old, copy) if _is_plain_graph(old) else _copy_from_config(old, swap)
            copies[id(old)] = (old, new)
        return copies[id(old)][1]

    result = copy(model)
    # Outer ones first, since `trainable` of a model sets that of all its layers.
    for old, new in reversed(copies.values()):
        _build_like(old, new)
        for old_part, new_part in [(old, new)] if _is_plain_graph(old) else _parts(old, new, into):
            _move_state(old_part, new_part)
    for old, new in copies.values():
        _compile_like(old, new)
    return result


def _check(model: Any, into: Any, options: dict[str, Any]) -> None:
    """Raise InputError unless these are arguments that the function takes, of layers that can be replaced."""
    if not isinstance(model, keras.Model):
        raise InputError("model", "a keras.Model", type(model).__name__)
    if into not in (BatchNormalization, keras.layers.BatchNormalization):
        raise InputError("into", "kerasbn.layers.BatchNormalization or keras.layers.BatchNormalization", repr(into))
    checks.known_keys("options", options, OPTIONS)
    for layer in _within(model):
        if _normalizes(layer) and type(layer) not in (BatchNormalization, keras.layers.BatchNormalization):
            raise InputError(
                layer.name,
                "kerasbn.layers.BatchNormalization or keras.layers.BatchNormalization",
                f"{type(layer).__name__}, which derives from it",
                "What it adds would be lost. Derive it from the other class in its code and make the model anew; "
                "its weights go over by new.set_weights(old.get_weights()).",
            )


def _normalizes(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _is_plain_graph(old: Any) -> bool:
    """Return whether this is a sequential or functional model of a class of Keras: layers, calls, no more."""
    return isinstance(old, keras.Model) and type(old) is not keras.Model and _is_of_keras(type(old))


def _is_of_keras(cls: type) -> bool:
    return cls.__module__.startswith("keras.")


def _within(outer: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield a layer and the layers and seed generators in it, each once and always in the same order."""
    seen = set() if seen is None else seen
    if id(outer) in seen:
        return
    seen.add(id(outer))
    if isinstance(outer, list | tuple):
        inner = list(outer)
    elif isinstance(outer, dict):
        inner = list(outer.values())
    elif isinstance(outer, keras.layers.Layer):
        yield outer
        # Keras has no public list of the layers in a layer, but they are among its attributes.
        inner = [attribute for _, attribute in sorted(vars(outer).items())]
    else:
        if isinstance(outer, keras.random.SeedGenerator):
            yield outer
        return
    for value in inner:
        yield from _within(value, seen)


def _made(config: dict[str, Any], into: type[Any], options: dict[str, Any]) -> keras.layers.Layer:
    """Return the layer that replaces the one of this config, or raise InputError if it cannot be `into`."""
    ours = BatchNormalization.from_config({**config, **options})
    if into is BatchNormalization:
        return ours
    config = ours.get_config()
    config.pop("kernel", None)  # either kernel computes the same
    lacking = sorted(set(config) - set(into().get_config()))
    if not isinstance(ours.axis, int):
        remedy = "It takes one axis; keep kerasbn's layer here."
        raise InputError(f"{ours.name}: axis", "one that keras.layers.BatchNormalization has", ours.axis, remedy)
    for key in lacking:
        default = inspect.signature(BatchNormalization).parameters[key].default
        raise InputError(
            f"{ours.name}: {key}",
            "an option that keras.layers.BatchNormalization has",
            f"{key}={config[key]!r}",
            f"Give {key}={default!r} to replace_batch_normalization too, if the copy can do without.",
        )
    return into.from_config(config)


def _copy_of_graph(old: keras.Model, copy: Callable[[Any], Any]) -> keras.Model:
    """Return a model of the copies of a model's layers."""
    inputs = {id(layer.output): layer for layer in _within(old) if isinstance(layer, keras.layers.InputLayer)}
    if isinstance(old, keras.Sequential):
        first = [copy(inputs[id(tensor)]) for tensor in getattr(old, "inputs", ())]  # none before it is built
        return keras.Sequential([*first, *map(copy, old.layers)], name=old.name, trainable=old.trainable)
    # clone_model is Keras's public way along a graph. Of a model that is not compiled, since it would compile its
    # clone before all layers have their state.
    bare = keras.Model(old.input, old.output, name=old.name)
    tensors = keras.tree.map_structure(lambda tensor: copy(inputs[id(tensor)]).output, old.input)
    return keras.models.clone_model(bare, input_tensors=tensors, clone_function=copy)


def _copy_from_config(old: Any, swap: Swap) -> Any:
    """Return what the config of a layer makes, once the batch normalizations in it are replaced."""
    expected = sum(map(_normalizes, _within(old)))
    try:
        config = keras.saving.serialize_keras_object(old)
    except NotImplementedError as error:
        if expected:
            raise _out_of_reach(old) from error
        raise
    found = 0

    def swapped(value: Any) -> Any:
        nonlocal found
        if isinstance(value, list):
            return [swapped(item) for item in value]
        if not isinstance(value, dict):
            return value
        if _is_normalization(value):
            found += 1
            value = {**value, **keras.saving.serialize_keras_object(swap(value["config"]))}
        # Built where it is called, which gives weights the paths they had; compiled when everything is in place.
        return {key: swapped(item) for key, item in value.items() if key not in ("build_config", "compile_config")}

    config = swapped(config)
    if found < expected:
        raise _out_of_reach(old)
    classes = {type(part) for part in (old, *_within(old)) if not _is_of_keras(type(part))}
    own = {keras.saving.get_registered_name(cls): cls for cls in classes}
    # Not a scope, which would hide one that the user has opened. The code in this config is the user's: no stranger's.
    return keras.saving.deserialize_keras_object(config, custom_objects=own, safe_mode=False)


def _is_normalization(config: dict[str, Any]) -> bool:
    """Return whether this is the config of a batch normalization, of Keras's or of kerasbn's class."""
    registered = keras.saving.get_registered_name(BatchNormalization)
    return config.get("class_name") == "BatchNormalization" and (
        config.get("registered_name") == registered
        or (config.get("module"), config.get("registered_name")) == ("keras.layers", None)
    )


def _out_of_reach(old: Any) -> InputError:
    names = ", ".join(layer.name for layer in _within(old) if _normalizes(layer))
    cls = type(old).__name__
    return InputError(
        f"{old.name} ({cls})",
        "a layer or model that can be made again from its config, with its batch normalization in it",
        f"one whose code makes {names}",
        f"Write the other BatchNormalization into the code of {cls}, make it anew, call it once, and give it the "
        "weights: new.set_weights(old.get_weights()).",
    )


def _build_like(old: Any, new: Any) -> None:
    if getattr(old, "built", False) and not getattr(new, "built", True):
        new.build_from_config(old.get_build_config())


def _parts(old: Any, new: Any, into: type[Any]) -> list[tuple[Any, Any]]:
    """Return pairs of what is in a layer and in its copy, or raise InputError if these are not alike."""
    olds, news = list(_within(old)), list(_within(new))
    if [into if _normalizes(part) else type(part) for part in olds] != [type(part) for part in news]:
        if any(map(_normalizes, olds)):
            raise _out_of_reach(old)
        cls = type(old).__name__
        raise InputError(
            f"{old.name} ({cls})",
            "a layer of the same parts when it is made again from its config",
            "one of other parts",
            f"Let get_config and from_config of {cls} say all that is in it.",
        )
    return list(zip(olds, news, strict=True))


def _move_state(old: Any, new: Any) -> None:
    """Give a copy what is not in the config, but for what is in the layers within it."""
    if isinstance(old, keras.random.SeedGenerator):
        new.state.assign(old.state)
    elif _normalizes(old):
        kept = {weight.name: weight for weight in old.weights}
        for weight in new.weights:
            if weight.name in kept:  # `updates`, which counts batches, may be new
                weight.assign(kept[weight.name])
    elif isinstance(old, keras.layers.Layer):
        store: dict[str, Any] = {}
        old.save_own_variables(store)
        if store:
            new.load_own_variables(store)
        if hasattr(old, "save_assets"):  # vocabularies
            with tempfile.TemporaryDirectory() as directory:
                old.save_assets(directory)
                new.load_assets(directory)
    if isinstance(old, keras.layers.Layer) and new.trainable != old.trainable:
        new.trainable = old.trainable


def _compile_like(old: Any, new: Any) -> None:
    if not isinstance(old, keras.Model) or not old.compiled:
        return
    new.compile_from_config(old.get_compile_config())
    if new.compiled and old.optimizer is not None and old.optimizer.built:
        if not new.optimizer.built:
            new.optimizer.build(new.trainable_variables)
        store: dict[str, Any] = {}
        old.optimizer.save_own_variables(store)
        new.optimizer.load_own_variables(store)
