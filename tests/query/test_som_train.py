import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quasarloop.engine import Engine
from quasarloop.errors import SelectionError
from quasarloop.query import som_train
from quasarloop.query.options import SomOptions
from quasarloop.query.som import CellGrid, SelfOrganizingMap, find_winners
from quasarloop.query.som_parts import ArrayPart, StorePart, parts_of_array, parts_of_shards
from quasarloop.query.som_train import (
    SequentialOptions,
    fit_map,
    fit_sequential,
    start_on_plane,
    start_on_rows,
)
from quasarloop.spectra import Flag


@pytest.fixture(scope="module")
def ring():
    """Lines moving across a circular grid: one hidden number per spectrum."""
    rng = np.random.default_rng(1)
    phase = rng.uniform(0, 2 * np.pi, 1500)
    bins = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    line = np.exp(3 * (np.cos(bins - phase[:, None]) - 1))
    flux = line + rng.normal(0, 0.1, line.shape)
    return phase, flux.astype(np.float32)


def _written_out_epoch(flux, weights, cells, width):
    top = np.zeros(weights.shape)
    bottom = np.zeros(len(weights))
    for spectrum in flux.astype(np.float64):
        winner = np.argmin(((spectrum - weights) ** 2).sum(axis=1))
        for cell in range(len(weights)):
            pull = np.exp(-0.5 * (cells.separations[winner, cell] / width) ** 2)
            top[cell] += pull * spectrum
            bottom[cell] += pull
    return top / bottom[:, None]


def test_one_epoch_equals_the_written_out_rule():
    rng = np.random.default_rng(0)
    flux = rng.normal(size=(60, 6)).astype(np.float32)
    cells = CellGrid(3, 4)
    options = SomOptions(n_epochs=1, first_width=1.3, start="rows")
    trained = fit_map([ArrayPart(flux)], cells, options, seed=7)
    generator = np.random.default_rng(7)
    generator.permutation(1)
    sample = flux[np.sort(generator.permutation(60))]
    start = start_on_rows(sample, cells, generator).astype(np.float64)
    expected = _written_out_epoch(flux, start, cells, 1.3)
    np.testing.assert_allclose(trained.som.weights, expected, rtol=1e-4, atol=1e-5)


def test_errors_are_those_of_the_finished_map(ring):
    _, flux = ring
    cells = CellGrid(5, 6)
    seen = []
    trained = fit_map(parts_of_array(flux), cells, SomOptions(n_epochs=8), on_epoch=seen.append)
    assert tuple(seen) == trained.history
    distance = np.linalg.norm(flux[:, None] - trained.som.weights[None], axis=2)
    order = np.argsort(distance, axis=1)
    torn = ~cells.touching(order[:, 0], order[:, 1])
    assert trained.quantization_error == pytest.approx(distance.min(axis=1).mean(), rel=1e-5)
    assert trained.topographic_error == pytest.approx(torn.mean(), abs=2 / len(flux))
    assert trained.n_spectra == len(flux)
    assert trained.quantization_error < 0.7 * trained.history[0].quantization_error


@pytest.mark.parametrize("start", ["plane", "rows"])
def test_like_spectra_land_near_each_other(ring, start):
    phase, flux = ring
    cells = CellGrid(8, 8)
    som = fit_map(parts_of_array(flux), cells, SomOptions(start=start), seed=3).som
    cell = find_winners(flux, som.weights).cell
    order = np.argsort(phase)
    along = cells.separations[cell[order][:-1], cell[order][1:]].mean()
    shuffled = np.random.default_rng(0).permutation(cell)
    by_chance = cells.separations[shuffled[:-1], shuffled[1:]].mean()
    assert along < 0.5 * by_chance


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_sums_of_a_pass_are_the_same_in_any_order_and_grouping(order, n_tasks):
    flux = np.random.default_rng(2).normal(scale=5, size=(300, 30)).astype(np.float32)
    parts = [ArrayPart(flux[i : i + 50]) for i in range(0, 300, 50)]
    weights = flux[:9].copy()
    expected = som_train._pass(parts, weights, CellGrid(3, 3), Engine())
    shuffled = [parts[i] for i in order]
    tasks = [shuffled[i::n_tasks] for i in range(n_tasks)]
    sums = [
        som_train._part_sums(task, SelfOrganizingMap(CellGrid(3, 3), weights)) for task in tasks
    ]
    assert sum(s.flux for s in sums).tobytes() == expected.flux.tobytes()
    assert sum(s.distance for s in sums) == expected.distance
    np.testing.assert_allclose(expected.flux.sum(axis=0), flux.sum(axis=0, dtype=float), atol=1e-3)


