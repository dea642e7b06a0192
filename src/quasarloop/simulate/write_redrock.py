"""redrock-*.fits beside each coadd: mostly right, wrong as real redrock is wrong.

No fit is done: results are the truth, disturbed, for the afterburner and the inspection page to
compare with the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.constants import LEAST_DELTA_CHI2, N_COEFF, SPEED_OF_LIGHT_KMS, Zwarn
from quasarloop.fits_tables import new_fits
from quasarloop.lines import EMISSION_LINES, OII_AA
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.footprint import Assignment
from quasarloop.simulate.noise import NoisyArm
from quasarloop.simulate.observing import RedrockMistakes
from quasarloop.simulate.write_desi import file_columns, tsnr2, usual_rows
from quasarloop.truth import SpecType

__all__ = ["RedrockResult", "imitate_redrock", "write_redrock"]

Table = NDArray[np.void]

# Source: redrock's own search ranges (zscan_galaxy, zscan_qso).
_GALAXY_Z: Final = (-0.005, 1.7)
_QSO_Z: Final = (0.05, 6.0)
# Scatter of redrock's redshifts, km/s. Source: Chaussidon et al. 2023, ApJ 944, 107 (quasars,
# some hundreds of km/s); Lan et al. 2023, ApJ 943, 68 (galaxies, some tens). Rounded by us.
# Stars, galaxies, quasars; unknown, the last, is number -1 of `SpecType`.
_Z_SCATTER_KMS: Final = np.array([8.0, 25.0, 250.0, 0.0])


@dataclass(frozen=True)
class RedrockResult:
    """Classes and redshifts as redrock would return them, (n,) each.

    Attributes:
        spectype: int8 of `SpecType`.
        z: float64 redshift.
        zwarn: int64 bits.
        deltachi2: float64.
        mistaken: True where class or redshift is wrong on purpose.
    """

    spectype: NDArray[np.int8]
    z: Floats64
    zwarn: NDArray[np.int64]
    deltachi2: Floats64
    mistaken: NDArray[np.bool_]


def imitate_redrock(
    rng: Rng, spectype: NDArray[np.int8], z: Floats64, sn: Floats32, mistakes: RedrockMistakes
) -> RedrockResult:
    """Disturb the truth as redrock would.

    Args:
        rng: generator used for this only; all draws are made for the rows given.
        spectype: (n,) true class; UNKNOWN is a sky fibre.
        z: (n,) true redshift, NaN for sky fibres.
        sn: (n,) median S/N per pixel; 0 or NaN without signal.
        mistakes: rates.
    """
    n = len(spectype)
    signal = np.nan_to_num(np.clip(sn, 0, None).astype(np.float64))
    harder = 3 - np.minimum(signal, 2)  # 1 at S/N 2 and above, 3 at 0
    # A stream each, filled row by row: what row i gets does not depend on later rows.
    choice_rng, scatter_rng, fit_rng = rng.spawn(3)
    u = choice_rng.random((n, 4)).T
    scatter = (1 + z) * _Z_SCATTER_KMS[spectype] / SPEED_OF_LIGHT_KMS
    found, z_found = spectype.copy(), z + scatter * scatter_rng.standard_normal(n)
    chance = u[0] / harder
    qso, galaxy = spectype == SpecType.QSO, spectype == SpecType.GALAXY
    star, sky = spectype == SpecType.STAR, spectype == SpecType.UNKNOWN
    # Disjoint intervals of one draw: a row gets at most one mistake.
    as_galaxy = qso & (chance < mistakes.qso_as_galaxy)
    edge = mistakes.qso_as_galaxy + mistakes.qso_as_star
    as_star = qso & ~as_galaxy & (chance < edge)
    wrong_line = qso & ~as_galaxy & ~as_star & (chance < edge + mistakes.qso_wrong_line)
    as_qso = (galaxy & (chance < mistakes.galaxy_as_qso)) | (star & (chance < mistakes.star_as_qso))
    lost = galaxy & ~as_qso & (chance < mistakes.galaxy_as_qso + mistakes.galaxy_wrong_z)

    found[as_galaxy | sky] = SpecType.GALAXY
    found[as_star], found[as_qso] = SpecType.STAR, SpecType.QSO
    # A broad line taken for [O II]: the usual way a quasar becomes a galaxy.
    mg = EMISSION_LINES[3].wave_rest_aa
    half_right = u[1] < 0.5  # noqa: PLR2004 -- our choice: half keep the right redshift
    z_found[as_galaxy & ~half_right] = ((1 + z) * mg / OII_AA - 1)[as_galaxy & ~half_right]
    anywhere = as_galaxy & (half_right & (z > _GALAXY_Z[1]))
    random_z = _GALAXY_Z[0] + u[2] * (_GALAXY_Z[1] - _GALAXY_Z[0])
    z_found[anywhere | lost | sky] = random_z[anywhere | lost | sky]
    z_found[as_galaxy] = np.clip(z_found[as_galaxy], *_GALAXY_Z)
    z_found[as_star] = (0.002 * (u[2] - 0.5))[as_star]
    z_found[wrong_line] = _confused(z, u[3])[wrong_line]
    z_found[as_qso] = (_QSO_Z[0] + u[2] * 3.5)[as_qso]
    wrong = as_galaxy | as_star | wrong_line | as_qso | lost
    deltachi2 = _deltachi2(fit_rng, signal, wrong | sky)
    nothing = (signal == 0) & ~sky
    zwarn = np.where(deltachi2 < LEAST_DELTA_CHI2, Zwarn.SMALL_DELTA_CHI2, 0)
    zwarn |= np.where(sky, Zwarn.SKY, 0) | np.where(nothing, Zwarn.NODATA, 0)
    return RedrockResult(found, z_found, zwarn.astype(np.int64), deltachi2, wrong)


def write_redrock(
    path: Path,
    result: RedrockResult,
    assignment: Assignment,
    tables: Mapping[str, Table],
    arms: Mapping[str, NoisyArm],
) -> None:
    """Write REDSHIFTS, FIBERMAP, EXP_FIBERMAP and TSNR2, rows as in the coadd.

    Args:
        path: ``redrock-<petal>-<tile>-thru<night>.fits``.
        result: one row per object.
        assignment: targets of the fibres.
        tables: the coadd's FIBERMAP and EXP_FIBERMAP.
        arms: the coadd.
    """
    # Readers take the names of the templates from the header.
    cards = [
        {"name": "RRVER", "value": "simulated", "comment": "no fit was done"},
        {"name": "TEMNAM00", "value": "none"},
        {"name": "TEMVER00", "value": "none"},
        {"name": "SIMULATE", "value": True},
    ]
    with new_fits(path) as fits:
        fits.write(None, header=cards)
        fits.write(_redshifts(assignment.sites.target_id, result, arms), extname="REDSHIFTS")
        for name, table in tables.items():
            fits.write(table, extname=name)
        fits.write(tsnr2(assignment.sites.target_id, arms), extname="TSNR2")


def _redshifts(
    target_id: NDArray[np.int64], result: RedrockResult, arms: Mapping[str, NoisyArm]
) -> Table:
    table = usual_rows(file_columns("REDSHIFTS"), len(target_id))
    pixels = np.sum([np.count_nonzero(arm.ivar > 0, axis=1) for arm in arms.values()], axis=0)
    names = np.array(["STAR", "GALAXY", "QSO"], dtype="S6")
    n_coeff = np.array([5, 10, 4])[result.spectype]
    scatter = _Z_SCATTER_KMS[result.spectype]
    table["TARGETID"], table["Z"], table["ZWARN"] = target_id, result.z, result.zwarn
    table["ZERR"] = scatter / 4 / SPEED_OF_LIGHT_KMS * (1 + np.abs(result.z))
    table["CHI2"] = pixels + 5.0
    mean = np.mean([arm.flux.mean(axis=1) for arm in arms.values()], axis=0)
    # Sizes only: as if the mean flux were the first template's.
    table["COEFF"] = mean[:, None] * 0.3 ** np.arange(N_COEFF)
    table["COEFF"][np.arange(N_COEFF) >= n_coeff[:, None]] = 0
    table["NPIXELS"], table["NCOEFF"] = pixels, n_coeff
    table["SPECTYPE"] = names[result.spectype]
    qso = result.spectype == SpecType.QSO
    table["SUBTYPE"] = np.where(qso, np.where(result.z < 1.6, b"LOZ", b"HIZ"), b"")  # noqa: PLR2004 -- where redrock's two quasar templates meet
    table["SUBTYPE"][result.spectype == SpecType.STAR] = b"G"
    table["DELTACHI2"] = result.deltachi2
    return table


def _confused(z: Floats64, u: Floats64) -> Floats64:
    """Redshifts of one line taken for its neighbour in the list, within redrock's range."""
    rest = np.array([line.wave_rest_aa for line in EMISSION_LINES])
    first = np.minimum((u * (len(rest) - 1)).astype(int), len(rest) - 2)
    up = (1 + z) * rest[first + 1] / rest[first] - 1
    down = (1 + z) * rest[first] / rest[first + 1] - 1
    return np.asarray(np.clip(np.where((up < _QSO_Z[1]) & (u * 7 % 1 < 0.5), up, down), *_QSO_Z))  # noqa: PLR2004 -- a fair coin


def _deltachi2(rng: Rng, signal: Floats64, wrong: NDArray[np.bool_]) -> Floats64:
    # Our choice: grows as (S/N)², 300 at S/N 1; a wrong fit wins by little.
    first, second = rng.spawn(2)
    value = 300 * signal**2 * 10 ** (0.4 * first.standard_normal(len(signal)))
    return np.where(wrong, np.minimum(value, 60 * second.random(len(signal))), value) + 0.1
