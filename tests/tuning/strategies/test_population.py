"""Tests of population-based training as a strategy: who is replaced by a copy of whom, and with what values."""

import dataclasses
import math
import random

import keras_tuner
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.checks import InputError
from kerasbn.tuning.draws import Draws, count_values, uniform
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies.base import Job, Progress
from kerasbn.tuning.strategies.population import Population, moved

STRATEGIES = [Population(5, 9, 2), Population(8, 6, 2, share=0.5), Population(2, 4, 1)]


def space(hp):
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Int("units", 8, 64)


def quality(number, epoch):
    return epoch + 3 * uniform(epoch, number, "noise")


class Search:
    """A search in which training is looking a value up; `spent` counts all epochs that came to anything."""

    def __init__(self, strategy, direction="max", seed=0, fails=(), value=quality):
        self.strategy, self.direction, self.seed, self.fails, self.value = strategy, direction, seed, fails, value
        self.finished, self.waiting, self.begun, self.spent = {}, {}, {}, 0

    @property
    def progress(self):
        return Progress(self.direction, self.finished, self.waiting, "score", self.seed)

    def jobs(self, max_trials=1000):
        return list(self.strategy.jobs(self.progress, max_trials))

    def do(self, job):
        earlier = self.waiting.pop(job.number, None)
        if job.stop:
            assert earlier is not None
            self.finished[job.number] = dataclasses.replace(earlier, status="stopped")
            return
        assert job.number not in self.finished
        assert (earlier is None) or (job.source is None)
        source = None if job.source is None else self.waiting.get(job.source) or self.finished[job.source]
        begins = earlier.epochs if earlier else 0
        choose = self.strategy.choose(self.seed, job.number, 0, self.progress)
        if earlier:
            hp = earlier.hyperparameters
        else:
            if source:  # it may have gone on already, but not by more than one part
                begins = max(end for end in self.strategy.ends if end < job.epochs)
                assert begins <= source.epochs <= job.epochs
                choose = self.strategy.vary(self.seed, job.number, source)
            hp = Draws(self.seed, job.number, choose=choose)
            space(hp)
            self.begun[job.number] = (job.source, begins)
        self.spent += job.epochs - begins
        failed = (job.number, job.epochs) in self.fails
        sign = 1 if self.direction == "max" else -1
        new = [
            {"execution": 0, "epoch": epoch, "score": sign * self.value(job.number, epoch)}
            for epoch in range(begins, job.epochs)
        ]
        history = (*(earlier.history if earlier else ()), *(() if failed else new))
        scores = [sign * row["score"] for row in history if not math.isnan(row["score"])]
        score = None if failed or not scores else sign * max(scores)
        status = "failed" if score is None else "completed" if job.final else "waiting"
        record = TrialRecord(job.number, status, score, hp.copy(), history=history, epochs=job.epochs)
        (self.waiting if status == "waiting" else self.finished)[job.number] = record

    def run(self, max_trials=1000):
        """One worker, which does what is most urgent."""
        while jobs := self.jobs(max_trials):
            assert len({job.number for job in jobs}) == len(jobs)
            self.do(jobs[0])
        return self

    def run_wild(self, chance, workers):
        """Several workers, whose jobs end in any order, and which are killed every third time."""
        running = {}
        while True:
            free = [job for job in self.jobs() if job.number not in running]
            chance.shuffle(free)
            for job in free[: workers - len(running)]:
                running[job.number] = job
            if not running:
                return self
            job = running.pop(chance.choice(sorted(running)))
            if chance.random() > 1 / 3:
                assert job.source is None or job.source in self.strategy.sources(self.progress, 1000)
                self.do(job)

    def outcome(self):
        return {n: (r.status, r.epochs, r.score, r.hyperparameters.values) for n, r in sorted(self.finished.items())}


def test_a_population_keeps_its_size_and_spends_what_the_formula_says():
    search = Search(Population(10, 9, 3, share=0.2)).run()
    assert search.spent == 10 * 9
    assert len(search.finished) == 14 == search.strategy.trials
    ends = sorted((r.status, r.epochs) for r in search.finished.values())
    assert ends == [("completed", 9)] * 10 + [("stopped", 3)] * 2 + [("stopped", 6)] * 2
    assert not search.waiting
    assert Population(10, 10, 3).ends == (3, 6, 9, 10)  # a shorter generation at the end
    assert Population(4, 4, 2).trials == 5  # always one at least


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_worst_of_the_last_epoch_become_copies_of_the_best(direction):
    search = Search(Population(10, 6, 3, share=0.3), direction).run()
    order = sorted(range(10), key=lambda number: -quality(number, 2))  # not by the best epoch so far
    assert order != sorted(range(10), key=lambda number: -max(quality(number, epoch) for epoch in range(3)))
    assert {n for n, r in search.finished.items() if r.status == "stopped"} == set(order[-3:])
    assert {search.begun[n] for n in (10, 11, 12)} <= {(source, 3) for source in order[:3]}
    assert len({Search(Population(10, 6, 3), seed=seed).run().begun[10] for seed in range(20)}) == 2


