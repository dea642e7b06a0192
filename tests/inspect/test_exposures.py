"""Single exposures of full SDSS spec files, beside what fitsio reads."""

import fitsio
import numpy as np
import pytest

from quasarloop.errors import DataFormatError
from quasarloop.inspect.repeats import RepeatFinder
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Item
from quasarloop.read import read_spectra
from quasarloop.read.exposures import read_exposure, with_exposures
from quasarloop.read.fits_reader import open_fits

EXPOSURES = [20717, 20756, 20757]  # of the plate's header


@pytest.fixture
def full_file(shared_data):
    return shared_data / "rm017_repeats" / "spec-1325-52762-0133.fits"


def test_each_exposure_has_the_pixels_of_its_cameras(full_file):
    with open_fits(full_file) as fits:
        assert with_exposures(fits).exposure_id.tolist()[1:] == EXPOSURES
    coadd = read_spectra(full_file)
    for number, exposure in enumerate(EXPOSURES, start=1):
        found = read_exposure(full_file, number)
        assert [arm.name for arm in found.arms] == ["b", "r"]
        assert found.keys.exposure_id.tolist() == [exposure]
        assert found.keys.target_id.tolist() == coadd.keys.target_id.tolist()
        with fitsio.FITS(str(full_file)) as file:
            for arm, hdu in zip(found.arms, (3 + number, 6 + number), strict=True):
                table = file[hdu].read()
                order = np.argsort(table["loglam"])
                np.testing.assert_allclose(arm.wave_aa, 10.0 ** table["loglam"][order].astype("f8"))
                np.testing.assert_array_equal(arm.flux[0], table["flux"][order])
                np.testing.assert_array_equal(arm.ivar[0], table["ivar"][order])
        # The coadd is made of them: the same flux where both have data, within the noise.
        arm = found.arms[0]
        level = np.median(arm.flux[0][arm.ivar[0] > 0])
        inside = (coadd.arms[0].wave_aa < arm.wave_aa[-1]) & (coadd.arms[0].ivar[0] > 0)
        assert level == pytest.approx(np.median(coadd.arms[0].flux[0][inside]), rel=0.3)
    with pytest.raises(DataFormatError, match="3 single exposures, no number 4"):
        read_exposure(full_file, 4)


def test_files_without_exposures_have_their_rows_alone(shared_data):
    lite = next((shared_data / "boss_agn").glob("spec-*.fits"))
    with open_fits(lite) as fits:
        assert len(with_exposures(fits)) == 1
    with pytest.raises(DataFormatError, match="0 single exposures, no number 1"):
        read_exposure(lite, 1)


def test_the_page_goes_through_them(full_file, database):
    files = open_spectra([full_file])
    target = int(read_spectra(full_file).keys.target_id[0])
    with database.write() as session:
        place = {"source": str(full_file), "row": 0}
        session.add(Item(target_id=target, rank=99, predictions={}, **place))
    finder = RepeatFinder(files, database)
    finder.of(target)
    finder._thread.join(60)
    repeats = finder.of(target)
    assert [repeat.label.rsplit(", ", 1)[1] for repeat in repeats] == [
        f"exposure {number}" for number in EXPOSURES
    ]
    for repeat in repeats:
        shown = files.load(repeat.source, repeat.row, repeat.target_id)
        assert (len(shown.spectra.arms), shown.notice) == (2, "")
