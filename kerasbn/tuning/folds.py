"""Folds: which examples each model of a cross-validated trial is trained on, and the arguments of its fit."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from sklearn.model_selection import KFold, StratifiedKFold

from kerasbn.data import Features
from kerasbn.tuning.objective import MisuseError

# Positions of the examples that a model is trained on, and of those that it is validated on: int64, in order.
Fold: TypeAlias = tuple[np.ndarray, np.ndarray]

_POSITIONAL = ("x", "y")
_EXAMPLES = (*_POSITIONAL, "sample_weight")
_SHOWN = 5  # classes named in a message


def _classes(labels: np.ndarray) -> np.ndarray | None:
    """Return the class of each example; None if the labels are no classes."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all():
        return np.asarray(labels.argmax(axis=1))
    if labels.ndim == 1 and (labels.dtype.kind != "f" or np.isin(labels, (0, 1)).all()):
        return labels
    return None


def fold_ids(labels: Any, folds: int, seed: int) -> list[Fold]:
    """Return the examples of each fold: every example is validated on once, and trained on in all other folds.

    They are those of scikit-learn's `StratifiedKFold(folds, shuffle=True, random_state=seed)`, in which each class is
    in proportion, or of `KFold` where labels are no classes.

    Args:
        labels: (n,) or (n, 1) whole numbers, booleans, or floats that are 0 and 1 alone: classes. (n, classes)
            one-hot: classes. Anything else, (n, ...): no classes.
        folds: Number of folds, at least 2.
        seed: Of the shuffling, at least 0.

    Returns:
        Positions to train on and to validate on, int64 and in order, a pair for each fold.

    Raises:
        MisuseError: If there are fewer examples, or fewer of a class, than folds.

    Example:
        >>> train, validation = fold_ids(np.array([0, 0, 0, 1, 1, 1]), folds=3, seed=0)[0]
        >>> len(train), len(validation)
        (4, 2)
    """
    labels = np.asarray(labels)
    if len(labels) < folds:
        remedy = "Give more examples, or use fewer folds."
        raise MisuseError("folds", f"at least as many examples as folds, {folds}", len(labels), remedy)
    state = seed % 2**32  # the largest that scikit-learn takes
    classes = _classes(labels)
    if classes is None:
        split = KFold(folds, shuffle=True, random_state=state).split(labels)
    else:
        names, members, counts = np.unique(classes, return_inverse=True, return_counts=True)
        if (counts < folds).any():
            raise _rare(names, counts, folds)
        split = StratifiedKFold(folds, shuffle=True, random_state=state).split(labels, members)
    return [(train.astype(np.int64), validation.astype(np.int64)) for train, validation in split]


def _rare(names: np.ndarray, counts: np.ndarray, folds: int) -> MisuseError:
    """Return the error for classes that are not in all folds."""
    rare = np.flatnonzero(counts < folds)
    told = ", ".join(f"{counts[i]} of class {names.tolist()[i]!r}" for i in rare[:_SHOWN])
    told += f" and fewer than {folds} of {len(rare) - _SHOWN} others" if len(rare) > _SHOWN else ""
    fewer = f"Use {counts.min()} folds, or leave" if counts.min() > 1 else "Leave"
    quantities = " If they are quantities, give them as floats." * (len(rare) > _SHOWN)
    remedy = f"{fewer} those examples out, or join the classes with others.{quantities}"
    return MisuseError("folds", f"at least {folds} examples of each class, one for each fold", told, remedy)


def _count(name: str, array: Any) -> int:
    """Return the number of examples, or raise a `MisuseError` if they cannot be taken out one by one."""
    known = hasattr(array, "iloc") or hasattr(array, "__array__") or isinstance(array, tf.RaggedTensor)
    shape = tuple(getattr(array, "shape", ()))
    if not known or not shape:
        expected = "x, y and sample_weight as arrays, tensors, tables of pandas, or nested dicts or lists of these"
        remedy = "Make arrays of it; of what does not fit into memory, search without folds, with validation_data."
        raise MisuseError("folds", expected, f"{name} of type {type(array).__name__}", remedy)
    return int(shape[0])


