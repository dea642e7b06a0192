"""A campaign in a temporary database, and simulated spectra small enough to be quick."""

import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the inspection page needs the [inspect] extra")

from argon2 import PasswordHasher

from quasarloop.inspect import people
from quasarloop.inspect.database import open_database
from quasarloop.inspect.library import template_kind
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.tables import Item, Practice
from quasarloop.truth import SpecType

PASSWORD = "correct horse battery"
# A real DESI TARGETID beyond 2⁵³: JavaScript's numbers would change its last digits.
BIG_ID = 39627945488154697


@pytest.fixture(scope="session", autouse=True)
def strong_hasher():
    """The real hasher; all other tests hash with little memory."""
    strong = people._HASHER
    patch = pytest.MonkeyPatch()
    patch.setattr(people, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    yield strong
    patch.undo()


@pytest.fixture
def database(tmp_path, request):
    path = tmp_path / "labels.db"
    if "campaign" in request.fixturenames:
        shutil.copy(request.getfixturevalue("prepared")[0], path)
    opened = open_database(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def add_person(database):
    def add(name, role="inspector"):
        with database.write() as session:
            return join(session, invite(session, name, role), PASSWORD)

    return add


@pytest.fixture
def add_items(database):
    def add(n=3, first=BIG_ID):
        with database.write() as session:
            items = [
                Item(target_id=first + i, rank=i, source=f"file{i}.fits", row=i, predictions={})
                for i in range(n)
            ]
            session.add_all(items)
            session.flush()
            return items

    return add


@pytest.fixture(scope="session")
def write_coadd():
    """The function that writes simulated coadds."""
    return _write_coadd


def _write_coadd(path, target_ids, redshifts, *, spectypes=None, seed=0, step=0.8):
    """Write quasars, galaxies and stars with known redshifts as a DESI coadd."""
    import fitsio

    rng = np.random.default_rng(seed)
    spectypes = spectypes or [SpecType.QSO] * len(target_ids)
    with fitsio.FITS(str(path), "rw", clobber=True) as file:
        file.write(None)
        ids = np.array(target_ids, dtype=np.int64)
        kind = np.full(len(ids), b"TGT")
        file.write({"TARGETID": ids, "OBJTYPE": kind}, extname="FIBERMAP")
        for arm, low, high in (("B", 3600, 5800), ("R", 5760, 7620), ("Z", 7520, 9824)):
            wave = np.arange(low, high + step / 2, step)
            flux = np.empty((len(ids), len(wave)), dtype=np.float32)
            for i, (z, spectype) in enumerate(zip(redshifts, spectypes, strict=True)):
                template = template_kind(spectype)
                flux[i] = 5 * np.interp(wave, template.wave_aa * (1 + z), template.vectors[0])
            sigma = 0.5 + 1.5 * np.exp(-0.5 * ((wave - low) / 150) ** 2)
            flux += rng.normal(size=flux.shape) * sigma
            ivar = np.broadcast_to(sigma**-2.0, flux.shape).astype(np.float32).copy()
            ivar[:, 100:104] = 0
            file.write(wave, extname=f"{arm}_WAVELENGTH")
            file.write(flux.astype(np.float32), extname=f"{arm}_FLUX")
            file.write(ivar, extname=f"{arm}_IVAR")
            mask = np.where(ivar == 0, 4, 0).astype(np.int32)
            file.write(mask, extname=f"{arm}_MASK")
    return path


class Client:
    """A browser of the API: keeps its cookie, sends its CSRF token."""

    def __init__(self, app, name=None, password=PASSWORD):
        with warnings.catch_warnings():
            # Starlette would rather have httpx2; schemathesis, which we test with, has httpx.
            warnings.simplefilter("ignore")
            from fastapi.testclient import TestClient

        self.http = TestClient(app, follow_redirects=False)
        self.csrf = self.token(self.http.get("/login").text)
        if name is not None:
            answer = self.form("/login", name=name, password=password)
            assert answer.status_code == 303, answer.text
            self.csrf = self.http.get("/api/me").json()["csrf"]

    @staticmethod
    def token(page):
        return re.search(r'name="csrf" content="([0-9a-f]+)"', page).group(1)

    def form(self, path, **fields):
        return self.http.post(path, data={"csrf_token": self.csrf, **fields})

    def send(self, method, path, json=None):
        headers = {} if method == "GET" else {"X-CSRF-Token": self.csrf}
        return self.http.request(method, path, headers=headers, json=json)

    def get(self, path):
        return self.send("GET", path)

    def put(self, path, json):
        return self.send("PUT", path, json)

    def post(self, path, json=None):
        return self.send("POST", path, json or {})


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, write_coadd, strong_hasher):
    """A campaign made once: five people, three objects, the third one's file missing."""
    from quasarloop.inspect.server import prepare
    from quasarloop.inspect.spectra_files import open_spectra

    folder = tmp_path_factory.mktemp("campaign")
    ids = [BIG_ID, BIG_ID + 1, BIG_ID + 2]
    path = write_coadd(folder / "coadd-1.fits", ids[:2], [2.5, 1.0], step=8.0)
    objects = [
        {"TARGETID": str(target), "SOURCE": str(path), "ROW": row, "ENTROPY": 1.5 - row}
        for row, target in enumerate(ids)
    ]
    objects[2]["SOURCE"] = "gone.fits"
    worklist = folder / "worklist.json"
    worklist.write_text(json.dumps({"objects": objects}), encoding="utf-8")
    opened = open_database(f"sqlite:///{folder / 'labels.db'}")
    roles = {"max": "merger", "root": "admin"}
    with opened.write() as session:
        for name in ("ada", "bea", "cyd", "max", "root"):
            join(session, invite(session, name, roles.get(name, "inspector")), PASSWORD)
    prepare(opened, open_spectra([path]), worklist=worklist)
    with opened.write() as session:
        known = write_coadd(folder / "coadd-practice.fits", [BIG_ID + 500], [1.0], step=8.0)
        place = {"target_id": BIG_ID + 500, "source": str(known), "row": 0}
        session.add(Practice(**place, spectype=SpecType.QSO, z=1.0))
    opened.close()
    return folder / "labels.db", path


@pytest.fixture
def campaign(database, prepared):
    """The prepared campaign's application, with a database of its own."""
    from quasarloop.inspect.server import create_app
    from quasarloop.inspect.spectra_files import open_spectra

    return create_app(database, open_spectra([prepared[1]]))


@pytest.fixture
def client(campaign):
    """A function that logs somebody in."""
    return lambda name=None: Client(campaign, name)


@pytest.fixture(scope="module")
def shared_client(tmp_path_factory, prepared):
    """The same on one application for a whole module: for tests that leave no traces."""
    from quasarloop.inspect.server import create_app
    from quasarloop.inspect.spectra_files import open_spectra

    path = tmp_path_factory.mktemp("shared") / "labels.db"
    shutil.copy(prepared[0], path)
    opened = open_database(f"sqlite:///{path}")
    app = create_app(opened, open_spectra([prepared[1]]))
    known = {}

    def log_in(name=None):
        if name not in known:
            known[name] = Client(app, name)
        return known[name]

    yield log_in
    opened.close()


class Server:
    """The real server in a process of its own, to be killed and started again."""

    def __init__(self, db, spectra, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.db, self.log = db, log
        self.command = [sys.executable, "-c", "from quasarloop.cli import main; main()"]
        self.command += ["inspect", "serve", "--db", db, "--port", str(self.port)]
        for path in spectra:
            self.command += ["--spectra", str(path)]
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        import httpx

        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        while True:
            try:
                return httpx.get(f"{self.url}/login").raise_for_status()
            except httpx.HTTPError:
                assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
                time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


@pytest.fixture
def start_server(tmp_path):
    """A function that serves a database's campaign; servers are stopped at the end."""
    servers = []

    def start(db, spectra):
        server = Server(db, spectra, tmp_path / f"server-{len(servers)}.log")
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def module_server():
    """The same for a whole module."""
    servers = []

    def start(db, spectra, log):
        server = Server(db, spectra, log)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server of our own on a free port, as URL prefix; skips where there is none."""
    pytest.importorskip("psycopg", reason="the PostgreSQL tests need the package psycopg")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("no PostgreSQL server: install Debian's package postgresql")
    user = pwd.getpwuid(os.getuid()).pw_name
    prefix = []
    if user == "root":  # PostgreSQL will not run as root
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("no user postgres to run PostgreSQL as")
        prefix, user = ["runuser", "-u", "postgres", "--"], "postgres"
    home = Path(tempfile.mkdtemp(prefix="quasarloop-pg-"))
    shutil.chown(home, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tool = [*prefix, str(folders[-1] / "pg_ctl"), "-D", str(home / "data"), "-w"]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home}"
    try:
        _run_quietly([*tool, "initdb", "-o", f"-A trust -U {user}"], home)
        _run_quietly([*tool, "-l", str(home / "log"), "-o", options, "start"], home)
        yield f"postgresql+psycopg://{user}@127.0.0.1:{port}"
    finally:
        _run_quietly([*tool, "-m", "immediate", "stop"], home)
        shutil.rmtree(home, ignore_errors=True)


def _run_quietly(command, folder):
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)


@pytest.fixture
def new_postgres_database(postgres):
    """A function that makes an empty database and returns its URL."""
    import sqlalchemy as sa

    def make():
        name = f"t{secrets.token_hex(6)}"
        engine = sa.create_engine(f"{postgres}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return f"{postgres}/{name}"

    return make
