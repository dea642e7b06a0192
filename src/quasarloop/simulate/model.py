"""From objects to noiseless observed spectra: the one entry point of the simulated sky."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.errors import GridError
from quasarloop.simulate import Floats32, Floats64
from quasarloop.simulate.bal import absorb_bal
from quasarloop.simulate.draw import draw_objects
from quasarloop.simulate.forest import absorb_forest
from quasarloop.simulate.galaxies import galaxy_spectra, galaxy_table
from quasarloop.simulate.lattice import Lattice, fine_lattice, resample, shifted_mix
from quasarloop.simulate.objects import Objects
from quasarloop.simulate.observing import Light
from quasarloop.simulate.population import Population
from quasarloop.simulate.quasars import bare_quasars, base_continuum, dust
from quasarloop.simulate.stars import star_spectra
from quasarloop.simulate.templates import (
    TemplateLibrary,
    read_templates,
    template_galaxies,
    template_quasars,
    template_stars,
    template_truth,
)
from quasarloop.truth import SpecType

__all__ = ["R_BAND_AA", "ModelSky", "observed_flux", "scale_to_magnitude"]


# Corners of a trapezoid close to the DECam r band of the DESI Legacy Surveys
# (half-power points near 5650 and 7150 Å). Source: Flaugher et al. 2015 (AJ 150, 150).
R_BAND_AA: Final = (5500.0, 5800.0, 7000.0, 7300.0)
# f_ν of AB magnitude 0, erg/s/cm²/Hz. Source: Oke & Gunn 1983 (ApJ 266, 713).
_AB_ZERO: Final = 3.631e-20
_AA_S_OF_KMS: Final = 1e13
# Unit of the spectra. Source: DESI and SDSS data models.
_FLUX_UNIT: Final = 1e-17
# A band flux below this part of the spectrum's own mean is not scaled up further. Quasars beyond
# z = 5.7 have r - z of 3 mag and more (Fan et al. 2006, AJ 131, 1203): no light in r is no reason
# to make them brighter still.
_FAINTEST_PART: Final = 0.05
# Rows handled at once: their spectra stay in the cache.
_BLOCK_ROWS: Final = 64
# Where the host's share of a quasar's light is given, Å rest.
_HOST_AA: Final = 5100.0


def observed_flux(
    objects: Objects, wave_aa: ArrayLike, library: TemplateLibrary | None = None
) -> Floats32:
    """Return noiseless observed spectra of infinite resolution.

    Args:
        objects: (n) rows.
        wave_aa: (n_pix,) increasing vacuum wavelengths, Å. Pixels of the lattice
            (`lattice.fine_lattice`) need no interpolation.
        library: templates to make them of; None is the built-in library.

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


def scale_to_magnitude(flux: Floats32, lattice: Lattice, r_mag: ArrayLike) -> None:
    """Scale spectra in place so that each has its AB magnitude in the r band.

    Args:
        flux: (n, n_pix) any units of f_λ.
        lattice: its wavelengths; must cover the r band.
        r_mag: (n,) AB magnitudes.
    """
    weight = _band_weight(lattice)
    # Row by row, not as a matrix product, whose rounding may depend on the number of rows.
    mean = np.einsum("ij,j->i", flux, weight)
    # A spectrum with no light in r (a quasar beyond z = 5 behind thick forest) stays finite.
    mean = np.maximum(mean, _FAINTEST_PART * flux.mean(axis=1))
    pivot_aa = 0.5 * (R_BAND_AA[1] + R_BAND_AA[2])
    per_aa = _AB_ZERO * SPEED_OF_LIGHT_KMS * _AA_S_OF_KMS / pivot_aa**2 / _FLUX_UNIT
    band_flux = per_aa * 10.0 ** (-0.4 * np.asarray(r_mag, dtype=np.float64))
    scale = np.divide(band_flux, mean, out=np.zeros_like(band_flux), where=mean > 0)
    flux *= scale.astype(np.float32)[:, None]


@lru_cache(maxsize=8)
def _band_weight(lattice: Lattice) -> Floats32:
    """Photon-counting weights with Σ weight = 1, (n_pix,)."""
    wave = lattice.wave_aa
    response = np.interp(wave, R_BAND_AA, (0.0, 1.0, 1.0, 0.0)) * wave**2  # λ dλ on a log lattice
    return np.asarray(response / response.sum(), dtype=np.float32)


def _spectra_of(
    spectype: SpecType, objects: Objects, lattice: Lattice, library: TemplateLibrary | None
) -> Floats32:
    if spectype == SpecType.QSO:
        return _quasars(objects, lattice, library)
    is_star = spectype == SpecType.STAR
    if library is None:
        return (star_spectra if is_star else galaxy_spectra)(objects, lattice)
    return (template_stars if is_star else template_galaxies)(objects, library, lattice)


def _quasars(objects: Objects, lattice: Lattice, library: TemplateLibrary | None) -> Floats32:
    spectra = bare_quasars(objects, lattice)
    if library is not None:
        spectra = template_quasars(spectra, objects, library, lattice)
    spectra *= dust(objects, lattice)
    absorb_bal(spectra, lattice, objects.z, objects.quasar.bal)
    if library is None:  # the low-redshift templates contain their hosts
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
    def library(self) -> TemplateLibrary | None:
        """The templates all objects are made of, loaded once per worker."""
        return None if self.templates is None else read_templates(self.templates)

    def __call__(self, seed: int, first: int, n: int, wave_aa: Floats64) -> Light:
        """Return the light of objects first … first + n − 1; each depends on its number alone."""
        objects = draw_objects(self.population, n, np.random.SeedSequence(seed), first)
        quasar = objects.spectype == SpecType.QSO
        bal = np.where(quasar, np.isin(objects.subtype, ("BAL", "LoBAL")), -1)
        return Light(
            flux=observed_flux(objects, wave_aa, self.library),
            spectype=objects.spectype,
            z=objects.z,
            bal=bal.astype(np.int8),
            # Templates do not follow every property of the objects drawn.
            hidden=_hidden(template_truth(objects, self.library).columns()),
        )

    def options(self) -> dict[str, Any]:
        """Return population and templates, for the manifest."""
        return {
            "population": self.population.model_dump(mode="json"),
            "templates": None if self.templates is None else self.templates.name,
        }


def _hidden(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    kept = {}
    for name, values in columns.items():
        if name not in {"spectype", "z"}:  # in the labels already
            # FITS has no unsigned 64-bit integers; seeds are below 2⁶³.
            wide = values.astype(np.int64) if values.dtype == np.uint64 else values
            kept[f"OBJECT_{name.upper()}" if name == "index" else name.upper()] = wide
    return kept
