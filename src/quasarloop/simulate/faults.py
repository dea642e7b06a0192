"""Faults of spectra, at stated rates, each case written into the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from quasarloop.simulate import Floats32, Rng
from quasarloop.simulate.instrument import ArmModel, Instrument, sky_continuum
from quasarloop.simulate.noise import NoisyArm
from quasarloop.spectra import ARM_NAMES

__all__ = [
    "NO_FAULTS",
    "Fault",
    "FaultRates",
    "Faults",
    "disturb_arm",
    "disturb_light",
    "draw_faults",
]


# Bit ALLBADPIX of desispec's specmask, and BADAMPB … BADAMPZ of its fibermask.
_ALL_BAD: Final = 1 << 1
_MOST_HITS: Final = 8  # unmasked cosmic-ray hits in one spectrum; our choice
_BAD_AMP: Final = {"b": 1 << 22, "r": 1 << 23, "z": 1 << 24}


class Fault(IntFlag):
    """One bit per kind of fault, as in the truth's column FAULTS."""

    MASKED_ARM = 1
    CORRUPTED_THIRD = 2
    COSMIC_RAYS = 4
    SKY_RESIDUALS = 8
    ARM_STEP = 16
    VERY_HIGH_SN = 32
    BLEND = 64
    SKY_FIBRE = 128


class FaultRates(BaseModel, frozen=True, extra="forbid"):
    """Share of fibres with each fault (section ``[faults]`` of a population file).

    The defaults are our choice, near what the survey papers report: a few per cent of fibres
    touched, one in a thousand ruined; the corrupted third follows the paper's Section 4.2
    (2 spectra in 2000 queried).
    """

    masked_arm: float = Field(0.01, ge=0, le=1)
    corrupted_third: float = Field(0.001, ge=0, le=1)
    cosmic_rays: float = Field(0.02, ge=0, le=1)
    sky_residuals: float = Field(0.05, ge=0, le=1)
    arm_step: float = Field(0.02, ge=0, le=1)
    very_high_sn: float = Field(0.002, ge=0, le=1)
    blend: float = Field(0.005, ge=0, le=1)
    sky_fibre: float = Field(0.01, ge=0, le=1)


NO_FAULTS: Final = FaultRates(**dict.fromkeys(FaultRates.model_fields, 0.0))


