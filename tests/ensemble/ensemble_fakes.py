"""Small skies and small networks for the ensemble's tests: seconds, not hours."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from quasarloop.grid import LOG_GRID
from quasarloop.network.config import NetworkConfig
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.spectra import Flag, Keys, RebinnedSpectra
from quasarloop.store import Store, create_store, shard_path
from quasarloop.store.files import schema_of, table_from_spectra

# Wide strides: a step takes a millisecond, and still every kind of layer is there.
SMALL_NETWORK = NetworkConfig(
    n_conv=2, n_filters=8, kernel_width=10, stride=4, n_dense=16, dropout=0.2, grid=LOG_GRID
)
STORE_SIZES = (700, 40, 0, 1, 30, 500)
N_MEMBERS = 8  # of the ensemble all tests of voting share


def small_options(epochs: int = 2) -> TrainingOptions:
    return TrainingOptions(epochs=epochs, batch_size=32, learning_rate=1e-2, schedule="constant")


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
