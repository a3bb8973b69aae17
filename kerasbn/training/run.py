"""A training run: from a config to a run directory, which holds everything there is to know about it."""

import contextlib
import shlex
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import keras

from kerasbn import files, layout, models
from kerasbn.adjustments import Adjustments
from kerasbn.adjustments.records import RECORDS
from kerasbn.callbacks import ApplyAdjustments, ShowCurves, ShowProgress
from kerasbn.callbacks.keep_best import not_finite
from kerasbn.checks import InputError, TaskError
from kerasbn.config import TrainConfig, read_config
from kerasbn.data import Prepared, Splits, labels, load_splits, prepare
from kerasbn.live_curves import watching
from kerasbn.progress import Report, reporting
from kerasbn.training import checkpoint
from kerasbn.training.compile import compile_model, plan_epoch
from kerasbn.training.divergence import Origin, find_origin
from kerasbn.training.fit import go_on
from kerasbn.training.interrupt import interruptible
from kerasbn.training.results import Run, finish, is_over
from kerasbn.training.run_directory import held, identity, new_directory, read_metrics, read_object, unfinished
from kerasbn.training.state import History, State, new_state

Callbacks: TypeAlias = list[keras.callbacks.Callback]


@dataclass(frozen=True)
class Begun:
    """What there is before the first step of a run.

    Args:
        config: Of the run.
        splits: Raw inputs and labels.
        prepared: Features and labels, and the model that makes features of raw inputs.
        model: Features to logits, compiled, with its initial weights.
        steps_per_epoch: Steps of the optimizer in an epoch.

    Example:
        >>> begin(TrainConfig(data=DataConfig(source="iris"))).prepared.train.inputs.shape
        (106, 4)
    """

    config: TrainConfig
    splits: Splits
    prepared: Prepared
    model: keras.Model
    steps_per_epoch: int


def begin(config: TrainConfig, splits: Splits | None = None) -> Begun:
    """Return the data and the model of a run, as they are before the first step; seeds are set.

    Args:
        config: See `kerasbn.config.TrainConfig`.
        splits: The config's data, if they were loaded before.

    Returns:
        Data and model.

    Raises:
        InputError: If the data or the model cannot be used.

    Example:
        >>> begun = begin(TrainConfig(data=DataConfig(source="iris")))
        >>> begun.model.output_shape, begun.steps_per_epoch
        ((None, 3), 2)
    """
    splits = splits or load_splits(config.data)
    keras.utils.set_random_seed(config.training.seed)
    prepared = prepare(splits)
    train = prepared.train
    model = models.from_config(config.model, train.inputs.shape[1:], len(splits.class_names))
    compile_model(model, config.training, train.labels)
    steps = plan_epoch(model, len(train), config.training.batch_size).steps
    return Begun(config, splits, prepared, model, steps)


def _in_words(splits: Splits) -> str:
    """Return what there is to train on: what the reader of a file made of it shows here first."""
    sizes = f"{len(splits.train)} training, {len(splits.validation)} validation and {len(splits.test)} test examples"
    words = f"{sizes} of {len(splits.class_names)} classes"
    if splits.schema["kind"] != "table":
        return f"{words}, each {' x '.join(map(str, splits.schema['shape']))}"
    by_type: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for column in splits.schema["columns"]:
        by_type[column["type"]].append(column["name"])
    columns = (f"{len(names)} {kind} ({labels.listed(names)})" for kind, names in by_type.items() if names)
    return f"{words}; columns: {', '.join(columns)}"


@contextlib.contextmanager
def _saying_what_was_kept(directory: Path) -> Iterator[None]:
    """Let `KeyboardInterrupt`, and what the machine could not do, say what was kept and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        epoch, step = checkpoint.position(directory)
        kept = f"{epoch} epochs and {step} steps are kept" if epoch or step else "nothing is kept yet"
        command = f"kerasbn train --resume {shlex.quote(str(directory))}"
        remedy = f"{kept}. To go on, give the same command again, or: {command}"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"Stopped in {directory}; {remedy}") from None
        raise TaskError(f"{error} in {directory}; {remedy}") from error


@contextlib.contextmanager
def _reporting(begun: Begun, history: History, watch: bool) -> Iterator[tuple[Report, list[keras.callbacks.Callback]]]:
    """Give what says how far training is, and the callbacks that tell it."""
    config, steps = begun.config, begun.steps_per_epoch
    description, epochs = f"training {config.model_name}", config.training.epochs
    if watch:
        with watching(description, epochs) as report:
            yield report, [ShowCurves(report, history, steps), ShowProgress(report, steps)]
    else:
        with reporting(description, epochs, "epoch") as report:
            yield report, [ShowProgress(report, steps)]


@contextlib.contextmanager
def _telling_warnings(say: Callable[[str], None]) -> Iterator[None]:
    """Say warnings as lines of the report, without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest, **others: say(str(message))
        yield


