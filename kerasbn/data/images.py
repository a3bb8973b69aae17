"""Images: folders with one sub-folder a class, and single files."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from kerasbn.checks import InputError
from kerasbn.config import DataConfig
from kerasbn.data import labels
from kerasbn.data.dataset import Dataset, Source

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_BESIDE = (".txt", ".md", ".json", ".csv", ".xml", ".db", ".ini")  # notes and what systems write beside images
_OWN_SIZE = 96  # pixels a side up to which images keep their common size
_DEFAULT_SIZE = (64, 64)
_GRAY_MODES = ("1", "L", "I", "I;16", "F")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def image_paths(folder: str | Path) -> list[Path]:
    """Return the image files in a folder, known by their suffix, in order of name."""
    return sorted(filter(_is_image, Path(folder).iterdir()))


def left_out(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Return what `image_paths` passes over: other files, and sub-folders with images in them, in order of name.

    Hidden files, and those that only accompany images, such as notes, are not among them.
    """
    entries = sorted(entry for entry in Path(folder).iterdir() if not entry.name.startswith("."))
    known = (*SUFFIXES, *_BESIDE)
    files = [entry for entry in entries if entry.is_file() and entry.suffix.lower() not in known]
    folders = [entry for entry in entries if entry.is_dir() and any(map(_is_image, entry.rglob("*")))]
    return files, folders


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which no pixel depends on
        with Image.open(path) as image:
            yield image


def _read(path: Path, color: str, size: tuple[int, int]) -> Image.Image:
    with _opened(path) as image:
        image.load()  # all of it: a file cut short is found here and not in the middle of training
        if image.mode.startswith("I"):  # 16 bits: Pillow would clip, not scale
            values = np.asarray(image, np.float64) / 65535.0 * 255
            image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")  # the way Pillow wants such a palette to go to RGB
        converted = image.convert("L" if color == "grayscale" else "RGB")
        if converted.size == (size[1], size[0]):
            return converted
        return converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def read_images(paths: Sequence[Path], size: tuple[int, int], color: str) -> np.ndarray:
    """Return images of one size and color mode.

    Args:
        paths: The files.
        size: Height and width in pixels to which they are resized (bilinear).
        color: "rgb" or "grayscale".

    Returns:
        (n, height, width, 3 or 1) uint8.

    Raises:
        InputError: If files cannot be read as images; the message names them.
    """
    images = np.empty((len(paths), *size, 1 if color == "grayscale" else 3), np.uint8)
    broken: list[str] = []
    for index, path in enumerate(paths):
        try:
            image = np.asarray(_read(path, color, size))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
            broken.append(str(path))
            continue
        images[index] = image[..., None] if image.ndim == 2 else image
    if broken:
        remedy = "Mend them or take them out of the folder."
        raise InputError(
            "image files", "readable images", f"{len(broken)} that are not: {labels.listed(broken)}", remedy
        )
    return images


def _look(paths: Sequence[Path]) -> tuple[set[tuple[int, int]], str]:
    """Return the sizes (height, width) of images and their color mode, from the files' headers alone."""
    sizes, gray = set(), True
    for path in paths:
        try:
            with _opened(path) as image:
                sizes.add((image.height, image.width))
                gray = gray and image.mode in _GRAY_MODES
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # read_images names all of these in one message
    return sizes, "grayscale" if gray else "rgb"


def _check_nothing_left_out(folders: Sequence[Path]) -> None:
    """Raise an `InputError` if the folders of classes hold what may be examples and would not be read."""
    found = [left_out(folder) for folder in folders]
    deeper = [str(path) for _, paths in found for path in paths]
    if deeper:
        received = f"{len(deeper)} deeper folders with images: {labels.listed(deeper)}"
        remedy = "Move those images into the folder of their class, or take them out."
        raise InputError("data.source", "images right in the sub-folder of their class", received, remedy)
    others = [str(path) for paths, _ in found for path in paths]
    if others:
        received = f"{len(others)} files of other types: {labels.listed(others)}"
        remedy = "Convert them to .png or .jpg, or take them out."
        raise InputError("data.source", f"images ({', '.join(SUFFIXES)}) in the sub-folders", received, remedy)


def read_folder(config: DataConfig) -> Source:
    """Return the images of a folder with one sub-folder a class, named as the class.

    They are grayscale if all files are, else RGB.

    Args:
        config: `source` is the folder; `image_size` the height and width in pixels.

    Returns:
        The source, with inputs (n, height, width, channels) uint8.

    Raises:
        InputError: If there are no two classes with images, or files that cannot be read or would be left out.
    """
    root = Path(config.source)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        remedy = "Make one sub-folder for each class, and name it as the class."
        raise InputError("data.source", f"{str(root)!r} to have a sub-folder a class", f"{len(folders)}", remedy)
    _check_nothing_left_out(folders)
    by_class = {folder.name: image_paths(folder) for folder in folders}
    empty = [name for name, paths in by_class.items() if not paths]
    if empty:
        expected = f"images ({', '.join(SUFFIXES)}) in each sub-folder of {str(root)!r}"
        remedy = "Add images of that class, or remove the sub-folder."
        raise InputError("data.source", expected, f"none in {labels.listed(empty)}", remedy)
    paths = [path for found in by_class.values() for path in found]
    sizes, color = _look(paths)
    size = config.image_size
    if size is None:
        own = len(sizes) == 1 and max(next(iter(sizes))) <= _OWN_SIZE
        size = next(iter(sizes)) if own else _DEFAULT_SIZE
    names = np.array([name for name, found in by_class.items() for _ in found])
    # Labels first: a class of one image is told before a long read.
    encoded, class_names = labels.encode(names, "data.source: sub-folders")
    images = read_images(paths, size, color)
    schema = {"kind": "image", "shape": list(images.shape[1:]), "source": "folder", "color": color}
    return Source(Dataset(images, encoded), class_names, schema)
