"""One object's spectrum at full resolution: found, read, and packed for the browser."""

import base64
import json
import logging
import math
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop import store as stored
from quasarloop.errors import DataFormatError, InspectionError
from quasarloop.inspect.object_facts import object_facts
from quasarloop.quality import flag_names
from quasarloop.read import find_files, find_format, read_spectra
from quasarloop.read.exposures import read_exposure
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Arm, RebinnedSpectra, Spectra

__all__ = [
    "MASKED",
    "Shown",
    "SpectrumCache",
    "SpectrumFiles",
    "coadd_arms",
    "encode",
    "open_spectra",
    "spectrum_payload",
]

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What the page shows of one object.

    Attributes:
        spectra: one row.
        notice: what the inspector must know about it, ``""`` if nothing.
    """

    spectra: Spectra
    notice: str = ""


@dataclass(frozen=True)
class SpectrumFiles:
    """Where spectra may be.

    Attributes:
        files: spectrum files by name, for worklists whose paths have moved.
        stores: stores of rebinned spectra, to fall back on.
        folder: where relative paths of the worklist start.
    """

    files: Mapping[str, Path]
    stores: "Sequence[stored.Store]"
    folder: Path

    def locate(self, target_ids: Collection[int]) -> dict[int, tuple[str, int]]:
        """Return file and row of targets whose worklist names none; first found, first taken.

        Files that cannot be read are logged and left out.
        """
        found: dict[int, tuple[str, int]] = {}
        ids = np.array(list(target_ids), dtype=np.int64)
        for store in self.stores if len(ids) else ():
            for shard in store.shards:
                part = stored.read_shard(shard, with_flux=False)
                for i in np.flatnonzero(np.isin(part.keys.target_id, ids)):
                    place = (str(part.source[i]), int(part.row[i]))
                    found.setdefault(int(part.keys.target_id[i]), place)
        wanted = set(target_ids) - set(found)
        for path in self.files.values() if wanted else ():
            try:
                with open_fits(path) as fits:
                    there = find_format(fits).identify(fits).keys.target_id
            except DataFormatError as exc:
                _LOG.warning("left out: %s", exc)
                continue
            for row in np.flatnonzero(np.isin(there, ids)):
                found.setdefault(int(there[row]), (str(path), int(row)))
        return found

    def in_shards(self, places: Mapping[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
        """Return file and row of targets named by shard and row; a shard is read once."""
        by_shard = defaultdict[str, list[tuple[int, int]]](list)
        for target, (shard, row) in places.items():
            by_shard[shard].append((target, row))
        found: dict[int, tuple[str, int]] = {}
        for store, (shard, wanted) in product(self.stores, by_shard.items()):
            try:
                part = stored.read_shard(store.shard(shard), with_flux=False)
            except DataFormatError as exc:
                _LOG.warning("store %s: %s", store.path, exc)
                continue
            for target, row in wanted:
                if row < len(part) and part.keys.target_id[row] == target:
                    found.setdefault(target, (str(part.source[row]), int(part.row[row])))
        return found

    def load(self, source: str, row: int, target_id: int) -> Shown:
        """Read one spectrum, from its file or else, rebinned, from a store.

        Args:
            source: its file, as the worklist or store names it.
            row: its row there.
            target_id: whose spectrum it must be.

        Raises:
            InspectionError: neither can be read, with the reason.
        """
        try:
            return Shown(self._full(source, row, target_id))
        except (DataFormatError, InspectionError) as exc:
            # Inspectors see neither folders nor what a reader found in a file.
            _LOG.warning("TARGETID %d: %s", target_id, exc)
            reason = f"{Path(source).name} cannot be read; the server's log has the reason"
            if isinstance(exc, InspectionError):
                reason = str(exc)
            rebinned = self._rebinned(source, row, target_id)
            if rebinned is None:
                raise InspectionError(f"this spectrum cannot be shown: {reason}") from exc
            return Shown(rebinned, f"Shown rebinned, from the store: {reason}")

    def _full(self, source: str, row: int, target_id: int) -> Spectra:
        if not source or row < 0:
            raise InspectionError(
                f"no file given holds TARGETID {target_id}; add its file to --spectra"
            )
        path = self.resolve(source)
        spectra = read_spectra(path, slice(row, row + 1))
        if len(spectra) == 0 and row:
            with suppress(DataFormatError):
                spectra = read_exposure(path, row)
        if len(spectra) == 0:
            raise InspectionError(f"{path.name} has no row {row}; was the file replaced?")
        found = int(spectra.keys.target_id[0])
        if found != target_id:
            raise InspectionError(f"{path.name}: row {row} is TARGETID {found}, not {target_id}")
        return spectra

    def resolve(self, source: str) -> Path:
        """Return where a file of the worklist or a store is now.

        Raises:
            InspectionError: nowhere.
        """
        given = Path(source)
        for path in (given, self.folder / given):
            if path.is_file():
                return path
        if given.name in self.files:
            return self.files[given.name]
        raise InspectionError(f"{given.name} is missing; was the file moved?")

    def _rebinned(self, source: str, row: int, target_id: int) -> Spectra | None:
        for store in self.stores:
            try:
                found = stored.load_targets(store, [target_id])
            except DataFormatError as exc:
                _LOG.warning("store %s: %s", store.path, exc)
                continue
            if len(found):
                same = (found.source == source) & (found.row == row)
                return _as_spectra(found[np.flatnonzero(same)[:1] if same.any() else slice(0, 1)])
        return None


def open_spectra(paths: Iterable[str | Path], folder: str | Path = ".") -> SpectrumFiles:
    """Look at what ``--spectra`` names: files, folders of files, stores.

    Raises:
        DataFormatError: a path that does not exist, or a broken store.
    """
    given = [Path(path) for path in paths]
    stores = [stored.open_store(path) for path in given if stored.is_store(path)]
    others = [path for path in given if not stored.is_store(path)]
    files = {path.name: path for path in (find_files(others) if others else [])}
    return SpectrumFiles(files, stores, Path(folder))


def _as_spectra(rebinned: RebinnedSpectra) -> Spectra:
    """Undo the normalising; the bins become pixels."""
    mean, rms = rebinned.mean_flux[:, None], rebinned.rms_flux[:, None]
    flux = np.nan_to_num(rebinned.flux * rms + mean).astype(np.float32)
    ivar = np.nan_to_num(rebinned.ivar / np.square(np.where(rms > 0, rms, 1))).astype(np.float32)
    grid = rebinned.grid
    centres = grid.wave_at(np.arange(grid.n_bins) + 0.5)
    arm = Arm("brz", centres, np.where(ivar > 0, flux, 0), ivar)
    return Spectra((arm,), rebinned.keys, rebinned.flags, str(rebinned.source[0]), rebinned.row)


# Bits of a pixel's state.
MASKED: Final = 1  # no data: ivar is 0
FLAGGED: Final = 2  # the survey's mask is set, data may be fine
# Spectra kept ready: a quarter of a megabyte each.
CACHED: Final = 200
# Pixels of two arms closer than this share of a pixel are the same wavelength.
_SAME_PIXEL: Final = 0.5


def spectrum_payload(shown: Shown) -> dict[str, Any]:
    """Return what the page draws.

    Args:
        shown: one spectrum.

    Returns:
        JSON-ready: TARGETID as text, arms, their coadd where there are several, keys, notice.
    """
    spectra = shown.spectra
    arms = [arm[slice(0, 1)] for arm in spectra.arms]
    keys = spectra.keys
    return {
        "target_id": str(int(keys.target_id[0])),
        "source": Path(spectra.source).name,
        "row": int(spectra.row[0]),
        "notice": shown.notice,
        "flags": flag_names(int(spectra.flags[0])),
        "ra_deg": _number(keys.ra_deg[0]),
        "dec_deg": _number(keys.dec_deg[0]),
        **object_facts(spectra),
        "arms": [_arm_out(arm) for arm in arms],
        "coadd": _arm_out(coadd_arms(arms)) if len(arms) > 1 else None,
    }


class SpectrumCache:
    """Spectra as JSON text, the latest kept: several inspectors look at the same ones."""

    def __init__(self, files: SpectrumFiles, size: int = CACHED) -> None:
        self._files, self._size = files, size
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._lock = Lock()

    def json_of(self, source: str, row: int, target_id: int) -> bytes:
        """Return one spectrum's JSON.

        Raises:
            InspectionError: it cannot be shown; nothing is remembered, it may come back.
        """
        key = (source, row, target_id)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        shown = self._files.load(source, row, target_id)
        body = json.dumps(spectrum_payload(shown)).encode()
        if not shown.notice:  # a file that is missing now may come back
            with self._lock:
                self._kept[key] = body
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
        return body


def coadd_arms(arms: Sequence[Arm]) -> Arm:
    """Join arms; pixels of the same wavelength are averaged by inverse variance.

    Args:
        arms: (1, n_pix) each.

    Returns:
        One arm ``"brz"``, wavelengths increasing.
    """
    wave = np.concatenate([arm.wave_aa for arm in arms])
    flux, ivar, mask = (
        np.concatenate(parts)
        for parts in zip(
            *((arm.flux[0], arm.ivar[0], _mask(arm)) for arm in arms),
            strict=True,
        )
    )
    order = np.argsort(wave, kind="stable")
    wave, flux, ivar, mask = wave[order], flux[order], ivar[order], mask[order]
    step = np.diff(wave, prepend=-np.inf)
    pixel = min(float(np.median(np.diff(arm.wave_aa))) for arm in arms)
    group = np.cumsum(step > _SAME_PIXEL * pixel) - 1  # pixels of one wavelength
    n = int(group[-1]) + 1
    ivar_sum = np.bincount(group, ivar, n)
    weighted = np.bincount(group, ivar * flux, n)
    plain = np.bincount(group, flux, n) / np.bincount(group, minlength=n)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return Arm(
        "brz",
        wave[first],
        np.where(ivar_sum > 0, weighted / np.where(ivar_sum > 0, ivar_sum, 1), plain)
        .astype(np.float32)
        .reshape(1, n),
        ivar_sum.astype(np.float32).reshape(1, n),
        np.bitwise_or.reduceat(mask, first).reshape(1, n),
    )


def encode(values: ArrayLike, dtype: str) -> str:
    """Return numbers as base64 text of that (little-endian) type."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def _arm_out(arm: Arm) -> dict[str, Any]:
    flux, ivar = arm.flux[0], arm.ivar[0]
    state = np.where(ivar > 0, 0, MASKED) | np.where(_mask(arm) != 0, FLAGGED, 0)
    return {
        "name": arm.name,
        "n": len(arm.wave_aa),
        "wave": encode(arm.wave_aa, "<f4"),
        "flux": encode(flux, "<f4"),
        "ivar": encode(ivar, "<f4"),
        "state": encode(state, "u1"),
    }


def _mask(arm: Arm) -> NDArray[np.int64]:
    if arm.mask is None:
        return np.zeros(len(arm.wave_aa), dtype=np.int64)
    return np.asarray(arm.mask[0], dtype=np.int64)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
