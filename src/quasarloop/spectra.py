"""Spectra as read, and spectra as networks see them.

Frozen types only: nothing here is loaded, changed and plotted in place. Survey
column names (``TARGETID``) belong to readers and writers; here names are whole words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.arrays import MEMORY, content_ids, keys_from_arrays, plain_arrays
from quasarloop.columns import STORED, Block, Index, Keys, check_lengths
from quasarloop.errors import DataFormatError
from quasarloop.grid import WaveGrid

__all__ = [
    "ARM_NAMES",
    "Arm",
    "Flag",
    "Keys",
    "RebinnedSpectra",
    "Spectra",
    "clean_pixels",
    "concatenate",
    "duplicate_keys",
    "identity_flags",
    "join_arms",
]

# Spectrograph arms, blue to red (DESI names). Source: paper, Section 1.
ARM_NAMES: Final = ("b", "r", "z")


class Flag(IntFlag):
    """Why a spectrum may be unfit; rows are kept and counted, each step names what it refuses."""

    NO_DATA = 1  # no pixel with ivar > 0 on the grid
    ARM_B_MASKED = 2  # blue arm absent, off the grid, flat, or without a usable pixel
    ARM_R_MASKED = 4
    ARM_Z_MASKED = 8
    LOW_COVERAGE = 16  # fewer than half of the bins have data
    NAN_FLUX = 32  # NaN or infinite pixels were set to flux 0, ivar 0
    NEGATIVE_IVAR = 64  # negative ivar was set to 0
    CONSTANT_FLUX = 128  # no variation at all: nothing to normalise by
    CORRUPTED = 256  # processing failed: jumps, or a part of the grid implausible
    NOT_TARGET = 512  # sky fibre or anything but a science target
    DUPLICATE_ROW = 1024  # an earlier row has the same identity and exposure
    BAD_TARGETID = 2048  # TARGETID 0 or negative (sky, stuck fibres, unknown)
    OUTLIER_PIXELS = 4096  # impossible pixels, given ivar 0 where they are mended
    ESTIMATED_IVAR = 8192  # no uncertainties given: estimated from neighbouring pixels
    GAPS = 16384  # a hole inside an arm that a broad line fits into
    ARM_STEP = 32768  # two arms disagree where they overlap


def clean_pixels(
    flux: NDArray[np.floating], ivar: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Set flux and ivar to 0 where either is unusable, and flag it.

    Args:
        flux: (n, n_pix), any float type and byte order.
        ivar: (n, n_pix).

    Returns:
        Native float32 flux and ivar, the arrays given where they are that and clean; and (n,)
        int32 flags (`NAN_FLUX`, `NEGATIVE_IVAR`).

    Source: our choice; QuasarNP does not.
    """
    flux32, ivar32 = (np.asarray(a, dtype=np.float32) for a in (flux, ivar))
    flags = np.zeros(len(flux32), dtype=np.int32)
    # One pass each is enough to see that all is well: any NaN or inf is in the sum.
    with np.errstate(over="ignore", invalid="ignore"):
        fine = np.isfinite(flux32.sum()) and np.isfinite(ivar32.sum())
        if fine and ivar32.min(initial=0.0) >= 0:
            return flux32, ivar32, flags
    flux32, ivar32 = flux32.copy(), ivar32.copy()
    finite = np.isfinite(flux32)
    finite &= np.isfinite(ivar32)
    flags[~finite.all(axis=1)] |= Flag.NAN_FLUX
    flux32[~finite] = 0.0
    ivar32[~finite] = 0.0
    negative = ivar32 < 0
    flags[negative.any(axis=1)] |= Flag.NEGATIVE_IVAR
    ivar32[negative] = 0.0
    return flux32, ivar32, flags


def duplicate_keys(keys: Keys) -> NDArray[np.bool_]:
    """Mark rows whose target and exposure keys an earlier row already has.

    Unknown and sky ids (0 or negative) repeat by nature and are never marked.
    """
    repeated = np.zeros(len(keys), dtype=bool)
    if len(keys) == 1 or len(np.unique(keys.target_id)) == len(keys):
        return repeated
    identity = np.stack(
        [keys.target_id, keys.tile_id, keys.healpix, keys.night, keys.exposure_id, keys.fiber]
    )
    order = np.lexsort(identity)
    ordered = identity[:, order]
    repeated[order[1:]] = np.all(ordered[:, 1:] == ordered[:, :-1], axis=0)
    return np.asarray(repeated & (keys.target_id > 0))


