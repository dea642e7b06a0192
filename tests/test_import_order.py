"""Data flows up the floors once: a room imports only rooms below it."""

import ast
from pathlib import Path

import pytest

_SRC = Path(__file__).resolve().parents[1] / "src" / "quasarloop"

# Floor of every room (docs/architecture.md). A room may import its own floor's room itself and
# every lower floor; two rooms of one floor do not know each other, except on floor 1.
_FLOORS = {
    "errors": 1,
    "lines": 1,
    "classes": 1,
    "grid": 1,
    "spectra": 1,
    "quality": 1,
    "truth": 1,
    "artefacts": 1,
    "robust": 1,
    "zwarn": 1,
    "read": 2,
    "store": 2.5,  # the store keeps what readers read
    "simulate": 2.8,  # writes what readers read
    "network": 3,
    "ensemble": 4,
    "catalogue": 4,
    "inspect": 5,
    "afterburner": 5,
    "query": 6,
    "evaluate": 7,
    "campaign": 8,
    "front_door": 8.5,  # what `import quasarloop` gives
    "loop": 8.6,  # the loop's steps, in its words
    "cli": 9,
    "__init__": 10,
    "__main__": 10,
    "engine": 1.5,  # the side room: imports errors only, serves all
}
_SPECIAL = {"engine": {"errors"}}
# Only the command line and the package's own front door may know everything.


def _room_of(path: Path) -> str:
    relative = path.relative_to(_SRC)
    room = relative.parts[0].removesuffix(".py")
    # A room too long for one file may stand in several: engine_dask.py belongs to the engine.
    return room.split("_", 1)[0] if room.split("_", 1)[0] in _FLOORS and "__" not in room else room


def _imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative imports hide the floor"
            modules.add(node.module)
            if node.module == "quasarloop":
                modules |= {f"quasarloop.{alias.name}" for alias in node.names}
    parts = [module.split(".") for module in modules]
    rooms = {p[1] for p in parts if p[0] == "quasarloop" and len(p) > 1}
    rooms = {room.split("_", 1)[0] for room in rooms if not room.startswith("__")}
    return rooms & set(_FLOORS)


def _files() -> list[Path]:
    return sorted(_SRC.rglob("*.py"))


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(_SRC)))
def test_imports_point_down(path):
    room = _room_of(path)
    assert room in _FLOORS, f"{room} has no floor: add it here and to docs/architecture.md"
    for other in _imported_rooms(path) - {room}:
        if room in _SPECIAL:
            assert other in _SPECIAL[room], f"{room} may import only {_SPECIAL[room]}"
        else:
            below = _FLOORS[other] < _FLOORS[room]
            ground = _FLOORS[other] == _FLOORS[room] == 1
            assert below or ground, f"{path.name} (floor {_FLOORS[room]}) imports {other} above it"


_FORMAT_LIBRARIES = {
    "fitsio": {"read", "simulate", "catalogue", "inspect", "afterburner"},
    "h5py": {"network"},
    "sqlalchemy": {"inspect"},
    "fastapi": {"inspect"},
    "torch": {"network", "ensemble"},
}


@pytest.mark.parametrize("library", sorted(_FORMAT_LIBRARIES))
def test_format_libraries_stay_in_their_rooms(library):
    for path in _files():
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        if library in names:
            assert _room_of(path) in _FORMAT_LIBRARIES[library], f"{path} imports {library}"
