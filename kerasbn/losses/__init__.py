"""Losses: softmax cross-entropy from logits, and the guard against models that end in a softmax."""

from kerasbn.losses.guard import refuse_softmax
from kerasbn.losses.softmax_cross_entropy import SoftmaxCrossEntropy

__all__ = ["SoftmaxCrossEntropy", "refuse_softmax"]
