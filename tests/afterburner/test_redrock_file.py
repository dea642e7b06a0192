"""Redrock files of others: a column of another kind is named, and no rows are no fault."""

import fitsio
import numpy as np
import pytest

from quasarloop.afterburner.redrock_file import read_fits
from quasarloop.errors import DataFormatError


def write(path, n, **changes):
    columns = {
        "TARGETID": np.arange(n) + 1, "Z": np.ones(n), "ZERR": np.ones(n),
        "ZWARN": np.zeros(n, np.int64), "SPECTYPE": np.full(n, "QSO", "S6"),
        "SUBTYPE": np.full(n, "HIZ", "S6"), "CHI2": np.ones(n), "DELTACHI2": np.ones(n),
        "COEFF": np.ones((n, 10)), **changes,
    }  # fmt: skip
    rows = np.zeros(n, [(k, v.dtype, v.shape[1:]) for k, v in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    with fitsio.FITS(path, "rw", clobber=True) as fits:
        fits.create_table_hdu(data=rows, extname="REDSHIFTS")
        if n:
            fits[-1].write(rows)
    return path


def test_no_rows_are_read(tmp_path):
    found = read_fits(write(tmp_path / "redrock-0.fits", 0))
    assert found.z.shape == (0,)
    assert found.coeff.shape == (0, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": np.array([b"1.0", b"x"])}, "column Z has the format '3A'; expected one number"),
        ({"Z": np.ones((2, 2))}, "column Z has the format '2D'"),
        ({"ZWARN": np.ones(2)}, "column ZWARN has the format 'D'"),
        ({"SPECTYPE": np.ones(2)}, "expected one word per row"),
    ],
)
def test_a_column_of_another_kind_is_named(tmp_path, change, message):
    with pytest.raises(DataFormatError, match=rf"redrock-1\.fits: REDSHIFTS: .*{message}"):
        read_fits(write(tmp_path / "redrock-1.fits", 2, **change))
