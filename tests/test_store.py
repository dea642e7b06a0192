"""The store: what goes in comes out, once, whole, whatever happens on the way."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from quasarloop.engine import Engine
from quasarloop.errors import DataFormatError, GridError, OutputError
from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.quality import prepare
from quasarloop.read import SpectraFile, content_digest, read_spectra
from quasarloop.spectra import Flag, Keys
from quasarloop.store import (
    create_store,
    ingest,
    ingest_file,
    iter_store,
    load_targets,
    open_store,
    read_shard,
)
from quasarloop.store.files import metadata_of

pytestmark = pytest.mark.usefixtures("one_file_a_task")


def digests(store):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in store.shards}


def assert_equal(found, expected):
    for name in ("flux", "ivar", "mean_flux", "rms_flux", "sn", "flags", "source", "row"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    for name in Keys.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found.keys, name), getattr(expected.keys, name), name)


@pytest.mark.parametrize("grid", [LOG_GRID, LINEAR_GRID])
def test_what_goes_in_comes_out(tmp_path, survey, grid):
    summary = ingest(survey, tmp_path / "store", grid)
    assert (summary.n_rows, summary.n_skipped, dict(summary.failures)) == (9, 0, {})
    assert summary.flags == {"NOT_TARGET": 1}
    store = open_store(tmp_path / "store")
    assert store.grid == grid
    assert store.n_rows == 9
    assert len(store.shards) == 3
    for report, path in zip(summary.reports, survey, strict=True):
        assert report.source == str(path)
        assert_equal(read_shard(store.shard(report.shard)), prepare(read_spectra(path), grid))


def test_shards_say_where_they_come_from(tmp_path, survey):
    report = ingest(survey[:1], tmp_path / "store").reports[0]
    store = open_store(tmp_path / "store")
    content = metadata_of(pq.read_schema(store.shard(report.shard)), report.shard)
    assert content["source"]["path"] == str(survey[0])
    assert content["source"]["content_sha256"] == content_digest(survey[0])
    assert content["versions"]["numpy"] == np.__version__
    schema = pq.read_schema(store.shards[0])
    assert str(schema.field("FLUX").type) == "fixed_size_list<element: float>[443]"
    survey_names = {"TARGETID", "OBJECT_ID", "TARGET_RA", "TARGET_DEC", "SURVEY", "PROGRAM"}
    survey_names |= {"TILEID", "HEALPIX", "NIGHT", "EXPID", "PETAL", "FIBER", "OBJTYPE"}
    survey_names |= {"SN_B", "SN_R", "SN_Z", "MEAN_FLUX", "RMS_FLUX", "FLAGS", "SOURCE", "ROW"}
    assert survey_names | {"FLUX", "IVAR", "FIBERSTATUS"} == set(schema.names)


def test_second_ingest_opens_nothing(tmp_path, survey, monkeypatch):
    first = ingest(survey, tmp_path / "store")
    before = digests(open_store(tmp_path / "store"))
    monkeypatch.setattr("quasarloop.store.packs.open_spectra", lambda *_: 1 / 0)
    told = []
    second = ingest(survey, tmp_path / "store", on_file=lambda path, what: told.append(path))
    assert second.n_skipped == 3
    assert told == [str(path) for path in survey]
    assert (second.n_rows, second.flags) == (first.n_rows, first.flags)
    assert digests(open_store(tmp_path / "store")) == before


def test_without_the_index_content_tells(tmp_path, survey):
    first = ingest(survey, tmp_path / "store")
    (tmp_path / "store" / "index.jsonl").unlink()
    moved = survey[0].rename(survey[0].with_name("elsewhere.fits"))
    second = ingest([moved, *survey[1:]], tmp_path / "store")
    assert second.n_skipped == 3
    assert second.flags == first.flags
    assert [r.shard for r in second.reports] == [r.shard for r in first.reports]


def test_torn_index_lines_are_ignored(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    index = tmp_path / "store" / "index.jsonl"
    lines = index.read_text().splitlines()
    torn = [lines[0][:30], "[]", '{"key": 3}', *lines[1:]]
    index.write_text("\n".join(torn))
    summary = ingest(survey, tmp_path / "store")
    assert (summary.n_skipped, len(summary.reports)) == (3, 3)


def test_a_lost_shard_is_made_again(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    store = open_store(tmp_path / "store")
    before = digests(store)
    store.shards[1].unlink()
    assert ingest(survey, tmp_path / "store").n_skipped == 2
    assert digests(open_store(tmp_path / "store")) == before


def test_same_content_is_stored_once(tmp_path, survey):
    copy = survey[0].with_name("copy.fits")
    copy.write_bytes(survey[0].read_bytes())
    summary = ingest([survey[0], copy], tmp_path / "store")
    assert [r.skipped for r in summary.reports] == [False, True]
    assert len(open_store(tmp_path / "store").shards) == 1


def test_a_changed_file_replaces_its_shard(tmp_path, survey, spectrum_files, caplog):
    ingest(survey, tmp_path / "store")
    spectrum_files.write_coadd(survey[0], n_rows=2, seed=99)
    summary = ingest(survey, tmp_path / "store")
    assert summary.n_skipped == 2
    store = open_store(tmp_path / "store")
    assert (len(store.shards), store.n_rows) == (3, 7)
    assert "files have changed or are there twice: 1 are taken out" in caplog.text


def test_a_changed_file_leaves_the_shard_of_its_copy(tmp_path, survey, spectrum_files):
    copy = survey[0].with_name("copy.fits")
    copy.write_bytes(survey[0].read_bytes())
    ingest([survey[0], copy], tmp_path / "store")
    spectrum_files.write_coadd(survey[0], n_rows=2, seed=99)
    ingest([survey[0], copy], tmp_path / "store")
    assert open_store(tmp_path / "store").n_rows == 4 + 2


def test_bad_files_stop_nothing_and_are_named(tmp_path, survey):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(survey[0].read_bytes()[:20000])
    text = tmp_path / "text.fits"
    text.write_text("no spectra here" * 300)
    files = [cut, survey[0], text, tmp_path / "absent.fits", survey[2]]
    summary = ingest(files, tmp_path / "store")
    assert [report.source for report in summary.reports] == [str(survey[0]), str(survey[2])]
    assert list(summary.failures) == [str(cut), str(text), str(tmp_path / "absent.fits")]
    assert "truncated" in summary.failures[str(cut)]
    assert "not a FITS file" in summary.failures[str(text)]
    assert "No such file" in summary.failures[str(tmp_path / "absent.fits")]
    left = [p.name for p in (tmp_path / "store").rglob("*") if p.name.startswith(".")]
    assert left == []


def test_workers_make_the_same_bytes(tmp_path, survey, two_workers):
    for engine in (Engine(), two_workers):
        ingest(survey, tmp_path / f"store{engine.workers}", engine=engine)
    assert digests(open_store(tmp_path / "store1")) == digests(open_store(tmp_path / "store2"))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_ingest_and_loses_no_file(tmp_path, survey, workers, two_workers):
    engine = two_workers if workers == 2 else Engine()
    ingest(survey, tmp_path / "whole")
    folder = tmp_path / "store" / "shards"
    name = open_store(tmp_path / "whole").shards[1].parent.name
    folder.mkdir(parents=True)
    (folder / name).touch()  # the shard's folder cannot be made: as bad as a full disk
    with pytest.raises(OutputError, match=f"cannot make the folder {folder / name}"):
        ingest(survey, tmp_path / "store", engine=engine)
    (folder / name).unlink()
    assert len(ingest(survey, tmp_path / "store").reports) == 3
    assert digests(open_store(tmp_path / "store")) == digests(open_store(tmp_path / "whole"))


def test_a_file_that_fails_while_its_shard_is_written_stops_nothing(tmp_path, survey, monkeypatch):
    def failing(file, *_, **__):
        if file.path == survey[1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return blocks(file, 512, masks=False)

    blocks = SpectraFile.blocks
    monkeypatch.setattr(SpectraFile, "blocks", failing)
    summary = ingest(survey, tmp_path / "store")
    assert len(summary.reports) == 2
    assert "cannot be read (Input/output error)" in summary.failures[str(survey[1])]


def test_a_kill_at_any_moment_is_survived(tmp_path, spectrum_files):
    files = [
        spectrum_files.write_coadd(tmp_path / f"coadd-{i}.fits", seed=10 * i) for i in range(25)
    ]
    whole = ingest(files, tmp_path / "whole")
    code = (
        "from quasarloop.store import ingest, ingestion\n"
        "ingestion.PACK_FILES = 1\n"
        f"ingest({[str(f) for f in files]!r}, {str(tmp_path / 'killed')!r})"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code])
        seen = len(list((tmp_path / "killed").glob("shards/*/*.parquet")))
        while child.poll() is None:
            if len(list((tmp_path / "killed").glob("shards/*/*.parquet"))) > seen + 2:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
    # Whatever stands is whole.
    for shard in open_store(tmp_path / "killed").shards:
        assert len(read_shard(shard)) == 4
    again = ingest(files, tmp_path / "killed")
    assert again.n_skipped >= 6
    assert again.flags == whole.flags
    assert digests(open_store(tmp_path / "killed")) == digests(open_store(tmp_path / "whole"))


def test_another_grid_is_refused(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    with pytest.raises(GridError, match=r"holds a log grid, 443 bins .*, not a linear grid"):
        ingest(survey, tmp_path / "store", LINEAR_GRID)
    # The shards' names tell the grids apart as well.
    report = ingest_file(survey[0], create_store(tmp_path / "linear", LINEAR_GRID))
    assert report.shard != ingest(survey[:1], tmp_path / "store").reports[0].shard


def test_a_store_mends_outliers_or_not_as_a_whole(tmp_path, spectrum_files, monkeypatch):
    fine = {
        arm: np.arange(wave[0], wave[-1], 0.8) for arm, wave in spectrum_files.ARM_WAVES.items()
    }
    monkeypatch.setattr(spectrum_files, "ARM_WAVES", fine)
    hdus = spectrum_files.coadd_hdus()
    hdus["R_FLUX"].data[2, 1000] = 1e4
    hdus.writeto(tmp_path / "coadd.fits")
    mended, kept = tmp_path / "mended", tmp_path / "kept"
    shards = []
    for folder, option in ((mended, True), (kept, False)):
        summary = ingest([tmp_path / "coadd.fits"], folder, mend_outliers=option)
        # Its arms are random walks, each of its own.
        assert summary.flags == {"OUTLIER_PIXELS": 1, "ARM_STEP": 4}
        shards.append(summary.reports[0].shard)
        assert (np.abs(next(iter_store(open_store(folder))).flux[2]).max() < 10) == option
        with pytest.raises(DataFormatError, match="mend-outliers; use it again"):
            ingest([tmp_path / "coadd.fits"], folder, mend_outliers=not option)
    assert shards[0] != shards[1]


def test_rows_of_a_shard(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "long.fits", n_rows=1100)
    report = ingest([path], tmp_path / "store").reports[0]
    shard = open_store(tmp_path / "store").shard(report.shard)
    assert pq.ParquetFile(shard).num_row_groups > 1
    whole = read_shard(shard)
    mask = np.zeros(1100, bool)
    mask[[3, 1099]] = True
    for rows in (slice(510, 530), np.array([1050, 7, 7, 600]), mask, np.array([], int), [5]):
        assert_equal(read_shard(shard, rows=rows), whole[rows])
    light = read_shard(shard, with_flux=False, rows=slice(0, 3))
    assert light.flux.shape == light.ivar.shape == (3, 0)
    assert light.keys.target_id.tolist() == [101, 102, 103]


def test_long_files_are_ingested_in_blocks_alike(tmp_path, spectrum_files):
    ids = np.r_[np.arange(1, 1100), 1]  # the last row repeats the first, two blocks away
    path = spectrum_files.write_coadd(tmp_path / "long.fits", n_rows=1100, target_ids=ids)
    summary = ingest([path], tmp_path / "store")
    assert summary.flags == {"DUPLICATE_ROW": 1}
    (found,) = iter_store(open_store(tmp_path / "store"))
    assert_equal(found, prepare(read_spectra(path), LOG_GRID))


def test_targets_are_found_in_the_order_of_the_store(tmp_path, survey):
    ingest(survey, tmp_path / "store")
    store = open_store(tmp_path / "store")
    found = load_targets(store, [101, 7102566660082, 5])
    assert sorted(found.keys.target_id.tolist()) == [101, 101, 7102566660082]
    rows = [(str(s), int(r)) for s, r in zip(found.source, found.row, strict=True)]
    in_order = [
        (str(s), int(r))
        for shard in iter_store(store)
        for s, r, t in zip(shard.source, shard.row, shard.keys.target_id, strict=True)
        if t in (101, 7102566660082)
    ]
    assert rows == in_order
    none = load_targets(store, np.array([5]))
    assert none.flux.shape == (0, 443)
    assert none.keys.target_id.dtype == np.int64


def test_flags_survive_the_store(tmp_path, spectrum_files):
    hdus = spectrum_files.coadd_hdus(n_rows=3)
    hdus["B_FLUX"].data[1, 3] = np.nan
    for arm in "BRZ":
        hdus[f"{arm}_IVAR"].data[2] = 0
    hdus.writeto(tmp_path / "a.fits")
    ingest([tmp_path / "a.fits"], tmp_path / "store")
    (found,) = iter_store(open_store(tmp_path / "store"))
    assert found.flags[0] == 0
    assert found.flags[1] == Flag.NAN_FLUX
    assert found.flags[2] & Flag.NO_DATA
    assert np.isnan(found.sn[2]).all()
    assert np.isnan(found.rms_flux[2])
    assert fits.getdata(tmp_path / "a.fits", "FIBERMAP")["TARGETID"].tolist() == [101, 102, 103]


def test_ivar_may_be_left_unread(tmp_path, spectrum_files):
    path = spectrum_files.write_coadd(tmp_path / "c.fits", n_rows=5)
    report = ingest([path], tmp_path / "store").reports[0]
    shard = open_store(tmp_path / "store").shard(report.shard)
    whole, light = read_shard(shard), read_shard(shard, with_ivar=False)
    np.testing.assert_array_equal(light.flux, whole.flux)
    assert light.ivar.shape == (5, 0)
    assert read_shard(shard, with_flux=False, with_ivar=False).flux.shape == (5, 0)
