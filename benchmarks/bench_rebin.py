"""Rebinning and ingesting: spectra per second, and memory.

The reference is QuasarNP's own ``rebin``, ``renormalize`` and ``load_desi_coadd`` where
QUASARNP_DIR names a checkout of desihub/QuasarNP (or one is installed), else the same
arithmetic in numpy, below. Both sides get the same pixels on one thread, in turn.
"""

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fitsio
import numpy as np
from threadpoolctl import threadpool_limits

from quasarloop.grid import LINEAR_GRID, LOG_GRID, WaveGrid, normalise, rebin
from quasarloop.quality import prepare
from quasarloop.read import read_spectra
from quasarloop.store import ingest

_TARGET = 9
_PETAL = 500  # fibres of one DESI petal: the rows of a coadd
_WAVES = {
    "B": np.round(3600 + 0.8 * np.arange(2751), 1),
    "R": np.round(5760 + 0.8 * np.arange(2326), 1),
    "Z": np.round(7520 + 0.8 * np.arange(2881), 1),
}
Arms = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def run(quick: bool) -> list[dict[str, Any]]:
    n_rows, repeats = (100, 5) if quick else (_PETAL, 15)
    arms = _pixels(n_rows)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        rows = [_rebinning(grid, arms, repeats) for grid in (LOG_GRID, LINEAR_GRID)]
        coadd = _write_coadd(Path(folder) / "coadd.fits", arms)
        rows += [_reading(coadd, n_rows, repeats), _ingesting(coadd, n_rows, repeats)]
        rows += _memory(Path(folder), quick)
    return rows


def _rebinning(grid: WaveGrid, arms: Arms, repeats: int) -> dict[str, Any]:
    def ours() -> np.ndarray:
        binned = rebin(arms, grid)
        return normalise(binned.flux, binned.ivar).flux

    theirs, said_by = _reference_rebin(grid, arms)
    difference = np.abs(ours() - theirs()).max()
    row = _in_turn(ours, theirs, len(arms[0][1]), repeats)
    return {
        "name": f"rebin and normalise, {grid.kind} grid",
        **row,
        "target": _TARGET,
        "reference": f"{said_by} (largest difference {difference:.1e})",
    }


def _reading(coadd: Path, n_rows: int, repeats: int) -> dict[str, Any]:
    theirs, said_by = _reference_load(coadd)

    def ours() -> object:
        return prepare(read_spectra(coadd, masks=False), LOG_GRID)  # as `ingest` and `classify`

    row = _in_turn(ours, theirs, n_rows, repeats)
    return {"name": "read a DESI coadd, rebin, flag", **row, "reference": said_by}


def _ingesting(coadd: Path, n_rows: int, repeats: int) -> dict[str, Any]:
    theirs, said_by = _reference_load(coadd)
    number = iter(range(1000))

    def ours() -> object:
        return ingest([coadd], coadd.parent / f"store{next(number)}")

    row = _in_turn(ours, theirs, n_rows, repeats)
    return {"name": "ingest a DESI coadd into a store", **row, "reference": f"{said_by}, no store"}


