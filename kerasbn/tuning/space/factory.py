"""The space of `kerasbn tune`: which configs are drawn, and the hypermodel that builds and trains them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import keras
import keras_tuner
import numpy as np

from kerasbn import models, training
from kerasbn.caviar.plan import FitPlan
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.checks import InputError
from kerasbn.config import ConvNetConfig, MLPConfig, ModelConfig, ResNetConfig, SearchConfig, TrainConfig, TuneConfig
from kerasbn.data import Features
from kerasbn.training.compile import plan_epoch
from kerasbn.tuning.preparation import prepare
from kerasbn.tuning.space import scales
from kerasbn.tuning.space.tiers import check_space, families_of, model_of, tuned
from kerasbn.tuning.stages import fit_stage, plan_of_stage


def _layers(hp: Any, search: SearchConfig) -> int:
    return cast(int, scales.layer_count(hp, "layers", *search.layers))


def _widths(
    hp: Any, name: str, widths: tuple[int, ...], bounds: tuple[int, int], names: Sequence[str], search: SearchConfig
) -> tuple[int, ...]:
    """Return the units of each hidden layer, or the filters of each convolution: name_1, name_2, ..."""
    count = _layers(hp, search) if "layers" in names else len(widths)
    if "units" in names:
        return tuple(cast(int, scales.integer_log(hp, f"{name}_{i}", *bounds)) for i in range(1, count + 1))
    return widths[:1] * count if "layers" in names else widths


def _sample_shape(hp: Any, model: ModelConfig, names: Sequence[str], search: SearchConfig) -> ModelConfig:
    """Return a model of the same family with its depth, width and kernel drawn."""
    changes: dict[str, Any] = {}
    if isinstance(model, MLPConfig):
        changes["units"] = _widths(hp, "units", model.units, search.units, names, search)
    elif isinstance(model, ConvNetConfig):
        changes["filters"] = _widths(hp, "filters", model.filters, search.filters, names, search)
        if "kernel_size" in names:
            changes["kernel_size"] = hp.Choice("kernel_size", list(search.kernel_size))
    elif isinstance(model, ResNetConfig):
        if "layers" in names:
            changes["depth"] = 6 * _layers(hp, search) + 2
        if "units" in names:
            changes["filters"] = scales.integer_log(hp, "filters", *search.filters)
    return dataclasses.replace(model, **changes)


def _sample_model(hp: Any, config: TuneConfig, names: Sequence[str]) -> ModelConfig:
    search, families = config.search, families_of(config)
    if len(families) == 1:
        model = _sample_shape(hp, model_of(config, families[0]), names, search)
    else:
        chosen = hp.Choice("family", list(families))
        for family in families:
            # The scopes of the others are entered, too: KerasTuner's oracles see by that what there is besides.
            with hp.conditional_scope("family", [family]), hp.name_scope(family):
                if family == chosen:
                    model = _sample_shape(hp, model_of(config, family), names, search)
    if "dropout" in names:
        model = dataclasses.replace(model, dropout=cast(float, scales.linear(hp, "dropout", *search.dropout)))
    return model


def sample_config(hp: Any, config: TuneConfig) -> TrainConfig:
    """Return the config of one trial: the given one with the hyperparameters drawn that the search tunes.

    Names and scales: learning_rate (log), one_minus_momentum (log), layers (linear; of a resnet the blocks of a
    stage: depth 6n + 2), units_1, units_2, ... (log; filters_1, ... of a convnet, filters of a resnet's first
    stage), kernel_size (a choice), dropout (linear), batch_size (a choice), decay_rate (log; of inverse-time decay),
    one_minus_beta_2 (log), epsilon (log). Without "layers" there are as many as in the config; without "units" each
    has as many as the config's first. With several families there is the choice family, and what a model is made of
    is asked for under the name of its family: mlp/layers, convnet/filters_1, ...

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
    search, names = config.search, tuned(config)
    drawn: dict[str, Any] = {"epochs": search.epochs}
    if "learning_rate" in names:
        drawn["learning_rate"] = scales.log(hp, "learning_rate", *search.learning_rate)
    if "momentum" in names:
        drawn["momentum"] = scales.one_minus_log(hp, "momentum", *search.momentum)
    model = _sample_model(hp, config, names)
    if "batch_size" in names:
        drawn["batch_size"] = hp.Choice("batch_size", list(search.batch_size))
    if "decay_rate" in names:
        drawn["decay"] = "inverse_time"
        drawn["decay_rate"] = scales.log(hp, "decay_rate", *search.decay_rate)
    if "beta_2" in names:
        drawn["beta_2"] = scales.one_minus_log(hp, "beta_2", *search.beta_2)
    if "epsilon" in names:
        drawn["epsilon"] = scales.log(hp, "epsilon", *search.epsilon)
    return dataclasses.replace(config.train_config, model=model, training=dataclasses.replace(config.training, **drawn))


def _check_shapes(config: TuneConfig, input_shape: Sequence[int], num_classes: int) -> None:
    """Raise an `InputError` if a model of one of the families cannot be built for inputs of this shape.

    Of a family all sizes can be built, or none: convnets leave out poolings that there are no pixels for.
    """
    for family in families_of(config):
        least = keras_tuner.HyperParameters()  # whose values are the smallest
        model = _sample_shape(least, model_of(config, family), tuned(config), config.search)
        try:
            models.from_config(model, input_shape, num_classes)
        except InputError as error:
            if not config.search.families:
                raise
            remedy = f"Leave {family} out of search.families."
            raise InputError(error.subject, error.expected, error.received, remedy) from error