def identity_flags(keys: Keys) -> NDArray[np.int32]:
    """Return (n,) flags of identities: `BAD_TARGETID` and `DUPLICATE_ROW`."""
    flags = np.where(keys.target_id <= 0, Flag.BAD_TARGETID, 0).astype(np.int32)
    flags[duplicate_keys(keys)] |= Flag.DUPLICATE_ROW
    return flags


@dataclass(frozen=True)
class Arm:
    """One spectrograph arm, or one coadded range, on one wavelength grid.

    Attributes:
        name: ``"b"``, ``"r"``, ``"z"``, or ``"brz"`` for a survey's coadd over arms.
        wave_aa: (n_pix,) vacuum wavelengths, Å, increasing.
        flux: (n, n_pix) float32, survey units (DESI, SDSS: 1e-17 erg/s/cm²/Å).
        ivar: (n, n_pix) float32 inverse variance, >= 0.
        mask: (n, n_pix) survey's pixel mask, kept to be shown, never applied by itself:
            surveys set ivar to 0 where they mean it (and_mask alone would lose 7 % of SDSS pixels).
    """

    name: str
    wave_aa: NDArray[np.float64]
    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]
    mask: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.uint32] | None = None

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        wave = self.wave_aa
        return f"Arm({self.name}: {len(wave)} pixels, {wave[0]:.0f} to {wave[-1]:.0f} Å)"

    def __getitem__(self, index: Index) -> "Arm":
        """Return some rows of the arm."""
        mask = None if self.mask is None else self.mask[index]
        return replace(self, flux=self.flux[index], ivar=self.ivar[index], mask=mask)


def join_arms(arms: Sequence[Arm]) -> Arm:
    """Return the rows of arms of one name and on the same wavelengths, in order; no masks.

    One alone is returned as it is.
    """
    if len(arms) == 1:
        return arms[0]
    flux, ivar = (np.concatenate([getattr(arm, n) for arm in arms]) for n in ("flux", "ivar"))
    return replace(arms[0], flux=flux, ivar=ivar, mask=None)


@dataclass(frozen=True)
class Spectra:
    """Spectra of one file (or part of it), as observed, cleaned of NaN.

    Attributes:
        arms: one or several; all with the same number of rows.
        keys: identity of each.
        flags: (n,) int32 of `Flag` bits known to the reader.
        source: path of the file, as given.
        row: (n,) int64 row in that file.
    """

    arms: tuple[Arm, ...]
    keys: Keys
    flags: NDArray[np.int32]
    source: str
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {"keys": len(self.keys), "flags": len(self.flags), "row": len(self.row)}
        lengths |= {f"arm {arm.name}": len(arm.flux) for arm in self.arms}
        check_lengths(f"spectra of {self.source}", lengths)

    @classmethod
    def from_arrays(
        cls,
        wave_aa: Any,
        flux: Any,
        ivar: Any = None,
        *,
        uncertainty: Any = None,
        mask: Any = None,
        target_id: Any = None,
        air: bool = False,
        source: str = MEMORY,
        arm: str = "brz",
        **known: Any,
    ) -> "Spectra":
        """Make spectra of arrays in memory; plain ones or astropy Quantities, masked or not.

        Args:
            wave_aa: (n_pix,) wavelengths, Å or with a unit; increasing or decreasing.
            flux: (n, n_pix), or (n_pix,) for one spectrum: per Å, or with a unit.
            ivar: as `flux`, its inverse variance; 0 leaves a pixel out.
            uncertainty: in place of `ivar`: standard deviation of `flux`; 0 leaves a pixel out.
            mask: as `flux`, True leaves a pixel out.
            target_id: (n,) identifiers, positive; None makes them from wavelengths and flux, so
                that the same spectrum always has the same one.
            air: the wavelengths are those in air.
            source: for messages, and for column SOURCE.
            arm: name of the arm (`Arm`).
            known: (n,) of any other field of `Keys`, e.g. ``ra_deg``.

        Returns:
            Cleaned spectra. Where neither `ivar` nor `uncertainty` is given, the noise is estimated
            from neighbouring pixels, and rows are flagged `Flag.ESTIMATED_IVAR`.

        Raises:
            DataFormatError: shapes that do not fit together, wavelengths that are none, a unit
                that is no flux density, or an identity that is none.

        Examples:
            >>> spectra = Spectra.from_arrays([4000.0, 4001.0], [[1.0, 2.0]], [[1.0, 1.0]])
            >>> len(spectra), spectra.flags.tolist()
            (1, [0])
        """
        plain = plain_arrays(wave_aa, flux, ivar, uncertainty, mask, source, air=air)
        clean_flux, clean_ivar, flags = clean_pixels(plain.flux, plain.ivar)
        ids = content_ids(plain.wave_aa, clean_flux)
        keys = keys_from_arrays(ids, {"target_id": target_id} | known, source)
        flags |= identity_flags(keys)
        flags |= Flag.ESTIMATED_IVAR if plain.is_estimated else 0
        only = Arm(arm, plain.wave_aa, clean_flux, clean_ivar)
        return cls((only,), keys, flags, source, np.arange(len(keys), dtype=np.int64))

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.keys)

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        arms, flagged = ", ".join(map(repr, self.arms)), np.count_nonzero(self.flags)
        return f"Spectra({len(self)} of {self.source}, {flagged} flagged; {arms})"

    def __getitem__(self, index: Index) -> "Spectra":
        """Return some rows."""
        return replace(
            self,
            arms=tuple(arm[index] for arm in self.arms),
            keys=self.keys[index],
            flags=self.flags[index],
            row=self.row[index],
        )


