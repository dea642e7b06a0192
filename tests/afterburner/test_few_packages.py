"""`classify` and `afterburner` with the packages of requirements-minimal.txt and no others."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import fitsio
import pytest

from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.reruns import RerunBit

ROOT = Path(__file__).parents[2]
# Not found from here on, as if they were not installed.
BLOCK = """
import sys, json
from importlib.machinery import PathFinder
blocked = set(json.loads({blocked!r}))
class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in blocked else super().find_spec(name, path, target)
sys.meta_path = [Others if finder is PathFinder else finder for finder in sys.meta_path]
"""


def names(requirements):
    return {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in requirements}


def minimal():
    lines = (ROOT / "requirements-minimal.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line and line[0] != "#"]


# What the listed packages need themselves: torch, and typer since it uses pydantic.
THEIRS = {"filelock", "jinja2", "pydantic"}
COMMANDS = {"typer", "rich", "pydantic"}


def all_others():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return names(project["dependencies"] + extras) - names(minimal()) - THEIRS


def run(code, *words, also=()):
    script = BLOCK.format(blocked=json.dumps(sorted(all_others() | set(also)))) + code
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_the_list_is_part_of_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(minimal()) <= set(project["dependencies"])
    assert {"polars", "pyarrow", "scipy", "astropy", "matplotlib"} <= all_others()
    done = run("import polars")
    assert "No module named 'polars'" in done.stderr


COMMAND = "from quasarloop.cli import main; main()"


def test_classify(tile, tmp_path):
    in_python = (
        "from quasarloop.catalogue.classify import classify_to_file; "
        "classify_to_file(sys.argv[2], sys.argv[4])"
    )
    # A folder: stores, which need pyarrow, are looked for there.
    for code, source, also in ((COMMAND, tile.coadd.parent, ()), (in_python, tile.coadd, COMMANDS)):
        out = tmp_path / f"{len(also)}.fits"
        done = run(code, "classify", source, "--out", out, also=also)
        assert done.returncode == 0, done.stderr
        assert len(fitsio.read(out)) == 120
        assert fitsio.read(out)["IS_QSO"].sum() > 20


@pytest.mark.parametrize("step", ["command", "pipeline"])
def test_afterburner(step, tile, tmp_path):
    out = tmp_path / "qso_qn.fits"
    words = ["--coadd", tile.coadd, "--redrock", tile.redrock, "--output", out, "--rerun", "later"]
    if step == "command":
        done = run(COMMAND, "afterburner", *words)
    else:
        code = "from quasarloop.afterburner.qsoqn import main; sys.exit(main())"
        words += ["--target_selection", "all", "--save_target", "all"]
        done = run(code, *words, also=COMMANDS)
    assert done.returncode == 0, done.stderr
    table = read_output(out).table
    assert len(table) == 120
    assert ((table["RERUN_BITS"] & RerunBit.WAITING) != 0).sum() > 20
    assert (tmp_path / "qso_qn-rerun" / "redrock.sh").is_file()
