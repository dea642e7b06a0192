"""A campaign in a temporary database, and simulated spectra small enough to be quick."""

import json
import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="the inspection page needs the [inspect] extra")

from argon2 import PasswordHasher

from quasarloop.inspect import people
from quasarloop.inspect.database import open_database
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.restframe import rest_template
from quasarloop.inspect.tables import Item
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
def database(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'labels.db'}")
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
                Item(target_id=first + i, rank=i, source=f"file{i}.fits", row=i, opinion={})
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
                template = rest_template(spectype)
                flux[i] = 5 * np.interp(wave, template.wave_aa * (1 + z), template.flux)
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


@pytest.fixture
def campaign(database, add_person, tmp_path, write_coadd):
    """An application with people and three objects; the third one's file is missing."""
    from quasarloop.inspect.app import create_app
    from quasarloop.inspect.server import prepare
    from quasarloop.inspect.spectra_files import open_spectra

    ids = [BIG_ID, BIG_ID + 1, BIG_ID + 2]
    path = write_coadd(tmp_path / "coadd-1.fits", ids[:2], [2.5, 1.0], step=8.0)
    objects = [
        {"TARGETID": str(target), "SOURCE": str(path), "ROW": row, "ENTROPY": 1.5 - row}
        for row, target in enumerate(ids)
    ]
    objects[2]["SOURCE"] = "gone.fits"
    worklist = tmp_path / "worklist.json"
    worklist.write_text(json.dumps({"objects": objects}), encoding="utf-8")
    for name in ("ada", "bea", "cyd"):
        add_person(name)
    add_person("max", "merger")
    add_person("root", "admin")
    files = open_spectra([path])
    prepare(database, files, worklist=worklist)
    return create_app(database, files)


@pytest.fixture
def client(campaign):
    """A function that logs somebody in."""
    return lambda name=None: Client(campaign, name)
