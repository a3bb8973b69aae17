"""What happens during fit: the learning rate, recalibration, the best epoch, progress."""

from kerasbn.callbacks.keep_best import KeepBest
from kerasbn.callbacks.learning_rate import LearningRateDecay
from kerasbn.callbacks.progress import ShowProgress
from kerasbn.callbacks.recalibration import RecalibrateStatistics

__all__ = ["KeepBest", "LearningRateDecay", "RecalibrateStatistics", "ShowProgress"]
