"""Whatever a damaged file raises becomes one of our errors, with the file's name."""

from pathlib import Path

import polars as pl
import pytest

from quasarloop.errors import DataFormatError, GridError, TruthError, naming, reading


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ValueError("two\nlines"), r"a\[b\].csv: cannot be read as a list \(two lines\); mend it"),
        (KeyError("FLAGS"), r"a\[b\].csv: .*'FLAGS' is missing"),
        (OSError(5, "Input/output error"), r"a\[b\].csv: .*\(Input/output error\)"),
        (RecursionError(), r"a\[b\].csv: .*\(RecursionError\)"),
        (pl.exceptions.PanicException("index"), r"a\[b\].csv: .*\(index\)"),
    ],
)
def test_what_others_raise_gets_the_files_name(raised, message):
    with (
        pytest.raises(TruthError, match=message),
        reading("d/a[b].csv", "a list", "mend it", TruthError),
    ):
        raise raised


def test_our_own_errors_stay_and_are_named_once():
    with pytest.raises(GridError, match=r"^d/a\.csv: step < 0$"), reading("d/a.csv", "x", "y"):
        raise GridError("step < 0")
    with pytest.raises(GridError, match=r"^a\.csv: row 3$"), reading("d/a.csv", "x", "y"):
        raise GridError("a.csv: row 3")


@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_passes(ends):
    with pytest.raises(ends), reading("a", "x", "y", DataFormatError):
        raise ends


def test_files_are_named_before_errors_that_name_none():
    truth = [Path("d/a.csv"), Path("b.csv")]
    named = pytest.raises(TruthError, match=r"^d/a\.csv and b\.csv: too few$")
    with named, naming(TruthError, *truth):
        raise TruthError("too few")
    with pytest.raises(TruthError, match=r"^b\.csv: row 1$"), naming(TruthError, *truth):
        raise TruthError("b.csv: row 1")
    url = "sqlite:///labels.db"
    with pytest.raises(TruthError, match=f"^{url}: empty$"), reading(url, "x", "y"):
        raise TruthError("empty")
    with pytest.raises(GridError, match=r"^step$"), naming(TruthError, *truth):
        raise GridError("step")
