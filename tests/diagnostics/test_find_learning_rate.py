"""Tests of the learning-rate range test: the rates that it finds, and that it leaves everything as it was."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

from kerasbn.checks import InputError, TaskError
from kerasbn.diagnostics import RateRange, find_learning_rate
from kerasbn.diagnostics.rate_range import read_range
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model
from kerasbn.optimizers import SGD

NORMAL = np.random.default_rng(0).normal(size=(192, 6)).astype("float32")
CLASSES = (NORMAL[:, 0] > 0).astype("int32") + (NORMAL[:, 1] > 0)
SUM = NORMAL.sum(axis=1, keepdims=True)


class _Stop(Exception):
    """What the user's own code raises."""


def noisy_model(optimizer="adam", **arguments):
    """Return a model with everything that has state: BatchNormalization, dropout, regularisation, metrics."""
    keras.utils.set_random_seed(7)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, kernel_regularizer="l2")(keras.layers.GaussianNoise(0.1)(inputs))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dropout(0.3)(x)))
    arguments = {"jit_compile": False, **arguments}
    model.compile(optimizer, SoftmaxCrossEntropy(), metrics=["accuracy"], **arguments)
    return model


def regression(scale=1.0, optimizer="sgd"):
    """Return a linear model, noisy data for it, and the rate above which gradient descent diverges."""
    x = scale * NORMAL * np.array([1, 1, 0.8, 0.6, 0.4, 0.2], "float32")
    y = x.sum(axis=1, keepdims=True) + scale * np.random.default_rng(1).normal(size=(192, 1)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(optimizer, "mse", jit_compile=False)
    return model, (x, y), 2 / np.linalg.eigvalsh(2 * x.T @ x / len(x)).max()


def all_bytes(model):
    """Return the bytes of every variable there is."""
    own = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return [(variable.path, variable.numpy().tobytes()) for variable in own]


def surroundings(model):
    """Return what else there is to change."""
    numbers = np.random.get_state()
    others = (model.optimizer, model.optimizer.built, model.train_function, model.stop_training, model.losses == [])
    return (random.getstate(), numbers[1].tobytes(), numbers[2:], *others)


def fitted(model):
    """Return the bytes of a model that was trained on, and its history."""
    history = model.fit(NORMAL, CLASSES, batch_size=32, epochs=2, verbose=0, shuffle=False).history
    return [value for _, value in all_bytes(model)], history


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01),
    "schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)),
    "accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=3),
    "averages": lambda: keras.optimizers.SGD(0.01, use_ema=True, ema_overwrite_frequency=4),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "decay": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize(
    ("name", "trained"),
    [*((name, False) for name in OPTIMIZERS), ("adam", True), ("schedule", True), ("loss scale", True)],
)
def test_nothing_is_changed(name, trained):
    model, other = noisy_model(OPTIMIZERS[name]()), noisy_model(OPTIMIZERS[name]())
    if trained:
        for one in (model, other):
            one.fit(NORMAL, CLASSES, verbose=0, shuffle=False)
    before, around = all_bytes(model), surroundings(model)
    find_learning_rate(model, (NORMAL, CLASSES), steps=20)
    assert all_bytes(model) == before
    assert surroundings(model) == around
    if (name, trained) in (("adam", False), ("accumulation", False), ("adam", True), ("loss scale", True)):
        assert fitted(model) == fitted(other)


@pytest.mark.parametrize("arguments", [{"run_eagerly": True}, {"jit_compile": True}], ids=str)
def test_eager_mode_and_xla(arguments):
    model = noisy_model(**arguments)
    before, around = all_bytes(model), surroundings(model)
    find_learning_rate(model, (NORMAL, CLASSES), steps=20)
    assert all_bytes(model) == before
    assert surroundings(model) == around
    model, data, _ = regression()
    expected = find_learning_rate(model, data, steps=20)
    model.compile("sgd", "mse", **arguments)
    np.testing.assert_allclose(find_learning_rate(model, data, steps=20).losses, expected.losses, 1e-4)


@pytest.mark.parametrize("raised", [_Stop, KeyboardInterrupt])
def test_nothing_is_changed_by_what_the_user_raises(raised):
    model = noisy_model()

    class Data(keras.utils.PyDataset):
        """Batches that use up random numbers, until there is an error."""

        def __len__(self):
            return 6

        def __getitem__(self, index):
            random.random()
            np.random.random()
            if index == 4 and raised is _Stop:
                raise _Stop
            return NORMAL[index * 32 :][:32], CLASSES[index * 32 :][:32]

    def on_step(step, rate, loss):
        assert all_bytes(model) != before
        if step == 3 and raised is KeyboardInterrupt:
            raise KeyboardInterrupt

    before, around = all_bytes(model), surroundings(model)
    with pytest.raises(raised):
        find_learning_rate(model, Data(), steps=20, on_step=on_step)
    assert all_bytes(model) == before
    assert surroundings(model) == around


