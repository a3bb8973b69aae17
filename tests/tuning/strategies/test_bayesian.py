"""Tests of Bayesian search: valid values of every kind, learned from the trials before, always the same."""

import dataclasses
import importlib.util
import math
import os
import statistics
import subprocess
import sys

import keras_tuner
import optuna
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.checks import InputError
from kerasbn.tuning.draws import Draws, active
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies import bayesian
from kerasbn.tuning.strategies.base import Progress
from kerasbn.tuning.strategies.bayesian import Bayesian
from kerasbn.tuning.strategies.random import Random
from kerasbn.tuning.tried import Tried


def search(space, score, trials, strategy=None, seed=0, direction="max", status=lambda number: "completed"):
    """Return the finished trials of a search; `score` is of the values."""
    strategy, finished = strategy or Bayesian(), {}
    for number in range(trials):
        progress = Progress(direction, finished)
        hp = Draws(seed, number, choose=strategy.choose(seed, number, 0, progress))
        space(hp)
        failed = status(number) == "failed"
        value = None if failed else score(hp.values)
        finished[number] = TrialRecord(number, status(number), value, hp.copy(), epochs=3)
    return finished


def proposals(space, finished, count, direction="max", **arguments):
    """Return the values of trials that all know the same finished ones."""
    found = []
    for number in range(100, 100 + count):
        strategy = Bayesian(**arguments)
        hp = Draws(0, number, choose=strategy.choose(0, number, 0, Progress(direction, finished)))
        space(hp)
        found.append(hp)
    return found


def everything(hp):
    """Ask for each kind of hyperparameter."""
    hp.Int("int", 1, 5)
    hp.Int("int step", 10, 100, step=30)
    hp.Int("int log", 1, 1000, sampling="log")
    hp.Int("int log step", 2, 64, step=2, sampling="log")
    hp.Int("int reverse", 1, 100, sampling="reverse_log")
    hp.Int("one", 7, 7)
    hp.Float("float", -1, 2)
    hp.Float("float step", 0.5, 0.9, step=0.1)
    hp.Float("float log", 1e-4, 1e-1, sampling="log")
    hp.Float("float log step", 1e-4, 1e-1, step=10, sampling="log")
    hp.Float("float reverse", 0.9, 0.999, sampling="reverse_log")
    hp.Float("float reverse step", 1, 64, step=2, sampling="reverse_log")
    hp.Float("point", 0.5, 0.5)
    hp.Choice("texts", ["relu", "tanh", "gelu"])
    hp.Choice("integers", [128, 32, 64])
    hp.Choice("floats", [0.1, 0.01], ordered=False)
    hp.Choice("truths", [False, True])
    hp.Boolean("boolean")
    hp.Fixed("fixed", "a text")


SPACE = keras_tuner.HyperParameters()
everything(SPACE)
TUNED = [h for h in SPACE.space if h.name not in ("one", "point", "fixed")]


def test_values_of_every_kind_are_valid():
    finished = search(everything, lambda values: values["float"] + values["int"], 30)
    random = search(everything, lambda values: 0.0, 30, Random())
    for h in SPACE.space:
        values = [trial.hyperparameters.get(h.name) for trial in finished.values()]
        assert {type(value) for value in values} == {type(random[0].hyperparameters.get(h.name))}
        if isinstance(h, kinds.Int | kinds.Float):
            assert all(h.min_value <= value <= h.max_value for value in values)
        if not isinstance(h, kinds.Int | kinds.Float) or h.step is not None:
            # What is drawn at random from the middle of each value's share.
            shares = 2 * len(tuple(h.values))
            assert set(values) <= {h.prob_to_value(i / shares) for i in range(1, shares, 2)}


