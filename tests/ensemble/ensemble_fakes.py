"""Small skies and small networks for the ensemble's tests: seconds, not hours."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from quasarloop.ensemble.votes import MemberFinds
from quasarloop.grid import LOG_GRID
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.spectra import Flag, Keys, RebinnedSpectra
from quasarloop.store import Store, create_store, shard_path
from quasarloop.store.schema import schema_of, table_from_spectra

# Wide strides: a step takes a millisecond, and still every kind of layer is there.
SMALL_NETWORK = NetworkConfig(
    n_conv=2, n_filters=8, kernel_width=10, stride=4, n_dense=16, dropout=0.2, grid=LOG_GRID
)
STORE_SIZES = (700, 40, 0, 1, 30, 500)
N_MEMBERS = 8  # of the ensemble all tests of voting share


def small_options(epochs: int = 2) -> TrainingOptions:
    return TrainingOptions(epochs=epochs, batch_size=32, learning_rate=1e-2, monitor="none")


def small_sky(n: int = 120, seed: int = 1) -> TrainingData:
    """Half quasars (z 1.6 to 3.5, one bump per line inside the grid), half stars (a slope)."""
    rng = np.random.default_rng(seed)
    wave = LOG_GRID.lower_edges_aa
    is_qso = np.arange(n) % 2 == 0
    z = np.where(is_qso, rng.uniform(1.6, 3.5, n), 0.0)
    flux = rng.normal(0, 0.5, (n, LOG_GRID.n_bins))
    for line in SMALL_NETWORK.lines:
        centre = line.wave_rest_aa * (1 + z[:, None])
        bump = np.exp(-0.5 * ((wave - centre) / (0.006 * centre)) ** 2)
        flux += 4.0 * bump * is_qso[:, None]
    flux -= flux.mean(axis=1, keepdims=True)
    flux /= flux.std(axis=1, keepdims=True)
    return TrainingData.make(
        flux.astype(np.float32),
        np.where(is_qso, 2, 0),
        z,
        object_id=np.arange(n) // 2 * 2 + is_qso,  # every object its own
    )


def folder_digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def small_spectra(n: int, seed: int) -> RebinnedSpectra:
    """Spectra of the same sky as `small_sky`, with row 1 unusable where there is one."""
    data = small_sky(n, seed)
    flags = np.zeros(n, dtype=np.int32)
    flags[1:2] = Flag.NO_DATA
    return RebinnedSpectra(
        grid=LOG_GRID,
        flux=data.flux,
        ivar=np.ones_like(data.flux),
        mean_flux=np.zeros(n),
        rms_flux=np.ones(n),
        sn=np.ones((n, 3), dtype=np.float32),
        flags=flags,
        keys=Keys.make(np.arange(n) + 1000 * seed, survey=np.full(n, "sv3")),
        source=np.full(n, f"file-{seed}.fits"),
        row=np.arange(n),
    )


def small_store(folder: Path, sizes: tuple[int, ...]) -> Store:
    """A store of shards of these sizes, named by their contents' seed."""
    store = create_store(folder, LOG_GRID)
    schema = schema_of(LOG_GRID)
    for seed, n in enumerate(sizes, start=1):
        path = shard_path(folder, f"{seed:02d}{'ab' * 15}")
        path.parent.mkdir(parents=True, exist_ok=True)
        table = table_from_spectra(small_spectra(n, seed), schema)
        pq.write_table(table, path)
    return store


class RecordedMembers:
    """Members of a made-up ensemble who answer from arrays: a `Respondents` without networks."""

    def __init__(self, confidence: np.ndarray, z_best: np.ndarray, n_chunks: int = 3) -> None:
        self.confidence, self.z_best = confidence, z_best
        self.asked = np.zeros(confidence.shape, dtype=bool)
        edges = np.linspace(0, confidence.shape[1], n_chunks + 1).astype(int)
        self.chunks = [slice(*pair) for pair in pairwise(edges)]
        self.calls: list[tuple[str, int]] = []

    @property
    def chunk_sizes(self) -> list[int]:
        return [chunk.stop - chunk.start for chunk in self.chunks]

    def ask(self, name: str, rows: dict[int, np.ndarray], first: int, stop: int) -> int:
        n = 0
        for number, inside in rows.items():
            place = self.chunks[number].start + inside
            assert not self.asked[first:stop, place].any(), "nobody is asked twice"
            self.asked[first:stop, place] = True
            n += len(inside) * (stop - first)
        self.calls.append((name, n))
        return n

    def finds(self, chunk: int) -> MemberFinds:
        part = self.chunks[chunk]
        asked = self.asked[:, part]
        confidence = np.where(asked, self.confidence[:, part], np.nan).astype(np.float32)
        z_best = np.where(asked, self.z_best[:, part], np.nan)
        return MemberFinds(confidence, z_best, np.zeros((confidence.shape[1], 0)))


def made_up_answers(
    n: int, n_networks: int, seed: int, confused: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and redshifts of exchangeable members; a part of the spectra is confusing.

    Logits scatter by a normal law of each spectrum's own; near the class border redshifts too.
    """
    rng = np.random.default_rng(seed)
    is_confused = rng.random(n) < confused
    centre = np.where(rng.random(n) < 0.5, -4.0, 6.0) + rng.normal(0, 0.7, n)
    centre = np.where(is_confused, 2.9 + rng.normal(0, 1.5, n), centre)
    width = rng.uniform(0.4, 1.0, n)
    logits = centre + width * rng.normal(size=(n_networks, n))
    z = rng.uniform(0.5, 4.0, n) + 0.01 * rng.normal(size=(n_networks, n))
    return (1 / (1 + np.exp(-logits))).astype(np.float32), z
