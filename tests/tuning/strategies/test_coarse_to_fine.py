"""Tests of coarse-to-fine search: rounds, boxes, recovery, conditional spaces, and ends of ranges."""

import json

import numpy as np
import pytest
from keras_tuner.engine import hyperparameters as kinds

from kerasbn.checks import InputError
from kerasbn.tuning.draws import Draws, draw, uniform
from kerasbn.tuning.store.records import TrialRecord
from kerasbn.tuning.strategies.base import Progress
from kerasbn.tuning.strategies.coarse_to_fine import BOX_ATTEMPTS, CoarseToFine, favour, place, unordered
from kerasbn.tuning.strategies.random import Random
from kerasbn.tuning.tried import Tried


def go_on(strategy, space, score, finished, trials, seed=0, direction="max"):
    """Add the trials of a sequential search to those that are finished."""
    tried = Tried()
    for record in finished.values():
        tried.add(record.hyperparameters)
    while len(finished) < trials:
        number, progress = len(finished), Progress(direction, dict(finished))
        new = tried.first_new(strategy, lambda a, n=number, p=progress: strategy.choose(seed, n, a, p))
        if new is None:
            break
        hp = Draws(seed, number, new[0], choose=new[1])
        space(hp)
        tried.add(hp)
        value = score(hp)
        notes = strategy.notes(seed, number, new[0], progress)
        status = "failed" if value is None else "completed"
        finished[number] = TrialRecord(number, status, value, hp.copy(), attempt=new[0], notes=notes)
    return finished


def square(hp):
    hp.Float("x", 0, 1)
    hp.Float("y", 1e-4, 1, sampling="log")


def hill(hp):
    return -((hp.get("x") - 0.3) ** 2) - (np.log10(hp.get("y")) + 3) ** 2


def places(finished, name, numbers):
    by_name = [{h.name: h for h in finished[n].hyperparameters.space}[name] for n in numbers]
    return [place(h, finished[n]) for h, n in zip(by_name, numbers, strict=True)]


@pytest.fixture(scope="module")
def searched():
    return go_on(CoarseToFine(), square, hill, {}, 60)


def test_the_first_round_is_random_search(searched):
    random = go_on(Random(), square, hill, {}, 20)
    assert [searched[n].hyperparameters.values for n in range(20)] == [
        random[n].hyperparameters.values for n in range(20)
    ]
    assert searched[19].notes == {"round": 0, "box": {}, "global": False}


def test_later_rounds_draw_from_the_box_they_note(searched):
    for number in range(20, 60):
        notes = json.loads(json.dumps(searched[number].notes))
        assert notes["round"] == 1 + (number - 20) // 5
        assert set(notes["box"]) == {"x", "y"}
        for name, (low, high) in notes["box"].items():
            (u,) = places(searched, name, [number])
            assert 0 <= low < high <= 1
            assert notes["global"] or low - 1e-9 <= u <= high + 1e-9
    assert {searched[n].notes["global"] for n in range(20, 60)} == {True, False}


def test_the_box_of_a_round_is_around_the_best_of_the_rounds_before(searched):
    box = searched[20].notes["box"]
    assert all(searched[number].notes["box"] == box for number in range(20, 25))
    best = sorted(range(20), key=lambda n: -searched[n].score)[:3]  # 15% of 20
    for name, (low, high) in box.items():
        least, most = min(places(searched, name, best)), max(places(searched, name, best))
        margin = (most - least) / 2
        assert [low, high] == pytest.approx([max(least - margin, 0), min(most + margin, 1)])


def test_the_box_closes_in_on_the_optimum():
    boxes = [go_on(CoarseToFine(), square, hill, {}, 60, seed)[59].notes["box"]["y"] for seed in range(8)]
    # 10^-3 is a quarter of the way from 10^-4 to 1.
    assert sum(0.15 < low < high < 0.35 for low, high in boxes) >= 7


@pytest.mark.parametrize("stop", [7, 20, 22, 25])
def test_a_search_in_two_parts_is_the_same(searched, stop):
    first = go_on(CoarseToFine(), square, hill, {}, stop)
    resumed = go_on(CoarseToFine(), square, hill, first, 60)
    assert {n: r.to_json() for n, r in resumed.items()} == {n: r.to_json() for n, r in searched.items()}


