"""From objects to noiseless observed spectra: the one entry point of the simulated sky."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.errors import GridError
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.forest import absorb_forest
from quasarloop.simulate.galaxies import galaxy_spectra, galaxy_table
from quasarloop.simulate.iron import base_continuum
from quasarloop.simulate.lattice import Lattice, fine_lattice, resample, shifted_mix
from quasarloop.simulate.magnitudes import R_BAND_AA, scale_to_magnitude
from quasarloop.simulate.objects import Objects
from quasarloop.simulate.observing import Light
from quasarloop.simulate.population import Population
from quasarloop.simulate.quasars import absorb_broad, bare_quasars, dust
from quasarloop.simulate.stars import star_spectra
from quasarloop.simulate.template_spectra import (
    template_galaxies,
    template_quasars,
    template_stars,
    template_truth,
)
from quasarloop.simulate.templates import Library, TemplateLibrary
from quasarloop.truth import SpecType

__all__ = ["ModelSky", "known_truth", "observed_flux"]

Floats32 = NDArray[np.float32]

# Rows handled at once: their spectra stay in the cache.
_BLOCK_ROWS: Final = 64
# Where the host's share of a quasar's light is given, Å rest.
_HOST_AA: Final = 5100.0


def observed_flux(objects: Objects, wave_aa: ArrayLike, library: Library = "builtin") -> Floats32:
    """Return noiseless observed spectra of infinite resolution.

    Args:
        objects: (n) rows.
        wave_aa: (n_pix,) increasing vacuum wavelengths, Å. Pixels of the lattice
            (`lattice.fine_lattice`) need no interpolation.
        library: ``"builtin"`` or a `templates.TemplateLibrary`.

    Returns:
        (n, n_pix) float32 flux density, 1e-17 erg/s/cm²/Å, of the objects' r magnitudes (AB).

    Raises:
        GridError: wavelengths that do not increase or are not positive.
    """
    wave = np.asarray(wave_aa, dtype=np.float64)
    if wave.ndim != 1 or len(wave) < 1 or wave[0] <= 0 or np.any(np.diff(wave) <= 0):
        raise GridError("wave_aa must be one row of positive, increasing wavelengths in Å")
    lattice = fine_lattice(min(wave[0], R_BAND_AA[0]), max(wave[-1], R_BAND_AA[-1]))
    flux = np.empty((len(objects), len(wave)), dtype=np.float32)
    for spectype in (SpecType.QSO, SpecType.GALAXY, SpecType.STAR):
        rows = np.flatnonzero(objects.spectype == spectype)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            some = objects[block]
            spectra = _spectra_of(spectype, some, lattice, library)
            scale_to_magnitude(spectra, lattice, some.r_mag)
            flux[block] = resample(spectra, lattice, wave)
    return flux


def known_truth(objects: Objects, library: Library = "builtin") -> Objects:
    """Return the objects as a library makes them: what a truth table may say of its spectra.

    Args:
        objects: (n) rows as drawn.
        library: the one their spectra are made with.
    """
    return template_truth(objects, library) if isinstance(library, TemplateLibrary) else objects


def _spectra_of(
    spectype: SpecType, objects: Objects, lattice: Lattice, library: Library
) -> Floats32:
    if spectype == SpecType.QSO:
        return _quasars(objects, lattice, library)
    if isinstance(library, TemplateLibrary):
        make = template_stars if spectype == SpecType.STAR else template_galaxies
        return make(objects, library, lattice)
    return (star_spectra if spectype == SpecType.STAR else galaxy_spectra)(objects, lattice)


def _quasars(objects: Objects, lattice: Lattice, library: Library) -> Floats32:
    spectra = bare_quasars(objects, lattice)
    if isinstance(library, TemplateLibrary):
        spectra = template_quasars(spectra, objects, library, lattice)
    spectra *= dust(objects, lattice)
    absorb_broad(spectra, objects, lattice)
    if library == "builtin":  # the low-redshift templates contain their hosts
        _add_host(spectra, objects, lattice)
    absorb_forest(spectra, objects, lattice)
    return spectra


def _add_host(spectra: Floats32, objects: Objects, lattice: Lattice) -> None:
    """Add the starlight around nuclei, in place."""
    share = objects.quasar.host_fraction
    rows = np.flatnonzero(share > 0.01)  # noqa: PLR2004 -- less than a percent is not seen
    if len(rows) == 0:
        return
    young = objects.quasar.host_young[rows]
    # Of the young light a quarter is from hot stars, the rest from A stars. Source: Vanden Berk et
    # al. 2006 (AJ 131, 84): hosts of intermediate age.
    light = np.stack([1.0 - young, 0.75 * young, 0.25 * young], axis=1).astype(np.float32)
    host = shifted_mix(galaxy_table(), objects.z[rows], light, lattice)
    # Relative to the nucleus' power law at 5100 Å, before dust.
    level = share[rows] / (1.0 - share[rows]) * np.float32(base_continuum(_HOST_AA))
    spectra[rows] += level[:, None] * host


# Told by the labels already, or of no use outside the program.
_LEFT_OUT: Final = ("spectype", "z")
_BAL_SUBTYPES: Final = ("BAL", "LoBAL")


@dataclass(frozen=True)
class ModelSky:
    """Draws objects and makes their spectra.

    Attributes:
        population: what is on the sky.
        templates: folder of redrock templates; None is the built-in library.
    """

    population: Population
    templates: Path | None = None

    @cached_property
    def library(self) -> Any:
        """The spectra all objects are made of, loaded once per worker."""
        if self.templates is None:
            return "builtin"
        from quasarloop.simulate.templates import read_templates  # noqa: PLC0415

        return read_templates(self.templates)

    def __call__(self, seed: int, first: int, n: int, wave_aa: NDArray[np.float64]) -> Light:
        """Return the light of objects first … first + n − 1; each depends on its number alone."""
        objects = draw_objects(self.population, n, np.random.SeedSequence(seed), first)
        quasar = objects.spectype == SpecType.QSO
        bal = np.where(quasar, np.isin(objects.subtype, _BAL_SUBTYPES), -1)
        return Light(
            flux=observed_flux(objects, wave_aa, self.library),
            spectype=objects.spectype,
            z=objects.z,
            bal=bal.astype(np.int8),
            # Templates do not follow every property of the objects drawn.
            hidden=_hidden(known_truth(objects, self.library).columns()),
        )

    def recipe(self) -> dict[str, Any]:
        """Return what the light depends on, for the manifest."""
        return {
            "population": self.population.model_dump(mode="json"),
            "templates": None if self.templates is None else self.templates.name,
        }


def _hidden(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    kept = {}
    for name, values in columns.items():
        if name not in _LEFT_OUT:
            # FITS has no unsigned 64-bit integers; seeds are below 2⁶³.
            wide = values.astype(np.int64) if values.dtype == np.uint64 else values
            kept[f"OBJECT_{name.upper()}" if name == "index" else name.upper()] = wide
    return kept