def test_a_second_interrupt_while_all_is_given_back(monkeypatch):
    model = noisy_model()
    before, reset = all_bytes(model), model.reset_metrics
    again = iter([KeyboardInterrupt])

    def interrupted():
        reset()
        for error in again:
            raise error

    monkeypatch.setattr(model, "reset_metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(model, (NORMAL, CLASSES), steps=20)
    assert all_bytes(model) == before


def test_nothing_is_changed_when_the_loss_explodes():
    model = noisy_model("sgd")
    before = all_bytes(model)
    found = find_learning_rate(model, (NORMAL, CLASSES), minimum=1e-3, maximum=1e30, steps=50)
    assert found.end.startswith("The test ended at ")
    assert len(found.rates) < 50
    assert np.isfinite(found.losses).all()
    assert all_bytes(model) == before


def test_a_model_without_weights_is_built_as_fit_would():
    def unbuilt():
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
        model = keras.Sequential([*layers, keras.layers.Dense(3)])
        model.compile("adam", SoftmaxCrossEntropy(), metrics=["accuracy"], jit_compile=False)
        return model

    model, other = unbuilt(), unbuilt()
    assert find_learning_rate(model, (NORMAL, CLASSES), steps=20).losses.shape == (20,)
    assert fitted(model) == fitted(other)


def test_kerasbn_model_learns_at_the_suggestion():
    keras.utils.set_random_seed(0)
    model = create_model("mlp", (6,), 3, units=(16,))
    model.compile(keras.optimizers.SGD(), SoftmaxCrossEntropy(), metrics=["accuracy"], jit_compile=False)
    before = all_bytes(model)
    found = find_learning_rate(model, (NORMAL, CLASSES))
    assert all_bytes(model) == before
    assert 0.01 < found.suggestion < 1
    model.optimizer.learning_rate = found.suggestion
    losses = model.fit(NORMAL, CLASSES, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.5 < losses[0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("batch_size", [32, 192])
def test_known_limit_of_gradient_descent(scale, batch_size):
    model, data, limit = regression(scale)
    found = find_learning_rate(model, data, batch_size=batch_size, minimum=limit * 1e-6, maximum=limit * 10)
    assert limit / 30 < found.below_minimum < limit
    assert limit / 30 < found.steepest < limit
    assert found.suggestion == found.below_minimum
    assert limit / 2 < found.rates[-1] < 10 * limit  # where it diverged
    assert found.end.endswith("where the smoothed loss exceeded 4 times its minimum.")


def test_losses_against_an_oracle():
    model, (x, y), _ = regression()
    seen = []
    found = find_learning_rate(
        model, [(x, y)], minimum=1e-3, maximum=0.5, steps=30, smoothing=0.8, on_step=lambda *told: seen.append(told)
    )
    rates = 1e-3 * (0.5 / 1e-3) ** (np.arange(30) / 29)
    weights, losses, smoothed, average = np.zeros((6, 1)), [], [], 0.0
    for step, rate in enumerate(rates, 1):
        error = x @ weights - y
        losses.append((error**2).mean())
        average = 0.8 * average + 0.2 * losses[-1]
        smoothed.append(average / (1 - 0.8**step))
        weights -= rate * 2 * x.T @ error / len(x)
    np.testing.assert_allclose(found.rates, rates, 1e-12)
    np.testing.assert_allclose(found.losses, losses, 1e-5)
    np.testing.assert_allclose(found.smoothed, smoothed, 1e-5)
    np.testing.assert_array_equal([told[0] for told in seen], np.arange(1, 31))
    np.testing.assert_array_equal([told[1] for told in seen], found.rates)
    np.testing.assert_array_equal([told[2] for told in seen], found.smoothed)
    assert found.below_minimum == found.rates[np.argmin(found.smoothed)] / 10


def test_accumulated_gradients_make_one_update():
    whole, (x, y), _ = regression()
    parts, *_ = regression(optimizer=keras.optimizers.SGD(gradient_accumulation_steps=2))
    expected = find_learning_rate(whole, [(x, y)], minimum=1e-3, maximum=1.0, steps=20)
    found = find_learning_rate(parts, [(x, y), (x, y)], minimum=1e-3, maximum=1.0, steps=20)
    np.testing.assert_allclose(found.losses, expected.losses, 1e-5)


def test_state_of_the_optimizer_goes_on():
    model = noisy_model(keras.optimizers.SGD(0.1, momentum=0.9))
    model.fit(NORMAL, CLASSES, verbose=0)
    first = find_learning_rate(model, (NORMAL, CLASSES), steps=20).losses
    for variable in model.optimizer.variables[2:]:
        variable.assign(keras.ops.zeros_like(variable))
    assert np.abs(find_learning_rate(model, (NORMAL, CLASSES), steps=20).losses - first).max() > 1e-3


def test_rates_that_are_planned_do_not_count():
    def losses(planned):
        model = noisy_model(SGD(0.01, momentum=0.9))
        model.fit(NORMAL, CLASSES, verbose=0, shuffle=False)
        if planned:
            model.optimizer.plan([10.0] * 30)
        before = all_bytes(model)
        losses = find_learning_rate(model, (NORMAL, CLASSES), steps=20, maximum=1e-3).losses
        assert all_bytes(model) == before
        assert float(model.optimizer.learning_rate) == pytest.approx(10 if planned else 0.01)
        return losses

    np.testing.assert_array_equal(losses(True), losses(False))


def test_what_is_excluded_from_weight_decay_does_not_decay():
    def losses(excluded):
        optimizer = keras.optimizers.SGD(weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=excluded)
        model, *_ = regression(optimizer=optimizer)
        model.layers[0].kernel.assign(np.ones((6, 1)))
        learned = np.eye(6, dtype="float32"), np.ones((6, 1), "float32")  # all that can change is by decay
        return find_learning_rate(model, learned, minimum=1e-3, maximum=1.0, steps=20).losses

    assert losses(["kernel"]).max() == 0
    assert losses(["bias"]).max() > 1e-3


def test_a_seed_repeats():
    first, second, third = (
        find_learning_rate(noisy_model(), (NORMAL, CLASSES), steps=20, seed=seed).losses for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - third).max() > 1e-3


def two_outputs():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    h = keras.layers.Dense(4, "relu")(keras.layers.Concatenate()([a, b]))
    outputs = {"c": keras.layers.Dense(3, name="c")(h), "s": keras.layers.Dense(1, name="s")(h)}
    model = keras.Model({"a": a, "b": b}, outputs)
    model.compile("sgd", {"c": SoftmaxCrossEntropy(), "s": "mse"}, metrics={"s": ["mae"]}, jit_compile=False)
    return model


def test_several_inputs_and_outputs():
    model = two_outputs()
    before = all_bytes(model)
    data = {"a": NORMAL, "b": NORMAL}, {"c": CLASSES, "s": SUM}
    found = find_learning_rate(model, data, batch_size=192, minimum=1e-4, maximum=1.0, steps=40)
    after = dict(all_bytes(model))
    assert {path: after[path] for path, _ in before} == dict(before)
    assert found.suggestion is not None
    # The losses of the single outputs are metrics that the first loss makes.
    assert [variable.numpy().tolist() for variable in model.metrics_variables] == [0.0] * len(model.metrics_variables)


WEIGHTS = np.where(np.arange(192) < 96, 2.0, 0.0).astype("float32")
FORMS = {
    "arrays": lambda: (NORMAL, SUM, WEIGHTS),
    "float64": lambda: (NORMAL.astype(float), SUM.astype(float), WEIGHTS.astype(float)),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((NORMAL, SUM, WEIGHTS)).batch(192),
    "batches": lambda: [(NORMAL[:0], SUM[:0], WEIGHTS[:0]), (NORMAL, SUM, WEIGHTS)],
    "without weights": lambda: [(NORMAL[:96], SUM[:96])],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_data(form):
    def losses(data, **arguments):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", jit_compile=False)
        return find_learning_rate(model, data, steps=20, minimum=1e-3, maximum=0.1, **arguments).losses

    expected = losses((NORMAL, SUM, WEIGHTS), batch_size=192)
    data = FORMS[form]()
    found = losses(data, batch_size=192 if isinstance(data, tuple) else None)
    np.testing.assert_allclose(found, expected, 1e-4)


def test_mixed_precision():
    def losses(policy, optimizer):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(8, "relu", dtype=policy), keras.layers.Dense(3)]
        )
        model.compile(optimizer, SoftmaxCrossEntropy(), jit_compile=False)
        before = all_bytes(model)
        found = find_learning_rate(model, (NORMAL, CLASSES), batch_size=192, maximum=1.0, steps=60)
        assert all_bytes(model) == before
        return found.losses

    expected = losses("float32", keras.optimizers.SGD())
    found = losses("mixed_float16", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()))
    np.testing.assert_allclose(found[10:], expected[10:], 0.01)  # the first updates are left out, to find the scale
    np.testing.assert_allclose(found[10:], losses("mixed_float16", "sgd")[10:], 0.01)
    assert expected[-1] < 0.8 * expected[0]


def test_the_loss_is_that_of_training():
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))
    model = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(), dense])
    model.compile("sgd", "mse", jit_compile=False)
    x = 5 + 3 * NORMAL
    normalised = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)
    kernel, bias = dense.get_weights()
    expected = ((normalised @ kernel + bias - SUM) ** 2).mean() + 0.5 * (kernel**2).sum()
    found = find_learning_rate(model, (x, SUM), batch_size=192, steps=20)
    np.testing.assert_allclose(found.losses[0], expected, 1e-5)


