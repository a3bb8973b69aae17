"""Tests of successive halving and Hyperband: what is trained how far, whatever happens on the way."""

import collections
import dataclasses
import itertools
import math
import random

import keras_tuner
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.draws import uniform
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies.base import Job, Progress
from kerasbn.tuning.strategies.halving import Hyperband, SuccessiveHalving

SPACE = keras_tuner.HyperParameters()
STRATEGIES = [SuccessiveHalving(9), Hyperband(9), SuccessiveHalving(8, 1, 2)]


def curve(number, epochs):
    """Return the best score up to an epoch of a trial: some are fast, some good, all noisy."""
    quality, speed = uniform(0, number, "quality"), 1 + 3 * uniform(0, number, "speed")
    noisy = [quality * (1 - math.exp(-e / speed)) + 0.02 * uniform(e, number, "noise") for e in range(1, epochs + 1)]
    return max(noisy)


class Search:
    """A search in which training is looking a score up; `spent` counts all epochs that came to anything."""

    def __init__(self, strategy, direction="max", score=curve, fails=()):
        self.strategy, self.direction, self.score, self.fails = strategy, direction, score, fails
        self.finished, self.waiting, self.spent = {}, {}, 0

    def jobs(self, max_trials):
        return list(self.strategy.jobs(Progress(self.direction, self.finished, self.waiting), max_trials))

    def do(self, job):
        earlier = self.waiting.pop(job.number, None)
        if job.stop:
            assert earlier is not None
            self.finished[job.number] = dataclasses.replace(earlier, status="stopped")
            return
        assert job.number not in self.finished
        begun = earlier.epochs if earlier else 0
        assert job.epochs > begun
        self.spent += job.epochs - begun
        failed = (job.number, job.epochs) in self.fails
        status = "failed" if failed else "completed" if job.final else "waiting"
        score = None if failed else self.score(job.number, job.epochs)
        if score is not None and self.direction == "min":
            score = -score
        record = TrialRecord(job.number, status, score, SPACE, epochs=job.epochs)
        (self.waiting if status == "waiting" else self.finished)[job.number] = record

    def run(self, max_trials):
        """One worker, which does what is most urgent."""
        while jobs := self.jobs(max_trials):
            assert len({job.number for job in jobs}) == len(jobs)
            assert all(job.number < max_trials for job in jobs)
            self.do(jobs[0])
        assert not [number for number in self.waiting if number < max_trials]
        return self

    def run_wild(self, max_trials, chance, workers=3):
        """Several workers, whose jobs end in any order, and which are killed every third time."""
        running = {}
        while True:
            free = [job for job in self.jobs(max_trials) if job.number not in running]
            for job in free[: workers - len(running)]:
                running[job.number] = job
            if not running:
                return self
            job = running.pop(chance.choice(sorted(running)))
            if chance.random() > 1 / 3:
                self.do(job)

    def ends(self):
        """Return how many trials ended in each way after how many epochs."""
        return collections.Counter((record.status, record.epochs) for record in self.finished.values())

    def outcome(self):
        return {number: (r.status, r.epochs, r.score) for number, r in sorted(self.finished.items())}


def test_rungs_of_successive_halving():
    shapes = {
        (27, 1, 3): (27, (1, 3, 9, 27)),
        (20, 1, 3): (9, (2, 6, 20)),
        (100, 1, 3): (81, (1, 3, 11, 33, 100)),
        (50, 4, 3): (9, (5, 16, 50)),
        (16, 2, 2): (8, (2, 4, 8, 16)),
        (3, 1, 3): (3, (1, 3)),
    }
    for arguments, shape in shapes.items():
        brackets = list(SuccessiveHalving(*arguments).brackets(shape[0] + 1))
        assert [(b.number, b.first) for b in brackets] == [(0, 0), (1, shape[0])]
        assert {(b.size, b.rungs) for b in brackets} == {shape}


def test_brackets_of_hyperband_are_those_of_the_paper():
    def shapes(max_epochs, max_trials):
        return [(b.first, b.size, b.rungs[0]) for b in Hyperband(max_epochs).brackets(max_trials)]

    # n = ceil(5 / (s + 1) * 3^s) for s = 4 ... 0
    assert shapes(81, 143) == [(0, 81, 1), (81, 34, 3), (115, 15, 9), (130, 8, 27), (138, 5, 81)]
    assert shapes(27, 50) == [(0, 27, 1), (27, 12, 3), (39, 6, 9), (45, 4, 27), (49, 27, 1)]
    assert shapes(28, 28) == shapes(27, 28) == [(0, 27, 1), (27, 12, 3)]


def test_a_bracket_spends_what_the_formula_says():
    search = Search(SuccessiveHalving(27)).run(27)
    assert search.spent == 27 * 1 + 9 * 2 + 3 * 6 + 1 * 18
    assert search.ends() == {("stopped", 1): 18, ("stopped", 3): 6, ("stopped", 9): 2, ("completed", 27): 1}


