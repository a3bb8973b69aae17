"""The same models trained by KerasTuner and by ours: scores, weights, compile arguments, fits of the user's own."""

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from keras_tuner_pair import DATA, X, Y, both, ours, printed, ranking, theirs

from kerasbn.checks import InputError
from kerasbn.tuning import RandomSearch, read_study

pytestmark = pytest.mark.filterwarnings(
    "ignore:getName:DeprecationWarning",  # KerasTuner's, in every trial
    "ignore:Even though the `tf.config:UserWarning",
)


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Spare every fit the tracing, which takes longer than the fit."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def build(hp, lazy=False):
    keras.utils.set_random_seed(3)  # KerasTuner does not seed the weights
    units = hp.Choice("units", [2, 3, 4])
    layers = [keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(1)]
    model = keras.Sequential(layers if lazy else [keras.Input((2,)), *layers])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 0.01, 3.0, sampling="log")), "mse", metrics=["mae"])
    return model


def build_lazy(hp):
    return build(hp, lazy=True)


def bare(hp):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(hp.Int("units", 1, 50)), keras.layers.Dense(1)])


def same_models(one, two, count):
    models = [tuner.get_best_models(count) for tuner in (one, two)]
    assert [len(found) for found in models] == [count, count]
    for a, b in zip(*models, strict=True):
        assert [w.shape for w in a.get_weights()] == [w.shape for w in b.get_weights()]
        for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_array_equal(x, y)
        assert type(a.optimizer) is type(b.optimizer)


@pytest.mark.parametrize(
    ("model", "objective"),
    [(build, ["val_loss", keras_tuner.Objective("mae", "max")]), (build_lazy, "val_loss")],
    ids=["several", "lazy"],
)
def test_scores_and_weights(model, objective, tmp_path, capsys):
    one, two = both(lambda: model, tmp_path, 3, objective=objective)
    assert ranking(two) == ranking(one)
    assert len({row[2] for row in ranking(two)}) == 3
    same_models(one, two, 3)
    assert printed(capsys, two, "results_summary") == printed(capsys, one, "results_summary")
    for a, b in zip(two.oracle.trials.values(), one.oracle.trials.values(), strict=True):
        assert {name: a.metrics.get_best_value(name) for name in a.metrics.metrics} == {
            name: b.metrics.get_best_value(name) for name in b.metrics.metrics
        }
    read = read_study(two.project_dir)
    assert (str(read.objective), read.ranked[0].score) == (str(two.objective), two.study.ranked[0].score)


def test_executions_are_averaged(tmp_path):
    counts = {"theirs": 0, "ours": 0}

    def counted(name):
        def model(hp):
            model = build(hp)
            keras.utils.set_random_seed(counts[name])
            counts[name] += 1
            model.set_weights([np.random.normal(size=w.shape) for w in model.get_weights()])
            return model

        return model

    one = theirs(counted("theirs"), tmp_path, 2, search=False, objective="val_loss", executions_per_trial=2)
    counts["theirs"] = 0
    one.search(**DATA)
    two = ours(counted("ours"), tmp_path, one, objective="val_loss", executions_per_trial=2)
    assert [row[:3] for row in ranking(two)] == [row[:3] for row in ranking(one)]
    assert [len(t.scores) for t in two.study.trials] == [2, 2]


@pytest.mark.parametrize(
    "kwargs",
    [{"optimizer": "adam"}, {"optimizer": keras.optimizers.Adam(0.1)}, {"loss": "mae"}, {"metrics": ["mse"]}],
    ids=["name", "optimizer", "loss", "metrics"],
)
def test_compile_arguments(kwargs, tmp_path):
    one, two = both(lambda: build, tmp_path, 1, objective="val_loss", **kwargs)
    assert ranking(two) == ranking(one)
    (a,), (b,) = one.oracle.trials.values(), two.oracle.trials.values()
    assert set(b.metrics.metrics) == set(a.metrics.metrics)
    assert len(b.metrics.metrics) == 4
    (model,) = two.get_best_models()
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(b.metrics.get_best_value("val_loss"))
    assert two.hypermodel.build(two.get_best_hyperparameters()[0]).loss == "mse"  # the user's own


