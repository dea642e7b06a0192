"""The command lines of desispec's two quasar steps: its options, its defaults, its calls."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import fitsio
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_rrdesi import FAKE
from test_mgii_file import planted_tile, write_template

from quasarloop.afterburner import qsomgii, qsoqn
from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.reruns import RerunBit
from quasarloop.cli import app

FILES = ["--coadd", "c.fits", "--redrock", "r.fits", "--output", "o.fits"]
# Names and defaults of desispec 0.71.6, scripts/qsoqn.py and scripts/qsomgii.py.
QN = {
    "target_selection": "qso_targets",
    "save_target": "restricted",
    "c_thresh": 0.5,
    "n_thresh": 1,
    "templates": None,
    "filename_priors": None,
    "filename_output_rerun_RR": None,
    "filename_redrock_rerun_RR": None,
    "delete_RR_output": "True",
}
MGII = {
    "target_selection": "restricted",
    "save_target": "restricted",
    "template_dir": None,
    "lambda_width": 250,
    "max_sigma": 200,
    "min_sigma": 10,
    "min_deltachi2": 16,
    "min_signifiance_A": 3,
    "min_A": 0.0,
}


@pytest.mark.parametrize(("step", "known"), [(qsoqn, QN), (qsomgii, MGII)])
def test_options_and_defaults_are_desispecs(step, known):
    ours = vars(step.parse(FILES))
    assert {name: ours[name] for name in known} == known
    values = {name: "all" if name in ("target_selection", "save_target") else "3" for name in known}
    step.parse([*FILES, *(word for name in known for word in (f"--{name}", values[name]))])


@pytest.mark.redrock
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "known"), [("qsoqn", QN), ("qsomgii", MGII)])
def test_the_list_above_is_desispecs_own(name, known, monkeypatch):
    monkeypatch.syspath_prepend(os.environ.get("QUASARNP_DIR", "."))
    scripts = pytest.importorskip(
        f"desispec.scripts.{name}", reason="desispec and QuasarNP are absent"
    )
    if name == "qsoqn":
        monkeypatch.setattr(scripts, "get_default_qso_templates", lambda: None)
    theirs = vars(scripts.parse(FILES))
    assert {
        key: theirs[key] for key in theirs if key not in ("coadd", "redrock", "output")
    } == known


class Rank:
    """One rank of a communicator whose ranks are threads."""

    def __init__(self, rank, meeting, said):
        self.rank, self.meeting, self.said = rank, meeting, said

    def Get_rank(self):  # noqa: N802 -- as in mpi4py
        return self.rank

    def Get_size(self):  # noqa: N802
        return self.meeting.parties

    def allgather(self, value):
        self.said[self.rank] = value
        self.meeting.wait(timeout=60)
        return list(self.said)


def run_ranks(n, words):
    meeting, said, status = threading.Barrier(n), [None] * n, [None] * n

    def run(rank):
        status[rank] = qsoqn.main(words, comm=Rank(rank, meeting, said))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return status


@pytest.fixture
def words(tile, template_files, tmp_path):
    """The call of desispec's zproc, with a redrock that is quick."""
    program = tmp_path / "rrdesi"
    extra = "open(said('--details'), 'w').close() if '--details' in a else None"
    program.write_text(FAKE.format(python=sys.executable, before="", after=extra))
    program.chmod(0o755)
    command = (
        f"desi_qso_qn_afterburner --coadd {tile.coadd} --redrock {tile.redrock} "
        f"--output {tmp_path / 'qso_qn-1.fits'} --target_selection all --save_target all"
    )
    own = ["--rrdesi", str(program), "--rerun", "program", "--policy", "today"]
    return [*command.split()[1:], *own, "--templates", *map(str, template_files.iterdir())]


def swap(words, **values):
    words = list(words)
    for name, value in values.items():
        words[words.index(f"--{name}") + 1] = str(value)
    return words


