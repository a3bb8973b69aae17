"""What happens during fit: the learning rate, recalibration, changes by hand, the best epoch, progress."""

from kerasbn.callbacks.adjust import ApplyAdjustments
from kerasbn.callbacks.curves import ShowCurves
from kerasbn.callbacks.keep_best import KeepBest
from kerasbn.callbacks.learning_rate import LearningRateDecay
from kerasbn.callbacks.plateau import ReduceOnPlateau
from kerasbn.callbacks.progress import ShowProgress
from kerasbn.callbacks.recalibration import RecalibrateStatistics

__all__ = [
    "ApplyAdjustments",
    "KeepBest",
    "LearningRateDecay",
    "RecalibrateStatistics",
    "ReduceOnPlateau",
    "ShowCurves",
    "ShowProgress",
]
