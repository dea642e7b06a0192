"""Z_JOINT beside redrock itself, on the same simulated and real DESI spectra.

    python studies/redrock_table.py --out side --templates TEMPLATES --rrdesi PYTHON \
        --data $DATA --weights W.h5 --objects 300

PYTHON is that of redrock's environment (`make redrock`). Two skies are simulated, of the built-in
library and of the templates, and every DESI coadd of the real sets is read. Redrock's results and
processor times stay in the folder: killed and started again the command goes on, and other weights
cost seconds.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from astropy.io import fits
from numpy.typing import NDArray

from quasarloop.afterburner import launch_redrock
from quasarloop.afterburner.redrock_file import read_fits
from quasarloop.artefacts import check_folder
from quasarloop.catalogue.classify import classify_spectra
from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.errors import RedrockError
from quasarloop.evaluate.metrics import redshift_errors
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import read_spectra, read_truth
from quasarloop.simulate.faults import NO_FAULTS
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey
from quasarloop.truth import SpecType, match_truth

SEED = 8201  # of no other tool
REAL = ("desi_tile80693", "desi_healpix9144", "desi_redrock")
RESULT, SECONDS = "redrock.fits", "seconds.json"
HEADER = (
    "| sky | program | spectra | quasars found | others called quasars | wrong "
    "| NMAD, km/s | processor s per spectrum |\n|---|---|---:|---:|---:|---:|---:|---:|"
)


class Sky(NamedTuple):
    """Coadds of known truth, and the folder of redrock's results."""

    name: str
    coadds: list[Path]
    truth: Path
    results: Path


class Found(NamedTuple):
    """What a program gives, (n,) each, and its processor seconds."""

    target_id: NDArray[np.int64]
    is_qso: NDArray[np.bool_]
    z: NDArray[np.float64]
    seconds: float


def main() -> int:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--templates", type=Path, required=True, help="folder of redrock's templates"
    )
    parser.add_argument("--rrdesi", required=True, help="python of redrock's environment")
    parser.add_argument("--data", type=Path, help="folder of real sets")
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--objects", type=int, default=300, help="of each simulated sky")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(HEADER)
    for sky in _skies(options):
        found = [(f"`{path.name}`", _ours(sky, path)) for path in options.weights]
        found.append(("redrock", _redrock(sky, options)))
        for name, one in found:
            print(f"| {sky.name} | {name} | {_cells(sky, one)} |", flush=True)
    return 0


def _skies(options: argparse.Namespace) -> Iterator[Sky]:
    for name, folder in (("built-in library", None), ("redrock's templates", options.templates)):
        out = (
            check_folder(options.out) / f"{'templates' if folder else 'built_in'}_{options.objects}"
        )
        if not (out / "truth.csv").exists():
            source = ModelSky(Population(), folder)
            observing = ObservingOptions(faults=NO_FAULTS)
            survey = SurveyOptions(out, SEED, source, observing, with_resolution=True)
            simulate_survey(survey, options.objects)
        coadds = sorted((out / "tiles").rglob("coadd-*.fits*"))  # beside them are redrock's results
        yield Sky(name, coadds, out / "truth.csv", out)
    for name in REAL if options.data else ():
        folder = options.data / name
        results = check_folder(options.out / name)
        yield Sky(name, sorted(folder.glob("coadd-*.fits*")), folder / "truth.csv", results)


def _redrock(sky: Sky, options: argparse.Namespace) -> Found:
    templates = _templates(options.templates, options.out)
    every, seconds = [], 0.0
    for coadd in sky.coadds:
        folder = check_folder(sky.results / f"{coadd.name}-redrock")
        result, clock = folder / RESULT, folder / SECONDS
        if not clock.exists():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            words = [
                "--infiles",
                _readable(coadd, folder),
                "--templates",
                *templates,
                "--mp",
                1,
                "--outfile",
                result,
            ]
            command = [options.rrdesi, launch_redrock.__file__, *map(str, words)]
            with (folder / "log.txt").open("wb") as log:
                done = subprocess.run(command, stdout=log, stderr=log, check=False)
            if done.returncode:
                raise RedrockError(f"redrock ended with {done.returncode}: see {folder}/log.txt")
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            clock.write_text(json.dumps(used), encoding="utf-8")
        every.append(read_fits(result))
        seconds += json.loads(clock.read_text(encoding="utf-8"))
    target_id, z, spectype = (
        np.concatenate([getattr(fit, name) for fit in every])
        for name in ("target_id", "z", "spectype")
    )
    return Found(target_id, spectype == SpecType.QSO.name, z, seconds)


def _readable(coadd: Path, folder: Path) -> Path:
    """Return a coadd that redrock reads: some of the real ones have lost their EXP_FIBERMAP."""
    with fits.open(coadd) as hdus:
        if "EXP_FIBERMAP" in hdus:
            return coadd
        table = hdus["FIBERMAP"].columns
        n = len(hdus["FIBERMAP"].data)
        more = [
            fits.Column(name, kind, array=np.full(n, value))
            for name, kind, value in (
                *(("COADD_FIBERSTATUS", "J", 0), ("COADD_NUMEXP", "I", 1)),
                ("OBJTYPE", "3A", "TGT"),
            )
            if name not in table.names
        ]
        exposures = fits.BinTableHDU(hdus["FIBERMAP"].data, name="EXP_FIBERMAP")
        hdus["FIBERMAP"] = fits.BinTableHDU.from_columns(
            table + fits.ColDefs(more), name="FIBERMAP"
        )
        hdus.append(exposures)
        hdus.writeto(folder / "coadd.fits", overwrite=True)
    return folder / "coadd.fits"


def _templates(folder: Path, out: Path) -> list[Path]:
    """Return templates that redrock 0.21 reads: galaxies' of early versions lack RRIGM."""
    templates = []
    for path in sorted(folder.glob("rrtemplate-*.fits")):
        if "QSO-None" in path.name:  # an older version of what HIZ and LOZ cover
            continue
        copy = Path(shutil.copy(path, out / path.name))
        if "galaxy" in path.name.lower():
            fits.setval(copy, "RRIGM", value="None", extname="BASIS_VECTORS")
        templates.append(copy)
    return templates


def _ours(sky: Sky, path: Path) -> Found:
    predictor = Predictor(read_weights(path))
    parts, seconds = [], 0.0
    for coadd in sky.coadds:
        # Once more, for the first time pays for starting.
        for _ in range(2):
            began = time.process_time()
            spectra = prepare(read_spectra(coadd), predictor.config.grid)
            block = classify_spectra(spectra, predictor)
            used = time.process_time() - began
        seconds += used
        usable = (spectra.flags & int(UNUSABLE)) == 0
        parts.append((spectra.keys.target_id, block["IS_QSO"] & usable, block["Z_JOINT"]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Found(*columns, seconds)


def _cells(sky: Sky, found: Found) -> str:
    truth = read_truth(sky.truth)
    row = match_truth(found.target_id, truth)
    known = row >= 0
    is_qso = np.zeros(len(row), dtype=bool)
    is_qso[known] = truth.is_qso[row[known]]
    both = found.is_qso & is_qso
    errors = redshift_errors(found.z[both], truth.z[row[both]])
    others = known & ~is_qso
    called = found.is_qso & others
    return (
        f"{known.sum()} | {both.sum()}/{is_qso.sum()} | {called.sum()}/{others.sum()} "
        f"| {both.sum() - errors.right.part} | {errors.nmad * SPEED_OF_LIGHT_KMS:.0f} "
        f"| {found.seconds / len(row):.2g}"
    )


if __name__ == "__main__":
    sys.exit(main())
