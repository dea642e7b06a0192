"""Other spectra of an object: repeats in other files, single exposures, stores."""

import json
import time

import fitsio
import numpy as np
import pytest

from quasarloop.inspect.server import create_app, prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.store import ingest

BIG_ID = 39627945488154697
EXPOSURES = [71, 72]


def _exposures(path, write_coadd):
    """A DESI spectra file: two exposures of the first object, and another target."""
    write_coadd(path, [BIG_ID, BIG_ID, 99], [2.5, 2.5, 0.3], step=8.0, seed=3)
    with fitsio.FITS(str(path), "rw") as file:
        file["FIBERMAP"].insert_column("EXPID", np.array([*EXPOSURES, 71], np.int64))
        file["FIBERMAP"].insert_column("NIGHT", np.full(3, 20210405, np.int64))
    return path


@pytest.fixture(params=["files", "a store"])
def campaign(request, database, write_coadd, tmp_path):
    own = write_coadd(tmp_path / "coadd-1.fits", [BIG_ID, BIG_ID + 1], [2.5, 1.0], step=8.0)
    again = write_coadd(tmp_path / "coadd-2.fits", [99, BIG_ID], [0.3, 2.5], step=8.0, seed=2)
    given = [own, again, _exposures(tmp_path / "spectra-1.fits", write_coadd)]
    if request.param == "a store":
        ingest(given, tmp_path / "store")
        given = [tmp_path / "store"]
    rows = [{"TARGETID": str(BIG_ID + i), "SOURCE": str(own), "ROW": i} for i in range(2)]
    worklist = tmp_path / "worklist.json"
    worklist.write_text(json.dumps(rows), encoding="utf-8")
    files = open_spectra(given)
    prepare(database, files, worklist=worklist)
    return create_app(database, files)


@pytest.fixture
def served(client):
    return client("ada")


def _repeats(client, target):
    while True:
        answer = client.get(f"/api/objects/{target}/repeats")
        assert answer.status_code == 200
        if answer.json()["complete"]:
            return answer.json()["repeats"]
        time.sleep(0.02)


def test_repeats_and_exposures_are_found_and_shown(served):
    labels = _repeats(served, BIG_ID)
    night = "night 20210405, exposure"
    assert sorted(labels) == [
        "coadd-2.fits row 1",
        f"spectra-1.fits row 0, {night} {EXPOSURES[0]}",
        f"spectra-1.fits row 1, {night} {EXPOSURES[1]}",
    ]
    path = f"/api/objects/{BIG_ID}/spectrum"
    own = served.get(path).json()
    shown = [served.get(f"{path}?repeat={number + 1}").json() for number in range(len(labels))]
    assert [f"{one['source'].split('/')[-1]} row {one['row']}" for one in shown] == [
        label.split(",")[0] for label in labels
    ]
    assert {one["target_id"] for one in shown} == {str(BIG_ID)}
    assert len({one["arms"][0]["flux"] for one in (own, *shown)}) == 4, "four different spectra"
    assert served.get(f"{path}?repeat=0").json() == own
    assert served.get(f"{path}?repeat=4").status_code == 404
    assert served.get(f"{path}?repeat=-1").status_code == 422


def test_an_object_seen_once_has_none_and_others_objects_stay_closed(served):
    assert _repeats(served, BIG_ID + 1) == []
    assert served.get("/api/objects/99/repeats").status_code == 404
    assert served.get("/api/objects/99/spectrum?repeat=1").status_code == 404
