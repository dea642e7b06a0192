"""quasarloop inspect and quasarloop labels, from the command line."""

import json
import re
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.errors import InspectionError, OutputError
from quasarloop.grid import LOG_GRID
from quasarloop.inspect import database, listen, server
from quasarloop.inspect.database import Database, open_database, setting
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.inspect.server import first_admin, prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.labels.verdict import Verdict
from quasarloop.read import read_truth
from quasarloop.store import ingest
from quasarloop.truth import SpecType

BIG_ID = 39627945488154697
QSO = Verdict(SpecType.QSO, 2.1034, 4)
HEADER = "TARGETID,VI_scanner,VI_quality,VI_issue,VI_z,VI_spectype,VI_comment\n"


def run(*arguments):
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def db(tmp_path, add_person, add_items, database):
    """A campaign of three inspectors and three objects: agreed, in conflict, open."""
    for name in ("ada", "bea", "cyd"):
        add_person(name)
    add_items(3)
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    run("inspect", "assign", "--db", url)
    with database.write() as session:
        for name in ("ada", "bea", "cyd"):
            user = person_called(session, name)
            odd = Verdict(SpecType.STAR, 0.0, 4) if name == "cyd" else QSO
            for target, verdict in ((BIG_ID, QSO), (BIG_ID + 1, odd)):
                item = item_of(session, target)
                save_label(session, item, user, Save(verdict, 0, f"{name}-{target}", seconds=6.0))
    return url


def test_assigning_inviting_and_shutting_out(db):
    assert "0 assignments made" in run("inspect", "assign", "--db", db)
    link = run("inspect", "invite", "dan", "--db", db, "--address", "https://vi.example.org/")
    assert re.fullmatch(r"https://vi\.example\.org/join/[\w-]{20,}\n", link)
    assert "2 taken back" in run("inspect", "assign", "--db", db, "--per-object", 1)
    assert "bea is out" in run("inspect", "shut-out", "bea", "--db", db)
    with pytest.raises(InspectionError, match="nobody here is called eve"):
        run("inspect", "shut-out", "eve", "--db", db)
    link = run("inspect", "reset", "ada", "--db", db, "--address", "https://vi.example.org")
    assert re.fullmatch(r"https://vi\.example\.org/\w+/[\w-]{20,}\n", link)
    with pytest.raises(InspectionError, match="joined already"):
        run("inspect", "invite", "ada", "--db", db)


def test_merging_says_who_waits(db):
    assert run("labels", "merge", "--db", db) == f"{BIG_ID + 1} redshift,class\n"


def test_status_shows_everything_and_draws_the_figure(db, tmp_path):
    figure = tmp_path / "agreement.png"
    said = run("labels", "status", "--db", db, "--figure", figure)
    assert re.search(r"agreed\s*│\s*1", said)
    assert re.search(r"to decide\s*│\s*1", said)
    assert re.search(r"ada – bea\s*│\s*2", said)
    assert figure.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("suffix", [".csv", ".fits", ".parquet"])
@pytest.mark.parametrize("form", ["merged", "truth"])
def test_final_labels_go_out_and_are_truth(db, tmp_path, suffix, form):
    path = tmp_path / f"out{suffix}"
    assert "1 labels" in run("labels", "export", path, "--format", form, "--db", db)
    truth = read_truth(path)
    assert truth.target_id.tolist() == [BIG_ID]
    assert truth.z.tolist() == [2.1034]
    with pytest.raises(OutputError, match="exists"):
        run("labels", "export", path, "--format", form, "--db", db)


def test_wrong_wishes_are_explained(db, tmp_path):
    with pytest.raises(InspectionError, match="expected merged, truth, prospect or ranks"):
        run("labels", "export", tmp_path / "x.csv", "--format", "best", "--db", db)
    with pytest.raises(OutputError, match=r"\.csv, \.fits or \.parquet"):
        run("labels", "export", tmp_path / "x.txt", "--db", db)
    empty = f"sqlite:///{tmp_path / 'empty.db'}"
    with pytest.raises(InspectionError, match="no object has a final label"):
        run("labels", "export", tmp_path / "x.csv", "--db", empty)
    with pytest.raises(InspectionError, match="cannot be read"):
        run("labels", "import", tmp_path / "absent.csv", "--db", empty)


