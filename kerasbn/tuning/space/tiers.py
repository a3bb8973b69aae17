"""Tiers: which hyperparameters a search draws, the most important first, and whether they fit the config."""

import types
from collections.abc import Mapping

from kerasbn.checks import InputError
from kerasbn.config import MODEL_CONFIGS, MLPConfig, ModelConfig, TuneConfig

# The course's order. Dropout and kernel sizes, which it has no place for, are with the rest of the third; Adam's
# beta_1, beta_2 and epsilon stay as they are unless search.tune asks for them.
TIERS: Mapping[int, tuple[str, ...]] = types.MappingProxyType(
    {
        1: ("learning_rate",),
        2: ("momentum", "units", "batch_size"),
        3: ("layers", "decay_rate", "dropout", "kernel_size"),
    }
)
_ADAMS = ("adam", "adamw")


def families_of(config: TuneConfig) -> tuple[str, ...]:
    """Return the families of models that a search chooses from; one if there is no choice."""
    return config.search.families or (config.model.name,)


def model_of(config: TuneConfig, family: str) -> ModelConfig:
    """Return the model of a family, as it is where it is not searched.

    Args:
        config: The search's config.
        family: Name of the family.

    Returns:
        The config's model; if that is of another family, this one's default with what all families share taken
        from the config: activation, dropout, l1, l2, bn_momentum, bn_epsilon.
    """
    if family == config.model.name:
        return config.model
    shared = ("activation", "dropout", "l1", "l2", "bn_momentum", "bn_epsilon")
    return MODEL_CONFIGS[family](**{name: getattr(config.model, name) for name in shared})


def tuned(config: TuneConfig) -> tuple[str, ...]:
    """Return which hyperparameters a search draws: those of `search.tune`, or those that the tiers open.

    Args:
        config: The search's config.

    Returns:
        Names as in `search.tune`, the most important first.

    Example:
        >>> tuned(TuneConfig(search=SearchConfig(tiers=2), training=TrainingConfig(optimizer="momentum")))
        ('learning_rate', 'momentum', 'units', 'batch_size')
        >>> tuned(TuneConfig(search=SearchConfig(tiers=2), training=TrainingConfig(optimizer="adam")))
        ('learning_rate', 'units', 'batch_size')

    Source: Andrew Ng, Deep Learning Specialization, course 2, week 3: tuning process.
    """
    search, training = config.search, config.training
    if search.tune is not None:
        return search.tune
    fits = {
        "momentum": training.optimizer not in _ADAMS and training.beta > 0,
        "decay_rate": training.schedule is None and training.decay in ("constant", "inverse_time"),
        "kernel_size": len(search.kernel_size) > 1 and "convnet" in families_of(config),
    }
    return tuple(name for tier in range(1, search.tiers + 1) for name in TIERS[tier] if fits.get(name, True))


def check_space(config: TuneConfig) -> None:
    """Raise an `InputError` if what is to be tuned contradicts the rest of the config."""
    training, names = config.training, tuned(config)
    if config.search.strategy == "population" and training.plateau_patience is not None:
        remedy = "Leave it out, or choose another search.strategy."
        expected = "null, since a copy of a trial has no losses of its own to compare with"
        raise InputError("training.plateau_patience", expected, training.plateau_patience, remedy)
    rates = [name for name in ("learning_rate", "decay_rate") if name in names]
    if rates and training.schedule is not None:
        remedy = f"Leave {' and '.join(rates)} out of search.tune, or training.schedule out of the config."
        if config.search.tune is None:
            remedy = f"Leave it out, or give a search.tune without {rates[0]}."
        raise InputError("training.schedule", "null, since the search draws its rate", "a schedule", remedy)
    if "decay_rate" in names and training.decay not in ("constant", "inverse_time"):
        remedy = "Leave decay_rate out of search.tune, or training.decay out of the config."
        expected = "inverse_time, the formula whose rate is tuned"
        raise InputError("training.decay", expected, repr(training.decay), remedy)
    for name, optimizers in {
        "momentum": ("sgd", "momentum", "rmsprop", *_ADAMS),
        "beta_2": _ADAMS,
        "epsilon": ("rmsprop", *_ADAMS, "adagrad"),
    }.items():
        if name in names and training.optimizer not in optimizers:
            a = "an" if name == "epsilon" else "a"
            expected = f"one with {a} {name}, which the search draws"
            remedy = f"Leave {name} out of search.tune, or choose another optimizer."
            raise InputError("training.optimizer", expected, repr(training.optimizer), remedy)
    if "kernel_size" in names and "convnet" not in families_of(config):
        remedy = "Leave kernel_size out of search.tune, or choose convnet."
        received = ", ".join(map(repr, families_of(config)))
        raise InputError("model.name", "convnet, whose kernel_size the search draws", received, remedy)
    mlp = model_of(config, "mlp") if "mlp" in families_of(config) else None
    if isinstance(mlp, MLPConfig) and not mlp.units and "layers" in names and "units" not in names:
        raise InputError(
            "model.units",
            "the units of a layer, since search.tune has layers without units",
            "()",
            "Add units to search.tune, or give model.units.",
        )
