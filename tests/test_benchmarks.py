"""The programs in scripts/benchmarks/ that can be run in seconds; what they measure is no test."""

import json
import subprocess
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "scripts" / "benchmarks"


@pytest.mark.slow
def test_loss_writes_its_figures(python, tmp_path):
    command = [*python, BENCHMARKS / "loss.py", "--seconds", "0.01", "--json", tmp_path / "loss.json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "loss.json").read_text())
    assert {"rows", "ratios", "environment"} <= set(written)
    assert len(written["rows"]) == 42


@pytest.mark.slow
def test_overhead_writes_its_figures(python, tmp_path):
    command = [*python, BENCHMARKS / "overhead.py", "--data", "digits", "--epochs", "3"]
    result = subprocess.run([*command, "--json", tmp_path / "o.json"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "o.json").read_text())
    assert {name: len(values) for name, values in written["seconds"].items()} == {"plain fit": 2, "kerasbn": 2}
    assert set(written["ratios"]) == {"wall", "CPU"}


@pytest.mark.slow
def test_fashion_mnist_writes_its_figures_and_picture(python, tmp_path):
    command = [*python, BENCHMARKS / "fashion_mnist.py", "--data", "digits", "--only", "mlp", "--seeds", "2"]
    result = subprocess.run([*command, "--output", tmp_path], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    (network,) = json.loads((tmp_path / "fashion_mnist.json").read_text())["networks"]
    assert [run["seed"] for run in network["runs"]] == [0, 1]
    assert network["test"] > 0.9
    assert (tmp_path / "fashion_mnist.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_why_batch_norm_writes_its_results_and_picture(python, tmp_path):
    command = [*python, BENCHMARKS / "why_batch_norm.py", "--data", "digits", "--steps", "20", "--seeds", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "why_batch_norm" / "why_batch_norm.json").read_text())
    assert {"speed", "drift", "rates", "noise", "regularization", "runs", "environment"} <= set(written)
    assert len(written["rates"]) == 2 * 2 * 6
    for row in written["noise"]:  # the one figure that hardly depends on how far training went
        assert row["deviation"] == pytest.approx([row["theory"]] * 3, rel=0.3)
    picture = (tmp_path / "why_batch_norm" / "why_batch_norm.png").read_bytes()
    assert picture.startswith(b"\x89PNG")


@pytest.mark.slow
def test_search_quality_writes_its_figures_and_picture(python, tmp_path):
    command = [*python, BENCHMARKS / "search_quality.py", "--worlds", "2", "--trials", "6", "--output", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "search_quality.json").read_text())
    assert written["configurations"] == 2304
    assert len(written["methods"]) == 9
    for row in written["methods"].values():
        assert row["worlds"] == 2
        regrets = [value[0] for value in row["regret_by_epochs"]]
        assert len(regrets) == 6
        assert all(0 <= regret < 1 for regret in regrets)
    assert written["methods"]["coarse to fine"]["less_than_random_by_trials"] == [[0.0, 0.0, 0.0]]  # its first round
    assert (tmp_path / "search_quality.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_search_writes_its_figures(python, tmp_path):
    command = [*python, BENCHMARKS / "search.py", "--trials", "1", "--rounds", "1", "--long", "2"]
    command += ["--json", tmp_path / "search.json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "search.json").read_text())
    assert set(written["overhead"]) == {"plain loop", "kerasbn", "KerasTuner"}
    assert [row["trials"] for row in written["long"]] == [1, 2]
    assert all(row["weights"] > 0 for row in written["long"])
