"""Work on thousands of short files is done together: counted, and the same values file by file."""

from collections import Counter

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop import quality
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.errors import DataFormatError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import prepare, prepare_all
from quasarloop.read import fits_reader, read_spectra
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Arm, Flag, Keys, Spectra, concatenate
from quasarloop.store import ingest

WAVE = 10 ** np.arange(3.56, 3.96, 1e-4)
NAMES = ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags", "source", "row")


@pytest.fixture
def rebinned(monkeypatch):
    """Rows of each call of `rebin`."""
    rows, rebin = [], quality.rebin
    monkeypatch.setattr(
        quality, "rebin", lambda arms, grid: rows.append(len(arms[0][1])) or rebin(arms, grid)
    )
    return rows


@pytest.fixture
def survey(tmp_path, spectrum_files):
    """Nine spec files, one damaged, among them a coadd and a LAMOST file."""
    folder = tmp_path / "survey"
    folder.mkdir()
    files = [spectrum_files.write_spec(folder / f"spec-{i}.fits", fiber=i) for i in range(1, 10)]
    files[4].write_bytes(files[4].read_bytes()[:5000])
    files.insert(2, spectrum_files.write_coadd(folder / "coadd.fits", n_rows=3, seed=5))
    return [*files, spectrum_files.write_lamost(folder / "lamost.fits")]


def observed(first, n, seed, name="made.fits"):
    """Rows of a file whose arm begins at that pixel, one with a hole, one with a spike."""
    rng = np.random.default_rng(seed)
    flux = (2 + rng.normal(0, 1, (n, len(WAVE) - first)).cumsum(axis=1) / 40).astype("f4")
    ivar = rng.gamma(5, 3.0, flux.shape).astype("f4")
    ivar[0, 500:900] = 0
    flux[-1, 2000] = 1e5
    arm = Arm("brz", WAVE[first:], flux, ivar)
    ids = np.arange(n) // 2 + 1  # every other row repeats the one before it
    return Spectra((arm,), Keys.make(ids), np.zeros(n, "i4"), name, np.arange(n))


def assert_same(found, expected):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_array_equal(found.keys.target_id, expected.keys.target_id)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 7]), st.integers(1, 30)), min_size=1, max_size=8),
    st.sampled_from([LOG_GRID, LINEAR_GRID]),
    st.booleans(),
)
def test_company_changes_nothing(sizes, grid, mend):
    parts = [observed(first, n, seed, f"{seed}.fits") for seed, (first, n) in enumerate(sizes)]
    alone = concatenate([prepare(part, grid, mend_outliers=mend) for part in parts])
    together = prepare_all(parts, grid, mend_outliers=mend)
    assert_same(together, alone)
    planted = {Flag.DUPLICATE_ROW: any(n > 1 for _, n in sizes), Flag.OUTLIER_PIXELS: True}
    assert {flag: bool(np.any(together.flags & flag)) for flag in planted} == planted


def test_rows_on_the_same_wavelengths_are_rebinned_together(rebinned):
    prepare_all([observed(first, 1, first) for first in (0, 7) * 40], LOG_GRID)
    assert rebinned == [40, 40]


def test_files_of_a_pack_are_rebinned_together(tmp_path, survey, rebinned):
    summary = ingest(survey, tmp_path / "store")
    assert (summary.n_rows, list(summary.failures)) == (12, [str(survey[5])])
    assert sorted(rebinned) == [1, 3, 8]  # LAMOST, the coadd, all spec files


def test_files_to_classify_are_rebinned_together(survey, rebinned):
    bad = []
    blocks = list(iter_inputs(find_inputs(survey), LOG_GRID, on_bad=lambda p, _: bad.append(p)))
    assert sorted(rebinned) == [1, 3, 8]
    assert bad == [survey[5]]
    sound = [path for path in survey if path not in bad]
    assert_same(
        concatenate(blocks), concatenate([prepare(read_spectra(p), LOG_GRID) for p in sound])
    )


def test_a_header_is_taken_apart_once_for_all_files_that_have_it(survey, monkeypatch):
    fits_reader._column_numbers.cache_clear()
    parsed, parse = Counter(), fits_reader._parse_card
    monkeypatch.setattr(
        fits_reader, "_parse_card", lambda card: parsed.update([card]) or parse(card)
    )
    specs = [path for path in survey if path.name.startswith("spec-") and path != survey[5]]
    found = [read_spectra(path) for path in specs]
    assert len({int(spectra.keys.fiber[0]) for spectra in found}) == len(specs) == 8
    with open_fits(specs[0]) as file:
        n_columns = sum(len(hdu.columns) for hdu in file.hdus)
    names = [card for card in parsed if card.startswith(b"TTYPE")]
    assert len(names) == n_columns
    assert all(parsed[card] == 1 for card in names)


def test_headers_that_are_alike_but_for_a_format_are_told_apart(tmp_path):
    for kind in ("J", "K"):
        values = np.array([1, 2, 3], dtype=">i4" if kind == "J" else ">i8")
        table = fits.BinTableHDU.from_columns([fits.Column("ID", kind, array=values)])
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / f"{kind}.fits")
    for kind, dtype in (("J", "i4"), ("K", "i8")):
        with open_fits(tmp_path / f"{kind}.fits") as file:
            ids = file.columns(file.hdus[1], ["ID"])["ID"]
        assert (ids.dtype, ids.tolist()) == (np.dtype(dtype), [1, 2, 3])


def test_a_column_that_cannot_be_read_is_named_with_every_file(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column("ID", "C", array=np.ones(2, complex))])
    for name in ("a.fits", "b.fits"):
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / name)
        with (
            pytest.raises(DataFormatError, match=rf"{name}: HDU 1: column ID has the format 'C'"),
            open_fits(tmp_path / name) as file,
        ):
            file.columns(file.hdus[1], ["ID"])
