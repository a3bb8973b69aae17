"""Updates of a stack are Keras's, for each model with its own settings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasbn import optimizers
from kerasbn.caviar.suitable import Unsuitable
from kerasbn.caviar.updates import rows_of, rule_of, traits_of

RATES = np.array([0.003, 0.01, 0.1], "float32")
SHAPES = {"kernel": (4, 3), "bias": (3,), "scale": ()}
P = 16
RANDOM = np.random.default_rng(0)
FIRST = RANDOM.normal(size=(3, P)).astype("float32")
GRADIENTS = RANDOM.normal(size=(10, 3, P)).astype("float32") * np.array([0.1, 1, 10], "float32")[:, None]

CASES = [
    ("SGD", {}, {}),
    ("SGD", {}, {"momentum": (0.5, 0.9, 0.99)}),
    ("SGD", {"nesterov": True}, {"momentum": (0.5, 0.9, 0.99), "weight_decay": (0.1, 0.01, 0.3)}),
    ("SGD", {"clipnorm": 0.5}, {}),
    ("RMSprop", {}, {"rho": (0.9, 0.99, 0.5), "epsilon": (1e-7, 1e-3, 0.1)}),
    ("RMSprop", {"centered": True, "global_clipnorm": 2.0}, {"momentum": (0.5, 0.9, 0.99), "rho": (0.9, 0.95, 0.5)}),
    ("Adagrad", {"initial_accumulator_value": 0.3}, {"epsilon": (1e-7, 1e-3, 0.1)}),
    ("Adam", {}, {"beta_1": (0.9, 0.8, 0.0), "beta_2": (0.999, 0.99, 0.9999), "epsilon": (1e-7, 1e-3, 0.1)}),
    ("Adam", {"amsgrad": True, "clipvalue": 0.5}, {"beta_2": (0.5, 0.9, 0.99)}),
    ("AdamW", {}, {"weight_decay": (0.004, 0.3, 0.0), "beta_1": (0.9, 0.8, 0.5)}),
]
BOTH = [(keras.optimizers, *case) for case in CASES] + [(optimizers, *CASES[at]) for at in (2, 5, 7, 9)]


def parts_of(values):
    parts = np.split(values, (12, 15))
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES.values(), strict=True)]


def variables_with(values):
    return [keras.Variable(part, name=name) for part, name in zip(parts_of(values), SHAPES, strict=True)]


def flat(variables):
    return np.concatenate([np.ravel(variable) for variable in variables])


def steps_alone(optimizer, variables, gradients):
    for gradient in gradients:
        optimizer.apply([tf.constant(part) for part in parts_of(gradient)], variables)


def made(room, name, flags, varied, member, rate=None):
    own = {key: values[member] for key, values in varied.items()}
    return getattr(room, name)(float(RATES[member]) if rate is None else rate, **flags, **own)


def leaves_of(rule, optimizer, varied):
    """Return what the stack's settings are: those that vary, and the others, of which Keras knows the defaults."""
    names = [path.removeprefix("optimizer/") for path in rule.leaves]
    values = {name: varied.get(name, [getattr(optimizer, name)] * 3) for name in names}
    return {f"optimizer/{name}": tf.constant(value, tf.float64) for name, value in values.items()}


def steps_stacked(rule, leaves, gradients, state=None, apply=None, **more):
    first = {name: tf.constant(np.stack([value] * 3)) for name, value in rule.first_slots().items()}
    parameters, slots, done = state or (tf.constant(FIRST), first, 0)
    for number, gradient in enumerate(gradients, done + 1):
        numbers = tf.fill([3], float(number))
        parameters, slots = (apply or rule.apply)(
            parameters, tf.constant(gradient), slots, numbers, tf.constant(RATES), leaves, **more
        )
    return parameters, slots, done + len(gradients)


