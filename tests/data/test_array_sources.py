"""Tests of bundled sets, keras.datasets and .npz files."""

import io
import re

import keras
import numpy as np
import pytest

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data import arrays
from kerasbn.data.sources import load_source

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.tile([0, 1, 2], 4)


def read(tmp_path, **content):
    path = tmp_path / "a.npz"
    np.savez(path, **content)
    return arrays.read_npz(path)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "first", "kind"),
    [
        ("digits", (1797, 8, 8), 10, ("0", "1"), "image"),
        ("breast_cancer", (569, 30), 2, ("malignant", "benign"), "array"),
        ("wine", (178, 13), 3, ("class_0", "class_1"), "array"),
        ("iris", (150, 4), 3, ("setosa", "versicolor"), "array"),
    ],
)
def test_bundled_sets(name, shape, classes, first, kind):
    source = load_source(DataConfig(source=name))
    assert source.examples.inputs.shape == shape
    assert source.examples.inputs.dtype == np.float32
    assert source.examples.labels.dtype == np.int32
    assert set(source.examples.labels.tolist()) == set(range(classes))
    assert len(source.class_names) == classes
    assert source.class_names[:2] == first
    assert source.schema == {"kind": kind, "shape": list(shape[1:])}
    assert source.test is None


def test_keras_datasets(monkeypatch):
    images, labels = np.zeros((20, 4, 4), np.uint8), np.tile([3, 7], 10).reshape(20, 1).astype(np.uint8)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((images, labels), (images[:4], labels[:4])))
    source = load_source(DataConfig(source="mnist"))
    assert source.class_names == ("3", "7")
    assert source.examples.inputs.dtype == np.uint8
    assert source.test.labels.tolist() == [0, 1, 0, 1]
    assert source.schema == {"kind": "image", "shape": [4, 4]}


def test_keras_datasets_without_a_network(monkeypatch):
    def fail():
        raise Exception(
            "URL fetch failure on https://example.org: None -- no route"
        )  # a bare Exception, as Keras raises

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)
    with pytest.raises(InputError) as caught:
        load_source(DataConfig(source="cifar10"))
    assert str(caught.value) == (
        "data.source: expected keras.datasets.cifar10 to be on this machine or to be downloaded; received URL fetch "
        "failure on https://example.org: None -- no route. Without a network, copy the file into ~/.keras/datasets "
        "from a machine where `keras.datasets.cifar10.load_data()` has run, or give an .npz file instead."
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"source": "digit"},
            "data.source: expected one of digits, breast_cancer, wine, iris, mnist, fashion_mnist, cifar10, cifar100, "
            "a .csv or .npz file, or a folder of images; received 'digit', which does not exist. "
            "Did you mean 'digits'?",
        ),
        (
            {"source": "iris", "target": "y"},
            "data.target: expected a .csv file as data.source; received 'iris'. Leave the key out.",
        ),
        (
            {"source": "a.npz", "drop": ("y",)},
            "data.drop: expected a .csv file as data.source; received 'a.npz'. Leave the key out.",
        ),
        (
            {"source": "iris", "image_size": (8, 8)},
            "data.image_size: expected a folder of images as data.source; received 'iris'. Leave the key out.",
        ),
    ],
)
def test_sources_that_are_none(config, message):
    with pytest.raises(InputError) as caught:
        load_source(DataConfig(**config))
    assert str(caught.value) == message


