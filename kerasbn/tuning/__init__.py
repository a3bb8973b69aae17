"""Tuning: searches on the right scales that are reproducible, lose nothing, and say what they have found."""

from kerasbn.tuning.compatibility.projects import is_project, read_project
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.halving_searches import Hyperband, SuccessiveHalving
from kerasbn.tuning.population_search import PopulationBasedTraining
from kerasbn.tuning.replay import replay
from kerasbn.tuning.report import write_report
from kerasbn.tuning.retesting import RetestResult, retest, retest_trials
from kerasbn.tuning.schedule import schedule_of
from kerasbn.tuning.searches import BayesianOptimization, CoarseToFine, GridSearch, RandomSearch
from kerasbn.tuning.space.drawn import Drawn, check
from kerasbn.tuning.space.factory import FactoryHyperModel, sample_config
from kerasbn.tuning.space.preview import Preview, preview
from kerasbn.tuning.space.scales import integer_log, layer_count, linear, log, one_minus_log
from kerasbn.tuning.space.tiers import tuned
from kerasbn.tuning.store.contents import read_study
from kerasbn.tuning.store.records import Segment, StudyContent, TrialRecord
from kerasbn.tuning.store.study import Study
from kerasbn.tuning.tune import TuneResult, tune
from kerasbn.tuning.tuner import Tuner

__all__ = [
    "BayesianOptimization",
    "CoarseToFine",
    "Drawn",
    "Draws",
    "FactoryHyperModel",
    "GridSearch",
    "Hyperband",
    "PopulationBasedTraining",
    "Preview",
    "RandomSearch",
    "RetestResult",
    "Segment",
    "Study",
    "StudyContent",
    "SuccessiveHalving",
    "TrialRecord",
    "TuneResult",
    "Tuner",
    "check",
    "integer_log",
    "is_project",
    "layer_count",
    "linear",
    "log",
    "one_minus_log",
    "preview",
    "read_project",
    "read_study",
    "replay",
    "retest",
    "retest_trials",
    "sample_config",
    "schedule_of",
    "tune",
    "tuned",
    "write_report",
]
