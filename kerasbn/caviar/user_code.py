"""Functions and classes of the user as text, equal for two of them only if both do the same."""

import functools
import hashlib
import sys
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasbn.caviar.suitable import Unsuitable

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), np.generic)
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)

# What is theirs does not change from one build of a model to the next, so its name is enough.
_KNOWN = frozenset(("keras", "kerasbn", "tensorflow", "numpy")) | sys.stdlib_module_names
_MADE = 1 << 9  # of `__flags__`: a class that is made while a program runs, as a class statement does
_NO_PART = frozenset(("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__firstlineno__"))


def is_known(thing: Any) -> bool:
    """Return whether a function or class is of Keras, of kerasbn, or of what they stand on.

    Example:
        >>> is_known(keras.layers.Dense), is_known(eval("lambda: 1", {"__name__": "mine"}))
        (True, False)
    """
    module = str(getattr(thing, "__module__", None) or "builtins")
    if module == "builtins":  # also of what is defined in text that is executed
        return not isinstance(thing, types.FunctionType) and not (isinstance(thing, type) and thing.__flags__ & _MADE)
    return module.partition(".")[0] in _KNOWN


def text_of_function(function: Callable[..., Any]) -> str:
    """Return a function as text: its names, its code, its defaults and what it takes from around it.

    What it takes from its module counts as far as it is plain: numbers, strings, and the like.

    Args:
        function: A function, a method of a class, or a `functools.partial`.

    Returns:
        The text, short.

    Raises:
        Unsuitable: If the function takes something from around it that cannot be told from another such thing.

    Example:
        >>> def times(factor):
        ...     return eval("lambda x: factor * x", {"__name__": "mine", "factor": factor})
        >>> text_of_function(times(2)) == text_of_function(times(2))
        True
        >>> text_of_function(times(2)) == text_of_function(times(3))
        False
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{name} {_digest(_parts(function, name, set()))}"


def text_of_class(kind: type) -> str:
    """Return a class as text: its names, and the code of those of its bases that are the user's too.

    Args:
        kind: The class.

    Returns:
        The text, short.

    Raises:
        Unsuitable: As `text_of_function`, for the methods.

    Example:
        >>> text_of_class(keras.layers.Dense)
        'keras.src.layers.core.dense.Dense'
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    return name if is_known(kind) else f"{name} {_digest(_class(kind, set()))}"


def _digest(parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _class(kind: type, seen: set[int]) -> Any:
    bases: list[Any] = []
    for base in kind.__mro__:
        if is_known(base):
            bases.append((base.__module__, base.__qualname__))
            continue
        members = [
            (name, _member(member, f"{base.__qualname__}.{name}", seen, "<locals>" in base.__qualname__))
            for name, member in sorted(vars(base).items())
            if name not in _NO_PART
        ]
        bases.append((base.__module__, base.__qualname__, *members))
    return bases


def _member(member: Any, name: str, seen: set[int], local: bool) -> Any:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    if isinstance(member, property):
        return [None if one is None else _parts(one, name, seen) for one in (member.fget, member.fset, member.fdel)]
    if local or isinstance(member, (*FUNCTIONS, *PLAIN)):
        return _parts(member, name, seen)
    return type(member).__qualname__  # a module makes its classes once


def _parts(value: Any, name: str, seen: set[int]) -> Any:
    """Return what tells a value from others, made of tuples, strings and numbers."""
    if isinstance(value, PLAIN):
        return (type(value).__name__, repr(value))
    if isinstance(value, list | tuple):
        return (type(value).__name__, *(_parts(one, name, seen) for one in value))
    if isinstance(value, dict):
        return ("dict", *((repr(key), _parts(one, name, seen)) for key, one in value.items()))
    if isinstance(value, set | frozenset) and all(isinstance(one, PLAIN) for one in value):
        return ("set", *sorted(map(repr, value)))
    if isinstance(value, np.ndarray) or (isinstance(value, tf.Tensor) and hasattr(value, "numpy")):
        return text_of_array(value)
    if id(value) in seen:
        return "again"
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if isinstance(value, (*FUNCTIONS, type)):
        seen.add(id(value))
        return _class(value, seen) if isinstance(value, type) else _function(value, name, seen)
    raise Unsuitable(f"{name} is a {type(value).__qualname__}, which cannot be told from another one")


def text_of_array(value: Any) -> str:
    """Return an array, or a tensor that has a value, as text; raise `Unsuitable` if it holds Python objects."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise Unsuitable("an array of Python objects cannot be told from another one")
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def _function(function: Any, name: str, seen: set[int]) -> Any:
    if isinstance(function, functools.partial):
        return ("partial", *(_parts(one, name, seen) for one in (function.func, function.args, function.keywords)))
    if is_known(function) or not hasattr(function, "__code__"):
        return (function.__module__, function.__qualname__)
    if isinstance(function, types.MethodType):
        owner = function.__self__
        return ("method", _parts(owner, f"what {name} is a method of", seen), _parts(function.__func__, name, seen))
    code, around = function.__code__, function.__globals__
    closure = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return (
        function.__module__,
        function.__qualname__,
        _code(code),
        *(_parts(one, f"a default of {name}", seen) for one in (function.__defaults__, function.__kwdefaults__)),
        *(
            (key, _parts(cell.cell_contents, f"{key}, which {name} uses,", seen))
            for key, cell in closure
            if key != "__class__"
        ),
        *((key, _global(around[key], key, seen)) for key in sorted(_names(code)) if key in around),
    )


def _global(value: Any, name: str, seen: set[int]) -> Any:
    """Return what tells something of a module from others, if that is plain or the user's code; else None."""
    if not isinstance(value, (*PLAIN, *FUNCTIONS, type, dict, list, tuple, set, frozenset)):
        return None
    try:
        return _parts(value, name, seen)
    except Unsuitable:
        return None


def _names(code: types.CodeType) -> set[str]:
    """Return the names that a function, and those within it, take from their module, and of attributes."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*inner)


def _code(code: types.CodeType) -> Any:
    """Return what a function does, without the lines where it stands."""
    constants = [
        _code(one) if isinstance(one, types.CodeType) else sorted(map(repr, one)) if isinstance(one, frozenset) else one
        for one in code.co_consts
    ]
    return (code.co_code.hex(), repr(constants), code.co_names, code.co_varnames, code.co_freevars)


class _Empty(keras.Model):
    """A model of a class of its own, with nothing in it."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs


@functools.cache
def attributes_of_keras(kind: type) -> frozenset[str]:
    """Return the attributes that an object of the user's has from Keras, and which no call of it depends on.

    Example:
        >>> "built" in attributes_of_keras(keras.Layer), "scale" in attributes_of_keras(keras.Layer)
        (True, False)
    """
    if issubclass(kind, keras.Model):
        inputs, empty = keras.Input((1,), name="graph_input"), _Empty()
        empty.compile("sgd", "mse", metrics=["mse"])
        empty(np.zeros((1, 1), "float32"))
        models = (empty, keras.Model(inputs, inputs, name="graph"), keras.Sequential([inputs], name="graph"))
        names = {name for model in models for name in vars(model)}
    elif issubclass(kind, keras.Layer):
        layer = keras.layers.Identity(name="graph")
        layer(np.zeros((1, 1), "float32"))
        names = set(vars(layer))
    elif issubclass(kind, keras.Loss):
        names = set(vars(keras.Loss()))
    elif issubclass(kind, keras.Metric):
        names = set(vars(keras.metrics.Metric(name="graph")))
    else:
        names = set()
    return frozenset(names - {"activity_regularizer"})