def test_a_folder_that_is_missing_is_what_is_told():
    with pytest.raises(InputError, match=r"^data.source: .*received 'no/folder', which does not exist"):
        load_source(DataConfig(source="no/folder", image_size=(8, 8)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flower.csv", "a .csv file; received '{}', which does not exist. Did you mean 'flowers.csv'?"),
        ("flowers.npz", "a file; received '{}', which does not exist. Did you mean 'flowers.csv'?"),
        ("flwers", "or a folder of images; received '{}', which does not exist. Did you mean 'flowers.csv'?"),
        ("zzz.npz", "a file; received '{}', which does not exist. Check the path."),
        ("none/flowers.csv", "a .csv file; received '{}', which does not exist. Check the path."),
    ],
)
def test_a_missing_file_and_the_name_most_like_it(tmp_path, name, message):
    (tmp_path / "flowers.csv").touch()
    with pytest.raises(InputError) as caught:
        load_source(DataConfig(source=str(tmp_path / name)))
    assert message.format(tmp_path / name) in str(caught.value)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match=rf"received '{re.escape(str(tmp_path))}/a.txt'\. Convert"):
        load_source(DataConfig(source=str(tmp_path / "a.txt")))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (Y, ("0", "1", "2")),
        (Y[:, None], ("0", "1", "2")),
        (np.eye(3)[Y], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[Y], ("0", "1", "2")),
        (Y.astype(np.float64), ("0", "1", "2")),
        (Y.astype(np.uint8), ("0", "1", "2")),
        (Y - 1, ("-1", "0", "1")),
        (np.array(["cat", "dog", "ä"])[Y], ("cat", "dog", "ä")),
        (np.array([b"cat", b"dog", "ä".encode()])[Y], ("cat", "dog", "ä")),
        (np.array(["9", "10", "2"])[Y], ("2", "9", "10")),  # by value, not "10" before "9"
        (np.array(["9", "10", "02"])[Y], ("02", "10", "9")),  # no numbers as they are written
        (np.array([True, False, True])[Y], ("False", "True")),
    ],
)
def test_labels(tmp_path, labels, names):
    source = read(tmp_path, x=X, y=labels)
    assert source.class_names == names
    plain = labels.argmax(1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    plain = np.char.decode(plain, "utf-8") if plain.dtype.kind == "S" else plain
    expected = plain.astype(int) if plain.dtype.kind == "f" else plain
    assert [names[label] for label in source.examples.labels] == [str(value) for value in expected.tolist()]
    both = read(tmp_path, x_train=X, y_train=labels, x_test=X[:6], y_test=labels[:6])
    assert both.class_names == names
    np.testing.assert_array_equal(both.test.labels, source.examples.labels[:6])


def test_labels_of_another_type_in_the_test_set(tmp_path):
    source = read(tmp_path, x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3].astype(np.float32))
    assert source.test.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("inputs", "dtype"),
    [
        (X, np.float32),
        (X.astype(np.float64), np.float32),
        (X.astype(np.float16), np.float32),
        (X.astype(np.int64), np.float32),
        (X.astype(np.uint16), np.float32),
        (X.astype(np.uint8), np.uint8),
        (X > 5, np.uint8),
        (np.asfortranarray(X), np.float32),
    ],
)
def test_types_of_inputs(tmp_path, inputs, dtype):
    source = read(tmp_path, x=inputs, y=Y)
    assert source.examples.inputs.dtype == dtype
    np.testing.assert_array_equal(source.examples.inputs, inputs.astype(dtype))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": X * np.nan, "y": Y}, "data.source: x: expected finite float32 numbers; received 24 that are not. "
         "Fill or leave out those examples; missing values are understood in .csv files only."),
        ({"x": X.astype(np.float64) + 1e39, "y": Y}, "data.source: x: expected finite float32 numbers; received 24"),
        ({"x": X.astype(complex), "y": Y}, "data.source: x: expected an array of numbers; received type complex128. "
         "Turn it into real numbers first, such as with array.astype('float32')."),
        ({"x": X.astype(str), "y": Y}, "data.source: x: expected an array of numbers; received type <U"),
        ({"x": X[:, 0], "y": Y}, "data.source: x: expected an array (examples, features...); received shape (12,). "
         "The first axis counts the examples; there must be at least one more."),
        ({"x": X[:0], "y": Y[:0]}, "received shape (0, 2)"),
        ({"x": X, "y": Y[:5]}, "data.source: y: expected one label for each of the 12 examples; received shape (5,). "
         "Give labels of shape (examples,), (examples, 1), or one-hot (examples, classes)."),
        ({"x": X, "y": np.zeros((12, 3, 1))}, "received shape (12, 3, 1)."),
        ({"x": X, "y": np.full((12, 2), 0.5)}, "one label for each of the 12 examples; received shape (12, 2)."),
        ({"x": X, "y": np.tile([2, -1], (12, 1))}, "one label for each of the 12 examples; received shape (12, 2)."),
        ({"x": X, "y": Y + 0.5}, "data.source: y: expected classes: whole numbers or texts; received fractions"),
        ({"x": X, "y": np.where(Y == 0, np.nan, Y)}, "whole numbers or texts; received fractions, or missing values. "
         "Leave out examples without a label; put quantities into classes first."),
        ({"x": X, "y": Y + 1j}, "data.source: y: expected classes: whole numbers or texts; received type complex128. "
         "Number the classes from 0, or name them."),
        ({"x": X, "y": 0 * Y}, "data.source: y: expected at least two classes; received 1 ('0'). Choose other labels, "
         "or add examples of another class."),
        ({"x": X, "y": np.r_[Y[:-1], 9]}, "data.source: y: expected at least two examples of each class; received one "
         "of '9'. Leave those rows out, or join the classes with others."),
        ({"x": X, "y": np.arange(12)}, "data.source: y: expected classes with several examples each; received 12 "
         "different values in 12 examples. It looks like a quantity or an identifier; choose a column of classes."),
        ({"x": X}, "data.source: expected arrays x_train and y_train (with or without x_test and y_test), or x and y; "
         "received 'x'. Write them with numpy.savez(path, x=inputs, y=labels)."),
        ({}, "or x and y; received none."),
        ({"x_train": X, "y_train": Y, "x_test": X}, "data.source: expected x_test and y_test together, or neither; "
         "received only x_test. Write both, or leave both out: a share of the examples is kept for the test then."),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, "data.source: x_test: expected examples of "
         "shape (2,); received (1,). Prepare them as those of x_train."),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "data.source: y_test: expected classes of "
         "y_train; received '3'. Leave those examples out, or add some of these classes to y_train."),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path, content, message):
    with pytest.raises(InputError) as caught:
        read(tmp_path, **content)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"expected '.*a.npz' to be a NumPy file; received .* No such file"):
        arrays.read_npz(path)
    stored, packed = io.BytesIO(), io.BytesIO()
    np.savez(stored, x=X, y=Y)
    np.savez_compressed(packed, x=X, y=Y)
    objects = io.BytesIO()
    np.savez(objects, x=X, y=np.array([{}] * 12))
    flipped = bytearray(packed.getvalue())
    flipped[60:70] = bytes(10)
    contents = (b"", b"not a NumPy file", stored.getvalue()[:200], packed.getvalue()[:100], bytes(flipped))
    for content in (*contents, objects.getvalue()):
        path.write_bytes(content)
        with pytest.raises(
            InputError, match=r"data.source: expected '.*a.npz' to be a NumPy file; received .* Write it"
        ):
            arrays.read_npz(path)


