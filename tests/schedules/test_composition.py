"""Schedules of schedules against the parts they are made of."""

import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    Linear,
    Manual,
    OneCycle,
    Schedule,
    Staircase,
    WarmUp,
    clip,
    from_dict,
    join,
    repeat,
    scale,
)

T = np.arange(0, 60, 0.125)


def test_join_is_each_from_its_own_beginning():
    first, second, third = InverseTime(0.3), Cosine(0.2, 7), Exponential(0.1, 0.8)
    joined = join([first, second, third], [5, 20.5])
    expected = np.where(T < 5, first(T), np.where(T < 20.5, second(np.maximum(T - 5, 0)), 0))
    expected = np.where(T < 20.5, expected, third(np.maximum(T - 20.5, 0)))
    np.testing.assert_array_equal(joined(T), expected)
    assert joined(4.999) == first(4.999)
    assert joined(5) == second(0) == 0.2
    assert joined(20.5) == third(0) == 0.1


def test_join_holds_the_momentum_where_none_is_cycled():
    cycle = OneCycle(0.3, decay_steps=20, pct_start=0.25)
    joined = join([Constant(0.1), Constant(0.2), cycle, Constant(0.1), cycle], [3, 5, 10, 30])
    expected = cycle.momentum(np.maximum(T - 5, 0))
    expected = np.where(T < 10, expected, cycle.momentum(5))
    expected = np.where(T < 30, expected, cycle.momentum(np.maximum(T - 30, 0)))
    np.testing.assert_array_equal(joined.momentum(T), expected)
    assert joined.momentum(0) == 0.95
    assert joined.momentum(20) == 0.85
    assert join([Constant(0.1), Linear(0.1, 5)], [2]).momentum(3) is None


def test_scale_and_clip():
    part = OneCycle(0.3, decay_steps=40)
    np.testing.assert_array_equal(scale(part, 2.5)(T), 2.5 * part(T))
    np.testing.assert_array_equal(clip(part, 0.01, 0.2)(T), np.clip(part(T), 0.01, 0.2))
    np.testing.assert_array_equal(clip(part, minimum=0.01)(T), np.maximum(part(T), 0.01))
    np.testing.assert_array_equal(clip(part, maximum=0.2)(T), np.minimum(part(T), 0.2))
    for composed in (scale(part, 2.5), clip(part, 0.01, 0.2)):
        np.testing.assert_array_equal(composed.momentum(T), part.momentum(T))


def test_repeat():
    part = OneCycle(0.3, decay_steps=9)
    np.testing.assert_array_equal(repeat(part, 7.5)(T), part(T % 7.5))
    np.testing.assert_array_equal(repeat(part, 7.5).momentum(T), part.momentum(T % 7.5))
    expected = np.where(T < 22.5, part(T % 7.5), part(7.5))
    np.testing.assert_array_equal(repeat(part, 7.5, times=3)(T), expected)
    assert repeat(Linear(0.4, 4), 4)(np.array([3.999, 4, 8, 400])).tolist() == pytest.approx([0.0001, 0.4, 0.4, 0.4])


def test_repeat_begins_again_at_each_multiple():
    for period in (0.1, 0.7, 3, 49, 117):
        starts = np.arange(500) * period
        np.testing.assert_allclose(repeat(Linear(0.4, period), period)(starts), 0.4, rtol=1e-9)


def test_warm_up():
    part = OneCycle(0.3, decay_steps=30)
    for shape, start, curve in (
        ("linear", 0.004, lambda share: 0.004 + (0.012 - 0.004) * share),
        ("exponential", 0.004, lambda share: 0.004 * 3**share),
        ("constant", 0.004, lambda share: 0.004),
    ):
        warm = WarmUp(part, 10, shape, start)
        expected = np.where(T < 10, curve(T / 10), part(np.maximum(T - 10, 0)))
        np.testing.assert_allclose(warm(T), expected, rtol=1e-12)
        assert warm(10) == part(0)
        assert warm(0) == pytest.approx(start, rel=1e-15)
        np.testing.assert_array_equal(warm.momentum(T), part.momentum(np.maximum(T - 10, 0)))
    assert WarmUp(Constant(0.1), 5)(0) == 0


def test_three_deep():
    inner = WarmUp(Cosine(0.1, 9), 3)
    middle = join([repeat(inner, 12, times=2), Staircase(0.05, 4)], [24])
    outer = clip(scale(middle, 2), minimum=0.01)
    expected = np.where(T < 24, inner(T % 12), Staircase(0.05, 4)(np.maximum(T - 24, 0)))
    np.testing.assert_array_equal(outer(T), np.maximum(2 * expected, 0.01))
    assert outer.length is None
    assert from_dict(outer.to_dict()) == outer
    assert outer.to_dict()["schedule"]["schedule"]["schedules"][0]["schedule"]["schedule"] == {
        "name": "cosine",
        "initial_learning_rate": 0.1,
        "decay_steps": 9,
        "end_learning_rate": 0.0,
    }


def test_all_are_schedules():
    part = Manual((0.1, 0.2))
    for composed in (join([part], []), scale(part, 2), clip(part, 0.1), repeat(part, 2), WarmUp(part, 1)):
        assert isinstance(composed, Schedule)
        assert composed.horizon > 0


USE = "Use one of kerasbn.schedules, such as Constant(0.1)."


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: join([], []), "schedules: expected one more than the 0 boundaries; received 0."),
        (lambda: join(Constant(1), []), "schedules: expected a list; received Constant(1)."),
        (lambda: join([Constant(1)], [5]), "schedules: expected one more than the 1 boundaries; received 1."),
        (lambda: join([Constant(1), 0.1], [5]), f"schedules[1]: expected a schedule; received 0.1. {USE}"),
        (
            lambda: join([Constant(1)] * 3, [5, 4]),
            "boundaries[1]: expected a number above 5; received 4. Boundaries increase.",
        ),
        (
            lambda: join([Constant(1)] * 2, [-1]),
            "boundaries[0]: expected a number above 0.0; received -1. Boundaries increase.",
        ),
        (lambda: scale(0.1, 2), f"schedule: expected a schedule; received 0.1. {USE}"),
        (lambda: scale(Constant(1), 0), "factor: expected a number above 0; received 0."),
        (lambda: clip(None, 2), f"schedule: expected a schedule; received None. {USE}"),
        (lambda: clip(Constant(1)), "minimum, maximum: expected a limit at least; received None for both."),
        (lambda: clip(Constant(1), -1), "minimum: expected a number of at least 0; received -1."),
        (lambda: clip(Constant(1), 0.2, 0.1), "maximum: expected a number of at least 0.2; received 0.1."),
        (lambda: clip(Constant(1), maximum=0), "maximum: expected a number above 0; received 0."),
        (lambda: repeat("x", 2), f"schedule: expected a schedule; received 'x'. {USE}"),
        (lambda: repeat(Constant(1), 0), "period: expected a number above 0; received 0."),
        (lambda: repeat(Constant(1), 2, 0), "times: expected a whole number of at least 1; received 0."),
        (lambda: repeat(Constant(1), 2, 1.5), "times: expected a whole number of at least 1; received 1.5."),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(InputError) as error:
        build()
    assert str(error.value) == message
