"""Tests of the shape of the code: imports point one way, files are small, nothing is shared by accident."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kerasbn

ROOT = Path(kerasbn.__file__).parent

# Rooms in order; a room may import those of earlier rows.
ORDER = (
    ("checks", "files", "layout", "live_curves", "progress", "quiet", "schemas"),
    ("schedules",),
    ("config",),
    ("adjustments", "data"),
    ("layers", "losses", "metrics", "optimizers"),
    ("statistics",),
    ("callbacks", "models"),
    ("caviar",),
    ("training",),
    ("diagnostics",),
    ("tuning",),
    ("export",),
    ("serving",),
    ("cli_options", "cli_output", "cli_search", "cli", "__main__"),
)
# Within a row these are allowed, and no others.
ASIDE = (
    ("files", "checks"),
    ("schemas", "checks"),
    ("live_curves", "progress"),
    ("metrics", "losses"),
    ("cli", "cli_options"),
    ("cli", "cli_output"),
    ("cli", "cli_search"),
    ("__main__", "cli"),
)
# A served model is an artefact: the code that made it must not be needed.
NEVER = tuple(("serving", room) for room in ("models", "layers", "training", "export", "tuning"))
PRIVATE = ("keras.src", "keras_tuner.src", "tensorflow.python")
MOST_LINES = 350
ATTICS = ("utils.py", "helpers.py", "common.py", "misc.py")


def level(room: str) -> int:
    return next((index for index, row in enumerate(ORDER) if room in row), -1)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of everything imported, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def literal_is_mutable(value: ast.AST | None) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in ("list", "dict", "set", "defaultdict", "Counter", "deque", "OrderedDict")
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def complaints(path: str, source: str) -> list[str]:
    """Return what is wrong with a file of the package; `path` is relative to it."""
    tree = ast.parse(source)
    room = path.split("/")[0].removesuffix(".py")
    found = []
    if room != "__init__" and level(room) < 0:
        found.append("a room that is not in the order")
    for line, name in imported(tree):
        if name.startswith("."):
            found.append(f"{line}: relative import")
        if any(name == private or name.startswith(private + ".") for private in PRIVATE):
            found.append(f"{line}: private import of {name}")
        parts = name.split(".")
        if parts[0] == "kerasbn" and len(parts) > 1 and parts[1] != room and level(parts[1]) >= 0:
            other = parts[1]
            aside = level(other) == level(room) and (room, other) not in ASIDE
            if level(other) > level(room) or aside or (room, other) in NEVER:
                found.append(f"{line}: {room} imports {other}")
    if len(source.splitlines()) > MOST_LINES:
        found.append(f"more than {MOST_LINES} lines")
    if Path(path).name in ATTICS:
        found.append("a name that says nothing")
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if names != ["__all__"] and literal_is_mutable(node.value):
                found.append(f"{node.lineno}: mutable module-level state {', '.join(names)}")
    if any(isinstance(node, ast.Global) for node in ast.walk(tree)):
        found.append("a global statement")
    docstring = ast.get_docstring(tree, clean=False)
    first_line = (docstring or "").split("\n")[0].strip()
    if not first_line or not source.startswith('"""'):
        found.append("no first line that says what lives here")
    return found


FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_file(path):
    assert complaints(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_room_is_in_the_order_and_exists():
    here = {path.split("/")[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert here == {room for row in ORDER for room in row}


DOC = '"""Doc."""\n'


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("data/a.py", DOC + "from kerasbn.training import fit", "2: data imports training"),
        ("data/a.py", DOC + "from kerasbn import models", "2: data imports models"),
        ("data/a.py", DOC + "import kerasbn.models.mlp", "2: data imports models"),
        ("data/a.py", DOC + "def f():\n    from kerasbn.cli import main", "3: data imports cli"),
        ("models/a.py", DOC + "from kerasbn.callbacks import KeepBest", "2: models imports callbacks"),
        ("checks.py", DOC + "from kerasbn.files import write_text", "2: checks imports files"),
        ("serving/a.py", DOC + "from kerasbn.export import export_run", "2: serving imports export"),
        ("serving/a.py", DOC + "def f():\n    import kerasbn.layers", "3: serving imports layers"),
        ("layers/a.py", DOC + "from keras.src.backend import x", "2: private import of keras.src.backend.x"),
        ("layers/a.py", DOC + "from keras import src", "2: private import of keras.src"),
        ("layers/a.py", DOC + "import tensorflow.python.ops", "2: private import of tensorflow.python.ops"),
        ("tuning/a.py", DOC + "import keras_tuner.src", "2: private import of keras_tuner.src"),
        ("layers/a.py", DOC + "from . import b", "2: relative import"),
        ("layers/a.py", DOC + "x = 1\n" * 350, "more than 350 lines"),
        ("layers/utils.py", DOC, "a name that says nothing"),
        ("layers/a.py", DOC + "CACHE = {}", "2: mutable module-level state CACHE"),
        ("layers/a.py", DOC + "CACHE: dict = dict()", "2: mutable module-level state CACHE"),
        ("layers/a.py", DOC + "NAMES = [n for n in 'ab']", "2: mutable module-level state NAMES"),
        ("layers/a.py", DOC + "N = 0\ndef f():\n    global N\n    N = 1", "a global statement"),
        ("layers/a.py", "import os\n", "no first line that says what lives here"),
        ("layers/a.py", '"""\nDoc."""', "no first line that says what lives here"),
        ("attic/a.py", DOC, "a room that is not in the order"),
    ],
)
def test_each_check_can_fail(path, source, complaint):
    assert complaint in complaints(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models/a.py", DOC + "from kerasbn.layers import BatchNormalization\nfrom kerasbn.models import b"),
        ("files.py", DOC + "from kerasbn.checks import InputError"),
        ("cli.py", DOC + "import kerasbn\nfrom kerasbn.cli_output import show_run\n__all__ = ['x']\nA = (1, 2)"),
    ],
)
def test_what_is_allowed(path, source):
    assert complaints(path, source) == []
