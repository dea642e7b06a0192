r"""Real redrock on a simulated tile: what the afterburner mends and breaks, per policy.

    python studies/afterburner_table.py --out burn --templates $DATA/templates/redrock \
        --rrdesi REDROCK_ENV/bin/rrdesi --quasarnp QUASARNP_CHECKOUT

The tile is simulated, redrock fits all of it with all its templates, then every policy runs
redrock again. With --quasarnp desispec's own desi_qso_qn_afterburner (of the same environment as
rrdesi) does the same tile with the same weights; desispec 0.70's needs a numpy below 2.4, whose
folder may be given before the checkout, with a colon. Finished steps are kept.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.network_step import load_network
from quasarloop.afterburner.reruns import POLICIES, Selection, published_threshold
from quasarloop.afterburner.tiles import AfterburnerOptions, run_tile
from quasarloop.artefacts import check_folder, checksum, write_atomically
from quasarloop.network.weights import default_weights_path
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.survey import SurveyOptions, read_survey_file, simulate_survey

# Faint quasars, where redrock needs help, and enough others to be harmed. The galaxies have
# emission lines because the galaxy template at hand is an early one, made of such galaxies.
SKY: Final = """
[quasars]
weight = 0.6
[quasars.r_mag]
knots = [{bright}, {faint}]
[galaxies]
weight = 0.25
[galaxies.r_mag]
knots = [20.0, 22.8]
[galaxies.passive]
weight = 0.0
redshift = {{knots = [0.1, 0.5]}}
[galaxies.post_starburst]
weight = 0.0
redshift = {{knots = [0.1, 0.5]}}
[stars]
weight = 0.15
[stars.r_mag]
knots = [19.0, 22.5]
[faults]
sky_fibre = 0.04
"""
# Every policy at the pipeline's threshold; the paper's and ours at the paper's as well.
HOW: Final = [*((name, "pipeline") for name in POLICIES), ("paper", "paper"), ("ours", "paper")]
# A redshift is right within this much of 1 + z: 3000 km/s for quasars (redrock follows shifted
# lines), 300 km/s for the others.
_RIGHT: Final = {"QSO": 0.01, "GALAXY": 0.001, "STAR": 0.001}


def main() -> int:
    """Do what is not done yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--templates", type=Path, required=True)
    parser.add_argument("--rrdesi", type=Path, required=True)
    parser.add_argument("--quasarnp", help="checkout; with : also the folder of an older numpy")
    parser.add_argument("--objects", type=int, default=160)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--bright", type=float, default=20.5, help="quasars' r, from …")
    parser.add_argument("--faint", type=float, default=23.2, help="… to")
    parser.add_argument("--step", choices=["tile", "redrock", "policies", "desispec", "all"],
                        default="all", help="stop after this one")  # fmt: skip
    options = parser.parse_args()
    out = check_folder(options.out)
    sky = SKY.format(bright=options.bright, faint=options.faint)
    coadd, truth = simulate(out, sky, options.objects, options.seed)
    templates = copy_templates(options.templates, out / "templates")
    if options.step == "tile":
        return 0
    redrock = fit_all(coadd, out, templates, options.rrdesi)
    if options.step == "redrock":
        return 0
    weights = keep_weights(out)
    outputs = {"redrock alone": (redrock, 0.0)}
    for policy, threshold in HOW:
        made = burn(coadd, redrock, weights, (policy, threshold), templates, options.rrdesi)
        outputs[f"{policy}, {threshold}"] = made
    if options.quasarnp and options.step != "policies":
        python = options.rrdesi.parent / "python"
        made = desispecs(coadd, redrock, weights, templates, python, options.quasarnp)
        outputs["desispec's own, pipeline"] = made
    print(f"Weights {checksum(weights)[:12]}.")
    print(table(truth, redrock, outputs))
    return 0


def simulate(out: Path, sky_toml: str, n: int, seed: int) -> tuple[Path, Path]:
    """Make the tile, or find it made."""
    (out / "sky.toml").write_text(sky_toml)
    population, observing = read_survey_file(out / "sky.toml")
    sky = ModelSky(population)
    plan = SurveyOptions(
        out / "sky",
        seed=seed,
        source=sky,
        observing=observing,
        with_resolution=True,
    )
    simulate_survey(plan, n)
    return next(plan.out.rglob("coadd-*.fits")), plan.out / "truth.fits"


def copy_templates(source: Path, folder: Path) -> Path:
    """Copy templates as redrock 0.21 takes them."""
    if not folder.is_dir():
        folder.mkdir()
        for path in source.glob("rrtemplate-*.fits"):
            if "QSO-None" not in path.name:  # superseded by HIZ and LOZ
                shutil.copyfile(path, folder / path.name)
        with fitsio.FITS(folder / "rrtemplate-galaxy.fits", "rw") as fits:
            # What redrock itself takes for galaxy templates of its version 2.6.
            fits[0].write_key("RRIGM", "Calura12")
    return folder