def test_files_come_in_and_go_out(db, tmp_path):
    other = tmp_path / "desi-vi_x_dee.csv"
    other.write_text(f"{HEADER}{BIG_ID + 1},dee,4,,2.1034,QSO,sure\n", encoding="utf-8")
    assert "1 labels new, 0 known, 0 objects new" in run("labels", "import", other, "--db", db)
    assert "0 labels new, 1 known" in run("labels", "import", other, "--db", db)
    merged = tmp_path / "merged.csv"
    merged.write_text(
        f"TARGETID,best_z,best_quality,best_spectype\n{BIG_ID + 2},0.5,3.5,GALAXY\n",
        encoding="utf-8",
    )
    assert "1 labels new" in run("labels", "import", merged, "--db", db, "--merger", "team")
    out = run("labels", "export", tmp_path / "vi", "--format", "prospect", "--db", db)
    assert [line.rsplit("_", 1)[1] for line in out.split()] == [
        "ada.csv",
        "bea.csv",
        "cyd.csv",
        "dee.csv",
    ]
    final = tmp_path / "final.csv"
    run("labels", "export", final, "--db", db)
    assert read_truth(final).target_id.tolist() == [BIG_ID, BIG_ID + 2]


def test_a_campaign_without_objects_is_refused_and_the_first_admin_invited_once(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    with pytest.raises(InspectionError, match="give a --worklist"):
        prepare(database, open_spectra([]))
    link = first_admin(database)
    with database.write() as session:
        join(session, link.rsplit("/", 1)[1], "a long password")
    assert first_admin(database) is None
    database.close()


def test_serving_nothing_leaves_no_connection_open(tmp_path, monkeypatch):
    closed, close = [], Database.close
    monkeypatch.setattr(Database, "close", lambda self: (closed.append(self.name), close(self)))
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with pytest.raises(InspectionError, match="give a --worklist"):
        run("inspect", "serve", "--db", url)
    assert closed == [url]


def test_serving_loads_the_worklist_and_its_address(tmp_path, monkeypatch, write_coadd):
    started = {}
    monkeypatch.setattr(
        server.uvicorn.Server,
        "run",
        lambda _, sockets: started.update(place=sockets[0].getsockname()),
    )
    write_coadd(tmp_path / "coadd-1.fits", [BIG_ID], [2.0])
    (tmp_path / "worklist.csv").write_text(f"TARGETID\n{BIG_ID}\n")
    url = f"sqlite:///{tmp_path / 'new.db'}"
    words = ["--worklist", tmp_path / "worklist.csv", "--spectra", tmp_path, "--port", 0]
    run("inspect", "serve", "--db", url, *words)
    host, port = started["place"]
    assert (host, port > 0) == ("127.0.0.1", True)
    with open_database(url).closing() as session:
        assert item_of(session, BIG_ID).row == 0
        assert setting(session, "address") == f"http://127.0.0.1:{port}"


def test_answers_leave_at_once():
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_whoever_connects_while_the_server_starts_waits(tmp_path, monkeypatch):
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(InspectionError, match=rf"127.0.0.1:{port} .*; give another --host"):
            run("inspect", "serve", "--port", port)

    def opened(_url):
        with socket.create_connection(("127.0.0.1", port)):
            raise InspectionError("connected")

    monkeypatch.setattr(database, "open_database", opened)
    with pytest.raises(InspectionError, match="connected"):
        run("inspect", "serve", "--port", port)


def test_exported_labels_train_a_network_as_they_are(tmp_path, write_coadd):
    """The whole way: spectra, inspection, merge, export, `quasarloop train`."""
    ids = [BIG_ID + i for i in range(12)]
    coadd = write_coadd(tmp_path / "coadd-1.fits", ids, [2.0 + 0.1 * i for i in range(12)])
    ingest([coadd], tmp_path / "store", LOG_GRID)
    worklist = tmp_path / "worklist.json"
    worklist.write_text(json.dumps([str(target) for target in ids]), encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    database = open_database(url)
    with database.write() as session:
        for name in ("ada", "bea", "cyd"):
            join(session, invite(session, name, "inspector"), "a long password")
    prepare(database, open_spectra([tmp_path / "store"]), worklist=worklist)
    with database.write() as session:
        for name in ("ada", "bea", "cyd"):
            for number, target in enumerate(ids):
                verdict = Verdict(SpecType.QSO, 2.0 + 0.1 * number, 4)
                user = person_called(session, name)
                save = Save(verdict, 0, f"{name}-{number}")
                save_label(session, item_of(session, target), user, save)
    database.close()
    for form in ("merged", "truth"):
        truth = tmp_path / f"{form}.fits"
        run("labels", "export", truth, "--format", form, "--db", url)
        weights = tmp_path / f"{form}.h5"
        options = ["--store", tmp_path / "store", "--truth", truth, "--out", weights]
        run("train", *options, "--epochs", 1, "--validation", 0, "--monitor", "none")
        assert weights.stat().st_size > 100_000


def test_the_page_is_served_without_what_it_does_not_need_yet(start_server, prepared):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("what a process has loaded is looked up in /proc, which is not here")
    server = start_server(f"sqlite:///{prepared[0]}", [prepared[1]])
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    assert "fitsio" in loaded
    found = [name for name in ("libtorch", "/scipy/", "polars", "libarrow") if name in loaded]
    assert not found, "a second of every start"
