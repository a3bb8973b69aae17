"""Where a run ran: versions of Python and the libraries, the git revision, the machine."""

import importlib.metadata
import os
import platform
import subprocess
from typing import Any

_LIBRARIES = ("kerasbn", "tensorflow", "keras", "numpy", "scikit-learn", "pandas", "keras-tuner", "optuna")


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or not in a repository: nothing to record
        return None
    return result.stdout.strip()


def environment() -> dict[str, Any]:
    """Return what else than the config and the data could change the numbers of a run.

    Returns:
        `python`, `platform`, `cpus`, `libraries` by name, `git_revision` of the working directory and whether it
        had uncommitted changes (None outside a repository).
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "libraries": {library: _version(library) for library in _LIBRARIES},
        "git_revision": _git("rev-parse", "HEAD"),
        "git_changes": None if changes is None else bool(changes),
    }
