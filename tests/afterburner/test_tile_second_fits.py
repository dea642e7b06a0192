"""Redrock's second fits: a program that fails, results left for later, those of others."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import fitsio
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import assert_same, write_redrock_of
from fake_rrdesi import settings_of

from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.redrock_run import later_folder
from quasarloop.afterburner.reruns import RerunBit
from quasarloop.afterburner.tiles import AfterburnerOptions, finish_tile, run_tile
from quasarloop.errors import RedrockError


class TestFailures:
    """Nothing is left behind, neither files of ours nor half an output."""

    def check(self, tile, network, settings, tmp_path, message):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        settings = replace(settings, scratch=scratch)
        before = sorted(tile.coadd.parent.iterdir())
        with pytest.raises(RedrockError, match=message):
            run_tile(tile.coadd, tile.redrock, tmp_path / "out.fits", network, settings)
        assert list(scratch.iterdir()) == []
        assert sorted(tile.coadd.parent.iterdir()) == before
        assert not (tmp_path / "out.fits").exists()

    def test_redrock_fails(self, tile, network, template_files, fake_rrdesi, tmp_path):
        program = fake_rrdesi(before="raise ValueError('no RESOLUTION')")
        settings = settings_of(program, template_files)
        self.check(tile, network, settings, tmp_path, "status 1.*\n.*[^$]*no RESOLUTION")

    def test_redrock_under_numpy_2(self, tile, network, template_files, fake_rrdesi, tmp_path):
        program = fake_rrdesi(before="raise AttributeError('`np.NaN` was removed')")
        settings = settings_of(program, template_files)
        self.check(tile, network, settings, tmp_path, "python, not its rrdesi, with --rrdesi")

    def test_redrock_writes_nothing(self, tile, network, template_files, fake_rrdesi, tmp_path):
        settings = settings_of(fake_rrdesi(before="sys.exit(0)"), template_files)
        self.check(tile, network, settings, tmp_path, "no result for run 1")

    def test_redrock_is_not_there(self, tile, network, template_files, tmp_path):
        settings = settings_of(str(tmp_path / "nowhere"), template_files)
        self.check(tile, network, settings, tmp_path, "cannot run .*nowhere")

    def test_library_is_not_there(self, tile, network, template_files, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "redrock", None)
        settings = AfterburnerOptions(rerun="library", templates=(template_files,))
        self.check(tile, network, settings, tmp_path, "redrock cannot be imported")


def test_temporary_files_are_private(tile, network, template_files, fake_rrdesi, tmp_path):
    note = tmp_path / "note.json"
    program = fake_rrdesi(
        before=f"import os, json; p = os.path.dirname(said('--priors')); "
        f"open({str(note)!r}, 'w').write(json.dumps([p, os.stat(p).st_mode & 0o777]))"
    )
    settings = settings_of(program, template_files)
    run_tile(tile.coadd, tile.redrock, tmp_path / "out.fits", network, settings)
    folder, mode = json.loads(note.read_text())
    assert mode == 0o700
    assert not Path(folder).exists()
    assert tile.coadd.parent not in Path(folder).parents


def test_left_for_later_and_finished(tile, network, template_files, fake_rrdesi, tmp_path):
    program = fake_rrdesi()
    done, later = tmp_path / "done.fits", tmp_path / "later.fits"
    run_tile(tile.coadd, tile.redrock, done, network, settings_of(program, template_files))
    settings = settings_of(program, template_files, rerun="later")
    summary = run_tile(tile.coadd, tile.redrock, later, network, settings)
    waiting = read_output(later)
    expected = read_output(done).table
    assert waiting.waiting
    again = (expected["RERUN_BITS"] & RerunBit.RERUN) != 0
    assert summary.counts["WAITING"] == again.sum()
    assert not waiting.table["IS_QSO_QN_NEW_RR"].any()  # nobody must look for a Z_NEW yet
    assert (waiting.table["Z"] == waiting.table["Z_RR"]).all()
    with pytest.raises(RedrockError, match=r"missing: .*redrock-1\.fits"):
        finish_tile(later)
    listed = (later_folder(later) / "targets-1.txt").read_text().split()
    assert [int(x) for x in listed] == expected["TARGETID"][again].tolist()
    assert os.system(f"sh {summary.script} > {tmp_path / 'log'}") == 0
    finish_tile(later)
    assert_same(read_output(later).table, expected)
    assert read_output(later).recipe["redrock"]["version"] == "0.21.0"
    assert finish_tile(later).counts["WAITING"] == 0  # again: nothing to do


def test_results_of_an_earlier_rerun_are_not_taken(tile, network, template_files, tmp_path):
    output = tmp_path / "later.fits"
    settings = AfterburnerOptions(rerun="later", templates=(template_files,))
    run_tile(tile.coadd, tile.redrock, output, network, settings)
    stale = later_folder(output) / "redrock-1.fits"
    write_redrock_of(stale, fitsio.read(later_folder(output) / "priors-1.fits")["TARGETID"])
    run_tile(tile.coadd, tile.redrock, output, network, settings, overwrite=True)
    with pytest.raises(RedrockError, match="missing"):
        finish_tile(output)


def test_results_of_other_targets_are_refused(tile, network, template_files, fake_rrdesi, tmp_path):
    output = tmp_path / "later.fits"
    settings = settings_of(fake_rrdesi(), template_files, rerun="later")
    run_tile(tile.coadd, tile.redrock, output, network, settings)
    n = len([p for p in later_folder(output).iterdir() if p.name.startswith("priors")])
    other = tmp_path / "other.fits"
    write_redrock_of(other, np.array([1, 2]))
    with pytest.raises(RedrockError, match="none of the"):
        finish_tile(output, [other] * n)
    with pytest.raises(RedrockError, match=f"waits for {n} results"):
        finish_tile(output, [other] * (n + 1))
