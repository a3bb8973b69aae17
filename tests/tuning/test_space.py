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
from kerasbn.tuning import Draws, FactoryHyperModel, sample_config


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
    }
    assert all(same for name, same in undrawn.items() if name not in tune)
    assert sample_config(hp.copy(), given) == drawn  # a plain copy gives the same


def test_scales():
    drawn = draw_many(
        config(tune=SearchConfig().tune, units=(10, 1000), learning_rate=(1e-4, 1e-2), momentum=(0.9, 0.999))
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
        (ResNetConfig(depth=8), ("layers",), lambda m, hp: (m.depth, m.filters) == (6 * hp["layers"] + 2, 16)),
        (ResNetConfig(depth=8), ("units",), lambda m, hp: (m.depth, m.filters) == (8, hp["filters"])),
    ],
)
@pytest.mark.parametrize("trial", range(3))
def test_families(model, tune, check, trial):
    hp = Draws(0, trial)
    assert check(sample_config(hp, config(model, tune)).model, hp)


def test_messages():
    exponential = TrainingConfig(decay="exponential")
    with pytest.raises(InputError) as caught:
        sample_config(Draws(0, 0), config(tune=("decay_rate",), training=exponential))
    assert str(caught.value) == (
        "training.decay: expected inverse_time, the formula whose rate is tuned; received 'exponential'. Leave "
        "decay_rate out of search.tune, or training.decay out of the config."
    )
    assert sample_config(Draws(0, 0), config(training=exponential)).training.decay == "exponential"
    with pytest.raises(InputError) as caught:
        FactoryHyperModel(config(MLPConfig(units=()), ("layers",)), None, 3)
    assert str(caught.value) == (
        "model.units: expected the units of a layer, since search.tune has layers without units; received (). Add "
        "units to search.tune, or give model.units."
    )


@pytest.mark.parametrize("hp", [keras_tuner.HyperParameters(), Draws(0, 0)], ids=["plain", "draws"])
def test_factory_hypermodel_builds_and_fits(hp):
    rng = np.random.default_rng(0)
    data = Features(rng.normal(size=(40, 6)).astype(np.float32), (np.arange(40) % 3).astype(np.int32))
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
