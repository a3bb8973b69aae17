"""Tests of kerasbn.checks: the one message form, with its values."""

import math

import numpy as np
import pytest

from kerasbn import checks
from kerasbn.checks import InputError


def test_message_has_all_four_parts():
    error = InputError("momentum", "a number in [0, 1)", 1.5, "The usual value is 0.99.")
    assert str(error) == "momentum: expected a number in [0, 1); received 1.5. The usual value is 0.99."
    assert isinstance(error, ValueError)
    assert str(InputError("a", "b", "c")) == "a: expected b; received c."
    assert (error.subject, error.received) == ("momentum", 1.5)
    assert (error.expected, error.remedy) == ("a number in [0, 1)", "The usual value is 0.99.")


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.25), np.int64(0), np.array(0.5)])
def test_in_range_returns_the_value_itself(value):
    assert checks.in_range("dropout", value, 0, 1, open_high=True) is value


@pytest.mark.parametrize(
    ("value", "options", "message"),
    [
        (1, {"low": 0, "high": 1, "open_high": True}, "x: expected a number in [0, 1); received 1."),
        (0.0, {"low": 0, "high": 1, "open_low": True}, "x: expected a number in (0, 1]; received 0.0."),
        (0, {"low": 1, "integer": True}, "x: expected a whole number of at least 1; received 0."),
        (0, {"low": 0, "open_low": True}, "x: expected a number above 0; received 0."),
        (5, {"high": 4}, "x: expected a number of at most 4; received 5."),
        (4, {"high": 4, "open_high": True}, "x: expected a number below 4; received 4."),
        (1.5, {"integer": True}, "x: expected a whole number; received 1.5."),
        (-1, {"low": 0, "high": 2**31 - 1}, "x: expected a number in [0, 2147483647]; received -1."),
        (math.nan, {}, "x: expected a number; received nan."),
        (math.inf, {}, "x: expected a number; received inf."),
        (-math.inf, {"high": 1}, "x: expected a number of at most 1; received -inf."),
        (True, {}, "x: expected a number; received True."),
        (np.bool_(True), {}, "x: expected a number; received np.True_."),
        ("1", {}, "x: expected a number; received '1'."),
        (None, {}, "x: expected a number; received None."),
        (np.array([1.0]), {}, "x: expected a number; received array([1.])."),
    ],
)
def test_in_range_refuses(value, options, message):
    with pytest.raises(InputError) as caught:
        checks.in_range("x", value, **options)
    assert str(caught.value) == message


def test_in_range_takes_whole_numbers_beyond_floats():
    assert checks.in_range("x", 10**400, 0) == 10**400
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        checks.in_range("x", 10**400, 0, 1)


def test_in_range_says_the_remedy():
    with pytest.raises(InputError, match=r"received 1\. A batch of one has no variance\.$"):
        checks.in_range("batch_size", 1, 2, remedy="A batch of one has no variance.")


def test_one_of():
    assert checks.one_of("model", "mlp", ("mlp", "resnet")) == "mlp"
    with pytest.raises(InputError) as caught:
        checks.one_of("model", "rsnet", ("mlp", "resnet"))
    assert str(caught.value) == "model: expected one of 'mlp', 'resnet'; received 'rsnet'. Did you mean 'resnet'?"
    with pytest.raises(InputError, match=r"received \['mlp'\]"):
        checks.one_of("model", ["mlp"], ("mlp", "resnet"))


def test_known_keys():
    checks.known_keys("config", ["a"], ("a", "b"))
    with pytest.raises(InputError) as caught:
        checks.known_keys("config", ["epochs", "epoch"], ("epochs", "seed"))
    expected = "config: expected keys out of 'epochs', 'seed'; received 'epoch'. Did you mean 'epochs'?"
    assert str(caught.value) == expected
    with pytest.raises(InputError, match=r"received 1\."):  # YAML has keys that are no texts
        checks.known_keys("config", [1], ("epochs",))


def test_nearest_says_nothing_of_what_is_far():
    assert checks.nearest("zzz", ("epochs", "seed")) == ""
