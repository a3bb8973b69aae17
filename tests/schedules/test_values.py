"""What all schedules have in common: they are frozen values, and their arguments and positions are checked."""

import math
import subprocess
import sys

import numpy as np
import pytest
from schedule_table import LENGTHS, SCHEDULES, all_schedules

from kerasbn import schedules
from kerasbn.checks import InputError
from kerasbn.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    Manual,
    OneCycle,
    PiecewiseConstant,
    Polynomial,
    Schedule,
    Staircase,
    Triangular,
    WarmUp,
    batch_size_factor,
)

POSITIONS = np.concatenate([np.arange(0, 130, 0.25), np.geomspace(130, 1e6, 50)])


def kinds(base=Schedule):
    for kind in base.__subclasses__():
        yield from kinds(kind)
        if "name" in vars(kind):
            yield kind


def test_the_table_is_complete():
    assert set(kinds()) == {type(schedule) for schedule in SCHEDULES}
    assert len({kind.name for kind in kinds()}) == len(set(kinds()))


@all_schedules
def test_repr_makes_it_again(schedule):
    assert eval(repr(schedule), vars(schedules)) == schedule


def test_repr_leaves_out_defaults():
    schedule = WarmUp(InverseTime(0.2, decay_steps=5), warmup_steps=4)
    assert repr(schedule) == "WarmUp(InverseTime(0.2, decay_steps=5), warmup_steps=4)"
    assert repr(schedules.clip(schedule, maximum=1)) == f"clip({schedule}, maximum=1)"


@all_schedules
def test_equal_by_value_and_frozen(schedule):
    assert [other for other in SCHEDULES if other == schedule] == [schedule]
    for name in schedule.to_dict():
        with pytest.raises(AttributeError):
            setattr(schedule, name, 1.0)


def test_numbers_of_numpy_are_held_as_pythons():
    schedule = OneCycle(np.float64(0.5), np.int64(100), base_momentum=np.float32(0.5))
    assert [type(value) for value in schedule.to_dict().values()].count(float) == 6
    assert type(schedule.decay_steps) is int
    manual = Manual(np.array([0.1, 0.2]))
    assert manual == Manual((0.1, 0.2))
    assert [type(value) for value in manual.values] == [float, float]


@all_schedules
def test_alone_and_among_others_the_rates_are_the_same_bits(schedule):
    for function in (schedule, schedule.momentum) if schedule.cycles_momentum else (schedule,):
        together = function(POSITIONS)
        assert together.dtype == np.float64
        assert np.isfinite(together).all()
        assert (together >= 0).all()
        assert [function(float(t)) for t in POSITIONS] == together.tolist()
        assert (function(POSITIONS.reshape(2, -1)).reshape(-1) == together).all()
        assert (function(POSITIONS[1::3]) == together[1::3]).all()
        assert (function(np.arange(9)) == function(np.arange(9.0))).all()
        assert function(np.zeros((0, 3))).shape == (0, 3)
        for three in (3, 3.0, np.int64(3), np.float32(3), np.array(3)):
            assert type(function(three)) is float
            assert function(three) == function(3)


@all_schedules
def test_momentum_is_none_or_a_momentum(schedule):
    if schedule.cycles_momentum:
        momenta = schedule.momentum(POSITIONS)
        assert (momenta.min(), momenta.max()) == pytest.approx((0.85, 0.95), abs=1e-6)
        assert momenta.max() < 0.95 + 1e-12
    else:
        assert schedule.momentum(3) is None
        assert schedule.momentum(POSITIONS) is None


@all_schedules
def test_after_its_length_the_last_value_holds(schedule):
    assert schedule.length == LENGTHS[schedule]
    assert schedule.length is None or type(schedule.length) is float
    after = np.array([0, 1e-9, 0.5, 7, 100, 1e6]) + (schedule.length or 0)
    functions = (schedule, schedule.momentum) if schedule.cycles_momentum else (schedule,)
    for function in functions:
        if schedule.length is not None:
            assert len(set(function(after))) == 1
            if schedule.length:
                before = np.linspace(0.5, 1, 100, endpoint=False) * schedule.length
                assert len(set(schedule(before))) > 1 or schedule(before)[-1] != schedule(schedule.length)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s.length is None], ids=repr)
def test_without_a_length_it_goes_on_changing(schedule):
    if "minimum" not in schedule.to_dict():
        assert len(set(schedule(np.arange(400, 800)))) > 1


