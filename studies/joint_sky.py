"""Skies with known redshifts for `studies/joint_table.py`: simulated quasars, real sets."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.grid import WaveGrid
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import read_truth
from quasarloop.simulate.faults import FaultRates
from quasarloop.simulate.instrument import desi_instrument
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import Observing, Setup, observe_tile
from quasarloop.simulate.plan import plan_tiles
from quasarloop.simulate.population import Distribution, Population, QuasarPopulation
from quasarloop.spectra import Arm, Keys, RebinnedSpectra, Spectra, concatenate
from quasarloop.truth import match_truth

# Flat in redshift: every line in every box, and every confusion that there can be.
FLAT_Z = Distribution(knots=(0.2, 4.7))


@dataclass(frozen=True)
class Sky:
    """Quasars ready for a network: (n, n_bins) flux, (n,) true z and median S/N per pixel."""

    flux: NDArray[np.float32]
    z: NDArray[np.float64]
    sn: NDArray[np.float32]


def simulated_sky(n_objects: int, seed: int, grid: WaveGrid, *, flat: bool) -> Sky:
    """Simulate quasars only, without faults, in memory, as DESI sees them."""
    quasars = QuasarPopulation(weight=1.0, **({"redshift": FLAT_Z} if flat else {}))
    none = {"weight": 0.0}
    who = Population.model_validate({"quasars": quasars, "galaxies": none, "stars": none})
    faults = FaultRates(**dict.fromkeys(FaultRates.model_fields, 0.0))
    source, instrument = ModelSky(who), desi_instrument()
    setup = Setup(seed, instrument, Observing(faults=faults))
    parts = []
    for tile in plan_tiles(n_objects):
        light = source(seed, tile.first_object, tile.n_objects, instrument.wave_aa)
        seen = observe_tile(tile, light, setup)
        arms = tuple(
            Arm(m.name, m.wave_aa, seen.coadd[m.name].flux, seen.coadd[m.name].ivar)
            for m in instrument.arms
        )
        n = tile.n_objects
        keys = Keys.make(seen.assignment.sites.target_id)
        spectra = Spectra(arms, keys, np.zeros(n, np.int32), "simulated", np.arange(n))
        parts.append((prepare(spectra, grid).flux, seen.light.z, np.nanmedian(seen.sn, axis=1)))
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
