"""FIBERMAP, EXP_FIBERMAP and SCORES tables with all columns of a real DESI coadd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.simulate.noise import Conditions, NoisyArm
from quasarloop.simulate.plan import PETAL_FIBRES, Sites, Tile

__all__ = [
    "SKY_TYPE",
    "TARGET_TYPE",
    "Assignment",
    "exposure_fibermap",
    "fibermap",
    "first_expid",
    "scores",
    "spectra_fibermap",
    "tsnr2",
]

Table = NDArray[np.void]

TARGET_TYPE: Final = "TGT"
SKY_TYPE: Final = "SKY"
# Source: desitarget.targetmask, desi_mask: QSO is bit 2, SKY bit 32.
_QSO_BIT: Final = 1 << 2
_SKY_BIT: Final = 1 << 32
_EXPOSURE_GAP_DAYS: Final = 0.013
_PHOTOMETRY_DEPTH: Final = {"G": 25.5, "R": 25.0, "Z": 24.1}  # Legacy Surveys, 5 σ, AB mag
_ROBOTS: Final = 502  # positions on a petal

# Columns as in ../shared/data/desi_redrock/coadd-4-80613-thru20210324.fits, with the main
# survey's target masks in place of SV1's; constants are what such a column usually holds.
_FIBERMAP: Final[tuple[tuple[str, str, Any], ...]] = (
    ("TARGETID", "i8", 0), ("PETAL_LOC", "i2", 0), ("DEVICE_LOC", "i4", 0),
    ("LOCATION", "i8", 0), ("FIBER", "i4", 0), ("COADD_FIBERSTATUS", "i4", 0),
    ("TARGET_RA", "f8", 0), ("TARGET_DEC", "f8", 0), ("PMRA", "f4", 0), ("PMDEC", "f4", 0),
    ("REF_EPOCH", "f4", 2015.5), ("LAMBDA_REF", "f4", 5400.0), ("FA_TARGET", "i8", 0),
    ("FA_TYPE", "u1", 1), ("OBJTYPE", "S3", b"TGT"), ("FIBERASSIGN_X", "f4", 0),
    ("FIBERASSIGN_Y", "f4", 0), ("PRIORITY", "i4", 3400), ("SUBPRIORITY", "f8", 0.5),
    ("OBSCONDITIONS", "i4", 1), ("RELEASE", "i2", 9010), ("BRICKNAME", "S8", b""),
    ("BRICKID", "i4", 0), ("BRICK_OBJID", "i4", 0), ("MORPHTYPE", "S4", b"PSF"),
    ("EBV", "f4", 0), ("FLUX_G", "f4", 0), ("FLUX_R", "f4", 0), ("FLUX_Z", "f4", 0),
    ("FLUX_W1", "f4", 0), ("FLUX_W2", "f4", 0), ("FLUX_IVAR_G", "f4", 0),
    ("FLUX_IVAR_R", "f4", 0), ("FLUX_IVAR_Z", "f4", 0), ("FLUX_IVAR_W1", "f4", 0),
    ("FLUX_IVAR_W2", "f4", 0), ("FIBERFLUX_G", "f4", 0), ("FIBERFLUX_R", "f4", 0),
    ("FIBERFLUX_Z", "f4", 0), ("FIBERTOTFLUX_G", "f4", 0), ("FIBERTOTFLUX_R", "f4", 0),
    ("FIBERTOTFLUX_Z", "f4", 0), ("MASKBITS", "i2", 0), ("SERSIC", "f4", 0),
    ("SHAPE_R", "f4", 0), ("SHAPE_E1", "f4", 0), ("SHAPE_E2", "f4", 0), ("REF_ID", "i8", 0),
    ("REF_CAT", "S2", b""), ("GAIA_PHOT_G_MEAN_MAG", "f4", 0),
    ("GAIA_PHOT_BP_MEAN_MAG", "f4", 0), ("GAIA_PHOT_RP_MEAN_MAG", "f4", 0),
    ("PARALLAX", "f4", 0), ("PHOTSYS", "S1", b"S"), ("PRIORITY_INIT", "i8", 3400),
    ("NUMOBS_INIT", "i8", 4), ("DESI_TARGET", "i8", 0), ("BGS_TARGET", "i8", 0),
    ("MWS_TARGET", "i8", 0), ("SCND_TARGET", "i8", 0), ("PLATE_RA", "f8", 0),
    ("PLATE_DEC", "f8", 0), ("TILEID", "i4", 0), ("COADD_NUMEXP", "i2", 1),
    ("COADD_EXPTIME", "f4", 0), ("COADD_NUMNIGHT", "i2", 1), ("COADD_NUMTILE", "i2", 1),
    ("MEAN_DELTA_X", "f4", 0), ("RMS_DELTA_X", "f4", 0), ("MEAN_DELTA_Y", "f4", 0),
    ("RMS_DELTA_Y", "f4", 0), ("MEAN_FIBER_RA", "f8", 0), ("STD_FIBER_RA", "f4", 0),
    ("MEAN_FIBER_DEC", "f8", 0), ("STD_FIBER_DEC", "f4", 0),
    ("MEAN_PSF_TO_FIBER_SPECFLUX", "f4", 0.78), ("MEAN_FIBER_X", "f4", 0),
    ("MEAN_FIBER_Y", "f4", 0),
)  # fmt: skip
_EXPOSURE: Final[tuple[tuple[str, str, Any], ...]] = (
    ("TARGETID", "i8", 0), ("PRIORITY", "i4", 3400), ("SUBPRIORITY", "f8", 0.5),
    ("NIGHT", "i4", 0), ("EXPID", "i4", 0), ("MJD", "f8", 0), ("TILEID", "i4", 0),
    ("EXPTIME", "f8", 0), ("PETAL_LOC", "i2", 0), ("DEVICE_LOC", "i4", 0),
    ("LOCATION", "i8", 0), ("FIBER", "i4", 0), ("FIBERSTATUS", "i4", 0),
    ("FIBERASSIGN_X", "f4", 0), ("FIBERASSIGN_Y", "f4", 0), ("LAMBDA_REF", "f4", 5400.0),
    ("PLATE_RA", "f8", 0), ("PLATE_DEC", "f8", 0), ("NUM_ITER", "i8", 2), ("FIBER_X", "f8", 0),
    ("FIBER_Y", "f8", 0), ("DELTA_X", "f8", 0), ("DELTA_Y", "f8", 0), ("FIBER_RA", "f8", 0),
    ("FIBER_DEC", "f8", 0), ("PSF_TO_FIBER_SPECFLUX", "f8", 0.78),
)  # fmt: skip
# TSNR2 of a tracer and arm over the summed inverse variance of the arm, measured on the real
# coadd above: the true ratio depends on the tracer's own spectrum, this keeps the scale.
_TSNR2: Final[Mapping[str, tuple[float, float, float]]] = {
    "GPBDARK": (0.0115, 0.345, 1.57e-10),
    "ELG": (1.07e-5, 7.75e-4, 1.34e-3),
    "GPBBRIGHT": (2.27e-3, 0.0659, 3.08e-11),
    "LYA": (7.59e-3, 2.17e-6, 0.0),
    "BGS": (0.0611, 0.0781, 0.0589),
    "GPBBACKUP": (0.0197, 0.512, 2.58e-10),
    "QSO": (2.92e-4, 2.40e-4, 2.77e-4),
    "LRG": (1.16e-4, 1.11e-3, 5.93e-4),
}


@dataclass(frozen=True)
class Assignment:
    """What each fibre of a tile looks at.

    Attributes:
        tile: which tile.
        sites: where the fibres are, (n,) columns.
        is_sky: (n,) True for sky fibres.
        fiberstatus: (n,) int32 bits of desispec's fibermask.
        band_flux: band (``"G"``, ``"R"``, ``"Z"``) -> (n,) nanomaggies as imaging measured them.
    """

    tile: Tile
    sites: Sites
    is_sky: NDArray[np.bool_]
    fiberstatus: NDArray[np.int32]
    band_flux: Mapping[str, NDArray[np.float32]]


def first_expid(tile: Tile) -> int:
    """Return the EXPID of a tile's first exposure; ten petals share their exposures."""
    return 1_000_000 + 100 * (tile.tile_id % 100_000)


