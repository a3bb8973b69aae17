"""Tests of kerasbn.files: what is written appears whole or not at all."""

import json
import os

import pytest

from kerasbn import files
from kerasbn.checks import InputError


def test_whole_file_appears_at_the_end_and_replaces_the_old_one(tmp_path, tree):
    path = tmp_path / "a.json"
    path.write_text("old")
    with files.whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".json"  # by which Keras and matplotlib choose the format
    assert path.read_text() == "new"
    assert tree(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_whole_file_leaves_nothing_after_an_error(tmp_path, tree, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with files.whole_file(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert tree(tmp_path) == ["a.txt"]


def test_whole_directory(tmp_path, tree):
    with files.whole_directory(tmp_path / "models" / "1") as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("x")
        assert temporary.name.startswith(".")
        assert not (tmp_path / "models" / "1").exists()
    assert tree(tmp_path) == ["models", "models/1", "models/1/sub", "models/1/sub/a"]


def test_whole_directory_leaves_nothing_after_an_error(tmp_path, tree):
    def fail():
        with files.whole_directory(tmp_path / "1") as temporary:
            (temporary / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert tree(tmp_path) == []


def test_whole_directory_does_not_replace_another(tmp_path, tree):
    def write():
        with files.whole_directory(tmp_path / "1") as temporary:
            (temporary / "a").write_text("mine")
            (tmp_path / "1").mkdir()
            (tmp_path / "1" / "b").write_text("theirs")

    with pytest.raises(FileExistsError, match="appeared while it was being written"):
        write()
    assert tree(tmp_path) == ["1", "1/b"]


def test_json_round_trip(tmp_path):
    value = {"größe": [1, 0.1, None, "ä"]}
    files.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "größe" in text
    assert json.loads(text) == files.read_json(tmp_path / "a.json", "run") == value


def test_read_json_names_the_file(tmp_path):
    with pytest.raises(InputError) as caught:
        files.read_json(tmp_path / "none.json", "run")
    assert str(caught.value) == f"run: expected a file {tmp_path}/none.json; received no such file."
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match=r"run: expected a readable JSON file .*bad.json; received Expecting"):
        files.read_json(tmp_path / "bad.json", "run")
    with pytest.raises(InputError, match="readable JSON file"):
        files.read_json(tmp_path, "run")


def test_writable_directory(tmp_path, tree):
    assert files.writable_directory(tmp_path / "a" / "b", "output") == tmp_path / "a" / "b"
    assert tree(tmp_path) == ["a", "a/b"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError) as caught:
        files.writable_directory(tmp_path / "file" / "runs", "output")
    place = str(tmp_path / "file" / "runs")
    assert str(caught.value) == (
        f"output: expected a directory that can be written to; received {place!r} ({os.strerror(20)}). "
        "Choose another directory, or mend its permissions."
    )


def test_a_link_is_followed_and_a_device_left_alone(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    files.write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: expected a file, or nothing yet; received a directory or"):
            files.write_text(tmp_path / name, "text")


def test_leftovers_are_removed_once_they_are_old(tmp_path, tree):
    (tmp_path / ".tmp-01234567-a").write_text("half")
    (tmp_path / ".tmp-89abcdef-b").mkdir()
    (tmp_path / ".tmp-89abcdef-b" / "c").touch()
    (tmp_path / ".tmp-notes").touch()  # somebody else's
    files.remove_leftovers(tmp_path)
    assert len(tree(tmp_path)) == 4
    files.remove_leftovers(tmp_path, 0)
    assert tree(tmp_path) == [".tmp-notes"]
