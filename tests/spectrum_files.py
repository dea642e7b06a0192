"""Small survey files with known content, written with astropy (not with our own code)."""

from pathlib import Path

import numpy as np
from astropy.io import fits

# A tenth of DESI's resolution: the three arms, overlapping as the real ones do.
ARM_WAVES = {
    "B": np.arange(3600.0, 5800.0, 8.0),
    "R": np.arange(5760.0, 7620.0, 8.0),
    "Z": np.arange(7520.0, 9824.0, 8.0),
}


def pixels(n_rows, n_pix, seed=0):
    """Flux and ivar of plain noisy spectra, float32."""
    rng = np.random.default_rng(seed)
    flux = (3 + rng.normal(0, 1, (n_rows, n_pix)).cumsum(axis=1) / 5).astype("f4")
    return flux, rng.gamma(5, 0.2, (n_rows, n_pix)).astype("f4")


def fibermap(target_ids, **columns):
    """A FIBERMAP table; TARGETID alone unless columns are given."""
    names = {"TARGETID": np.asarray(target_ids), **columns}
    made = [fits.Column(name, _format(values), array=values) for name, values in names.items()]
    return fits.BinTableHDU.from_columns(made, name="FIBERMAP")


def coadd_hdus(n_rows=4, arms="BRZ", target_ids=None, seed=0, columns=None, **cards):
    """The HDUs of a DESI coadd, to be changed before writing."""
    ids = np.arange(101, 101 + n_rows, dtype=np.int64) if target_ids is None else target_ids
    hdus = [fits.PrimaryHDU(header=fits.Header(cards)), fibermap(ids, **(columns or {}))]
    for i, arm in enumerate(arms):
        wave = ARM_WAVES[arm]
        flux, ivar = pixels(n_rows, len(wave), seed + i)
        hdus += [
            fits.ImageHDU(wave, name=f"{arm}_WAVELENGTH"),
            fits.ImageHDU(flux, name=f"{arm}_FLUX"),
            fits.ImageHDU(ivar, name=f"{arm}_IVAR"),
            fits.ImageHDU(np.zeros(flux.shape, "i4"), name=f"{arm}_MASK"),
        ]
    return fits.HDUList(hdus)


def write_coadd(path, **options):
    """Write a DESI coadd."""
    return _write(coadd_hdus(**options), path)


def write_cframe(path, camera="r4", n_rows=3, object_types=None, **cards):
    """Write a DESI cframe: one camera, flux in the primary HDU."""
    wave = ARM_WAVES[camera[0].upper()]
    flux, ivar = pixels(n_rows, len(wave))
    types = np.array(object_types or ["TGT"] * n_rows)
    primary = fits.PrimaryHDU(flux, header=fits.Header({"CAMERA": camera, **cards}))
    primary.name = "FLUX"
    hdus = [
        primary,
        fits.ImageHDU(ivar, name="IVAR"),
        fits.ImageHDU(np.zeros(flux.shape, "i4"), name="MASK"),
        fits.ImageHDU(wave, name="WAVELENGTH"),
        fibermap(np.arange(7, 7 + n_rows), OBJTYPE=types, FIBER=np.arange(n_rows)),
    ]
    return _write(fits.HDUList(hdus), path)


def spec_hdus(plate=7102, mjd=56666, fiber=82, upper=False, thing_id=518753582, object_type="QSO"):
    """The HDUs of an SDSS spec file; ``upper`` has capital columns and unnamed HDUs."""
    loglam = np.arange(3.55, 4.01, 1e-3).astype("f4")
    flux, ivar = (values[0] for values in pixels(1, len(loglam), fiber))
    names = ["flux", "loglam", "ivar", "and_mask"]
    values = [flux, loglam, ivar, np.zeros(len(flux), "i4")]
    case = str.upper if upper else str.lower
    coadd = fits.BinTableHDU.from_columns(
        [fits.Column(case(n), _format(v), array=v) for n, v in zip(names, values, strict=True)]
    )
    row = {"CLASS": np.array(["QSO"]), "OBJTYPE": np.array([object_type])}
    row |= {"PLATE": np.array([plate], "i4"), "MJD": np.array([mjd], "i4")}
    row |= {"FIBERID": np.array([fiber], "i4"), "PLUG_RA": np.array([150.5])}
    row |= {"PLUG_DEC": np.array([2.25])}
    if thing_id is not None:
        row["THING_ID"] = np.array([thing_id], "i4")
    objects = fits.BinTableHDU.from_columns(
        [fits.Column(case(n), _format(v), array=v) for n, v in row.items()]
    )
    if not upper:
        coadd.name, objects.name = "COADD", "SPALL"
    header = fits.Header({"PLATEID": plate, "MJD": mjd, "FIBERID": fiber, "COEFF0": 3.55})
    return fits.HDUList([fits.PrimaryHDU(header=header), coadd, objects])