def test_no_damage_of_a_file_gets_past(tmp_path):
    path, random = tmp_path / "a.npz", np.random.default_rng(0)
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, x=X, y=Y)
        for _ in range(200):
            damaged = bytearray(buffer.getvalue())
            damaged[random.integers(len(damaged))] = random.integers(256)
            path.write_bytes(damaged[: random.integers(1, len(damaged) + 1)])
            try:
                source = arrays.read_npz(path)
            except InputError:
                continue
            assert np.isfinite(source.examples.inputs).all()


def test_read_inputs(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.testing.assert_array_equal(arrays.read_inputs(tmp_path / "a.npy"), X)
    for names in (("inputs", "other"), ("x", "y"), ("whatever",)):
        np.savez(tmp_path / "a.npz", **{name: X if name == names[0] else Y for name in names})
        np.testing.assert_array_equal(arrays.read_inputs(tmp_path / "a.npz"), X)
    np.savez(tmp_path / "a.npz", a=X, b=X)
    with pytest.raises(InputError, match=r"input: expected an array named 'x' or 'inputs'; received 'a', 'b'\."):
        arrays.read_inputs(tmp_path / "a.npz")


def test_no_part_of_a_file_is_left_open(tmp_path, recwarn):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InputError):
        arrays.read_npz(tmp_path / "a.npz")
    assert not recwarn.list
