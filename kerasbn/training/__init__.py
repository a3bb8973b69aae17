"""Training: a config and data in, a run directory out."""

from kerasbn.training.compile import compile_model, optimizer_of, schedule_of
from kerasbn.training.ensemble import Ensemble, train_ensemble
from kerasbn.training.evaluation import evaluate, probabilities
from kerasbn.training.fit import fit
from kerasbn.training.results import Run, whole_model
from kerasbn.training.run import Begun, begin, resume, train
from kerasbn.training.state import History

__all__ = [
    "Begun",
    "Ensemble",
    "History",
    "Run",
    "begin",
    "compile_model",
    "evaluate",
    "fit",
    "optimizer_of",
    "probabilities",
    "resume",
    "schedule_of",
    "train",
    "train_ensemble",
    "whole_model",
]
