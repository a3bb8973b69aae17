"""The factory's space: what is drawn, on which scale, and what stays."""

import dataclasses

import keras_tuner
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.config import (
    ConvNetConfig,
    MLPConfig,
    ResNetConfig,
    SearchConfig,
    TrainConfig,
    TrainingConfig,
    TuneConfig,
)
from kerasbn.data import Features
from kerasbn.tuning.draws import Draws
from kerasbn.tuning.space.factory import FactoryHyperModel, sample_config


def config(model=None, tune=("learning_rate",), training=None, **search):
    return TuneConfig(
        model=model or MLPConfig(units=(7, 9)),
        training=training or TrainingConfig(epochs=50, patience=3),
        search=SearchConfig(tune=tune, epochs=4, **search),
    )


def draw_many(tune_config, n=200):
    return [sample_config(Draws(0, trial), tune_config) for trial in range(n)]


@pytest.mark.parametrize(
    ("tune", "names"),
    [
        (("learning_rate",), ["learning_rate"]),
        (("momentum",), ["one_minus_momentum"]),
        (("units",), ["units_1", "units_2"]),
        (("layers",), ["layers"]),
        (("batch_size",), ["batch_size"]),
        (("dropout",), ["dropout"]),
        (("decay_rate",), ["decay_rate"]),
        (("decay_rate", "learning_rate"), ["learning_rate", "decay_rate"]),
        (("beta_2",), ["one_minus_beta_2"]),
        (("epsilon",), ["epsilon"]),
    ],
)
def test_only_what_is_tuned_is_drawn(tune, names):
    hp = Draws(0, 0)
    given = config(tune=tune)
    drawn = sample_config(hp, given)
    assert list(hp.values) == names
    assert type(drawn) is TrainConfig
    assert drawn.training.epochs == 4
    undrawn = {
        "learning_rate": drawn.training.learning_rate == 1e-3,
        "momentum": drawn.training.momentum is None,
        "units": drawn.model.units[:1] == (7,),
        "layers": len(drawn.model.units) == 2,
        "batch_size": drawn.training.batch_size == 64,
        "dropout": drawn.model.dropout == 0,
        "decay_rate": drawn.training.decay == "constant",
        "beta_2": drawn.training.beta_2 is None,
        "epsilon": drawn.training.epsilon is None,
    }
    assert all(same for name, same in undrawn.items() if name not in tune)
    assert sample_config(hp.copy(), given) == drawn  # a plain copy gives the same


def test_scales():
    momentum = TrainingConfig(optimizer="momentum")
    drawn = draw_many(
        config(tune=None, units=(10, 1000), learning_rate=(1e-4, 1e-2), momentum=(0.9, 0.999), training=momentum)
    )
    half = 0.12
    assert np.mean([c.training.learning_rate > 1e-3 for c in drawn]) == pytest.approx(0.5, abs=half)
    assert np.mean([c.training.momentum > 0.99 for c in drawn]) == pytest.approx(0.5, abs=half)
    assert np.mean([c.model.units[0] >= 100 for c in drawn]) == pytest.approx(0.5, abs=half)
    assert np.mean([c.model.dropout > 0.25 for c in drawn]) == pytest.approx(0.5, abs=half)
    assert np.mean([c.training.decay_rate > 0.1 for c in drawn]) == pytest.approx(0.5, abs=half)
    assert {len(c.model.units) for c in drawn} == {1, 2, 3}
    assert {c.training.batch_size for c in drawn} == {32, 64, 128}
    assert {c.training.decay for c in drawn} == {"inverse_time"}
    assert any(len(set(c.model.units)) == 3 for c in drawn)


def test_scales_of_adam():
    drawn = draw_many(config(tune=("beta_2", "epsilon"), beta_2=(0.9, 0.999), epsilon=(1e-10, 1e-6)))
    assert np.mean([c.training.beta_2 > 0.99 for c in drawn]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([c.training.epsilon > 1e-8 for c in drawn]) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("model", "tune", "check"),
    [
        (MLPConfig(units=(7, 9)), ("layers",), lambda m, hp: m.units == (7,) * hp["layers"]),
        (MLPConfig(units=(7, 9)), ("units",), lambda m, hp: m.units == (hp["units_1"], hp["units_2"])),
        (ConvNetConfig(filters=(4, 8), units=(5,)), ("layers",), lambda m, hp: m.filters == (4,) * hp["layers"]),
        (
            ConvNetConfig(filters=(4,), units=(5,)),
            ("units",),
            lambda m, hp: (m.filters, m.units) == ((hp["filters_1"],), (5,)),
        ),
        (
            ConvNetConfig(filters=(4,), units=(5,)),
            ("kernel_size",),
            lambda m, hp: (m.filters, m.kernel_size) == ((4,), hp["kernel_size"]),
        ),
        (ResNetConfig(depth=8), ("layers",), lambda m, hp: (m.depth, m.filters) == (6 * hp["layers"] + 2, 16)),
        (ResNetConfig(depth=8), ("units",), lambda m, hp: (m.depth, m.filters) == (8, hp["filters"])),
    ],
)
@pytest.mark.parametrize("trial", range(3))
def test_families(model, tune, check, trial):
    hp = Draws(0, trial)
    assert check(sample_config(hp, config(model, tune)).model, hp)