def test_compile_arguments_of_a_model_that_is_not_compiled(tmp_path):
    # Documented by KerasTuner, which fails with Keras 3: 'Sequential' object has no attribute 'optimizer'.
    tuner = RandomSearch(bare, "val_mae", 1, 0, directory=tmp_path, optimizer="adam", loss="mse", metrics=["mae"])
    tuner.search(**DATA)
    assert tuner.study.trials[0].score == tuner.study.trials[0].metrics["val_mae"]
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[1] == pytest.approx(tuner.study.trials[0].score)
    with pytest.raises(InputError) as caught:
        RandomSearch(bare, "val_loss", 1, 0, directory=tmp_path, project_name="q", loss="mse").search(**DATA)
    assert str(caught.value) == (
        "HyperModel.build: expected a compiled model; received one without optimizer. Compile it in the build "
        "function, or give the search both optimizer and loss."
    )


def test_a_study_is_not_continued_with_another_loss(tmp_path):
    RandomSearch(build, "val_loss", 1, 0, directory=tmp_path, loss="mae").search(**DATA)
    with pytest.raises(InputError, match=r"received overrides.loss 'mse' instead of 'mae'\. Choose"):
        RandomSearch(build, "val_loss", 1, 0, directory=tmp_path, loss="mse").search(**DATA)


def test_other_compile_arguments_stay(tmp_path):
    def model(hp):
        inputs = keras.Input((2,))
        outputs = {"a": keras.layers.Dense(1, name="a")(inputs), "b": keras.layers.Dense(1, name="b")(inputs)}
        model = keras.Model(inputs, outputs)
        weights = {"a": 1.0, "b": 0.0}
        metrics = {"a": ["mae"], "b": ["mse"]}
        model.compile("sgd", {"a": "mse", "b": "mse"}, loss_weights=weights, metrics=metrics, run_eagerly=True)
        return model

    tuner = RandomSearch(model, keras_tuner.Objective("val_a_mae", "min"), 1, 0, directory=tmp_path, optimizer="adam")
    data = {"a": Y, "b": Y + 100}
    tuner.search(X, data, validation_data=(X, data), epochs=1, verbose=0)
    (trial,) = tuner.study.trials
    assert trial.metrics["val_loss"] < 50 < trial.metrics["val_b_mse"]
    (model,) = tuner.get_best_models()
    assert (type(model.optimizer).__name__, model.run_eagerly) == ("Adam", True)


def test_metrics_of_the_users_own_stay(tmp_path):
    def largest(y, predicted):
        return keras.ops.max(keras.ops.abs(y - predicted))

    def model(hp):
        model = bare(hp)
        model.compile("sgd", "mse", metrics=["mae", largest], weighted_metrics=["mse"])
        return model

    one, two = both(lambda: model, tmp_path, 1, objective="val_loss", optimizer="adam")
    a, b = (set(tuner.oracle.get_best_trials()[0].metrics.metrics) for tuner in (one, two))
    assert a == b == {f"{val}{name}" for val in ("", "val_") for name in ("loss", "mae", "mse", "largest")}


def test_models_that_are_too_large_fail(tmp_path):
    def compiled(hp):
        model = bare(hp)
        model.compile("sgd", "mse")
        return model

    one, two = both(lambda: compiled, tmp_path, 4, objective="val_loss", max_model_size=100)
    assert {row[:2] for row in ranking(two)} == {row[:2] for row in ranking(one)}  # they differ in their weights
    failed = [t for t in two.study.trials if not t.scored]
    assert 0 < len(failed) < 4
    for trial in failed:
        size = 4 * trial.hyperparameters.get("units") + 1
        assert f"FailedTrialError: Oversized model: {size} parameters. Skip model." in trial.traceback
    with pytest.raises(InputError, match=r"^max_model_size: expected a whole number of at least 1; received 0\.$"):
        RandomSearch(compiled, directory=tmp_path, max_model_size=0)


