import pytest
import sqlalchemy as sa
from argon2 import Type

from quasarloop.errors import InspectionError
from quasarloop.inspect import people
from quasarloop.inspect.database import set_setting
from quasarloop.inspect.people import (
    end_login,
    invite,
    join,
    log_in,
    login_wait_s,
    open_invite,
    person_of_login,
    set_active,
)
from quasarloop.inspect.tables import Invite, Login, User

PASSWORD = "correct horse battery"


def test_an_invitation_works_once_and_leaves_no_secret_behind(database):
    with database.write() as session:
        token = invite(session, "ada", "inspector")
        person = join(session, token, PASSWORD)
        assert (person.name, person.role) == ("ada", "inspector")
        with pytest.raises(InspectionError, match="was used"):
            join(session, token, PASSWORD)
        user = session.scalar(sa.select(User))
        assert user.password_hash.startswith("$argon2id$")
        assert token not in session.scalar(sa.select(Invite.token_hash))


def test_an_invitation_expires(database):
    with database.write() as session:
        token = invite(session, "ada", "inspector")
        session.execute(sa.update(Invite).values(expires="2001-01-01T00:00:00.000+00:00"))
        assert open_invite(session, token) is None
        with pytest.raises(InspectionError):
            join(session, token, PASSWORD)


@pytest.mark.parametrize("name", ["", "a b", "../x", "ä", "a" * 33, "a\x00", "-a"])
def test_bad_names_are_refused(database, name):
    with database.write() as session, pytest.raises(InspectionError, match="name is"):
        invite(session, name, "inspector")


def test_bad_roles_short_passwords_and_taken_names_are_refused(database):
    with database.write() as session:
        with pytest.raises(InspectionError, match="role"):
            invite(session, "ada", "boss")
        token = invite(session, "ada", "inspector")
        with pytest.raises(InspectionError, match="10 to 200"):
            join(session, token, "short")
        join(session, token, PASSWORD)
        with pytest.raises(InspectionError, match="joined already"):
            invite(session, "ada", "merger")


def test_sessions_end_on_logout_on_leaving_and_with_time(database, add_person):
    ada = add_person("ada")
    with database.write() as session:
        first = log_in(session, "ada", PASSWORD, "::1")
        second = log_in(session, "ada", PASSWORD, "::1")
        assert first is not None
        assert person_of_login(session, first) == ada
        end_login(session, first)
        assert person_of_login(session, first) is None
        assert person_of_login(session, second) == ada
        set_active(session, ada.id, active=False)
        assert person_of_login(session, second) is None
        assert log_in(session, "ada", PASSWORD, "::1") is None
        set_active(session, ada.id, active=True)
        assert person_of_login(session, second) is None, "leaving ends sessions for good"
        third = log_in(session, "ada", PASSWORD, "::1")
        session.execute(sa.update(Login).values(expires="2001-01-01T00:00:00.000+00:00"))
        assert person_of_login(session, third) is None


def _fail(session, name, address, times):
    for _ in range(times):
        assert log_in(session, name, "wrong password", address) is None


def test_wrong_passwords_and_unknown_names_look_the_same_and_are_counted(database, add_person):
    add_person("ada")
    with database.write() as session:
        for name in ("ada", "nobody", "a\x00\ud800"):
            _fail(session, name, "10.0.0.1", people.FREE_ATTEMPTS_NAME)
            assert login_wait_s(session, name, "10.0.0.1") == 0
            _fail(session, name, "10.0.0.1", 1)
            assert 1 < login_wait_s(session, name, "10.0.0.1") <= 2
            _fail(session, name, "10.0.0.1", 2)
            assert 7 < login_wait_s(session, name, "10.0.0.1") <= 8
        assert login_wait_s(session, "bea", "10.0.0.1") == 0


def test_nobody_can_close_a_name_for_its_owner_elsewhere(database, add_person):
    add_person("ada")
    with database.write() as session:
        _fail(session, "ada", "10.0.0.1", 50)
        assert 59 < login_wait_s(session, "ada", "10.0.0.1") <= people.MAX_WAIT_S
        assert login_wait_s(session, "ada", "10.0.0.2") == 0
        assert log_in(session, "ada", PASSWORD, "10.0.0.2") is not None
        # Nor does the owner's login help whoever guesses.
        assert login_wait_s(session, "ada", "10.0.0.1") > 59


def test_one_address_trying_many_names_is_slowed_down(database, monkeypatch):
    monkeypatch.setattr(people, "FREE_ATTEMPTS_ADDRESS", 4)
    with database.write() as session:
        for i in range(5):
            _fail(session, f"name{i}", "2001:db8::9", 1)
        assert login_wait_s(session, "fresh", "2001:db8::a") > 0, "one machine has a whole /64"
        assert login_wait_s(session, "fresh", "2001:db8:0:1::9") == 0
        assert login_wait_s(session, "fresh", "10.0.0.10") == 0


def test_failures_are_forgotten_with_time_and_with_the_right_password(
    database, add_person, monkeypatch
):
    add_person("ada")
    with database.write() as session:
        _fail(session, "ada", "::1", 5)
        assert login_wait_s(session, "ada", "::1") > 0
        assert log_in(session, "ada", PASSWORD, "::1") is not None
        assert login_wait_s(session, "ada", "::1") == 0
        _fail(session, "ada", "::1", 5)
        monkeypatch.setattr(people, "ATTEMPT_WINDOW_S", -1)
        assert login_wait_s(session, "ada", "::1") == 0


def test_links_begin_with_the_configured_address(database):
    with database.write() as session:
        assert people.link(session, "token") == "http://127.0.0.1:8765/join/token"
        set_setting(session, "address", "https://vi.example.org/desk/")
        assert people.link(session, "token") == "https://vi.example.org/desk/join/token"


def test_passwords_are_hashed_slowly_enough(strong_hasher):
    # OWASP's minimum for argon2id: 19 MiB, two passes. (Other tests hash with less.)
    assert strong_hasher.type == Type.ID
    assert strong_hasher.memory_cost >= 19 * 1024
    assert strong_hasher.time_cost >= 2
