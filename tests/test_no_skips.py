"""Under ``-m redrock`` a skipped test is an error: its environment has all that it needs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.redrock
def test_absent():
    pytest.importorskip("a_module_that_nobody_has", reason="it is absent")

@pytest.mark.redrock
@pytest.mark.skip(reason="for a reason")
def test_marked():
    pass

@pytest.mark.redrock
@pytest.mark.xfail(reason="known")
def test_expected():
    raise ValueError

@pytest.mark.redrock
def test_sound():
    pass
"""


@pytest.mark.parametrize(
    ("marks", "outcome"),
    [
        (["-m", "redrock"], "1 failed, 1 passed, 1 xfailed, 1 error"),
        ([], "1 passed, 2 skipped, 1 xfailed"),
    ],
)
def test_a_skip_is_an_error_where_redrock_is_required(tmp_path, marks, outcome):
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = redrock: needs redrock\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *marks, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert outcome in done.stdout.splitlines()[-1], done.stdout
    assert done.returncode == bool(marks)
    if marks:
        assert "a skip is an error under -m redrock" in done.stdout
        assert "it is absent" in done.stdout
