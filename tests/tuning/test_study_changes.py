"""What a study is not continued with, and spaces too large to be listed."""

import keras_tuner
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.tuning.draws import count_values
from kerasbn.tuning.objective import MisuseError
from kerasbn.tuning.store.settings import of_fit
from kerasbn.tuning.store.storage import database_url
from kerasbn.tuning.strategies.grid import grid_values


def test_numpy_numbers_and_tables_are_known_by_their_content():
    pandas = pytest.importorskip("pandas")
    assert of_fit((), {"epochs": np.int64(3)}) == {"epochs": 3}
    one, other = pandas.DataFrame({"a": [1.0]}), pandas.DataFrame({"a": [2.0]})
    assert of_fit((one,), {}) == of_fit((one.copy(),), {})
    assert of_fit((one,), {}) != of_fit((other,), {})


def test_values_are_counted_without_a_list():
    hp = keras_tuner.HyperParameters()
    hp.Int("large", 0, 2**31)
    hp.Int("log", 2, 40, step=2, sampling="log")
    hp.Float("steps", 0.1, 0.35, step=0.1)
    assert [count_values(h) for h in hp.space] == [2**31 + 1, 5, 3]
    with pytest.raises(MisuseError, match="large: expected at most 1000000 values on a grid; received 2147483649"):
        grid_values(hp.space[0])


def test_the_end_of_a_password_that_is_not_quoted_is_not_shown():
    with pytest.raises(InputError) as caught:
        database_url("postgresql://me:s3@cret/x@host/studies")
    assert "cret" not in str(caught.value)
    assert "postgresql://***@host/studies" in str(caught.value)
