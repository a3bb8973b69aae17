"""Learning rates as functions of the epoch or the step: formulas, their compositions, and pictures of them.

A position is a real number of at least 0: epochs, whole or not, or steps since the start of training. The arguments
that say how long something takes (`decay_steps`, `warmup_steps`, boundaries, periods) are positions, too, in the same
unit. At a boundary the next value begins. A schedule that ends before training does holds its last value: that is
`Schedule.length`, the position from which on the rate does not change any more.

This room loads no TensorFlow, no Keras and no NumPy before a schedule is called, drawn, or given to Keras.
"""

from kerasbn.schedules.annealing import Cosine, CosineRestarts, Linear, Polynomial
from kerasbn.schedules.base import Schedule
from kerasbn.schedules.batch_size import batch_size_factor
from kerasbn.schedules.composition import clip, join, repeat, scale
from kerasbn.schedules.cycles import OneCycle, Triangular
from kerasbn.schedules.decay import Constant, Exponential, InverseSqrt, InverseTime, Staircase
from kerasbn.schedules.piecewise import Manual, PiecewiseConstant
from kerasbn.schedules.serialization import from_dict
from kerasbn.schedules.warm_up import WarmUp

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "Manual",
    "OneCycle",
    "PiecewiseConstant",
    "Polynomial",
    "Schedule",
    "Staircase",
    "Triangular",
    "WarmUp",
    "batch_size_factor",
    "clip",
    "from_dict",
    "join",
    "repeat",
    "scale",
]
