"""Tests of the public names: every `__all__` is sorted, complete and importable."""

import ast
import importlib
from pathlib import Path

import pytest

import kerasbn

ROOT = Path(kerasbn.__file__).parent
PACKAGES = sorted(str(path.parent.relative_to(ROOT)).replace("/", ".") for path in ROOT.rglob("*/__init__.py"))


def names_of(path):
    """Return `__all__`, and the names that a file imports from the package or defines, without leading underscore."""
    exported, names = [], set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            exported = ast.literal_eval(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kerasbn"):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return exported, {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_complete_and_importable(package):
    exported, names = names_of(ROOT / package.replace(".", "/") / "__init__.py")
    assert exported == sorted(exported, key=lambda name: (not name.isupper(), name))  # constants first, as ruff has it
    lazy = hasattr(importlib.import_module(f"kerasbn.{package}"), "__getattr__")
    assert set(exported) >= names
    if not lazy:
        assert set(exported) == names
    module = importlib.import_module(f"kerasbn.{package}")
    for name in exported:
        assert getattr(module, name) is not None


def test_the_package_itself():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert kerasbn.__all__ == sorted(kerasbn.__all__)
    assert dir(kerasbn) == kerasbn.__all__
    assert rooms <= set(kerasbn.__all__)
    for name in kerasbn.__all__:
        assert getattr(kerasbn, name) is not None
    with pytest.raises(AttributeError, match="module 'kerasbn' has no attribute 'layer'"):
        _ = kerasbn.layer
