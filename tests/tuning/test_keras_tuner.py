"""The same hypermodel in KerasTuner and in ours: spaces, summaries word for word, scores, the order of trials."""

import inspect

import keras
import keras_tuner
import pytest
from keras_tuner_pair import DATA, both, ours, printed, ranking, theirs
from recorded import Recorded

from kerasbn import tuning
from kerasbn.checks import InputError
from kerasbn.tuning import Draws
from kerasbn.tuning.compatibility.summary import explore

pytestmark = pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")  # KerasTuner's, in every trial


def small():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def every_argument(hp):
    hp.Int("int", 1, 9, step=2, default=5)
    hp.Int("log", min_value=2, max_value=32, step=2, sampling="log")
    hp.Float("float", 0.0, 1.0, step=0.25, default=0.5)
    hp.Float("reverse", 1e-3, 1.0, sampling="reverse_log")
    hp.Choice("ordered", [1, 2, 4], ordered=True, default=2)
    hp.Choice("words", ["a", "b"], ordered=False)
    hp.Boolean("flag", default=True)
    hp.Fixed("fixed", 3)
    hp.Int("only_b", 1, 3, parent_name="words", parent_values=["b"])


def scopes(hp):
    kind = hp.Choice("kind", ["mlp", "cnn", "none"])
    with hp.name_scope("net"):
        hp.Int("width", 1, 64)
        assert hp.get("width") == hp.values["net/width"] == hp["width"]
    assert "kind" in hp
    assert "net" not in hp
    with hp.conditional_scope("kind", ["cnn"]):
        if kind == "cnn":
            pool = hp.Boolean("pool")
            with hp.conditional_scope("pool", [True]):
                if pool:
                    hp.Float("rate", 0.1, 0.5)
    with hp.conditional_scope("kind", ["mlp"]):
        depth = hp.Int("depth", 1, 3)
        assert (depth is None) == (kind != "mlp")
        assert hp.is_active("depth") == (kind == "mlp")


def loop(hp):
    hp.Float("rate", 0.0, 1.0)
    for i in range(hp.Int("layers", 1, 3)):
        hp.Choice(f"units_{i}", [8, 16])


class Own(keras_tuner.HyperModel):
    """With a constructor of its own that does not call KerasTuner's, declarations, and a fit that draws too."""

    def __init__(self, space):
        self.space = space

    def declare_hyperparameters(self, hp):
        hp.Choice("declared", ["x", "y"])

    def build(self, hp):
        self.space(hp)
        return small()

    def fit(self, hp, model, *args, **kwargs):
        assert "callbacks" in kwargs
        batch = hp.Choice("batch", [4, 8])
        return batch + sum(value for value in hp.values.values() if isinstance(value, float | int))


@pytest.mark.parametrize("space", [every_argument, scopes])
def test_spaces_and_summaries_word_for_word(space, tmp_path, capsys):
    one = theirs(Own(space), tmp_path, search=False, trials=12)
    two = ours(Own(space), tmp_path, one, search=False)
    before = printed(capsys, one, "search_space_summary")
    assert printed(capsys, two, "search_space_summary") == before
    assert before.count("\n") > 8
    one.search(**DATA)
    two = ours(Own(space), tmp_path, one)
    assert len(two.oracle.trials) == 12
    for method, *args in (("search_space_summary",), ("results_summary",), ("results_summary", 3)):
        assert printed(capsys, two, method, *args) == printed(capsys, one, method, *args)
    assert ranking(two) == ranking(one)
    assert two.oracle.get_space().get_config() == one.oracle.get_space().get_config()
    assert [hp.values for hp in two.get_best_hyperparameters(9)] == [
        hp.values for hp in one.get_best_hyperparameters(9)
    ]
    for a, b in zip(two.oracle.trials.values(), one.oracle.trials.values(), strict=True):
        assert {repr(h) for h in a.hyperparameters.space} <= {repr(h) for h in b.hyperparameters.space}
        assert a.hyperparameters.values == b.hyperparameters.values


def test_what_a_loop_did_not_ask_for_is_not_among_the_values(tmp_path, capsys):
    one, two = both(lambda: Own(loop), tmp_path, 8)
    for a, b in zip(two.oracle.trials.values(), one.oracle.trials.values(), strict=True):
        values = a.hyperparameters.values
        assert [name for name in values if name.startswith("units_")] == [f"units_{i}" for i in range(values["layers"])]
        assert values.items() <= b.hyperparameters.values.items()  # KerasTuner draws and prints them all
    assert {h.name for h in two.oracle.get_space().space} == {h.name for h in one.oracle.get_space().space}


