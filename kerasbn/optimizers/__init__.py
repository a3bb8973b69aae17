"""Keras's optimizers, whose rate, momentum and betas can change during training, at every step of an execution."""

import kerasbn.schedules.keras_schedule  # noqa: F401  (registers what optimizers may be saved with)
from kerasbn.optimizers.planned import PlannedOptimizer
from kerasbn.optimizers.rules import SGD, Adagrad, Adam, AdamW, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "PlannedOptimizer", "RMSprop"]