def test_the_pipelines_call_writes_every_row(words, tile, tmp_path):
    assert qsoqn.main(words) == 0
    table = read_output(tmp_path / "qso_qn-1.fits").table
    assert table["TARGETID"].tolist() == fitsio.read(tile.redrock)["TARGETID"].tolist()
    assert table["IS_QSO_QN_NEW_RR"].sum() > 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["qso_qn-1.fits", "rrdesi"]


def test_restricted_rows_and_kept_files(words, tile, tmp_path):
    everything, some = tmp_path / "all.fits", tmp_path / "some.fits"
    qsoqn.main(swap(words, output=everything))
    named = ["--delete_RR_output", "False", "--filename_priors", str(tmp_path / "mine.fits")]
    chosen = swap(words, output=some, target_selection="qso_targets", save_target="restricted")
    assert qsoqn.main([*chosen, *named]) == 0
    whole, few = (read_output(path).table for path in (everything, some))
    target = (whole["DESI_TARGET"] & 4) != 0
    assert 0 < target.sum() < len(whole)
    rerun = (whole["RERUN_BITS"] & RerunBit.RERUN) != 0
    assert few["TARGETID"].tolist() == whole["TARGETID"][target & rerun].tolist()
    np.testing.assert_array_equal(few["Z_NEW"], whole["Z_NEW"][target & rerun])
    rest = tile.coadd.name.removeprefix("coadd-")
    kept = {"mine.fits", f"redrock_qn-{rest}", f"rrdetails_qn-{Path(rest).stem}.h5"}
    assert kept <= {p.name for p in tmp_path.iterdir()}
    priors = fitsio.read(tmp_path / "mine.fits", ext="PRIORS")
    assert set(few["TARGETID"]) == set(priors["TARGETID"])
    # no rows at all are a file too: nothing is a quasar target here
    none = swap(chosen, output=tmp_path / "none.fits", target_selection="LGE")
    assert qsoqn.main(none) == 0
    assert len(read_output(tmp_path / "none.fits").table) == 0


def test_ranks_share_files_and_failures(words, tile, tmp_path):
    outputs = [tmp_path / f"{i}.fits" for i in range(3)]
    many = ["--coadd", *[str(tile.coadd)] * 3, "--redrock", *[str(tile.redrock)] * 3]
    many += ["--output", *map(str, outputs)]
    assert run_ranks(2, [*words[6:], *many]) == [0, 0]
    tables = [read_output(path).table for path in outputs]
    for table in tables[1:]:
        np.testing.assert_array_equal(table["Z_NEW"], tables[0]["Z_NEW"])
    # one file is done by one rank of three; where it fails, all of them know
    assert run_ranks(3, words) == [0, 0, 0]
    assert run_ranks(3, swap(words, redrock=tile.coadd)) == [1, 1, 1]
    with pytest.raises(SystemExit):
        qsoqn.parse([*words, "--output", "a.fits", "b.fits"])


MPI = """
import sys
from mpi4py import MPI
from quasarloop.afterburner.qsoqn import main
print("status", main(sys.argv[1:], comm=MPI.COMM_WORLD), flush=True)
"""