def test_failed_trials_and_ties_are_where_theirs_are(tmp_path, capsys):
    class Fails(Own):
        def fit(self, hp, model, *args, **kwargs):
            if hp.get("x") > 5:
                raise keras_tuner.errors.FailedTrialError("too large")
            return {"default_objective": float(hp.get("x") % 2), "other": 0.5}

    one, two = both(lambda: Fails(lambda hp: hp.Int("x", 1, 9)), tmp_path, 9)
    assert [row[:4] for row in ranking(two)] == [row[:4] for row in ranking(one)]
    assert {row[1] for row in ranking(two)} == {"COMPLETED", "FAILED"}
    assert printed(capsys, two, "results_summary", 3) == printed(capsys, one, "results_summary", 3)
    every = printed(capsys, two, "results_summary")
    assert every.count("\nTraceback (most recent call last):\n") == 4
    assert every.splitlines()[-2] == "keras_tuner.src.errors.FailedTrialError: too large"
    trial = two.oracle.get_best_trials()[0]
    assert trial.metrics.get_best_value("other") == 0.5
    assert (two.oracle.max_trials, two.oracle.remaining_trials(), two.remaining_trials) == (9, 0, 0)
    assert two.oracle.get_trial(trial.trial_id).score == trial.score


def test_without_hyperparameters(tmp_path, capsys):
    one, two = both(lambda: lambda hp: small(), tmp_path, 1, objective="val_loss")
    text = printed(capsys, two, "results_summary")
    assert "Hyperparameters:\ndefault configuration\nScore: " in text
    assert text.split("Score")[0] == printed(capsys, one, "results_summary").split("Score")[0]
    assert printed(capsys, two, "search_space_summary") == printed(capsys, one, "search_space_summary")


@pytest.mark.parametrize(
    "application",
    [
        keras_tuner.applications.HyperXception(input_shape=(64, 64, 3), classes=2),
        keras_tuner.applications.HyperResNet(input_shape=(32, 32, 3), classes=2),
        keras_tuner.applications.HyperImageAugment(input_shape=(8, 8, 3)),
    ],
    ids=["xception", "resnet", "augment"],
)
def test_applications_draw_and_build(application):
    def smallest(hyperparameter):  # of the real draws some are models of minutes
        return hyperparameter.min_value if hasattr(hyperparameter, "min_value") else hyperparameter.values[0]

    hp, default = Draws(0, 0, choose=smallest), keras_tuner.HyperParameters()
    assert isinstance(application.build(hp), keras.Model)
    application.build(default)
    assert {h.name for h in hp.space} <= {h.name for h in default.space}
    assert explore(application).get_config() == default.get_config()


def given():
    hp = keras_tuner.HyperParameters()
    hp.Float("x", 0.0, 1.0)
    return hp


def ask_for_two(hp):
    hp.Float("x", 0.0, 9.0)
    hp.Float("new", 0.1, 0.9, default=0.3)


def test_only_given_hyperparameters_are_tuned(tmp_path, capsys):
    one, two = both(lambda: Recorded(ask_for_two), tmp_path, 4, hyperparameters=given(), tune_new_entries=False)
    assert {t.hyperparameters.values["new"] for t in two.oracle.trials.values()} == {0.3}
    assert ranking(two) == ranking(one)
    assert printed(capsys, two, "search_space_summary") == printed(capsys, one, "search_space_summary")


def test_no_other_hyperparameters_are_allowed(tmp_path):
    with pytest.raises(RuntimeError, match="`allow_new_entries` is `False`"):
        theirs(Recorded(ask_for_two), tmp_path, hyperparameters=given(), allow_new_entries=False)
    with pytest.raises(InputError) as caught:
        tuner = tuning.RandomSearch(
            Recorded(ask_for_two), directory=tmp_path, hyperparameters=given(), allow_new_entries=False
        )
        tuner.search()
    assert str(caught.value) == (
        "allow_new_entries=False: expected a build function that asks for no more than 'x'; received 'new'. Give it "
        "in hyperparameters=..., or leave allow_new_entries out."
    )


@pytest.mark.parametrize("name", ["tune_new_entries", "allow_new_entries"])
def test_nothing_is_given(name, tmp_path):
    with pytest.raises(InputError) as caught:
        tuning.RandomSearch(Recorded(ask_for_two), directory=tmp_path, **{name: False})
    assert str(caught.value) == (
        f"{name}: expected True, since there are no hyperparameters given beforehand; received False. Give "
        f"hyperparameters=..., or leave {name} out."
    )


@pytest.mark.parametrize("name", ["RandomSearch", "GridSearch", "BayesianOptimization", "Hyperband"])
def test_arguments_in_the_same_order(name):
    def positional(kind):
        parameters = inspect.signature(kind).parameters.values()
        return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and "failed" not in p.name]

    assert positional(getattr(tuning, name)) == positional(getattr(keras_tuner, name))
