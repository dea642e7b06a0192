"""Other spectra of the worklist's objects: repeats in other files, single exposures.

They are looked for once, in a thread beside the server: thousands of files take seconds.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from quasarloop import store as stored
from quasarloop.columns import Keys
from quasarloop.errors import DataFormatError, InspectionError, QuasarloopError
from quasarloop.inspect.database import Database
from quasarloop.inspect.spectra_files import SpectrumFiles
from quasarloop.inspect.tables import Item
from quasarloop.read.exposures import with_exposures
from quasarloop.read.fits_reader import open_fits

__all__ = ["Repeat", "RepeatFinder"]

_LOG: Final = logging.getLogger(__name__)
# What distinguishes spectra of one object: fields of `Keys`, and their names on the page.
_SHOWN: Final = {"tile_id": "tile", "night": "night", "exposure_id": "exposure"}


@dataclass(frozen=True)
class Repeat:
    """One more spectrum of an object.

    Attributes:
        source: its file.
        row: its row there.
        target_id: its own identifier; repeats of one object may differ in it.
        label: file, row, and what is known of its exposure, in words.
    """

    source: str
    row: int
    target_id: int
    label: str


class RepeatFinder:
    """Looks through all files and stores at the first request, and remembers what it found."""

    def __init__(self, files: SpectrumFiles, database: Database) -> None:
        self._files, self._database = files, database
        self._found: dict[int, tuple[Repeat, ...]] | None = None
        self._thread: Thread | None = None
        self._lock = Lock()

    def of(self, target_id: int) -> tuple[Repeat, ...] | None:
        """Return an object's other spectra; None while they are still looked for."""
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._search, daemon=True)
                self._thread.start()
        return None if self._found is None else self._found.get(target_id, ())

    def _search(self) -> None:
        found: dict[int, tuple[Repeat, ...]] = {}
        try:
            with self._database.read() as session:
                query = sa.select(Item.target_id, Item.source, Item.row)
                own = {target: (source, row) for target, source, row in session.execute(query)}
            found = self._repeats(own)
        except QuasarloopError as exc:
            _LOG.warning("other spectra of the objects cannot be looked for: %s", exc)
        finally:
            self._found = found

    def _repeats(self, own: dict[int, tuple[str, int]]) -> dict[int, tuple[Repeat, ...]]:
        paths = {source: self._path(source) for source in {source for source, _ in own.values()}}
        wanted = np.fromiter(own, np.int64, len(own))
        parts = list(self._identities([path for path in paths.values() if path]))
        ids = [(keys.target_id, keys.object_id) for _, _, keys in parts]
        # First which objects the worklist has, then all spectra of these.
        objects = [objects[np.isin(targets, wanted)] for targets, objects in ids]
        known = np.concatenate([wanted[:0], *objects])
        spectra: dict[int, dict[tuple[str, int], Repeat]] = {}
        targets_of: dict[int, set[int]] = {}
        for source, row, keys in parts:
            for i in np.flatnonzero(np.isin(keys.object_id, known)).tolist():
                path = paths.setdefault(str(source[i]), self._path(str(source[i])))
                repeat = _repeat(path or str(source[i]), int(row[i]), keys, i)
                number = int(keys.object_id[i])
                spectra.setdefault(number, {}).setdefault((repeat.source, repeat.row), repeat)
                if repeat.target_id in own:
                    targets_of.setdefault(number, set()).add(repeat.target_id)
        return {
            target: tuple(
                repeat
                for place, repeat in spectra[number].items()
                if place != (paths[own[target][0]], own[target][1])
            )
            for number, targets in targets_of.items()
            for target in targets
        }

    def _identities(
        self, others: list[str]
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.int64], Keys]]:
        """File, row and keys of every spectrum of the files, the worklist's too, and stores."""
        named = [str(path.resolve()) for path in self._files.files.values()]
        for file in dict.fromkeys([*named, *others]):
            try:
                with open_fits(file) as fits:
                    keys = with_exposures(fits)
            except DataFormatError as exc:
                _LOG.warning("left out: %s", exc)
                continue
            n = len(keys.target_id)
            yield np.full(n, file), np.arange(n, dtype=np.int64), keys
        for store in self._files.stores:
            for shard in store.shards:
                part = stored.read_shard(shard, with_flux=False)
                yield part.source, part.row, part.keys

    def _path(self, source: str) -> str:
        """The file of a spectrum as one name, ``""`` if it is not there."""
        try:
            return str(self._files.resolve(source).resolve()) if source else ""
        except InspectionError:
            return ""


def _repeat(source: str, row: int, keys: Keys, i: int) -> Repeat:
    known = [(name, int(getattr(keys, field)[i])) for field, name in _SHOWN.items()]
    words = [f"{name} {value}" for name, value in known if value >= 0]
    label = ", ".join([f"{Path(source).name} row {row}", *words])
    return Repeat(source, row, int(keys.target_id[i]), label)
