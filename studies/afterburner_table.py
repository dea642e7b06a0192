r"""Real redrock on three simulated tiles: what the afterburner mends and breaks, per policy.

    python studies/afterburner_table.py --out burn --templates $DATA/templates/redrock \
        --python REDROCK_ENV/bin/python --quasarnp QUASARNP_CHECKOUT

The tiles and redrock's first fits, many of them wrong, are simulated; the reruns are redrock's own.
What takes nearly all of redrock's time, χ² at each redshift without a prior, is the same for all
policies and computed once a tile (redrock's --chi2-scan); every policy is charged for its rows.
With --quasarnp desispec's own desi_qso_qn_afterburner does the same tiles with the same weights.
Finished steps are kept. Which policy is the default follows from a rule fixed before the first run:
`ours` if it has at least as many right redshifts after ZWARN = 0 as `today`, and fewer wrong ones
without a warning; else `today`.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner import launch_redrock
from quasarloop.afterburner.network_step import load_network
from quasarloop.afterburner.redrock_run import later_folder
from quasarloop.afterburner.reruns import Selection, published_threshold
from quasarloop.afterburner.templates import find_quasar_templates
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.artefacts import check_folder, checksum
from quasarloop.network.weights import default_weights_path
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey

# Redrock's first fits are wrong often, so that few fibres give many reruns.
SKY: Final = """
[quasars]
weight = 0.6
[quasars.r_mag]
knots = [{bright}, {faint}]
[galaxies]
weight = 0.25
[galaxies.r_mag]
knots = [20.0, 22.8]
[stars]
weight = 0.15
[stars.r_mag]
knots = [19.0, 22.5]
[faults]
sky_fibre = 0.04
[redrock]
qso_as_galaxy = 0.12
qso_as_star = 0.02
qso_wrong_line = 0.05
"""
# Name -> quasars' r from, to; made of redrock's templates; seed.
TILES: Final = {
    "built-in": (20.5, 23.2, False, 41),
    "templates": (20.5, 23.2, True, 42),
    "built-in, faint": (22.0, 23.6, False, 43),
}
DESISPEC: Final = "desispec 0.70"
POLICIES: Final = ("ours", "today", DESISPEC, "paper")
PIPELINE: Final = Selection(published_threshold("pipeline"))
# A redshift is right within this much of 1 + z: 3000 km/s for quasars (redrock follows shifted
# lines), 300 km/s for the others.
_RIGHT: Final = {"QSO": 0.01, "GALAXY": 0.001, "STAR": 0.001}
_HEADINGS: Final = (
    "tile", "policy", "rerun", "right", "recovered", "made wrong", "wrong, no warning",
    "right, lost by ZWARN = 0", "quasars right after ZWARN = 0", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Files:
    """A tile, and what all its reruns share."""

    folder: Path
    coadd: Path
    redrock: Path
    truth: Path  # its rows are those of redrock's file


def main() -> int:
    """Do what is not done yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--python", required=True, help="of the environment with redrock")
    parser.add_argument("--quasarnp", help="checkout; without it, desispec's own is left out")
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--tiles", nargs="+", choices=list(TILES), default=list(TILES))
    parser.add_argument("--step", choices=["tiles", "all", "table"], default="all")
    given = parser.parse_args()
    out = check_folder(given.out)
    weights = keep_weights(out)
    names = [name for name in POLICIES if name != DESISPEC or given.quasarnp]
    tiles = {name: simulate(out, name, given.objects, given.templates) for name in given.tiles}
    if given.step == "tiles":
        return 0
    qso = [template.path for template in find_quasar_templates([given.templates])]
    lines, sums = [], {name: np.zeros(len(_HEADINGS) - 2) for name in names}
    for tile, files in tiles.items():
        for name in names:
            if given.step == "all":
                run(files, weights, name, qso, given)
            counted = count(files, name)
            sums[name] += counted
            lines.append(row(tile, name, counted))
    lines += [row("all", name, counted) for name, counted in sums.items()]
    print(f"Weights {checksum(weights)[:12]}, {given.objects} fibres a tile.\n")
    print("\n".join([row(*_HEADINGS[:2], _HEADINGS[2:]), "|---|---|" + "---:|" * 8, *lines]))
    return 0


def row(tile: str, name: str, cells: NDArray[np.float64] | tuple[str, ...]) -> str:
    """Return a row of the table, in Markdown."""
    words = (cell if isinstance(cell, str) else f"{cell:,.0f}" for cell in cells)
    return f"| {tile} | {name} | {' | '.join(words)} |"


def simulate(out: Path, name: str, n: int, templates: Path) -> Files:
    """Make a tile, or find it made."""
    bright, faint, of_templates, seed = TILES[name]
    folder = check_folder(out / name.replace(", ", "-"))
    (folder / "sky.toml").write_text(SKY.format(bright=bright, faint=faint))
    population, observing = read_survey_file(folder / "sky.toml")
    plan = SurveyOptions(
        folder / "sky",
        seed=seed,
        source=ModelSky(population, templates if of_templates else None),
        observing=observing,
        with_resolution=True,
    )
    simulate_survey(plan, n)
    coadd, redrock = (next(plan.out.rglob(f"{kind}-*.fits")) for kind in ("coadd", "redrock"))
    return Files(folder, coadd, redrock, plan.out / "truth.fits")


def keep_weights(out: Path) -> Path:
    """Copy the default weights, so that all rows of the table are made with the same."""
    path = out / "weights.h5"
    if not path.exists():
        shutil.copyfile(default_weights_path(), path)
    return path


def output_of(files: Files, name: str) -> Path:
    """Return where a policy's output of a tile is."""
    return files.folder / f"qso_qn-{name.split(maxsplit=1)[0]}.fits"


