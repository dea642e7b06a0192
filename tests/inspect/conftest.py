"""A campaign in a temporary database, and simulated spectra small enough to be quick."""

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