def test_hyperband_spends_less_than_keras_tuner():
    search = Search(Hyperband(27)).run(49)
    assert search.spent == 81 + (36 + 24 + 18) + (54 + 36) + 108 == 357
    assert round(search.spent / 27, 1) == 13.2  # KerasTuner's takes 13.9
    assert search.ends()["completed", 27] == 1 + 1 + 2 + 4


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_best_of_a_rung_go_on(direction):
    search = Search(SuccessiveHalving(9), direction).run(9)
    for epochs, places in ((1, 3), (3, 1)):
        best = sorted((n for n, r in search.finished.items() if r.epochs >= epochs), key=lambda n: -curve(n, epochs))
        assert {n for n, r in search.finished.items() if r.epochs > epochs} == set(best[:places])


def test_of_equal_scores_the_earlier_goes_on():
    search = Search(SuccessiveHalving(9), score=lambda number, epochs: 0.5).run(18)
    assert sorted(n for n, r in search.finished.items() if r.epochs > 1) == [0, 1, 2, 9, 10, 11]
    assert sorted(n for n, r in search.finished.items() if r.status == "completed") == [0, 9]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["halving", "hyperband", "by two"])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_workers_kills_and_order_change_nothing(strategy, direction):
    for max_trials, repetition in itertools.product((1, 2, 8, 17, 40), range(6)):
        chance = random.Random(repetition)
        fails = {(n, epochs) for n in range(40) for epochs in (1, 2, 3, 9) if chance.random() < 0.1 * repetition}
        plain = Search(strategy, direction, fails=fails).run(max_trials)
        wild = Search(strategy, direction, fails=fails).run_wild(max_trials, chance, workers=1 + repetition)
        assert sorted(plain.finished) == list(range(max_trials))
        assert wild.outcome() == plain.outcome()
        assert wild.spent == plain.spent


def test_failed_trials_are_the_worst_and_never_go_on():
    best = max(range(9), key=lambda number: curve(number, 1))
    search = Search(SuccessiveHalving(9), fails={(best, 1)}).run(9)
    assert search.ends() == {("failed", 1): 1, ("stopped", 1): 5, ("stopped", 3): 2, ("completed", 9): 1}
    # One that fails on the way to a later rung has had its place: nobody is fetched back for it.
    second = max(range(9), key=lambda number: curve(number, 3) if search.finished[number].epochs > 1 else -1)
    search = Search(SuccessiveHalving(9), fails={(second, 3)}).run(9)
    assert search.finished[second].status == "failed"
    assert search.ends()["stopped", 1] == 6


def test_a_bracket_with_fewer_trials_left_than_places():
    fails = {(number, 1) for number in range(8)}
    assert Search(SuccessiveHalving(9), fails=fails).run(9).ends() == {("failed", 1): 8, ("completed", 9): 1}
    fails |= {(8, 3)}
    assert Search(SuccessiveHalving(9), fails=fails).run(9).ends() == {("failed", 1): 8, ("failed", 3): 1}
    fails |= {(8, 1)}
    assert Search(SuccessiveHalving(9), fails=fails).run(9).ends() == {("failed", 1): 9}


def test_trials_that_failed_before_their_first_epoch():
    search = Search(SuccessiveHalving(3))
    search.finished[0] = TrialRecord(0, "failed", None, SPACE)  # of an older search: 0 epochs
    assert search.run(3).ends() == {("failed", 0): 1, ("stopped", 1): 1, ("completed", 3): 1}


def test_nobody_idles_while_a_rung_waits():
    search = Search(SuccessiveHalving(9))
    for number in range(8):
        search.do(Job(number, 1, final=False))
    assert search.jobs(12) == [Job(8, 1, False), Job(9, 1, False), Job(10, 1, False), Job(11, 1, False)]


def test_stops_and_promotions_come_before_new_trials():
    search = Search(SuccessiveHalving(9))
    for number in range(9):
        search.do(Job(number, 1, final=False))
    kinds = [(job.stop, job.epochs, job.final) for job in search.jobs(10)]
    assert kinds == [(True, None, True)] * 6 + [(False, 3, False)] * 3 + [(False, 1, False)]


def test_whole_brackets_are_the_same_in_one_search_or_two():
    for strategy, first, then in ((SuccessiveHalving(9), 9, 18), (Hyperband(9), 17, 34), (Hyperband(9), 14, 17)):
        straight, resumed = Search(strategy).run(then), Search(strategy).run(first)
        before = resumed.outcome()
        resumed.run(then)
        assert resumed.outcome() == straight.outcome()
        assert {n: resumed.outcome()[n] for n in before} == before


