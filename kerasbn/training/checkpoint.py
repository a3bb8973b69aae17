"""Checkpoints: everything an interrupted run needs to go on, in one file; the one before it is kept as well."""

import contextlib
import dataclasses
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kerasbn
from kerasbn import files, layout
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError
from kerasbn.training.state import State

FORMAT = 2  # raised when an older kerasbn could misread a newer checkpoint
_SHARE = 0.01  # of the time that may go into checkpoints: large models are written less often


@dataclasses.dataclass(frozen=True)
class Content:
    """A checkpoint as it was read.

    Args:
        path: The file it was in.
        header: What is not arrays.
        arrays: The arrays by name.
    """

    path: Path
    header: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def named(self, prefix: str) -> list[np.ndarray]:
        """Return the arrays whose names begin with `prefix`, in their order."""
        return [self.arrays[name] for name in sorted(self.arrays) if name.startswith(prefix)]


def _variables(model: keras.Model) -> list[Any]:
    """Return weights, random seeds of layers and optimizer slots, in an order that the architecture decides."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def save(directory: Path, model: keras.Model, state: State, identity: Mapping[str, Any]) -> bool:
    """Write a checkpoint, whole or not at all; the last one becomes the one before.

    Args:
        directory: The run directory.
        model: Compiled, between two steps.
        state: Where the run stands.
        identity: What the checkpoint belongs to: see `load`.

    Returns:
        Whether it was written. It is not if a weight is NaN or infinite: there is no way on from there.
    """
    variables = [variable.numpy() for variable in _variables(model)]
    if not all(np.isfinite(v).all() for v in variables if np.issubdtype(v.dtype, np.floating)):
        return False
    arrays = {f"variable_{i:06d}": v for i, v in enumerate(variables)}
    arrays |= {f"best_{i:06d}": w for i, w in enumerate(state.keep_best.weights)}
    if state.step:
        arrays |= {f"metric_{i:06d}": v.numpy() for i, v in enumerate(model.metrics_variables)}
    header = {
        "format": FORMAT,
        "arrays": len(arrays),
        "kerasbn": kerasbn.__version__,
        "identity": dict(identity),
        "epoch": state.epoch,
        "step": state.step,
        "history": state.history,
        "best": {"epoch": state.keep_best.epoch, "value": state.keep_best.value},
        "decay": state.decay.state(),
        "plateau": None if state.plateau is None else state.plateau.state(),
    }
    path = directory / layout.CHECKPOINT
    with files.whole_file(path) as temporary:
        np.savez(temporary, header=np.array(json.dumps(header)), **arrays)
        if path.exists():  # from here to the end of this block, the one before is the only one
            os.replace(path, directory / layout.CHECKPOINT_BEFORE)
    return True


def _read(path: Path) -> Content:
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()  # NumPy checks no sum of an array whose header is damaged
        if broken is not None:
            raise zipfile.BadZipFile(f"{broken!r} in it has another check sum")
        file.seek(0)
        arrays = dict(np.load(file, allow_pickle=False))
    header = json.loads(str(arrays.pop("header"))) if "header" in arrays else {"format": 1}
    if header.get("arrays", len(arrays)) != len(arrays):
        raise zipfile.BadZipFile(f"{len(arrays)} of {header['arrays']} arrays are in it")
    return Content(path, header, arrays)


def read(directory: Path, say: Callable[[str], None]) -> Content | None:
    """Return the newest checkpoint of a run that can be read; None if it has none.

    Args:
        directory: The run directory.
        say: Told if the newest is damaged, and which is taken in its place.

    Returns:
        The checkpoint.

    Raises:
        InputError: If there is one, but none that can be read.
    """
    damaged: list[tuple[Path, Exception]] = []
    for path in (directory / layout.CHECKPOINT, directory / layout.CHECKPOINT_BEFORE):
        try:
            content = _read(path)
        except FileNotFoundError:
            continue
        except files.NOT_NUMPY as error:
            damaged.append((path, error))
            continue
        for broken, reason in damaged:
            at = f"epoch {content.header.get('epoch', 0) + 1}, step {content.header.get('step', 0)}"
            say(f"{broken} is damaged ({reason}); going on from the one before it, {path}: {at}")
            if not isinstance(reason, OSError):  # which may have passed by the next time
                broken.unlink()  # the next one would put it in the place of the one that is whole
        return content
    if damaged:
        reason = damaged[0][1]
        remedy = "What is damaged cannot be gone on from; delete it, and the run begins anew."
        names = " and ".join(repr(str(path)) for path, _ in damaged)
        raise InputError("checkpoint", f"{names} to be readable", reason, remedy)
    return None


def position(directory: Path) -> tuple[int, int]:
    """Return how many epochs, and steps of the next, the newest checkpoint has behind it; (0, 0) if there is none."""
    for name in (layout.CHECKPOINT, layout.CHECKPOINT_BEFORE):
        with contextlib.suppress(*files.NOT_NUMPY), np.load(directory / name, allow_pickle=False) as content:
            header = json.loads(str(content["header"]))
            return int(header["epoch"]), int(header["step"])
    return 0, 0


def _check(content: Content, model: keras.Model, identity: Mapping[str, Any]) -> None:
    """Raise an `InputError` if a checkpoint is of another format, model or way to train."""
    path = str(content.path)
    if content.header["format"] != FORMAT:
        by = content.header.get("kerasbn", "an older version")
        raise InputError(
            "checkpoint",
            f"format {FORMAT} in {path!r}",
            f"format {content.header['format']}, written by kerasbn {by}",
            "Go on with that version of kerasbn, or delete the checkpoint, and the run begins anew.",
        )
    was = content.header["identity"]
    different = [key for key in identity if was.get(key) != identity[key]]
    remedy = "Give the run its own checkpoint and config.yaml back, or delete the checkpoint and begin anew."
    if different:
        expected = ", ".join(f"{key} {identity[key]}" for key in different)
        received = ", ".join(f"{key} {was.get(key)}" for key in different)
        raise InputError("checkpoint", f"{path!r} of a run with {expected}", received, remedy)
    variables, saved = _variables(model), content.named("variable_")
    if [tuple(v.shape) for v in variables] != [v.shape for v in saved]:
        received = f"{len(saved)} of other shapes"
        raise InputError("checkpoint", f"the {len(variables)} variables of this model in {path!r}", received, remedy)


def restore(content: Content, model: keras.Model, state: State, identity: Mapping[str, Any]) -> None:
    """Put a model, its optimizer and the state back to where a checkpoint was written.

    Args:
        content: The checkpoint.
        model: The same architecture, compiled in the same way.
        state: To be filled.
        identity: What the checkpoint must belong to: values by their names, as JSON has them.

    Raises:
        InputError: If the checkpoint is of another format or another run.
    """
    _check(content, model, identity)
    for variable, value in zip(_variables(model), content.named("variable_"), strict=True):
        variable.assign(value)
    header = content.header
    state.keep_best.epoch, state.keep_best.value = header["best"]["epoch"], header["best"]["value"]
    state.keep_best.weights = content.named("best_")
    state.decay.set_state(header["decay"])
    if state.plateau is not None:
        state.plateau.set_state(header["plateau"])
    state.history[:] = header["history"]
    state.epoch, state.step, state.metrics = header["epoch"], header["step"], content.named("metric_")


def remove(directory: Path) -> None:
    """Remove a run's checkpoints: it is complete."""
    for name in (layout.CHECKPOINT, layout.CHECKPOINT_BEFORE):
        (directory / name).unlink(missing_ok=True)


