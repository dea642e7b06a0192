"""Practice on known answers: judged at once, counted by itself, never among the labels."""

import numpy as np
import pytest
import sqlalchemy as sa

from quasarloop.errors import InspectionError
from quasarloop.inspect.practice import judge, load_practice
from quasarloop.inspect.results import results
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.inspect.tables import Label, Practice
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType, TruthTable

BIG_ID = 39627945488154697
KNOWN = BIG_ID + 500


def _give(client, name, target=KNOWN, **verdict):
    given = {"spectype": "QSO", "z": 1.0, "quality": 4, **verdict}
    return client(name).put(f"/api/practice/{target}", {"verdict": given})


@pytest.mark.parametrize(
    ("verdict", "wrong"),
    [
        (Verdict(SpecType.QSO, 1.0, 4.0), ()),
        (Verdict(SpecType.QSO, 1.006, 2.0), ()),
        (Verdict(SpecType.QSO, 1.007, 4.0), ("redshift",)),  # 0.0033 (1 + z) is 0.0066
        (Verdict(SpecType.GALAXY, 1.0, 4.0), ("class",)),
        (Verdict(SpecType.STAR, 0.0, 4.0), ("redshift", "class")),
        (Verdict(quality=0.0), ("unidentified",)),
    ],
)
def test_verdicts_are_judged_by_the_merge_rules(verdict, wrong):
    assert judge(Practice(spectype=SpecType.QSO, z=1.0), verdict) == wrong


def test_the_answer_is_shown_after_the_verdict_and_the_first_counts(client, database):
    ada = client("ada")
    before = ada.get(f"/api/practice/{KNOWN}").json()
    assert before["result"] is None
    assert "spectype" not in str(before)
    assert ada.get(f"/api/objects/{KNOWN}/spectrum").status_code == 200
    assert _give(client, "ada", quality=None).status_code == 422
    given = _give(client, "ada", spectype="GALAXY").json()
    assert given["result"]["wrong"] == ["class"]
    assert (given["result"]["spectype"], given["result"]["z"]) == ("QSO", 1.0)
    assert _give(client, "ada").status_code == 409
    listed = ada.get("/api/practice").json()
    assert [row["state"] for row in listed["objects"]] == ["done"]
    score = {"total": 1, "given": 1, "right": 0, "class": 1, "redshift": 0, "unidentified": 0}
    assert listed["progress"] == score
    assert _give(client, "bea").json()["progress"]["right"] == 1
    people = {p["name"]: p["practice"] for p in client("root").get("/api/people").json()["people"]}
    assert people["ada"]["right"] == 0
    assert people["bea"]["right"] == 1
    assert people["cyd"] is None
    # Nothing of it is a label, or counts as work.
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Label)) == 0
        assert KNOWN not in {result.item.target_id for result in results(session)}
    assert ada.get("/api/progress").json()["total"] == 3
    assert client("max").get("/api/statistics").json()["people"] == []


def test_the_set_is_of_secure_labels_with_spectra_outside_the_worklist(
    database, tmp_path, write_coadd
):
    path = write_coadd(tmp_path / "coadd.fits", [1, 2, 3], [0.5, 1.0, 2.0], step=8.0)
    ids = np.array([1, 2, 3, 4])
    truth = TruthTable.make(
        ids, [SpecType.QSO] * 4, [0.5, 1.0, 2.0, 3.0], quality=np.array([4.0, 1.0, 4.0, 4.0])
    )
    files = open_spectra([path])
    with database.write() as session:
        assert load_practice(session, truth, files) == 2, "one is unsure, one has no spectrum"
        assert load_practice(session, truth, files) == 0, "twice changes nothing"
        with pytest.raises(InspectionError, match="none of the 1 labels"):
            load_practice(session, truth[np.array([3])], files)


def test_objects_of_the_campaign_are_no_practice(client, database, prepared):
    truth = TruthTable.make(np.array([BIG_ID]), [SpecType.QSO], [2.5])
    with database.write() as session, pytest.raises(InspectionError, match="not in the worklist"):
        load_practice(session, truth, open_spectra([prepared[1]]))