def test_few_spectra_start_no_workers(ring, monkeypatch):
    def no_pool(n_workers, gpus):
        raise AssertionError("workers were started")

    monkeypatch.setattr("quasarloop.engine.ProcessPool", no_pool)
    _, flux = ring
    fit_map([ArrayPart(flux)], CellGrid(3, 3), SomOptions(n_epochs=1), engine=Engine(workers=2))
    monkeypatch.setattr("quasarloop.query.som._ALONE_ROWS", 2 * len(flux))
    with pytest.raises(AssertionError, match="were started"):
        fit_map([ArrayPart(flux)], CellGrid(3, 3), SomOptions(n_epochs=1), engine=Engine(workers=2))


def test_same_seed_same_bytes_whatever_the_parts_are_run_on(ring, monkeypatch, two_workers):
    monkeypatch.setattr("quasarloop.query.som._ALONE_ROWS", 0)
    _, flux = ring
    parts = [ArrayPart(flux[i : i + 400]) for i in range(0, 1500, 400)]
    options = SomOptions(n_epochs=3, start="rows")
    alone = fit_map(parts, CellGrid(4, 4), options, seed=5)
    shared = fit_map(parts, CellGrid(4, 4), options, seed=5, engine=two_workers)
    assert alone.som.weights.tobytes() == shared.som.weights.tobytes()
    assert alone.history == shared.history
    other = fit_map(parts, CellGrid(4, 4), options, seed=6)
    assert alone.som.weights.tobytes() != other.som.weights.tobytes()


def test_flagged_rows_do_not_train(ring):
    _, flux = ring
    broken = np.concatenate([flux, np.full((20, 40), 1e6, np.float32)])
    flags = np.zeros(len(broken), np.int32)
    flags[1500:] = Flag.NO_DATA
    clean = fit_map([ArrayPart(flux)], CellGrid(3, 3), SomOptions(n_epochs=2))
    flagged = fit_map([ArrayPart(broken, flags)], CellGrid(3, 3), SomOptions(n_epochs=2))
    assert flagged.n_spectra == 1500
    assert np.array_equal(clean.som.weights, flagged.som.weights)
    with pytest.raises(SelectionError, match="no usable spectrum"):
        fit_map([ArrayPart(broken[1500:], flags[1500:])], CellGrid(3, 3))


def test_cells_out_of_reach_keep_their_weights():
    flux = np.zeros((5, 3), np.float32)
    options = SomOptions(n_epochs=1, first_width=0.05, last_width=0.05, start="rows")
    trained = fit_map([ArrayPart(flux)], CellGrid(3, 3), options)
    assert np.isfinite(trained.som.weights).all()


@pytest.mark.parametrize(("rows", "in_part"), [(100, 11), (10_000, 3)])
def test_parts_depend_on_the_data_alone(tmp_path, monkeypatch, rows, in_part):
    monkeypatch.setattr("quasarloop.query.som_parts.count_rows", lambda shard: rows)
    shards = [tmp_path / f"{i}.parquet" for i in range(70)]
    parts = parts_of_shards(shards)
    assert [path for part in parts for path in part.shards] == shards
    assert len(parts) <= 32
    # At least a thousand rows or so, and a thirty-second of all.
    assert parts[0] == StorePart(tuple(shards[:in_part]), in_part * rows)
    flux = np.zeros((40_000, 2), np.float32)
    assert sum(len(part.flux) for part in parts_of_array(flux, np.zeros(40_000, int))) == 40_000


