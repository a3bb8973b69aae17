"""Training: a config and data in, a run directory out."""

from kerasbn.training.compile import compile_model, optimizer_of, schedule_of
from kerasbn.training.evaluation import evaluate, probabilities
from kerasbn.training.fit import History, fit
from kerasbn.training.run import Run, resume, train, whole_model

__all__ = [
    "History",
    "Run",
    "compile_model",
    "evaluate",
    "fit",
    "optimizer_of",
    "probabilities",
    "resume",
    "schedule_of",
    "train",
    "whole_model",
]
