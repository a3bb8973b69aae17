"""The course's tiers: what is drawn with which optimizer and model, and what contradicts the config."""

import pytest

from kerasbn.checks import InputError
from kerasbn.config import ConvNetConfig, MLPConfig, ResNetConfig, SearchConfig, TrainingConfig, TuneConfig
from kerasbn.schedules import Cosine
from kerasbn.training import optimizer_of
from kerasbn.tuning.space.tiers import check_space, families_of, model_of, tuned


def config(search=None, model=None, **training):
    return TuneConfig(model=model or MLPConfig(), search=search or SearchConfig(), training=TrainingConfig(**training))


@pytest.mark.parametrize(
    ("tiers", "names"),
    [
        (1, ["learning_rate"]),
        (2, ["learning_rate", "momentum", "units", "batch_size"]),
        (3, ["learning_rate", "momentum", "units", "batch_size", "layers", "decay_rate", "dropout"]),
    ],
)
def test_tiers(tiers, names):
    assert list(tuned(config(SearchConfig(tiers=tiers), optimizer="momentum"))) == names


@pytest.mark.parametrize(
    ("training", "opened"),
    [
        ({"optimizer": "momentum"}, True),
        ({"optimizer": "sgd", "momentum": 0.5}, True),
        ({"optimizer": "sgd"}, False),
        ({"optimizer": "rmsprop"}, False),
        ({"optimizer": "adagrad"}, False),
        ({"optimizer": "adam"}, False),
        ({"optimizer": "adam", "momentum": 0.8}, False),
        ({"optimizer": "adamw"}, False),
    ],
)
def test_momentum_is_opened_where_the_optimizer_has_one(training, opened):
    names = tuned(config(**training))
    assert ("momentum" in names) == opened
    assert not {"beta_2", "epsilon"} & set(names)


def test_a_list_overrides_the_tiers():
    names = ("beta_2", "momentum", "epsilon")
    assert tuned(config(SearchConfig(tiers=1, tune=names), optimizer="adam")) == names
    check_space(config(SearchConfig(tiers=1, tune=names), optimizer="adamw"))


@pytest.mark.parametrize(
    ("model", "search", "opened"),
    [
        (ConvNetConfig(kernel_size=5), {}, False),  # one choice takes nothing from the config's
        (ConvNetConfig(), {"kernel_size": (3, 5)}, True),
        (MLPConfig(), {"kernel_size": (3, 5)}, False),
        (MLPConfig(), {"kernel_size": (3, 5), "families": ("mlp", "convnet")}, True),
        (ConvNetConfig(), {"kernel_size": (3, 5), "families": ("mlp", "resnet")}, False),
    ],
)
def test_kernel_size_is_opened_where_there_is_a_choice(model, search, opened):
    assert ("kernel_size" in tuned(config(SearchConfig(**search), model))) == opened


def test_a_formula_of_the_config_s_own_is_left_alone():
    assert "decay_rate" not in tuned(config(decay="exponential"))
    assert "decay_rate" in tuned(config(decay="inverse_time"))
    check_space(config(decay="exponential"))


def test_families():
    own = config(model=ResNetConfig(depth=8, l2=1e-4, activation="gelu", bn_momentum=0.8))
    assert families_of(own) == ("resnet",)
    assert model_of(own, "resnet") == own.model
    assert model_of(own, "mlp") == MLPConfig(l2=1e-4, activation="gelu", bn_momentum=0.8)
    both = config(SearchConfig(families=("mlp", "convnet")), ResNetConfig())
    assert families_of(both) == ("mlp", "convnet")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            config(schedule=Cosine(0.1, decay_steps=9)),
            "training.schedule: expected null, since the search draws its rate; received a schedule. Leave "
            "it out, or give a search.tune without learning_rate.",
        ),
        (
            config(SearchConfig(tune=("decay_rate", "learning_rate")), schedule=Cosine(0.1, decay_steps=9)),
            "training.schedule: expected null, since the search draws its rate; received a schedule. Leave "
            "learning_rate and decay_rate out of search.tune, or training.schedule out of the config.",
        ),
        (
            config(SearchConfig(tune=("decay_rate",)), decay="exponential"),
            "training.decay: expected inverse_time, the formula whose rate is tuned; received 'exponential'. Leave "
            "decay_rate out of search.tune, or training.decay out of the config.",
        ),
        (
            config(SearchConfig(tune=("momentum",)), optimizer="adagrad"),
            "training.optimizer: expected one with a momentum, which the search draws; received 'adagrad'. Leave "
            "momentum out of search.tune, or choose another optimizer.",
        ),
        (
            config(SearchConfig(tune=("beta_2",)), optimizer="rmsprop"),
            "training.optimizer: expected one with a beta_2, which the search draws; received 'rmsprop'. Leave "
            "beta_2 out of search.tune, or choose another optimizer.",
        ),
        (
            config(SearchConfig(tune=("epsilon",)), optimizer="momentum"),
            "training.optimizer: expected one with an epsilon, which the search draws; received 'momentum'. Leave "
            "epsilon out of search.tune, or choose another optimizer.",
        ),
        (
            config(SearchConfig(tune=("kernel_size",), families=("mlp", "resnet"))),
            "model.name: expected convnet, whose kernel_size the search draws; received 'mlp', 'resnet'. Leave "
            "kernel_size out of search.tune, or choose convnet.",
        ),
        (
            config(SearchConfig(tune=("layers",)), MLPConfig(units=())),
            "model.units: expected the units of a layer, since search.tune has layers without units; received (). "
            "Add units to search.tune, or give model.units.",
        ),
    ],
)
def test_messages(given, message):
    with pytest.raises(InputError) as caught:
        check_space(given)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_beta_2_and_epsilon_reach_the_optimizer(name):
    assert (optimizer_of(TrainingConfig(optimizer=name)).beta_2, optimizer_of(TrainingConfig()).epsilon) == (
        0.999,
        1e-8,
    )
    optimizer = optimizer_of(TrainingConfig(optimizer=name, beta_2=0.99, epsilon=1e-5))
    assert (optimizer.beta_2, optimizer.epsilon) == (0.99, 1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beta_2": 1.0}, "training.beta_2: expected a number in [0, 1); received 1.0."),
        ({"epsilon": 0.0}, "training.epsilon: expected a number in (0, 1]; received 0.0."),
        (
            {"beta_2": 0.9, "optimizer": "rmsprop"},
            "training.beta_2: expected null, since rmsprop has none; received 0.9. Leave it out, or choose another "
            "optimizer.",
        ),
        (
            {"epsilon": 0.1, "optimizer": "sgd"},
            "training.epsilon: expected null, since sgd has none; received 0.1. Leave it out, or choose another "
            "optimizer.",
        ),
    ],
)
def test_messages_of_training(values, message):
    with pytest.raises(InputError) as caught:
        TrainingConfig(**values)
    assert str(caught.value) == message
