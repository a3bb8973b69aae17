"""The update rules are Keras's, bit for bit; momentum and betas change without tracing anew."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import optimizers
from kerasbn.checks import InputError

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(32, 3)).astype("float32")

RULES = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"rho": 0.95}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adam", {"epsilon": 1e-3}),
    ("Adam", {"beta_1": 0.8, "beta_2": 0.99, "amsgrad": True}),
    ("AdamW", {}),
    ("Adagrad", {}),
]
OPTIONS = [
    {"weight_decay": 0.01},
    {"clipnorm": 0.1},
    {"global_clipnorm": 0.1, "loss_scale_factor": 8.0},
    {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
    {"gradient_accumulation_steps": 3},
]


def layers(dtype="float32"):
    keras.utils.set_random_seed(0)
    dense = [keras.layers.Dense(6, "tanh", dtype=dtype), keras.layers.Dense(3, dtype=dtype)]
    return keras.Sequential([keras.Input((8,)), *dense])


def step_of(optimizer, model):
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((tf.cast(model(x), "float32") - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    return step


def trained(optimizer, compiled=False, dtype="float32", steps=50):
    model = layers(dtype)
    if optimizer.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)
    run = step_of(optimizer, model)
    run = run if compiled is None else tf.function(run, jit_compile=compiled)
    for number in range(steps):
        run(tf.constant(X + number * 0.01), tf.constant(Y))
    return [v.numpy() for v in (*model.trainable_variables, *optimizer.variables)]


def assert_same(ours, theirs, **tolerance):
    assert [(a.shape, a.dtype) for a in ours] == [(b.shape, b.dtype) for b in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.float64(a), np.float64(b), **{"rtol": 0, "atol": 0, **tolerance})


def both(name, arguments):
    return getattr(optimizers, name)(0.01, **arguments), getattr(keras.optimizers, name)(0.01, **arguments)


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_fifty_steps_are_keras_to_the_bit(name, arguments):
    ours, theirs = both(name, arguments)
    assert_same(trained(ours), trained(theirs))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_with_options_of_all_optimizers(name, options):
    arguments = {**options, "momentum": 0.9} if name == "SGD" else options
    ours, theirs = both(name, arguments)
    assert_same(trained(ours, steps=20), trained(theirs, steps=20))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize(("name", "arguments"), [RULES[2], RULES[4], RULES[6]])
def test_weights_of_other_types(name, arguments, dtype):
    ours, theirs = both(name, arguments)
    assert_same(trained(ours, dtype=dtype, steps=10), trained(theirs, dtype=dtype, steps=10))


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_eager_and_xla(name, arguments):
    ours, theirs = both(name, arguments)
    assert_same(trained(ours, None, steps=5), trained(theirs, None, steps=5))
    if arguments in ({}, {"rho": 0.95}, {"momentum": 0.9}, {"epsilon": 1e-3}) and name != "Adagrad":
        return  # for the others XLA has the same operations and more
    ours, theirs = both(name, arguments)
    # XLA contracts products and sums, and not the same ones around a constant as around a variable.
    assert_same(trained(ours, True, steps=5), trained(theirs, True, steps=5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_sparse_gradients(name, arguments):
    results = []
    for optimizer in both(name, arguments):
        table = keras.Variable(np.ones((5, 2), "float32"))
        for _ in range(3):
            gradient = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([1, 3]), (5, 2))
            optimizer.apply([gradient], [table])
        results.append([table.numpy(), *(v.numpy() for v in optimizer.variables)])
    assert_same(*results)


CHANGES = [
    ("SGD", {"momentum": 0.9}, "momentum"),
    ("RMSprop", {"momentum": 0.9}, "momentum"),
    ("Adam", {}, "beta_1"),
    ("Adam", {}, "beta_2"),
    ("AdamW", {}, "beta_1"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "attribute", "compiled"),
    [
        *((*change, compiled) for change in CHANGES for compiled in (None, False)),
        *((*change, True) for change in CHANGES if change[0] in ("SGD", "AdamW")),  # XLA has the same operations
    ],
)
def test_a_change_holds_from_the_next_update_on(name, arguments, attribute, compiled):
    traces = []
    results = []
    for value in (0.5, None):
        optimizer, model = both(name, arguments)[0], layers()
        optimizer.build(model.trainable_variables)
        step = step_of(optimizer, model)

        def counted(x, y, step=step):
            traces.append(0)
            step(x, y)

        run = counted if compiled is None else tf.function(counted, jit_compile=compiled)
        for number in range(6):
            if number == 3:
                if value is None:  # Keras's rule, with the new value in a graph of its own
                    weights = [v.numpy() for v in optimizer.variables]
                    optimizer = getattr(keras.optimizers, name)(0.01, **{**arguments, attribute: 0.5})
                    optimizer.build(model.trainable_variables)
                    for variable, weight in zip(optimizer.variables, weights, strict=True):
                        variable.assign(weight)
                    run = step_of(optimizer, model)
                    run = run if compiled is None else tf.function(run, jit_compile=compiled)
                else:
                    assert getattr(optimizer, attribute) != value
                    setattr(optimizer, attribute, value)
            run(tf.constant(X), tf.constant(Y))
        results.append([v.numpy() for v in (*model.trainable_variables, *optimizer.variables)])
    assert getattr(optimizer, attribute) == 0.5
    assert_same(*results, rtol=1e-5 if compiled else 0, atol=1e-6 if compiled else 0)
    if compiled is not None:
        assert len(traces) == 2  # once for each of the two runs


@pytest.mark.parametrize(("name", "arguments"), RULES)
def test_config_and_weights_go_both_ways(name, arguments):
    ours, theirs = both(name, arguments)
    ours.name = theirs.name
    assert ours.get_config() == theirs.get_config()
    again = type(ours).from_config(ours.get_config())
    assert again.get_config() == ours.get_config()
    variables = layers().trainable_variables
    ours.build(variables)
    theirs.build(variables)
    assert [(v.name, v.shape, v.dtype) for v in ours.variables] == [
        (v.name, v.shape, v.dtype) for v in theirs.variables
    ]
    theirs.set_weights([np.full(v.shape, 3) for v in theirs.variables])
    ours.set_weights([v.numpy() for v in theirs.variables])
    store = {}
    ours.save_own_variables(store)
    theirs.load_own_variables(store)
    assert all((v.numpy() == 3).all() for v in theirs.variables)


@pytest.mark.parametrize(("name", "arguments"), [RULES[2], RULES[4], RULES[6], RULES[7], RULES[8]])
def test_a_keras_file_goes_on_where_it_was(name, arguments, tmp_path):
    model = layers()
    model.compile(both(name, arguments)[0], "mse")
    model.fit(X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    if model.optimizer.momentum_name:
        setattr(model.optimizer, model.optimizer.momentum_name, 0.6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is type(model.optimizer)
    for one in (model, again):
        one.fit(X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0)
    assert_same(again.get_weights(), model.get_weights())
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert int(again.optimizer.iterations) == 8


@pytest.mark.parametrize("kind", ["schedule", "function"])
def test_a_rate_that_is_a_schedule_or_function_of_keras(kind):
    def rate():
        if kind == "schedule":
            return keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
        return lambda: 0.05

    ours = optimizers.SGD(rate(), momentum=0.9, weight_decay=0.1)
    theirs = keras.optimizers.SGD(rate(), momentum=0.9, weight_decay=0.1)
    assert_same(trained(ours, steps=10), trained(theirs, steps=10))
    with pytest.raises(InputError) as error:
        ours.plan([0.1])
    assert str(error.value) == (
        "learning_rate of the optimizer: expected a number, which can be set; received a schedule. "
        "Create it with a number."
    )


@pytest.mark.parametrize("jit", [False, True])
def test_mixed_precision(jit):
    results = []
    for make in (optimizers.SGD, keras.optimizers.SGD):
        model = layers("mixed_float16")
        optimizer = keras.optimizers.LossScaleOptimizer(make(0.1, momentum=0.9), initial_scale=2.0**20)
        model.compile(optimizer, "mse", jit_compile=jit)
        model.fit(X, Y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        results.append([v.numpy() for v in (*model.trainable_variables, *optimizer.variables)])
    assert 0 < int(optimizer.iterations) < 12  # some were skipped
    assert_same(*results, rtol=1e-3 if jit else 0, atol=1e-4 if jit else 0)


@pytest.mark.parametrize("name", ["SGD", "RMSprop"])
def test_without_momentum_there_is_none_later(name):
    optimizer = both(name, {})[0]
    optimizer.momentum = 0.5  # nothing is built yet
    optimizer.momentum = 0.0
    optimizer.build(layers().trainable_variables)
    optimizer.momentum = 0.0
    with pytest.raises(InputError) as error:
        optimizer.momentum = 0.9
    message = (
        f"{name}.momentum: expected a momentum above 0 when the optimizer is made, if it is to change; received 0.0. "
        "Without momentum it keeps no velocities. Create it with the momentum to begin with, such as 0.9."
    )
    assert str(error.value) == message
    with pytest.raises(InputError) as error:
        optimizer.plan([0.1], momenta=[0.9])
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.RMSprop(0.1, momentum=1.5), "RMSprop.momentum: expected a number in [0, 1]; received 1.5."),
        (lambda: optimizers.Adam(0.1, beta_1=1.0), "Adam.beta_1: expected a number in [0, 1); received 1.0."),
        (lambda: optimizers.AdamW(0.1, beta_2=-0.1), "AdamW.beta_2: expected a number in [0, 1); received -0.1."),
        (lambda: setattr(optimizers.SGD(0.1), "momentum", 2), "SGD.momentum: expected a number in [0, 1]; received 2."),
    ],
)
def test_numbers_out_of_range(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(message)


def test_update_step_by_itself():
    optimizer, variable = optimizers.Adam(0.1), keras.Variable([1.0, 2.0])
    optimizer.build([variable])
    optimizer.update_step(tf.constant([1.0, -1.0]), variable.value, 0.1)
    np.testing.assert_allclose(variable.numpy(), [0.9, 2.1], rtol=1e-5)