class FactoryHyperModel(keras_tuner.HyperModel):
    """The models of `kerasbn.models`, built, compiled and trained as a config says; for any KerasTuner search.

    Args:
        config: What is tuned, and everything else.
        train: The training features and labels that `fit` will be called with: their shape, their number (for
            the steps of an epoch) and the balance of their classes go into the compiled model.
        num_classes: Number of classes, at least 2.

    Attributes:
        resumable: Whether `fit` trains in stages and writes checkpoints: it does.

    Raises:
        InputError: If what is to be tuned contradicts the rest of the config, or a family cannot be built for inputs
            of that shape.

    Example:
        >>> prepared = prepare(load_splits(DataConfig(source="iris")))
        >>> hypermodel = FactoryHyperModel(TuneConfig(search=SearchConfig(epochs=1)), prepared.train, 3)
        >>> tuner = RandomSearch(hypermodel, "val_accuracy", max_trials=1, seed=0, on_trial=lambda trial: None)
        >>> tuner.search(prepared.train, prepared.validation)
        >>> tuner.study.ranked[0].status
        'completed'
    """

    resumable: ClassVar[bool] = True

    def __init__(self, config: TuneConfig, train: Features, num_classes: int) -> None:
        check_space(config)
        self.config = config
        self.input_shape = np.asarray(train.inputs).shape[1:]
        self.labels = train.labels
        self.num_classes = num_classes
        _check_shapes(config, self.input_shape, num_classes)
        super().__init__()

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the compiled model, features to logits, of the config that is drawn."""
        config = sample_config(hp, self.config)
        model = models.from_config(config.model, self.input_shape, self.num_classes)
        training.compile_model(model, config.training, self.labels)
        return model

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        train: Features,
        validation: Features,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        checkpoints: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> keras.callbacks.History:
        """Train the model as the config that is drawn says, the whole trial or a stage of it.

        Stages come to the same weights, bit for bit, as one fit of all their epochs. At the end of the trial the
        model has the weights of the best epoch; at the end of another stage those of its last, to go on from.

        Args:
            hp: The hyperparameters that the model was built with.
            model: The model, with weights and optimizer as they are after `initial_epoch` epochs.
            train: Features and labels.
            validation: Features and labels that the best epoch is chosen by.
            callbacks: More of them. The last `KeepBest` takes the place of training's own, its monitor, too, and goes
                on with the best epoch that it has.
            epochs: Up to which epoch the model is trained, at least 1; None: search.epochs, which are the whole trial.
            initial_epoch: From which epoch, counted from 0.
            checkpoints: A directory of the trial. Checkpoints are written there, by training.checkpoint_seconds, and
                at the end of a stage that is not the last; one that is there already is gone on from, whatever the
                model is. The files are left there. None: there are none.
            identity: What a checkpoint must belong to: values by name, as JSON has them.
            seed: Seed of shuffling and augmentation; None: training.seed.

        Returns:
            The history, one value an epoch for each metric: all epochs from `initial_epoch` on, also those before a
            kill. Empty if the trial had ended before: it diverged, or its patience was out.

        Raises:
            InputError: If the checkpoint is damaged or belongs to something else, or there is none and
                training.plateau_patience is to go on.
        """
        config = sample_config(hp, self.config).training
        if len(train) != len(self.labels):  # one fold may have an example more than another, and so a step
            model.steps_per_execution = plan_epoch(model, len(train), config.batch_size).in_one
        if seed is not None:
            config = dataclasses.replace(config, seed=seed)
        if not model.optimizer.built:
            prepare(model, np.zeros((1, *self.input_shape), np.float32), self.labels[:1])
        rows = fit_stage(
            model,
            train,
            validation,
            config,
            callbacks,
            epochs=config.epochs if epochs is None else epochs,
            initial_epoch=initial_epoch,
            checkpoints=checkpoints,
            identity=identity,
        )
        history = keras.callbacks.History()
        history.epoch = [int(row["epoch"]) - 1 for row in rows]
        names = [name for name in rows[0] if name != "epoch"] if rows else []
        history.history = {name: [row[name] for row in rows] for name in names}
        return history

    def plan_fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        train: Features,
        validation: Features | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        examples: int | None = None,
    ) -> FitPlan | None:
        """Return what `fit` would do, so that many models can do it at once.

        Args:
            hp: As `fit`.
            model: As `fit`.
            train: As `fit`.
            validation: As `fit`; None: the training examples, of which each model has some for itself.
            callbacks: As `fit`.
            epochs: As `fit`.
            initial_epoch: As `fit`.
            examples: How many of the training examples a model has; None: all.

        Returns:
            The plan; None if training has ended before, by its patience.

        Raises:
            Unsuitable: If images are changed on the way, or a plateau is waited for over several stages.
        """
        config = sample_config(hp, self.config).training
        if config.flip or config.shift:
            raise Unsuitable("training.flip and training.shift change images on the way")
        if initial_epoch and config.plateau_patience is not None:
            raise Unsuitable("training.plateau_patience remembers the losses of the stage before")
        return plan_of_stage(
            model,
            train,
            train if validation is None else validation,
            config,
            callbacks,
            epochs=config.epochs if epochs is None else epochs,
            initial_epoch=initial_epoch,
            examples=len(train) if examples is None else examples,
        )
