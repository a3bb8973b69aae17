"""Configs of a search: what is drawn, and for how long."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.fields import check_fields
from kerasbn.config.training import TrainConfig

Tuned = Literal["learning_rate", "momentum", "units", "layers", "batch_size", "dropout", "decay_rate"]


@dataclass(frozen=True)
class SearchConfig:
    """What is searched, and for how long.

    Args:
        max_trials: Number of trials, at least 1.
        max_minutes: Minutes after which no new trial starts, above 0; null: no limit.
        epochs: Passes over the training examples in each trial, at least 1.
        tune: Which hyperparameters are drawn; the others stay as the config has them.
        units: Smallest and largest number of hidden units of a layer (filters for convolutions), log scale.
        layers: Smallest and largest number of hidden layers (convolutions for convnet).
        learning_rate: Smallest and largest initial learning rate, log scale.
        momentum: Smallest and largest momentum; 1 - momentum is drawn on a log scale.
        batch_size: Numbers of examples in a step to choose from.
        dropout: Smallest and largest share of activations dropped, linear scale.
        decay_rate: Smallest and largest rate of inverse-time decay of the learning rate, log scale.
        seed: Seed of the draws, a whole number of at least 0.
        output: Directory in which studies are kept.

    Raises:
        InputError: If a value is of another type or out of its range, or a larger bound stands first.

    Example:
        >>> SearchConfig(max_trials=50, tune=("learning_rate", "units")).units
        (32, 256)
    """

    max_trials: int = 20
    max_minutes: float | None = None
    epochs: int = 15
    tune: tuple[Tuned, ...] = (
        "learning_rate",
        "momentum",
        "units",
        "layers",
        "batch_size",
        "dropout",
        "decay_rate",
    )
    units: tuple[int, int] = (32, 256)
    layers: tuple[int, int] = (1, 3)
    learning_rate: tuple[float, float] = (1e-4, 1e-1)
    momentum: tuple[float, float] = (0.8, 0.99)  # averages over 5 to 100 steps
    batch_size: tuple[int, ...] = (32, 64, 128)
    dropout: tuple[float, float] = (0.0, 0.5)
    decay_rate: tuple[float, float] = (0.01, 1.0)
    seed: int = 0
    output: str = "studies"

    def __post_init__(self) -> None:
        check_fields(self, "search.")
        checks.in_range("search.max_trials", self.max_trials, 1, integer=True)
        if self.max_minutes is not None:
            checks.in_range("search.max_minutes", self.max_minutes, 0, open_low=True)
        checks.in_range("search.epochs", self.epochs, 1, integer=True)
        if not self.tune:
            raise InputError("search.tune", "at least one hyperparameter", "()", "Use `kerasbn train` for none.")
        for name, (low, high) in {
            "units": (1, 2**20),
            "layers": (1, 100),
            "learning_rate": (1e-12, 1e3),
            "momentum": (0, 1),
            "dropout": (0, 1),
            "decay_rate": (1e-12, 1e3),
        }.items():
            bounds = getattr(self, name)
            for bound in bounds:
                whole = name in ("units", "layers")
                checks.in_range(f"search.{name}", bound, low, high, open_high=high == 1, integer=whole)
            if bounds[0] > bounds[1]:
                raise InputError(f"search.{name}", "the smaller bound first", list(bounds), "Swap them.")
        if not self.batch_size:
            raise InputError("search.batch_size", "at least one batch size", "()")
        for batch_size in self.batch_size:
            checks.in_range("search.batch_size", batch_size, 2, integer=True)
        checks.in_range("search.seed", self.seed, 0, 2**31 - 1, integer=True)


@dataclass(frozen=True)
class TuneConfig(TrainConfig):
    """Everything that decides a search: the training runs it varies, and what it varies in them.

    Args:
        format: Format of this file; 1 is the newest that this kerasbn reads.
        name: Name of the study's directory and of the model; null: taken from the source.
        output: Directory in which runs are kept.
        data: Where the examples come from and how they are split.
        model: The family of models and its shape, where it is not searched.
        training: How each model is trained, where it is not searched.
        search: What is searched, and for how long.

    Raises:
        InputError: If a value is of another type or out of its range.

    Example:
        >>> config = TuneConfig(data=DataConfig(source="iris"), search=SearchConfig(max_trials=50))
        >>> config.train_config == TrainConfig(data=DataConfig(source="iris"))
        True
    """

    search: SearchConfig = field(default_factory=SearchConfig)

    @property
    def train_config(self) -> TrainConfig:
        """The same without the search."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(TrainConfig)})
