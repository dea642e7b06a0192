"""Data flows up the floors once: a room imports only rooms below it (the architecture page)."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_SRC = _ROOT / "src" / "quasarloop"
_PAGE = _ROOT / "docs" / "development" / "architecture.md"
_SIDE = 1.5  # above the ground, below all else
_SIDE_MAY_IMPORT = {"errors"}


def _tables():
    """Return room -> floor, and library -> rooms, as docs/development/architecture.md has them."""
    floors, libraries = {}, {}
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            continue
        first, second = (cell.strip() for cell in line.split("|")[1:3])
        names = re.findall(r"`(\w+)`", second)
        if first.isdigit() or first == "side":
            floors |= dict.fromkeys(names, _SIDE if first == "side" else int(first))
        else:
            libraries |= {library: set(names) for library in re.findall(r"`(\w+)`", first)}
    return floors, libraries


_FLOORS, _LIBRARIES = _tables()


def _files():
    return sorted(_SRC.rglob("*.py"))


def _room_of(path):
    return path.relative_to(_SRC).parts[0].removesuffix(".py")


@cache
def _imports(path):
    """Return the dotted names a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide the floor"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_table_is_complete():
    rooms = {_room_of(path) for path in _files()}
    assert rooms == set(_FLOORS), f"{_PAGE.name} and src/quasarloop have other rooms"
    assert len(_LIBRARIES) >= 5


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(_SRC)))
def test_imports_point_down(path):
    room = _room_of(path)
    parts = [name.split(".") for name in _imports(path) if name.startswith("quasarloop.")]
    for other in {p[1] for p in parts} & set(_FLOORS) - {room}:
        if room == "engine":
            assert other in _SIDE_MAY_IMPORT, f"engine imports {other}"
        else:
            below = _FLOORS[other] < _FLOORS[room]
            ground = _FLOORS[other] == _FLOORS[room] == 1
            assert below or ground, f"{path.name} (floor {_FLOORS[room]}) imports {other} above it"


@pytest.mark.parametrize("library", sorted(_LIBRARIES))
def test_libraries_stay_in_their_rooms(library):
    for path in _files():
        if library in {name.split(".")[0] for name in _imports(path)}:
            assert _room_of(path) in _LIBRARIES[library], f"{path} imports {library}"


def test_no_circles():
    """No file imports itself through others, imports for the type checker included."""
    names = {}
    for path in _files():
        parts = path.relative_to(_SRC.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    edges = {name: _imports(path) & set(names) - {name} for name, path in names.items()}
    edges = {n: {m for m in to if not n.startswith(f"{m}.")} for n, to in edges.items()}
    list(TopologicalSorter(edges).static_order())  # CycleError names the circle