def test_plane_of_a_torus_joins_at_the_edges():
    rng = np.random.default_rng(2)
    sample = rng.normal(size=(300, 8)).astype(np.float32) * np.arange(8, 0, -1)
    cells = CellGrid(6, 6)
    weights = start_on_plane(sample.astype(np.float32), cells).reshape(6, 6, 8)
    step = np.linalg.norm(weights[1] - weights[0], axis=1)
    seam = np.linalg.norm(weights[0] - weights[5], axis=1)
    np.testing.assert_allclose(seam, step, rtol=1e-4)
    sheet = start_on_plane(sample.astype(np.float32), CellGrid(6, 6, torus=False))
    centred = sheet.astype(np.float64) - sheet.mean(axis=0)
    assert np.linalg.matrix_rank(centred, tol=1e-4) == 2


def test_one_broken_spectrum_does_not_own_the_plane():
    rng = np.random.default_rng(2)
    sample = rng.normal(size=(500, 8)).astype(np.float32)
    broken = sample.copy()
    broken[0] = 1e5
    assert np.abs(start_on_plane(broken, CellGrid(5, 5))).max() < 5


def test_the_first_plane_takes_less_memory_than_its_sample():
    sample = np.random.default_rng(0).normal(size=(8000, 443)).astype(np.float32)
    tracemalloc.start()
    try:
        start_on_plane(sample, CellGrid(5, 5))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < sample.nbytes


def test_few_spectra_and_one_cell_still_make_a_map():
    flux = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    for start in ("rows", "plane"):
        trained = fit_map([ArrayPart(flux)], CellGrid(1, 1), SomOptions(n_epochs=2, start=start))
        np.testing.assert_allclose(trained.som.weights, [[0.5, 0.5]])
        assert trained.topographic_error == 0


@pytest.mark.parametrize("wrong", [{"n_epochs": 0}, {"last_width": 0.0}, {"start": "zeros"}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(SelectionError):
        SomOptions(**wrong)


def test_batch_quantizes_no_worse_than_the_sequential_mode_at_equal_epochs(ring):
    _, flux = ring
    cells = CellGrid(6, 6)
    schedule = SequentialOptions(n_iterations=80)
    one_by_one = find_winners(flux, fit_sequential(flux, cells, schedule, seed=1).weights)
    batch = fit_map(parts_of_array(flux), cells, SomOptions(n_epochs=round(schedule.n_epochs)))
    assert batch.quantization_error <= one_by_one.distance.mean()
    assert one_by_one.distance.mean() < 0.8 * np.linalg.norm(flux - flux.mean(0), axis=1).mean()


def test_sequential_mode_follows_the_released_schedule_by_hand():
    flux = np.array([[2.0]], np.float32)
    cells = CellGrid(1, 2)
    trained = fit_sequential(flux, cells, SequentialOptions(n_iterations=2, draw_share=1.0), seed=0)
    # One spectrum has no spread, so both weights start at 0. Mean separation of two cells: 0.5.
    weights = np.zeros(2)
    for progress in (0.0, 0.5):
        width = 0.5 * 0.5 ** (1 - progress)
        winner = int(np.argmin((2 - weights) ** 2))
        pull = 0.001**progress * np.exp(-0.5 * (np.abs(np.arange(2) - winner) / width) ** 2)
        weights = weights + pull * (2 - weights)
    np.testing.assert_allclose(trained.weights[:, 0], weights, rtol=1e-6)


def test_first_weights_never_hold_more_than_a_block(ring):
    _, flux = ring
    held = []

    class Watched:
        n_rows = 1500

        def blocks(self):
            for i in range(0, 1500, 300):
                held.append(i)
                yield flux[i : i + 300]

    trained = fit_map([Watched()], CellGrid(3, 3), SomOptions(n_epochs=1))
    assert trained.n_spectra == 1500
    assert held == [0, 300, 600, 900, 1200] * 3  # sample, epoch, errors of the finished map
