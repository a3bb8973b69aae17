"""Configs of a training run: how a model is trained, and everything that decides the run."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.data import DataConfig
from kerasbn.config.fields import check_fields
from kerasbn.config.format import FORMAT, as_name, check_format, check_name
from kerasbn.config.models import MLPConfig, ModelConfig
from kerasbn.schedules import Schedule

Decay = Literal["constant", "inverse_time", "exponential", "inverse_sqrt"]
Optimizer = Literal["sgd", "momentum", "rmsprop", "adam", "adamw", "adagrad"]
Unit = Literal["epoch", "step"]
Scaling = Literal["none", "linear", "square_root"]
Monitor = Literal["val_accuracy", "val_loss"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Args:
        epochs: Passes over the training examples, at least 1.
        batch_size: Examples in a step, at least 2; each epoch is shuffled anew and leaves out its last,
            incomplete batch.
        optimizer: Gradient descent (sgd), the same with momentum, or one of their adaptive kin.
        learning_rate: Initial learning rate a0, above 0.
        momentum: Weight of the old average of gradients, in [0, 1); beta_1 of adam and adamw; null: 0.9 for momentum,
            adam and adamw, 0 for sgd and rmsprop. adagrad has none.
        beta_2: Weight of the old average of squared gradients of adam and adamw, in [0, 1); null: 0.999. Others have
            none.
        epsilon: Added to the root of that average, by rmsprop, adam, adamw and adagrad, in (0, 1]; null: 1e-8. Others
            have none.
        weight_decay: Share of each kernel taken off at each step, times the learning rate, at least 0; gamma,
            beta and biases are left alone.
        decay: Formula of the learning rate by the epoch t, which is real-valued: 1.5 is in the middle of the second.
            constant a0; inverse_time a0 / (1 + decay_rate t); exponential decay_rate^t a0; inverse_sqrt
            decay_rate / sqrt(t) a0, with t at least 1.
        decay_rate: The rate d of the formula, a number an epoch; null: 1 for inverse_time and inverse_sqrt,
            0.95 for exponential.
        schedule: Any schedule of kerasbn.schedules, as {name: cosine, initial_learning_rate: 0.1, decay_steps: 30},
            in place of learning_rate, decay and decay_rate; null: they decide.
        schedule_unit: What its positions count: "epoch" (real-valued, so that it changes within one) or "step".
        plateau_patience: Epochs without a better val_loss after which the rate is multiplied by plateau_factor, at
            least 1; null: it is not.
        plateau_factor: What the rate is multiplied by, in (0, 1).
        batch_scaling: How rates, which are meant for batches of 64, grow with batch_size: none, linear, or square_root.
        flip: Images only: whether half of the training images, on average, are mirrored left to right, anew each epoch.
        shift: Images only: pixels by which training images are shifted at most, at least 0, anew each epoch.
        label_smoothing: Share of the target taken from the true class and spread over all, in [0, 1).
        class_weight: Whether each class counts the same in the loss however many examples it has.
        monitor: What the best epoch is chosen by; its weights are the ones that are kept.
        patience: Epochs without a better value after which training stops, at least 1; null: never.
        checkpoint_seconds: Time from one checkpoint to the next, at least 0; more, where writing one takes longer than
            a hundredth of it.
        checkpoint_steps: Steps from one checkpoint to the next, at least 1, whatever the time; null: by time.
        seed: Seed of initial weights, shuffling and dropout, a whole number of at least 0.

    Raises:
        InputError: If a value is of another type or out of its range, there is a `decay_rate` for a constant rate, a
            momentum, beta_2 or epsilon for an optimizer that has none, or a schedule besides a decay.

    Example:
        >>> TrainingConfig(optimizer="momentum", learning_rate=0.1, decay="inverse_time").beta
        0.9
    """

    epochs: int = 30
    batch_size: int = 64
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-3
    momentum: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    weight_decay: float = 0.0
    decay: Decay = "constant"
    decay_rate: float | None = None
    schedule: Schedule | None = None
    schedule_unit: Unit = "epoch"
    plateau_patience: int | None = None
    plateau_factor: float = 0.1
    batch_scaling: Scaling = "none"
    flip: bool = False
    shift: int = 0
    label_smoothing: float = 0.0
    class_weight: bool = False
    monitor: Monitor = "val_accuracy"
    patience: int | None = None
    checkpoint_seconds: float = 10.0
    checkpoint_steps: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "training.")
        checks.in_range("training.epochs", self.epochs, 1, integer=True)
        checks.in_range(
            "training.batch_size", self.batch_size, 2, integer=True, remedy="A batch of one has no variance."
        )
        checks.in_range("training.learning_rate", self.learning_rate, 0, 1e38, open_low=True)
        if self.momentum is not None:
            checks.in_range("training.momentum", self.momentum, 0, 1, open_high=True)
        if self.beta_2 is not None:
            checks.in_range("training.beta_2", self.beta_2, 0, 1, open_high=True)
        if self.epsilon is not None:
            checks.in_range("training.epsilon", self.epsilon, 0, 1, open_low=True)
        for name, without in {
            "momentum": ("adagrad",),
            "beta_2": ("sgd", "momentum", "rmsprop", "adagrad"),
            "epsilon": ("sgd", "momentum"),
        }.items():
            if getattr(self, name) is not None and self.optimizer in without:
                remedy = "Leave it out, or choose another optimizer."
                expected = f"null, since {self.optimizer} has none"
                raise InputError(f"training.{name}", expected, getattr(self, name), remedy)
        checks.in_range("training.weight_decay", self.weight_decay, 0)
        if self.decay_rate is not None:
            # As the formulas in kerasbn.schedules, so that it is told before the data is read.
            high = 1 if self.decay == "exponential" else math.inf
            checks.in_range("training.decay_rate", self.decay_rate, 0, high, open_low=self.decay != "inverse_time")
            if self.decay == "constant":
                raise InputError(
                    "training.decay_rate",
                    "null, since training.decay is constant",
                    self.decay_rate,
                    "Choose a formula with training.decay, or leave the rate out.",
                )
        if self.schedule is not None and self.decay != "constant":
            remedy = "Leave one of them out."
            raise InputError("training.decay", "constant, since there is a training.schedule", repr(self.decay), remedy)
        cycles = self.schedule is not None and self.schedule.cycles_momentum
        if cycles and self.beta == 0 and self.optimizer not in ("adam", "adamw"):
            raise InputError(
                "training.optimizer",
                "an optimizer with a momentum, since training.schedule cycles it",
                f"{self.optimizer!r} without",
                "Take momentum, adam or adamw, or give the schedule base_momentum: null and max_momentum: null.",
            )
        if self.schedule is None and self.schedule_unit != "epoch":
            remedy = "Give a training.schedule; decay formulas count epochs."
            raise InputError("training.schedule_unit", "epoch", repr(self.schedule_unit), remedy)
        if self.plateau_patience is not None:
            checks.in_range("training.plateau_patience", self.plateau_patience, 1, integer=True)
        checks.in_range("training.plateau_factor", self.plateau_factor, 0, 1, open_low=True, open_high=True)
        checks.in_range("training.checkpoint_seconds", self.checkpoint_seconds, 0)
        if self.checkpoint_steps is not None:
            checks.in_range("training.checkpoint_steps", self.checkpoint_steps, 1, integer=True)
        checks.in_range("training.shift", self.shift, 0, integer=True)
        checks.in_range("training.label_smoothing", self.label_smoothing, 0, 1, open_high=True)
        if self.patience is not None:
            checks.in_range("training.patience", self.patience, 1, integer=True)
        checks.in_range("training.seed", self.seed, 0, 2**31 - 1, integer=True)

    @property
    def beta(self) -> float:
        """The momentum as the optimizer has it: as given, or the course's default."""
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.optimizer in ("sgd", "rmsprop", "adagrad") else 0.9


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Args:
        format: Format of this file; 1 is the newest that this kerasbn reads.
        name: Name of the run's directory and of the model; null: taken from the source.
        output: Directory in which runs are kept.
        data: Where the examples come from and how they are split.
        model: The family of models and its shape.
        training: How the model is trained.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> TrainConfig(data=DataConfig(source="iris"), model=MLPConfig(units=(32,))).model_name
        'iris'
    """

    format: int = FORMAT
    name: str | None = None
    output: str = "runs"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=MLPConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        check_format(self.format)
        check_name("name", self.name)

    @property
    def model_name(self) -> str:
        """The name of the run: as given, or the source's own without directory and suffix."""
        source = Path(os.path.abspath(self.data.source))  # "." and ".." have no name of their own
        return self.name or as_name(source.name if source.is_dir() else source.stem)