@dataclass(frozen=True)
class Faults:
    """The faults of a tile, (n,) each.

    Attributes:
        flags: int32 of `Fault`.
        arm: int8 number of the arm masked or stepped, -1 none.
        step: float32 factor on that arm, 1 none.
        corrupted_from: float32 where the corrupted third starts, part of the range, NaN none.
        corrupted_level: float32 level of the corruption over the spectrum's own, 0 none.
        cosmic_hits: int16 number of unmasked hits.
        sky_residual: float32 share of the sky lines left in (or taken too much), 0 none.
        boost: float32 factor on the flux, 1 none.
        blend_with: int16 row of the second object, -1 none.
        blend_share: float32 the second object's share of the light, 0 none.
    """

    flags: NDArray[np.int32]
    arm: NDArray[np.int8]
    step: Floats32
    corrupted_from: Floats32
    corrupted_level: Floats32
    cosmic_hits: NDArray[np.int16]
    sky_residual: Floats32
    boost: Floats32
    blend_with: NDArray[np.int16]
    blend_share: Floats32

    def __getitem__(self, index: slice) -> "Faults":
        """Return some rows."""
        return Faults(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def has(self, fault: Fault) -> NDArray[np.bool_]:
        """(n,) True where that fault is."""
        return np.asarray((self.flags & fault) != 0)

    def fiberstatus(self) -> NDArray[np.int32]:
        """(n,) bits of desispec's fibermask: a masked arm is a bad amplifier."""
        bits = np.array([_BAD_AMP[name] for name in ARM_NAMES], dtype=np.int32)
        return np.where(self.has(Fault.MASKED_ARM), bits[self.arm], 0).astype(np.int32)


def draw_faults(rng: Rng, n: int, rates: FaultRates, n_arms: int = len(ARM_NAMES)) -> Faults:
    """Draw the faults of n fibres; kinds are independent, except that sky fibres have no object.

    Args:
        rng: generator used for this only.
        n: number of fibres, always the full tile, so that a row depends on its number alone.
        rates: share of fibres with each kind.
        n_arms: arms of the instrument.
    """
    chance = dict(zip(FaultRates.model_fields, rng.random((len(Fault), n)), strict=True))
    hit = {name: chance[name] < getattr(rates, name) for name in chance}
    hit["blend"][:1] = False  # row 0 has no neighbour before it
    for name in ("very_high_sn", "blend"):
        hit[name] &= ~hit["sky_fibre"]
    # A masked arm cannot show a step as well.
    hit["arm_step"] &= ~hit["masked_arm"]
    u = rng.random((8, n))
    arm = np.where(hit["masked_arm"] | hit["arm_step"], (u[0] * n_arms).astype(np.int8), -1)
    sign = np.where(u[1] < 0.5, -1.0, 1.0)  # noqa: PLR2004 -- a fair coin
    flags = np.zeros(n, dtype=np.int32)
    for fault, name in zip(Fault, FaultRates.model_fields, strict=True):
        flags[hit[name]] |= fault
    columns: Mapping[str, NDArray[Any]] = {
        "step": np.where(hit["arm_step"], 1 + sign * (0.1 + 0.3 * u[2]), 1),
        "corrupted_from": np.where(hit["corrupted_third"], u[3] * 2 / 3, np.nan),
        "corrupted_level": np.where(hit["corrupted_third"], sign * 10 ** (2.5 + 2 * u[4]), 0),
        "sky_residual": np.where(hit["sky_residuals"], sign * (0.02 + 0.08 * u[5]), 0),
        "boost": np.where(hit["very_high_sn"], 10 ** (1.2 + 0.8 * u[6]), 1),
        "blend_share": np.where(hit["blend"], 0.2 + 0.4 * u[7], 0),
    }
    return Faults(
        flags=flags,
        arm=arm.astype(np.int8),
        cosmic_hits=np.where(hit["cosmic_rays"], 1 + _MOST_HITS * u[4], 0).astype(np.int16),
        blend_with=np.where(hit["blend"], np.arange(n) - 1, -1).astype(np.int16),
        **{name: values.astype(np.float32) for name, values in columns.items()},
    )


def disturb_light(flux: Floats32, faults: Faults) -> Floats32:
    """Apply, before any noise, the faults of the light itself: blends, boosts, sky fibres.

    Args:
        flux: (n, n_pix) noiseless; changed in place and returned.
        faults: of the same rows.
    """
    rows = np.flatnonzero(faults.has(Fault.BLEND))
    if len(rows):
        second = flux[faults.blend_with[rows]]
        own = flux[rows]
        share = faults.blend_share[rows, None]
        scale = _level(own) / np.maximum(_level(second), 1e-6)  # (n_rows, 1)
        # Sides by side: the sum keeps the first object's level; `share` is the second's part.
        flux[rows] = (1 - share) * own + share * scale * second
    flux[faults.has(Fault.SKY_FIBRE)] = 0
    bright = faults.has(Fault.VERY_HIGH_SN)
    flux[bright] *= faults.boost[bright, None]
    return flux


def disturb_arm(
    arm: NoisyArm,
    model: ArmModel,
    instrument: Instrument,
    faults: Faults,
    rng: Rng,
    *,
    cosmic_rays: bool,
) -> NoisyArm:
    """Apply, after the noise, the faults of spectrograph and reduction.

    Args:
        arm: one exposure of one arm; its arrays are changed in place.
        model: the arm.
        instrument: it belongs to.
        faults: of the same rows.
        rng: generator used for this arm and exposure only.
        cosmic_rays: add the unmasked hits (they strike one exposure only).
    """
    position = [one.name for one in instrument.arms].index(model.name)
    sky_rng, cosmic_rng = rng.spawn(2)
    _leave_sky(arm, model, instrument, faults, sky_rng)
    if cosmic_rays:
        _strike(arm, position, len(instrument.arms), faults, cosmic_rng)
    _corrupt(arm, model, instrument, faults)
    stepped = faults.has(Fault.ARM_STEP) & (faults.arm == position)
    arm.flux[stepped] *= faults.step[stepped, None]
    arm.ivar[stepped] /= np.square(faults.step[stepped, None])
    masked = faults.has(Fault.MASKED_ARM) & (faults.arm == position)
    arm.flux[masked], arm.ivar[masked], arm.mask[masked] = 0, 0, _ALL_BAD
    return arm


def _level(flux: Floats32) -> Floats32:
    return np.median(np.abs(flux), axis=1, keepdims=True)


def _leave_sky(
    arm: NoisyArm, model: ArmModel, instrument: Instrument, faults: Faults, rng: Rng
) -> None:
    rows = np.flatnonzero(faults.has(Fault.SKY_RESIDUALS))
    wobble = 0.3 * rng.standard_normal(len(faults.flags))
    if not len(rows):
        return
    telescope = instrument.telescope
    continuum = sky_continuum(model.wave_aa) * telescope.fibre_arcsec2 / telescope.acceptance
    lines = (model.sky - continuum).astype(np.float32)
    # A shift of the wavelength solution leaves each line's derivative behind as well.
    slope = np.gradient(lines).astype(np.float32)
    share = faults.sky_residual[rows, None]
    residual = share * lines + share * wobble[rows, None].astype(np.float32) * slope
    residual[arm.ivar[rows] <= 0] = 0
    arm.flux[rows] += residual


def _strike(arm: NoisyArm, position: int, n_arms: int, faults: Faults, rng: Rng) -> None:
    n = len(faults.flags)
    place, size = rng.random((n, 2, _MOST_HITS)).transpose(1, 0, 2)  # (n, hits) each
    n_pix = arm.flux.shape[1]
    hit = np.arange(_MOST_HITS)
    hits = hit < faults.cosmic_hits[:, None]
    hits &= (np.arange(n)[:, None] + hit) % n_arms == position  # they fall on the arms in turn
    row, number = np.nonzero(hits)
    pixel = (place[row, number] * (n_pix - 1)).astype(np.int64)
    noise = 1 / np.sqrt(np.where(arm.ivar[row, pixel] > 0, arm.ivar[row, pixel], np.inf))
    height = (noise * 10 ** (1.3 + 1.2 * size[row, number])).astype(np.float32)
    np.add.at(arm.flux, (row, pixel), height)
    np.add.at(arm.flux, (row, pixel + 1), 0.4 * height * (arm.ivar[row, pixel + 1] > 0))


def _corrupt(arm: NoisyArm, model: ArmModel, instrument: Instrument, faults: Faults) -> None:
    rows = np.flatnonzero(faults.has(Fault.CORRUPTED_THIRD))
    place = np.linspace(0, 1, len(instrument.wave_aa))[model.pixels]
    for row in rows:
        start = faults.corrupted_from[row]
        where = (place >= start) & (place < start + 1 / 3) & (arm.ivar[row] > 0)
        spread = 1 / np.sqrt(np.median(arm.ivar[row])) if np.median(arm.ivar[row]) > 0 else 1.0
        ripple = 1 + 0.3 * np.sin(120 * place[where])
        arm.flux[row, where] += (faults.corrupted_level[row] * spread * ripple).astype(np.float32)
