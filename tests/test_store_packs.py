"""Short files share shards: same values, same bytes whatever happens, every file accounted for."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from quasarloop.engine import Engine
from quasarloop.grid import LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import read_spectra
from quasarloop.spectra import Keys, RebinnedSpectra
from quasarloop.store import ingest, ingestion, iter_store, open_store
from quasarloop.store.packs import contents_of, ingest_files, take_out


@pytest.fixture(autouse=True)
def four(monkeypatch):
    """Four files share a task."""
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 4)


@pytest.fixture
def survey(tmp_path, spectrum_files):
    """Ten short files: nine of one spectrum, of two surveys, and a coadd of three."""
    folder = tmp_path / "survey"
    folder.mkdir()
    files = [spectrum_files.write_spec(folder / f"spec-{i}.fits", fiber=i) for i in range(1, 9)]
    files.insert(2, spectrum_files.write_coadd(folder / "coadd.fits", n_rows=3, seed=5))
    return [*files, spectrum_files.write_lamost(folder / "lamost.fits")]


def digests(folder):
    shards = open_store(folder).shards
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}


def stored(folder):
    """File -> its rows in the store."""
    found = {}
    for shard in iter_store(open_store(folder)):
        for source in np.unique(shard.source):
            assert source not in found, "a file is stored once"
            found[str(source)] = shard[np.flatnonzero(shard.source == source)]
    return found


def damaged(path):
    path.write_bytes(path.read_bytes()[:5000])
    return path


def test_rows_of_common_shards_are_those_of_their_files(tmp_path, survey):
    summary = ingest(survey, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert (summary.n_rows, summary.n_skipped, len(store.shards), store.n_rows) == (12, 0, 3, 12)
    rows = stored(store.path)
    for path, report in zip(survey, summary.reports, strict=True):
        expected, found = prepare(read_spectra(path), LOG_GRID), rows[str(path)]
        assert (report.source, report.n_rows) == (str(path), len(expected))
        assert report.digest in contents_of(store.shard(report.shard))
        for name in ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags", "source", "row"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
        for name in Keys.__dataclass_fields__:
            np.testing.assert_array_equal(
                getattr(found.keys, name), getattr(expected.keys, name), name
            )


def test_long_files_keep_a_shard_of_their_own(tmp_path, survey, monkeypatch):
    monkeypatch.setattr("quasarloop.store.ingestion._SHORT_BYTES", survey[2].stat().st_size - 1)
    reports = ingest(survey, tmp_path / "store").reports
    with_coadd = [r.source for r in reports if r.shard == reports[2].shard]
    assert with_coadd == [str(survey[2])]
    assert len({r.shard for r in reports}) == 1 + 3


def test_a_second_ingest_opens_nothing_and_new_files_get_shards_of_their_own(
    tmp_path, survey, monkeypatch
):
    first = ingest(survey[:8], tmp_path / "store")
    before = digests(tmp_path / "store")
    opened = []
    monkeypatch.setattr(
        "quasarloop.store.ingestion.ingest_files",
        lambda paths, shelf: opened.extend(paths) or ingest_files(paths, shelf),
    )
    second = ingest(survey, tmp_path / "store")
    assert opened == [str(path) for path in survey[8:]]
    assert second.n_skipped == 8
    assert second.reports[:8] == tuple(
        type(r)(**{**vars(r), "skipped": True}) for r in first.reports
    )
    after = digests(tmp_path / "store")
    assert before.items() <= after.items()
    assert len(after) == 3


def test_damaged_files_are_named_and_change_no_other_shard(tmp_path, survey, two_workers):
    bad = [damaged(survey[1]), damaged(survey[4])]
    for engine in (Engine(), two_workers):
        summary = ingest(survey, tmp_path / f"store{engine.workers}", engine=engine)
        assert list(summary.failures) == [str(path) for path in bad]
        assert all("truncated" in text for text in summary.failures.values())
    assert digests(tmp_path / "store1") == digests(tmp_path / "store2")
    assert ingest(survey, tmp_path / "store1").failures == summary.failures
    assert digests(tmp_path / "store1") == digests(tmp_path / "store2")
    assert sum(r.n_rows for r in summary.reports) == 10


def test_a_file_that_breaks_its_task_is_named_alone(tmp_path, survey, monkeypatch):
    def breaking(paths, shelf):
        if str(survey[5]) in paths:
            raise MemoryError("no more")
        return ingest_files(paths, shelf)

    monkeypatch.setattr("quasarloop.store.ingestion.ingest_files", breaking)
    summary = ingest(survey, tmp_path / "store")
    assert list(summary.failures) == [str(survey[5])]
    assert "no more" in summary.failures[str(survey[5])]
    assert set(stored(tmp_path / "store")) == {str(p) for p in survey if p != survey[5]}


def test_without_the_index_content_tells(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    before = digests(tmp_path / "store")
    (tmp_path / "store" / "index.jsonl").unlink()
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in survey]
    summary = ingest(moved[::-1], tmp_path / "store")
    assert (summary.n_skipped, summary.n_rows) == (10, 12)
    assert digests(tmp_path / "store") == before
    assert ingest(moved, tmp_path / "store").n_skipped == 10


def test_copies_are_stored_once_whichever_task_they_are_in(tmp_path, survey, two_workers):
    copies = [path.with_name(f"copy-{path.name}") for path in survey[:6]]
    for path, copy in zip(survey, copies, strict=False):
        copy.write_bytes(path.read_bytes())
    files = [*survey[:3], copies[2], *survey[3:], *copies[:2], *copies[3:]]
    for engine in (Engine(), two_workers):
        folder = tmp_path / f"store{engine.workers}"
        summary = ingest(files, folder, engine=engine)
        assert set(stored(folder)) == {str(path) for path in survey}
        shards = open_store(folder).shards
        assert {r.shard for r in summary.reports} == {path.stem for path in shards}
        again = ingest(files, folder)
        assert (again.n_skipped, len(again.reports)) == (16, 16)
    assert digests(tmp_path / "store1") == digests(tmp_path / "store2")


@pytest.mark.parametrize("killed", [False, True])
def test_a_changed_file_takes_its_rows_out_of_the_common_shard(
    tmp_path, survey, spectrum_files, monkeypatch, killed
):
    ingest(survey, tmp_path / "store")
    before = stored(tmp_path / "store")
    spectrum_files.write_coadd(survey[2], n_rows=2, seed=99)
    if killed:  # after the new rows were written, before the old ones were taken out
        with monkeypatch.context() as patch:
            patch.setattr(ingestion._Run, "tidy", lambda run: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                ingest(survey, tmp_path / "store")
        assert open_store(tmp_path / "store").n_rows == 12 + 2
    assert ingest(survey, tmp_path / "store").n_skipped == (10 if killed else 9)
    after = stored(tmp_path / "store")
    assert after.keys() == before.keys()
    for path in survey:
        expected = prepare(read_spectra(path), LOG_GRID)
        np.testing.assert_array_equal(after[str(path)].flux, expected.flux)
    assert ingest(survey, tmp_path / "store").n_skipped == 10
    assert open_store(tmp_path / "store").n_rows == 11


def test_what_a_kill_left_twice_is_taken_out(tmp_path, survey):
    first = ingest(survey, tmp_path / "store")
    store = open_store(tmp_path / "store")
    before = digests(store.path)
    new, kept = take_out(store, first.reports[0].shard, {first.reports[0].digest})
    assert new in {path.stem for path in open_store(tmp_path / "store").shards}
    assert list(kept.values()) == [1, 3, 1]
    assert ingest(survey, tmp_path / "store").n_skipped == 10
    assert digests(store.path) == before


def test_an_index_of_one_shard_per_file_is_read_and_touched_files_stay(
    tmp_path, survey, monkeypatch
):
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 1)
    ingest(survey, tmp_path / "store")
    before = digests(tmp_path / "store")
    index = tmp_path / "store" / "index.jsonl"
    entries = [json.loads(line)["files"][0] for line in index.read_text().splitlines()]
    former = [{k: v for k, v in entry.items() if k != "digest"} for entry in entries]
    index.write_text("".join(json.dumps(entry) + "\n" for entry in former))
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 4)
    assert ingest(survey, tmp_path / "store").n_skipped == 10
    for path in survey[:5]:
        os.utime(path, (1, 1))
    assert ingest(survey, tmp_path / "store").n_skipped == 10
    assert digests(tmp_path / "store") == before


def test_a_kill_at_any_moment_is_survived(tmp_path, spectrum_files):
    files = [
        spectrum_files.write_spec(tmp_path / f"spec-{i:02d}.fits", fiber=i) for i in range(1, 61)
    ]
    damaged(files[10])
    ingest(files, tmp_path / "whole")
    code = (
        "from quasarloop.store import ingest, ingestion\n"
        "ingestion.PACK_FILES = 4\n"
        f"ingest({[str(f) for f in files]!r}, {str(tmp_path / 'killed')!r})"
    )
    pattern = "shards/*/*.parquet"
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", code])
        seen = len(list((tmp_path / "killed").glob(pattern)))
        while child.poll() is None:
            if len(list((tmp_path / "killed").glob(pattern))) > seen + 1:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(digests(tmp_path / "killed")) < 15
    again = ingest(files, tmp_path / "killed")
    assert len(again.reports) == 59
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_a_longer_pack_costs_no_more_for_each_of_its_files(tmp_path, spectrum_files, monkeypatch):
    monkeypatch.setattr("quasarloop.store.ingestion.PACK_FILES", 64)
    files = [spectrum_files.write_spec(tmp_path / f"spec-{i}.fits", fiber=i) for i in range(1, 33)]
    looked, length = [], RebinnedSpectra.__len__
    monkeypatch.setattr(RebinnedSpectra, "__len__", lambda self: looked.append(1) or length(self))
    counts = []
    for n in (8, 32):
        looked.clear()
        ingest(files[:n], tmp_path / f"store-{n}")
        counts.append(len(looked))
    assert counts[1] <= 4 * counts[0]
