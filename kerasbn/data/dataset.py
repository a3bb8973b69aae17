"""What the data room hands on: examples with labels, split in three, with names and a manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# One array (examples first), or named columns of a table: 1-D arrays of float32 (NaN where missing) or of
# str objects ("" where missing).
Inputs = np.ndarray | dict[str, np.ndarray]


def count(inputs: Inputs) -> int:
    """Return the number of examples."""
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)


def take(inputs: Inputs, index: Any) -> Inputs:
    """Return the examples at `index` (an array of positions or a slice)."""
    if isinstance(inputs, dict):
        return {name: column[index] for name, column in inputs.items()}
    return inputs[index]


@dataclass(frozen=True)
class Dataset:
    """Examples and their labels.

    Args:
        inputs: Raw inputs, as a user would send them to the served model.
        labels: (n,) int32, positions in the class names.

    Example:
        >>> len(Dataset(np.zeros((2, 4)), np.array([0, 1], np.int32)))
        2
    """

    inputs: Inputs
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Features:
    """Examples as the classifier sees them, and their labels.

    Args:
        inputs: (n, ...) float32 features.
        labels: (n,) int32, positions in the class names.

    Example:
        >>> len(Features(np.zeros((2, 4), np.float32), np.array([0, 1], np.int32)))
        2
    """

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Source:
    """Everything a source gives, before the split.

    Args:
        examples: The examples to split.
        class_names: Name of each label.
        schema: What the inputs are, as JSON: `{"kind": "array" | "image" | "table", "shape": [...], ...}`.
        test: A test set the source comes with; None if it has none.

    Example:
        >>> examples = Dataset(np.zeros((2, 4)), np.array([0, 1], np.int32))
        >>> Source(examples, ("no", "yes"), {"kind": "array", "shape": [4]}).class_names
        ('no', 'yes')
    """

    examples: Dataset
    class_names: tuple[str, ...]
    schema: Mapping[str, Any]
    test: Dataset | None = None


@dataclass(frozen=True)
class Splits:
    """The three parts of the data.

    Args:
        train: What the weights and the input statistics are fitted to.
        validation: What choices are made by.
        test: What the final figures are from.
        class_names: Name of each label.
        schema: What the inputs are; see `Source`.
        manifest: Counts, class balance, seed, fractions and content hash, as JSON.

    Example:
        >>> load_splits(DataConfig(source="iris")).class_names
        ('setosa', 'versicolor', 'virginica')
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    class_names: tuple[str, ...]
    schema: Mapping[str, Any]
    manifest: Mapping[str, Any]
