"""Stratified, seeded splits into training, validation and test examples, with a manifest of what is in each."""

import hashlib
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data.dataset import Dataset, Inputs, Splits, take
from kerasbn.data.sources import load_source


def _hash(update: Any, inputs: Inputs) -> None:
    columns = inputs if isinstance(inputs, dict) else {"": inputs}
    for name, column in columns.items():
        update(f"{name}|{column.dtype}|{column.shape}|".encode())
        if column.dtype == object:
            update("\x00".join(column.tolist()).encode())
        else:
            update(np.ascontiguousarray(column).data)


def content_hash(*parts: Dataset) -> str:
    """Return the SHA-256 of the examples and their labels, in order.

    Args:
        parts: Examples and labels.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> len(content_hash(Dataset(np.zeros((2, 4)), np.array([0, 1], np.int32))))
        64
    """
    digest = hashlib.sha256()
    for part in parts:
        _hash(digest.update, part.inputs)
        _hash(digest.update, part.labels)
    return digest.hexdigest()


def _split(labels: np.ndarray, index: np.ndarray, share: float, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return `index` in two: what is left, and `share` of all of `labels`, each class in proportion."""
    size = max(1, round(share * len(labels)))
    try:
        rest, taken = train_test_split(index, test_size=size, random_state=seed, stratify=labels[index])
    except ValueError as error:  # a class too small to be in both, or fewer examples than classes
        counts = np.bincount(labels)
        raise InputError(
            f"data.{part}_fraction",
            f"every class to have examples in training, validation and test ({share:g} of {len(labels)} is {size})",
            f"{len(counts)} classes, the smallest with {counts.min()} examples",
            "Give more examples of the rare classes, or larger fractions.",
        ) from error
    return rest, taken


def _check_classes(labels: np.ndarray, names: tuple[str, ...], needed: int) -> None:
    """Raise an `InputError` if a class has too few examples to be in all the parts they are split into."""
    counts = np.bincount(labels, minlength=len(names))
    rare = [f"{counts[i]} of {names[i]!r}" for i in np.flatnonzero(counts < needed)]
    if rare:
        remedy = "Leave those examples out, or join the classes with others."
        raise InputError("data.source", f"at least {needed} examples of each class", ", ".join(rare[:5]), remedy)


def _summary(part: Dataset, names: tuple[str, ...]) -> dict[str, Any]:
    counts = np.bincount(part.labels, minlength=len(names))
    return {
        "examples": len(part),
        "by_class": dict(zip(names, counts.tolist(), strict=True)),
        "content_hash": content_hash(part),
    }


def load_splits(config: DataConfig) -> Splits:
    """Return training, validation and test examples: a pure function of the source and the config.

    The test set is the source's own where it has one; else a stratified share of its examples. Validation
    examples are a stratified share of the others.

    Args:
        config: See `kerasbn.config.DataConfig`.

    Returns:
        The three parts with their manifest.

    Raises:
        InputError: If the source cannot be used or has too few examples of a class.

    Example:
        >>> splits = load_splits(DataConfig(source="iris"))
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (106, 22, 22)
    """
    source = load_source(config)
    inputs, labels = source.examples.inputs, source.examples.labels
    # One for each part that is split off, so that the seed does not decide whether the data can be used.
    _check_classes(labels, source.class_names, 3 if source.test is None else 2)
    index = np.arange(len(labels))
    if source.test is None:
        index, test_index = _split(labels, index, config.test_fraction, config.seed, "test")
        test = Dataset(take(inputs, test_index), labels[test_index])
    else:
        test = source.test
    # A seed of its own, or the second shuffle would repeat the pattern of the first.
    train_index, validation_index = _split(labels, index, config.validation_fraction, config.seed + 1, "validation")
    if len(np.unique(labels[train_index])) < len(source.class_names):
        missing = [name for label, name in enumerate(source.class_names) if label not in labels[train_index]]
        remedy = "Make the fractions smaller, or give more examples of the rare classes."
        raise InputError(
            "data.validation_fraction",
            "fractions that leave some of each class to train on",
            f"none of {missing}",
            remedy,
        )
    train = Dataset(take(inputs, train_index), labels[train_index])
    validation = Dataset(take(inputs, validation_index), labels[validation_index])
    manifest = {
        "source": config.source,
        "class_names": list(source.class_names),
        "schema": dict(source.schema),
        "seed": config.seed,
        "validation_fraction": config.validation_fraction,
        "test_fraction": None if source.test is not None else config.test_fraction,
        "content_hash": content_hash(source.examples, *([] if source.test is None else [source.test])),
        "train": _summary(train, source.class_names),
        "validation": _summary(validation, source.class_names),
        "test": _summary(test, source.class_names),
    }
    return Splits(train, validation, test, source.class_names, source.schema, manifest)
