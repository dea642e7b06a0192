"""Finding and reading one object's spectrum at full resolution, or saying why not."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from quasarloop.errors import DataFormatError, InspectionError
from quasarloop.read import find_files, find_format, read_spectra
from quasarloop.read.fits_reader import open_fits
from quasarloop.spectra import Arm, RebinnedSpectra, Spectra
from quasarloop.store import Store, is_store, load_targets, open_store, read_shard

__all__ = ["Shown", "SpectrumFiles", "open_spectra"]

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
    stores: Sequence[Store]
    folder: Path

    def locate(self, target_ids: Collection[int]) -> dict[int, tuple[str, int]]:
        """Return file and row of targets whose worklist names none; first found, first taken.

        Files that cannot be read are logged and left out.
        """
        found: dict[int, tuple[str, int]] = {}
        for store in self.stores:
            for shard in store.shards:
                part = read_shard(shard, with_flux=False)
                for i in np.flatnonzero(np.isin(part.keys.target_id, list(target_ids))):
                    place = (str(part.source[i]), int(part.row[i]))
                    found.setdefault(int(part.keys.target_id[i]), place)
        wanted = set(target_ids) - set(found)
        for path in self.files.values() if wanted else ():
            try:
                with open_fits(path) as fits:
                    ids = find_format(fits).identify(fits).keys.target_id
            except DataFormatError as exc:
                _LOG.warning("left out: %s", exc)
                continue
            for row in np.flatnonzero(np.isin(ids, list(wanted))):
                found.setdefault(int(ids[row]), (str(path), int(row)))
        return found

    def in_shard(self, shard: str, row: int, target_id: int) -> tuple[str, int] | None:
        """Return file and row of a spectrum named by its store's shard; None if not there."""
        for store in self.stores:
            try:
                found = read_shard(store.shard(shard), with_flux=False, rows=slice(row, row + 1))
            except DataFormatError as exc:
                _LOG.warning("store %s: %s", store.path, exc)
                continue
            if found.keys.target_id.tolist() == [target_id]:
                return str(found.source[0]), int(found.row[0])
        return None

    def load(self, source: str, row: int, target_id: int) -> Shown:
        """Read one spectrum, from its file or else, rebinned, from a store.

        Args:
            source: its file, as the worklist or store names it.
            row: its row there.
            target_id: whose spectrum it must be.

        Raises:
            InspectionError: neither can be read; the message says why.
        """
        try:
            return Shown(self._full(source, row, target_id))
        except (DataFormatError, InspectionError) as exc:
            rebinned = self._rebinned(source, row, target_id)
            if rebinned is None:
                raise InspectionError(f"this spectrum cannot be shown: {exc}") from exc
            return Shown(rebinned, f"Shown rebinned, from the store: {exc}")

    def _full(self, source: str, row: int, target_id: int) -> Spectra:
        if not source or row < 0:
            raise InspectionError(
                f"no file given holds TARGETID {target_id}; add its file to --spectra"
            )
        path = self._resolve(source)
        spectra = read_spectra(path, slice(row, row + 1))
        if len(spectra) == 0:
            raise DataFormatError(f"{path} has no row {row}; was the file replaced?")
        found = int(spectra.keys.target_id[0])
        if found != target_id:
            raise DataFormatError(f"{path}: row {row} is TARGETID {found}, not {target_id}")
        return spectra

    def _resolve(self, source: str) -> Path:
        given = Path(source)
        for path in (given, self.folder / given):
            if path.is_file():
                return path
        if given.name in self.files:
            return self.files[given.name]
        raise DataFormatError(f"{source} is missing; was the file moved?")

    def _rebinned(self, source: str, row: int, target_id: int) -> Spectra | None:
        for store in self.stores:
            try:
                found = load_targets(store, [target_id])
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
    stores = [open_store(path) for path in given if is_store(path)]
    others = [path for path in given if not is_store(path)]
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
