"""Tables: CSV files of numeric and categorical columns, with missing values."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kerasbn.checks import InputError, nearest
from kerasbn.config import DataConfig
from kerasbn.data import labels
from kerasbn.data.dataset import Dataset, Source

# In a numeric column these stand for "no value"; in a categorical one only the empty cell does, and "NA" or
# "None" are categories like others: so a served model sees a row exactly as training saw it.
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?", "-")
_MAX_CATEGORIES = 1000  # of a column: each is an input of the model


def column_name(name: str) -> str:
    """Return the name that a column has in the model: Keras and SavedModel use "/" inside names themselves."""
    return name.strip().replace("/", "_")


def _read(path: Path, subject: str) -> pd.DataFrame:
    """Return all cells as stripped text; what is a number is decided by column, not by the reader."""
    if not path.is_file():
        raise InputError(subject, "a .csv file", f"{str(path)!r}, which does not exist")
    try:
        # The header is read as a row: pandas would rename repeated columns, and shift them all where rows are longer.
        cells = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        raise InputError(subject, f"{str(path)!r} to have a header and rows", "an empty file") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(subject, f"{str(path)!r} to be a readable .csv file", error) from error
    if len(cells) < 2:
        raise InputError(subject, f"{str(path)!r} to have rows", "a header alone")
    cells = cells.apply(lambda column: column.fillna("").str.strip())
    names = [column_name(name) or f"Unnamed: {position}" for position, name in enumerate(cells.iloc[0])]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(subject, "columns with different names", f"{labels.listed(repeated)} repeated")
    return cells.iloc[1:].reset_index(drop=True).set_axis(names, axis="columns")


def _numbers(column: pd.Series) -> np.ndarray | None:
    """Return a column as float32 with NaN where a value is missing, or None if it is not numeric."""
    present = column.where(~column.isin(_MISSING))
    numbers = pd.to_numeric(present, errors="coerce")
    if (numbers.isna() & present.notna()).any():
        return None
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
        return numbers.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)


def _texts(column: pd.Series) -> np.ndarray:
    return column.to_numpy(dtype=object)


def _check_columns(subject: str, names: Sequence[str], frame: pd.DataFrame) -> None:
    for name in names:
        if name not in frame.columns:
            remedy = nearest(name, frame.columns)
            raise InputError(subject, f"columns out of {labels.listed(list(frame.columns))}", repr(name), remedy)


def _feature(name: str, column: pd.Series, categorical: bool) -> np.ndarray:
    """Return one column of inputs, or raise an `InputError` that names it."""
    subject = f"column {name!r}"
    if column.isin(_MISSING).all():
        remedy = f"Leave it out with --data.drop '[\"{name}\"]'."
        raise InputError(subject, "at least one value", "only missing values", remedy)
    numbers = None if categorical else _numbers(column)
    if numbers is None:
        distinct = column.nunique()
        if distinct > _MAX_CATEGORIES:
            remedy = "It may be an identifier or free text: leave it out with --data.drop."
            raise InputError(subject, f"at most {_MAX_CATEGORIES} categories", distinct, remedy)
        return _texts(column)
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0]) + 2  # the header is line 1
        raise InputError(subject, "numbers that float32 can hold", f"an infinite one in line {row}")
    return numbers


def read_csv(config: DataConfig) -> Source:
    """Return the examples of a CSV file with a header: a column to predict and columns to predict it from.

    A column is numeric if all its cells are numbers or stand for a missing value, else categorical.

    Args:
        config: `source` is the file; `target`, `categorical` and `drop` name columns.

    Returns:
        The source, with inputs by column: float32 with NaN, or texts with "", where a value is missing.

    Raises:
        InputError: If the file or a column cannot be used; the message names it.
    """
    frame = _read(Path(config.source), "data.source")
    if config.target is None:
        received = f"none; the columns are {labels.listed(list(frame.columns))}"
        raise InputError("data.target", "the column to predict", received, "Name it with --data.target.")
    config = dataclasses.replace(  # to the names that the columns have here
        config,
        target=column_name(config.target),
        categorical=tuple(map(column_name, config.categorical)),
        drop=tuple(map(column_name, config.drop)),
    )
    _check_columns("data.target", [str(config.target)], frame)
    _check_columns("data.drop", config.drop, frame)
    _check_columns("data.categorical", config.categorical, frame)
    target = frame[config.target]
    if (target == "").any():
        row = int(np.flatnonzero(target == "")[0]) + 2
        received = f"{int((target == '').sum())} without, the first in line {row}"
        raise InputError(f"column {config.target!r}", "a class in every row", received, "Leave those rows out.")
    encoded, names = labels.encode(_texts(target), f"column {config.target!r}")
    frame = frame.drop(columns=[config.target, *config.drop])
    if frame.columns.empty:
        raise InputError("data.source", "columns to predict from", f"only {config.target!r}")
    inputs = {
        str(name): _feature(str(name), frame[name], categorical=name in config.categorical) for name in frame.columns
    }
    columns = [
        {"name": name, "type": "numeric" if column.dtype == np.float32 else "categorical"}
        for name, column in inputs.items()
    ]
    schema = {"kind": "table", "columns": columns, "target": config.target}
    return Source(Dataset(inputs, encoded), names, schema)


def read_columns(path: str | Path, columns: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return the columns that a model takes from a CSV file, read as in training; others are left alone.

    Args:
        path: A CSV file with a header.
        columns: Of the model's schema: `{"name": ..., "type": "numeric" | "categorical"}` each.

    Returns:
        The columns by name.

    Raises:
        InputError: If the file cannot be read, a column is missing, or a cell that should be a number is none.
    """
    frame = _read(Path(path), "input")
    inputs: dict[str, np.ndarray] = {}
    for column in columns:
        name = column["name"]
        if name not in frame.columns:
            raise InputError("input", f"a column {name!r}", "none", nearest(name, frame.columns))
        if column["type"] == "categorical":
            inputs[name] = _texts(frame[name])
            continue
        numbers = _numbers(frame[name])
        if numbers is None:
            cells = frame[name].where(~frame[name].isin(_MISSING), "0")
            row = int(np.flatnonzero(pd.to_numeric(cells, errors="coerce").isna())[0])
            received = f"{frame[name].iloc[row]!r} in line {row + 2}"
            raise InputError(f"input: column {name!r}", "numbers", received)
        inputs[name] = numbers
    return inputs