def test_a_bracket_that_is_cut_short():
    ends = Search(SuccessiveHalving(27)).run(20).ends()  # 20, 20 // 3, 20 // 9, at least one
    assert ends == {("stopped", 1): 14, ("stopped", 3): 4, ("stopped", 9): 1, ("completed", 27): 1}
    assert Search(SuccessiveHalving(27)).run(1).ends() == {("completed", 27): 1}


def scores(**by_number):
    """Return scores by number, the same after any number of epochs."""
    return lambda number, epochs: by_number[f"t{number}"]


def test_a_cut_bracket_that_grows():
    score = scores(t0=0.9, t1=0.5, t2=0.4, t3=0.3, t4=0.2, t5=0.45, t6=0.1, t7=0.1, t8=0.95)
    search = Search(SuccessiveHalving(9), score=score).run(5)
    assert search.ends() == {("stopped", 1): 4, ("completed", 9): 1}  # 5 // 3 = 1 place
    ended = search.outcome()
    # Of three places trial 0 has one; 8 is better than those that were there; 1 would have the third, but is stopped,
    # and so nobody has it, not even trial 5.
    assert [job.number for job in search.jobs(9)] == [5, 6, 7, 8]
    search.run(9)
    assert {n: search.outcome()[n] for n in ended} == ended
    assert search.outcome()[8] == ("stopped", 3, 0.95)  # trial 0 has the one place of the last rung
    assert [search.outcome()[n][:2] for n in (5, 6, 7)] == [("stopped", 1)] * 3


def test_fewer_trials_than_before():
    search = Search(SuccessiveHalving(9))
    for number in range(9):
        search.do(Job(number, 1, final=False))
    for job in search.jobs(9)[:7]:  # 6 are stopped, one is trained on
        search.do(job)
    search.run(2)
    assert all(number in search.finished for number in range(2))
    search.run(9)
    assert len(search.finished) == 9
    # Four have gone on, and now there are places for 7 // 2 = 3: none of those that wait gets one.
    search = Search(SuccessiveHalving(8, 1, 2), score=lambda number, epochs: -number)
    for number, rung in itertools.product(range(8), (1, 2)):
        if rung == 1 or number < 4:
            search.do(Job(number, rung, final=False))
    assert [job for job in search.jobs(7) if job.number > 3] == [Job(number, stop=True) for number in (4, 5, 6)]


def test_it_finds_better_ones_than_random_search_with_as_many_epochs():
    def best(trials, seed):
        return max(curve(1000 * seed + number, 27) for number in trials)

    gains = []
    for seed in range(40):
        search = Search(SuccessiveHalving(27), score=lambda n, e, seed=seed: curve(1000 * seed + n, e)).run(27)
        completed = [n for n, r in search.finished.items() if r.status == "completed"]
        gains.append(best(completed, seed) - best(range(search.spent // 27), seed))
    assert sum(gains) / len(gains) > 0.1
    assert sum(gain > 0 for gain in gains) > 30


def test_settings_and_notes():
    assert SuccessiveHalving(27.0, 2).settings() == {
        "name": "successive_halving",
        "max_epochs": 27,
        "min_epochs": 2,
        "factor": 3,
    }
    assert Hyperband(27).settings() == {"name": "hyperband", "max_epochs": 27, "factor": 3}
    notes = [Hyperband(27).notes(0, number, 0, Progress("max")) for number in (0, 26, 27, 48, 49)]
    assert [note["bracket"] for note in notes] == [0, 0, 1, 3, 4]
    assert [note["first_rung"] for note in notes] == [1, 1, 3, 27, 1]


def test_values_are_random_draws():
    choice = keras_tuner.HyperParameters()
    choice.Float("rate", 0, 1)
    chosen = [Hyperband(9).choose(3, 5, 1, Progress("max"))(h) for h in choice.space]
    assert chosen == [uniform(3, 5, "rate", 1)]


@pytest.mark.parametrize(
    ("strategy", "arguments", "message"),
    [
        (SuccessiveHalving, (0,), r"max_epochs: expected a whole number of at least 1; received 0\."),
        (SuccessiveHalving, (2,), r"max_epochs: expected at least 3, 3 times min_epochs; received 2\. With fewer"),
        (SuccessiveHalving, (10, 4), r"max_epochs: expected at least 12, 3 times min_epochs; received 10\."),
        (SuccessiveHalving, (27, 0), r"min_epochs: expected a whole number of at least 1; received 0\."),
        (SuccessiveHalving, (27, 1, 1), r"factor: expected a whole number of at least 2; received 1\."),
        (Hyperband, (2,), r"max_epochs: expected at least 3, the factor; received 2\. .* take random search"),
        (Hyperband, (27, 2.5), r"factor: expected a whole number of at least 2; received 2\.5\."),
    ],
)
def test_bad_input(strategy, arguments, message):
    with pytest.raises(InputError, match=message):
        strategy(*arguments)