class WriteCheckpoints(keras.callbacks.Callback):
    """Write a checkpoint when training begins, now and then, and when it stops; the last of the callbacks.

    Args:
        directory: The run directory.
        state: Of the run; kept up to date by `kerasbn.training.fit`.
        identity: See `restore`.
        steps: Steps from one checkpoint to the next; None: by time.
        seconds: Time from one to the next; more, where that would take more than a hundredth of the time.
        stop: When set, training is about to stop after the present step.
        say: Told if one could not be written.
    """

    def __init__(
        self,
        directory: Path,
        state: State,
        identity: Mapping[str, Any],
        steps: int | None,
        seconds: float,
        stop: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.directory, self.state, self.identity = directory, state, identity
        self.steps, self.seconds, self.stop, self.say = steps, seconds, stop, say
        self.next = time.monotonic() + seconds
        self.done = 0  # steps since the last one

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write one if the run begins: whatever comes, there is a way back."""
        if self.state.epoch == self.state.step == 0:
            self._write()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one if it is time."""
        self.done += self.model.steps_per_execution
        # After its last step an epoch is not over: validation comes, and then it is written.
        if self.state.step < self.state.steps_per_epoch and (self._is_due() or self.stop.is_set()):
            self._write()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one if it is time, or training stops here."""
        if self.model.stop_training or self.stop.is_set() or self._is_due():
            self._write()

    def _is_due(self) -> bool:
        return time.monotonic() >= self.next if self.steps is None else self.done >= self.steps

    def _write(self) -> None:
        state = self.state
        if state.diverged or (state.history and not_finite(state.history[-1], state.keep_best.monitor)):
            return  # the one before is the way back
        begun = time.monotonic()
        try:
            if not save(self.directory, self.model, self.state, self.identity):
                self.say("A weight or a slot of the optimizer is not finite: the checkpoint before is kept.")
        except OSError as error:  # a full disk: training is worth more than the way back
            self.say(f"The checkpoint could not be written ({error}); training goes on, and the one before is kept.")
        now = time.monotonic()
        self.next, self.done = now + max(self.seconds, (now - begun) / _SHARE), 0