def _in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], n_rows: int, repeats: int
) -> dict[str, float]:
    """Spectra per second of both, best of several taken in turn."""
    ours(), theirs()
    times = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    best = [min(t[i] for t in times) for i in (0, 1)]
    return {
        "ours_per_s": n_rows / best[0],
        "reference_per_s": n_rows / best[1],
        "ratio": best[1] / best[0],
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.process_time()  # what others do on the machine must not count
    call()
    return time.process_time() - start


def _pixels(n_rows: int) -> Arms:
    """DESI-like pixels: a sloping continuum, noise, a few masked pixels."""
    rng = np.random.default_rng(0)
    level = rng.lognormal(0.5, 1, (n_rows, 1))
    slope = rng.normal(0, 1, (n_rows, 1))
    arms: Arms = []
    for wave in _WAVES.values():
        ivar = rng.gamma(4, 1, (n_rows, len(wave))) * (rng.random((n_rows, len(wave))) > 0.01)
        flux = level * (wave / 6000) ** slope + rng.normal(0, 0.5, ivar.shape)
        arms.append((wave, flux.astype(np.float32), ivar.astype(np.float32)))
    return arms


def _write_coadd(path: Path, arms: Arms, first_id: int = 1) -> Path:
    path.unlink(missing_ok=True)
    ids = np.arange(first_id, first_id + len(arms[0][1]), dtype=np.int64)
    with fitsio.FITS(str(path), "rw") as file:
        file.write(None)
        file.write({"TARGETID": ids}, extname="FIBERMAP")
        for name, (wave, flux, ivar) in zip(_WAVES, arms, strict=True):
            file.write(wave, extname=f"{name}_WAVELENGTH")
            file.write(flux, extname=f"{name}_FLUX")
            file.write(ivar, extname=f"{name}_IVAR")
            file.write(np.zeros(flux.shape, np.int32), extname=f"{name}_MASK")
    return path


def _quasarnp(name: str) -> ModuleType | None:
    checkout = os.environ.get("QUASARNP_DIR")
    if checkout:
        sys.path.insert(0, checkout)
    try:
        return importlib.import_module(f"quasarnp.{name}")
    except ImportError as exc:
        if checkout:
            print(f"QuasarNP in QUASARNP_DIR={checkout}: {exc}", file=sys.stderr)
        return None
    finally:
        if checkout:
            sys.path.remove(checkout)


def _reference_rebin(grid: WaveGrid, arms: Arms) -> tuple[Callable[[], np.ndarray], str]:
    utils = _quasarnp("utils")
    one = _plain_rebin if utils is None else utils.rebin
    last = _plain_normalise if utils is None else utils.renormalize
    edges = grid.lower_edges_aa
    if utils is not None:  # its own grids, rounded as it rounds them
        edges = utils.wave if grid.kind == "log" else utils.linear_wave

    def call() -> np.ndarray:
        flux, ivar = np.zeros((2, len(arms[0][1]), grid.n_bins))
        for wave, arm_flux, arm_ivar in arms:
            found = one(arm_flux, arm_ivar, wave, edges if utils is not None else grid)
            flux += found[0]
            ivar += found[1]
        filled = ivar != 0
        flux[filled] /= ivar[filled]
        return last(flux, ivar)

    return call, "numpy, as QuasarNP" if utils is None else "QuasarNP"


def _reference_load(coadd: Path) -> tuple[Callable[[], object], str]:
    io = _quasarnp("io")
    if io is not None:
        return lambda: io.load_desi_coadd(str(coadd)), "QuasarNP"

    def call() -> object:
        with fitsio.FITS(str(coadd)) as file:
            arms = [
                tuple(file[f"{a}_{what}"].read() for what in ("WAVELENGTH", "FLUX", "IVAR"))
                for a in _WAVES
            ]
        return _reference_rebin(LOG_GRID, arms)[0]()

    return call, "numpy, as QuasarNP"


def _plain_rebin(
    flux: np.ndarray, ivar: np.ndarray, wave: np.ndarray, grid: WaveGrid
) -> tuple[np.ndarray, np.ndarray]:
    bins = grid.bin_of(wave)
    inside = (bins >= 0) & (bins < grid.n_bins)
    weighted, weight = (flux * ivar)[:, inside], ivar[:, inside]
    found = np.zeros((2, len(flux), grid.n_bins))
    for row in range(len(flux)):
        found[0, row] = np.bincount(bins[inside], weighted[row], minlength=grid.n_bins)
        found[1, row] = np.bincount(bins[inside], weight[row], minlength=grid.n_bins)
    return found[0], found[1]


def _plain_normalise(flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    mean = np.average(flux, axis=1, weights=ivar)[:, None]
    rms = np.sqrt(np.average((flux - mean) ** 2, axis=1, weights=ivar))[:, None]
    return (flux - mean) / rms


def _memory(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Peak memory of ingesting many files, and one long file, each in a process of its own."""
    # The smaller number, too, fills packs of a store: 4,096 spectra wait to be written together.
    small, large = 10_000, 20_000 if quick else 100_000
    many = {n: _peak_mib(folder, n // _PETAL, _PETAL) for n in (small, large)}
    long = {n: _peak_mib(folder, 1, n) for n in (small, 20_000)}
    return [_memory_row("many files", many), _memory_row("one file", long)]


def _memory_row(what: str, peaks: dict[int, float]) -> dict[str, Any]:
    (small, low), (large, high) = peaks.items()
    return {
        "name": f"ingest, peak memory, {large:,} spectra against {small:,}, {what}",
        "ratio": low / high,
        "target": 0.95,
        "reference": f"{low:.0f} MiB, then {high:.0f} MiB; flat is 1",
        "peak_mib": {str(n): peak for n, peak in peaks.items()},
    }


def _peak_mib(folder: Path, n_files: int, n_rows: int) -> float:
    # A tenth of DESI's pixels, so that the files fit on a small disk; memory is per pixel.
    arms = [(w[::10], f[:, ::10], i[:, ::10]) for w, f, i in _pixels(min(n_rows, _PETAL))]
    more = -(-n_rows // _PETAL)
    arms = [(w, np.tile(f, (more, 1))[:n_rows], np.tile(i, (more, 1))[:n_rows]) for w, f, i in arms]
    with tempfile.TemporaryDirectory(dir=folder) as own:
        for number in range(n_files):
            _write_coadd(Path(own) / f"coadd-{number}.fits", arms, 1 + number * n_rows)
        command = [sys.executable, "-m", "benchmarks.bench_rebin", "--peak-of-ingesting", own]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _ingest_and_print_peak(folder: Path) -> None:
    ingest(sorted(folder.glob("coadd-*.fits")), folder / "store")
    print(_own_peak_mib())


def _own_peak_mib() -> float:
    # Linux hands the parent's ru_maxrss down through exec; VmHWM is this process's own.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    rows = run(quick="--quick" in sys.argv)
    print(json.dumps(rows, indent=1))
    for row in rows:
        print(f"{row['name']}: ratio {row['ratio']:.2f} ({row['reference']})", file=sys.stderr)


if __name__ == "__main__":
    if "--peak-of-ingesting" in sys.argv:
        _ingest_and_print_peak(Path(sys.argv[-1]))
    else:
        main()
