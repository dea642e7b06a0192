"""Footprint of a simulated survey: tiles, petals, fibres, TARGETIDs, positions.

A tile file holds 500 objects, one DESI petal. Everything here follows from the seed and
the tile's number alone, so any tile can be made anywhere, in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import QuasarloopError
from quasarloop.simulate import Floats32, Floats64, Rng

__all__ = [
    "PETAL_FIBRES",
    "Assignment",
    "Sites",
    "Tile",
    "plan_tiles",
    "sites",
    "stream",
    "target_ids",
]

PETAL_FIBRES: Final = 500  # DESI: ten petals of 500 fibres
_PETALS: Final = 10
_FIRST_TILE: Final = 100_000  # our choice: above every tile of the real survey
_FIRST_NIGHT: Final = np.datetime64("2030-01-01")  # our choice: after the real survey
_TILE_RADIUS_DEG: Final = 1.6
# Source: desitarget.targetmask, encode_targetid: OBJID 22 bits, BRICKID 20, RELEASE 16, MOCK 1.
_OBJID_BITS: Final = 22
_BRICKID_BITS: Final = 20
_RELEASE_BITS: Final = 16
_MOCK_BIT: Final = 58
_GOLDEN_DEG: Final = 180 * (3 - 5**0.5)


@dataclass(frozen=True)
class Tile:
    """One file's worth of objects.

    Attributes:
        index: number of the file within the survey, from 0.
        n_objects: fibres used, at most `PETAL_FIBRES`.
    """

    index: int
    n_objects: int

    @property
    def first_object(self) -> int:
        """Number, within the survey, of the object in row 0."""
        return self.index * PETAL_FIBRES

    @property
    def tile_id(self) -> int:
        """TILEID: ten petals share one."""
        return _FIRST_TILE + self.index // _PETALS

    @property
    def petal(self) -> int:
        """PETAL_LOC, 0–9."""
        return self.index % _PETALS

    @property
    def night(self) -> int:
        """NIGHT as YYYYMMDD."""
        date = _FIRST_NIGHT + np.timedelta64(self.index // _PETALS % 365, "D")
        return int(str(date).replace("-", ""))

    @property
    def mjd(self) -> float:
        """Modified Julian date of the first exposure."""
        days = _FIRST_NIGHT - np.datetime64("1858-11-17")
        return float(days / np.timedelta64(1, "D")) + self.index // _PETALS % 365 + 0.3

    @property
    def name(self) -> str:
        """DESI's stem of file names, e.g. ``"0-100000-thru20300101"``."""
        return f"{self.petal}-{self.tile_id}-thru{self.night}"


@dataclass(frozen=True)
class Sites:
    """Targets and positions of the fibres of a tile, (n,) each.

    Attributes:
        target_id: int64 TARGETID.
        fiber: FIBER number, 0–4999.
        ra_deg, dec_deg: ICRS, degrees.
        ebv: Galactic reddening, mag.
        x_mm, y_mm: focal-plane position, mm.
    """

    target_id: NDArray[np.int64]
    fiber: NDArray[np.int32]
    ra_deg: Floats64
    dec_deg: Floats64
    ebv: Floats32
    x_mm: Floats32
    y_mm: Floats32


@dataclass(frozen=True)
class Assignment:
    """Targets of the fibres of a tile.

    Attributes:
        tile: the tile.
        sites: positions of the fibres, (n,) columns.
        is_sky: (n,) True for sky fibres.
        fiberstatus: (n,) int32 bits of desispec's fibermask.
        band_flux: band (``"G"``, ``"R"``, ``"Z"``) -> (n,) nanomaggies as imaging measured them.
    """

    tile: Tile
    sites: Sites
    is_sky: NDArray[np.bool_]
    fiberstatus: NDArray[np.int32]
    band_flux: Mapping[str, Floats32]


def plan_tiles(n_objects: int) -> list[Tile]:
    """Cut a survey into tile files.

    Raises:
        QuasarloopError: no objects, or more than TARGETIDs can number.

    >>> [tile.n_objects for tile in plan_tiles(1200)]
    [500, 500, 200]
    """
    most = PETAL_FIBRES << _BRICKID_BITS
    if not 0 < n_objects <= most:
        raise QuasarloopError(f"{n_objects} objects requested; give 1 to {most}")
    n_tiles = -(-n_objects // PETAL_FIBRES)
    return [
        Tile(index, min(PETAL_FIBRES, n_objects - index * PETAL_FIBRES)) for index in range(n_tiles)
    ]


def target_ids(seed: int, tile: Tile) -> NDArray[np.int64]:
    """Return DESI TARGETIDs: mock bit set, the seed as RELEASE, the tile as BRICKID.

    Two surveys with different seeds (modulo 65536) share no TARGETID.
    """
    release = seed % (1 << _RELEASE_BITS)
    base = (1 << _MOCK_BIT) | (release << (_OBJID_BITS + _BRICKID_BITS))
    base |= tile.index << _OBJID_BITS
    return base + np.arange(tile.n_objects, dtype=np.int64)


def stream(seed: int, tile: Tile, purpose: int, *more: int) -> Rng:
    """Return the generator of one purpose in one tile, independent of all others."""
    sequence = np.random.SeedSequence(seed, spawn_key=(tile.index, purpose, *more))
    return np.random.Generator(np.random.SFC64(sequence))


def sites(seed: int, tile: Tile, purpose: int) -> Sites:
    """Place the fibres of a tile on the sky and in the focal plane."""
    rng = stream(seed, tile, purpose)
    # Drawn for all fibres, used or not: an object's place depends on its number alone.
    radius, angle, dust = rng.random((3, PETAL_FIBRES))[:, : tile.n_objects]
    off = _TILE_RADIUS_DEG * np.sqrt(radius)
    phi = 2 * np.pi * (tile.petal + angle) / _PETALS
    pointing = tile.index // _PETALS
    # A golden-angle spiral keeps tile centres apart; dec from -15 to 75 degrees.
    dec_0 = np.degrees(np.arcsin(-0.26 + 1.22 * ((pointing * 0.618034) % 1.0)))
    dec = dec_0 + off * np.sin(phi)
    ra = (pointing * _GOLDEN_DEG + off * np.cos(phi) / np.cos(np.radians(dec))) % 360
    row = np.arange(tile.n_objects, dtype=np.int32)
    return Sites(
        target_id=target_ids(seed, tile),
        fiber=(tile.petal * PETAL_FIBRES + row).astype(np.int32),
        ra_deg=ra,
        dec_deg=dec,
        ebv=(0.01 - 0.03 * np.log(1 - dust)).astype(np.float32),
        x_mm=(400 / _TILE_RADIUS_DEG * off * np.cos(phi)).astype(np.float32),
        y_mm=(400 / _TILE_RADIUS_DEG * off * np.sin(phi)).astype(np.float32),
    )
