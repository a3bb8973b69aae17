"""Tables: CSV files of numeric and categorical columns, with missing values."""

import warnings
from collections.abc import Collection, Mapping, Sequence
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
_SEPARATORS = ((";", "semicolon"), ("\t", "tab"), ("|", "bar"))  # which a comma is to stand for
_MAX_CATEGORIES = 1000  # of a column: each is an input of the model
_TYPING_ERRORS = 0.1  # share of cells up to which what is no number is taken for an error in a column of numbers
_IDENTIFYING = 0.5  # share of rows with a value of their own from which a column of texts is taken for identifiers
_FEW_ROWS = 50  # below this, shares say little


def column_name(name: str) -> str:
    """Return the name that a column has in the model: Keras and SavedModel use "/" inside names themselves."""
    return name.strip().replace("/", "_")


def _parse(path: Path, subject: str, **options: Any) -> pd.DataFrame:
    """Return what pandas reads; `InputError` where it cannot."""
    expected, received, remedy = f"{str(path)!r} to be a readable .csv file", "", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # columns of mixed types are read again
            return pd.read_csv(path, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig", **options)
    except pd.errors.EmptyDataError:
        expected, received = f"{str(path)!r} to have a header and rows", "an empty file"
        remedy = "Its first line names the columns; each further line is an example."
    except UnicodeDecodeError as error:
        received, remedy = str(error), 'Save it as UTF-8 (in a spreadsheet: "CSV UTF-8").'
    except pd.errors.ParserError as error:
        received = str(error).strip()
        remedy = "Give no row more cells than the header, put texts with commas in double quotes, and close each quote."
    except OSError as error:
        received, remedy = str(error), "Check the path and the permissions."
    raise InputError(subject, expected, received, remedy)


def _header(path: Path, subject: str) -> list[str]:
    """Return the names of the columns, as the model has them."""
    # Read as a row: pandas would rename repeated columns.
    cells = [str(cell).strip() for cell in _parse(path, subject, header=None, dtype=str, nrows=1).iloc[0]]
    separators = [name for separator, name in _SEPARATORS if len(cells) == 1 and separator in cells[0]]
    if separators:
        remedy = f"The columns look separated by {separators[0]}s; save the file with commas."
        raise InputError(subject, f"{str(path)!r} to have columns separated by commas", repr(cells[0]), remedy)
    # And the first row under it: were it longer, pandas would take its first cells for names of rows.
    if len(_parse(path, subject, header=None, dtype=str, nrows=2)) < 2:
        remedy = "Each line after the first is an example."
        raise InputError(subject, f"{str(path)!r} to have rows", "a header alone", remedy)
    names = [column_name(cell) or f"Unnamed: {position}" for position, cell in enumerate(cells)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        received = f"{labels.listed(repeated)} repeated"
        raise InputError(subject, "columns with different names", received, "Rename or remove all but one.")
    return names


def _texts(column: pd.Series) -> np.ndarray:
    """Return cells as stripped texts, one object for all that are equal."""
    positions, distinct = pd.factorize(column.to_numpy(dtype=object))
    return np.array([text.strip() for text in distinct], dtype=object)[positions]


def _float32(column: pd.Series) -> np.ndarray:
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as such
        return column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)


def _no_numbers(texts: np.ndarray) -> np.ndarray:
    """Return which cells are neither numbers nor stand for a missing value."""
    cells = pd.Series(texts, dtype=object)
    return (pd.to_numeric(cells, errors="coerce").isna() & ~cells.isin(_MISSING)).to_numpy()


def _read(
    path: Path, subject: str, names: Sequence[str], wanted: Collection[str], texts: Collection[str]
) -> dict[str, np.ndarray]:
    """Return columns as float32 with NaN where a value is missing, or as stripped texts where not all are numbers.

    Args:
        path: The file.
        subject: The argument it came from, for the messages.
        names: Of all its columns.
        wanted: The columns to return.
        texts: Those of them that are texts, whatever stands there: "07" stays "07".

    Returns:
        The wanted columns by name.
    """
    missing = {name: _MISSING for name in names if name not in texts}
    frame = _parse(path, subject, header=0, names=names, dtype=dict.fromkeys(texts, str), na_values=missing)
    columns: dict[str, np.ndarray] = {}
    again = []
    for name in wanted:
        column = frame.pop(name)
        if name in texts:
            columns[name] = _texts(column)
        elif column.dtype.kind in "iuf":
            columns[name] = _float32(column)
        else:
            again.append(name)  # pandas may have taken some cells for numbers, truth values or missing ones
    del frame
    if again:
        frame = _parse(path, subject, header=0, names=names, usecols=again, dtype=str, na_filter=False)
        for name in again:
            cells = _texts(frame.pop(name))
            if _no_numbers(cells).any():
                columns[name] = cells
            else:  # such as "1 ", with a space that pandas does not pass over
                columns[name] = _float32(pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce"))
    return {name: columns[name] for name in wanted}


def _check_columns(subject: str, chosen: Sequence[str], names: Sequence[str]) -> None:
    for name in chosen:
        if name not in names:
            remedy = nearest(name, names) or "Choose a name in the first line of the file."
            raise InputError(subject, f"columns out of {labels.listed(list(names))}", repr(name), remedy)


def _check_feature(name: str, column: np.ndarray, asked: bool) -> None:
    """Raise an `InputError` that names the column, if it is of no use as an input; `asked` for as categories."""
    subject = f"column {name!r}"
    numeric = column.dtype == np.float32
    categories: set[str] = set() if numeric else set(column.tolist())
    if np.isnan(column).all() if numeric else categories <= set(_MISSING):
        remedy = f"Leave it out with --data.drop '[\"{name}\"]'."
        raise InputError(subject, "at least one value", "only missing values", remedy)
    if not numeric and not asked:
        _check_categories(subject, column, len(categories))
    if len(categories) > _MAX_CATEGORIES:
        remedy = "It may be an identifier or free text: leave it out with --data.drop."
        raise InputError(subject, f"at most {_MAX_CATEGORIES} categories", len(categories), remedy)
    if numeric and np.isinf(column).any():
        row = int(np.flatnonzero(np.isinf(column))[0]) + 2  # the header is line 1
        remedy = "Correct or empty the cell, or give the column in a larger unit."
        raise InputError(subject, "numbers that float32 can hold", f"an infinite one in line {row}", remedy)


def _check_categories(subject: str, column: np.ndarray, distinct: int) -> None:
    """Raise an `InputError` if texts are hardly categories: numbers with a typing error, or identifiers."""
    wrong = np.flatnonzero(_no_numbers(column))
    present = len(column) - np.isin(column, _MISSING).sum()
    if len(wrong) <= _TYPING_ERRORS * present:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        received = f"{column[wrong[0]]!r} in line {wrong[0] + 2}{more}"
        remedy = "Correct or empty the cells; or name the column in --data.categorical, if these are codes."
        raise InputError(subject, "numbers, as in nearly all its rows", received, remedy)
    if len(column) >= _FEW_ROWS and distinct > _IDENTIFYING * len(column):
        remedy = (
            "It looks like an identifier, a date or free text: leave it out with --data.drop; or name it in "
            "--data.categorical, if its values do come again."
        )
        raise InputError(subject, "categories that come again", f"{distinct} different in {len(column)} rows", remedy)


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
    path = Path(config.source)
    names = _header(path, "data.source")
    if config.target is None:
        received = f"none; the columns are {labels.listed(names)}"
        raise InputError("data.target", "the column to predict", received, "Name it with --data.target.")
    target = column_name(config.target)  # to the names that the columns have here
    drop = [column_name(name) for name in config.drop]
    categorical = [column_name(name) for name in config.categorical]
    _check_columns("data.target", [target], names)
    _check_columns("data.drop", drop, names)
    _check_columns("data.categorical", categorical, names)
    if target in drop:
        remedy = "Leave it out of one of the two."
        raise InputError("data.drop", "other columns than data.target", repr(target), remedy)
    features = [name for name in names if name != target and name not in drop]
    if not features:
        remedy = "Give a file with more columns, or drop fewer."
        raise InputError("data.source", "columns to predict from", f"only {target!r}", remedy)
    inputs = _read(path, "data.source", names, [target, *features], {target, *categorical})
    classes = inputs.pop(target)
    without = np.flatnonzero(classes == "")
    if without.size:
        received = f"{without.size} without, the first in line {without[0] + 2}"
        raise InputError(f"column {target!r}", "a class in every row", received, "Leave those rows out.")
    encoded, class_names = labels.encode(classes, f"column {target!r}")
    for name, column in inputs.items():
        _check_feature(name, column, asked=name in categorical)
    columns = [
        {"name": name, "type": "numeric" if column.dtype == np.float32 else "categorical"}
        for name, column in inputs.items()
    ]
    schema = {"kind": "table", "columns": columns, "target": target}
    return Source(Dataset(inputs, encoded), class_names, schema)


def read_columns(path: str | Path, columns: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the columns that a model takes from a CSV file, read as in training, and the names of the others.

    Args:
        path: A CSV file with a header.
        columns: Of the model's schema: `{"name": ..., "type": "numeric" | "categorical"}` each.

    Returns:
        The columns by name, and the names of the columns that the model does not take.

    Raises:
        InputError: If the file cannot be read, a column is missing, or a cell that should be a number is none.
    """
    path = Path(path)
    names = _header(path, "input")
    categorical = {column["name"]: column["type"] == "categorical" for column in columns}
    for name in categorical:
        if name not in names:
            remedy = nearest(name, names) or "Add it: the model takes it; a cell may be empty where there is no value."
            raise InputError("input", f"a column {name!r}", "none", remedy)
    texts = {name for name in categorical if categorical[name]}
    inputs = _read(path, "input", names, categorical, texts)
    for name, column in inputs.items():
        if name not in texts and column.dtype == object:
            row = int(np.flatnonzero(_no_numbers(column))[0])
            received = f"{column[row]!r} in line {row + 2}"
            remedy = "Correct the cell, or empty it if there is no value."
            raise InputError(f"input: column {name!r}", "numbers", received, remedy)
    return inputs, [name for name in names if name not in inputs]