@pytest.mark.parametrize("h", TUNED, ids=lambda h: h.name)
def test_it_learns_what_is_good_for_every_kind(h):
    def space(hp):
        hp._drawn(lambda: hp._retrieve(kinds.deserialize(kinds.serialize(h))))
        hp.Float("other", 0, 1)

    def near(values):
        return -abs(h.value_to_prob(values[h.name]) - h.value_to_prob(target))

    proposed, drawn = [], []
    for share in (0.15, 0.85):
        target = h.prob_to_value(share)
        finished = search(space, near, 25, Random())
        proposed += [near(hp.values) for hp in proposals(space, finished, 12)]
        drawn += [near(trial.hyperparameters.values) for trial in finished.values()]
    assert statistics.mean(proposed) > statistics.mean(drawn) / 2


@pytest.mark.parametrize("h", TUNED, ids=lambda h: h.name)
def test_optuna_is_told_what_was_drawn(h):
    distribution = bayesian._distribution(h)
    if isinstance(distribution, optuna.distributions.FloatDistribution):
        for u in (0.01, 0.5, 0.99):
            assert bayesian._to_optuna(h, h.prob_to_value(u), distribution) == pytest.approx(u, abs=0.1)
        return
    ordered = h.name not in ("texts", "floats", "boolean")
    kind = optuna.distributions.IntDistribution if ordered else optuna.distributions.CategoricalDistribution
    assert isinstance(distribution, kind)
    count = len(tuple(h.values))
    values = [h.prob_to_value((i + 0.5) / count) for i in range(count)]
    assert [bayesian._to_optuna(h, value, distribution) for value in values] == list(range(count))


def two_ranges(hp):
    """Ask for two things in one of two ranges."""
    low = hp.Boolean("low")
    with hp.conditional_scope("low", [low]):
        hp.Float("rate", *((1e-4, 1e-2) if low else (1e-2, 1.0)), sampling="log")
        hp.Choice("kind", ["a", "b"] if low else ["b", "c", "d"])


def test_two_ranges_of_one_name_are_two_things():
    def near_middle(values):
        return -abs(math.log10(values["rate"]) + 2)

    for hp in proposals(two_ranges, search(two_ranges, near_middle, 60, Random()), 12):
        assert near_middle(hp.values) > -0.7


def conditional(hp):
    """Ask for different things in two branches, and for one of the same name with another range."""
    family = hp.Choice("family", ["mlp", "cnn"])
    with hp.conditional_scope("family", ["mlp"]):
        if family == "mlp":
            for i in range(hp.Int("layers", 1, 3)):
                hp.Int(f"units_{i}", 8, 64, step=8)
            hp.Float("rate", 1e-4, 1e-2, sampling="log")
    with hp.conditional_scope("family", ["cnn"]):
        if family == "cnn":
            hp.Float("rate", 1e-3, 1.0, sampling="log")
            hp.Int("kernel", 3, 7, step=2)


def conditional_score(values):
    """Tell that the first branch is better, with a rate of 1e-3; in the second it is 1e-1."""
    optimum = -3 if values["family"] == "mlp" else -1
    return 3 * (values["family"] == "mlp") - abs(math.log10(values["rate"]) - optimum)


def test_conditional_spaces_and_names_with_two_ranges():
    finished = search(conditional, conditional_score, 40)
    for trial in finished.values():
        mlp = trial.hyperparameters.get("family") == "mlp"
        low, high = (1e-4, 1e-2) if mlp else (1e-3, 1.0)
        assert low <= trial.hyperparameters.get("rate") <= high
        assert ("kernel" in active(trial.hyperparameters)) is not mlp
    last = [finished[number].hyperparameters for number in range(10, 40)]
    assert sum(hp.get("family") == "mlp" for hp in last) >= 24
    assert statistics.median(abs(math.log10(hp.get("rate")) + 3) for hp in last if hp.get("family") == "mlp") < 0.3


def bowl(hp):
    hp.Float("rate", 1e-4, 1, sampling="log")
    hp.Float("decay", 0, 1)


def height(values):
    return (math.log10(values["rate"]) + 1) ** 2 + 4 * (values["decay"] - 0.3) ** 2


