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
    for column, unit in {n: u for n, u in (units or {}).items() if n in columns}.items():
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


ESO_UNIT = "erg/(s*cm^2*Angstrom)"


def write_eso(path, wave=None, cards=None, utypes=False, ucd="em.wl", **changes):
    """Write a Phase 3 spectrum, as 4MOST does; with utypes, columns have names of their own."""
    wave = np.arange(3700.0, 9500.0, 10.0) if wave is None else wave
    flux, sigma = pixels(len(wave))
    quality = np.zeros((1, len(wave)), "i4")
    quality[0, 5] = 1
    columns = {"WAVE": wave[None], "FLUX": flux * 1e-17, "ERR_FLUX": sigma * 1e-17}
    columns |= {"QUAL": quality, "FLUX_NOSS": flux * 0, **changes}
    units = {"WAVE": "Angstrom", "FLUX": ESO_UNIT, "ERR_FLUX": ESO_UNIT}
    hdu = table_hdu({n: v for n, v in columns.items() if v is not None}, "PHASE3SPECTRUM", units)
    if utypes:
        axes = ["SpectralAxis.Value", "FluxAxis.Value", "FluxAxis.Accuracy.StatError"]
        roles = [*axes, "FluxAxis.Accurancy.QualityStatus", "FluxAxis.Value"]
        ucds = [ucd, "phot.flux.density;meta.main", "stat.error;meta.main", "meta.code.qual", "x"]
        for number, (role, word) in enumerate(zip(roles, ucds, strict=True), start=1):
            hdu.header[f"TUTYP{number}"] = f"spec:Data.{role}"
            hdu.header[f"TUCD{number}"] = word
            hdu.header[f"TTYPE{number}"] = f"COLUMN{number}"
    default = {"INSTRUME": "QMOST", "OBJECT": "Field 02A", "TRG_UID": 11031146069}
    default |= {"RA": 314.1, "DEC": -41.2, "MJD-OBS": 59827.125, "FIB_ID": 644, "OBID1": 112}
    default |= {"FLUXCAL": "ABSOLUTE", "CONTNORM": False, **(cards or {})}
    header = fits.Header({k: v for k, v in default.items() if v is not None})
    return _write([fits.PrimaryHDU(header=header), hdu], path)


def write_lamost_table(path, n_pix=400, vacuum=True, **cards):
    """Write a LAMOST spectrum of the later releases: one row of arrays."""
    wave = 10 ** (3.5682 + 1e-3 * np.arange(n_pix))
    flux, sigma = pixels(n_pix)
    zeros = np.zeros((1, n_pix), "f4")
    columns = {"FLUX": flux, "IVAR": sigma**-2, "WAVELENGTH": wave[None].astype("f4")}
    columns |= {"ANDMASK": zeros, "ORMASK": zeros, "NORMALIZATION": zeros}
    default = {"TELESCOP": "LAMOST", "OBSID": 203106, "FIBERTYP": "Obj", "LMJD": 55859}
    default |= {"DESIG": "LAMOST J025423.13-002138.7", "RA": 43.6, "DEC": -0.36, "SPID": 3}
    header = fits.Header(default | {"FIBERID": 106, "VACUUM": vacuum} | cards)
    return _write([fits.PrimaryHDU(header=header), table_hdu(columns, "COADD")], path)


CNAMES = ("WVE_02542313-0021387", "WVE_02542413-0021387", "WVE_02542513-0021387")


def fibtable(n_rows, **changes):
    """The columns of WEAVE's FIBTABLE that matter here."""
    columns = {
        "CNAME": np.array(CNAMES[:n_rows]),
        "TARGRA": np.linspace(43.6, 43.7, n_rows),
        "TARGDEC": np.full(n_rows, -0.36),
        "FIBREID": np.arange(101, 101 + n_rows),
        "TARGUSE": np.array(["T", "S", "T"][:n_rows]),
        "TARGPROG": np.full(n_rows, "QSO"),
        "NSPEC": np.arange(1, n_rows + 1),
    } | changes
    return {name: values for name, values in columns.items() if values is not None}