def _take(structure: Any, ids: np.ndarray) -> Any:
    """Return some of the examples of all arrays, tensors and tables in a structure."""

    def some(array: Any) -> Any:
        if hasattr(array, "iloc"):  # a table of pandas
            return array.iloc[ids]
        if isinstance(array, tf.Tensor | tf.RaggedTensor):  # which have no indexing by positions
            return tf.gather(array, ids)
        return np.asarray(array)[ids]

    return keras.tree.map_structure(some, structure)


def labels_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> np.ndarray:
    """Return the labels that the folds of a fit are drawn by.

    Args:
        args: Positional arguments of the fit, after hp and model: x and y, or `Features` alone.
        kwargs: Its keyword arguments.

    Returns:
        y, (n, ...); where there is none, or several, zeros: (n,).

    Raises:
        MisuseError: If validation examples are given besides, or examples that cannot be taken apart.
    """
    features = isinstance(args[0] if args else None, Features)
    received = "validation_data" if kwargs.get("validation_data") is not None or (features and len(args) > 1) else ""
    if received := received or "validation_split" * bool(kwargs.get("validation_split")):
        remedy = "Leave it out: each fold is validated on in its turn."
        raise MisuseError("folds", "no validation examples given to search()", received, remedy)
    if features:
        return np.asarray(args[0].labels)
    if len(args) > len(_POSITIONAL):
        remedy = "Give the others by name, such as batch_size=32."
        raise MisuseError("folds", "at most x and y given to search() by position", f"{len(args)} arguments", remedy)
    named = {**dict(zip(_POSITIONAL, args, strict=False)), **kwargs}
    leaves = [
        (name, leaf) for name in _EXAMPLES if named.get(name) is not None for leaf in keras.tree.flatten(named[name])
    ]
    if "x" not in dict(leaves):
        remedy = "Give them as those of keras.Model.fit: search(x, y, ...)."
        raise MisuseError("folds", "examples given to search()", "no x", remedy)
    counts = dict.fromkeys((name, _count(name, leaf)) for name, leaf in leaves)
    if len({count for _, count in counts}) > 1:
        received = ", ".join(f"{count} in {name}" for name, count in counts)
        raise MisuseError("folds", "equally many examples in x, y and sample_weight", received)
    labels = [leaf for name, leaf in leaves if name == "y"]
    return np.asarray(labels[0]) if len(labels) == 1 else np.zeros(_count(*leaves[0]), np.float32)


def of_fit(args: Sequence[Any], kwargs: Mapping[str, Any], fold: Fold) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of the fit of one fold.

    Args:
        args: Positional arguments of a fit on all examples, which `labels_of` has taken.
        kwargs: Its keyword arguments.
        fold: Which to train on, and which to validate on.

    Returns:
        The same with the fold's examples, and its validation_data, with sample weights if there are any; `Features`
        become those to train on and those to validate on.

    Example:
        >>> (x, y), others = of_fit((np.arange(4), np.arange(4)), {"epochs": 2}, (np.array([0, 2, 3]), np.array([1])))
        >>> x, others["validation_data"]
        (array([0, 2, 3]), (array([1]), array([1])))
    """
    if isinstance(args[0] if args else None, Features):
        return tuple(Features(args[0].inputs[ids], args[0].labels[ids]) for ids in fold), dict(kwargs)
    named = {**dict(zip(_POSITIONAL, args, strict=False)), **kwargs}
    given = {name: named[name] for name in _EXAMPLES if named.get(name) is not None}
    train, validation = ({name: _take(value, ids) for name, value in given.items()} for ids in fold)
    held = tuple(validation.get(name) for name in _EXAMPLES)
    changed = {**kwargs, **train, "validation_data": held if "sample_weight" in validation else held[:2]}
    positional = _POSITIONAL[: len(args)]
    return tuple(train.get(name) for name in positional), {k: v for k, v in changed.items() if k not in positional}
