"""The space of `kerasbn tune`: which configs are drawn, and the hypermodel that builds and trains them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner
import numpy as np

from kerasbn import models, training
from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.config import ConvNetConfig, MLPConfig, ModelConfig, ResNetConfig, SearchConfig, TrainConfig, TuneConfig
from kerasbn.data import Features
from kerasbn.tuning.scales import one_minus_log


def check_space(config: TuneConfig) -> None:
    """Raise an `InputError` if what is to be tuned contradicts the rest of the config."""
    rates = [name for name in ("learning_rate", "decay_rate") if name in config.search.tune]
    if rates and config.training.schedule is not None:
        remedy = f"Leave {' and '.join(rates)} out of search.tune, or training.schedule out of the config."
        raise InputError("training.schedule", "null, since the search draws its rate", "a schedule", remedy)
    if "momentum" in config.search.tune and config.training.optimizer == "adagrad":
        remedy = "Leave momentum out of search.tune, or choose another optimizer."
        raise InputError("training.optimizer", "one with a momentum, which the search draws", "'adagrad'", remedy)
    if "decay_rate" in config.search.tune and config.training.decay not in ("constant", "inverse_time"):
        raise InputError(
            "training.decay",
            "inverse_time, the formula whose rate is tuned",
            repr(config.training.decay),
            "Leave decay_rate out of search.tune, or training.decay out of the config.",
        )
    if (
        isinstance(config.model, MLPConfig)
        and "layers" in config.search.tune
        and "units" not in config.search.tune
        and not config.model.units
    ):
        raise InputError(
            "model.units",
            "the units of a layer, since search.tune has layers without units",
            "()",
            "Add units to search.tune, or give model.units.",
        )


def _widths(hp: Any, name: str, widths: tuple[int, ...], search: SearchConfig) -> tuple[int, ...]:
    """Return the units of each hidden layer, or the filters of each convolution: name_1, name_2, ..."""
    low, high = search.layers
    count = hp.Int("layers", low, high) if "layers" in search.tune else len(widths)
    if "units" in search.tune:
        # KerasTuner's log sampling of an Int is right: P(k) is proportional to log((k + 1) / k).
        return tuple(hp.Int(f"{name}_{i}", *search.units, sampling="log") for i in range(1, count + 1))
    return widths[:1] * count if "layers" in search.tune else widths


def _sample_model(hp: Any, model: ModelConfig, search: SearchConfig) -> ModelConfig:
    changes: dict[str, Any] = {}
    if isinstance(model, MLPConfig):
        changes["units"] = _widths(hp, "units", model.units, search)
    elif isinstance(model, ConvNetConfig):
        changes["filters"] = _widths(hp, "filters", model.filters, search)
    elif isinstance(model, ResNetConfig):
        if "layers" in search.tune:
            changes["depth"] = 6 * hp.Int("layers", *search.layers) + 2
        if "units" in search.tune:
            changes["filters"] = hp.Int("filters", *search.units, sampling="log")
    if "dropout" in search.tune:
        changes["dropout"] = hp.Float("dropout", *search.dropout)
    return dataclasses.replace(model, **changes)


def sample_config(hp: Any, config: TuneConfig) -> TrainConfig:
    """Return the config of one trial: the given one with the hyperparameters of `config.search.tune` drawn.

    Names and scales: learning_rate (log), one_minus_momentum (log), layers (linear; of a resnet the blocks of a
    stage: depth 6n + 2), units_1, units_2, ... (log; filters_1, ... of a convnet, filters of a resnet's first
    stage), dropout (linear), batch_size (a choice), decay_rate (log; of inverse-time decay). Without "layers"
    there are as many as in the config; without "units" each has as many as the config's first.

    Args:
        hp: A `keras_tuner.HyperParameters`.
        config: The search's config.

    Returns:
        A training config whose epochs are those of a trial.

    Raises:
        InputError: If what is to be tuned contradicts the rest of the config.

    Example:
        >>> drawn = sample_config(Draws(seed=0, trial=0), TuneConfig())
        >>> 1e-4 <= drawn.training.learning_rate <= 0.1, drawn.training.epochs
        (True, 15)
    """
    check_space(config)
    search = config.search
    tuned: dict[str, Any] = {"epochs": search.epochs}
    if "learning_rate" in search.tune:
        tuned["learning_rate"] = hp.Float("learning_rate", *search.learning_rate, sampling="log")
    if "momentum" in search.tune:
        tuned["momentum"] = one_minus_log(hp, "momentum", *search.momentum)
    model = _sample_model(hp, config.model, search)
    if "batch_size" in search.tune:
        tuned["batch_size"] = hp.Choice("batch_size", list(search.batch_size))
    if "decay_rate" in search.tune:
        tuned["decay"] = "inverse_time"
        tuned["decay_rate"] = hp.Float("decay_rate", *search.decay_rate, sampling="log")
    return dataclasses.replace(config.train_config, model=model, training=dataclasses.replace(config.training, **tuned))


class FactoryHyperModel(keras_tuner.HyperModel):
    """The models of `kerasbn.models`, built, compiled and trained as a config says; for any KerasTuner search.

    Args:
        config: What is tuned, and everything else.
        train: The training features and labels that `fit` will be called with: their shape, their number (for
            the steps of an epoch) and the balance of their classes go into the compiled model.
        num_classes: Number of classes, at least 2.

    Raises:
        InputError: If what is to be tuned contradicts the rest of the config.

    Example:
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> hypermodel = FactoryHyperModel(TuneConfig(search=SearchConfig(epochs=1)), prepared.train, 3)
        >>> tuner = RandomSearch(hypermodel, "val_accuracy", max_trials=1, seed=0, on_trial=lambda trial: None)
        >>> tuner.search(prepared.train, prepared.validation)
        >>> tuner.study.ranked[0].status
        'completed'
    """

    def __init__(self, config: TuneConfig, train: Features, num_classes: int) -> None:
        check_space(config)
        self.config = config
        self.input_shape = np.asarray(train.inputs).shape[1:]
        self.labels = train.labels
        self.num_classes = num_classes
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model, features to logits, of the config that is drawn."""
        config = sample_config(hp, self.config)
        model = models.from_config(config.model, self.input_shape, self.num_classes)
        return training.compile_model(model, config.training, self.labels)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        train: Features,
        validation: Features,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> keras.callbacks.History:
        """Train the model as the config that is drawn says.

        Args:
            hp: The hyperparameters that the model was built with.
            model: The model.
            train: Features and labels.
            validation: Features and labels that the best epoch is chosen by.
            callbacks: More of them. A `KeepBest` on the config's monitor takes the place of training's own.

        Returns:
            The history, one value an epoch for each metric.
        """
        config = sample_config(hp, self.config)
        monitor = config.training.monitor
        keep_best = next((c for c in callbacks if isinstance(c, KeepBest) and c.monitor == monitor), None)
        if keep_best is not None:  # the search's: one copy of the weights is enough
            keep_best.patience = config.training.patience
        others = [c for c in callbacks if c is not keep_best]
        rows = training.fit(model, train, validation, config.training, others, keep_best=keep_best)
        history = keras.callbacks.History()
        history.epoch = [int(row["epoch"]) - 1 for row in rows]
        names = [name for name in rows[0] if name != "epoch"]
        history.history = {name: [row[name] for row in rows] for name in names}
        return history
