"""Plans: every update has its own rate and momentum, in eager mode, in graphs and under XLA."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn.checks import InputError
from kerasbn.optimizers import SGD, Adagrad, Adam

RATES, MOMENTA = [0.5, 0.25, 0.125, 1.0], [0.9, 0.5, 0.25, 0.75]
modes = pytest.mark.parametrize("compiled", [None, False, True])


def tracked(optimizer, compiled=False, gradient=1.0):
    """Return a weight, and a function that makes updates with a fixed gradient."""
    variable = keras.Variable(np.zeros(2, "float32"))
    optimizer.build([variable])

    def run():
        optimizer.apply([tf.fill([2], gradient)], [variable])

    return variable, run if compiled is None else tf.function(run, jit_compile=compiled)


def changes(optimizer, compiled, number):
    """Return by how much the weight changes in each update: with gradient -1 and no momentum, the rates."""
    variable, run = tracked(optimizer, compiled, -1.0)
    values = [variable.numpy()[0]]
    for _ in range(number):
        run()
        values.append(variable.numpy()[0])
    return np.diff(values)


@modes
def test_each_update_has_its_rate_and_the_last_one_holds(compiled):
    optimizer = SGD(0.1)
    optimizer.plan(RATES)
    np.testing.assert_allclose(changes(optimizer, compiled, 7), [*RATES, 1, 1, 1], rtol=1e-6)
    assert float(optimizer.learning_rate) == 1.0


@modes
def test_momenta(compiled):
    optimizer = SGD(0.1, momentum=0.9)
    optimizer.plan(RATES, MOMENTA)
    variable, run = tracked(optimizer, compiled)
    w = v = 0.0
    for rate, momentum in zip([*RATES, 1.0, 1.0], [*MOMENTA, 0.75, 0.75], strict=True):
        assert (float(optimizer.learning_rate), optimizer.momentum) == (rate, momentum)
        run()
        v = momentum * v - rate
        w += v
        np.testing.assert_allclose(variable.numpy(), w, rtol=1e-6)


def test_longest_plan_again_and_again():
    rates = np.random.default_rng(0).uniform(0.1, 1, 64 + 64 + 10)
    optimizer = SGD(0.1)
    variable, run = tracked(optimizer, gradient=-1.0)
    seen = []
    for first, last in ((0, 64), (64, 128), (128, 138)):
        optimizer.plan(rates[first:last])
        for _ in range(last - first):
            before = variable.numpy()[0]
            run()
            seen.append(variable.numpy()[0] - before)
            variable.assign(np.zeros(2))
    np.testing.assert_array_equal(seen, np.float32(rates))
    for _ in range(130):  # far beyond the plan, where its slots come again
        variable.assign(np.zeros(2))
        run()
        assert variable.numpy()[0] == np.float32(rates[-1])


@pytest.mark.parametrize("size", [1, 4])
def test_a_plan_of_rates_leaves_the_momentum_of_before(size):
    optimizer = SGD(0.1, momentum=0.9)
    _, run = tracked(optimizer)
    optimizer.plan(RATES, MOMENTA)
    run()
    optimizer.plan(RATES[:size])
    assert optimizer.momentum == 0.5  # of the second update
    optimizer.momentum = 0.3
    for _ in range(3):
        run()
        assert optimizer.momentum == 0.3


def test_setting_the_rate_ends_the_plan():
    optimizer = SGD(0.1)
    optimizer.plan(RATES)
    optimizer.learning_rate = 0.75
    np.testing.assert_allclose(changes(optimizer, False, 2), 0.75)
    optimizer.plan([0.5])
    assert isinstance(optimizer.learning_rate, keras.Variable)
    optimizer.learning_rate.assign(0.25)  # as other libraries do
    assert float(optimizer.learning_rate) == 0.25


@pytest.mark.parametrize("way", ["forget_plan", "set_weights", "load_own_variables"])
def test_a_plan_does_not_outlive_the_count_of_updates(way):
    optimizer = SGD(0.1)
    variable, run = tracked(optimizer, gradient=-1.0)
    before = [v.numpy() for v in optimizer.variables]
    optimizer.plan(RATES)
    run()
    if way == "forget_plan":
        optimizer.forget_plan()
        assert float(optimizer.learning_rate) == 1.0
        return
    if way == "set_weights":
        optimizer.set_weights(before)
    else:
        optimizer.load_own_variables({str(i): value for i, value in enumerate(before)})
    variable.assign(np.zeros(2))
    run()
    np.testing.assert_allclose(variable.numpy(), 0.1)


@modes
def test_gradient_accumulation_counts_updates(compiled):
    optimizer = SGD(0.1, gradient_accumulation_steps=2)
    optimizer.plan(RATES)
    np.testing.assert_allclose(changes(optimizer, compiled, 8), np.ravel([(0, rate) for rate in RATES]), rtol=1e-6)


@modes
def test_weight_decay_and_betas_have_the_planned_values(compiled):
    optimizer, variable = Adam(0.1, beta_2=0.9, weight_decay=0.5, epsilon=0.0), keras.Variable(np.ones(2, "float32"))
    optimizer.build([variable])
    optimizer.plan(RATES, MOMENTA)

    def run():
        optimizer.apply([tf.fill([2], 2.0)], [variable])

    run = run if compiled is None else tf.function(run, jit_compile=compiled)
    w, m, v = 1.0, 0.0, 0.0
    for t, (rate, beta) in enumerate(zip(RATES, MOMENTA, strict=True), 1):
        w -= rate * 0.5 * w
        m, v = m + (1 - beta) * (2 - m), v + 0.1 * (4 - v)
        w -= rate * np.sqrt(1 - 0.9**t) / (1 - beta**t) * m / np.sqrt(v)
        run()
        np.testing.assert_allclose(variable.numpy(), w, rtol=2e-5)


def test_many_steps_in_one_execution():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    weights = []
    for size in (1, 16):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(SGD(0.1, momentum=0.9), "mse", steps_per_execution=size)
        rates, momenta = np.linspace(0.1, 0.01, 16), np.linspace(0.9, 0.5, 16)

        class Planner(keras.callbacks.Callback):
            def on_train_batch_begin(self, batch, logs=None, rates=rates, momenta=momenta, size=size):
                self.model.optimizer.plan(rates[batch : batch + size], momenta[batch : batch + size])

        model.fit(x, x[:, :2], batch_size=4, shuffle=False, verbose=0, callbacks=[Planner()])
        weights.append([v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)])
    for one, many in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize(
    ("rates", "momenta", "message"),
    [
        ([], None, "rates: expected a list of 1 to 64 numbers; received shape (0,)."),
        (0.1, None, "rates: expected a list of 1 to 64 numbers; received shape ()."),
        ([0.1] * 65, None, "rates: expected a list of 1 to 64 numbers; received shape (65,)."),
        ([0.1, -1.0], None, "rates: expected finite numbers of at least 0; received [0.1, -1.0]."),
        ([np.nan], None, "rates: expected finite numbers of at least 0; received [nan]."),
        ([np.inf], None, "rates: expected finite numbers of at least 0; received [inf]."),
        ([0.1], [1.5], "momenta: expected numbers in [0, 1]; received [1.5]."),
        ([0.1, 0.2], [0.5], "momenta: expected 2 of them, as of rates; received 1."),
    ],
)
def test_bad_plans(rates, momenta, message):
    optimizer = SGD(0.1, momentum=0.9)
    with pytest.raises(InputError) as error:
        optimizer.plan(rates, momenta)
    assert str(error.value) == message
    assert (float(optimizer.learning_rate), optimizer.momentum) == (np.float32(0.1), 0.9)


def test_no_momentum_to_plan():
    with pytest.raises(InputError) as error:
        Adagrad(0.1).plan([0.1], [0.9])
    assert str(error.value) == (
        "momentum of Adagrad: expected an optimizer with a momentum; received one without. SGD has one."
    )
