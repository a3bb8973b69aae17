"""What tests of searches share: a hypermodel that trains nothing, a small one on digits, and a table of trials."""

import keras
import keras_tuner

from kerasbn.tuning import one_minus_log


class Recorded(keras_tuner.HyperModel):
    """Trains nothing: the score is a function of the hyperparameters, and every build is counted."""

    def __init__(self, space, score=lambda hp: hp.get("x")):
        self.space, self.score, self.built = space, score, 0
        super().__init__()

    def build(self, hp):
        self.built += 1
        self.space(hp)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return self.score(hp)


def table(tuner):
    return [(t.number, t.status, t.score, dict(t.hyperparameters.values)) for t in tuner.study.trials]


def x_only(hp):
    hp.Float("x", 0.0, 1.0)


def build_digits(hp):
    model = keras.Sequential(  # no Input: built by its first batch
        [keras.layers.Dense(hp.Int("units", 8, 32, sampling="log"), activation="relu"), keras.layers.Dense(10)]
    )
    momentum = one_minus_log(hp, "momentum", 0.5, 0.99)
    model.compile(
        keras.optimizers.SGD(hp.Float("learning_rate", 1e-3, 1.0, sampling="log"), momentum=momentum),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
