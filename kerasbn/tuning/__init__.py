"""Tuning: random search over hyperparameters that is reproducible and survives kill -9."""

from kerasbn.tuning.draws import Draws
from kerasbn.tuning.scales import one_minus_log
from kerasbn.tuning.search import RandomSearch
from kerasbn.tuning.space import FactoryHyperModel, sample_config
from kerasbn.tuning.study import Study, TrialRecord
from kerasbn.tuning.tune import TuneResult, tune

__all__ = [
    "Draws",
    "FactoryHyperModel",
    "RandomSearch",
    "Study",
    "TrialRecord",
    "TuneResult",
    "one_minus_log",
    "sample_config",
    "tune",
]
