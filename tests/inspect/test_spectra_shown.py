import base64
import shutil

import numpy as np
import pytest

from quasarloop.errors import DataFormatError, InspectionError
from quasarloop.grid import LOG_GRID
from quasarloop.inspect.campaign import load_worklist
from quasarloop.inspect.redrock_models import read_redrock
from quasarloop.inspect.spectra_files import MASKED, coadd_arms, open_spectra, spectrum_payload
from quasarloop.inspect.tables import Item
from quasarloop.inspect.worklist import Entry
from quasarloop.spectra import Arm
from quasarloop.store import ingest

BIG_ID = 39627945488154697


@pytest.fixture(scope="module")
def coadd(tmp_path_factory, write_coadd):
    return write_coadd(tmp_path_factory.mktemp("s") / "coadd-1.fits", [BIG_ID, 5], [2.5, 1.0])


def _decode(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_the_page_gets_every_pixel_of_every_arm(coadd):
    shown = open_spectra([coadd]).load(str(coadd), 1, 5)
    payload = spectrum_payload(shown)
    assert payload["target_id"] == "5"
    assert [arm["name"] for arm in payload["arms"]] == ["b", "r", "z"]
    blue = payload["arms"][0]
    wave, flux = _decode(blue["wave"], "<f4"), _decode(blue["flux"], "<f4")
    assert len(wave) == len(flux) == blue["n"] == 2751
    assert np.array_equal(flux, shown.spectra.arms[0].flux[0])
    assert np.flatnonzero(_decode(blue["state"], "u1") & MASKED).tolist() == [100, 101, 102, 103]
    assert payload["coadd"]["n"] < sum(arm["n"] for arm in payload["arms"])


def test_coadding_averages_by_inverse_variance():
    def arm(name, wave, flux, ivar, mask):
        return Arm(
            name,
            np.array(wave, float),
            np.array([flux], "f4"),
            np.array([ivar], "f4"),
            np.array([mask], np.int32),
        )

    blue = arm("b", [1.0, 2.0, 3.0], [1, 1, 4], [1, 0, 1], [0, 1, 0])
    red = arm("r", [2.0, 3.0, 4.0], [5, 8, 9], [2, 3, 0], [0, 4, 2])
    both = coadd_arms([blue, red])
    assert both.wave_aa.tolist() == [1, 2, 3, 4]
    assert both.flux[0].tolist() == [1, 5, 7, 9]  # (4·1 + 8·3)/4 = 7; no data: shown as it is
    assert both.ivar[0].tolist() == [1, 2, 4, 0]
    assert both.mask[0].tolist() == [0, 1, 4, 2]


def test_targets_are_found_in_the_files_given(coadd):
    places = open_spectra([coadd.parent]).locate([5, BIG_ID, 99])
    assert places == {BIG_ID: (str(coadd), 0), 5: (str(coadd), 1)}


def test_a_moved_file_is_found_by_its_name(coadd, tmp_path):
    moved = tmp_path / "elsewhere" / coadd.name
    moved.parent.mkdir()
    shutil.copy(coadd, moved)
    files = open_spectra([moved])
    assert files.load("/gone/coadd-1.fits", 0, BIG_ID).notice == ""
    nearby = open_spectra([], folder=moved.parent)
    assert nearby.load("coadd-1.fits", 0, BIG_ID).spectra.source == str(moved)


@pytest.mark.parametrize(
    ("source", "row", "message"),
    [
        ("gone.fits", 0, "missing"),
        ("", -1, "add its file to --spectra"),
        ("COADD", 7, "has no row 7"),
        ("COADD", 1, "row 1 is TARGETID 5"),
        ("BROKEN", 0, "cannot be shown"),
    ],
)
def test_what_cannot_be_shown_says_why(coadd, tmp_path, source, row, message):
    broken = tmp_path / "coadd-broken.fits"
    broken.write_bytes(coadd.read_bytes()[:20000])
    source = {"COADD": str(coadd), "BROKEN": str(broken)}.get(source, source)
    with pytest.raises(InspectionError, match=message):
        open_spectra([]).load(source, row, BIG_ID)


def test_without_the_file_the_store_helps_out(coadd, tmp_path):
    copy = tmp_path / "coadd-copy.fits"
    shutil.copy(coadd, copy)
    ingest([copy], tmp_path / "store", LOG_GRID)
    files = open_spectra([tmp_path / "store"])
    source, row = files.locate([5])[5]
    full = files.load(source, row, 5)
    assert (full.notice, len(full.spectra.arms)) == ("", 3)
    copy.unlink()
    shown = files.load(source, row, 5)
    assert "rebinned" in shown.notice
    assert "missing" in shown.notice
    (arm,) = shown.spectra.arms
    assert len(arm.wave_aa) == LOG_GRID.n_bins
    blue = full.spectra.arms[0]
    here = (arm.wave_aa > 4500) & (arm.wave_aa < 5000)
    there = (blue.wave_aa > 4500) & (blue.wave_aa < 5000)
    assert arm.flux[0, here].mean() == pytest.approx(blue.flux[0, there].mean(), rel=0.02)


def test_a_path_that_does_not_exist_is_refused_at_once(tmp_path):
    with pytest.raises(DataFormatError, match="no such file"):
        open_spectra([tmp_path / "nothing.fits"])


def test_loading_a_worklist_finds_spectra_and_keeps_labels(coadd, database):
    entries = [Entry(5, predictions={"score": 1.0}), Entry(BIG_ID, str(coadd), 0), Entry(77)]
    files = open_spectra([coadd])
    with database.write() as session:
        first = load_worklist(session, entries, files)
        assert (first.added, first.known, first.without_spectrum) == (3, 0, 1)
        again = load_worklist(session, entries[::-1], files)
        assert (again.added, again.known) == (0, 3)
        items = session.query(Item).order_by(Item.rank).all()
        assert [(i.target_id, i.source, i.row) for i in items] == [
            (5, str(coadd), 1),
            (BIG_ID, str(coadd), 0),
            (77, "", -1),
        ]


def test_redrocks_best_fits_are_read(shared_data):
    path = shared_data / "desi_redrock" / "redrock-4-80613-thru20210324.fits"
    fits = read_redrock([path, path])
    ((target, both),) = fits.items()
    assert target > 2**53
    assert len(both) == 2
    assert both[0]["z"] == pytest.approx(0.369, abs=1e-3)
    assert (both[0]["spectype"], both[0]["version"]) == ("GALAXY", "0.17.0")


def test_older_redrock_files_are_read_too(shared_data):
    path = shared_data / "desi_andes" / "zbest-qso-68002-20200315.fits"
    fits = read_redrock([path])
    assert fits
    assert {fit["spectype"] for both in fits.values() for fit in both} <= {"QSO", "GALAXY", "STAR"}


def test_a_file_without_redrock_results_is_refused(coadd):
    with pytest.raises(InspectionError, match="no redrock results"):
        read_redrock([coadd])
