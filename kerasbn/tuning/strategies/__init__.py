"""Strategies: which trials a search trains, how far, and with what values."""

from kerasbn.tuning.strategies.base import Choose, Job, Progress, Strategy
from kerasbn.tuning.strategies.bayesian import Bayesian
from kerasbn.tuning.strategies.coarse_to_fine import CoarseToFine
from kerasbn.tuning.strategies.grid import Grid
from kerasbn.tuning.strategies.halving import Hyperband, SuccessiveHalving
from kerasbn.tuning.strategies.population import Population
from kerasbn.tuning.strategies.random import Random

__all__ = [
    "Bayesian",
    "Choose",
    "CoarseToFine",
    "Grid",
    "Hyperband",
    "Job",
    "Population",
    "Progress",
    "Random",
    "Strategy",
    "SuccessiveHalving",
]
