"""Tests of the input pipeline: its order is a function of the seed and the epoch, its batches have one shape."""

import itertools

import numpy as np
import pytest

from kerasbn.data import Dataset, evaluation_batches, pipeline, training_batches

DATA = Dataset(np.arange(50, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32), np.arange(50, dtype=np.int32))


def epochs(number, batch_size=8, steps=6, seed=0, first_epoch=0):
    batches = training_batches(DATA, batch_size, steps, seed, first_epoch)
    taken = list(itertools.islice(iter(batches), number * steps))
    return [np.concatenate([y.numpy() for _, y in taken[i * steps : (i + 1) * steps]]) for i in range(number)]


def test_an_epoch_has_no_example_twice_and_the_next_is_another():
    first, second, third = epochs(3)
    for order in (first, second, third):
        assert len(order) == 48
        assert len(set(order.tolist())) == 48
    assert first.tolist() != second.tolist() != third.tolist()
    assert first.tolist() != sorted(first)
    left_out = {tuple(set(range(50)) - set(order.tolist())) for order in epochs(8)}
    assert len(left_out) > 1  # not always the same examples


def test_order_is_a_function_of_seed_and_epoch():
    whole = epochs(4, seed=3)
    np.testing.assert_array_equal(epochs(4, seed=3), whole)
    for first_epoch in range(4):  # as a resumed run sees them
        np.testing.assert_array_equal(epochs(4 - first_epoch, seed=3, first_epoch=first_epoch), whole[first_epoch:])
    assert epochs(1, seed=4)[0].tolist() != whole[0].tolist()
    assert epochs(1, seed=2**31 - 1)[0].tolist() != whole[0].tolist()


@pytest.mark.parametrize("block_bytes", [1, 8 * 3 * 4, 4 * 8 * 3 * 4, 10**9])
def test_blocks_do_not_change_the_batches(monkeypatch, block_bytes):
    expected = epochs(3)
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", block_bytes)  # 1, 1, 4 of 6 batches, and all
    np.testing.assert_array_equal(epochs(3), expected)


def test_batches_have_one_static_shape_and_labels_stay_with_their_examples(monkeypatch):
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", 4 * 8 * 3 * 4)
    batches = training_batches(DATA, 8, 6, 0)
    assert [tuple(spec.shape) for spec in batches.element_spec] == [(8, 3), (8,)]
    for x, y in itertools.islice(iter(batches), 14):
        assert x.shape == (8, 3)
        np.testing.assert_array_equal(x[:, 0], y)


def test_a_batch_of_all_examples():
    assert sorted(epochs(1, batch_size=50, steps=1)[0]) == list(range(50))


def test_evaluation_batches_are_all_examples_in_order():
    batches = list(evaluation_batches(DATA, 20))
    assert [len(y) for _, y in batches] == [20, 20, 10]
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), DATA.labels)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), DATA.inputs)
