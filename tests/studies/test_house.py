"""The house counts what a tiny package holds."""

import subprocess

import pytest

import house

_FILES = {
    "__init__.py": '"""Tiny."""\nfrom tiny.store import open_store\n__all__ = ["open_store"]\n',
    "store.py": (
        '"""A store."""\n'
        "import numpy as np\n"
        '__all__ = ["LIMIT", "open_store", "unused"]\n'
        "LIMIT = 0.95\n"
        'COLUMNS = ("TARGETID", "SURVEY", "PROGRAM", "TILEID", "NIGHT")\n'
        'FEWER = ("TARGETID", "SURVEY", "PROGRAM", "TILEID")\n'
        "def open_store(conf, threshold, rows=45, device=None):\n"
        "    rng = np.random.default_rng((seed, 7))\n"
        "    return conf > threshold\n"
        "def unused(seed):\n"
        "    return np.random.default_rng(seed)\n"
    ),
    "rooms/__init__.py": "",
    "rooms/one.py": (
        '"""Who is asked (INTEROP.md); the task is not."""\n'
        "from tiny import open_store\n"
        "from tiny import store\n"
        '__all__ = ["Verdict"]\n'
        "class Verdict:\n"
        "    spectype: str\n"
        "    z: float\n"
        "    quality: float\n"
        "    is_bal: bool\n"
        "    issues: str\n"
        "    rows: int = 45\n"
        "C = 299_792.458 * store.LIMIT\n"
    ),
    "rooms/two.py": '"""One."""\nfrom tiny.rooms.one import Verdict\nfrom tiny import store\n',
    "page.js": "shall();\nsave({spectype: 1, z: 2, quality: 3, is_bal: 4, comment: 5});\n",
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in _FILES.items():
        path = tmp_path / "src" / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_counts_of_a_tiny_package(checkout):
    found = house.facts(house.read_house(str(checkout)))
    assert found["Python files"] == 5
    assert found["lines of Python"] == 3 + 11 + 0 + 12 + 3
    assert found["lines of the pages (js, html, css)"] == 2
    assert found["longest file, lines"] == 12
    assert found["names exported (`__all__`)"] == 4  # the package's own list is no definition
    # open_store serves the package file and one.py, through it; LIMIT one.py alone.
    assert sorted(found["… used by at most one other file"]) == [
        "rooms/one.py Verdict",
        "store.py LIMIT",
        "store.py unused",
    ]
    assert found["files imported by exactly one other"] == ["rooms/one.py"]
    assert found["… lines in them"] == 12
    assert found["places that list identity columns (5 or more)"] == ["store.py:5"]
    assert found["places that list a verdict's fields (5 or more)"] == ["rooms/one.py:5", "page.js"]
    assert found["comparisons of a confidence with a threshold"] == ["store.py:9"]
    assert found["defaults typed again in another file"] == ["store.py rows=45 (rooms/one.py)"]
    assert found["thresholds typed (0.95, 0.99, 2.1, 2.5)"] == ["store.py:4 0.95"]
    assert found["speed of light written"] == ["rooms/one.py:12 299_792.458"]
    assert found["random streams with bare numbers"] == ["store.py:8"]
    assert found["words that are not the field's"] == [
        "page.js:1 shall",
        "rooms/one.py:1 Who",
        "rooms/one.py:1 asked",
    ]
    assert found["citations nobody can reach"] == ["rooms/one.py:1 INTEROP"]


def test_two_revisions_side_by_side(checkout):
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    (checkout / "src" / "tiny" / "store.py").unlink()
    before = house.read_house("HEAD", checkout)
    after = house.read_house(str(checkout))
    lines = house.compare({"before": before, "after": after}).splitlines()
    assert lines[0] == "| what | before | after |"
    assert "| Python files | 5 | 4 |" in lines
    assert "| `store` | 1 |  | 11 |  | 0 |  | 0 |  |" in lines
    assert "| `rooms` | 3 | 3 | 15 | 15 | 2 | 2 | 1 | 1 |" in lines
    assert lines[-1] == "| all | 5 | 4 | 29 | 18 | 3 | 3 | 1 | 1 |"


def test_neither_folder_nor_revision(checkout):
    with pytest.raises(SystemExit, match="nowhere: no folder with src/"):
        house.read_house("nowhere", checkout)
