"""Tests that members of a stack come to what Keras's `fit` comes to with the same seed, each of them alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pytest

from kerasbn.caviar import checkpoint
from kerasbn.caviar.choice import bytes_of_member, capacity, choose, first_way
from kerasbn.caviar.drafts import Pool, draft
from kerasbn.caviar.order import is_keras_order, keras_orders
from kerasbn.caviar.plan import FitPlan, plan_of_fit
from kerasbn.caviar.program import Program
from kerasbn.caviar.train import Member, Stack, Trained

RNG = np.random.default_rng(1)
X = RNG.normal(size=(70, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype("int64") + (X[:, 2] > 0.8)
ONE_HOT = np.eye(3, dtype="float32")[Y]
IMAGES = RNG.normal(size=(40, 6, 6, 1)).astype("float32")
VALUES = (
    {"rate": 0.02, "dropout": 0.0, "l2": 1e-3, "smoothing": 0.1, "decay": 0.9},
    {"rate": 0.005, "dropout": 0.3, "l2": 1e-2, "smoothing": 0.0, "decay": 0.5},
    {"rate": 0.05, "dropout": 0.5, "l2": 1e-4, "smoothing": 0.2, "decay": 0.99},
)
OPTIMIZERS: Mapping[str, Callable[[Any], keras.optimizers.Optimizer]] = {
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
}


def mlp(values: Mapping[str, float], optimizer: str = "adam") -> keras.Model:
    """A perceptron that everything varies in that may vary in a stack."""
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, use_bias=False, kernel_regularizer=keras.regularizers.L2(values["l2"]))(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Dropout(values["dropout"])(keras.layers.Activation("relu")(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    rate = keras.optimizers.schedules.ExponentialDecay(values["rate"], 5, values["decay"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=values["smoothing"])
    model.compile(OPTIMIZERS[optimizer](rate), loss, metrics=["accuracy"])
    return model


def convnet(values: Mapping[str, float]) -> keras.Model:
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(3, 3, kernel_regularizer=keras.regularizers.L2(values["l2"]))(inputs)
    x = keras.layers.Flatten()(keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x)))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(values["dropout"])(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(values["rate"]), loss, metrics=["accuracy"], weighted_metrics=["accuracy"])
    return model


def drafted(build: Callable[[Mapping[str, float]], keras.Model], plan: FitPlan, callbacks: Sequence[Any] = ()):
    pool, example = Pool(), plan.train.inputs[:1]
    return [
        Member(draft(lambda v=values: build(v), 100 + seed, example, pool), 100 + seed, [make() for make in callbacks])
        for seed, values in enumerate(VALUES)
    ]


def stack_of(members: Sequence[Member], plan: FitPlan, way: str = "stacked") -> Stack:
    leaves = [member.draft.description.leaves for member in members]
    varied = [n for n in leaves[0] if not n.startswith("optimizer/") and len({one[n] for one in leaves}) > 1]
    return Stack(Program(members[0].draft.model, plan.train, varied, leaves[0], way), members, plan)


def alone(build: Callable[[Mapping[str, float]], keras.Model], seed: int, args: Any, kwargs: Any):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(100 + seed)
    model = build(VALUES[seed])
    return model.fit(*args, **kwargs, verbose=0), model.get_weights()


def assert_same(trained: Trained, history: keras.callbacks.History, weights: Sequence[np.ndarray]) -> None:
    assert set(trained.history.history) == set(history.history)
    for name, values in history.history.items():
        np.testing.assert_allclose(trained.history.history[name], values, rtol=1e-4, err_msg=name)
        assert trained.history.history[name][0] == pytest.approx(values[0], rel=1e-5), name
    for ours, theirs in zip(trained.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_keras_takes_examples_in_the_known_order():
    assert is_keras_order()
    first, second = keras_orders(30, [7, 8])
    assert sorted(first) == list(range(30))
    assert first.tolist() != second.tolist()
    assert keras_orders(30, [0]).tolist() == keras_orders(30, [0]).tolist(), "0 is a seed, too"
    assert keras_orders(30, [8, 8, 7]).tolist() == [second.tolist(), second.tolist(), first.tolist()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_dropout_l2_smoothing_and_decay_may_vary(optimizer):
    kwargs = {"epochs": 3, "batch_size": 16, "validation_data": (X[:25], ONE_HOT[:25])}
    plan = plan_of_fit(X, ONE_HOT, **kwargs)
    trained = stack_of(drafted(lambda values: mlp(values, optimizer), plan), plan).run()
    for seed, one in enumerate(trained):
        assert_same(one, *alone(lambda values: mlp(values, optimizer), seed, (X, ONE_HOT), kwargs))


def test_convolutions_side_by_side_with_sample_weights():
    labels, weights = Y[:40], np.linspace(0.5, 2, 40).astype("float32")
    kwargs = {"epochs": 2, "batch_size": 16, "sample_weight": weights, "validation_split": 0.25}
    plan = plan_of_fit(IMAGES, labels, **kwargs)
    members = drafted(convnet, plan)
    assert [first_way(members[0].draft.model, size) for size in (16, 10_000)] == ["stacked", "parallel"]
    for seed, one in enumerate(stack_of(members, plan, "parallel").run()):
        assert_same(one, *alone(convnet, seed, (IMAGES, labels), kwargs))


def test_one_convnet_alone_in_a_stack():
    kwargs = {"epochs": 1, "batch_size": 16}
    plan = plan_of_fit(IMAGES, Y[:40], **kwargs)
    members = drafted(convnet, plan)[:1]
    (one,) = stack_of(members, plan).run()
    assert_same(one, *alone(convnet, 0, (IMAGES, Y[:40]), kwargs))


def test_a_member_that_diverges_or_stops_leaves_the_others_alone():
    kwargs = {"epochs": 6, "batch_size": 35, "shuffle": False, "validation_data": (X[:20], ONE_HOT[:20])}
    plan = plan_of_fit(X, ONE_HOT, **kwargs)
    stopping = [lambda: keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)]
    members = drafted(mlp, plan, stopping)
    quiet = stack_of(members, plan).run()
    members = drafted(mlp, plan, stopping)
    members[1].draft.values[0][:] = np.nan  # its first weights
    spoilt = stack_of(members, plan).run()
    assert np.isnan(spoilt[1].history.history["loss"]).all()
    for number in (0, 2):
        assert spoilt[number].history.history == quiet[number].history.history
    stopped = [len(one.history.epoch) for one in quiet]
    assert min(stopped) < 6, "none has stopped: the test tests nothing"
    for seed, one in enumerate(quiet):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(100 + seed)
        model = mlp(VALUES[seed])
        history = model.fit(X, ONE_HOT, **kwargs, callbacks=[make() for make in stopping], verbose=0)
        assert_same(one, history, model.get_weights())


def test_a_checkpoint_goes_on_as_if_there_had_been_no_kill(tmp_path):
    plan = plan_of_fit(X, ONE_HOT, epochs=4, batch_size=35, validation_data=(X[:20], ONE_HOT[:20]))
    stopping = [lambda: keras.callbacks.EarlyStopping("val_loss", patience=1)]
    stack = stack_of(drafted(mlp, plan, stopping), plan)

    def write(stack: Stack) -> None:
        checkpoint.write(tmp_path / f"{stack.epoch}.npz", stack, {"members": [1]})

    whole = stack.run(write)
    for epoch in (1, 2, 3):
        again = Stack(stack.program, drafted(mlp, plan, stopping), plan)
        found = checkpoint.read(tmp_path / f"{epoch}.npz")
        assert found is not None
        assert found.identity == {"members": [1]}
        checkpoint.restore(again, found)
        for ours, theirs in zip(again.run(), whole, strict=True):
            assert ours.history.history == theirs.history.history
            for kind in ("weights", "variables", "optimizer"):
                for a, b in zip(getattr(ours, kind), getattr(theirs, kind), strict=True):
                    np.testing.assert_array_equal(a, b)
    (tmp_path / "1.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:-200])
    assert checkpoint.read(tmp_path / "1.npz") is None


def test_memory_bounds_the_members_and_a_long_training_measures_both_ways():
    plan = plan_of_fit(X, ONE_HOT, epochs=1, batch_size=35)
    members = drafted(mlp, plan)
    made: list[str] = []

    def make(way: str) -> Program:
        made.append(way)
        leaves = members[0].draft.description.leaves
        return Program(members[0].draft.model, plan.train, (), leaves, way)

    program = choose(make, lambda program: Stack(program, members[:1], plan), "stacked", None)
    assert (program.way, made) == ("stacked", ["stacked"])
    assert choose(make, lambda program: Stack(program, members[:1], plan), "stacked", "parallel").way == "parallel"
    long = plan_of_fit(X, ONE_HOT, epochs=10**7, batch_size=35)
    made.clear()
    choose(make, lambda program: Stack(program, members[:1], long), "parallel", None)
    assert made == ["parallel", "stacked"]
    one = bytes_of_member(program, plan)
    assert one > 4 * sum(program.one.sizes) * 3, "weights and Adam's two slots are the least"
    assert [capacity(program, plan, limit) for limit in (one - 1, 3.5 * one)] == [0, 3]