BAD = [
    (lambda: Constant(0), "initial_learning_rate: expected a number above 0; received 0."),
    (lambda: Constant(math.nan), "initial_learning_rate: expected a number above 0; received nan."),
    (lambda: InverseTime(-1), "initial_learning_rate: expected a number above 0; received -1."),
    (lambda: InverseTime(0.1, -1), "decay_rate: expected a number of at least 0; received -1."),
    (lambda: InverseTime(0.1, 1, 0), "decay_steps: expected a number above 0; received 0."),
    (lambda: InverseTime(0.1, 1, 1, 1), "staircase: expected True or False; received 1."),
    (lambda: Exponential(0), "initial_learning_rate: expected a number above 0; received 0."),
    (lambda: Exponential(0.1, 0), "decay_rate: expected a number in (0, 1]; received 0."),
    (lambda: Exponential(0.1, 1.1), "decay_rate: expected a number in (0, 1]; received 1.1."),
    (lambda: Exponential(0.1, 1, -5), "decay_steps: expected a number above 0; received -5."),
    (lambda: Exponential(0.1, staircase="yes"), "staircase: expected True or False; received 'yes'."),
    (lambda: InverseSqrt("x"), "initial_learning_rate: expected a number above 0; received 'x'."),
    (lambda: InverseSqrt(0.1, 0), "k: expected a number above 0; received 0."),
    (lambda: Staircase(0.1, 0), "decay_steps: expected a number above 0; received 0."),
    (lambda: Staircase(0.1, 3, 2), "decay_rate: expected a number in (0, 1]; received 2."),
    (lambda: PiecewiseConstant(3, (1, 2)), "boundaries: expected a list; received 3."),
    (lambda: PiecewiseConstant((3,), "ab"), "values: expected a list; received 'ab'."),
    (
        lambda: PiecewiseConstant((3, 3), (1, 2, 3)),
        "boundaries[1]: expected a number above 3; received 3. Boundaries increase.",
    ),
    (
        lambda: PiecewiseConstant((0,), (1, 2)),
        "boundaries[0]: expected a number above 0.0; received 0. Boundaries increase.",
    ),
    (
        lambda: PiecewiseConstant((3, 4), (1, 2)),
        "values: expected one more than the 2 boundaries; received 2: (1, 2).",
    ),
    (lambda: Manual(()), "values: expected at least one rate; received none."),
    (lambda: Manual((0.1, -0.1)), "values[1]: expected a number of at least 0; received -0.1."),
    (lambda: Manual((0.1, "a")), "values[1]: expected a number of at least 0; received 'a'."),
    (lambda: Manual({0.1}), "values: expected a list; received {0.1}."),
    (lambda: Manual(np.array(0.1)), "values: expected a list; received 0.1."),
    (lambda: Manual(np.ones((1, 2))), "values[0]: expected a number of at least 0; received [1.0, 1.0]."),
    (lambda: Manual([np.ones(2)]), "values[0]: expected a number of at least 0; received array([1., 1.])."),
    (lambda: Manual({0.1: 2}), "values: expected a list; received {0.1: 2}."),
    (lambda: Polynomial(0.1, 0), "decay_steps: expected a number above 0; received 0."),
    (lambda: Polynomial(0.1, 9, power=0), "power: expected a number above 0; received 0."),
    (lambda: Linear(0, 9), "initial_learning_rate: expected a number above 0; received 0."),
    (lambda: Linear(0.1, -9), "decay_steps: expected a number above 0; received -9."),
    (lambda: Cosine(0.1, math.inf), "decay_steps: expected a number above 0; received inf."),
    (lambda: Cosine(0.1, 9, -0.1), "end_learning_rate: expected a number of at least 0; received -0.1."),
    (lambda: CosineRestarts(0.1, 0), "decay_steps: expected a number above 0; received 0."),
    (lambda: CosineRestarts(0.1, 5, 0.5), "period_factor: expected a number of at least 1; received 0.5."),
    (lambda: CosineRestarts(0.1, 5, 1, 1.5), "peak_factor: expected a number in (0, 1]; received 1.5."),
    (lambda: CosineRestarts(0.1, 5, 1, 1, -1), "end_learning_rate: expected a number of at least 0; received -1."),
    (lambda: Triangular(0.2, 0.1, 5), "max_learning_rate: expected a number of at least 0.2; received 0.1."),
    (lambda: Triangular(0.1, 0.2, 0), "step_size: expected a number above 0; received 0."),
    (lambda: Triangular(0.1, 0.2, 5, 0), "step_size_down: expected a number above 0; received 0."),
    (
        lambda: Triangular(0.1, 0.2, 5, mode="triangular3"),
        "mode: expected one of 'triangular', 'triangular2', 'exp_range'; received 'triangular3'. "
        "Did you mean 'triangular'?",
    ),
    (
        lambda: Triangular(0.1, 0.2, 5, decay_rate=0.9),
        "decay_rate: expected 1, since the mode is 'triangular'; received 0.9. 'exp_range' has it.",
    ),
    (
        lambda: Triangular(0.1, 0.2, 5, mode="exp_range", decay_rate=1.1),
        "decay_rate: expected a number in (0, 1]; received 1.1.",
    ),
    (lambda: OneCycle(0, 9), "max_learning_rate: expected a number above 0; received 0."),
    (lambda: OneCycle(0.1, 0), "decay_steps: expected a number above 0; received 0."),
    (lambda: OneCycle(0.1, 9, 1), "pct_start: expected a number in (0, 1); received 1."),
    (lambda: OneCycle(0.1, 9, 0.6, three_phase=True), "pct_start: expected a number in (0, 0.5]; received 0.6."),
    (lambda: OneCycle(0.1, 9, div_factor=0.5), "div_factor: expected a number of at least 1; received 0.5."),
    (lambda: OneCycle(0.1, 9, final_div_factor=0), "final_div_factor: expected a number of at least 1; received 0."),
    (
        lambda: OneCycle(0.1, 9, shape="cos"),
        "shape: expected one of 'cosine', 'linear'; received 'cos'. Did you mean 'cosine'?",
    ),
    (lambda: OneCycle(0.1, 9, three_phase=None), "three_phase: expected True or False; received None."),
    (
        lambda: OneCycle(0.1, 9, base_momentum=0.96),
        "max_momentum: expected a number in [0.96, 1); received 0.95. None for both: the momentum is not cycled.",
    ),
    (
        lambda: OneCycle(0.1, 9, base_momentum=None),
        "base_momentum: expected a number in [0, 1); received None. None for both: the momentum is not cycled.",
    ),
    (
        lambda: WarmUp(0.1, 5),
        "schedule: expected a schedule; received 0.1. Use one of kerasbn.schedules, such as Constant(0.1).",
    ),
    (lambda: WarmUp(Constant(0.1), 0), "warmup_steps: expected a number above 0; received 0."),
    (
        lambda: WarmUp(Constant(0.1), 5, "line"),
        "shape: expected one of 'linear', 'exponential', 'constant'; received 'line'. Did you mean 'linear'?",
    ),
    (
        lambda: WarmUp(Constant(0.1), 5, "exponential"),
        "initial_learning_rate: expected a number above 0; received 0.0. "
        "A warm-up that is exponential cannot start from 0.",
    ),
    (
        lambda: WarmUp(WarmUp(Constant(0.1), 5), 5, "exponential", 0.01),
        "schedule: expected a first rate above 0; received WarmUp(Constant(0.1), warmup_steps=5). "
        "Use the shape 'linear'.",
    ),
    (lambda: batch_size_factor(0, 64), "batch_size: expected a whole number of at least 1; received 0."),
    (lambda: batch_size_factor(64, 0.5), "reference: expected a whole number of at least 1; received 0.5."),
    (
        lambda: batch_size_factor(64, 32, "root"),
        "rule: expected one of 'linear', 'square_root'; received 'root'. Did you mean 'square_root'?",
    ),
    (lambda: Constant(0.1).plot(until=0), "until: expected a number above 0; received 0."),
]