def test_a_loss_of_the_models_own():
    class Model(keras.Model):
        """Without `training`, and with a metric of its own."""

        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.total = keras.metrics.Sum()

        def call(self, x):
            return self.dense(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            self.total.update_state(1.0)
            return keras.ops.mean(keras.ops.square(y_pred - x[:, :1]))

    model = Model()
    model.compile("sgd")
    assert find_learning_rate(model, NORMAL.astype(float), maximum=1e3).suggestion is not None
    assert float(model.total.result()) == 0


# Reading the curve


def smoothed(losses):
    return np.array([np.average(losses[: n + 1], weights=0.9 ** np.arange(n, -1, -1)) for n in range(len(losses))])


def read(losses, factor=10.0):
    losses = np.asarray(losses, float)
    return read_range(np.geomspace(1e-6, 10, len(losses)), losses, smoothed(losses), 0.9, factor, "End.")


def valley(noise):
    """Return 200 losses that fall fastest at 1e-3, are least from 1e-2 to 0.1, and rise thereafter."""
    at = np.linspace(-6, 1, 200)
    losses = 1 + 1 / (1 + np.exp(4 * (at + 3))) + np.maximum(at + 1, 0) ** 2
    return losses + noise * np.random.default_rng(0).normal(size=200)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_steepest_and_minimum_of_a_valley(noise):
    found = read(valley(noise))
    assert 1e-3 < found.steepest < 4e-3  # later by what the average lags
    assert 1e-2 < found.below_minimum * 10 < 0.3
    assert found.suggestion == found.below_minimum == pytest.approx(5 * read(valley(noise), factor=50.0).suggestion)
    assert "still fell" not in found.reason


def test_a_loss_that_still_falls():
    assert read(valley(0)[:120]).reason.endswith(
        "The loss still fell at the greatest rate: with a greater maximum the suggestion may be greater."
    )


@pytest.mark.parametrize(
    "losses",
    [
        np.ones(200),
        np.linspace(1, 5, 200),
        2 + 0.3 * np.random.default_rng(1).normal(size=200),
        [1.0, 5.0],
        [1.0],
    ],
    ids=["constant", "rising", "noise", "two", "one"],
)
def test_no_suggestion_without_a_fall(losses):
    found = read(losses)
    assert (found.suggestion, found.steepest, found.below_minimum) == (None, None, None)
    assert str(found).startswith(
        "Learning rate: none is suggested. At no rate did the loss fall by more than its noise. If the rates are right,"
    )
    assert isinstance(found.plot(), Figure)


def test_rates_that_are_all_too_great():
    model, data, _ = regression()
    found = find_learning_rate(model, [data], minimum=1e2, maximum=1e3, steps=20)
    assert found.suggestion is None
    assert len(found.rates) < 20


def test_a_loss_below_zero_is_no_rise():
    class Below(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return keras.ops.square(y_pred - y_true) - 100

    model, data, _ = regression()
    model.compile("sgd", Below(), jit_compile=False)
    found = find_learning_rate(model, [data], maximum=1.0, steps=40)
    assert len(found.rates) == 40
    assert found.losses.max() < 0


def test_arrays_cannot_be_changed():
    found = read(valley(0))
    for array in (found.rates, found.losses, found.smoothed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_text():
    found = RateRange(np.array([1e-6, 2.0]), np.ones(2), np.ones(2), 0.0123, 0.0456, 0.0456, "Because.", "The end.")
    assert str(found) == (
        "Learning rate: 0.046 is suggested. Because.\n"
        "Steepest descent at 0.012; below the minimum: 0.046.\n"
        "2 rates from 1e-06 to 2. The end."
    )


# The picture


def test_picture(tmp_path):
    found = read(np.append(valley(0.1), 1e9))
    figure = found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["rates.png"]
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 10  # what explodes does not hide the rest
    drawn = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(drawn["loss of a batch"].get_ydata(), found.losses)
    np.testing.assert_array_equal(drawn["smoothed"].get_ydata(), found.smoothed)
    assert set(drawn[f"below the minimum: {found.below_minimum:.2g} (suggested)"].get_xdata()) == {found.below_minimum}
    assert set(drawn[f"steepest descent: {found.steepest:.2g}"].get_xdata()) == {found.steepest}


def test_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "rates.png").write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, **_: (path.write_text("half"), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            read(valley(0)).plot(tmp_path / "rates.png")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("rates.png", "old")]
    with pytest.raises(InputError, match="expected a file, or nothing yet"):
        read(valley(0)).plot(tmp_path)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"minimum": 0}, "minimum: expected a number above 0; received 0."),
        (
            {"minimum": 1.0, "maximum": 1.0},
            "maximum: expected a number above 1.0; received 1.0. It is the rate to end ",
        ),
        ({"maximum": float("inf")}, "maximum: expected a number above 1e-06; received inf."),
        ({"steps": 19}, "steps: expected a whole number of at least 20; received 19. Fewer say nothing with this"),
        ({"steps": 9, "smoothing": 0.0}, "steps: expected a whole number of at least 10; received 9."),
        ({"steps": 20.5}, "steps: expected a whole number of at least 20; received 20.5."),
        ({"smoothing": 1}, "smoothing: expected a number in [0, 1); received 1."),
        ({"stop_factor": 1}, "stop_factor: expected a number above 1; received 1."),
        ({"factor": 0.5}, "factor: expected a number of at least 1; received 0.5."),
        ({"seed": -1}, "seed: expected a whole number of at least 0; received -1."),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1; received 0."),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    model = noisy_model()
    before = all_bytes(model)
    with pytest.raises(InputError) as error:
        find_learning_rate(model, (NORMAL, CLASSES), **arguments)
    assert str(error.value).startswith(message)
    assert all_bytes(model) == before


