"""What is on the disk of a trial that is not finished: where its models stand between two parts."""

import json
import shutil
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasbn import files
from kerasbn.tuning.outcome import ModelState


def _path(directory: Path, number: int, epochs: int) -> Path:
    return directory / f"part-{number:05d}-{epochs}.npz"


def checkpoints(directory: Path, number: int) -> Path:
    """Return the directory for the checkpoints of a fit that can go on by itself."""
    return directory / f"running-{number:05d}"


def write(directory: Path, number: int, epochs: int, states: Sequence[ModelState], keep: bool = False) -> None:
    """Write where the models of a trial stand, in place of where they stood before.

    Args:
        directory: The study's.
        number: The trial's.
        epochs: How many it has been trained for.
        states: One an execution.
        keep: Whether what was written before stays, since others are to go on from it.
    """
    arrays: dict[str, Any] = {}
    header = []
    for execution, state in enumerate(states):
        header.append({"best_epoch": state.best_epoch, "best_value": state.best_value, "rate": state.rate})
        for kind, values in (("variable", state.variables), ("best", state.best)):
            arrays |= {f"{execution}_{kind}_{i:06d}": value for i, value in enumerate(values)}
    text = json.dumps({"epochs": epochs, "states": header, "arrays": len(arrays)})
    with files.whole_file(path := _path(directory, number, epochs)) as temporary:
        np.savez(temporary, header=np.array(text), **arrays)
    for other in () if keep else directory.glob(f"part-{number:05d}-*.npz"):
        if other != path:
            other.unlink(missing_ok=True)


def read(directory: Path, number: int, epochs: int) -> tuple[ModelState, ...] | None:
    """Return what `write` has written for a trial that was trained for so many epochs.

    Args:
        directory: The study's.
        number: The trial's.
        epochs: How many epochs the trial has been trained for by the study's account.

    Returns:
        The states; None if there are none that can be read: then the trial's earlier parts are trained again.
    """
    try:
        # np.load leaves a file open that turns out to be damaged.
        with _path(directory, number, epochs).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored)
        header = json.loads(str(arrays.pop("header")))
        if header["epochs"] != epochs or header["arrays"] != len(arrays):
            return None
    except files.NOT_NUMPY:
        return None

    def named(prefix: str) -> list[np.ndarray]:
        return [arrays[name] for name in sorted(arrays) if name.startswith(prefix)]

    return tuple(
        ModelState(named(f"{i}_variable_"), named(f"{i}_best_"), one["best_epoch"], one["best_value"], one["rate"])
        for i, one in enumerate(header["states"])
    )


def remove(directory: Path, number: int) -> None:
    """Remove what is on the disk of a trial that was not finished."""
    for path in directory.glob(f"part-{number:05d}-*.npz"):
        path.unlink(missing_ok=True)
    shutil.rmtree(checkpoints(directory, number), ignore_errors=True)


def remove_finished(directory: Path, finished: Container[int]) -> None:
    """Remove the same of finished trials, of which a kill has left it.

    Args:
        directory: The study's.
        finished: Numbers of the trials.
    """
    for path in directory.glob("stack-*.npz"):  # of several trials: it has the number of the first
        if int(path.stem.split("-")[1]) in finished:
            path.unlink(missing_ok=True)
    for path in (*directory.glob("part-*.npz"), *directory.glob("running-*")):
        number = int(path.stem.split("-")[1])
        if number in finished:
            remove(directory, number)