@pytest.mark.parametrize(("build", "message"), BAD)
def test_bad_arguments(build, message):
    with pytest.raises(InputError) as error:
        build()
    assert str(error.value) == message


@all_schedules
def test_bad_positions(schedule):
    for position in (-1, -1e-9, math.nan, math.inf, "3", None, True, [1, 2], 1j):
        with pytest.raises(InputError) as error:
            schedule(position)
        assert str(error.value) == f"position: expected a number of at least 0; received {position!r}."
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError) as error:
            schedule(np.array([[0, bad, 1]]))
        assert str(error.value) == f"position: expected numbers of at least 0; received {bad} among 3."
    for array in (np.array(["a"]), np.array([True]), np.array([None]), np.array([1j])):
        with pytest.raises(InputError) as error:
            schedule(array)
        assert str(error.value) == (
            f"position: expected a number or a NumPy array of numbers; received ndarray of {array.dtype}. "
            "as_keras() takes tensors."
        )


def test_batch_size_factor():
    assert batch_size_factor(8192, 256) == 32
    assert batch_size_factor(32, 128) == 0.25
    assert batch_size_factor(8192, 256, rule="square_root") == pytest.approx(math.sqrt(32))
    assert batch_size_factor(64, 64, "square_root") == 1


def test_nothing_large_is_loaded():
    program = (
        "import sys, kerasbn.schedules as s\n"
        "values = s.WarmUp(s.repeat(s.Cosine(0.1, 5), 5), 5).to_dict()\n"
        "schedule = s.from_dict(values)\n"
        "print({'tensorflow', 'keras', 'matplotlib', 'numpy'} & set(sys.modules))\n"
        "schedule(3.5)\n"
        "print({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\nset()\n"
