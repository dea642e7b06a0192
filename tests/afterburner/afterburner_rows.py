"""Rows, fits and files of the afterburner's tests, plain where nothing is said."""

from dataclasses import dataclass, replace
from pathlib import Path

import fitsio
import numpy as np

from quasarloop.afterburner.file_columns import phase_of
from quasarloop.afterburner.network_step import NetworkResult
from quasarloop.afterburner.redrock_file import RedrockFits, RedrockRows
from quasarloop.read import read_spectra
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.footprint import Assignment, Sites, Tile
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.noise import NoisyArm
from quasarloop.simulate.observing import ObservingOptions, RedrockMistakes
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.simulate.write_redrock import RedrockResult, write_redrock
from quasarloop.truth import SpecType

# Every fault, often enough that 120 fibres have each.
FAULTS = dict.fromkeys(FaultRates.model_fields, 0.08)
MISTAKES = {"qso_as_galaxy": 0.25, "qso_as_star": 0.1, "qso_wrong_line": 0.2}


@dataclass(frozen=True)
class TileFiles:
    coadd: Path
    redrock: Path
    truth: Path


def make_tile(folder: Path, n: int, seed: int = 3) -> TileFiles:
    observing = ObservingOptions(faults=FaultRates(**FAULTS), redrock=RedrockMistakes(**MISTAKES))
    sky = ModelSky(Population())
    plan = SurveyOptions(folder, seed=seed, source=sky, observing=observing)
    simulate_survey(plan, n)
    return TileFiles(*(next(folder.rglob(f"{x}-*.fits")) for x in ("coadd", "redrock", "truth")))


def write_template(path: Path, subtype: str, low: float, high: float, kind: str = "QSO") -> None:
    header = {"RRTYPE": kind, "RRSUBTYP": subtype, "VERSION": "1.1"}
    redshifts = 10 ** np.arange(np.log10(1 + low), np.log10(1 + high), 5e-4) - 1
    with fitsio.FITS(path, "rw", clobber=True) as fits:
        fits.write(np.ones((4, 20)), header=header)
        fits.write(redshifts, extname="REDSHIFTS")


def redrock_fits(target_id, z, **columns):
    """Fits with plain values where nothing is said."""
    n = len(target_id)
    values = {
        "target_id": np.asarray(target_id, dtype=np.int64),
        "z": np.asarray(z, dtype=np.float64),
        "zerr": np.full(n, 1e-4),
        "zwarn": np.zeros(n, dtype=np.int64),
        "spectype": np.full(n, "QSO"),
        "subtype": np.full(n, "HIZ"),
        "chi2": np.full(n, 9000.0),
        "deltachi2": np.full(n, 100.0),
        "coeff": np.arange(4 * n, dtype=np.float64).reshape(n, 4),
        "version": "0.21.0",
        "templates": ("QSO:::HIZ 1.1", "QSO:::LOZ 1.1"),
    }
    return RedrockFits(**(values | {k: np.asarray(v) for k, v in columns.items()}))


def redrock_rows(spectype, z, **changes):
    n = len(z)
    rows = RedrockRows(
        fits=redrock_fits(np.arange(n) + 100, z, spectype=np.array(spectype)),
        ra_deg=np.zeros(n),
        dec_deg=np.zeros(n),
        object_type=np.full(n, "TGT"),
        phase=phase_of(["DESI_TARGET"]),
        target_bits=np.full(n, 4),
    )
    return replace(rows, **changes)


def network_answer(z_qn, **changes):
    """Quasars all, Mg II the best line, joint redshift the same with an error of 0.001 (1 + z)."""
    z = np.asarray(z_qn, dtype=np.float64)
    n = len(z)
    answer = NetworkResult(
        usable=np.ones(n, dtype=bool),
        is_qso=np.ones(n, dtype=bool),
        z_qn=z,
        line_rest_aa=np.full(n, 2796.3511),
        z_joint=z.copy(),
        z_joint_err=0.001 * (1 + z),
        z_alt=np.full(n, np.nan),
        p_alt=np.zeros(n),
        columns={"FLAGS": np.zeros(n, dtype=np.int32)},
    )
    return replace(answer, **changes)


def write_redrock_of(path, target_id, fibermap=None, coadd=None):
    """A redrock file by the simulator's writer that has every target as a galaxy at z = 0.3."""
    n = len(target_id)
    if fibermap is None:
        fibermap = np.zeros(n, dtype=[("TARGETID", "i8")])
        fibermap["TARGETID"] = target_id
    answer = RedrockResult(
        spectype=np.full(n, SpecType.GALAXY, dtype=np.int8),
        z=np.full(n, 0.3),
        zwarn=np.zeros(n, dtype=np.int64),
        deltachi2=np.full(n, 20.0),
        mistaken=np.zeros(n, dtype=bool),
    )
    numbers = np.zeros(n)
    sites = Sites(target_id, *(numbers for _ in range(6)))
    assignment = Assignment(Tile(0, n), sites, np.zeros(n, bool), np.zeros(n, np.int32), {})
    if coadd is None:
        pixels = np.ones((n, 10), np.float32)
        arms = {name: NoisyArm(pixels, pixels, np.zeros((n, 10), np.int32)) for name in "brz"}
    else:
        arms = {
            arm.name: NoisyArm(arm.flux, arm.ivar, np.zeros(arm.flux.shape, np.int32))
            for arm in read_spectra(coadd).arms
        }
    write_redrock(path, answer, assignment, {"FIBERMAP": fibermap}, arms)


def assert_same(a, b):
    """Every column equal, NaN where NaN."""
    assert a.dtype == b.dtype
    for name in a.dtype.names:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
