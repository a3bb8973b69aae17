"""Schedules to dictionaries and back, and dictionaries that are none of a schedule."""

import json
import pickle

import pytest
import yaml
from schedule_table import all_schedules

from kerasbn.checks import InputError
from kerasbn.schedules import Constant, Manual, from_dict


@all_schedules
def test_dictionary_json_yaml_and_pickle_round_trips(schedule):
    values = schedule.to_dict()
    assert next(iter(values)) == "name"
    for again in (
        from_dict(values),
        from_dict(json.loads(json.dumps(values))),
        from_dict(yaml.safe_load(yaml.safe_dump(values))),
        pickle.loads(pickle.dumps(schedule)),
    ):
        assert type(again) is type(schedule)
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert again.to_dict() == values


def test_numbers_that_yaml_reads_as_text():
    values = yaml.safe_load("{name: manual, values: [1e-1, 5e-2]}")
    assert values["values"] == ["1e-1", "5e-2"]
    assert from_dict(values) == Manual((0.1, 0.05))
    assert from_dict(yaml.safe_load("{name: constant, initial_learning_rate: 1e-3}")) == Constant(0.001)


NAMES = (
    "'constant', 'inverse_time', 'exponential', 'inverse_sqrt', 'staircase', 'piecewise_constant', 'manual', "
    "'polynomial', 'linear', 'cosine', 'cosine_restarts', 'triangular', 'one_cycle', "
    "'warm_up', 'join', 'scale', 'clip', 'repeat'"
)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("cosine", "schedule: expected a mapping with a name and arguments; received 'cosine'."),
        ({"initial_learning_rate": 1}, f"schedule.name: expected one of {NAMES}; received no name."),
        ({"name": "cosin"}, f"schedule.name: expected one of {NAMES}; received 'cosin'. Did you mean 'cosine'?"),
        ({"name": ["cosine"]}, f"schedule.name: expected one of {NAMES}; received ['cosine']. Did you mean 'cosine'?"),
        (
            {"name": "linear", "initial_learning_rate": 0.1, "decay_step": 5},
            "schedule: expected keys out of 'name', 'initial_learning_rate', 'decay_steps', 'end_learning_rate'; "
            "received 'decay_step'. Did you mean 'decay_steps'?",
        ),
        (
            {"name": "linear", "initial_learning_rate": 0.1},
            "schedule.decay_steps: expected a value; received none. 'linear' has no default for it.",
        ),
        (
            {"name": "constant", "initial_learning_rate": "fast"},
            "schedule.initial_learning_rate: expected a number above 0; received 'fast'.",
        ),
        (
            {"name": "warm_up", "schedule": {"name": "linear", "initial_learning_rate": 1}, "warmup_steps": 3},
            "schedule.schedule.decay_steps: expected a value; received none. 'linear' has no default for it.",
        ),
        (
            {"name": "warm_up", "schedule": {"name": "constant", "initial_learning_rate": -1}, "warmup_steps": 3},
            "schedule.schedule.initial_learning_rate: expected a number above 0; received -1.",
        ),
        (
            {"name": "join", "schedules": [{"name": "constant", "initial_learning_rate": 0}], "boundaries": []},
            "schedule.schedules[0].initial_learning_rate: expected a number above 0; received 0.",
        ),
        (
            {"name": "scale", "schedule": "constant", "factor": 3},
            "schedule.schedule: expected a schedule; received 'constant'. "
            "Use one of kerasbn.schedules, such as Constant(0.1).",
        ),
    ],
)
def test_bad_dictionaries(values, message):
    with pytest.raises(InputError) as error:
        from_dict(values)
    assert str(error.value) == message


def test_the_message_says_where_the_dictionary_stands():
    with pytest.raises(InputError, match=r"training\.schedule\.decay_steps: expected a number above 0; received 0\."):
        from_dict({"name": "linear", "initial_learning_rate": 1, "decay_steps": 0}, "training.schedule")
