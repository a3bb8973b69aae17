"""Configs of a search: what is drawn, by which strategy, and for how long."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.config.fields import check_fields
from kerasbn.config.training import TrainConfig

Engine = Literal["auto", "vectorized", "fit"]
Strategy = Literal["random", "grid", "coarse_to_fine", "tpe", "gp", "successive_halving", "hyperband", "population"]
Family = Literal["mlp", "convnet", "resnet"]
Tuned = Literal[
    "learning_rate",
    "momentum",
    "units",
    "batch_size",
    "layers",
    "decay_rate",
    "dropout",
    "kernel_size",
    "beta_2",
    "epsilon",
]


@dataclass(frozen=True)
class SearchConfig:
    """What is searched, by which strategy, and for how long.

    Args:
        max_trials: Number of trials, at least 1; of population: of those that are trained at a time, at least 2.
        total_epochs: Epochs of all trials together after which no new one starts, at least 1; null: no limit.
        max_minutes: Minutes after which no new trial starts, above 0; null: no limit.
        strategy: Which trials are trained, and how far: random, grid, coarse_to_fine (20 random trials, then zooming
            into the best), tpe and gp (Bayesian), successive_halving and hyperband (the worse trials stop early),
            population (varied copies of the better ones take the place of the worse).
        epochs: Passes over the training examples in each trial, at least 1; successive_halving and hyperband give so
            many to their best.
        min_epochs: Fewest passes after which successive_halving compares trials, at least 1.
        interval: Passes after which population compares trials, at least 1 and at most half of epochs.
        factor: Of successive_halving and hyperband: one in so many trials goes on, for so many times the epochs; at
            least 2.
        executions: Models of each trial, trained from different initial weights, at least 1; their mean score counts.
        folds: Folds of a cross-validation, at least 2: the training and validation examples together are cut into so
            many, each model is trained on all but one and validated on that one, and the mean score counts; the test
            examples stay out. Features have the mean and variance of the training examples in all folds. null: each
            model is validated on the validation examples.
        engine: How trials are trained: auto (as many at once as differ in numbers only, the others one by one),
            vectorized (all of them at once: the others are an error), fit (one by one).
        keep_models: Of how many trials, the best ones, the trained weights are kept, at least 0.
        tiers: How many of the course's tiers of hyperparameters are drawn, in [1, 3]. 1: learning_rate; 2: also
            momentum, units and batch_size; 3: also layers, decay_rate, dropout and, if there are several to choose
            from, kernel_size. momentum is drawn where the optimizer has one, other than adam's beta_1, and decay_rate
            where training.decay is constant or inverse_time.
        tune: Which hyperparameters are drawn, whatever the tiers; also beta_2 and epsilon, and momentum, which of adam
            and adamw is beta_1. The others stay as the config has them. null: the tiers decide.
        learning_rate: Smallest and largest initial learning rate, log scale.
        momentum: Smallest and largest momentum; 1 - momentum is drawn on a log scale.
        beta_2: Smallest and largest beta_2 of adam and adamw; 1 - beta_2 is drawn on a log scale.
        epsilon: Smallest and largest epsilon of an adaptive optimizer, log scale.
        batch_size: Numbers of examples in a step to choose from.
        decay_rate: Smallest and largest rate of inverse-time decay of the learning rate, log scale.
        dropout: Smallest and largest share of activations dropped, linear scale.
        families: Families of models to choose from, each with depth and width of its own; empty: the config's.
        layers: Smallest and largest number of hidden layers (of a convnet convolutions, of a resnet blocks in a stage).
        units: Smallest and largest number of hidden units of an mlp's layer, log scale.
        filters: Smallest and largest number of filters of a convolution (of a resnet's first stage), log scale.
        kernel_size: Heights and widths of a convnet's convolutions in pixels to choose from.
        seed: Seed of the draws, a whole number of at least 0.
        output: Directory in which studies are kept.
        storage: URL of a database in which several processes share the study, such as postgresql://user@host/db; null:
            a journal in the study's directory.
        lease_seconds: Of a study in a database: time after which another process takes over the trial of one that
            gives no sign of life, above 0.

    Raises:
        InputError: If a value is of another type or out of its range, or a larger bound stands first.

    Example:
        >>> SearchConfig(max_trials=50, tune=("learning_rate", "units")).units
        (32, 256)

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: tuning process, for the tiers.
    """

    max_trials: int = 40  # as many zoomed as random ones
    total_epochs: int | None = None
    max_minutes: float | None = None
    strategy: Strategy = "coarse_to_fine"
    epochs: int = 15
    min_epochs: int = 1
    interval: int = 3
    factor: int = 3
    executions: int = 1
    folds: int | None = None
    engine: Engine = "auto"
    keep_models: int = 1
    tiers: int = 3
    tune: tuple[Tuned, ...] | None = None
    learning_rate: tuple[float, float] = (1e-4, 1e-1)
    momentum: tuple[float, float] = (0.8, 0.99)  # averages over 5 to 100 steps
    beta_2: tuple[float, float] = (0.99, 0.9999)  # over 100 to 10,000
    epsilon: tuple[float, float] = (1e-9, 1e-4)
    batch_size: tuple[int, ...] = (32, 64, 128)
    decay_rate: tuple[float, float] = (0.01, 1.0)
    dropout: tuple[float, float] = (0.0, 0.5)
    families: tuple[Family, ...] = ()
    layers: tuple[int, int] = (1, 3)
    units: tuple[int, int] = (32, 256)
    filters: tuple[int, int] = (8, 64)
    kernel_size: tuple[int, ...] = (3,)
    seed: int = 0
    output: str = "studies"
    storage: str | None = None
    lease_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_fields(self, "search.")
        self._check_budget()
        self._check_space()
        checks.in_range("search.seed", self.seed, 0, 2**31 - 1, integer=True)
        if self.storage is not None and "://" not in self.storage:
            expected = "the URL of a database, such as postgresql://user@host/db"
            remedy = "For a directory there is search.output."
            raise InputError("search.storage", expected, repr(self.storage), remedy)
        checks.in_range("search.lease_seconds", self.lease_seconds, 0, open_low=True)

    def _check_budget(self) -> None:
        checks.in_range("search.max_trials", self.max_trials, 1, integer=True)
        if self.total_epochs is not None:
            checks.in_range("search.total_epochs", self.total_epochs, 1, integer=True)
        if self.max_minutes is not None:
            checks.in_range("search.max_minutes", self.max_minutes, 0, open_low=True)
        checks.in_range("search.epochs", self.epochs, 1, integer=True)
        remedy = "search.epochs is the most that a trial gets."
        checks.in_range("search.min_epochs", self.min_epochs, 1, self.epochs, integer=True, remedy=remedy)
        checks.in_range("search.factor", self.factor, 2, integer=True)
        checks.in_range("search.interval", self.interval, 1, integer=True)
        remedy = f"{self.strategy} gives its best search.factor times the epochs of the others."
        least = {"successive_halving": self.factor * self.min_epochs, "hyperband": self.factor}.get(self.strategy, 1)
        if self.strategy == "population":
            least, remedy = 2 * self.interval, "population compares trials after every search.interval epochs."
            checks.in_range("search.max_trials", self.max_trials, 2, integer=True, remedy="population compares trials.")
        checks.in_range("search.epochs", self.epochs, least, integer=True, remedy=remedy)
        checks.in_range("search.executions", self.executions, 1, integer=True)
        if self.folds is not None:
            checks.in_range("search.folds", self.folds, 2, integer=True)
        checks.in_range("search.keep_models", self.keep_models, 0, integer=True)

    def _check_space(self) -> None:
        checks.in_range("search.tiers", self.tiers, 1, 3, integer=True)
        if self.tune == () and len(self.families) < 2:
            raise InputError("search.tune", "at least one hyperparameter", "()", "Use `kerasbn train` for none.")
        for name, (low, high) in {
            "learning_rate": (1e-12, 1e3),
            "momentum": (0, 1),
            "beta_2": (0, 1),
            "epsilon": (1e-12, 1),
            "decay_rate": (1e-12, 1e3),
            "dropout": (0, 1),
            "layers": (1, 100),
            "units": (1, 2**20),
            "filters": (1, 2**20),
        }.items():
            bounds = getattr(self, name)
            for bound in bounds:
                whole, open_high = name in ("layers", "units", "filters"), name in ("momentum", "beta_2", "dropout")
                checks.in_range(f"search.{name}", bound, low, high, open_high=open_high, integer=whole)
            if bounds[0] > bounds[1]:
                raise InputError(f"search.{name}", "the smaller bound first", list(bounds), "Swap them.")
        for name, least, what in (("batch_size", 2, "batch size"), ("kernel_size", 1, "size")):
            choices = getattr(self, name)
            if not choices:
                raise InputError(f"search.{name}", f"at least one {what}", "()")
            for choice in choices:
                checks.in_range(f"search.{name}", choice, least, integer=True)
        for name in ("tune", "batch_size", "families", "kernel_size"):
            choices = getattr(self, name) or ()
            twice = next((choice for choice in choices if choices.count(choice) > 1), None)
            if twice is not None:
                raise InputError(f"search.{name}", "each once", f"{twice!r} twice", "Leave one of them out.")


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