def test_it_is_better_than_random_search_on_a_hill():
    def best(strategy, seed):
        return max(r.score for r in go_on(strategy, square, hill, {}, 50, seed).values())

    wins = sum(best(CoarseToFine(), seed) > best(Random(), seed) for seed in range(20))
    assert wins >= 16  # as many by chance: once in 170


def test_min_is_the_mirror_of_max():
    finished = go_on(CoarseToFine(), square, lambda hp: -hill(hp), {}, 40, direction="min")
    mirrored = go_on(CoarseToFine(), square, hill, {}, 40)
    assert [r.hyperparameters.values for r in finished.values()] == [
        r.hyperparameters.values for r in mirrored.values()
    ]


def test_a_wrong_zoom_recovers():
    # The first round sees no more than that less is better; the best is elsewhere.
    def space(hp):
        hp.Float("x", 0, 1)

    def score(hp):
        return 1.0 if 0.7 < hp.get("x") < 0.8 else -hp.get("x")

    finished = go_on(CoarseToFine(random_trials=5, global_share=0.3), space, score, {}, 100, seed=1)
    found = [number for number in finished if finished[number].score == 1]
    assert finished[found[0] - 1].notes["box"]["x"][1] < 0.6
    assert finished[found[0]].notes["global"]
    low, high = finished[99].notes["box"]["x"]
    assert 0.65 < low < high < 0.85


def test_failed_trials_are_never_among_the_best():
    finished = go_on(CoarseToFine(), square, lambda hp: None if hp.get("x") < 0.5 else -hp.get("x"), {}, 60)
    low, high = finished[59].notes["box"]["x"]
    assert 0.45 < low < 0.55
    assert 0.5 < high < 0.6


def test_too_few_trials_with_a_score_are_no_box():
    finished = go_on(CoarseToFine(), square, lambda hp: None, {}, 23)
    assert finished[22].notes == {"round": 1, "box": {}, "global": False}
    assert finished[22].hyperparameters.get("x") == uniform(0, 22, "x")


def mixed(hp):
    if hp.Choice("family", ["dense", "convolution"]) == "dense":
        hp.Int("units", 8, 512, sampling="log")
    else:
        hp.Int("filters", 4, 64, step=2, sampling="log")
    hp.Boolean("wide")
    hp.Choice("batch_size", [16, 32, 64, 128, 256])
    hp.Fixed("fixed", 1)


def test_conditional_hyperparameters_have_boxes_of_their_own():
    def score(hp):
        if hp.get("family") == "dense":
            return 1 - abs(np.log2(hp.get("units") / 64)) - abs(np.log2(hp.get("batch_size") / 32))
        return -5.0 - abs(hp.get("filters") - 8) / 8

    finished = go_on(CoarseToFine(), mixed, score, {}, 80)
    box = finished[79].notes["box"]
    assert set(box) == {"units", "filters", "batch_size"}  # nothing lies between two words, nor is 1 a range
    assert 0.4 < box["units"][0] < box["units"][1] < 0.6  # 64 is in the middle of [8, 512]
    assert box["batch_size"][1] <= 0.8 + 1e-9  # 256 is left to draws from the whole space
    late = [finished[n].hyperparameters.get("family") for n in range(40, 80)]
    assert late.count("dense") > 25
    assert "convolution" in late  # not given up