def test_of_equal_ones_the_earlier_is_better():
    search = Search(Population(4, 2, 1), value=lambda number, epoch: 0.5).run()
    assert search.finished[3].status == "stopped"
    assert search.begun[4] == (0, 1)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["fifth", "half", "two"])
def test_workers_kills_and_order_change_nothing(strategy):
    for repetition in range(12):
        chance = random.Random(repetition)
        fails = {(n, end) for n in range(40) for end in strategy.ends if chance.random() < 0.1 * (repetition % 4)}
        plain = Search(strategy, seed=repetition, fails=fails).run()
        wild = Search(strategy, seed=repetition, fails=fails).run_wild(chance, workers=1 + repetition % 4)
        assert wild.outcome() == plain.outcome()
        assert (wild.begun, wild.spent, wild.waiting) == (plain.begun, plain.spent, {})


def test_failed_and_diverged_members_are_replaced_all_of_them():
    def value(number, epoch):
        return math.nan if number in (1, 2) and epoch > 0 else float(number)

    search = Search(Population(6, 4, 2), fails={(5, 2)}, value=value).run()
    statuses = [search.finished[n].status for n in range(6)]
    assert statuses == ["completed", "stopped", "stopped", "completed", "completed", "failed"]
    assert [search.begun[n] for n in (6, 7, 8)] == [(4, 2)] * 3
    # One that fails in the last part has failed; nobody comes in its place.
    last = Search(Population(6, 4, 2), fails={(0, 4)}).run()
    assert last.finished[0].status == "failed"
    assert len(last.finished) == last.strategy.trials


def test_where_nobody_can_be_copied():
    everyone = Search(Population(3, 4, 2), fails={(n, 2) for n in range(3)}).run()
    assert [r.status for r in everyone.finished.values()] == ["failed"] * 3
    one = Search(Population(3, 4, 2)).run(max_trials=1)  # a space of one combination
    assert one.outcome()[0][:2] == ("completed", 4)
    alone = Search(Population(3, 6, 2), fails={(0, 2), (2, 2)}).run()
    assert [alone.begun[n] for n in (3, 4)] == [(1, 2)] * 2


def test_a_generation_waits_for_all_and_sources_are_known():
    search = Search(Population(5, 4, 2))
    assert search.jobs() == [Job(number, 2, final=False) for number in range(5)]
    for number in range(4):
        search.do(Job(number, 2, final=False))
    assert search.jobs() == [Job(4, 2, final=False)]
    assert search.strategy.sources(search.progress, 5) == frozenset()
    search.do(Job(4, 2, final=False))
    stop, *jobs = search.jobs()
    assert stop.stop
    assert [(job.epochs, job.final) for job in jobs] == [(4, True)] * 5
    copy = jobs[-1]
    assert (copy.number, search.strategy.sources(search.progress, 5)) == (5, {copy.source})
    for job in (stop, *jobs[:-1]):
        search.do(job)
    assert copy.source in search.finished
    assert search.jobs() == [copy]  # which a finished trial is the source of


def test_executions_count_alike_and_where_an_epoch_is_missing_the_last_one():
    search = Search(Population(3, 2, 1))

    def record(number, *rows):
        history = tuple({"execution": e, "epoch": epoch, "score": score} for e, epoch, score in rows)
        hp = Draws(0, number)
        space(hp)
        search.waiting[number] = TrialRecord(number, "waiting", 1.0, hp.copy(), history=history, epochs=1)

    record(0, (0, 0, 0.9), (1, 0, 0.1))
    record(1, (0, 0, 0.4), (1, 0, 0.4))
    record(2, (0, 0, 0.8), (1, 0, 0.7))
    assert search.jobs()[0] == Job(1, stop=True)
    search.waiting[1] = dataclasses.replace(search.waiting[1], history=(), score=2.0)  # a fit that tells no epochs
    assert search.jobs()[0] == Job(0, stop=True)
    # Patience was out before: the last epoch stands for those that are missing.
    late = Search(Population(3, 4, 2), value=lambda number, epoch: [0.5, 0.4, 0.3][number])
    for number in range(3):
        late.do(Job(number, 2, final=False))
    late.waiting[2] = dataclasses.replace(late.waiting[2], history=({"execution": 0, "epoch": 0, "score": 0.6},))
    assert late.jobs()[0] == Job(1, stop=True)


def one_of_each():
    hp = keras_tuner.HyperParameters()
    hp.Float("log", 1e-4, 1e-1, sampling="log")
    hp.Float("linear", -1.0, 1.0)
    hp.Float("reverse", 1e-4, 1e-1, sampling="reverse_log")
    hp.Float("steps", 0.0, 1.0, step=0.25)
    hp.Int("whole", 1, 4)
    hp.Int("wide", 1, 10**6, sampling="log")
    hp.Choice("sizes", [16, 32, 64])
    hp.Choice("text", ["a", "b", "c"])
    hp.Boolean("flag")
    hp.Float("single", 0.5, 0.5)
    hp.Fixed("fixed", 3)
    return hp