def test_it_is_better_than_random_search():
    def mean_of_best(strategy):
        found = [search(bowl, height, 40, strategy, seed, "min") for seed in range(8)]
        return statistics.mean(min(trial.score for trial in trials.values()) for trials in found)

    assert mean_of_best(Bayesian()) < 0.3 * mean_of_best(Random())


def test_directions_mirror_each_other():
    least = search(bowl, height, 20, direction="min")
    most = search(bowl, lambda values: -height(values), 20)
    assert [t.hyperparameters.values for t in least.values()] == [t.hyperparameters.values for t in most.values()]


def test_the_first_trials_are_random_draws():
    drawn = search(bowl, height, 12, Bayesian(startup_trials=10))
    random = search(bowl, height, 12, Random())
    assert [n for n in range(12) if drawn[n].hyperparameters.values != random[n].hyperparameters.values] == [10, 11]
    # A trial whose turn was among the first is drawn however many there are by now, as after a kill.
    hp = Draws(0, 4, choose=Bayesian().choose(0, 4, 0, Progress("max", {n: drawn[n] for n in range(12) if n != 4})))
    bowl(hp)
    assert hp.values == drawn[4].hyperparameters.values
    # As long as fewer have a score, there is nothing to learn from.
    failing = search(bowl, height, 12, status=lambda number: "failed" if number < 2 else "completed")
    assert [failing[n].hyperparameters.values for n in (10, 11)] == [random[n].hyperparameters.values for n in (10, 11)]


def test_the_same_trials_give_the_same_values():
    finished = search(bowl, height, 20)
    backwards = dict(reversed(finished.items()))
    first, again = proposals(bowl, finished, 3), proposals(bowl, backwards, 3)
    assert [hp.values for hp in first] == [hp.values for hp in again]
    assert len({hp.values["rate"] for hp in first}) == 3

    def values(seed, number, attempt):
        choose = Bayesian().choose(seed, number, attempt, Progress("max", finished))
        return choose(SPACE.space[6])

    assert len({values(0, 30, 0), values(1, 30, 0), values(0, 31, 0), values(0, 30, 1)}) == 4


