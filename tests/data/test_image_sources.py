"""Tests of image folders: formats, color modes, sizes, junk, and files that cannot be read."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data import images

RANDOM = np.random.default_rng(0)


def save(path, mode="RGB", size=(8, 8), value=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 4) if value is None else (size[1], size[0])
    pixels = RANDOM.integers(0, 256, shape).astype(np.uint8) if value is None else np.full(shape, value, np.uint8)
    image = Image.fromarray(pixels).convert("RGBA" if mode == "RGBA" else "RGB")
    (image if mode in ("RGB", "RGBA") else image.convert(mode)).save(path, **options)


def read(root, **keys):
    return images.read_folder(DataConfig(source=str(root), **keys))


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_folder(folder):
    source = read(folder)
    assert source.class_names == ("cat", "dog")
    assert source.examples.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.examples.inputs.shape == (6, 8, 8, 3)
    assert source.examples.inputs.dtype == np.uint8
    assert source.schema == {"kind": "image", "shape": [8, 8, 3], "source": "folder", "color": "rgb"}
    with Image.open(folder / "dog" / "1.png") as image:
        np.testing.assert_array_equal(source.examples.inputs[4], np.asarray(image))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".gif", ".webp", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_formats(tmp_path, suffix, mode):
    for name, value in (("dark", 0), ("light", 200)):
        for index in range(2):
            save(tmp_path / name / f"{index}{suffix}", mode, value=value)
    pixels = read(tmp_path).examples.inputs
    assert pixels.shape[:3] == (4, 8, 8)
    assert abs(pixels[:2].astype(int)).max() <= 2
    assert abs(pixels[2:].astype(int) - 200).max() <= 2


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("RGB", 3), ("RGBA", 3), ("P", 3), ("LA", 3), ("CMYK", 3)]
)
def test_color_modes(tmp_path, mode, channels):
    suffix = ".tif" if mode == "CMYK" else ".png"
    for name, value in (("black", 0), ("white", 255)):
        for index in range(2):
            save(tmp_path / name / f"{index}{suffix}", mode, value=value)
    source = read(tmp_path)
    assert source.examples.inputs.shape == (4, 8, 8, channels)
    assert source.examples.inputs[:2].max() == 0
    assert source.examples.inputs[2:].min() == 255
    assert source.schema["color"] == ("grayscale" if channels == 1 else "rgb")


def test_gray_and_color_together_are_color(folder):
    save(folder / "cat" / "gray.png", "L")
    source = read(folder)
    gray = source.examples.inputs[3]
    assert source.schema["color"] == "rgb"
    np.testing.assert_array_equal(gray[..., 0], gray[..., 2])


def test_a_palette_with_transparency(folder):
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    image.save(folder / "cat" / "p.png", transparency=bytes(range(64)))
    assert read(folder).examples.inputs.shape == (7, 8, 8, 3)


def test_16_bits_are_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 200, 257, 32896, 65535]], np.uint16)
    for name in ("a", "b"):
        for index, row in enumerate((values, np.minimum(values, 200))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(row).save(tmp_path / name / f"{index}.png")
    pixels = read(tmp_path).examples.inputs
    assert pixels.shape == (4, 1, 5, 1)
    assert pixels[0].reshape(-1).tolist() == [0, 1, 1, 128, 255]
    assert pixels[1].max() == 1  # a dark image stays dark


def test_mixed_sizes(folder):
    save(folder / "cat" / "other.png", size=(10, 20))
    assert read(folder).schema["shape"] == [64, 64, 3]
    assert read(folder, image_size=(5, 9)).examples.inputs.shape == (7, 5, 9, 3)


def test_large_images_of_one_size_are_resized(tmp_path):
    for name in ("a", "b"):
        for index in range(2):
            save(tmp_path / name / f"{index}.png", size=(97, 20))
    assert read(tmp_path).schema["shape"] == [64, 64, 3]
    assert read(tmp_path, image_size=(20, 97)).schema["shape"] == [20, 97, 3]


def test_not_square(tmp_path):
    for name in ("a", "b"):
        for index in range(2):
            save(tmp_path / name / f"{index}.png", size=(6, 4))  # width, height
    assert read(tmp_path).schema["shape"] == [4, 6, 3]


def test_junk_is_left_alone(folder):
    (folder / "notes.txt").write_text("x")
    (folder / ".cache").mkdir()
    save(folder / ".cache" / "0.png")
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    (folder / "cat" / ".hidden.png").write_bytes(b"x")
    (folder / "cat" / "notes.md").write_text("x")
    (folder / "cat" / "desktop.ini").write_text("x")
    (folder / "cat" / "empty").mkdir()
    save(folder / "cat" / ".cache" / "0.png")
    (folder / "cat" / "folder.png").mkdir()
    save(folder / "loose.png")
    assert len(read(folder).examples) == 6


def test_deeper_images_are_not_left_out_silently(folder):
    save(folder / "cat" / "kittens" / "young" / "0.png")
    save(folder / "dog" / "puppies" / "0.png")
    with pytest.raises(InputError) as caught:
        read(folder)
    names = f"'{folder / 'cat' / 'kittens'}', '{folder / 'dog' / 'puppies'}'"
    assert str(caught.value) == (
        "data.source: expected images right in the sub-folder of their class; received 2 deeper folders with images: "
        f"{names}. Move those images into the folder of their class, or take them out."
    )


def test_files_of_other_types_are_not_left_out_silently(folder):
    for name in ("a.heic", "b", "c.avif", "d.mp4", "e.psd", "f.svg"):
        (folder / "cat" / name).touch()
    with pytest.raises(InputError) as caught:
        read(folder)
    message = str(caught.value)
    assert message.startswith("data.source: expected images (.png, .jpg, .jpeg, .bmp,")
    assert f"received 6 files of other types: '{folder / 'cat' / 'a.heic'}', '{folder / 'cat' / 'b'}', " in message
    assert message.endswith("e.psd' and 1 more. Convert them to .png or .jpg, or take them out.")


def test_classes_that_are_numbers(tmp_path):
    for index, name in enumerate(("1", "2", "10")):
        for copy in range(2):
            save(tmp_path / name / f"{copy}.png", value=index)
    source = read(tmp_path)
    assert source.class_names == ("1", "2", "10")
    by_name = {source.class_names[label]: image.max() for label, image in zip(*_parts(source), strict=True)}
    assert by_name == {"1": 0, "2": 1, "10": 2}


def _parts(source):
    return source.examples.labels, source.examples.inputs


def test_unreadable_files_are_named(folder):
    (folder / "cat" / "empty.png").touch()
    (folder / "dog" / "text.jpg").write_text("no image")
    whole = (folder / "dog" / "0.png").read_bytes()
    (folder / "dog" / "short.png").write_bytes(whole[: len(whole) // 2])
    names = ", ".join(repr(str(folder / name)) for name in ("cat/empty.png", "dog/short.png", "dog/text.jpg"))
    with pytest.raises(InputError) as caught:
        read(folder)
    assert str(caught.value) == (
        f"image files: expected readable images; received 3 that are not: {names}. "
        "Mend them or take them out of the folder."
    )


def test_many_unreadable_files_are_counted(folder):
    for index in range(9):
        (folder / "cat" / f"x{index}.png").write_bytes(b"x")
    with pytest.raises(InputError, match="received 9 that are not: .*x4.png' and 4 more"):
        read(folder)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif"])
def test_no_damage_of_a_file_gets_past(tmp_path, suffix):
    path, random = tmp_path / f"a.{suffix}", np.random.default_rng(1)
    save(path, size=(20, 30))
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for position in random.integers(len(whole), size=4):
            damaged[position] = random.integers(256)
        path.write_bytes(damaged[: random.integers(1, len(whole) + 1)])
        with contextlib.suppress(InputError):
            assert images.read_images([path], (8, 8), "rgb").shape == (1, 8, 8, 3)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"data.source: expected {str(tmp_path)!r} to have a sub-folder a class; received 0. "
        "Make one sub-folder for each class, and name it as the class."
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"in each sub-folder of '.*'; received none in 'a', 'b'\. Add images"):
        read(tmp_path)
    save(tmp_path / "a" / "0.png")
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "0.png")
    with pytest.raises(InputError, match="data.source: sub-folders: expected at least two examples .* one of 'b'"):
        read(tmp_path)
