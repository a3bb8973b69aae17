"""What all tests share: a quiet TensorFlow, and a look at what lies in a directory."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture
def tree() -> Callable[[Path], list[str]]:
    """Return a function that lists everything below a directory, hidden files too."""

    def listing(root: Path) -> list[str]:
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    return listing