def _origin(begun: Begun, state: State, directory: Path, report: Report) -> Origin | None:
    """Return where a training that has ended went wrong; None if it did not. The model's weights are lost."""
    training, model, prepared = begun.config.training, begun.model, begun.prepared
    what = "loss"
    diverged = state.diverged
    if diverged is None:
        name = not_finite(state.history[-1], training.monitor) if state.history else None
        if name is None:
            return None
        # Whatever it was, the losses of all steps were finite: at the earliest it was the last of them.
        what, last = name, state.steps_per_epoch
        diverged = (state.epoch - 1, last - model.steps_per_execution, last - 1)
    unknown = Origin(diverged[0] + 1, diverged[2] + 1, float(model.optimizer.learning_rate), None, what)
    report.say(f"The {what} is not finite; going back to the last checkpoint, to see where that began.")
    try:
        content = checkpoint.read(directory, report.say)
    except InputError as error:  # the best epoch is worth more than to know where it began
        report.say(str(error))
        return unknown
    if content is None:
        return unknown
    again = new_state(training, state.steps_per_epoch)
    checkpoint.restore(content, model, again, identity(begun.config, begun.splits.manifest))
    adjust = ApplyAdjustments(Adjustments(directory), again.decay, report.say, listen=False)
    return find_origin(model, prepared.train, prepared.validation, training, again, diverged, adjust) or unknown


def _train(begun: Begun, directory: Path, watch: bool) -> Run:
    """Train from the last checkpoint, if there is one, to the end, in a directory that is held."""
    began = time.monotonic()
    config, training, model = begun.config, begun.config.training, begun.model
    state = new_state(training, begun.steps_per_epoch)
    with _saying_what_was_kept(directory):
        with _reporting(begun, state.history, watch) as (report, shown):
            report.say(_in_words(begun.splits))
            content = checkpoint.read(directory, report.say)
            if content is not None:
                checkpoint.restore(content, model, state, identity(config, begun.splits.manifest))
                report.say(f"Going on with {directory}, from epoch {state.epoch + 1}, step {state.step}.")
            if not is_over(training, state):  # else it was killed between its last epoch and its end
                train, validation = begun.prepared.train, begun.prepared.validation
                with interruptible(report.say) as stop, _telling_warnings(report.say):
                    adjust = ApplyAdjustments(Adjustments(directory), state.decay, report.say, stop)
                    write = checkpoint.WriteCheckpoints(
                        directory,
                        state,
                        identity(config, begun.splits.manifest),
                        training.checkpoint_steps,
                        training.checkpoint_seconds,
                        stop,
                        report.say,
                    )
                    go_on(model, train, validation, training, state, [*shown, write], adjust=adjust, stop=stop)
            origin = _origin(begun, state, directory, report)
        if state.keep_best.epoch is None:
            raise _nothing_to_keep(directory, state, origin)
        state.keep_best.set_model(model)
        state.keep_best.restore()
        return finish(directory, config, begun.splits, begun.prepared, model, state, origin, began)


def _nothing_to_keep(directory: Path, state: State, origin: Origin | None) -> BaseException:
    """Return what a run ends with in which no epoch could be the best."""
    if origin is None:
        return KeyboardInterrupt()  # before the first epoch was over
    remedy = "Lower training.learning_rate."
    if _is_worth_keeping(directory):
        where = shlex.quote(str(directory))
        remedy += (
            f" What was finite is kept: `kerasbn adjust {where} --learning-rate X`, and then "
            f"`kerasbn train --resume {where}`."
        )
    return InputError("training", "losses that are finite", str(origin), remedy)


