"""Spectra with known truth for several studies: simulated in memory, and sets of real ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.grid import WaveGrid
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import read_truth
from quasarloop.simulate.faults import NO_FAULTS, FaultRates
from quasarloop.simulate.footprint import plan_tiles
from quasarloop.simulate.instrument import desi_instrument
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.noise import RealNoise
from quasarloop.simulate.observing import Observation, ObservingOptions, observe_tile
from quasarloop.simulate.population import Distribution, Population, QuasarPopulation
from quasarloop.spectra import Arm, Keys, RebinnedSpectra, Spectra, concatenate
from quasarloop.truth import match_truth

# Sets of real spectra with a truth.csv each.
REAL_SETS = (
    *("boss_plate7102", "boss_qso_plates", "boss_agn", "sdss_misc", "rm017_repeats"),
    *("lamost_dr1_stars", "desi_tile80693", "desi_healpix9144", "desi_redrock", "desi_andes"),
)
# The weights that shipped until November 2026: they learned from the built-in library alone, no
# templates and nothing real, so skies of templates and real spectra are new to them.
TRUNK = Path(__file__).with_name("built_in_sky_only.h5")
# Flat in redshift: every line in every box, and every confusion that there can be.
FLAT_Z = Distribution(knots=(0.2, 4.7))


@dataclass(frozen=True)
class Sky:
    """Quasars ready for a network: (n, n_bins) flux, (n,) true z and median S/N per pixel."""

    flux: NDArray[np.float32]
    z: NDArray[np.float64]
    sn: NDArray[np.float32]


def observed_tiles(
    source: ModelSky,
    n_objects: int,
    seed: int,
    faults: FaultRates = NO_FAULTS,
    noise: RealNoise | None = None,
) -> Iterator[tuple[Spectra, Observation]]:
    """Simulate objects in memory as DESI sees them: spectra, and what they are of."""
    instrument = desi_instrument()
    for tile in plan_tiles(n_objects):
        light = source(seed, tile.first_object, tile.n_objects, instrument.wave_aa)
        seen = observe_tile(tile, light, seed, instrument, ObservingOptions(faults=faults), noise)
        arms = tuple(
            Arm(m.name, m.wave_aa, seen.coadd[m.name].flux, seen.coadd[m.name].ivar)
            for m in instrument.arms
        )
        n = tile.n_objects
        keys = Keys.make(seen.assignment.sites.target_id)
        yield Spectra(arms, keys, np.zeros(n, np.int32), "simulated", np.arange(n)), seen


def simulated_sky(n_objects: int, seed: int, grid: WaveGrid, *, flat: bool) -> Sky:
    """Simulate quasars only, without faults."""
    quasars = QuasarPopulation(weight=1.0, **({"redshift": FLAT_Z} if flat else {}))
    none = {"weight": 0.0}
    only = Population.model_validate({"quasars": quasars, "galaxies": none, "stars": none})
    parts = [
        (prepare(spectra, grid).flux, seen.light.z, np.nanmedian(seen.sn, axis=1))
        for spectra, seen in observed_tiles(ModelSky(only), n_objects, seed)
    ]
    return Sky(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def real_quasars(folder: Path, grid: WaveGrid) -> Sky:
    """Read a folder of real spectra with its truth.csv: usable quasars of known redshift."""
    spectra: RebinnedSpectra = concatenate(list(iter_inputs(find_inputs([folder]), grid)))
    truth = read_truth(folder / "truth.csv")
    row = match_truth(spectra.keys.target_id, truth)
    usable = (row >= 0) & ((spectra.flags & int(UNUSABLE)) == 0)
    usable[usable] &= truth.is_qso[row[usable]] & np.isfinite(truth.z[row[usable]])
    chosen = np.flatnonzero(usable)
    sn = np.array([np.nanmedian(values) for values in spectra.sn[chosen]], np.float32)
    return Sky(spectra.flux[chosen], truth.z[row[chosen]], sn)