def fit_all(coadd: Path, out: Path, templates: Path, rrdesi: Path) -> Path:
    """Run redrock on everything, with everything."""
    path = out / coadd.name.replace("coadd", "redrock")
    if not path.exists():
        start = time.monotonic()
        with write_atomically(path) as temporary:
            temporary.unlink()
            command = [rrdesi, "-i", coadd, "-o", temporary, "--mp", "1"]
            call([str(word) for word in command], RR_TEMPLATE_DIR=str(templates))
        print(f"redrock on all: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return path


def keep_weights(out: Path) -> Path:
    """Copy the default weights, so that all rows of the table are made with the same."""
    path = out / "weights.h5"
    if not path.exists():
        shutil.copyfile(default_weights_path(), path)
        for clock in out.glob("*.seconds"):
            clock.unlink()
    return path


def burn(
    coadd: Path, redrock: Path, weights: Path, how: tuple[str, str], templates: Path, rrdesi: Path
) -> tuple[Path, float]:
    """Run one policy; return its output and how long it took."""
    policy, threshold = how
    path = weights.parent / f"qso_qn-{policy}-{threshold}.fits"
    clock = path.with_suffix(".seconds")
    if not clock.exists():
        selection = Selection(published_threshold(threshold))
        # Its Python: redrock 0.21.0 under numpy 2 cannot read priors by itself.
        python = str(rrdesi.parent / "python")
        settings = AfterburnerOptions(
            selection, policy=policy, rrdesi=python, templates=(templates,)
        )
        start = time.monotonic()
        summary = run_tile(coadd, redrock, path, load_network(weights), settings, overwrite=True)
        clock.write_text(str(time.monotonic() - start))
        print(policy, threshold, {k: v for k, v in summary.counts.items() if v}, file=sys.stderr)
    return path, float(clock.read_text())


def desispecs(
    coadd: Path, redrock: Path, weights: Path, templates: Path, python: Path, quasarnp: str
) -> tuple[Path, float]:
    """Run desispec's own script, as the pipeline does."""
    path = weights.parent / "qso_qn-desispec.fits"
    clock = path.with_suffix(".seconds")
    if not clock.exists():
        path.unlink(missing_ok=True)
        script = (
            "import numpy; vars(numpy).setdefault('NaN', numpy.nan); import sys; "
            "from desispec.scripts.qsoqn import main; sys.exit(main(sys.argv[1:]))"
        )
        files = sorted(map(str, templates.glob("rrtemplate-QSO-*.fits")))
        words = ["--coadd", str(coadd), "--redrock", str(redrock), "--output", str(path)]
        words += ["--target_selection", "all", "--save_target", "all", "--templates", *files]
        start = time.monotonic()
        call(
            [str(python), "-c", script, *words],
            QN_MODEL_FILE=str(weights),
            PYTHONPATH=quasarnp,
            RR_TEMPLATE_DIR=str(templates),
        )
        clock.write_text(str(time.monotonic() - start))
    return path, float(clock.read_text())


def call(command: list[str], **environment: str) -> None:
    """Run a program quietly; show its output if it fails."""
    known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def table(truth_file: Path, redrock_file: Path, outputs: dict[str, tuple[Path, float]]) -> str:
    """Return the table, in Markdown."""
    truth = fitsio.read(truth_file)
    first = fitsio.read(redrock_file, ext="REDSHIFTS")
    truth = truth[np.argsort(truth["TARGETID"])]
    order = np.argsort(first["TARGETID"])
    first = first[order]
    true, z_true = words(truth["SPECTYPE"]), truth["Z"]
    old, z_old = words(first["SPECTYPE"]), first["Z"]
    before = right(true, z_true, old, z_old)
    quasar = true == "QSO"
    other = (true == "GALAXY") | (true == "STAR")
    sky = ~quasar & ~other
    lines = [
        f"{quasar.sum()} quasars, {other.sum()} galaxies and stars, {sky.sum()} sky fibres; "
        f"redrock alone: {before[quasar].sum()} quasars and {before[other].sum()} others right.\n",
        "| policy, threshold | rerun | of these quasars, true redshift in a prior | quasars right "
        "| recovered | made wrong | galaxies, stars made quasars | of these right before "
        "| sky fibres rerun | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (path, seconds) in outputs.items():
        if path == redrock_file:
            again, new, z_new = np.zeros(len(old), bool), old, z_old
            held = "–"
        else:
            rows = fitsio.read(path, ext="QN_RR")[order]
            again, new, z_new = answer(rows, old, z_old)
            held = inside(rows, z_true, quasar & again)
        after = right(true, z_true, new, z_new)
        harmed = other & (new == "QSO") & (old != "QSO")
        counts = (
            again.sum(),
            held,
            after[quasar].sum(),
            (quasar & after & ~before).sum(),
            (quasar & before & ~after).sum(),
            harmed.sum(),
            (harmed & before).sum(),
            (sky & again).sum(),
        )
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {seconds:.0f} |")
    return "\n".join(lines)


def answer(
    rows: NDArray[np.void], old: NDArray[np.str_], z_old: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.str_], NDArray[np.float64]]:
    """Return the rows rerun, and class and redshift afterwards, from desispec's columns alone."""
    again = rows["IS_QSO_QN_NEW_RR"].astype(bool)
    return (
        again,
        np.where(again, words(rows["SPECTYPE_NEW"]), old),
        np.where(again, rows["Z_NEW"], z_old),
    )


def inside(rows: NDArray[np.void], z_true: NDArray[np.float64], some: NDArray[np.bool_]) -> str:
    """Return how many of some rows have their true redshift in a prior."""
    if "PRIOR_Z" not in (rows.dtype.names or ()):
        return "–"
    with np.errstate(invalid="ignore"):
        held = np.abs(rows["PRIOR_Z"] - z_true[:, None]) < rows["PRIOR_WIDTH"] / 2
    return f"{(held.any(axis=1) & some).sum()} of {some.sum()}"


def right(
    true: NDArray[np.str_],
    z_true: NDArray[np.float64],
    spectype: NDArray[np.str_],
    z: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return where class and redshift are right."""
    limit = np.array([_RIGHT.get(word, 0.0) for word in true.tolist()])
    with np.errstate(invalid="ignore"):
        return np.asarray((spectype == true) & (np.abs(z - z_true) < limit * (1 + z_true)))


def words(column: NDArray[np.generic]) -> NDArray[np.str_]:
    """Return a text column without blanks."""
    return np.char.strip(column.astype(str))


if __name__ == "__main__":
    sys.exit(main())
