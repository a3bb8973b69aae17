"""What can be done to a model's batch-normalization statistics: re-estimate them, look into them, fold them away."""

from kerasbn.statistics.certificate import Certificate
from kerasbn.statistics.folding import Folded, fold
from kerasbn.statistics.health import Health, LayerHealth, health
from kerasbn.statistics.lint import Finding, Lint, lint
from kerasbn.statistics.recalibration import LayerChange, Recalibration, recalibrate

__all__ = [
    "Certificate",
    "Finding",
    "Folded",
    "Health",
    "LayerChange",
    "LayerHealth",
    "Lint",
    "Recalibration",
    "fold",
    "health",
    "lint",
    "recalibrate",
]
