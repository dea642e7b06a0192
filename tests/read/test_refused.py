"""Files without spectra are named for what they are, with what to give instead."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from quasarloop.errors import DataFormatError
from quasarloop.read import find_files, read_spectra


def table(name="", **columns):
    hdu = fits.table_to_hdu(Table({key: np.asarray(value) for key, value in columns.items()}))
    hdu.name = name
    return hdu


def images(*names, **cards):
    hdus = [fits.ImageHDU(np.ones((2, 5), "f4"), name=name) for name in names]
    return [fits.PrimaryHDU(header=fits.Header(cards)), *hdus]


CASES = {
    "redrock": ([table("REDSHIFTS", TARGETID=[1], Z=[2.0])], "redshifts of redrock, not spectra"),
    "zbest": ([table("ZBEST", TARGETID=[1])], "redshifts of redrock"),
    "zpix": ([table("ZCATALOG", TARGETID=[1])], "a DESI redshift catalogue.*--unvetted"),
    "qn": ([table("QN_RR", TARGETID=[1])], "output of the afterburner"),
    "template": ([table("REDSHIFTS", Z=[1]), *images("BASIS_VECTORS")[1:]], "template of redrock"),
    "sky": (images("SKY", "IVAR", "WAVELENGTH")[1:], "a DESI sky model.*cframe"),
    "stdstars": (images("FLUX", "WAVELENGTH", "FIBERS")[1:], "DESI standard stars"),
    "spAll": ([table("SPALL", CATALOGID=[1], MJD=[1], CLASS=["QSO"], Z=[1.0])], "spAll"),
    "superset": ([table("", PLATE=[1], MJD=[1], FIBERID=[1])], "a catalogue of SDSS, not"),
    "lamost": ([table("", obsid=[1], planid=["a"], spid=[1])], "a catalogue of LAMOST"),
    "4most": ([table("", RA=[1.0], DEC=[1.0], Z=[0.1])], "a catalogue of redshifts"),
    "targets": ([table("", TARGETID=[1], RA=[1.0])], "a catalogue of targets"),
    "spSpec": (
        [fits.ImageHDU(header=fits.Header({"SPEC_CLN": 3, "PLATEID": 304}))],
        "give the spec",
    ),
    "2dfdr": (
        images("VARIANCE", "FIBRES")[1:],
        "a frame of 2dfdr, which is not read; give --format",
    ),
    "truth": ([table("TRUTH", TARGETID=[1])], "a truth table, not spectra; give spectra here"),
}


@pytest.mark.parametrize(("hdus", "complaint"), CASES.values(), ids=CASES)
def test_kinds_are_named(tmp_path, hdus, complaint):
    path = tmp_path / "file.fits"
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *(hdu.copy() for hdu in hdus)]).writeto(path)
    with pytest.raises(DataFormatError, match=rf"file\.fits: .*{complaint}"):
        read_spectra(path)
    with pytest.raises(DataFormatError, match="no spectra in this folder"):
        find_files([tmp_path])


def test_flux_and_wavelength_alone_are_no_cframe(tmp_path):
    path = tmp_path / "a.fits"
    fits.HDUList(images("FLUX", "IVAR", "WAVELENGTH", "PLUGMAP")).writeto(path)
    with pytest.raises(DataFormatError, match=r"a single exposure of SDSS.*spPlate"):
        read_spectra(path)
    other = tmp_path / "b.fits"
    fits.HDUList(images("FLUX", "IVAR", "WAVELENGTH")).writeto(other)
    with pytest.raises(DataFormatError, match="no spectra of a known format; found #0, FLUX, IVAR"):
        read_spectra(other)
    desi = tmp_path / "c.fits"
    fits.HDUList(images("FLUX", "IVAR", "WAVELENGTH", CAMERA="b1")).writeto(desi)
    with pytest.raises(DataFormatError, match=r"WAVELENGTH.*: expected finite"):
        read_spectra(desi)
