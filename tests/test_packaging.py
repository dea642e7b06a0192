"""Files that package the project agree with pyproject.toml, the Makefile and one another."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import quasarloop

_ROOT = Path(__file__).resolve().parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_ON_CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def _yaml(name):
    return yaml.safe_load((_ROOT / name).read_text(encoding="utf-8"))


def _split(requirement):
    return re.fullmatch(r"([\w-]+)\s*(.*)", requirement).groups()


def _needed():
    found = dict(_split(requirement) for requirement in _PROJECT["dependencies"])
    return {_ON_CONDA.get(name, name): limit for name, limit in found.items()}


def test_the_version_is_one():
    version = quasarloop.__version__
    assert _yaml("CITATION.cff")["version"] == version
    assert _yaml("packaging/recipe.yaml")["context"]["version"] == version
    newest = re.search(r"^## \[(.+?)\]", (_ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert newest == version


def test_conda_recipe_needs_what_the_package_needs():
    run = dict(_split(line) for line in _yaml("packaging/recipe.yaml")["requirements"]["run"][1:])
    assert run == _needed()


def test_conda_environment_has_what_the_package_needs():
    lines = [line for line in _yaml("environment.yml")["dependencies"] if isinstance(line, str)]
    found = dict(_split(line) for line in lines)
    needed = _needed()
    assert found.keys() - {"python", "pip", "pytorch-cpu"} == needed.keys() - {"pytorch"}
    assert all(found[name] == limit for name, limit in needed.items() if name != "pytorch")


def test_what_is_imported_at_once_is_a_dependency():
    names = {"sklearn": "scikit-learn"}
    for path in (_ROOT / "src/quasarloop/network").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.partition(".")[0] for name in found} - {"", "quasarloop"}:
                known = top in sys.stdlib_module_names or names.get(top, top) in {
                    _split(line)[0] for line in _PROJECT["dependencies"]
                }
                assert known, f"{path.name} imports {top}"


def test_ci_runs_on_each_python_that_is_promised():
    promised = re.findall(r":: Python :: (3\.\d+)", "\n".join(_PROJECT["classifiers"]))
    matrix = _yaml(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == promised
    assert _PROJECT["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize(
    "path", sorted((_ROOT / ".github/workflows").glob("*.yml")), ids=lambda p: p.name
)
def test_workflows_run_targets_of_the_makefile(path):
    targets = set(re.findall(r"^([a-z]+):", (_ROOT / "Makefile").read_text("utf-8"), re.M))
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"run: make (\w+)", text)) <= targets
    assert re.search(r"^permissions:\n  contents: read$", text, re.M)
