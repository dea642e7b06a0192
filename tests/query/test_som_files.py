import json

import numpy as np
import polars as pl
import pytest

from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError, GridError, SelectionError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.query.options import SomOptions
from quasarloop.query.som import NO_CELL, CellGrid, SelfOrganizingMap, find_winners
from quasarloop.query.som_files import (
    CellsFile,
    assign_store,
    check_fits,
    count_cells,
    read_cells,
    read_map,
    write_map,
)
from quasarloop.query.som_parts import parts_of_array, parts_of_shards
from quasarloop.query.som_train import fit_map
from quasarloop.spectra import Flag, Keys, RebinnedSpectra
from quasarloop.store import create_store, fingerprint
from quasarloop.store.files import schema_of, table_from_spectra


def _spectra(rng, n, first_id):
    return RebinnedSpectra(
        grid=LOG_GRID,
        flux=rng.normal(size=(n, LOG_GRID.n_bins)).astype(np.float32),
        ivar=np.ones((n, LOG_GRID.n_bins), np.float32),
        mean_flux=np.zeros(n),
        rms_flux=np.ones(n),
        sn=np.ones((n, 3), np.float32),
        flags=np.where(np.arange(n) == 2, int(Flag.NO_DATA), 0).astype(np.int32),
        keys=Keys.make(
            np.arange(first_id, first_id + n), object_id=np.arange(first_id, first_id + n) // 2
        ),
        source=np.full(n, "x.fits"),
        row=np.arange(n),
    )


def _make_store(folder, seed=0, sizes=(7, 5, 9)):
    import pyarrow.parquet as pq

    from quasarloop.store import shard_path

    rng = np.random.default_rng(seed)
    store = create_store(folder, LOG_GRID)
    for i, n in enumerate(sizes):
        path = shard_path(folder, f"{i:02d}{seed}")
        path.parent.mkdir(parents=True, exist_ok=True)
        spectra = _spectra(rng, n, 1000 * i + 10)
        pq.write_table(table_from_spectra(spectra, schema_of(LOG_GRID)), path)
    return store


@pytest.fixture
def store(tmp_path):
    return _make_store(tmp_path / "store")


@pytest.fixture
def map_file(tmp_path, store):
    trained = fit_map(parts_of_shards(store.shards), CellGrid(2, 3), SomOptions(n_epochs=2))
    record = {"data": fingerprint(store), "training": trained.summary()}
    write_map(tmp_path / "map.npz", trained.som, store.grid, record)
    return read_map(tmp_path / "map.npz")


def test_a_map_comes_back_as_it_was_and_names_its_data(tmp_path, map_file, store):
    assert map_file.som.cells == CellGrid(2, 3)
    assert map_file.grid == LOG_GRID
    assert map_file.record["data"]["n_rows"] == 21
    assert map_file.record["training"]["n_spectra"] == 18
    again = tmp_path / "again.npz"
    write_map(again, map_file.som, LOG_GRID, {k: map_file.record[k] for k in ("data", "training")})
    assert checksum(again) == checksum(map_file.path)


def test_a_map_streamed_from_a_store_is_the_map_of_the_array(store, map_file):
    from quasarloop.store import iter_store

    parts = list(iter_store(store))
    flux, flags = (np.concatenate([getattr(p, name) for p in parts]) for name in ("flux", "flags"))
    in_memory = fit_map(parts_of_array(flux, flags), CellGrid(2, 3), SomOptions(n_epochs=2))
    np.testing.assert_allclose(in_memory.som.weights, map_file.som.weights, atol=1e-5)


def test_a_map_refuses_other_grids_and_other_data(tmp_path, map_file, store):
    check_fits(map_file, store)
    other = _make_store(tmp_path / "other", seed=1)
    with pytest.raises(SelectionError, match="--other-data"):
        check_fits(map_file, other)
    check_fits(map_file, other, other_data=True)
    linear = create_store(tmp_path / "linear", LINEAR_GRID)
    with pytest.raises(GridError, match="458 bins"):
        check_fits(map_file, linear, other_data=True)