def fibermap(assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float) -> Table:
    """Return the FIBERMAP of a coadd, one row per object.

    Args:
        assignment: the tile.
        conditions: of each exposure in the coadd.
        nominal_s: nominal exposure time, s.
    """
    table = _filled(_FIBERMAP, len(assignment.is_sky))
    _set_target(table, assignment)
    table["COADD_FIBERSTATUS"] = assignment.fiberstatus
    table["COADD_NUMEXP"] = len(conditions)
    table["COADD_EXPTIME"] = nominal_s * sum(one.time for one in conditions)
    return table


def spectra_fibermap(
    assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float
) -> Table:
    """Return the FIBERMAP of a spectra file: one exposure after the other, all objects each."""
    coadd = [
        column for column in _FIBERMAP if not column[0].startswith(("COADD_", "MEAN_", "RMS_"))
    ]
    extra = [column for column in _EXPOSURE if column[0] not in {name for name, *_ in coadd}]
    exposures = exposure_fibermap(assignment, conditions, nominal_s)
    table = _filled((*coadd, *extra), len(exposures))
    for part in np.split(table, len(conditions)):
        _set_target(part, assignment)
    for name in exposures.dtype.names or ():
        table[name] = exposures[name]
    return table


def exposure_fibermap(
    assignment: Assignment, conditions: Sequence[Conditions], nominal_s: float
) -> Table:
    """Return EXP_FIBERMAP: one row per object and exposure, exposure by exposure."""
    parts = []
    for number, one in enumerate(conditions):
        part = _filled(_EXPOSURE, len(assignment.is_sky))
        _set_place(part, assignment)
        part["NIGHT"] = assignment.tile.night
        part["EXPID"] = first_expid(assignment.tile) + number
        part["MJD"] = assignment.tile.mjd + number * _EXPOSURE_GAP_DAYS
        part["EXPTIME"] = nominal_s * one.time
        part["FIBERSTATUS"] = assignment.fiberstatus
        part["FIBER_X"], part["FIBER_Y"] = assignment.sites.x_mm, assignment.sites.y_mm
        part["FIBER_RA"], part["FIBER_DEC"] = assignment.sites.ra_deg, assignment.sites.dec_deg
        part["PSF_TO_FIBER_SPECFLUX"] *= np.minimum(one.fibre, 1.2)
        parts.append(part)
    return np.concatenate(parts)


