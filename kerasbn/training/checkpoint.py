"""Checkpoints: everything an interrupted run needs to go on after its last whole epoch, in one file."""

import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasbn import files
from kerasbn.callbacks import KeepBest
from kerasbn.checks import InputError
from kerasbn.training.fit import History

_SECONDS_BETWEEN = 10.0


def _variables(model: keras.Model) -> list[Any]:
    """Return weights, random seeds of layers and optimizer slots, in an order that the architecture decides."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def save(path: Path, model: keras.Model, keep_best: KeepBest, history: History) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file; an older one is replaced.
        model: Compiled, between two epochs.
        keep_best: With the best weights so far.
        history: The epochs so far.
    """
    arrays = {f"variable_{i:06d}": v.numpy() for i, v in enumerate(_variables(model))}
    arrays |= {f"best_{i:06d}": w for i, w in enumerate(keep_best.weights)}
    state = {"history": history, "best_epoch": keep_best.epoch, "best_value": keep_best.value}
    with files.whole_file(path) as temporary:
        np.savez(temporary, state=np.array(json.dumps(state)), **arrays)


def epochs_in(path: Path) -> int:
    """Return the number of epochs that a checkpoint has behind it; 0 if there is none that can be read."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return int(json.loads(str(content["state"]))["history"][-1]["epoch"])
    except files.NOT_NUMPY:
        return 0


def load(path: Path, model: keras.Model, keep_best: KeepBest) -> History:
    """Put a model, its optimizer and the best epoch back to where a checkpoint was written.

    Args:
        path: The file.
        model: The same architecture, compiled in the same way.
        keep_best: To be filled.

    Returns:
        The history up to there.

    Raises:
        InputError: If the file is damaged, or of another model.
    """
    try:
        with path.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
        state = json.loads(str(arrays.pop("state")))
    except files.NOT_NUMPY as error:
        remedy = "It is damaged; delete it, and the run begins anew."
        raise InputError("checkpoint", f"{str(path)!r} to be readable", error, remedy) from error
    variables = _variables(model)
    saved = [arrays[name] for name in sorted(arrays) if name.startswith("variable_")]
    if [tuple(v.shape) for v in variables] != [v.shape for v in saved]:
        received = f"{len(saved)} of other shapes"
        raise InputError("checkpoint", f"the {len(variables)} variables of this model", received)
    for variable, value in zip(variables, saved, strict=True):
        variable.assign(value)
    keep_best.epoch, keep_best.value = state["best_epoch"], state["best_value"]
    keep_best.weights = [arrays[name] for name in sorted(arrays) if name.startswith("best_")]
    return state["history"]


class WriteCheckpoints(keras.callbacks.Callback):
    """Write a checkpoint after an epoch, if the last one is ten seconds old or training stops here.

    Args:
        path: The file.
        keep_best: The callback whose state goes along.
        history: The list that is being filled.
    """

    def __init__(self, path: Path, keep_best: KeepBest, history: History) -> None:
        super().__init__()
        self.path, self.keep_best, self.history = path, keep_best, history
        self.last = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one if it is time."""
        if self.model.stop_training or time.monotonic() - self.last >= _SECONDS_BETWEEN:
            save(self.path, self.model, self.keep_best, self.history)
            self.last = time.monotonic()
