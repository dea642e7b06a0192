"""Spectra as read, and spectra as networks see them.

Frozen types only: nothing here is loaded, changed and plotted in place. Survey
column names (``TARGETID``) belong to readers and writers; here names are whole words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.columns import IDENTITY, STORED, Block, Index, Keys, check_lengths
from quasarloop.errors import DataFormatError
from quasarloop.grid import WaveGrid

__all__ = ["ARM_NAMES", "Arm", "Flag", "Keys", "RebinnedSpectra", "Spectra", "concatenate"]

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

    def __getitem__(self, index: Index) -> "Arm":
        """Return some rows of the arm."""
        mask = None if self.mask is None else self.mask[index]
        return replace(self, flux=self.flux[index], ivar=self.ivar[index], mask=mask)


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

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.keys)

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
    row: NDArray[np.int64] = field(repr=False)

    def __post_init__(self) -> None:
        names = ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags", "keys", "source", "row")
        check_lengths("rebinned spectra", {name: len(getattr(self, name)) for name in names})

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.keys)

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
    keys = Keys(
        **{name: np.concatenate([getattr(p.keys, name) for p in parts]) for name in IDENTITY}
    )
    return RebinnedSpectra(grid=grid, keys=keys, **joined)