FAMILIES = ("mlp", "convnet", "resnet")


def test_a_conditional_space_of_families():
    model = ConvNetConfig(filters=(4,), units=(5,), l2=0.01)
    given = config(model, None, families=FAMILIES, kernel_size=(3, 5), filters=(2, 8), units=(16, 32))
    seen = {}
    for trial in range(100):
        hp = Draws(0, trial)
        drawn = sample_config(hp, given).model
        assert drawn.name == hp["family"]
        assert drawn.l2 == 0.01
        assert drawn.dropout == hp["dropout"]
        inside = {name: value for name, value in hp.values.items() if "/" in name}
        assert all(name.startswith(f"{drawn.name}/") for name in inside)
        assert all(h.conditions[0].values == [drawn.name] for h in hp.space if "/" in h.name)
        seen[drawn.name] = seen.get(drawn.name, 0) + 1
        layers = inside.pop(f"{drawn.name}/layers")
        if drawn.name == "resnet":
            assert (drawn.depth, drawn.filters) == (6 * layers + 2, inside.pop("resnet/filters"))
            assert 2 <= drawn.filters <= 8
        elif drawn.name == "convnet":
            assert drawn.units == (5,)
            assert drawn.kernel_size == inside.pop("convnet/kernel_size")
            assert drawn.filters == tuple(inside.pop(f"convnet/filters_{i + 1}") for i in range(layers))
        else:
            assert drawn.units == tuple(inside.pop(f"mlp/units_{i + 1}") for i in range(layers))
            assert all(16 <= units <= 32 for units in drawn.units)
        assert not inside
        assert sample_config(hp.copy(), given).model == drawn
    assert all(seen[family] > 20 for family in FAMILIES)


def test_a_search_over_the_family_alone():
    given = config(tune=(), families=FAMILIES)
    hp = Draws(0, 0)
    assert sample_config(hp, given).model.name == hp["family"]
    assert list(hp.values) == ["family"]


def test_one_family_is_no_choice():
    hp = Draws(0, 0)
    drawn = sample_config(hp, config(MLPConfig(l1=0.5), ("layers",), families=("resnet",)))
    assert drawn.model == ResNetConfig(depth=6 * hp["layers"] + 2, l1=0.5)


def test_keras_tuner_sees_all_families():
    hp = keras_tuner.HyperParameters()
    sample_config(hp, config(None, None, families=FAMILIES))
    assert [scopes[0].values for scopes in hp.active_scopes] == [["mlp"]]
    assert [scopes[0].values for scopes in hp.inactive_scopes] == [["convnet"], ["resnet"]]


def features(shape):
    rng = np.random.default_rng(0)
    return Features(rng.normal(size=(40, *shape)).astype(np.float32), (np.arange(40) % 3).astype(np.int32))


def test_a_family_that_cannot_be_built_is_refused_before_the_search():
    with pytest.raises(InputError) as caught:
        FactoryHyperModel(config(families=("mlp", "resnet")), features((6,)), 3)
    assert str(caught.value) == (
        "input_shape: expected (height, width, channels) or (height, width) for the family resnet; received (6,). "
        "Leave resnet out of search.families."
    )
    with pytest.raises(InputError, match=r"\(6,\)\. Use the family mlp for inputs that are no images, or reshape"):
        FactoryHyperModel(config(ConvNetConfig()), features((6,)), 3)
    with pytest.raises(InputError, match="Add units to search.tune"):
        FactoryHyperModel(config(MLPConfig(units=()), ("layers",)), None, 3)
    # More poolings than pixels, and stages than sides, are no hindrance.
    tiny = config(None, ("layers", "units"), families=FAMILIES, layers=(4, 4), filters=(2, 2))
    hypermodel = FactoryHyperModel(tiny, features((2, 2)), 3)
    for trial in range(4):
        assert hypermodel.build(Draws(0, trial)).output_shape == (None, 3)


@pytest.mark.parametrize("hp", [keras_tuner.HyperParameters(), Draws(0, 0)], ids=["plain", "draws"])
def test_factory_hypermodel_builds_and_fits(hp):
    data = features((6,))
    tuned = config(tune=("units", "layers", "learning_rate"), units=(4, 8), layers=(1, 2))
    tuned = dataclasses.replace(tuned, training=dataclasses.replace(tuned.training, class_weight=True))
    hypermodel = FactoryHyperModel(tuned, data, 3)
    model = hypermodel.build(hp)
    drawn = sample_config(hp, tuned)
    assert model.input_shape == (None, 6)
    assert model.output_shape == (None, 3)
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(drawn.training.learning_rate)
    assert model.loss.class_weight is not None
    history = hypermodel.fit(hp, model, data, data, callbacks=[])
    assert history.epoch == [0, 1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(history.history)
