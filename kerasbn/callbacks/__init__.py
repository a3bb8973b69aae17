"""What happens during fit: the learning rate, the best epoch, progress."""

from kerasbn.callbacks.keep_best import KeepBest
from kerasbn.callbacks.learning_rate import LearningRateDecay
from kerasbn.callbacks.progress import ShowProgress

__all__ = ["KeepBest", "LearningRateDecay", "ShowProgress"]
