"""Every study is listed in studies/README.md, cited by the page it makes, and its imports exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPTS = sorted((_ROOT / "studies").glob("*.py"))


def _listed():
    """Return script -> the docs pages its rows of studies/README.md name."""
    pages = {}
    for line in (_ROOT / "studies" / "README.md").read_text(encoding="utf-8").splitlines():
        script = re.match(r"\| `(\w+\.py)", line)
        if script:
            pages.setdefault(script[1], set()).update(re.findall(r"docs/[\w/]+\.md", line))
    return pages


@pytest.mark.parametrize("path", _SCRIPTS, ids=lambda p: p.name)
def test_imports_exist(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("quasarloop"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found = hasattr(module, alias.name) or importlib.util.find_spec(name)
                assert found, f"{path.name} imports {name}, which is not there"


def test_readme_lists_every_script():
    used = {
        node.module
        for path in _SCRIPTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    commands = {path.name for path in _SCRIPTS if "__main__" in path.read_text(encoding="utf-8")}
    assert commands == set(_listed()), "studies/README.md lists other commands"
    hooks = (_ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in _SCRIPTS:
        served = path.name in commands or path.stem in used or f"studies/{path.name}" in hooks
        assert served, f"{path.name} serves nothing"


@pytest.mark.parametrize(("script", "pages"), sorted(_listed().items()))
def test_pages_name_the_script_that_makes_them(script, pages):
    assert pages, f"{script} makes no page: remove it"
    for page in pages:
        assert script in (_ROOT / page).read_text(encoding="utf-8"), f"{page} does not name it"
