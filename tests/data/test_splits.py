"""Tests of kerasbn.data.splits: stratified, seeded, disjoint, and described by a manifest."""

import json

import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data import Dataset, content_hash, load_splits


def rows(part):
    return [row.tobytes() for row in np.ascontiguousarray(part.inputs)]


@pytest.fixture
def numbered(tmp_path):
    """A set whose examples are their own numbers, with 60 % of class 0."""
    path = tmp_path / "a.npz"
    labels = np.where(np.arange(1000) % 10 < 6, 0, np.where(np.arange(1000) % 10 < 9, 1, 2))
    np.savez(path, x=np.arange(1000, dtype=np.float32)[:, None], y=labels)
    return DataConfig(source=str(path), validation_fraction=0.2, test_fraction=0.1)


def test_parts_are_disjoint_all_and_in_proportion(numbered):
    splits = load_splits(numbered)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [700, 200, 100]
    assert sorted(np.concatenate([part.inputs[:, 0] for part in parts])) == list(range(1000))
    for part in parts:
        np.testing.assert_array_equal(np.bincount(part.labels), np.array([6, 3, 1]) * len(part) // 10)
        expected = np.where(part.inputs[:, 0] % 10 < 6, 0, np.where(part.inputs[:, 0] % 10 < 9, 1, 2))
        np.testing.assert_array_equal(part.labels, expected)  # labels stay with their examples


def test_the_seed_decides(numbered):
    def order(seed):
        splits = load_splits(DataConfig(source=numbered.source, seed=seed))
        return [part.inputs.tobytes() for part in (splits.train, splits.validation, splits.test)]

    assert order(0) == order(0)
    assert all(a != b for a, b in zip(order(0), order(1), strict=True))
    order(2**31 - 1)


@pytest.mark.parametrize(
    ("source", "counts"), [("iris", (106, 22, 22)), ("digits", (1257, 270, 270)), ("wine", (124, 27, 27))]
)
def test_counts_of_bundled_sets(source, counts):
    splits = load_splits(DataConfig(source=source))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == counts


def test_tables_are_split_by_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},n{i},{'pq'[i % 2]}\n" for i in range(60)))
    splits = load_splits(DataConfig(source=str(path), target="y", categorical=("b",)))
    seen = []
    for part in (splits.train, splits.validation, splits.test):
        for number, name, label in zip(part.inputs["a"], part.inputs["b"], part.labels, strict=True):
            assert name == f"n{int(number)}"
            assert label == int(number) % 2
            seen.append(int(number))
    assert sorted(seen) == list(range(60))


def test_a_source_with_its_own_test_set(tmp_path):
    path = tmp_path / "a.npz"
    x, y = np.arange(100, dtype=np.float32)[:, None], np.arange(100) % 2
    np.savez(path, x_train=x, y_train=y, x_test=-x[:30], y_test=y[:30])
    splits = load_splits(DataConfig(source=str(path), validation_fraction=0.2))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (80, 20, 30)
    np.testing.assert_array_equal(splits.test.inputs, -x[:30])
    assert sorted(np.concatenate([splits.train.inputs[:, 0], splits.validation.inputs[:, 0]])) == list(range(100))


def test_manifest(numbered):
    manifest = load_splits(numbered).manifest
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["class_names"] == ["0", "1", "2"]
    assert manifest["schema"] == {"kind": "array", "shape": [1]}
    hashes = {manifest[part].pop("content_hash") for part in ("train", "validation", "test")}
    assert len(hashes | {manifest["content_hash"]}) == 4
    assert (manifest["seed"], manifest["validation_fraction"], manifest["test_fraction"]) == (0, 0.2, 0.1)
    assert manifest["train"] == {"examples": 700, "by_class": {"0": 420, "1": 210, "2": 70}}
    assert manifest["validation"] == {"examples": 200, "by_class": {"0": 120, "1": 60, "2": 20}}
    assert manifest["test"] == {"examples": 100, "by_class": {"0": 60, "1": 30, "2": 10}}
    assert manifest["seed"] == 0
    assert manifest["source"] == numbered.source
    assert len(manifest["content_hash"]) == 64


def test_content_hash_changes_with_one_value():
    x, y = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 0], np.int32)
    table = {"a": x[:, 0], "b": np.array(["u", "v", ""], object)}
    whole = content_hash(Dataset(x, y))
    assert whole == content_hash(Dataset(x.copy(order="F"), y))
    nudged = x.copy()
    nudged[2, 1] = np.nextafter(nudged[2, 1], 9)
    others = [
        content_hash(Dataset(nudged, y)),
        content_hash(Dataset(x, np.array([0, 1, 1], np.int32))),
        content_hash(Dataset(x.astype(np.float64), y)),
        content_hash(Dataset(x.reshape(3, 2, 1), y)),
        content_hash(Dataset(x[::-1], y)),
        content_hash(Dataset(table, y)),
        content_hash(Dataset({**table, "b": np.array(["u", "v", "w"], object)}, y)),
        content_hash(Dataset({**table, "b": np.array(["uv", "", ""], object)}, y)),
        content_hash(Dataset({"a": table["a"], "c": table["b"]}, y)),
    ]
    assert len({whole, *others}) == 10


def test_content_hash_does_not_depend_on_the_split():
    hashes = {load_splits(DataConfig(source="iris", seed=seed)).manifest["content_hash"] for seed in (0, 1)}
    assert len(hashes) == 1


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_are_refused_whatever_the_seed(tmp_path, seed):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((50, 1)), y=np.array([0] * 48 + [1] * 2))
    with pytest.raises(InputError) as caught:
        load_splits(DataConfig(source=str(path), seed=seed))
    assert str(caught.value) == (
        "data.source: expected at least 3 examples of each class; received 2 of '1'. "
        "Leave those examples out, or join the classes with others."
    )
    np.savez(path, x=np.zeros((50, 1)), y=np.array([0] * 47 + [1] * 3))
    assert 1 in load_splits(DataConfig(source=str(path), seed=seed)).train.labels


def test_fractions_that_leave_too_little(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((40, 1)), y=np.arange(40) % 10)
    with pytest.raises(InputError) as caught:
        load_splits(DataConfig(source=str(path), test_fraction=0.1))
    assert str(caught.value) == (
        "data.test_fraction: expected every class to have examples in training, validation and test "
        "(0.1 of 40 is 4); received 10 classes, the smallest with 4 examples. "
        "Give more examples of the rare classes, or larger fractions."
    )
    with pytest.raises(InputError, match=r"^data.validation_fraction: .*0.9 of 40|^data.validation_fraction: "):
        load_splits(DataConfig(source=str(path), test_fraction=0.25, validation_fraction=0.7))
