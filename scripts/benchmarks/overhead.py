"""What a run costs beyond Keras's plain `fit`: the rate, the best epoch, checkpoints, changes by hand and the watch.

python scripts/benchmarks/overhead.py [--data FILE.npz] [--epochs 7] [--json FILE]

A convnet of two layers is trained on the same batches, with the same optimizer, loss and validation, in turns of an
epoch: by `model.fit` without callbacks, and as `kerasbn train --watch` does it. Prints medians and ratios, which are to
be at most 1.03, and writes JSON.
"""

import argparse
import contextlib
import dataclasses
import os
import pty
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kerasbn import files
from kerasbn.adjustments import Adjustments
from kerasbn.callbacks import ApplyAdjustments, ShowCurves, ShowProgress
from kerasbn.config import ConvNetConfig, DataConfig, TrainConfig, TrainingConfig
from kerasbn.data import evaluation_batches, examples_at_once, training_batches
from kerasbn.live_curves import watching
from kerasbn.training import begin
from kerasbn.training.checkpoint import WriteCheckpoints
from kerasbn.training.compile import plan_epoch
from kerasbn.training.environment import environment
from kerasbn.training.fit import go_on
from kerasbn.training.run_directory import identity
from kerasbn.training.state import new_state

MOST = 1.03


@contextlib.contextmanager
def terminal() -> Iterator[TextIO]:
    """Give a terminal to draw on, whose other end takes what comes."""
    ours, theirs = pty.openpty()

    def take() -> None:
        with contextlib.suppress(OSError):
            while os.read(ours, 2**16):
                pass

    threading.Thread(target=take, daemon=True).start()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        yield stream


def measure(config: TrainConfig, epochs: int, directory: Path) -> dict[str, list[tuple[float, float]]]:
    """Return wall and CPU seconds of each epoch, by turns; the first of each, which is traced, is left out."""
    plain, ours = begin(config), begin(config)
    train, validation, training = ours.prepared.train, ours.prepared.validation, config.training
    plan = plan_epoch(plain.model, len(train), training.batch_size)
    evaluated = evaluation_batches(validation, examples_at_once(plain.model))
    state, stop = new_state(training, plan.steps), threading.Event()
    seconds: dict[str, list[tuple[float, float]]] = {"plain fit": [], "kerasbn": []}
    with terminal() as stream, watching("training", epochs, stream) as report:
        adjust = ApplyAdjustments(Adjustments(directory), state.decay, report.say, stop)
        write = WriteCheckpoints(
            directory,
            state,
            identity(config, ours.splits.manifest),
            None,
            training.checkpoint_seconds,
            stop,
            report.say,
        )
        shown: list[Any] = [ShowCurves(report, state.history), ShowProgress(report), write]

        def fit_plainly(epoch: int) -> None:
            plain.model.fit(
                training_batches(train, plan.batch_size, plan.steps, training.seed, epoch),
                validation_data=evaluated,
                steps_per_epoch=plan.steps,
                initial_epoch=epoch,
                epochs=epoch + 1,
                shuffle=False,
                verbose=0,
            )

        def as_a_run(epoch: int) -> None:
            until = (epoch + 1, 0)
            go_on(ours.model, train, validation, training, state, shown, adjust=adjust, stop=stop, until=until)

        turns = [("plain fit", fit_plainly), ("kerasbn", as_a_run)]
        for epoch in range(epochs):
            for name, turn in turns if epoch % 2 else reversed(turns):
                wall, cpu = time.perf_counter(), time.process_time()
                turn(epoch)
                if epoch:
                    seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds


def main() -> None:
    """Read the arguments, measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist", help="what kerasbn's data.source takes (fashion_mnist)")
    parser.add_argument("--epochs", type=int, default=7, help="of each, the first of them not counted (7)")
    parser.add_argument("--json", type=Path, default=Path("overhead.json"), help="file for the figures (overhead.json)")
    arguments = parser.parse_args()
    config = TrainConfig(
        data=DataConfig(source=arguments.data),
        model=ConvNetConfig(),
        training=TrainingConfig(epochs=arguments.epochs, decay="exponential"),
    )
    with tempfile.TemporaryDirectory() as directory:
        seconds = measure(config, arguments.epochs, Path(directory))
    ratios = {}
    for column, kind in enumerate(("wall", "CPU")):
        values = {name: [row[column] for row in rows] for name, rows in seconds.items()}
        for name, those in values.items():
            print(f"{kind:<5}{name:<10}{statistics.median(those):8.3f} s an epoch, median of {len(those)}")
        pairs = zip(values["kerasbn"], values["plain fit"], strict=True)
        ratios[kind] = statistics.median(one / other for one, other in pairs)
        print(f"{kind:<5}ratio     {ratios[kind]:8.3f}   median of pairs")
    # Wall time moves by a third from epoch to epoch where a machine is shared; CPU time does not.
    print(f"at most {MOST}: {'reached' if ratios['CPU'] <= MOST else 'missed'}")
    figures = {"seconds": seconds, "ratios": ratios, "config": dataclasses.asdict(config.training)}
    files.write_json(arguments.json, {**figures, "environment": environment()})


if __name__ == "__main__":
    main()