def scan(files: Files, weights: Path, templates: list[Path], python: str) -> Path:
    """Let redrock compute χ² at each redshift of all rows that any policy reruns, once."""
    path = files.folder / "scan.h5"
    if path.exists():
        return path
    targets: set[str] = set()
    for name in ("ours", "today"):
        later = files.folder / "later" / f"{name}.fits"
        check_folder(later.parent)
        options = AfterburnerOptions(PIPELINE, policy=name, rerun="later", templates=(*templates,))
        run_tile(files.coadd, files.redrock, later, load_network(weights), options, overwrite=True)
        for listed in later_folder(later).glob("targets-*.txt"):
            targets |= set(listed.read_text().split())
    words = [python, launch_redrock.__file__, "--infiles", files.coadd, "--templates", *templates]
    words += ["--targetids", " " + ",".join(sorted(targets)), "--mp", "1", "--details", path]
    seconds = processor_seconds()
    call([str(word) for word in words])
    (files.folder / "scan.seconds").write_text(f"{(processor_seconds() - seconds) / len(targets)}")
    return path


def run(
    files: Files, weights: Path, name: str, templates: list[Path], given: argparse.Namespace
) -> None:
    """Rerun redrock on a tile under one policy, if it is not done; note the processor's seconds."""
    path = output_of(files, name)
    clock = path.with_suffix(".seconds")
    if clock.exists():
        return
    path.unlink(missing_ok=True)
    scanned = scan(files, weights, templates, given.python)
    seconds = processor_seconds()
    if name == DESISPEC:
        desispecs(files, weights, path, templates, scanned, given)
    else:
        python = files.folder / "python-with-scan"
        python.write_text(f'#!/bin/sh\nexec {given.python} "$@" --chi2-scan {scanned}\n')
        python.chmod(0o755)
        options = AfterburnerOptions(
            PIPELINE, policy=name, rrdesi=str(python), templates=(*templates,)
        )
        run_tile(files.coadd, files.redrock, path, load_network(weights), options)
    clock.write_text(str(processor_seconds() - seconds))
    print(files.folder.name, name, clock.read_text(), file=sys.stderr, flush=True)


def processor_seconds() -> float:
    """Return what this process and those it waited for have used."""
    return sum(os.times()[:4])


def desispecs(
    files: Files,
    weights: Path,
    path: Path,
    templates: list[Path],
    scanned: Path,
    given: argparse.Namespace,
) -> None:
    """Run desispec's own script, as the pipeline does."""
    # The first line is for redrock 0.21.0 under numpy 2 (afterburner/launch_redrock.py).
    script = f"""
import numpy; vars(numpy).setdefault("NaN", numpy.nan)
import sys
from desispec.scripts import qsoqn
rrdesi = qsoqn.rrdesi
qsoqn.rrdesi = lambda words, comm=None: rrdesi([*words, "--chi2-scan", {str(scanned)!r}], comm=comm)
sys.exit(qsoqn.main(sys.argv[1:]))
"""
    words = ["--coadd", files.coadd, "--redrock", files.redrock, "--output", path]
    words += ["--target_selection", "all", "--save_target", "all", "--templates", *templates]
    known = {"QN_MODEL_FILE": str(weights), "PYTHONPATH": given.quasarnp}
    known |= {"RR_TEMPLATE_DIR": str(templates[0].parent)}
    call([given.python, "-c", script, *map(str, words)], **known)


def call(command: list[str], **environment: str) -> None:
    """Run a program quietly; show its output if it fails."""
    known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def count(files: Files, name: str) -> NDArray[np.float64]:
    """Return a row's numbers, from columns that desispec writes, too."""
    truth = by_target(fitsio.read(files.truth))
    first = by_target(fitsio.read(files.redrock, ext="REDSHIFTS"))
    rows = by_target(fitsio.read(output_of(files, name), ext="QN_RR"))
    again = rows["IS_QSO_QN_NEW_RR"].astype(bool)
    before = right(truth, words(first["SPECTYPE"]), first["Z"])
    spectype = np.where(again, words(rows["SPECTYPE_NEW"]), words(first["SPECTYPE"]))
    after = right(truth, spectype, np.where(again, rows["Z_NEW"], first["Z"]))
    zwarn = np.where(again, rows["ZWARN_NEW"], first["ZWARN"])
    quasar = words(truth["SPECTYPE"]) == "QSO"
    counts = (
        again,
        again & after,
        again & after & ~before,
        again & before & ~after,
        again & ~after & (zwarn == 0),
        again & after & (zwarn != 0),
        quasar & after & (zwarn == 0),
    )
    own, each = (
        float(path.read_text())
        for path in (
            output_of(files, name).with_suffix(".seconds"),
            files.folder / "scan.seconds",
        )
    )
    priors = rows["PRIOR_Z"] if "PRIOR_Z" in (rows.dtype.names or ()) else again[again]
    scans = np.count_nonzero(np.isfinite(priors))
    return np.array([*(np.count_nonzero(some) for some in counts), own + scans * each])


def by_target(table: NDArray[np.void]) -> NDArray[np.void]:
    """Return a table in the order of its targets."""
    return table[np.argsort(table["TARGETID"])]


def right(
    truth: NDArray[np.void], spectype: NDArray[np.str_], z: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return where class and redshift are right."""
    true = words(truth["SPECTYPE"])
    limit = np.array([_RIGHT.get(word, 0.0) for word in true.tolist()])
    with np.errstate(invalid="ignore"):
        near = np.abs(z - truth["Z"]) < limit * (1 + truth["Z"])
    return np.asarray((spectype == true) & near)


def words(column: NDArray[np.generic]) -> NDArray[np.str_]:
    """Return a text column without blanks."""
    return np.char.strip(column.astype(str))


if __name__ == "__main__":
    sys.exit(main())
