"""What arguments of a tuner change about its hypermodel: compile arguments, size, distribution, new entries."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from keras_tuner.engine.tuner import maybe_distribute

from kerasbn import checks
from kerasbn.checks import InputError
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.strategies import Choose

# Arguments of compile that are plain values and stay as the build function gave them.
_PLAIN = ("loss_weights", "run_eagerly", "steps_per_execution", "jit_compile")


class Overridden(keras_tuner.HyperModel):
    """A hypermodel whose models are compiled with other arguments, checked for their size, or distributed.

    Args:
        hypermodel: The hypermodel; None: one that builds nothing.
        optimizer: In place of the model's; each model gets a new one of its settings. None: the model's own.
        loss: In place of the model's.
        metrics: In place of the model's.
        max_model_size: Most trainable parameters that a model may have, at least 1; a trial with a larger one fails.
        distribution_strategy: A `tf.distribute.Strategy` in whose scope models are built.

    Raises:
        InputError: If the size is no whole number of at least 1.

    Example:
        >>> Overridden(None, loss="mse", max_model_size=1000).settings()
        {'loss': 'mse', 'max_model_size': 1000}
    """

    def __init__(
        self,
        hypermodel: keras_tuner.HyperModel | None,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        loss: Any = None,
        metrics: Any = None,
        max_model_size: int | None = None,
        distribution_strategy: Any = None,
    ) -> None:
        super().__init__()
        if max_model_size is not None:
            checks.in_range("max_model_size", max_model_size, 1, integer=True)
        self.hypermodel = hypermodel or keras_tuner.HyperModel()
        self.max_model_size = max_model_size
        self.optimizer, self.loss, self.metrics = optimizer, loss, metrics
        self.distribution_strategy = distribution_strategy
        self.resumable = getattr(hypermodel, "resumable", False)

    def settings(self) -> dict[str, Any]:
        """Return what it changes as JSON; what it leaves is not there."""
        changes = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
        given = {name: keras.saving.serialize_keras_object(value) for name, value in changes.items() if value}
        return given | ({"max_model_size": self.max_model_size} if self.max_model_size else {})

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declare those of the hypermodel."""
        self.hypermodel.declare_hyperparameters(hp)

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Return the hypermodel's model with the changes."""
        with maybe_distribute(self.distribution_strategy):
            model = self.hypermodel.build(hp)
            if isinstance(model, keras.Model):  # the engine complains about anything else
                self._compile(model)
                self._check_size(model)
            return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Train the model as the hypermodel does."""
        return self.hypermodel.fit(hp, model, *args, **kwargs)

    def _compile(self, model: keras.Model) -> None:
        changes = {"optimizer": self.optimizer, "loss": self.loss, "metrics": self.metrics}
        changes = {name: value for name, value in changes.items() if value}
        if not changes:
            return
        if not model.compiled:
            if missing := [name for name in ("optimizer", "loss") if name not in changes]:
                remedy = "Compile it in the build function, or give the search both optimizer and loss."
                raise MisuseError(
                    "HyperModel.build", "a compiled model", f"one without {' and '.join(missing)}", remedy
                )
            compiled: Mapping[str, Any] = {}
        else:
            config = model.get_compile_config()
            compiled = {name: config[name] for name in _PLAIN if config.get(name) is not None}
            compiled |= {"optimizer": model.optimizer, "loss": model.loss, **_metrics(model, config)}
        if isinstance(self.optimizer, keras.optimizers.Optimizer):
            changes["optimizer"] = type(self.optimizer).from_config(self.optimizer.get_config())
        model.compile(**{**compiled, **changes})

    def _check_size(self, model: keras.Model) -> None:
        # One that is built by its first batch has no size yet.
        size = sum(math.prod(variable.shape) for variable in model.trainable_weights) if model.built else 0
        if self.max_model_size is not None and size > self.max_model_size:
            raise keras_tuner.errors.FailedTrialError(f"Oversized model: {size} parameters. Skip model.")


def _metrics(model: keras.Model, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that a model was compiled with, as arguments of compile."""
    given = {name: config[name] for name in ("metrics", "weighted_metrics") if config.get(name)}
    try:
        return keras.saving.deserialize_keras_object(given)
    except (TypeError, ValueError):  # functions of the user's own, which Keras gives back only in one object with all
        return {"metrics": [metric for metric in model.metrics if metric.name == "compile_metrics"]}


def only_given(
    given: keras_tuner.HyperParameters | None, tune_new_entries: bool, allow_new_entries: bool, choose: Choose
) -> Choose:
    """Return what gives the values of hyperparameters if only given ones may be tuned, or be at all.

    Args:
        given: Hyperparameters that are registered beforehand.
        tune_new_entries: Whether others that are asked for are tuned; else they have their default values.
        allow_new_entries: Whether others may be asked for.
        choose: Gives the values of those that are tuned.

    Returns:
        Takes a hyperparameter, and returns its value.

    Raises:
        InputError: If there are no given ones, and others are not to be tuned.
    """
    if tune_new_entries and allow_new_entries:
        return choose
    if given is None:
        name = "allow_new_entries" if tune_new_entries else "tune_new_entries"
        remedy = f"Give hyperparameters=..., or leave {name} out."
        raise InputError(name, "True, since there are no hyperparameters given beforehand", False, remedy)
    known = [(hyperparameter.name, hyperparameter.conditions) for hyperparameter in given.space]

    def chosen(hyperparameter: kinds.HyperParameter) -> Any:
        if (hyperparameter.name, hyperparameter.conditions) in known:
            return choose(hyperparameter)
        if not allow_new_entries:
            raise MisuseError(
                "allow_new_entries=False",
                f"a build function that asks for no more than {', '.join(repr(name) for name, _ in known)}",
                repr(hyperparameter.name),
                "Give it in hyperparameters=..., or leave allow_new_entries out.",
            )
        return hyperparameter.default

    return chosen
