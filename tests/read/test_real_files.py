"""Every real file under ../shared/data: it reads, and says what its truth.csv says."""

import csv
from collections import defaultdict

import numpy as np
import pytest

from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import arm_sn, prepare
from quasarloop.read import find_files, named_id, read_spectra
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Arm, Flag

# Folder -> spectra, as ../shared/data/README.md counts them.
SETS = {
    "boss_plate7102": 101,
    "boss_qso_plates": 58,
    "boss_agn": 111,
    "sdss_misc": 10,
    "rm017_repeats": 25,
    "lamost_dr1_stars": 60,
    "desi_tile80693": 5,
    "desi_healpix9144": 4,
    "desi_redrock": 1,
    "desi_andes": 19,
}


def listed(folder):
    rows = defaultdict(list)
    with (folder / "truth.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            rows[row["file"]].append(row)
    return rows


@pytest.mark.parametrize(("name", "count"), SETS.items())
def test_set_reads_with_rows_ids_and_sane_flags(shared_data, name, count):
    folder = shared_data / name
    total = gaps = 0
    for file, rows in listed(folder).items():
        spectra = read_spectra(folder / file)
        assert len(spectra) == len(rows)
        total += len(spectra)
        for row in rows:
            target = named_id(row["targetid_or_plate_mjd_fiber"])
            if row["row"].isdigit():
                assert spectra.keys.target_id[int(row["row"])] == target
            else:
                assert target in spectra.keys.target_id
        rebinned = prepare(spectra, LOG_GRID)
        # All but one are good spectra of targets: a faint galaxy with a bump of 14,000 times its
        # median flux at 3660 Å.
        bad = [Flag.CORRUPTED] if file == "coadd-elg-67230-20200315.fits" else []
        gaps += np.count_nonzero(rebinned.flags & Flag.GAPS)
        estimated = (rebinned.flags & Flag.ESTIMATED_IVAR) > 0
        assert (estimated == (name == "desi_andes")).all()  # the only files without uncertainties
        others = rebinned.flags & ~int(Flag.GAPS | Flag.ESTIMATED_IVAR)
        assert others[others > 0].tolist() == bad, (file, rebinned.flags)
        assert (np.isfinite(rebinned.sn[:, 1])).all()
        assert np.isfinite(rebinned.flux).all()
    assert total == count
    # Holes where LAMOST's arms meet, and in five of the AGN (docs/reference/formats.md).
    assert gaps == {"lamost_dr1_stars": 9, "boss_agn": 5}.get(name, 0)


@pytest.mark.parametrize("name", SETS)
def test_folder_search_finds_the_listed_files_only(shared_data, name):
    folder = shared_data / name
    assert {path.name for path in find_files([folder])} == set(listed(folder))


def test_normalised_spectra_have_mean_0_and_rms_1(shared_data):
    for name in ("boss_plate7102", "desi_tile80693", "lamost_dr1_stars"):
        for path in find_files([shared_data / name])[:20]:
            for grid in (LOG_GRID, LINEAR_GRID):
                rebinned = prepare(read_spectra(path), grid)
                weight = rebinned.ivar.astype("f8")
                total = weight.sum(axis=1)
                mean = (weight * rebinned.flux).sum(axis=1) / total
                rms = np.sqrt((weight * np.square(rebinned.flux)).sum(axis=1) / total)
                np.testing.assert_allclose(mean, 0, atol=1e-5)
                np.testing.assert_allclose(rms, 1, atol=1e-5)


def test_sn_equals_the_scores_of_the_survey(shared_data):
    # DESI's MEDIAN_COADD_SNR_<arm> is the median S/N per sqrt(Å) within these ranges, Å.
    ranges = {"b": (4000, 5800), "r": (5800, 7600), "z": (7600, 9800)}
    path = shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits"
    names = [f"MEDIAN_COADD_SNR_{arm}" for arm in "BRZ"]
    with open_fits(path) as file:
        scores = file.columns(file.need("SCORES"), names)
    parts = []
    for arm in read_spectra(path).arms:
        low, high = ranges[arm.name]
        inside = (arm.wave_aa >= low) & (arm.wave_aa < high)
        parts.append(Arm(arm.name, arm.wave_aa[inside], arm.flux[:, inside], arm.ivar[:, inside]))
    expected = [scores[name][0] for name in names]
    np.testing.assert_allclose(arm_sn(parts, LOG_GRID, 1)[0] / np.sqrt(0.8), expected, rtol=2e-3)


def test_the_test_coadd_has_one_empty_row(shared_data):
    spectra = read_spectra(shared_data / "quasarnp_fixture" / "test_coadd.fits")
    assert len(spectra) == 25
    flags = prepare(spectra, LOG_GRID).flags
    assert np.count_nonzero(flags & Flag.NO_DATA) == 1
    empty = int(np.flatnonzero(flags & Flag.NO_DATA)[0])
    assert all(arm.ivar[empty].sum() == 0 for arm in spectra.arms)
    assert (np.delete(flags, empty) == Flag.BAD_TARGETID).all()


def test_keys_of_the_redrock_pair(shared_data):
    keys = read_spectra(shared_data / "desi_redrock" / "coadd-4-80613-thru20210324.fits").keys
    assert keys.target_id[0] == 39633345008634465
    assert (keys.tile_id[0], keys.night[0], keys.petal[0]) == (80613, 20210324, 4)
    assert keys.object_type[0] == "TGT"
    assert 0 <= keys.fiber[0] - 2000 < 500
    assert np.isfinite(keys.ra_deg[0])


def test_healpix_files_of_two_surveys_hold_the_same_pixels(shared_data):
    folder = shared_data / "desi_healpix9144"
    main = read_spectra(folder / "coadd-main-dark-9144.fits")
    sv3 = read_spectra(folder / "coadd-sv3-dark-9144.fits")
    np.testing.assert_array_equal(main.keys.target_id, sv3.keys.target_id)
    np.testing.assert_array_equal(main.arms[0].flux, sv3.arms[0].flux)
    assert set(main.keys.healpix) == {9144}
