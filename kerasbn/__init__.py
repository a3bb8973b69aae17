"""kerasbn: build, tune and ship batch-normalised classifiers with TensorFlow and Keras 3."""

import importlib
from types import ModuleType

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "adjustments",
    "callbacks",
    "caviar",
    "config",
    "data",
    "diagnostics",
    "export",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "schedules",
    "serving",
    "statistics",
    "training",
    "tuning",
]


def __getattr__(name: str) -> ModuleType:
    """Load a room when it is first asked for, so that `import kerasbn` loads no TensorFlow."""
    if name in __all__:
        return importlib.import_module(f"kerasbn.{name}")
    raise AttributeError(f"module 'kerasbn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
