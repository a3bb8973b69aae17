"""Tests of kerasbn.callbacks.RecalibrateStatistics: which statistics the model has when, with and without averaging."""

import keras
import numpy as np
import pytest

from kerasbn.callbacks.recalibration import RecalibrateStatistics
from kerasbn.checks import InputError
from kerasbn.layers import BatchNormalization
from kerasbn.statistics.recalibration import recalibrate

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(48, 3)) + 4).astype("float32")
Y = X[:, :1] * 2


def built(**optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), BatchNormalization(momentum=0.999, name="bn"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.05, **optimizer), "mse")
    return model


def fit(model, *callbacks, epochs=3, **arguments):
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0, shuffle=False, **arguments
    )


def statistics(model):
    bn = model.get_layer("bn")
    return np.stack([bn.moving_mean.numpy(), bn.moving_variance.numpy()])


def of_its_weights(model):
    """Return the statistics that the model should have for the weights it has."""
    kernel, bias = model.layers[0].get_weights()
    values = X.astype(np.float64) @ kernel + bias
    return np.stack([values.mean(0), values.var(0)])


class Look(keras.callbacks.Callback):
    """Notes at each event whether the statistics belong to the weights."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def note(self, event):
        fits = np.allclose(statistics(self.model), of_its_weights(self.model), rtol=1e-4, atol=1e-5)
        self.seen.append((event, bool(fits)))

    def on_epoch_begin(self, epoch, logs=None):
        self.note("begin")

    def on_test_batch_end(self, batch, logs=None):
        self.note("test")

    def on_epoch_end(self, epoch, logs=None):
        self.note("end")

    def on_train_end(self, logs=None):
        self.note("done")


VALIDATION = {"validation_data": (X, Y), "validation_batch_size": len(X)}


def test_before_validation():
    model, look = built(), Look()
    callback = RecalibrateStatistics(X)
    history = fit(model, callback, look, **VALIDATION).history
    assert look.seen == [("begin", False), ("test", True), ("end", True)] + 2 * [
        ("begin", True),
        ("test", True),
        ("end", True),
    ] + [("done", True)]
    without = fit(built(), **VALIDATION).history
    assert history["loss"] == without["loss"]  # weights train by the batch's statistics
    assert history["val_loss"][-1] < without["val_loss"][-1] / 2
    assert history["val_loss"][-1] == pytest.approx(model.evaluate(X, Y, batch_size=len(X), verbose=0))
    assert [change.layer for change in callback.last.layers] == ["bn"]


def test_it_is_what_recalibrate_does():
    model, other = built(), built()
    options = {"estimator": "mean_of_unbiased", "order": "one_pass", "batch_size": 8}
    fit(model, RecalibrateStatistics(X, **options), epochs=1)
    fit(other, epochs=1)
    recalibrate(other, X, **options)
    for one, another in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_every_second_epoch_and_the_end():
    look = Look()
    fit(built(), RecalibrateStatistics(X, every=2), look, **VALIDATION)
    assert [fits for event, fits in look.seen if event == "test"] == [False, True, False]
    assert look.seen[-1] == ("done", True)


def test_without_validation_at_the_end_of_epochs():
    look = Look()
    fit(built(), RecalibrateStatistics(X), look)
    assert [fits for event, fits in look.seen if event == "end"] == [True] * 3


def test_at_the_end_only():
    look = Look()
    fit(built(), RecalibrateStatistics(X, "end"), look, **VALIDATION)
    assert [event for event, fits in look.seen if fits] == ["done"]


def test_weights_averaged_by_the_optimizer():
    model, look = built(use_ema=True, ema_momentum=0.5), Look()
    fit(model, RecalibrateStatistics(X, "end"), look)
    plain = built()
    fit(plain)
    assert not np.allclose(plain.layers[0].get_weights()[0], model.layers[0].get_weights()[0], atol=1e-5)
    assert look.seen[-1] == ("done", True)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_weights_that_are_swapped_for_averaged_ones(swap_on_epoch):
    def trained(*callbacks):
        model, look = built(use_ema=True, ema_momentum=0.5), Look()
        fit(model, keras.callbacks.SwapEMAWeights(swap_on_epoch), *callbacks, look, **VALIDATION)
        return model, look.seen

    model, seen = trained(RecalibrateStatistics(X))
    events = [("begin", False), ("test", True), ("end", swap_on_epoch)]  # those of training get theirs back
    assert seen == [*events, *events, *events, ("done", True)]
    plain, _ = trained()
    for one, other in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    # The moving averages of training went on as if nothing had been.
    in_training = []
    for callbacks in ((), (RecalibrateStatistics(X),)):
        keep = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: in_training.append(statistics(keep.model)))  # noqa: B023
        trained(*callbacks, keep)
    np.testing.assert_allclose(in_training[:3], in_training[3:], rtol=1e-5)


def test_evaluate_by_itself_changes_nothing():
    model, callback = built(), RecalibrateStatistics(X)
    fit(model, callback, epochs=1)
    model.get_layer("bn").moving_mean.assign(np.zeros(4))
    model.evaluate(X, Y, callbacks=[callback], verbose=0)
    assert not statistics(model)[0].any()


def test_a_generator_serves_all_epochs():
    look = Look()
    fit(built(), RecalibrateStatistics((X[i : i + 8] for i in range(0, 48, 8)), steps=6), look)
    assert [fits for event, fits in look.seen if event == "end"] == [True] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"when": "after"}, "when: expected one of 'before_validation', 'end'; received 'after'."),
        ({"every": 0}, "every: expected a whole number of at least 1; received 0."),
        ({"order": "up"}, "order: expected one of 'layerwise', 'one_pass'; received 'up'."),
        ({"estimator": "mean"}, "estimator: expected one of 'population', 'mean_of_unbiased'; received 'mean'."),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1; received 0."),
        ({"data": X[:0]}, "data: expected at least one example; received none."),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        RecalibrateStatistics(**{"data": X} | arguments)
    assert str(caught.value).startswith(message)


def test_nothing_to_recalibrate_is_said_before_training():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="model: expected at least one BatchNormalization"):
        fit(model, RecalibrateStatistics(X))
    assert int(model.optimizer.iterations) == 0
