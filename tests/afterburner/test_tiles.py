"""Many tiles: any engine, the same bytes; done ones skipped, failed ones named."""

import shutil
import sys
from pathlib import Path

import fitsio
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from afterburner_rows import write_redrock_of

from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.reruns import Selection
from quasarloop.afterburner.tiles import AfterburnerOptions, RunOptions, find_tiles, run_tiles
from quasarloop.cli import app
from quasarloop.errors import DataFormatError, TaskError


@pytest.fixture
def reduction(tile, tmp_path):
    """Three tiles, one of them gzipped in name only, and a coadd without redrock."""
    top = tmp_path / "cumulative"
    for name in ("1/20260101", "2/20260102", "3/20260103"):
        folder = top / name
        folder.mkdir(parents=True)
        stem = f"0-{name[0]}-thru{name[2:]}.fits"
        shutil.copyfile(tile.coadd, folder / f"coadd-{stem}")
        if name[0] != "3":
            shutil.copyfile(tile.redrock, folder / f"redrock-{stem}")
    return top


def work(**changes):
    return RunOptions(
        AfterburnerOptions(Selection(target_classes=("BGS_ANY",)), rerun="later"), **changes
    )


def test_pairs_are_found(reduction, tmp_path, caplog):
    tiles = find_tiles(reduction, tmp_path / "out")
    assert [t.output.relative_to(tmp_path / "out").as_posix() for t in tiles] == [
        "1/20260101/qso_qn-0-1-thru20260101.fits",
        "2/20260102/qso_qn-0-2-thru20260102.fits",
    ]
    assert "coadd-0-3-thru20260103.fits has no redrock" in caplog.text
    with pytest.raises(DataFormatError, match="1 coadds, none with its redrock file"):
        find_tiles(reduction / "3", tmp_path)


def test_resumed_and_the_same_on_any_engine(reduction, tmp_path, two_workers):
    outputs = []
    for name, engine in (("one", None), ("two", two_workers)):
        tiles = find_tiles(reduction, tmp_path / name)
        seen = []
        report = run_tiles(
            tiles, work(), engine=engine, on_tile=lambda t, _, seen=seen: seen.append(t.coadd)
        )
        assert [s.n_rows for s in report.complete()] == [120, 120]
        assert len(seen) == 2
        outputs.append([t.output.read_bytes() for t in tiles])
    assert outputs[0] == outputs[1]
    # one of them lost: only that one is made again
    tiles[0].output.unlink()
    kept = tiles[1].output.stat().st_mtime_ns
    report = run_tiles(tiles, work())
    assert [s.kept for s in report.complete()] == [False, True]
    assert tiles[1].output.stat().st_mtime_ns == kept
    assert tiles[0].output.read_bytes() == outputs[0][0]


def test_outputs_of_another_recipe_are_not_taken_for_done(reduction, tmp_path):
    tiles = find_tiles(reduction, tmp_path / "out")[:1]
    run_tiles(tiles, work()).complete()
    other = RunOptions(
        AfterburnerOptions(Selection(0.99, target_classes=("BGS_ANY",)), rerun="later")
    )
    with pytest.raises(TaskError, match="made with another selection"):
        run_tiles(tiles, other).complete()
    redone = RunOptions(other.tile, overwrite=True)
    run_tiles(tiles, redone).complete()
    assert read_output(tiles[0].output).recipe["selection"]["c_thresh"] == 0.99


def test_one_broken_file_does_not_stop_the_others(reduction, tmp_path):
    tiles = find_tiles(reduction, tmp_path / "out")
    tiles[0].coadd.write_bytes(tiles[0].coadd.read_bytes()[:100_000])
    report = run_tiles(tiles, work())
    assert list(report.failures) == [tiles[0].coadd.name]
    assert "truncated" in report.failures[tiles[0].coadd.name]
    assert tiles[1].output.exists()
    assert not tiles[0].output.exists()


class TestCommand:
    def run(self, *words):
        done = CliRunner().invoke(app, ["afterburner", *map(str, words)], env={"QN_MODEL_FILE": ""})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def test_one_tile(self, tile, tmp_path):
        output = tmp_path / "qso_qn.fits"
        done = self.run(
            *("--coadd", tile.coadd, "--redrock", tile.redrock, "--output", output),
            *("--target_selection", "BGS_ANY", "--c_thresh", 0.6, "--rerun", "later"),
        )
        assert done.exit_code == 0
        assert done.stdout.startswith("120 rows, ")
        assert read_output(output).recipe["selection"] == {
            "c_thresh": 0.6,
            "n_thresh": 1,
            "target_classes": ["BGS_ANY"],
        }
        assert len(fitsio.read(output, ext="QN_RR")) == 120

    def test_left_for_later_says_what_to_do(self, tile, tmp_path):
        output = tmp_path / "qso_qn.fits"
        done = self.run(
            *("--coadd", tile.coadd, "--redrock", tile.redrock, "--output", output),
            *("--rerun", "later", "--thresholds", "paper", "--policy", "paper"),
        )
        script = tmp_path / "qso_qn-rerun" / "redrock.sh"
        assert f"rows wait for redrock: run sh {script}" in done.stdout
        text = script.read_text()
        assert "RR_TEMPLATE_DIR" in text
        assert f"--output {output} --finish" in text

    def test_reduction(self, reduction, tmp_path):
        words = ("--reduction", reduction, "--output", tmp_path / "out")
        done = self.run(*words, "--rerun", "later", "--target-selection", "BGS_ANY")
        assert "2 of 2 files (0 were there), 240 rows" in done.stdout
        done = self.run(*words, "--rerun", "later", "--target-selection", "BGS_ANY")
        assert "2 of 2 files (2 were there), 240 rows" in done.stdout

    def test_a_folder_is_finished_as_far_as_it_goes(self, reduction, tmp_path):
        out = tmp_path / "out"
        self.run("--reduction", reduction, "--output", out, "--rerun", "later")
        done = self.run("--output", out, "--finish")
        assert done.exit_code == 1
        assert "0 files complete, 2 still wait" in done.stdout
        # every target a galaxy at z = 0.3
        for waiting in out.rglob("*-rerun"):
            for priors in waiting.glob("priors-*.fits"):
                result = waiting / priors.name.replace("priors", "redrock")
                write_redrock_of(result, fitsio.read(priors, ext="PRIORS")["TARGETID"])
        done = self.run("--output", out, "--finish")
        assert done.exit_code == 0
        assert "2 files complete, 0 still wait" in done.stdout
        table = read_output(next(out.rglob("qso_qn-*.fits"))).table
        assert (table["Z_NEW"][table["IS_QSO_QN_NEW_RR"]] == 0.3).all()

    def test_help_has_an_example(self):
        assert "quasarloop afterburner --coadd" in self.run("--help").stdout