@pytest.mark.parametrize(
    "hyperparameter",
    [
        kinds.Int("x", 1, 20),
        kinds.Int("x", 1, 100, sampling="log"),
        kinds.Int("x", 7, 28, sampling="reverse_log"),
        kinds.Int("x", -3, 3, step=2),
        kinds.Int("x", 2, 64, step=2, sampling="log"),
        kinds.Int("x", 4, 4, sampling="log"),
        kinds.Float("x", 1e-4, 1e-1, sampling="log"),
        kinds.Float("x", 0.9, 0.999, sampling="reverse_log"),
        kinds.Float("x", 10, 12, step=0.1),
        kinds.Float("x", 2, 2),
        kinds.Choice("x", [1, 2, 4]),
        kinds.Choice("x", ["a", "b"]),
        kinds.Boolean("x"),
        kinds.Fixed("x", 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("end", [0.0, 1.0], ids=["low", "high"])
def test_at_the_ends_values_stay_in_the_range_and_near_the_best(hyperparameter, end):
    def space(hp):
        hp.merge([hyperparameter])

    best = float(np.nextafter(end, 0.5))
    value = draw(hyperparameter, best)

    def record(number):
        hp = Draws(0, number, choose=lambda h: value)
        space(hp)
        return TrialRecord(number, "completed", 1.0, hp.copy())

    progress = Progress("max", {number: record(number) for number in range(20)})
    strategy, drawn = CoarseToFine(), set()
    for number in range(20, 60):
        hp = Draws(0, number, choose=strategy.choose(0, number, 0, progress))
        space(hp)
        new = hp.get("x")
        assert type(new) is type(value)
        if isinstance(hyperparameter, kinds.Int | kinds.Float):
            assert hyperparameter.min_value <= new <= hyperparameter.max_value
        if not strategy.notes(0, number, 0, progress)["global"]:
            drawn.add(new)
    if not unordered(hyperparameter):  # all of the best have one value, so the box has no other
        assert list(drawn) == [pytest.approx(value)]


def test_a_box_of_few_values_is_left_when_it_is_empty():
    def space(hp):
        hp.Int("a", 1, 6)
        hp.Boolean("b")

    finished = go_on(CoarseToFine(random_trials=3, round_trials=1), space, lambda hp: hp.get("a"), {}, 100)
    assert len(finished) == 12
    assert max(r.attempt for r in finished.values()) > BOX_ATTEMPTS


def test_places_of_values_of_another_range_do_not_count():
    hp = Draws(0, 0, choose=lambda h: h.values[0] if isinstance(h, kinds.Choice) else 5)
    hp.Choice("kind", ["a"])
    hp.Int("units", 1, 9)
    record = TrialRecord(0, "completed", 1.0, hp.copy())
    assert place(kinds.Int("units", 1, 9), record) == pytest.approx(0.5)
    assert place(kinds.Int("units", 6, 9), record) is None
    assert place(kinds.Choice("kind", ["b", "c"]), record) is None
    assert place(kinds.Float("kind", 0, 1), record) is None
    assert place(kinds.Boolean("other"), record) is None


def test_a_step_keeps_its_place():
    hyperparameter = kinds.Float("x", 10, 12, step=0.1)
    assert hyperparameter.value_to_prob(10.1) == hyperparameter.value_to_prob(10.0)  # so KerasTuner has it
    hp = Draws(0, 0, choose=lambda h: 10.1)
    hp.Float("x", 10, 12, step=0.1)
    assert place(hyperparameter, TrialRecord(0, "completed", 1.0, hp)) == pytest.approx(1.5 / 20)


def test_favoured_values_come_in_proportion():
    drawn = [favour([0.9, 0.9, 0.9, 0.1], 2, (i + 0.5) / 1000) for i in range(1000)]
    assert drawn == sorted(drawn)
    assert sum(u >= 0.5 for u in drawn) == pytest.approx(1000 * 4 / 6, abs=1)
    assert 0 <= drawn[0] < drawn[-1] < 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("random_trials", 2),
        ("round_trials", 0),
        ("round_trials", 2.5),
        ("elite_share", 0),
        ("elite_share", 1.5),
        ("max_elites", 2),
        ("margin", -0.1),
        ("global_share", 0),
    ],
)
def test_arguments_out_of_their_range(name, value):
    with pytest.raises(InputError, match=rf"^{name}: expected .*; received {value}\."):
        CoarseToFine(**{name: value})


def test_settings_have_all_arguments():
    assert CoarseToFine(30, 10, 0.2, 8, 0.5, 0.25).settings() == {
        "name": "coarse_to_fine",
        "random_trials": 30,
        "round_trials": 10,
        "elite_share": 0.2,
        "max_elites": 8,
        "margin": 0.5,
        "global_share": 0.25,
    }