def scores(target_id: NDArray[np.int64], arms: Mapping[str, NoisyArm], *, coadd: bool) -> Table:
    """Return SCORES: sums and medians of each arm, and template S/N."""
    kind = "COADD" if coadd else "CALIB"
    columns: dict[str, NDArray[Any]] = {"TARGETID": target_id}
    for name, arm in arms.items():
        letter = name.upper()
        columns[f"INTEG_{kind}_FLUX_{letter}"] = arm.flux.sum(axis=1, dtype=np.float64)
        columns[f"MEDIAN_{kind}_FLUX_{letter}"] = _row_median(arm.flux)
        columns[f"MEDIAN_{kind}_SNR_{letter}"] = _row_median(arm.flux * np.sqrt(arm.ivar))
    columns |= _tsnr2_columns(arms)
    return _table(columns)


def tsnr2(target_id: NDArray[np.int64], arms: Mapping[str, NoisyArm]) -> Table:
    """Return the TSNR2 table of a redrock file."""
    return _table({"TARGETID": target_id, **_tsnr2_columns(arms)})


def _tsnr2_columns(arms: Mapping[str, NoisyArm]) -> dict[str, NDArray[Any]]:
    total = {name: arm.ivar.sum(axis=1, dtype=np.float64) for name, arm in arms.items()}
    columns: dict[str, NDArray[Any]] = {}
    for position, name in enumerate(arms):
        for tracer, scale in _TSNR2.items():
            columns[f"TSNR2_{tracer}_{name.upper()}"] = scale[position] * total[name]
    for tracer in _TSNR2:
        columns[f"TSNR2_{tracer}"] = np.sum(
            [columns[f"TSNR2_{tracer}_{name.upper()}"] for name in arms], axis=0
        )
    return columns