def check(parameters, expected):
    np.testing.assert_allclose(parameters, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("number", range(len(BOTH)))
def test_rules_are_keras(number):
    room, name, flags, varied = BOTH[number]
    alone = [variables_with(first) for first in FIRST]
    for member, variables in enumerate(alone):
        optimizer = made(room, name, flags, varied, member)
        steps_alone(optimizer, variables, GRADIENTS[:, member])
    rule = rule_of(optimizer, variables)
    parameters, _, _ = steps_stacked(rule, leaves_of(rule, optimizer, varied), GRADIENTS)
    check(parameters, [flat(variables) for variables in alone])
    assert np.abs(parameters - FIRST).max(axis=1).min() > 0.001


@pytest.mark.parametrize("number", [1, 5, 8])
def test_a_loop_in_a_graph_and_xla_do_the_same(number):
    _, flags, varied = CASES[number]
    optimizer = made(keras.optimizers, CASES[number][0], flags, varied, 0)
    rule = rule_of(optimizer, variables_with(FIRST[0]))
    leaves = leaves_of(rule, optimizer, varied)
    parameters, slots, _ = steps_stacked(rule, leaves, GRADIENTS)
    compiled, _, _ = steps_stacked(rule, leaves, GRADIENTS, apply=tf.function(rule.apply, jit_compile=True))
    np.testing.assert_allclose(compiled, parameters, rtol=1e-5, atol=1e-6)
    matrix, one = tf.TensorSpec([None, P]), tf.TensorSpec([None])

    @tf.function(input_signature=[matrix, tf.TensorSpec([None, None, P]), dict.fromkeys(slots, matrix), one])
    def train(parameters, gradients, slots, rates):
        def step(i, parameters, slots):
            numbers = tf.fill(tf.shape(rates), tf.cast(i + 1, tf.float32))
            return i + 1, *rule.apply(parameters, gradients[i], slots, numbers, rates, leaves)

        return tf.while_loop(lambda i, *_: i < tf.shape(gradients)[0], step, (tf.constant(0), parameters, slots))[1]

    first = {name: np.stack([value] * 3) for name, value in rule.first_slots().items()}
    np.testing.assert_allclose(train(FIRST, GRADIENTS, first, RATES), parameters, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [5, 7])
def test_a_model_is_the_same_in_a_larger_stack(number):
    name, flags, varied = CASES[number]
    optimizer = made(keras.optimizers, name, flags, varied, 0)
    rule = rule_of(optimizer, variables_with(FIRST[0]))
    found = []
    for size in (1, 32):  # TensorFlow computes 8 powers at once by another formula than one
        leaves = {path: tf.repeat(values[:1], size) for path, values in leaves_of(rule, optimizer, varied).items()}
        slots = {name: tf.constant(np.stack([value] * size)) for name, value in rule.first_slots().items()}
        parameters, rates = tf.repeat(FIRST[:1], size, 0), tf.fill([size], RATES[0])
        for update, gradients in enumerate(GRADIENTS, 1):
            numbers = tf.fill([size], float(update))
            row = tf.repeat(gradients[:1], size, 0)
            parameters, slots = rule.apply(parameters, row, slots, numbers, rates, leaves)
        found.append(parameters.numpy())
    np.testing.assert_array_equal(found[1], np.repeat(found[0], 32, 0))


def test_momentum_0_is_plain_descent():
    plain = rule_of(keras.optimizers.SGD(0.1), variables_with(FIRST[0]))
    for nesterov in (False, True):
        rule = rule_of(keras.optimizers.SGD(0.1, 0.9, nesterov), variables_with(FIRST[0]))
        assert (plain.slots, rule.slots, plain.leaves) == ((), ("momentum",), ())
        leaves = {"optimizer/momentum": tf.constant([0.0, 0.9, 0.0], tf.float64)}
        found = steps_stacked(rule, leaves, GRADIENTS)[0].numpy()
        expected = steps_stacked(plain, {}, GRADIENTS)[0].numpy()
        np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
        assert np.abs(found[1] - expected[1]).max() > 0.01


@pytest.mark.parametrize("number", [2, 3, 5, 9])
def test_nan_stays_in_its_row(number):
    name, flags, varied = CASES[number]
    optimizer = made(keras.optimizers, name, flags, varied, 0)
    variables = variables_with(FIRST[0])
    variables[0].constraint = keras.constraints.MaxNorm(0.5)
    rule = rule_of(optimizer, variables)
    leaves, apply = leaves_of(rule, optimizer, varied), tf.function(rule.apply)
    spoilt = GRADIENTS.copy()
    spoilt[3, 1, 5], spoilt[4, 1, 14] = np.nan, np.inf
    sound, slots, _ = steps_stacked(rule, leaves, GRADIENTS, apply=apply)
    found, found_slots, _ = steps_stacked(rule, leaves, spoilt, apply=apply)
    assert np.isnan(found[1]).any()
    for one, other in zip((found, *found_slots.values()), (sound, *slots.values()), strict=True):
        np.testing.assert_array_equal(one.numpy()[[0, 2]], other.numpy()[[0, 2]])


def test_constraints_are_applied_after_the_update():
    alone = [variables_with(first) for first in FIRST]
    for member, variables in enumerate(alone):
        variables[0].constraint = keras.constraints.MaxNorm(1.0, axis=0)
        variables[2].constraint = keras.constraints.NonNeg()
        optimizer = keras.optimizers.SGD(RATES[member].item())
        steps_alone(optimizer, variables, GRADIENTS[:3, member])
    rule = rule_of(optimizer, variables)
    parameters, _, _ = steps_stacked(rule, {}, GRADIENTS[:3])
    check(parameters, [flat(variables) for variables in alone])


@pytest.mark.parametrize("room", [keras.optimizers, optimizers], ids=["keras", "kerasbn"])
@pytest.mark.parametrize("built", [False, True])
def test_what_is_excluded_from_decay_is_found(room, built):
    variables = variables_with(FIRST[0])
    variables[0].constraint = keras.constraints.MaxNorm(0.1)
    optimizer = room.AdamW(0.0, weight_decay=0.3)  # decays nothing yet
    assert traits_of(optimizer, variables) == {"momentum": False, "decayed": [True, True, True]}
    optimizer.exclude_from_weight_decay(var_list=[variables[2]], var_names=["bias"])
    if built:
        optimizer.build(variables)
    state = [np.array(variable) for variable in optimizer.variables]
    assert traits_of(optimizer, variables)["decayed"] == [True, False, False]
    np.testing.assert_array_equal(flat(variables), FIRST[0])  # the models are left as they were
    assert optimizer.built is built
    for variable, value in zip(optimizer.variables, state, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_only_what_is_not_excluded_decays():
    alone = variables_with(FIRST[2])
    optimizer = keras.optimizers.SGD(RATES[2].item(), weight_decay=0.3)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    steps_alone(optimizer, alone, GRADIENTS[:, 2])
    rule = rule_of(optimizer, alone)
    leaves = {"optimizer/weight_decay": tf.constant([0.0, 0.1, 0.3], tf.float64)}
    check(steps_stacked(rule, leaves, GRADIENTS)[0][2], flat(alone))


CHANGES = [
    (keras.optimizers, "SGD", {"momentum": 0.9}, None),
    (keras.optimizers, "RMSprop", {"momentum": 0.5, "centered": True}, None),
    (keras.optimizers, "Adagrad", {}, None),
    (optimizers, "Adam", {"amsgrad": True}, None),
    (keras.optimizers, "AdamW", {}, keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.1, 0.01])),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_members_leave_the_stack_and_come_back(number):
    room, name, flags, schedule = CHANGES[number]
    made_one = lambda: made(room, name, flags, {}, 2, schedule)  # noqa: E731
    alone, optimizer = variables_with(FIRST[2]), made_one()
    steps_alone(optimizer, alone, GRADIENTS[:, 2])
    rule = rule_of(optimizer, alone)
    leaves = leaves_of(rule, optimizer, {})

    parameters, slots, done = steps_stacked(rule, leaves, GRADIENTS[:5])
    left, its_optimizer = variables_with(parameters[2].numpy()), made_one()
    its_optimizer.build(left)
    rows = {name: value[2].numpy() for name, value in slots.items()}
    values = rule.variables_of(done, None if schedule else RATES[2].item(), rows)
    for variable, value in zip(its_optimizer.variables, values, strict=True):
        assert (value.dtype, value.shape) == (variable.dtype, variable.shape)
        variable.assign(value)
    middle = [np.array(variable) for variable in its_optimizer.variables]
    steps_alone(its_optimizer, left, GRADIENTS[5:, 2])
    check(flat(left), flat(alone))

    assert rule.updates_of(middle) == 5
    assert rule.rate_of(middle) == (None if schedule else RATES[2])
    back = {name: np.stack([value] * 3) for name, value in rule.slots_of(middle).items()}
    again = steps_stacked(rule, leaves, GRADIENTS[5:], (parameters, back, rule.updates_of(middle)))
    check(again[0][2], flat(alone))


@pytest.mark.parametrize(
    ("name", "flags"),
    [("Adam", {}), ("SGD", {"clipnorm": 0.3}), ("RMSprop", {"global_clipnorm": 0.3}), ("Adagrad", {"clipnorm": 0.3})],
    ids=str,
)
def test_gradients_in_parts_are_squared_as_keras_does(name, flags):
    parts = GRADIENTS[0, 1]
    alone, optimizer = variables_with(FIRST[1]), made(keras.optimizers, name, flags, {}, 1)
    twice = tf.IndexedSlices(parts[:12].reshape(4, 3), tf.constant([0, 2, 2, 0]), tf.constant([4, 3]))
    gradient = [twice, tf.constant(parts[12:15]), tf.constant(parts[15])]
    for _ in range(3):
        optimizer.apply(gradient, alone)
    rule = rule_of(optimizer, alone)
    gradients, squares = (np.stack([row] * 3) for row in rows_of(gradient))
    leaves = leaves_of(rule, optimizer, {})
    check(steps_stacked(rule, leaves, [gradients] * 3, squares=tf.constant(squares))[0][1], flat(alone))


def test_parts_cannot_be_clipped_one_by_one():
    rule = rule_of(keras.optimizers.SGD(0.1, clipvalue=0.1), variables_with(FIRST[0]))
    with pytest.raises(Unsuitable, match="clipvalue clips each part of an embedding's gradient"):
        steps_stacked(rule, {}, GRADIENTS[:1], squares=tf.zeros((3, P)))


class SGD(keras.optimizers.SGD):
    pass


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda: keras.optimizers.Lion(0.1), "the optimizer Lion has no stacked update rule"),
        (lambda: SGD(0.1), f"the optimizer SGD of {__name__} has no stacked update rule"),
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)),
            "the optimizer LossScaleOptimizer has no stacked update rule",
        ),
        (lambda: keras.optimizers.SGD(0.1, use_ema=True), "the optimizer averages weights (use_ema)"),
        (lambda: optimizers.Adam(0.1, loss_scale_factor=2.0), "the optimizer scales the loss (loss_scale_factor)"),
        (
            lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
            "the optimizer accumulates gradients (gradient_accumulation_steps)",
        ),
    ],
    ids=["Lion", "subclass", "scaled", "ema", "factor", "accumulation"],
)
def test_unsuitable(optimizer, reason):
    with pytest.raises(Unsuitable) as error:
        rule_of(optimizer(), variables_with(FIRST[0]))
    assert str(error.value) == reason


def test_a_plan_is_unsuitable():
    variables, optimizer = variables_with(FIRST[0]), optimizers.SGD(0.1, 0.9)
    optimizer.plan([0.1, 0.2])
    with pytest.raises(Unsuitable, match="the optimizer has a plan for its next updates"):
        rule_of(optimizer, variables)
    optimizer.forget_plan()
    assert rule_of(optimizer, variables).slots == ("momentum",)


def test_variables_must_be_those_of_the_model():
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(variables_with(FIRST[0])[:2])
    with pytest.raises(Unsuitable, match="the optimizer keeps no momentum of some weights"):
        rule_of(optimizer, variables_with(FIRST[0]))
    with pytest.raises(Unsuitable, match="bias_momentum, and no rule knows what it is for"):
        rule_of(optimizer, variables_with(FIRST[0])[:1])
    rule = rule_of(keras.optimizers.Adam(0.1), variables_with(FIRST[0]))
    with pytest.raises(ValueError, match="a number is needed"):
        rule.variables_of(0, None, rule.first_slots())
