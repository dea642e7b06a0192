"""The tables of numbers beside the code: every column explained, every source named."""

from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import quasarloop.simulate
from quasarloop.lines import QUASAR_AA
from quasarloop.simulate.objects import QUASAR_LINES
from quasarloop.simulate.published import published

FILES = sorted((Path(quasarloop.simulate.__file__).parent / "data").glob("*.ecsv"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_tables_explain_themselves(path: Path) -> None:
    table = Table.read(path, format="ascii.ecsv")
    assert len(table) > 10
    assert table.meta["description"] and table.meta["sources"]
    for column in table.columns.values():
        assert column.description, f"{path.name}: {column.name} has no description"
        assert not np.ma.is_masked(column), f"{path.name}: {column.name} has a gap"
        for suffix, unit in (("_aa", "Angstrom"), ("_k", "K"), ("_dex", "dex")):
            assert not column.name.endswith(suffix) or str(column.unit) == unit


def test_published_is_read_once_and_keeps_numbers() -> None:
    table = published("star_lines")
    assert table is published("star_lines")
    assert table.row(0) == ("dwarf", "calcium_ii", 3934.78, 1.0, 11.0)


def test_every_quasar_line_has_a_wavelength_and_every_wavelength_a_line() -> None:
    names = {line.name.removesuffix("_n") for line in QUASAR_LINES}
    assert names == set(QUASAR_AA)