def _is_worth_keeping(directory: Path) -> bool:
    """Return whether there is anything in a run directory but its beginning: steps, results, or changes by hand."""
    kept = any((directory / name).exists() for name in (layout.METRICS, RECORDS))
    return kept or any(checkpoint.position(directory))


@contextlib.contextmanager
def _nothing_left_behind(directory: Path) -> Iterator[None]:
    """Remove the directory of a run that cannot be, unless there is something in it that is worth keeping."""
    try:
        yield
    except InputError:
        if not _is_worth_keeping(directory):
            shutil.rmtree(directory)
            with contextlib.suppress(OSError):  # earlier runs are in it
                directory.parent.rmdir()
        raise


def train(config: TrainConfig, *, fresh: bool = False, watch: bool = False) -> Run:
    """Train the model that a config describes, and write a run directory.

    The directory is `<output>/<name>/<time>/`, with `config.yaml`, `data.json` (the manifest of the split),
    `environment.json`, `history.csv`, `model.keras` (raw inputs to logits), `metrics.json` (validation and test),
    `examples.npz` and `learning_curves.png`. The same config on the same machine gives the same numbers: so if
    there is a run of the same config, data and versions that was stopped or killed, that run goes on, from its last
    checkpoint and to the numbers that it would have come to. The seeds of Python, NumPy and TensorFlow are set.
    Ctrl-C ends training after the present step, with everything written.

    Args:
        config: See `kerasbn.config.TrainConfig`.
        fresh: Whether a new run begins, even if there is one that could go on.
        watch: Whether the terminal shows the curves.

    Returns:
        The run directory and the metrics.

    Raises:
        InputError: If the data, the model or the output directory cannot be used: nothing is left behind. If training
            diverges before the end of the first epoch.

    Example:
        >>> run = train(TrainConfig(data=DataConfig(source="iris"), training=TrainingConfig(epochs=2)))
        >>> run.metrics["status"], run.metrics["test"]["examples"]
        ('complete', 22)
    """
    files.check_outside(config.output, config.data.source, "output")
    splits = load_splits(config.data)
    begun = begin(config, splits)
    directory = None if fresh else unfinished(config, splits.manifest)
    if directory is None:
        directory = new_directory(config, splits.manifest)
    with held(directory), _nothing_left_behind(directory):
        files.remove_leftovers(directory, 0)
        return _train(begun, directory, watch)


def resume(directory: str | Path, *, watch: bool = False) -> Run:
    """Go on with a run that was interrupted, from its last checkpoint; the result is as if it never was.

    A run that diverged goes on from the last checkpoint before that, once `kerasbn adjust` has changed it.

    Args:
        directory: The run directory.
        watch: Whether the terminal shows the curves.

    Returns:
        The run directory and the metrics.

    Raises:
        InputError: If it is no run directory, the run is complete, another process is training in it, its checkpoints
            are damaged or of another run, or the data has changed.

    Example:
        >>> run = resume("runs/digits/20260731-101500")
    """
    directory = Path(directory)
    if not (directory / layout.CONFIG).is_file():
        received = f"{str(directory)!r}, which has no {layout.CONFIG}"
        raise InputError("--resume", "a run directory", received, "They are runs/<name>/<time>.")
    with held(directory):
        files.remove_leftovers(directory, 0)  # only now is it known to be a run, which is ours alone
        config = read_config(TrainConfig, directory / layout.CONFIG)
        _check_unfinished(directory)
        splits = load_splits(config.data)
        was = read_object(directory / layout.DATA)
        different = [key for key, value in splits.manifest.items() if was.get(key) != value]
        if different:
            received = f"another {', '.join(different)} from {config.data.source!r}"
            remedy = "Give the old data back, or train anew with `kerasbn train --config`."
            raise InputError("--resume", f"the split the run began with, as in {layout.DATA}", received, remedy)
        return _train(begin(config, splits), directory, watch)


def _check_unfinished(directory: Path) -> None:
    if read_metrics(directory).get("status") == "complete":
        checkpoint.remove(directory)  # left by a kill in the last moment
        remedy = "Train anew with `kerasbn train --config`."
        raise InputError("--resume", "an interrupted run", f"{str(directory)!r}, which is complete", remedy)