def test_models_are_built_in_the_scope_of_a_strategy(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    seen = []

    def model(hp):
        seen.append(tf.distribute.get_strategy() is strategy)
        return build(hp)

    tuner = RandomSearch(model, "val_loss", 1, 0, directory=tmp_path, distribution_strategy=strategy)
    tuner.search(**DATA | {"x": X[:10], "y": Y[:10]})
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[0] == pytest.approx(tuner.study.trials[0].score)
    assert seen == [True, True]


class Returns(keras_tuner.HyperModel):
    def __init__(self, result):
        self.result = result

    def build(self, hp):
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        return self.result(model.fit(*args, **kwargs))


@pytest.mark.parametrize(
    "result",
    [
        lambda history: history,
        lambda history: {"val_loss": history.history["val_loss"][-1], "mae": 1.0},
        lambda history: history.history["val_loss"][-1],
        lambda history: [history.history["val_loss"][-1], 3.0],
        lambda history: [history, {"val_loss": 1, "only_here": 2}],
        lambda history: np.float32(0.5),
    ],
    ids=["history", "dict", "number", "numbers", "mixed", "numpy"],
)
def test_what_a_fit_returns(result, tmp_path):
    one, two = both(lambda: Returns(result), tmp_path, 1, objective="val_loss")
    assert [row[:3] for row in ranking(two)] == [row[:3] for row in ranking(one)]
    a, b = ([set(t.metrics.metrics) for t in tuner.oracle.trials.values()] for tuner in (one, two))
    assert a == b


class Loop(keras_tuner.HyperModel):
    """As in https://keras.io/guides/keras_tuner/custom_tuner."""

    def build(self, hp):
        keras.utils.set_random_seed(3)
        inputs = keras.Input((2,))
        return keras.Model(inputs, keras.layers.Dense(hp.Int("units", 1, 9))(inputs))

    def fit(self, hp, model, x, y, validation_data, epochs, verbose, callbacks=None):
        optimizer = keras.optimizers.Adam(hp.Float("rate", 1e-2, 1.0, sampling="log", default=0.5))
        metric = keras.metrics.Mean()
        for callback in callbacks:
            callback.set_model(model)
        best = float("inf")
        for epoch in range(epochs):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            metric.update_state(loss)
            value = float(metric.result().numpy())
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs={"my_metric": value})
            metric.reset_state()
            best = min(best, value)
        return best


def test_a_training_loop_of_the_users_own(tmp_path):
    objective = keras_tuner.Objective("my_metric", "min")
    one, two = both(Loop, tmp_path, 3, objective=objective)
    assert [(row[0], pytest.approx(row[2])) for row in ranking(two)] == [(row[0], row[2]) for row in ranking(one)]
    same_models_shapes = [[w.shape for w in tuner.get_best_models()[0].get_weights()] for tuner in (one, two)]
    assert same_models_shapes[0] == same_models_shapes[1]
    rows = two.study.ranked[0].history
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert two.study.ranked[0].score == pytest.approx(min(row["my_metric"] for row in rows))


def test_an_objective_that_is_never_reported_ends_the_search(tmp_path):
    tuner = RandomSearch(build, "val_accuracy", 9, 0, directory=tmp_path)
    with pytest.raises(InputError) as caught:
        tuner.search(**DATA)
    assert str(caught.value) == (
        "objective: expected a metric that the fit reports, one of 'loss', 'mae', 'val_loss', 'val_mae'; received "
        "'val_accuracy'. Did you mean 'val_mae'? Compile the model with that metric, or return it from HyperModel.fit."
    )
    assert tuner.study.trials == []


def test_tensorboard_gets_a_directory_for_each_trial_and_execution(tmp_path):
    logs = tmp_path / "logs"
    callback = keras.callbacks.TensorBoard(str(logs), write_graph=False)
    tuner = RandomSearch(build, "val_loss", 2, 0, directory=tmp_path, executions_per_trial=2)
    tuner.search(**DATA, callbacks=[callback])
    runs = {str(path.parent.relative_to(logs)) for path in logs.rglob("events.out.*")}
    assert runs >= {f"{trial}/execution{execution}/train" for trial in (0, 1) for execution in (0, 1)}
    assert {"0/execution0", "1/execution1"} <= runs  # the hyperparameters
    assert callback.log_dir == str(logs)
