"""New passwords, other roles, invitations taken back, and names in any case."""

import re

import pytest

from quasarloop.errors import InspectionError
from quasarloop.inspect.people import (
    invite,
    join,
    log_in,
    open_invite,
    open_invites,
    person_named,
    person_of_login,
    reset_password,
    revoke,
    set_active,
)

PASSWORD = "correct horse battery"
ANOTHER = "a new long password"


def test_a_new_password_by_a_one_time_link_ends_sessions_and_changes_nothing_else(
    database, add_person
):
    ada = add_person("ada", "merger")
    with database.write() as session:
        thief = log_in(session, "ada", PASSWORD, "::1")
        early, token = reset_password(session, ada.id), reset_password(session, ada.id)
        assert open_invite(session, early) is None, "the newest link alone works"
        assert person_of_login(session, thief) == ada, "making a link ends nothing"
        assert join(session, token, ANOTHER) == ada
        assert person_of_login(session, thief) is None
        assert log_in(session, "ada", PASSWORD, "::1") is None
        assert log_in(session, "ada", ANOTHER, "::1") is not None
        with pytest.raises(InspectionError, match="was used"):
            join(session, token, PASSWORD)


def test_a_new_password_lets_nobody_in_who_was_shut_out(database, add_person):
    ada = add_person("ada")
    with database.write() as session:
        token = reset_password(session, ada.id)
        set_active(session, ada.id, active=False)
        join(session, token, ANOTHER)
        assert log_in(session, "ada", ANOTHER, "::1") is None


def test_who_never_joined_has_no_password_to_change(database):
    with database.write() as session:
        scanner = person_named(session, "cyd", role="inspector")
        with pytest.raises(InspectionError, match="cyd has not joined"):
            reset_password(session, scanner)
        with pytest.raises(InspectionError, match="no person"):
            reset_password(session, 99)


def test_names_are_the_same_in_any_case(database, add_person):
    ada = add_person("Ada")
    with database.write() as session:
        with pytest.raises(InspectionError, match="Ada has joined"):
            invite(session, "aDA", "inspector")
        assert person_of_login(session, log_in(session, "ADA", PASSWORD, "::1")) == ada
        first, second = invite(session, "bea", "inspector"), invite(session, "BEA", "merger")
        join(session, first, PASSWORD)
        with pytest.raises(InspectionError, match="joined already"):
            join(session, second, PASSWORD)


def test_invitations_are_listed_and_taken_back(database):
    with database.write() as session:
        token = invite(session, "ada", "inspector")
        join(session, invite(session, "bea", "inspector"), PASSWORD)
        (waiting,) = open_invites(session)
        assert waiting.name == "ada"
        revoke(session, waiting.id)
        assert open_invites(session) == []
        assert open_invite(session, token) is None
        with pytest.raises(InspectionError, match="no invitation"):
            revoke(session, 99)


def _id_of(admin, name):
    return next(p["id"] for p in admin.get("/api/people").json()["people"] if p["name"] == name)


def test_another_role_holds_at_once_and_moves_open_work(client):
    ada, root = client("ada"), client("root")
    assert ada.get("/api/merge").status_code == 403
    path = f"/api/people/{_id_of(root, 'ada')}"
    assert root.put(path, {"role": "merger"}).status_code == 200
    assert ada.get("/api/merge").status_code == 200
    assert ada.get("/api/list").status_code == 403
    assert root.put(path, {"role": "boss"}).status_code == 422
    mine = root.put(f"/api/people/{_id_of(root, 'root')}", {"role": "inspector"})
    assert mine.status_code == 409, "or there might be no admin left"


def test_the_admins_page_can_do_it_all(client):
    root = client("root")
    root.post("/api/invites", {"name": "new", "role": "inspector"})
    (waiting,) = root.get("/api/invites").json()["invites"]
    assert (waiting["name"], waiting["new_password"]) == ("new", False)
    assert root.send("DELETE", f"/api/invites/{waiting['id']}").status_code == 200
    assert root.send("DELETE", "/api/invites/9999").status_code == 404
    link = root.post(f"/api/people/{_id_of(root, 'ada')}/reset").json()["link"]
    (waiting,) = root.get("/api/invites").json()["invites"]
    assert (waiting["name"], waiting["new_password"]) == ("ada", True)
    path = re.sub(r"^https?://[^/]+", "", link)
    stranger = client()
    assert "Choose a new password" in stranger.http.get(path).text
    assert stranger.form(path, password=ANOTHER).status_code == 303
    assert stranger.get("/api/me").json()["name"] == "ada"
    assert root.get("/api/invites").json()["invites"] == []
