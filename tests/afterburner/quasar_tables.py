"""Small tables that a quasar catalogue is made of: redrock's, the network's, Mg II's."""

import numpy as np
from astropy.io import fits
from astropy.table import Table

from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.afterburner.quasar_catalogue import write_quasar_catalogue
from quasarloop.catalogue.classify import read_catalogue

LINES = ("LYA", "CIV", "CIII", "MgII", "Hbeta", "Halpha")
QSO, ELG, BGS = 1 << 2, 1 << 1, 1 << 60
NAME = "0-1-thru20210101.fits"


def redrock_tables(n=6, ids=None):
    """A redrock file's tables: all galaxies at z = 0.5, all quasar targets of the main survey."""
    ids = np.arange(39_000_001, 39_000_001 + n) if ids is None else np.asarray(ids)
    redshifts = {
        "TARGETID": ids,
        "Z": np.full(n, 0.5),
        "ZERR": np.full(n, 1e-4),
        "ZWARN": np.full(n, 4),
        "CHI2": np.full(n, 8000.0),
        "COEFF": np.zeros((n, 10)),
        "SPECTYPE": np.full(n, "GALAXY", dtype="U6"),
        "SUBTYPE": np.full(n, "", dtype="U20"),
        "DELTACHI2": np.full(n, 100.0),
    }
    fibermap = {
        "TARGETID": ids,
        "TARGET_RA": np.linspace(10, 11, n),
        "TARGET_DEC": np.linspace(-1, 1, n),
        "OBJTYPE": np.full(n, "TGT", dtype="U3"),
        "COADD_FIBERSTATUS": np.zeros(n, dtype="i4"),
        "DESI_TARGET": np.full(n, QSO, dtype="i8"),
        "SCND_TARGET": np.zeros(n, dtype="i8"),
    }
    tsnr2 = {"TARGETID": ids, "TSNR2_LYA": np.full(n, 5.0), "TSNR2_QSO": np.full(n, 3.0)}
    return {"REDSHIFTS": redshifts, "FIBERMAP": fibermap, "TSNR2": tsnr2}


def network_table(ids):
    """A qso_qn table: nothing found anywhere; desispec's columns only."""
    n = len(ids)
    columns = {"TARGETID": np.asarray(ids), "IS_QSO_QN_NEW_RR": np.zeros(n, dtype=bool)}
    columns["Z_QN"] = np.full(n, 1.0, dtype="f4")
    columns |= {f"C_{line}": np.full(n, 0.1, dtype="f4") for line in LINES}
    columns |= {f"Z_{line}": np.full(n, 1.0, dtype="f4") for line in LINES}
    columns |= {"Z_NEW": np.full(n, np.nan), "ZERR_NEW": np.full(n, np.nan, dtype="f4")}
    columns |= {"ZWARN_NEW": np.zeros(n, dtype="i8"), "SPECTYPE_NEW": np.full(n, "", dtype="U3")}
    return columns


def mgii_table(ids):
    columns = {"TARGETID": np.asarray(ids), "IS_QSO_MGII": np.zeros(len(ids), dtype=bool)}
    names = ("DELTA_CHI2", "A", "SIGMA", "B", "VAR_A", "VAR_SIGMA", "VAR_B")
    return columns | {name: np.full(len(ids), i + 1.0, "f4") for i, name in enumerate(names)}


def write(folder, prefix, tables, name=NAME):
    hdus = [fits.PrimaryHDU()]
    for hdu_name, columns in tables.items():
        hdu = fits.table_to_hdu(Table(columns))
        hdu.name = hdu_name
        hdus.append(hdu)
    path = folder / f"{prefix}-{name}"
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def make(folder, redrock, network, mgii=None, name=NAME):
    """Write the files of one petal; returns the redrock file."""
    write(folder, "qso_qn", {"QN_RR": network}, name)
    if mgii is not None:
        write(folder, "qso_mgii", {"MGII": mgii}, name)
    return write(folder, "redrock", redrock, name)


def catalogue(folder, redrocks, out="cat.fits", **choices):
    paths = redrocks if isinstance(redrocks, list) else [redrocks]
    given = {
        k: choices.pop(k)
        for k in ("wise_variable", "network_dir", "on_bad", "engine")
        if k in choices
    }
    options = CatalogueOptions(**({"mgii": "none"} | choices))
    summary = write_quasar_catalogue(paths, folder / out, options=options, overwrite=True, **given)
    return read_catalogue(folder / out), summary


def petal(n=6):
    redrock = redrock_tables(n)
    ids = redrock["REDSHIFTS"]["TARGETID"]
    return redrock, network_table(ids), mgii_table(ids)