def test_asking_twice_gives_the_same():
    choose = Bayesian().choose(0, 30, 0, Progress("max", search(everything, lambda values: values["float"], 12)))
    first = [choose(h) for h in SPACE.space]
    assert [choose(h) for h in SPACE.space] == first


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from test_bayesian import conditional, conditional_score, search
print([sorted(trial.hyperparameters.values.items()) for trial in search(conditional, conditional_score, 25).values()])
"""


@pytest.mark.slow
def test_another_process_gives_the_same():
    here = [sorted(t.hyperparameters.values.items()) for t in search(conditional, conditional_score, 25).values()]
    # In the order of a set of names, which is another one in each process, draws would change places.
    environment = dict(os.environ, PYTHONHASHSEED="12345", TF_CPP_MIN_LOG_LEVEL="3")
    command = [sys.executable, "-c", PROGRAM, os.path.dirname(__file__)]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert there.strip().splitlines()[-1] == str(here)


def test_failed_trials_are_the_worst():
    def failed_above(cut):
        drawn = search(bowl, lambda values: values["decay"], 30, Random())
        return {
            n: dataclasses.replace(t, status="failed", score=None) if t.score > cut else t for n, t in drawn.items()
        }

    for direction in ("max", "min"):
        rates = [hp.get("decay") for hp in proposals(bowl, failed_above(0.5), 12, direction)]
        assert statistics.mean(rates) < 0.5
    nan = {n: dataclasses.replace(t, score=t.score or math.nan) for n, t in failed_above(0.5).items()}
    assert [hp.values for hp in proposals(bowl, nan, 3)] == [hp.values for hp in proposals(bowl, failed_above(0.5), 3)]


def test_a_trial_that_failed_before_it_asked_for_anything():
    finished = search(bowl, height, 20)  # of 20 trials Optuna takes 2 for good, of 21 it takes 3
    with_one = finished | {20: TrialRecord(20, "failed", None, keras_tuner.HyperParameters())}
    assert [hp.values for hp in proposals(bowl, with_one, 2)] == [hp.values for hp in proposals(bowl, finished, 2)]


def test_stopped_trials_count_after_completed_ones():
    # Those that were stopped had better scores, but might not have had them at the end.
    drawn = search(bowl, lambda values: values["decay"], 40, Random())
    finished = {n: dataclasses.replace(t, status="stopped" if t.score > 0.5 else "completed") for n, t in drawn.items()}
    assert statistics.mean(hp.get("decay") for hp in proposals(bowl, finished, 12)) < 0.55
    stopped = {n: dataclasses.replace(t, status="stopped") for n, t in drawn.items()}
    assert statistics.mean(hp.get("decay") for hp in proposals(bowl, stopped, 12)) > 0.8


def few(hp):
    hp.Choice("a", [1, 2, 3, 4])
    if hp.Boolean("b"):
        hp.Int("c", 1, 3)


def test_a_space_of_few_values_is_searched_to_its_end():
    tried, finished, attempts = Tried(), {}, []
    for number in range(16):
        progress = Progress("max", finished)
        attempt, choose = next(
            (a, choose)
            for a in range(1000)
            if not tried.repeats(choose := Bayesian(startup_trials=4).choose(0, number, a, progress))
        )
        hp = Draws(0, number, attempt, choose=choose)
        few(hp)
        finished[number] = TrialRecord(number, "completed", float(hp.get("a")), hp.copy())
        tried.add(finished[number].hyperparameters)
        attempts.append(attempt)
    assert len({str(t.hyperparameters.values) for t in finished.values()}) == 16
    assert max(attempts) > Bayesian.proposals  # then values are drawn as in random search
    last = attempts.index(max(attempts))
    hp = Draws(0, last, max(attempts), choose=Random().choose(0, last, max(attempts), Progress("max")))
    few(hp)
    assert hp.values == finished[last].hyperparameters.values


def test_nothing_is_said_and_optuna_stays_as_it_was(capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    search(bowl, height, 13)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_settings_and_notes():
    assert Bayesian().settings() == {"name": "tpe", "startup_trials": 10}
    finished = search(bowl, height, 10)
    notes = [Bayesian().notes(0, n, a, Progress("max", finished)) for n, a in ((9, 0), (10, 0), (10, 5))]
    assert notes == [{"draw": "random"}, {"draw": "proposed"}, {"draw": "random"}]


def test_bad_input(monkeypatch):
    with pytest.raises(InputError, match=r"sampler: expected one of 'tpe', 'gp'; received 'ttpe'\. Did you mean 'tpe'"):
        Bayesian("ttpe")
    with pytest.raises(InputError, match=r"startup_trials: expected a whole number of at least 1; received 0\."):
        Bayesian(startup_trials=0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"PyTorch to be installed for 'gp'; .*`pip install \"kerasbn\[gp\]\"`, or"):
        Bayesian("gp")


def test_a_gaussian_process_is_asked_for_with_its_seed(monkeypatch):
    asked = []

    def sampler(**arguments):
        asked.append(arguments)
        return optuna.samplers.RandomSampler(seed=arguments["seed"])

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(optuna.samplers, "GPSampler", sampler)
    search(bowl, height, 12, Bayesian("gp"))
    assert Bayesian("gp").settings()["name"] == "gp"
    assert len({arguments["seed"] for arguments in asked}) == 2
    assert isinstance(asked[0]["independent_sampler"], optuna.samplers.TPESampler)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: pip install '.[gp]'")
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of a computer without a GPU
def test_a_gaussian_process_finds_the_best():
    finished = search(bowl, height, 18, Bayesian("gp"), direction="min")
    assert min(trial.score for trial in finished.values()) < 0.01
    first, again = (proposals(everything, search(everything, len, 11), 2, sampler="gp") for _ in range(2))
    assert [hp.values for hp in first] == [hp.values for hp in again]
    assert len(search(conditional, conditional_score, 16, Bayesian("gp"))) == 16