def write_weave(path, camera="BLUE", n_rows=3, cards=None, **changes):
    """Write a WEAVE L1 file: counts, ivar, a sensitivity that differs by fibre, FIBTABLE."""
    low, high = (3660.0, 6060.0) if camera == "BLUE" else (5790.0, 9590.0)
    n_pix = int((high - low) / 5)
    flux, sigma = pixels(n_pix, n_rows)
    sens = 1e-17 * np.linspace(1, 2, n_rows)[:, None] * np.ones(n_pix)
    wcs = fits.Header({"CRVAL1": low, "CD1_1": 5.0, "CRPIX1": 1.0, "CUNIT1": "Angstrom"})
    wcs.update(cards or {})
    images = {"DATA": flux, "IVAR": sigma**-2, "DATA_NOSS": flux, "IVAR_NOSS": sigma}
    images["SENSFUNC"] = sens.astype("f4")
    header = fits.Header({"OBID": 987654, "RUN": 1234567, "MJD-OBS": 60234.98})
    hdus = [fits.PrimaryHDU(header=header)]
    hdus += [fits.ImageHDU(v, wcs, name=f"{camera}_{n}") for n, v in images.items()]
    return _write([*hdus, table_hdu(fibtable(n_rows, **changes), "FIBTABLE")], path)


def write_weave_l2(path, n_rows=3, **changes):
    """Write a WEAVE L2 file: both arms of each target in one row."""
    columns = {"APS_ID": np.arange(101, 101 + n_rows), "CNAME": np.array(CNAMES[:n_rows])}
    everything = np.arange(3660.0, 9590.0, 5.0)  # the arms agree where they overlap
    flux, sigma = (values.astype("f8") for values in pixels(len(everything), n_rows))
    for arm, low, high in (("B", 3660.0, 6060.0), ("R", 5790.0, 9590.0)):
        part = slice(*np.searchsorted(everything, (low, high)))
        columns[f"LAMBDA_RR_{arm}"] = np.tile(everything[part], (n_rows, 1))
        columns[f"FLUX_RR_{arm}"] = flux[:, part] * 1e-17
        columns[f"IVAR_RR_{arm}"] = sigma[:, part] ** -2 * 1e34
    kept = {name: v for name, v in (columns | changes).items() if v is not None}
    hdus = [fits.PrimaryHDU(), table_hdu({"CNAME": columns["CNAME"]}, "CLASS_TABLE")]
    return _write([*hdus, table_hdu(kept, "CLASS_SPEC")], path)


WCS = {"CRVAL1": 5700.0, "CRPIX1": 201.0, "CD1_1": 10.0, "CUNIT1": "Angstrom"}
TWODF_AIR = 5700.0 + 10.0 * (np.arange(1, 501) - 201.0)


def write_gama(path, **cards):
    """Write a GAMA spectrum: rows of the first image."""
    flux, sigma = (values[0] for values in pixels(500))
    image = np.stack([flux, sigma, flux * 100, sigma * 100, flux])
    header = {
        "ORIGIN": "GAMA",
        "ROW1": "Spectrum",
        "ROW2": "Error",
        "SPECID": "G12_Y2_009_044",
        "CATAID": 170257,
        "RA": 180.1,
    }
    header |= {"DEC": -0.5, **WCS, **cards}
    return _write([fits.PrimaryHDU(image, fits.Header(header))], path)


def write_twodf(path, survey="2QZ"):
    """Write a spectrum of 2QZ, 2SLAQ (HDUs by name) or OzDES (HDUs by number)."""
    flux, sigma = (values[0] for values in pixels(500))
    ozdes = survey == "OzDES"
    header = {"SOURCE": "VOC2063"} if ozdes else {"SURVEY": survey, "GAMANAME": "GAMAJ1136"}
    header |= {"OBJECT": "J113606.3+001155", "RA": 174.0, "DEC": 0.2, **WCS}
    hdus = [fits.PrimaryHDU(flux, fits.Header(header))]
    images = {"BADPIX": flux, "VARIANCE": sigma**2}
    images |= {"SPECTRUM_57747.658": flux * 2} if ozdes else {}
    hdus += [fits.ImageHDU(values, name=name) for name, values in images.items()]
    return _write(hdus, path)


def write_sixdf(path, n_observations=1, shift_aa=0.0):
    """Write a 6dFGS target's file: thumbnails, then V, R and VR of each observation."""
    hdus = [fits.PrimaryHDU(np.zeros((5, 5), "f4"))]
    hdus += [fits.ImageHDU(np.zeros((5, 5), "f4")) for _ in range(4)]
    for number in range(n_observations):
        flux, sigma = (values[0] for values in pixels(500, seed=number))
        header = {**WCS, "OBSRA": 33.7, "OBSDEC": -34.8, "Z": 0.03, "Z_HELIO": 0.03, "QUALITY": 4}
        header |= {"TARGET": "g2359555-392832"}
        header["CRVAL1"] += shift_aa * number
        image = np.stack([flux, sigma**2, flux, TWODF_AIR]).astype("f4")
        for rows in (3, 3, 4):
            hdus.append(fits.ImageHDU(image[:rows], fits.Header(header)))
    return _write(hdus, path)


def _write(hdus, path):
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return Path(path)
