"""One registry of columns: readers, stores, votes and catalogues take them from there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.spectrum_files import write_coadd

import quasarloop
from quasarloop.catalogue.classify import classify_to_file, read_catalogue
from quasarloop.columns import IDENTITY, STORED, Keys, catalogue_columns, columns_named
from quasarloop.errors import DataFormatError
from quasarloop.grid import LOG_GRID
from quasarloop.lines import NETWORK_LINES
from quasarloop.read import read_spectra
from quasarloop.store import ingest, iter_store, open_store
from quasarloop.store.files import FLUX_COLUMNS, schema_of

_NEW_LINE = '    lamp: Annotated[_Ints, Identity("LAMP", "i2", "calibration lamp")]\n'
# What a user does, with the copy of the package that has the new line.
_SCRIPT = """
from quasarloop.catalogue.classify import classify_to_file, read_catalogue
from quasarloop.store import ingest
ingest(["coadd.fits"], "store")
for out in ("c.fits", "c.csv"):
    classify_to_file(["store"], out)
    print(*read_catalogue(out)["LAMP"])
"""


def test_a_new_identity_column_is_one_line_of_the_registry(tmp_path):
    shutil.copytree(Path(quasarloop.__file__).parent, tmp_path / "quasarloop")
    registry = tmp_path / "quasarloop" / "columns.py"
    source = registry.read_text(encoding="utf-8")
    place = source.index("    object_type: Annotated[")
    registry.write_text(source[:place] + _NEW_LINE + source[place:], encoding="utf-8")
    lamps = np.array([3, 1, 4], dtype="i2")
    write_coadd(tmp_path / "coadd.fits", n_rows=3, columns={"LAMP": lamps})
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["3", "1", "4"] * 2


def test_fibre_status_goes_from_the_file_into_store_and_catalogue(tmp_path):
    status = np.array([0, 512, 2**20], dtype="i4")
    write_coadd(tmp_path / "coadd.fits", n_rows=3, columns={"COADD_FIBERSTATUS": status})
    assert read_spectra(tmp_path / "coadd.fits").keys.fiber_status.tolist() == status.tolist()
    ingest([tmp_path / "coadd.fits"], tmp_path / "store")
    (stored,) = iter_store(open_store(tmp_path / "store"))
    assert stored.keys.fiber_status.tolist() == status.tolist()
    classify_to_file([tmp_path / "store"], tmp_path / "c.fits")
    assert read_catalogue(tmp_path / "c.fits")["FIBERSTATUS"].tolist() == status.tolist()


def test_every_identity_column_is_in_stores_and_catalogues():
    names = [column.name for column in IDENTITY.values()]
    assert len(set(names)) == len(names)
    in_store = schema_of(LOG_GRID).names
    assert in_store == [column.name for column in STORED] + list(FLUX_COLUMNS)
    assert in_store[: len(names)] == names
    assert [c.name for c in catalogue_columns(NETWORK_LINES)][: len(names)] == names


def test_keys_give_their_columns_by_survey_name():
    keys = Keys.make(np.array([5, 6]), fiber=np.array([1, 2]), survey=np.array(["sv3", "main"]))
    assert list(keys.columns()) == [column.name for column in IDENTITY.values()]
    some = keys.columns("SURVEY", "FIBER")
    assert {name: values.tolist() for name, values in some.items()} == {
        "SURVEY": ["sv3", "main"],
        "FIBER": [1, 2],
    }


def test_types_in_memory_are_the_widest_of_their_kind():
    keys = Keys.make(np.array([5], "i4"), petal=np.array([3], "i2"), ra_deg=np.array([1], "f4"))
    assert (keys.target_id.dtype, keys.petal.dtype, keys.ra_deg.dtype) == ("i8", "i8", "f8")
    assert {c.in_memory for c in IDENTITY.values()} == {"i8", "f8", "U"}


def test_keys_of_several_lengths_are_refused():
    with pytest.raises(DataFormatError, match="fiber 2"):
        Keys.make(np.array([1]), fiber=np.array([1, 2]))


def test_columns_are_found_by_name():
    assert [c.dtype for c in columns_named("FIBER", "Z_JOINT", "SOURCE")] == ["i4", "f8", "U"]
    with pytest.raises(KeyError, match="NOPE"):
        columns_named("NOPE")