@pytest.mark.parametrize("hyperparameter", one_of_each().space, ids=lambda h: h.name)
def test_moved_values_are_others_near_by_and_in_range(hyperparameter):
    if count_values(hyperparameter) == 1 or hyperparameter.name in ("text", "flag"):
        return
    for number in range(200):
        value = hyperparameter.prob_to_value(uniform(0, number, "value"))
        for step in (0.1, -0.1):
            new = moved(hyperparameter, value, step)
            assert new != value
            u, v = hyperparameter.value_to_prob(value), hyperparameter.value_to_prob(new)
            assert 0 <= v <= 1
            if count_values(hyperparameter) == math.inf:
                inside = u + step if 0 < u + step < 1 else None
                assert v == pytest.approx(inside if inside is not None else abs(u + step) if step < 0 else 2 - u - step)
            elif hyperparameter.name != "wide":
                values = [hyperparameter.prob_to_value(i / 1000) for i in range(1000)]
                values = sorted(set(values))
                assert abs(values.index(new) - values.index(value)) == 1


def varied(strategy, number=7, seed=0):
    """Return the values of a source, and those of a copy of it."""
    hp = one_of_each()
    values = {h.name: h.prob_to_value(0.4) for h in hp.space}
    hp.values.update(values)
    choose = strategy.vary(seed, number, TrialRecord(1, "waiting", 0.5, hp))
    return values, {h.name: choose(h) for h in hp.space}


def test_only_continuous_floats_are_varied_or_what_is_named():
    def changed(strategy):
        pairs = [varied(strategy, number) for number in range(30)]
        return {name for values, new in pairs for name in values if new[name] != values[name]}

    assert changed(Population(2, 2, 1)) == {"log", "linear", "reverse"}
    assert changed(Population(2, 2, 1, tuned=("sizes", "flag", "text", "fixed"))) == {"sizes", "flag", "text"}


def test_values_are_moved_or_drawn_anew():
    values, new = varied(Population(2, 2, 1, step=0.1, resample=0))
    assert new["log"] / values["log"] == pytest.approx(1000 ** (0.1 if new["log"] > values["log"] else -0.1))
    strategy = Population(2, 2, 1, step=0.1, resample=0.25)
    pairs = [varied(strategy, number) for number in range(2000)]
    ratios = [abs(math.log(new["log"] / values["log"], 1000)) for values, new in pairs]
    assert sum(abs(ratio - 0.1) > 1e-9 for ratio in ratios) / 2000 == pytest.approx(0.25, abs=0.03)
    assert sum(new["log"] > values["log"] for values, new in pairs) / 2000 == pytest.approx(0.5, abs=0.06)
    assert varied(strategy) == varied(strategy)
    assert varied(strategy, seed=1) != varied(strategy)


def test_what_another_value_brings_in_is_drawn():
    source = TrialRecord(1, "waiting", 0.5, keras_tuner.HyperParameters())
    choose = Population(2, 2, 1).vary(3, 7, source)
    assert choose(kinds.Float("momentum", 0, 1)) == uniform(3, 7, "momentum")


@pytest.mark.parametrize(
    ("tuned", "message"),
    [
        (
            ("rat",),
            r"tuned: expected hyperparameters that the build function asks for: 'rate', 'units'; received 'rat'",
        ),
        (("units", "depth"), r"'rate', 'units'; received 'depth'\."),
    ],
)
def test_names_that_nothing_asks_for(tuned, message):
    with pytest.raises(InputError, match=message):
        Search(Population(3, 2, 1, tuned=tuned)).run()


def test_nothing_to_vary(monkeypatch):
    monkeypatch.setitem(globals(), "space", lambda hp: hp.Int("units", 8, 64))
    message = r"tuned: expected names of what copies vary, since no hp\.Float is continuous: .* asks for 'units'"
    with pytest.raises(InputError, match=message):
        Search(Population(3, 2, 1)).run()
    assert len(Search(Population(3, 2, 1, tuned=("units",))).run().finished) == 4


def test_settings():
    assert Population(4.0, 6, 2, tuned=["rate"]).settings() == {
        "name": "population",
        "population": 4,
        "max_epochs": 6,
        "interval": 2,
        "tuned": ("rate",),
        "share": 0.2,
        "step": 0.1,
        "resample": 0.25,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population": 1}, r"population: expected a whole number of at least 2; received 1\."),
        ({"interval": 0}, r"interval: expected a whole number of at least 1; received 0\."),
        ({"max_epochs": 5}, r"max_epochs: expected a whole number of at least 6; received 5\. With fewer, members"),
        (
            {"tuned": "rate"},
            r"tuned: expected a tuple of names, or None for every continuous hp\.Float; received 'rate'",
        ),
        ({"tuned": ()}, r"tuned: expected a tuple of names, .* received \(\)\."),
        ({"share": 0.6}, r"share: expected a number in \(0, 0\.5\]; received 0\.6\."),
        ({"step": 0}, r"step: expected a number in \(0, 0\.5\]; received 0\."),
        ({"resample": 1.5}, r"resample: expected a number in \[0, 1\]; received 1\.5\."),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        Population(**({"population": 4, "max_epochs": 6, "interval": 3} | arguments))
