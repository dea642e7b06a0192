"""Small files of more surveys with known content, written with astropy (not with our own code).

Layouts follow the public descriptions named in docs/reference/spectra.md.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

CATALOG_ID = 27021598149616104


def pixels(n_pix, n_rows=1, seed=0):
    """Flux and its standard deviation of plain noisy spectra, float32, (n_rows, n_pix)."""
    rng = np.random.default_rng(seed)
    flux = (3 + rng.normal(0, 1, (n_rows, n_pix)).cumsum(axis=1) / 5).astype("f4")
    return flux, rng.uniform(0.5, 1.5, (n_rows, n_pix)).astype("f4")


def table_hdu(columns, name="", units=None):
    """A binary table; values may be arrays of any shape (rows first)."""
    hdu = fits.table_to_hdu(Table(columns))
    hdu.name = name
    for column, unit in (units or {}).items():
        hdu.header[f"TUNIT{hdu.columns.names.index(column) + 1}"] = unit
    return hdu


def sdssv_row(n_rows=1, **changes):
    """The columns of SPALL or PLUGMAP that matter here; None leaves one out."""
    columns = {
        "FIELD": np.full(n_rows, 112360),
        "MJD": np.full(n_rows, 60000),
        "TARGET_INDEX": np.arange(1, n_rows + 1),
        "FIBERID_LIST": np.full(n_rows, "12 12 12"),
        "OBJTYPE": np.full(n_rows, "QSO"),
        "CATALOGID": CATALOG_ID + np.arange(n_rows),
        "SDSS_ID": 54459273 + np.arange(n_rows),
        "PROGRAMNAME": np.full(n_rows, "bhm_spiders"),
        "PLUG_RA": np.linspace(150.1, 150.2, n_rows),
        "PLUG_DEC": np.linspace(2.2, 2.3, n_rows),
        "HEALPIX": np.full(n_rows, 88000),
    } | changes
    return {name: values for name, values in columns.items() if values is not None}


def write_sdssv(path, **changes):
    """Write a spec-FIELD-MJD-CATALOGID file of the robot era: no PLATE, PLATEID blank."""
    loglam = np.arange(3.55, 4.01, 1e-3).astype("f4")
    flux, sigma = (values[0] for values in pixels(len(loglam)))
    zeros = np.zeros(len(flux), "i4")
    coadd = {"FLUX": flux, "LOGLAM": loglam, "IVAR": sigma**-2, "AND_MASK": zeros, "OR_MASK": zeros}
    header = fits.Header({"TELESCOP": "SDSS 2.5-M", "PLATEID": "", "VERS2D": "v6_1_3"})
    hdus = [fits.PrimaryHDU(header=header), table_hdu(coadd, "COADD")]
    return _write([*hdus, table_hdu(sdssv_row(**changes), "SPALL")], path)


def write_field(path, n_rows=3, cards=None, **changes):
    """Write an spField file; with cards of None an spFullsky file, which has no field."""
    flux, sigma = pixels(460, n_rows)
    cards = {"FIELDID": "112360", "MJD": 60000} if cards is None else cards
    header = fits.Header({"COEFF0": 3.55, "COEFF1": 1e-3, **cards})
    masks = np.zeros(flux.shape, "i4")
    plug = {"FIELD": None, "MJD": None, "PLUG_RA": None, "PLUG_DEC": None, **changes}
    plug |= {"RA": np.linspace(150, 151, n_rows), "DEC": np.linspace(1, 2, n_rows)}
    hdus = [fits.PrimaryHDU(flux, header), fits.ImageHDU(sigma**-2, name="IVAR")]
    hdus += [fits.ImageHDU(masks, name=name) for name in ("ANDMASK", "ORMASK")]
    hdus += [fits.ImageHDU(flux, name="WAVEDISP"), table_hdu(sdssv_row(n_rows, **plug), "PLUGMAP")]
    return _write(hdus, path)


def _write(hdus, path):
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return Path(path)