def write_spec(path, **options):
    """Write an SDSS spec file."""
    return _write(spec_hdus(**options), path)


def write_plate(path, n_rows=4, object_types=("QSO", "SKY", "GALAXY", "QSO")):
    """Write an SDSS spPlate file."""
    flux, ivar = pixels(n_rows, 460)
    masks = np.zeros(flux.shape, "i4")
    header = fits.Header({"COEFF0": 3.55, "COEFF1": 1e-3, "PLATEID": 3655, "MJD": 55240})
    plugmap = {
        "FIBERID": np.arange(1, n_rows + 1, dtype="i4"),
        "RA": np.linspace(10, 11, n_rows),
        "DEC": np.linspace(-1, 1, n_rows),
        "OBJTYPE": np.array(object_types),
    }
    columns = [fits.Column(n, _format(v), array=v) for n, v in plugmap.items()]
    hdus = [fits.PrimaryHDU(flux, header), fits.ImageHDU(ivar), fits.ImageHDU(masks)]
    hdus += [fits.ImageHDU(masks), fits.ImageHDU(flux), fits.BinTableHDU.from_columns(columns)]
    return _write(fits.HDUList(hdus), path)


def write_lamost(path, **cards):
    """Write a LAMOST DR1 file; row 2 looks like wavelengths and is none."""
    flux, ivar = (values[0] for values in pixels(1, 400))
    trap = np.linspace(3700, 9089, 400)
    image = np.stack([flux, ivar, trap, np.zeros(400), np.zeros(400)]).astype("f4")
    header = {"TELESCOP": "LAMOST", "COEFF0": 3.5682, "COEFF1": 1e-3, "LMJD": 55862}
    header |= {"PLANID": "B6212", "SPID": 6, "FIBERID": 5, "RA": 99.5, "DEC": 27.15}
    header |= {"DESIG": "LAMOST J063759.87+270908.4", "FIBERTYP": "Obj", **cards}
    kept = {key: value for key, value in header.items() if value is not None}
    return _write(fits.HDUList([fits.PrimaryHDU(image, fits.Header(kept))]), path)


def write_quasarnet(path, n_rows=3, n_bins=443, columns=None):
    """Write a QuasarNET data file: flux | ivar on the grid, and a table of ids."""
    flux, ivar = pixels(n_rows, n_bins)
    table = {"TARGETID": np.array([500 + i for i in range(n_rows)], dtype="f8")} | (columns or {})
    made = [fits.Column(n, _format(v), array=v) for n, v in table.items()]
    metadata = fits.BinTableHDU.from_columns(made, name="METADATA")
    data = fits.PrimaryHDU(np.hstack([flux, ivar]).astype("f8"))
    return _write(fits.HDUList([data, metadata]), path)


def write_andes(path, target_ids=(11, 12)):
    """Write a DESI andes table: WAVELENGTH and TARGETnnn columns."""
    wave = np.arange(3600.0, 9824.0, 8.0)
    flux, _ = pixels(len(target_ids), len(wave))
    columns = {"WAVELENGTH": wave}
    columns |= {f"TARGET{t}": f.astype("f8") for t, f in zip(target_ids, flux, strict=True)}
    made = [fits.Column(n, _format(v), array=v) for n, v in columns.items()]
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)])
    return _write(hdus, path)


def write_survey(folder):
    """Write two coadds and a spec file: 9 spectra, one of them sky."""
    folder.mkdir()
    types = {"OBJTYPE": np.array(["TGT", "TGT", "SKY", "TGT"])}
    return [
        write_coadd(folder / "coadd-1.fits", columns=types, SURVEY="main"),
        write_coadd(folder / "coadd-2.fits", seed=7, target_ids=np.array([201, 202, 203, 101])),
        write_spec(folder / "spec-1.fits"),
    ]


def _write(hdus, path):
    hdus.writeto(path, overwrite=True)
    return Path(path)


def _format(values):
    kinds = {"i2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D", "b1": "L"}
    if values.dtype.kind == "U":
        return f"{values.dtype.itemsize // 4}A"
    return kinds[values.dtype.str[1:]]