FORM = "data: expected a tuple (x, y) or (x, y, sample_weight) of arrays, or of lists or dicts of arrays, or batches "
SLICES = tf.data.Dataset.from_tensor_slices((NORMAL, CLASSES))


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        (7, {}, FORM),
        ([NORMAL, CLASSES], {}, FORM),
        (([1.0], [2]), {}, FORM),
        ((NORMAL,) * 4, {}, FORM),
        ((NORMAL, CLASSES[:5]), {}, "data: expected arrays with the same number of examples; received 5 and 192."),
        ((NORMAL[:0], CLASSES[:0]), {}, "data: expected at least one example; received none."),
        ([], {}, "data: expected at least one batch with examples; received none."),
        (SLICES.batch(8).take(0), {}, "data: expected at least one batch with examples; received none."),
        (iter([(NORMAL, CLASSES)]), {}, "data: expected data that can be gone through again; received list_iterator."),
        (tf.data.Dataset.range(8), {}, "data: expected batches; received single numbers. Call .batch(32) on"),
        (SLICES.batch(8), {"batch_size": 4}, "batch_size: expected None for data that comes in batches; received 4."),
        (NORMAL, {}, "data: expected labels for the model's loss, as in (x, y); received x alone."),
    ],
    ids=range(12),
)
def test_bad_data(data, arguments, message):
    model = noisy_model()
    before = all_bytes(model)
    with pytest.raises(InputError) as error:
        find_learning_rate(model, data, **arguments)
    assert str(error.value).startswith(message)
    assert all_bytes(model) == before


def frozen():
    model = noisy_model()
    model.trainable = False
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: "model", "model: expected a keras.Model; received str."),
        (
            lambda: keras.Sequential(name="bare"),
            "model: expected one that is compiled; received 'bare', which is not. Call model.compile first.",
        ),
        (frozen, "model: expected one with weights to train; received 'functional"),
        (lambda: noisy_model(NoConfig(0.1)), "optimizer: expected one whose get_config() has all its arguments; "),
    ],
    ids=["no model", "not compiled", "frozen", "optimizer"],
)
def test_bad_models(model, message):
    with pytest.raises(InputError) as error:
        find_learning_rate(model(), (NORMAL, CLASSES))
    assert str(error.value).startswith(message)


class NoConfig(keras.optimizers.SGD):
    def __init__(self, rate):
        super().__init__(rate)


def test_a_loss_that_is_not_finite_from_the_start():
    model = noisy_model()
    model.layers[-1].bias.assign([np.nan] * 3)
    before = all_bytes(model)
    with pytest.raises(TaskError, match="The loss is nan before the first update: look at the data and the weights."):
        find_learning_rate(model, (NORMAL, CLASSES))
    assert all_bytes(model) == before
