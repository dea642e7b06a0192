"""Objects sent back with a question, and people with several roles."""

import sqlite3
from contextlib import closing

import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.database import open_database
from quasarloop.inspect.people import ROLE_SETS, invite
from quasarloop.inspect.results import results

BIG_ID = 39627945488154697
PATH = f"/api/objects/{BIG_ID}"
MERGE = f"/api/merge/{BIG_ID}"


def _label(client, name, z, base=0):
    save = {
        "verdict": {"spectype": "QSO", "z": z, "quality": 4},
        "base_version": base,
        "save_id": f"{name}-{base}-00001",
    }
    answer = client(name).put(f"{PATH}/label", save)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ask(client, inspector="ada", text="Is it C IV?"):
    return client("max").post(f"{MERGE}/question", {"inspector": inspector, "text": text})


def _queue(client, state):
    rows = client("max").get(f"/api/merge?state={state}").json()["objects"]
    return {row["target_id"]: row["returned_to"] for row in rows}


@pytest.fixture
def in_conflict(client):
    for name, z in (("ada", 2.5), ("bea", 1.0), ("cyd", 2.5)):
        _label(client, name, z)
    assert _queue(client, "conflict") == {str(BIG_ID): []}


def test_a_question_goes_to_its_inspector_and_the_answer_comes_back(client, in_conflict):
    assert _ask(client, "bea", "Is it C IV,\nnot Mg II?").status_code == 200
    assert _queue(client, "conflict") == {}
    assert _queue(client, "returned") == {str(BIG_ID): ["bea"]}
    bea = client("bea")
    (row,) = [row for row in bea.get("/api/list?state=todo").json()["objects"] if row["question"]]
    assert row["target_id"] == str(BIG_ID)
    (question,) = bea.get(PATH).json()["questions"]
    assert question == {
        **{"from": "max", "text": "Is it C IV, not Mg II?", "answer": None},
        "at": question["at"],
    }
    assert client("ada").get(PATH).json()["questions"] == [], "it is bea's alone"
    # Another verdict is no answer yet.
    _label(client, "bea", 2.5, base=1)
    assert _queue(client, "returned") == {str(BIG_ID): ["bea"]}
    answered = bea.put(f"{PATH}/answer", {"text": "Yes – Lyα is there"}).json()
    assert (answered["state"], answered["questions"][0]["answer"]) == ("done", "Yes – Lyα is there")
    assert _queue(client, "returned") == {}
    assert str(BIG_ID) in _queue(client, "merged")
    verdicts = {v["inspector"]: v for v in client("max").get(MERGE).json()["verdicts"]}
    assert verdicts["bea"]["questions"] == answered["questions"]
    assert verdicts["ada"]["questions"] == []


def test_questions_and_answers_that_cannot_be(client, in_conflict):
    for inspector, text in (("max", "?"), ("nobody", "?"), ("ada", " \n"), ("ada", "x" * 301)):
        assert _ask(client, inspector, text).status_code == 422
    assert client("ada").put(f"{PATH}/answer", {"text": "yes"}).status_code == 422
    assert _ask(client).status_code == 200
    assert "question on this object already" in _ask(client).json()["detail"]
    assert client("ada").put(f"{PATH}/answer", {"text": "\x00 \n"}).status_code == 422
    root = client("root")
    (bea,) = [p["id"] for p in root.get("/api/people").json()["people"] if p["name"] == "bea"]
    root.put(f"/api/people/{bea}", {"active": False})
    assert "inspects no longer" in _ask(client, "bea").json()["detail"]


def test_an_object_of_somebody_not_done_cannot_go_back_to_them(client):
    assert "has no verdict" in _ask(client).json()["detail"]


def test_the_merger_may_decide_without_the_answer(client, in_conflict):
    _ask(client)
    save = {
        "verdict": {"spectype": "QSO", "z": 2.5, "quality": 4},
        "base_version": 0,
        "save_id": "max-00001",
    }
    assert client("max").put(MERGE, save).status_code == 200
    assert _queue(client, "decided") == {str(BIG_ID): ["ada"]}


def test_remarks_only_grow_and_older_campaigns_get_their_table(database, tmp_path, client):
    path = tmp_path / "labels.db"
    for name, z in (("ada", 2.5), ("bea", 1.0), ("cyd", 2.5)):
        _label(client, name, z)
    _ask(client)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute("UPDATE remark SET text = 'other'")
        raw.execute("DROP TABLE remark")
    again = open_database(f"sqlite:///{path}")
    with again.read() as session:
        assert [result.returned_to for result in results(session)] == [(), (), ()]
    again.close()


def test_one_person_inspects_and_merges_but_labels_blind_first(client):
    root = client("root")
    people = {person["name"]: person["id"] for person in root.get("/api/people").json()["people"]}
    assert root.put(f"/api/people/{people['ada']}", {"role": "inspector,merger"}).status_code == 200
    ada = client("ada")
    assert ada.get("/merge").status_code == ada.get("/list").status_code == 200
    assert ada.get("/people").status_code == 403
    for name, z in (("bea", 1.0), ("cyd", 2.5)):
        _label(client, name, z)
    closed = ada.get(MERGE)
    assert closed.status_code == 403
    assert "your own verdict first" in closed.json()["detail"]
    assert ada.post(f"{MERGE}/question", {"inspector": "bea", "text": "?"}).status_code == 403
    listed = ada.get("/api/merge?state=all").json()
    assert listed["objects"] == []
    root.put("/api/settings", {"blind": "verdict"})
    assert ada.post(f"{PATH}/machine").status_code == 403, "blind as any inspector"
    _label(client, "ada", 2.5)
    assert len(ada.get(MERGE).json()["verdicts"]) == 3
    assert ada.post(f"{PATH}/machine").status_code == 200
    assert ada.get("/api/merge").json()["counts"]["conflict"] == 1


def test_roles_are_sets_in_one_order(database):
    assert len(ROLE_SETS) == 7
    with database.write() as session:
        invite(session, "eve", "merger,admin")
        for bad in ("merger,inspector", "inspector,inspector", "", "boss"):
            with pytest.raises(InspectionError, match="several in this order"):
                invite(session, "eve", bad)
