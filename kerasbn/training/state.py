"""What a run is besides its model and optimizer: how far it has come, its best epoch, the owner of its rate."""

from dataclasses import dataclass, field

import numpy as np

from kerasbn.callbacks import KeepBest, LearningRateDecay, ReduceOnPlateau
from kerasbn.config import TrainingConfig
from kerasbn.training.compile import schedule_of

History = list[dict[str, float]]  # one entry an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate


@dataclass
class State:
    """How far training has come, and what its callbacks remember.

    Args:
        steps_per_epoch: Steps of the optimizer in an epoch.
        keep_best: The best epoch so far.
        decay: The owner of the learning rate.
        plateau: What lowers it when there is no progress; None: nothing does.
        history: The epochs that are whole.
        epoch: The present epoch, from 0.
        step: Steps of it that are done.
        metrics: Values of the model's metric variables after those steps; empty before the first.
        diverged: Epoch, and first and last step of the execution, from 0, after which the loss was not finite.
    """

    steps_per_epoch: int
    keep_best: KeepBest
    decay: LearningRateDecay
    plateau: ReduceOnPlateau | None = None
    history: History = field(default_factory=list)
    epoch: int = 0
    step: int = 0
    metrics: list[np.ndarray] = field(default_factory=list)
    diverged: tuple[int, int, int] | None = None


def new_state(config: TrainingConfig, steps_per_epoch: int) -> State:
    """Return the state of a run that begins.

    Args:
        config: See `kerasbn.config.TrainingConfig`.
        steps_per_epoch: Steps of the optimizer in an epoch.

    Returns:
        A state at epoch 0.

    Example:
        >>> new_state(TrainingConfig(), steps_per_epoch=10).epoch
        0
    """
    by_epoch = steps_per_epoch if config.schedule_unit == "epoch" else None
    decay = LearningRateDecay(schedule_of(config), config.schedule_unit, steps_per_epoch=by_epoch)
    plateau = None
    if config.plateau_patience is not None:
        # By the loss, whatever the best epoch is chosen by: accuracies of few examples move in steps.
        plateau = ReduceOnPlateau(
            decay, "val_loss", factor=config.plateau_factor, patience=config.plateau_patience, min_delta=0.0
        )
    return State(steps_per_epoch, KeepBest(config.monitor, config.patience), decay, plateau)
