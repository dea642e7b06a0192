"""House style that no linter knows: short files, short functions, public names declared."""

import ast
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parent
_SRC = _TESTS.parent / "src" / "quasarloop"
_MAX_FILE_LINES = 400
_MAX_FUNCTION_LINES = 60
_SPLIT = "a file is one idea: split it"


def _files():
    return sorted(_SRC.rglob("*.py"))


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(_SRC)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= _MAX_FILE_LINES, _SPLIT
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (node.end_lineno - body[0].lineno + 1) if body else 0
            assert length <= _MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(_SRC)))
def test_modules_say_what_is_public(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module says what it is for"
    defines = any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body)
    declares = any(
        isinstance(n, ast.Assign | ast.AnnAssign)
        and "__all__"
        in {getattr(t, "id", "") for t in getattr(n, "targets", [getattr(n, "target", None)])}
        for n in tree.body
    )
    assert declares or not defines, "__all__ is missing"


def test_test_files_are_short():
    lines = {
        str(path.relative_to(_TESTS)): len(path.read_text(encoding="utf-8").splitlines())
        for path in _TESTS.rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > _MAX_FILE_LINES} == {}, _SPLIT
