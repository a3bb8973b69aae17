import doctest
import math
import subprocess
import sys

import numpy as np
import pytest

from kerasbn import schedules
from kerasbn.checks import InputError
from kerasbn.schedules import Constant, Exponential, InverseSqrt, InverseTime


def test_examples_in_the_docstrings():
    results = doctest.testmod(schedules)
    assert results.attempted >= 5
    assert results.failed == 0


def test_the_course_numbers():
    schedule = InverseTime(0.2, decay_rate=1.0)
    assert [round(schedule(t), 3) for t in range(1, 5)] == [0.1, 0.067, 0.05, 0.04]


@pytest.mark.parametrize("position", [0, 1, 2.5, 7, np.int64(3), np.float32(4)])
def test_formulas(position):
    t = float(position)
    assert Constant(0.3)(position) == 0.3
    assert InverseTime(0.3, 0.7)(position) == pytest.approx(0.3 / (1 + 0.7 * t))
    assert Exponential(0.3, 0.9)(position) == pytest.approx(0.9**t * 0.3)
    assert InverseSqrt(0.3, 0.7)(position) == pytest.approx(0.7 / math.sqrt(max(t, 1)) * 0.3)
    for schedule in (Constant(0.3), InverseTime(0.3), Exponential(0.3), InverseSqrt(0.3)):
        assert type(schedule(position)) is float


def test_inverse_sqrt_is_held_below_one():
    assert InverseSqrt(0.2)(0) == InverseSqrt(0.2)(0.5) == InverseSqrt(0.2)(1) == 0.2


def test_equal_by_value_and_frozen():
    assert InverseTime(0.2, 1.0) == InverseTime(0.2)
    with pytest.raises(AttributeError):
        InverseTime(0.2).decay_rate = 2.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(0), "initial_learning_rate: expected a number above 0; received 0."),
        (lambda: Constant(math.nan), "initial_learning_rate: expected a number above 0; received nan."),
        (lambda: InverseTime(-1), "initial_learning_rate: expected a number above 0; received -1."),
        (lambda: InverseTime(0.1, -1), "decay_rate: expected a number of at least 0; received -1."),
        (lambda: Exponential(0), "initial_learning_rate: expected a number above 0; received 0."),
        (lambda: Exponential(0.1, 0), "decay_rate: expected a number in (0, 1]; received 0."),
        (lambda: Exponential(0.1, 1.1), "decay_rate: expected a number in (0, 1]; received 1.1."),
        (lambda: InverseSqrt("x"), "initial_learning_rate: expected a number above 0; received 'x'."),
        (lambda: InverseSqrt(0.1, 0), "k: expected a number above 0; received 0."),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(InputError) as error:
        build()
    assert str(error.value) == message


@pytest.mark.parametrize("kind", [Constant, InverseTime, Exponential, InverseSqrt])
def test_bad_position(kind):
    with pytest.raises(InputError) as error:
        kind(0.1)(-1)
    assert str(error.value) == "position: expected a number of at least 0; received -1."


def test_no_tensorflow_is_loaded():
    program = "import sys, kerasbn.schedules; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
