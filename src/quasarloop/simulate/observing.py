"""One tile observed: faults in the light, exposures with independent noise, their coadd."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.simulate import Floats32, Floats64, Rng
from quasarloop.simulate.faults import (
    Fault,
    FaultRates,
    Faults,
    disturb_arm,
    disturb_light,
    draw_faults,
)
from quasarloop.simulate.footprint import PETAL_FIBRES, Assignment, Tile, sites, stream
from quasarloop.simulate.instrument import Instrument
from quasarloop.simulate.noise import (
    Conditions,
    NoisyArm,
    RealNoise,
    blur,
    draw_conditions,
    observe,
)
from quasarloop.truth import SpecType

__all__ = [
    "Exposure",
    "Light",
    "LightSource",
    "Observation",
    "ObservingOptions",
    "RedrockMistakes",
    "coadd_arm",
    "coadd_exposures",
    "observe_tile",
]


@dataclass(frozen=True)
class Exposure:
    """One exposure of a set of objects.

    Attributes:
        arms: arm name -> flux, ivar, mask.
        conditions: seeing, sky, calibration.
    """

    arms: dict[str, NoisyArm]
    conditions: Conditions


def coadd_exposures(exposures: Sequence[Exposure]) -> dict[str, NoisyArm]:
    """Coadd every arm over the exposures."""
    return {
        name: coadd_arm([exposure.arms[name] for exposure in exposures])
        for name in exposures[0].arms
    }


def coadd_arm(parts: Sequence[NoisyArm]) -> NoisyArm:
    """Average exposures weighted by inverse variance.

    A pixel masked in all exposures has flux 0, ivar 0 and its mask bits; one masked in only
    some is as good as what is left and has mask 0 (redrock ignores every pixel with a mask bit).

    Args:
        parts: exposures of the same rows and pixels.

    Returns:
        One row per object; the input itself where there is but one exposure.
    """
    if len(parts) == 1:
        return parts[0]
    ivar = np.add.reduce([part.ivar for part in parts])
    flux = np.add.reduce([part.flux * part.ivar for part in parts])
    np.divide(flux, ivar, out=flux, where=ivar > 0)
    mask: NDArray[np.int32] = np.bitwise_or.reduce([part.mask for part in parts])
    mask[ivar > 0] = 0
    return NoisyArm(flux, ivar, mask)


# Purposes of random streams; a number never changes meaning, or old seeds would.
_SITES, _FAULTS, _CONDITIONS, _ARMS, _DISTURB, _REAL_NOISE, _IMAGING = range(1, 8)
# Photometric bands as plain ranges, Å: enough for a FIBERMAP's fluxes. Our choice.
_BANDS_AA: Final = {"G": (4000.0, 5500.0), "R": (5650.0, 7150.0), "Z": (8400.0, 9800.0)}
_IMAGING_ERROR: Final = 0.03
# f_λ of AB magnitude 22.5, 1e-17 erg/s/cm²/Å, times λ² in Å²: 3.631e-29 erg/s/cm²/Hz × c.
_NANOMAGGIE: Final = 3.631e-29 * (SPEED_OF_LIGHT_KMS * 1e13) / 1e-17
# Every eighth pixel is enough for a median S/N.
_SN_STEP: Final = 8


@dataclass(frozen=True)
class Light:
    """Light of the objects of a tile, and their truth.

    Attributes:
        flux: (n, n_pix) float32 noiseless, 1e-17 erg/s/cm²/Å, on the instrument's pixels.
        spectype: (n,) int8 of `SpecType`.
        z: (n,) float64.
        bal: (n,) int8: 1 BAL quasar, 0 quasar without, -1 not a quasar.
        hidden: every other property, (n,) each, by column name.
    """

    flux: Floats32
    spectype: NDArray[np.int8]
    z: Floats64
    bal: NDArray[np.int8]
    hidden: dict[str, NDArray[Any]]


class LightSource(Protocol):
    """Makes the light of objects number first … first + n − 1."""

    def __call__(self, seed: int, first: int, n: int, wave_aa: Floats64) -> Light:
        """Return the light of n objects at those wavelengths."""

    def options(self) -> dict[str, Any]:
        """Return what the light depends on, JSON values, for the manifest."""


class RedrockMistakes(BaseModel, frozen=True, extra="forbid"):
    """How often the imitated redrock is wrong (section ``[redrock]`` of a population file).

    Rates hold at a median S/N of 2 per pixel and above; they triple towards S/N 0. Defaults are
    our choice, near Chaussidon et al. 2023, ApJ 944, 107: redrock alone misses up to a tenth of
    the quasars, most of them called galaxies, and gives about one in a hundred a wrong redshift.
    """

    qso_as_galaxy: float = Field(0.06, ge=0, le=1)
    qso_as_star: float = Field(0.01, ge=0, le=1)
    qso_wrong_line: float = Field(0.02, ge=0, le=1)
    galaxy_wrong_z: float = Field(0.02, ge=0, le=1)
    galaxy_as_qso: float = Field(0.01, ge=0, le=1)
    star_as_qso: float = Field(0.01, ge=0, le=1)


class ObservingOptions(BaseModel, frozen=True, extra="forbid"):
    """How the survey observes (sections ``[observing]``, ``[faults]``, ``[redrock]``).

    Attributes:
        depth: exposure time over the nominal one (DESI: 1000 s).
        exposures: how often each object is observed.
        faults: share of fibres with each fault.
        redrock: how often the imitated redrock is wrong.
    """

    depth: float = Field(1.0, gt=0, le=1000)
    exposures: int = Field(1, ge=1, le=99)
    faults: FaultRates = FaultRates()
    redrock: RedrockMistakes = RedrockMistakes()


@dataclass(frozen=True)
class Observation:
    """One tile observed.

    Attributes:
        assignment: targets of the fibres.
        light: of the objects, faults in the light included.
        faults: of each row.
        exposures: one or more.
        coadd: arm name -> the coadd of the exposures.
        sn: (n, n_arms) median S/N per pixel of the coadd, NaN where masked.
    """

    assignment: Assignment
    light: Light
    faults: Faults
    exposures: list[Exposure]
    coadd: dict[str, NoisyArm]
    sn: Floats32


def observe_tile(
    tile: Tile,
    light: Light,
    seed: int,
    instrument: Instrument,
    observing: ObservingOptions,
    real_noise: RealNoise | None = None,
) -> Observation:
    """Observe a tile: faults in the light, exposures with independent noise, coadd.

    Args:
        tile: the tile.
        light: of its objects; the flux is changed in place.
        seed: root of all random numbers of the survey.
        instrument: the spectrograph.
        observing: depth, exposures, faults.
        real_noise: real inverse variances to use in place of the instrument's own noise.
    """
    rng = partial(stream, seed, tile)
    every = draw_faults(rng(_FAULTS), PETAL_FIBRES, observing.faults, len(instrument.arms))
    faults = every[: tile.n_objects]
    flux = disturb_light(light.flux, faults)
    blurred = {arm.name: blur(flux[:, arm.pixels], arm.sigma_pixels) for arm in instrument.arms}
    background = {}
    if real_noise is not None:
        # One fibre per object, the same in all its arms and exposures.
        draws = rng(_REAL_NOISE).random(PETAL_FIBRES)[: tile.n_objects]
        for name, ivar in real_noise.ivar.items():
            background[name] = ivar[(draws * len(ivar)).astype(np.int64)]
    exposures = []
    for number in range(observing.exposures):
        conditions = draw_conditions(
            rng(_CONDITIONS, number), tile.n_objects, len(instrument.arms), observing.depth
        )
        arms = _expose(number, rng, instrument, conditions, blurred, background, faults=faults)
        exposures.append(Exposure(arms, conditions))
    coadd = coadd_exposures(exposures)
    sky = faults.has(Fault.SKY_FIBRE)
    assignment = Assignment(
        tile=tile,
        sites=sites(seed, tile, _SITES),
        is_sky=sky,
        fiberstatus=faults.fiberstatus(),
        band_flux=_imaging(rng(_IMAGING), flux, instrument),
    )
    # A sky fibre has no class, no redshift, no BAL flag.
    seen = replace(
        light,
        spectype=np.where(sky, SpecType.UNKNOWN, light.spectype).astype(np.int8),
        z=np.where(sky, np.nan, light.z),
        bal=np.where(sky, -1, light.bal).astype(np.int8),
    )
    return Observation(assignment, seen, faults, exposures, coadd, _median_sn(coadd))


def _expose(
    number: int,
    rng: Callable[..., Rng],
    instrument: Instrument,
    conditions: Conditions,
    blurred: Mapping[str, Floats32],
    background: Mapping[str, Floats32],
    *,
    faults: Faults,
) -> dict[str, NoisyArm]:
    arms = {}
    for position, model in enumerate(instrument.arms):
        true = blurred[model.name] * conditions.calibration[:, position, None]
        real = background.get(model.name)
        if real is not None:
            real = real * np.float32(conditions.time)
        arm = observe(model, true, conditions, rng(_ARMS, number, position), real)
        disturb_rng = rng(_DISTURB, number, position)
        # A hit strikes one exposure only.
        arms[model.name] = disturb_arm(
            arm, model, instrument, faults, disturb_rng, cosmic_rays=number == 0
        )
    return arms


def _imaging(rng: Rng, flux: Floats32, instrument: Instrument) -> dict[str, Floats32]:
    error = 1 + _IMAGING_ERROR * rng.standard_normal((len(flux), len(_BANDS_AA)))
    result = {}
    for column, (band, (low, high)) in enumerate(_BANDS_AA.items()):
        inside = slice(*np.searchsorted(instrument.wave_aa, (low, high)))
        weight = instrument.wave_aa[inside] ** 2 / _NANOMAGGIE
        per_pixel = (weight / len(weight)).astype(np.float32)
        result[band] = ((flux[:, inside] @ per_pixel) * error[:, column]).astype(np.float32)
    return result


def _median_sn(coadd: Mapping[str, NoisyArm]) -> Floats32:
    columns = []
    for arm in coadd.values():
        values = arm.flux[:, ::_SN_STEP] * np.sqrt(arm.ivar[:, ::_SN_STEP])
        masked = ~(arm.ivar > 0).any(axis=1)
        columns.append(np.where(masked, np.nan, np.median(values, axis=1)))
    return np.stack(columns, axis=1).astype(np.float32)
