"""The programs in scripts/benchmarks/ that can be run in seconds; what they measure is no test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "scripts" / "benchmarks"


@pytest.mark.slow
def test_why_batch_norm_writes_its_results_and_picture(tmp_path):
    command = [sys.executable, BENCHMARKS / "why_batch_norm.py", "--data", "digits", "--steps", "20", "--seeds", "1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    written = json.loads((tmp_path / "why_batch_norm" / "why_batch_norm.json").read_text())
    assert {"speed", "drift", "rates", "noise", "regularization", "runs", "environment"} <= set(written)
    assert len(written["rates"]) == 2 * 2 * 6
    for row in written["noise"]:  # the one figure that hardly depends on how far training went
        assert row["deviation"] == pytest.approx([row["theory"]] * 3, rel=0.3)
    picture = (tmp_path / "why_batch_norm" / "why_batch_norm.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