def _row_median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # Every eighth pixel is enough for a score, and eight times quicker.
    return np.median(values[:, ::8], axis=1)


def _set_target(table: Table, assignment: Assignment) -> None:
    _set_place(table, assignment)
    sky = assignment.is_sky
    table["OBJTYPE"] = np.where(sky, SKY_TYPE, TARGET_TYPE).astype("S3")
    table["DESI_TARGET"] = np.where(sky, _SKY_BIT, _QSO_BIT)
    table["FA_TARGET"] = table["DESI_TARGET"]
    table["FA_TYPE"] = np.where(sky, 4, 1)
    table["EBV"] = assignment.sites.ebv
    table["BRICK_OBJID"] = np.arange(len(table))
    table["BRICKID"] = assignment.tile.index
    for band, flux in assignment.band_flux.items():
        for column in (f"FLUX_{band}", f"FIBERTOTFLUX_{band}", f"FIBERFLUX_{band}"):
            table[column] = flux if column.startswith("FLUX") else 0.78 * flux
        five_sigma = 10 ** (0.4 * (22.5 - _PHOTOMETRY_DEPTH[band]))
        table[f"FLUX_IVAR_{band}"] = np.where(sky, 0, (5 / five_sigma) ** 2)
    names = table.dtype.names or ()
    for column, values in (
        ("TARGET_RA", assignment.sites.ra_deg), ("TARGET_DEC", assignment.sites.dec_deg),
        ("MEAN_FIBER_RA", assignment.sites.ra_deg), ("MEAN_FIBER_DEC", assignment.sites.dec_deg),
        ("MEAN_FIBER_X", assignment.sites.x_mm), ("MEAN_FIBER_Y", assignment.sites.y_mm),
    ):  # fmt: skip
        if column in names:
            table[column] = values


def _set_place(table: Table, assignment: Assignment) -> None:
    tile, where = assignment.tile, assignment.sites
    device = where.fiber % PETAL_FIBRES * _ROBOTS // PETAL_FIBRES
    table["TARGETID"] = where.target_id
    table["PETAL_LOC"] = tile.petal
    table["DEVICE_LOC"] = device
    table["LOCATION"] = 1000 * tile.petal + device
    table["FIBER"] = where.fiber
    table["TILEID"] = tile.tile_id
    table["FIBERASSIGN_X"], table["FIBERASSIGN_Y"] = where.x_mm, where.y_mm
    table["PLATE_RA"], table["PLATE_DEC"] = where.ra_deg, where.dec_deg


def _filled(columns: Sequence[tuple[str, str, Any]], n: int) -> Table:
    table = np.zeros(n, dtype=[(name, kind) for name, kind, _ in columns])
    for name, _, value in columns:
        table[name] = value
    return table


def _table(columns: Mapping[str, NDArray[Any]]) -> Table:
    n = len(columns["TARGETID"])
    kinds = [(name, "i8" if name == "TARGETID" else "f4") for name in columns]
    table = np.zeros(n, dtype=kinds)
    for name, values in columns.items():
        table[name] = values
    return table
