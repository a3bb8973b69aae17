"""Measure the main job as a user runs it: seconds, peak memory and test accuracy of whole commands.

python scripts/benchmarks/main_job.py --fashion fashion_mnist.npz --letter letter.csv [--json FILE]

Fashion-MNIST and Letter Recognition are not shipped; without a file its rows are left out and said to be.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kerasbn.training.environment import environment

KERASBN = Path(sys.executable).with_name("kerasbn")
DEMO = Path(__file__).parent.parent / "demo.py"


def measure(*command: str | Path, cwd: Path) -> tuple[float, float]:
    """Run a command; return its seconds, and the peak memory of its largest process in GiB."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with code {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / 2**20


def test_accuracy(runs: Path) -> float:
    """Return the test accuracy of the newest run below a directory."""
    newest = max(runs.glob("*/*/metrics.json"))
    return json.loads(newest.read_text())["test"]["accuracy"]


def main() -> None:
    """Measure, print a table, and write JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fashion", type=Path, help="fashion_mnist.npz")
    parser.add_argument("--letter", type=Path, help="letter.csv")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []

    def add(what: str, seconds: float, gigabytes: float, accuracy: float | None) -> None:
        rows.append({"what": what, "seconds": seconds, "GiB": gigabytes, "test_accuracy": accuracy})
        shown = "" if accuracy is None else f"{accuracy:.4f}"
        print(f"{what:<62} {seconds:7.1f} s {gigabytes:6.2f} GiB  {shown}", flush=True)

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        seconds, memory = measure(sys.executable, DEMO, "--output", "demo", cwd=place)
        add(
            "scripts/demo, after set-up (memory: demo.py alone)",
            seconds,
            memory,
            test_accuracy(place / "demo" / "runs"),
        )
        if arguments.fashion:
            source = ("--data.source", arguments.fashion.resolve(), "--training.batch_size", "128")
            for name, epochs in (("mlp", "10"), ("convnet", "5")):
                options = ("--model.name", name, "--training.epochs", epochs, "--output", f"fashion-{name}")
                seconds, memory = measure(KERASBN, "train", *source, *options, cwd=place)
                what = f"kerasbn train, Fashion-MNIST, {name}, {epochs} epochs"
                add(what, seconds, memory, test_accuracy(place / f"fashion-{name}"))
        if arguments.letter:
            source = ("--data.source", arguments.letter.resolve(), "--data.target", "letter")
            seconds, memory = measure(KERASBN, "tune", *source, cwd=place)
            add("kerasbn tune, Letter Recognition, mlp, 20 trials", seconds, memory, None)
            best = place / "studies" / "letter" / "best.yaml"
            seconds, memory = measure(KERASBN, "train", "--config", best, "--output", "letter", cwd=place)
            add("kerasbn train, Letter Recognition, what it found", seconds, memory, test_accuracy(place / "letter"))
    for name in ("fashion", "letter"):
        if getattr(arguments, name) is None:
            print(f"left out: --{name} was not given")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
