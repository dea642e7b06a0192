"""Spectra in, catalogue rows out: one row per spectrum, in order, none dropped."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.catalogue.columns import CatalogueBlock, catalogue_columns
from quasarloop.classes import CONFIDENCE_THRESHOLD, HIGH_Z_MIN, N_LINES_THRESHOLD, Vote
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.joint_calibration import CALIBRATION, JointCalibration
from quasarloop.network.predict import Predictor
from quasarloop.quality import UNUSABLE
from quasarloop.spectra import Flag, RebinnedSpectra

__all__ = ["ClassifyOptions", "classify_spectra", "options_record"]


@dataclass(frozen=True)
class ClassifyOptions:
    """What makes a quasar.

    Attributes:
        threshold: a line counts if its confidence is strictly above this.
        n_lines: how many lines must count.
        red_end: what a line past the red end of the grid gives (see `network.decode`).
        joint: add the redshift of all lines together (see `network.joint`).
        calibration: how far its lines are trusted.
    """

    threshold: float = CONFIDENCE_THRESHOLD
    n_lines: int = N_LINES_THRESHOLD
    red_end: Literal["clamp", "extrapolate"] = "extrapolate"
    joint: bool = True
    calibration: JointCalibration = CALIBRATION

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; a confidence lies between 0 and 1")
        if self.n_lines < 1:
            raise ValueError(f"n_lines is {self.n_lines}; at least one line must be asked for")


def classify_spectra(
    spectra: RebinnedSpectra, predictor: Predictor, options: ClassifyOptions | None = None
) -> CatalogueBlock:
    """Classify spectra with one network.

    Args:
        spectra: on the network's grid.
        predictor: the network.
        options: thresholds.

    Returns:
        Columns as `catalogue_columns` lists them. Spectra a network can say nothing of (no
        data, constant flux) are not quasars, and their confidences and redshifts are NaN.
    """
    chosen = options or ClassifyOptions()
    config = predictor.config
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    outputs = predictor.predict(spectra.flux[usable], redshifts=chosen.joint)
    finds = decode(outputs, config, red_end=chosen.red_end)
    result = classify_finds(finds, config, threshold=chosen.threshold, n_lines=chosen.n_lines)
    n = len(spectra)
    line_names = np.array([line.name for line in config.lines])
    values: dict[str, NDArray[Any]] = _identity(spectra)
    values["IS_QSO"] = _spread(result.is_qso, usable, n, fill=False)
    vote = _spread(result.vote, usable, n, fill=Vote.NOT_QSO)
    values["CLASS"] = np.array([member.name for member in Vote])[vote]
    values["Z_BEST"] = _spread(result.z_best.astype(np.float64), usable, n, fill=np.nan)
    values["BEST_LINE"] = _spread(line_names[result.best_line], usable, n, fill="")
    if chosen.joint:
        found = joint_redshifts(outputs, config, chosen.calibration)
        for name, column in zip(
            ("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT"),
            (found.z, found.z_err, found.z_alt, found.p_alt),
            strict=True,
        ):
            values[name] = _spread(column, usable, n, fill=np.nan)
    for index, line in enumerate(config.lines):
        values[f"C_{line.column}"] = _spread(finds.confidence[:, index], usable, n, fill=np.nan)
        values[f"Z_{line.column}"] = _spread(finds.z[:, index], usable, n, fill=np.nan)
    return {
        column.name: values[column.name].astype(column.dtype)
        for column in catalogue_columns(config.lines, joint=chosen.joint)
    }


def options_record(options: ClassifyOptions) -> Mapping[str, Any]:
    """Return what a header must say to make the same catalogue again."""
    return {
        "threshold": options.threshold,
        "n_lines": options.n_lines,
        "red_end": options.red_end,
        "high_z_min": HIGH_Z_MIN,
        "joint": asdict(options.calibration) if options.joint else None,
        "flag_bits": {str(flag.name): int(flag) for flag in Flag},
    }


def _identity(spectra: RebinnedSpectra) -> dict[str, NDArray[Any]]:
    keys = spectra.keys
    return {
        "TARGETID": keys.target_id,
        "OBJECT_ID": keys.object_id,
        "TARGET_RA": keys.ra_deg,
        "TARGET_DEC": keys.dec_deg,
        "SURVEY": keys.survey,
        "PROGRAM": keys.program,
        "TILEID": keys.tile_id,
        "HEALPIX": keys.healpix,
        "NIGHT": keys.night,
        "EXPID": keys.exposure_id,
        "PETAL": keys.petal,
        "FIBER": keys.fiber,
        "OBJTYPE": keys.object_type,
        "SN_B": spectra.sn[:, 0],
        "SN_R": spectra.sn[:, 1],
        "SN_Z": spectra.sn[:, 2],
        "FLAGS": spectra.flags,
        "SOURCE": spectra.source,
        "ROW": spectra.row,
    }


def _spread(values: NDArray[Any], rows: NDArray[np.intp], n: int, *, fill: object) -> NDArray[Any]:
    """Put the values of some rows back among all rows."""
    out = np.full(n, fill, dtype=values.dtype)
    out[rows] = values
    return out
