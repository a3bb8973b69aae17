"""Looking into a model and its data before and while it is trained: the range of good learning rates."""

from kerasbn.diagnostics.learning_rate import find_learning_rate
from kerasbn.diagnostics.rate_range import RateRange

__all__ = ["RateRange", "find_learning_rate"]
