"""Figures of a trained classifier: accuracy, log loss, confusion matrix."""

from typing import Any

import keras
import numpy as np
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from kerasbn.checks import InputError
from kerasbn.data import Features, run_in_chunks


def probabilities(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """Return the softmax of a model's logits.

    Args:
        model: Features to logits.
        features: (n, ...) float32.

    Returns:
        (n, classes) float64, each row summing to 1.

    Example:
        >>> probabilities(create_model("mlp", (4,), 3), np.zeros((1, 4), np.float32)).round(3)
        array([[0.333, 0.333, 0.333]])
    """
    return softmax(run_in_chunks(model, features).astype(np.float64), axis=-1)


def evaluate(model: keras.Model, data: Features, classes: int) -> dict[str, Any]:
    """Return the figures of a model on features and labels.

    Args:
        model: Features to logits.
        data: Features and labels.
        classes: Number of classes.

    Returns:
        `examples`; `accuracy` in [0, 1]; `log_loss`, -mean log p(true class) in nats; `confusion_matrix`, rows by
        true and columns by predicted class.

    Raises:
        InputError: If a probability is not finite.

    Example:
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> model = create_model("mlp", (4,), 3)
        >>> figures = evaluate(model, prepared.test, 3)
        >>> list(figures)
        ['examples', 'accuracy', 'log_loss', 'confusion_matrix']
        >>> figures["examples"]
        22
    """
    predicted = probabilities(model, data.inputs)
    broken = len(data) - np.count_nonzero(np.isfinite(predicted).all(axis=-1))
    if broken:
        remedy = "The training diverged; lower training.learning_rate."
        raise InputError("the trained model", "finite probabilities", f"{broken} of {len(data)} that are not", remedy)
    names = np.arange(classes)
    return {
        "examples": len(data),
        "accuracy": float(accuracy_score(data.labels, predicted.argmax(axis=-1))),
        "log_loss": float(log_loss(data.labels, predicted, labels=names)),
        "confusion_matrix": confusion_matrix(data.labels, predicted.argmax(axis=-1), labels=names).tolist(),
    }