def test_files_that_are_no_maps_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.zeros((4, 4)))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 broken")
    manifest = np.frombuffer(json.dumps({"format": "map 9"}).encode(), np.uint8)
    np.savez(tmp_path / "c.npz", weights=np.zeros((4, 4)), manifest=manifest)
    for name in ("a", "b", "c", "absent"):
        with pytest.raises(DataFormatError, match=f"{name}.npz"):
            read_map(tmp_path / f"{name}.npz")
    som = SelfOrganizingMap(CellGrid(2, 2), np.zeros((4, 5), np.float32))
    with pytest.raises(GridError, match="5 bins"):
        write_map(tmp_path / "d.npz", som, LOG_GRID, {})
    assert not (tmp_path / "d.npz").exists()


def test_cells_on_disk_equal_cells_in_memory(tmp_path, store, map_file):
    from quasarloop.store import iter_store

    seen = []
    written = assign_store(
        map_file, store, tmp_path / "cells.parquet", on_shard=lambda: seen.append(1)
    )
    assert len(seen) == 3
    table = read_cells(written.path).scan().collect()
    parts = list(iter_store(store))
    found = [find_winners(p.flux, map_file.som.weights, p.flags) for p in parts]
    assert table["CELL"].to_list() == np.concatenate([f.cell for f in found]).tolist()
    assert table["TARGETID"].to_list() == np.concatenate([p.keys.target_id for p in parts]).tolist()
    assert table["SHARD"].to_list() == [
        s.stem for s, n in zip(store.shards, (7, 5, 9), strict=True) for _ in range(n)
    ]
    counts = count_cells(written)
    cell = table["CELL"].to_numpy()
    assert counts.tolist() == np.bincount(cell[cell != NO_CELL], minlength=len(counts)).tolist()
    assert counts.sum() == 18
    assert count_cells(written, "object").sum() <= 18
    assert count_cells(written, "exposure").sum() == 18


def cells_of(path, values, grid):
    pl.DataFrame({"CELL": pl.Series(values, dtype=pl.Int32)}).write_parquet(path)
    return CellsFile(path, grid, {})


def test_trailing_empty_cells_are_counted(tmp_path):
    counts = count_cells(cells_of(tmp_path / "a.parquet", [1, 1, 3, NO_CELL], CellGrid(2, 3)))
    assert counts.tolist() == [0, 2, 0, 1, 0, 0]
    nothing = cells_of(tmp_path / "b.parquet", [], CellGrid(2, 3))
    assert count_cells(nothing).tolist() == [0] * 6


@pytest.mark.parametrize("seed", range(5))
def test_counts_add_up(tmp_path, seed):
    values = np.random.default_rng(seed).integers(-1, 12, 3 * seed)
    counts = count_cells(cells_of(tmp_path / "c.parquet", values, CellGrid(3, 4)))
    assert counts.sum() == (values >= 0).sum()
    assert len(counts) == 12


def test_cells_of_another_map_are_refused(tmp_path):
    with pytest.raises(SelectionError, match="another map"):
        count_cells(cells_of(tmp_path / "d.parquet", [0, 6], CellGrid(2, 3)))


def test_cells_do_not_depend_on_the_number_of_workers(
    tmp_path, store, map_file, monkeypatch, two_workers
):
    monkeypatch.setattr("quasarloop.query.som._ALONE_ROWS", 0)
    one = assign_store(map_file, store, tmp_path / "one.parquet")
    two = assign_store(map_file, store, tmp_path / "two.parquet", engine=two_workers)
    assert checksum(one.path) == checksum(two.path)


def test_files_that_are_no_cells_are_refused(tmp_path, store):
    for path in (store.shards[0], tmp_path / "absent.parquet"):
        with pytest.raises(DataFormatError, match="som assign"):
            read_cells(path)
