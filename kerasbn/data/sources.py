"""Where examples come from: bundled sets, keras.datasets, and files, by the name the config gives."""

from pathlib import Path

import sklearn.datasets

from kerasbn.checks import InputError, nearest
from kerasbn.config import DataConfig
from kerasbn.data import arrays, images, tables
from kerasbn.data.dataset import Source

_BUNDLED = ("digits", "breast_cancer", "wine", "iris")  # sklearn.datasets.load_<name>
_KERAS = ("mnist", "fashion_mnist", "cifar10", "cifar100")  # keras.datasets.<name>


def _bundled(name: str) -> Source:
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    inputs = bunch.images if "images" in bunch else bunch.data
    return arrays.from_arrays(inputs, bunch.target, class_names=tuple(str(n) for n in bunch.target_names))


def _keras(name: str) -> Source:
    import keras  # only here: it takes seconds

    module = getattr(keras.datasets, name)
    try:
        (x, y), test = module.load_data()
    except Exception as error:  # Keras raises a bare Exception where it cannot download
        raise InputError(
            "data.source",
            f"keras.datasets.{name} to be on this machine or to be downloaded",
            str(error).strip() or type(error).__name__,
            "Without a network, copy the file into ~/.keras/datasets from a machine where "
            f"`keras.datasets.{name}.load_data()` has run, or give an .npz file instead.",
        ) from error
    return arrays.from_arrays(x, y, test, "x_train", "y_train")


def load_source(config: DataConfig) -> Source:
    """Return the examples that `config.source` names.

    Args:
        config: See `kerasbn.config.DataConfig`.

    Returns:
        The examples, their class names and their schema.

    Raises:
        InputError: If there is no such source or it cannot be used.
    """
    name = config.source
    path = Path(name)
    is_table = path.suffix.lower() == ".csv"
    for key in ("target", "categorical", "drop"):
        if getattr(config, key) and not is_table:
            raise InputError(f"data.{key}", "a .csv file as data.source", repr(name), "Leave the key out.")
    known = (*_BUNDLED, *_KERAS)
    if config.image_size and (name in known or path.is_file()):
        raise InputError("data.image_size", "a folder of images as data.source", repr(name), "Leave the key out.")
    if name in _BUNDLED:
        return _bundled(name)
    if name in _KERAS:
        return _keras(name)
    expected = f"one of {', '.join(known)}, a .csv or .npz file, or a folder of images"
    if not path.exists():
        expected = {".csv": "a .csv file", ".npz": "a file"}.get(path.suffix.lower(), expected)
        there = (entry.name for entry in path.parent.glob("*"))
        remedy = nearest(path.name, (*known, *there)) or "Check the path."
        raise InputError("data.source", expected, f"{name!r}, which does not exist", remedy)
    if is_table:
        return tables.read_csv(config)
    if path.suffix.lower() == ".npz":
        return arrays.read_npz(path)
    if path.is_dir():
        return images.read_folder(config)
    raise InputError("data.source", expected, repr(name), "Convert the file to one of these types.")
