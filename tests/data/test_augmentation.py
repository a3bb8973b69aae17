"""Tests of augmentation: each image as NumPy changes it, and the same whatever the blocks and resumptions of a run."""

import itertools

import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.config import TrainingConfig
from kerasbn.data import Features, pipeline, training_batches
from kerasbn.data.augmentation import augmented, draws

RANDOM = np.random.default_rng(0)
DATA = Features(RANDOM.normal(size=(50, 5, 4, 2)).astype(np.float32), np.arange(50, dtype=np.int32))


def batches(number, first_epoch=0, first_step=0, seed=0, flip=True, shift=2):
    taken = training_batches(DATA, 8, 6, seed, first_epoch, first_step, flip=flip, shift=shift)
    return [(x.numpy(), y.numpy()) for x, y in itertools.islice(iter(taken), number)]


def same(some, others):
    return all(
        np.array_equal(a, b) for pair, other in zip(some, others, strict=True) for a, b in zip(pair, other, strict=True)
    )


def changed(image, down, right, mirrored):
    """Mirror and shift one image pixel by pixel."""
    image = image[:, ::-1] if mirrored else image
    height, width, _ = image.shape
    result = np.empty_like(image)
    for row, column in np.ndindex(height, width):
        result[row, column] = image[np.clip(row - down, 0, height - 1), np.clip(column - right, 0, width - 1)]
    return result


def test_images_are_changed_as_drawn():
    drawn = np.array([(down, right, m) for down in (-2, 0, 1) for right in (-1, 0, 2) for m in (0, 1)], np.int32)
    images = DATA.inputs[: len(drawn)]
    expected = [changed(image, *row) for image, row in zip(images, drawn, strict=True)]
    np.testing.assert_array_equal(augmented(images, drawn), expected)


@pytest.mark.parametrize(("flip", "shift"), [(True, 0), (False, 1), (True, 2)])
def test_draws_are_even_and_of_the_seed_and_the_epoch(flip, shift):
    def of(seed, epoch):
        return draws(30_000, seed, np.int64(epoch), flip, shift).numpy()

    drawn = of(3, 7)
    for column in drawn.T[:2]:
        counts = np.bincount(column + shift, minlength=2 * shift + 1)
        np.testing.assert_allclose(counts / 30_000, 1 / (2 * shift + 1), atol=0.02)
    assert drawn[:, 2].mean() == pytest.approx(0.5 if flip else 0, abs=0.02)
    assert set(np.unique(drawn[:, 2])) == ({0, 1} if flip else {0})
    if flip and shift:
        assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03
    np.testing.assert_array_equal(of(3, 7), drawn)
    assert not np.array_equal(of(3, 8), drawn)
    assert not np.array_equal(of(4, 7), drawn)


def test_batches_are_changed_and_keep_order_and_labels():
    plain, now = batches(12, flip=False, shift=0), batches(12)
    for (x, y), (x_now, y_now) in zip(plain, now, strict=True):
        np.testing.assert_array_equal(y, y_now)
        np.testing.assert_array_equal(x, DATA.inputs[y])
        for image, label in zip(x_now, y_now, strict=True):
            ways = itertools.product(range(-2, 3), range(-2, 3), (0, 1))
            assert any(np.array_equal(image, changed(DATA.inputs[label], *way)) for way in ways)
    assert not same(plain[:6], now[:6])


def test_a_resumed_run_sees_the_same():
    whole = batches(18, seed=5)
    for epoch, step in ((0, 0), (0, 5), (1, 0), (1, 2), (2, 5)):
        assert same(batches(18 - 6 * epoch - step, epoch, step, seed=5), whole[6 * epoch + step :])


@pytest.mark.parametrize("batches_in_block", [1, 4, 100])
def test_blocks_do_not_change_the_batches(monkeypatch, batches_in_block):
    expected = batches(12)
    monkeypatch.setattr(pipeline, "_BLOCK_BYTES", batches_in_block * 8 * DATA.inputs[:1].nbytes)
    assert same(batches(12), expected)


def test_batches_have_one_static_shape():
    spec = training_batches(DATA, 8, 6, 0, flip=True).element_spec
    assert [tuple(part.shape) for part in spec] == [(8, 5, 4, 2), (8,)]


def test_what_is_no_image_is_refused():
    table = Features(np.zeros((50, 3), np.float32), DATA.labels)
    with pytest.raises(InputError, match=r"images.*\(3,\)"):
        training_batches(table, 8, 6, 0, shift=1)
    with pytest.raises(InputError, match=r"training\.shift"):
        TrainingConfig(shift=-1)