def test_ranks_of_a_real_communicator(words, tile, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is absent: pip install mpi4py mpich")
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    mpiexec = shutil.which("mpiexec", path=places)
    if mpiexec is None:
        pytest.skip("no mpiexec here: pip install mpich")
    outputs = [tmp_path / "a.fits", tmp_path / "b.fits"]
    many = ["--coadd", *[str(tile.coadd)] * 2, "--redrock", *[str(tile.redrock)] * 2]
    many += ["--output", *map(str, outputs)]
    for redrock, status in ((tile.redrock, 0), (tile.coadd, 1)):  # the second rank's fails
        many[5] = str(redrock)
        done = subprocess.run(
            [mpiexec, "-n", "2", sys.executable, "-c", MPI, *words[6:], *many],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.count(f"status {status}") == 2, done.stdout + done.stderr
    np.testing.assert_array_equal(*(read_output(path).table["Z_NEW"] for path in outputs))


def test_what_fails_returns_1_and_is_named(words, tile, tmp_path, caplog):
    assert qsoqn.main(swap(words, coadd=tmp_path / "absent.fits")) == 1
    assert "absent.fits" in caplog.text
    assert qsoqn.main(swap(words, target_selection="quasars")) == 1
    assert "no target class 'QUASARS'" in caplog.text
    assert list(tmp_path.glob("*.fits")) == []


def test_a_missing_camera_is_noted_as_desispec_does(words, tile, tmp_path):
    coadd = tmp_path / "coadd-1.fits"
    with fitsio.FITS(tile.coadd) as old, fitsio.FITS(coadd, "rw") as new:
        new.write(None)
        for hdu in old[1:]:
            if not hdu.get_extname().startswith("B_"):
                new.write(hdu.read(), extname=hdu.get_extname())
    note, output = tmp_path / "qso_qn-1.misscamera.txt", tmp_path / "qso_qn-1.fits"
    assert qsoqn.main([*swap(words, coadd=coadd), "--misscamera"]) == 0
    # Source: desispec.scripts.qsoqn and qsomgii, 0.71.6.
    assert note.read_text().splitlines() == [
        f"At least one camera is missing from the coadd file: {coadd}.",
        "This is expected for the exposure directory.",
        "This is NOT expected for cumulative / healpix directory!",
    ]
    assert not output.exists()
    note.unlink()
    assert qsoqn.main(swap(words, coadd=coadd)) == 0  # on request alone
    assert qsoqn.main([*swap(words, output=tmp_path / "whole.fits"), "--misscamera"]) == 0
    assert output.exists()
    assert (tmp_path / "whole.fits").exists()
    assert not note.exists()
    mgii = ["--coadd", coadd, "--redrock", tile.redrock, "--output", output, "--misscamera"]
    assert qsomgii.main(list(map(str, mgii))) == 0
    assert note.exists()


def test_under_our_own_command(words, tmp_path, monkeypatch):
    for command in ("desi_qso_qn_afterburner", "desi_qso_mgii_afterburner"):
        with pytest.raises(SystemExit) as ended:
            app([command, "--nothing"])
        assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        app(["desi_qso_qn_afterburner", *words])
    assert ended.value.code == 0
    assert (tmp_path / "qso_qn-1.fits").is_file()


def test_mgii_rows_and_templates(tmp_path, monkeypatch, caplog):
    coadd, redrock = planted_tile(tmp_path, [0.8, 1.0, 1.2], [0, 6, 6])
    with fitsio.FITS(redrock, "rw") as fits:
        fits["FIBERMAP"].write_column("SV3_DESI_TARGET", np.array([4, 4, 1]))
    write_template(tmp_path)
    monkeypatch.setenv("RR_TEMPLATE_DIR", str(tmp_path))
    out = tmp_path / "qso_mgii-0-1.fits"
    words = ["--coadd", str(coadd), "--redrock", str(redrock), "--output", str(out)]

    assert qsomgii.main([*words, "--target_selection", "all", "--save_target", "all"]) == 0
    assert fitsio.read(out)["IS_QSO_MGII"].tolist() == [False, True, True]
    assert fitsio.read_header(out, ext="MGII")["MGIIREF"] == "redrock"
    rows = {}
    for name, more in {
        "tested": ["--save_target", "all"],
        "found": [],
        "of all": ["--target_selection", "all"],
        "none": ["--min_deltachi2", "1e9"],
    }.items():
        assert qsomgii.main([*words, *more]) == 0
        with fitsio.FITS(out) as fits:
            n = fits["MGII"].get_nrows()
            rows[name] = fits["MGII"]["TARGETID"][:].tolist() if n else []
    assert rows == {"tested": [501, 502], "found": [502], "of all": [502, 503], "none": []}
    monkeypatch.setenv("RR_TEMPLATE_DIR", str(tmp_path / "absent"))
    assert qsomgii.main(words) == 1
    assert "templates are not in" in caplog.text
