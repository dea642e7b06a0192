"""Tables of docs/measurements/desi.md: the quasar catalogue against the truth.

python studies/qsocat_table.py sky FOLDER          a simulated survey with qso_qn files in it
python studies/qsocat_table.py real $DATA          Mg II in real spectra
"""

import csv
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.maskbits import RECIPES
from quasarloop.afterburner.mgii import fit_mgii, is_broad_line
from quasarloop.afterburner.mgii_file import mgii_block
from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.afterburner.quasar_catalogue import write_quasar_catalogue
from quasarloop.afterburner.quasar_inputs import companion, read_redrock_file
from quasarloop.catalogue.classify import read_catalogue
from quasarloop.evaluate.metrics import RIGHT_WITHIN
from quasarloop.read import find_files, read_spectra
from skies import REAL_SETS

# Nearer than this times 1 + z, the fitted line is the one meant: 20 Å at 2800 Å.
_SAME_LINE = 0.007


@dataclass(frozen=True)
class Truth:
    """Classes and redshifts of spectra, by key."""

    kind: dict[object, str]
    z: dict[object, float]


def sky_tables(folder: Path, network_dir: Path) -> None:
    """Print how the recipes do on a simulated survey."""
    redrocks = sorted(folder.rglob("redrock-*.fits"))
    truth = _sky_truth(redrocks)
    counts = Counter(truth.kind.values())
    print(f"{len(truth.kind)} fibres in {len(redrocks)} files: {dict(counts)}\n")
    print(
        f"| recipe | opinions | quasars found, of {counts['QSO']} | redshift right | not quasars |"
    )
    print("|---|---|---:|---:|---:|")
    _line("redrock alone", "", _redrock_alone(redrocks), truth, counts)
    for recipe in RECIPES:
        for mgii in ("none", "fit"):
            for waiting in ("redrock", "network"):
                options = CatalogueOptions(recipe=recipe, waiting=waiting, mgii=mgii)
                rows, n_waiting = _desi_rows(redrocks, network_dir, options)
                opinions = "redrock, network" + (", Mg II" if mgii == "fit" else "")
                opinions += f"; the {n_waiting} that wait: {waiting}'s z"
                _line(f"`{recipe}`", opinions, rows, truth, counts)


def mgii_table(folder: Path) -> None:
    """Print what the Mg II fit finds at redrock's redshifts, by the truth."""
    redrocks = sorted(folder.rglob("redrock-*.fits"))
    truth = _sky_truth(redrocks)
    in_view, found = Counter[str](), Counter[str]()
    for path in redrocks:
        answers = read_redrock_file(path)
        block = mgii_block(companion(path, "coadd-"), answers)
        for row, z in enumerate(answers.fits.z.tolist()):
            kind, true_z = truth.kind[path.name, row], truth.z[path.name, row]
            if kind == "QSO":
                right = abs(z - true_z) < _SAME_LINE * (1 + true_z)
                kind = "QSO, redrock's redshift right" if right else "QSO, redrock's redshift wrong"
            in_view[kind] += int(np.isfinite(block["SIGMA"][row]))
            found[kind] += int(block["IS_QSO_MGII"][row])
    print("| truth | Mg II in view | broad line found |")
    print("|---|---:|---:|")
    for kind, count in sorted(in_view.items()):
        print(f"| {kind} | {count} | {found[kind]} |")


def real_table(data: Path) -> None:
    """Print in how many real quasars Mg II is in view, and found."""
    print("| set | quasars | Mg II in view | broad line |")
    print("|---|---:|---:|---:|")
    for name in REAL_SETS[:8]:
        truth = _real_truth(data / name)
        seen, broad = _real_mgii(data / name, truth)
        if seen:
            quasars = sum(kind == "QSO" for kind in truth.kind.values())
            print(f"| {name} | {quasars} | {seen} | {broad} |", flush=True)


def _real_mgii(folder: Path, truth: Truth) -> tuple[int, int]:
    """Fit Mg II at the true redshifts of the quasars; return how many are in view and found."""
    seen = broad = 0
    for path in find_files([folder]):
        spectra = read_spectra(path, masks=False)
        keys = [(path.name, row) for row in range(len(spectra))]
        z = [truth.z[key] if truth.kind.get(key) == "QSO" else np.nan for key in keys]
        wave = np.concatenate([arm.wave_aa for arm in spectra.arms])
        order = np.argsort(wave, kind="stable")
        flux = np.concatenate([arm.flux for arm in spectra.arms], axis=1)[:, order]
        ivar = np.concatenate([arm.ivar for arm in spectra.arms], axis=1)[:, order]
        fits = fit_mgii(wave[order], flux, ivar, np.array(z))
        seen += int(np.isfinite(fits.sigma_aa).sum())
        broad += int(is_broad_line(fits).sum())
    return seen, broad


def _line(
    recipe: str, opinions: str, z_found: dict[object, float], truth: Truth, counts: Counter[str]
) -> None:
    quasars = [key for key in z_found if truth.kind[key] == "QSO"]
    right = sum(abs(z_found[k] - truth.z[k]) < RIGHT_WITHIN * (1 + truth.z[k]) for k in quasars)
    others = Counter(truth.kind[key] for key in z_found if truth.kind[key] != "QSO")
    text = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items())) or "none"
    share = f"{len(quasars)} ({len(quasars) / counts['QSO']:.1%})"
    print(f"| {recipe} | {opinions} | {share} | {right} ({right / len(quasars):.1%}) | {text} |")


def _redrock_alone(redrocks: list[Path]) -> dict[object, float]:
    found: dict[object, float] = {}
    for path in redrocks:
        rows = fitsio.read(path, "REDSHIFTS")
        quasar = _words(rows["SPECTYPE"]) == "QSO"
        found |= {(path.name, int(i)): float(rows["Z"][i]) for i in np.flatnonzero(quasar)}
    return found


def _desi_rows(
    redrocks: list[Path], network_dir: Path, options: CatalogueOptions
) -> tuple[dict[object, float], int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cat.fits"
        summary = write_quasar_catalogue(redrocks, out, network_dir=network_dir, options=options)
        rows = read_catalogue(out)
    keys = zip(rows["SOURCE"].tolist(), rows["ROW"].tolist(), strict=True)
    return dict(zip(keys, rows["Z"].tolist(), strict=True)), summary.n_waiting


def _sky_truth(redrocks: list[Path]) -> Truth:
    truth = Truth({}, {})
    for path in redrocks:
        rows = fitsio.read(path.with_name(path.name.replace("redrock-", "truth-")))
        for i, kind in enumerate(_words(rows["SPECTYPE"]).tolist()):
            truth.kind[path.name, i] = kind or "UNKNOWN"
            truth.z[path.name, i] = float(rows["Z"][i])
    return truth


def _real_truth(folder: Path) -> Truth:
    truth = Truth({}, {})
    with (folder / "truth.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            key = (row["file"].rsplit("/", 1)[-1], int(row["row"] or 0))
            truth.kind[key] = row["class"] or "unknown"
            truth.z[key] = float(row["z"] or "nan")
    return truth


def _words(values: NDArray[np.generic]) -> NDArray[np.str_]:
    return np.char.strip(values.astype(np.str_))


if __name__ == "__main__":
    what, *where = sys.argv[1:]
    if what == "sky":
        sky_tables(Path(where[0]), Path(where[1]))
    elif what == "mgii":
        mgii_table(Path(where[0]))
    else:
        real_table(Path(where[0]))
