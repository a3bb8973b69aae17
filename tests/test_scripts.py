"""The programs in scripts/ that use the library: each is run as a user would run it."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(cwd, name, *arguments):
    command = [sys.executable, SCRIPTS / name, *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_train_export_and_serve_from_python(tmp_path):
    run_directory = tmp_path / run(tmp_path, "train.py", "digits", 4).splitlines()[-1]
    assert json.loads((run_directory / "metrics.json").read_text())["test"]["accuracy"] > 0.85
    version = run(tmp_path, "export.py", run_directory, tmp_path / "models" / "digits").strip()
    assert version == str(tmp_path / "models" / "digits" / "1")
    command = [sys.executable, SCRIPTS / "serve.py", str(tmp_path / "models" / "digits"), "0"]
    with np.load(run_directory / "examples.npz") as examples:
        inputs, expected = examples["inputs"], examples["probabilities"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        body = json.dumps({"instances": inputs.tolist()}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{url}:predict", body), timeout=60) as reply:
            served = json.load(reply)["predictions"]
        np.testing.assert_allclose(served, expected, atol=1e-5)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 0
    finally:
        server.kill()
        server.wait(timeout=30)
        server.stdout.close()


@pytest.mark.slow
def test_tune_from_python_goes_on_where_it_stopped(tmp_path):
    first = run(tmp_path, "tune.py", 2)
    assert float(first.split("test accuracy")[1]) > 0.1
    second = run(tmp_path, "tune.py", 3)
    assert second.count("Trial 1 summary") == 1
    assert "Trial 2 summary" in second
    assert "Trial 2 summary" not in first