@dataclass(frozen=True)
class RebinnedSpectra:
    """Spectra on a network's grid: what is stored, voted on, mapped and trained with.

    Attributes:
        grid: the bins.
        flux: (n, n_bins) float32, normalised (mean 0, rms 1 by ivar).
        ivar: (n, n_bins) float32, inverse variance of `flux` (so in units of 1/rms²).
        mean_flux, rms_flux: (n,) float64, what normalising removed, survey units.
        sn: (n, 3) float32 median S/N per pixel of arms b, r, z; NaN where masked.
        flags: (n,) int32 of `Flag`.
        keys: identity of each.
        source: (n,) path of the file each came from.
        row: (n,) int64 row in that file.
    """

    grid: WaveGrid
    flux: NDArray[np.float32]
    ivar: NDArray[np.float32]
    mean_flux: NDArray[np.float64]
    rms_flux: NDArray[np.float64]
    sn: NDArray[np.float32]
    flags: NDArray[np.int32]
    keys: Keys
    source: NDArray[np.str_]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        names = ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags", "keys", "source", "row")
        check_lengths("rebinned spectra", {name: len(getattr(self, name)) for name in names})

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.keys)

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        flagged = np.count_nonzero(self.flags)
        return f"RebinnedSpectra({len(self)}, {flagged} flagged; {self.grid.describe()})"

    def __getitem__(self, index: Index) -> "RebinnedSpectra":
        """Return some rows."""
        rows = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "grid"}
        return RebinnedSpectra(grid=self.grid, **rows)

    def columns(self) -> Block:
        """Return the `columns.STORED` columns: survey name -> (n,) array."""
        columns = self.keys.columns()
        columns |= {f"SN_{arm.upper()}": self.sn[:, i] for i, arm in enumerate(ARM_NAMES)}
        rest = (column.name for column in STORED if column.name not in columns)
        return columns | {name: getattr(self, name.lower()) for name in rest}


def concatenate(parts: Sequence[RebinnedSpectra]) -> RebinnedSpectra:
    """Join rebinned spectra of one grid, in order.

    Raises:
        DataFormatError: nothing to join, or different grids.
    """
    if not parts:
        raise DataFormatError("no spectra to join; expected at least one part")
    grid = parts[0].grid
    for part in parts:
        if not grid.matches(part.grid):
            raise DataFormatError(
                f"cannot join spectra on a {part.grid.describe()} to a {grid.describe()}; "
                "ingest all files on one grid"
            )
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (f.name for f in fields(RebinnedSpectra) if f.name not in ("grid", "keys"))
    }
    return RebinnedSpectra(grid=grid, keys=Keys.join([part.keys for part in parts]), **joined)
