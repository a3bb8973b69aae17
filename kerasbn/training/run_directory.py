"""The directory of a run: made whole, held by one process at a time, found again by the same command."""

import contextlib
import datetime
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from kerasbn import files, layout
from kerasbn.adjustments import is_running
from kerasbn.checks import InputError
from kerasbn.config import TrainConfig, read_config, to_dict, write_config
from kerasbn.training.environment import environment

# What may be changed in the config of a run that goes on: how long, not how.
_LENGTH = ("epochs", "patience", "checkpoint_steps", "checkpoint_seconds")


def new_directory(config: TrainConfig, manifest: Mapping[str, Any]) -> Path:
    """Return a new run directory, which appears with everything that is known before training."""
    files.writable_directory(config.output, "output")
    parent = files.writable_directory(Path(config.output) / config.model_name, "output")
    files.remove_leftovers(parent)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    names = (stamp, *(f"{stamp}-{number}" for number in range(2, 1000)))
    directory = next(parent / name for name in names if not (parent / name).exists())
    with contextlib.suppress(FileExistsError):  # another run began in this moment, and took the name
        with files.whole_directory(directory) as temporary:
            write_config(config, temporary / layout.CONFIG)
            files.write_json(temporary / layout.DATA, dict(manifest))
            files.write_json(temporary / layout.ENVIRONMENT, environment())
        return directory
    return new_directory(config, manifest)


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold a run directory, which no other process may train in meanwhile; a process that is killed lets it go.

    Raises:
        InputError: If another process holds it.
    """
    lock = filelock.FileLock(directory / layout.LOCK)
    try:
        lock.acquire(timeout=1)  # `kerasbn adjust` takes it for a moment, to see whether anybody trains
    except filelock.Timeout:
        command = f"kerasbn adjust {shlex.quote(str(directory))}"
        raise InputError(
            "run directory",
            "one that no other process is training in",
            repr(str(directory)),
            f"Wait for its end, or change it while it runs with `{command}`.",
        ) from None
    try:
        yield
    finally:
        (directory / layout.LOCK).unlink(missing_ok=True)
        lock.release()


def identity(config: TrainConfig, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint of a run belongs to: the model, how it is trained, and on what."""
    model = {f"model.{key}": value for key, value in to_dict(config.model).items()}
    training = {f"training.{key}": v for key, v in to_dict(config.training).items() if key not in _LENGTH}
    # The manifest is JSON, and may be long: classes, columns, counts.
    content = json.dumps(dict(manifest), sort_keys=True, default=str).encode()
    return {**model, **training, "data": hashlib.sha256(content).hexdigest()[:16]}


def read_metrics(directory: Path) -> dict[str, Any]:
    """Return a run's metrics, {} if it has none yet; `InputError` if they cannot be read."""
    path = directory / layout.METRICS
    return read_object(path) if path.exists() else {}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a run that is to go on, or raise an `InputError`."""
    value = files.read_json(path, "--resume")
    if not isinstance(value, dict):
        raise InputError("--resume", f"a JSON object in {str(path)!r}", repr(value), "It is damaged; train anew.")
    return value


def unfinished(config: TrainConfig, manifest: Mapping[str, Any]) -> Path | None:
    """Return the newest run of this config, these data and these versions that was stopped or killed; None: none.

    Such a run goes on to the very numbers that a new one would come to.

    Args:
        config: Of the run.
        manifest: Of the split.

    Returns:
        The run directory, which no other process holds.
    """
    parent = Path(config.output) / config.model_name
    here = environment()
    for directory in sorted(parent.glob("[0-9]*"), reverse=True):
        with contextlib.suppress(InputError):  # what cannot be read is not gone on with
            was = read_object(directory / layout.ENVIRONMENT)
            same = all(was.get(key) == here[key] for key in ("python", "libraries"))
            same = same and read_config(TrainConfig, directory / layout.CONFIG) == config
            same = same and read_object(directory / layout.DATA) == dict(manifest)
            if same and read_metrics(directory).get("status") != "complete" and not is_running(directory):
                return directory
    return None
