"""What comes through the doors of the server: malformed bodies, and what leaves through them."""

import json
import logging
import os
import stat

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quasarloop.errors import DataFormatError
from quasarloop.inspect import inspect_api, listen, server
from quasarloop.inspect.database import open_database
from quasarloop.inspect.spectra_files import open_spectra

BIG_ID = 39627945488154697
PATH = f"/api/objects/{BIG_ID}"
GOOD = {
    "label": {
        "verdict": {"spectype": "QSO", "z": 2.5, "quality": 4, "is_bal": True, "comment": "x"},
        "base_version": 0,
        "save_id": "save-0001",
        "seconds": 1.0,
        "note": "",
        "z_err": 0.001,
    },
    "skip": {"skipped": True},
    "fit": {"z": 2.5, "spectype": "QSO"},
}
# JSON as Python's parser takes it, and JavaScript's strings: NaN, infinities, half characters.
HARD = (
    *("NaN", "Infinity", "-Infinity", "1e400", "1" + "0" * 400, r'"\ud800"', r'"\udfffx"'),
    *("true", "null", '"2"', "[]", "{}", "-1", "9" * 20, '"' + "x" * 500 + '"'),
)


def _places(body, before=()):
    """Every value of a body, by the keys that lead to it."""
    for key, value in body.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from _places(value, (*before, key))


def _with(body, place, value):
    """The body as text, with one value written as it is given."""
    copy = json.loads(json.dumps(body))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = "@here@"
    return json.dumps(copy).replace('"@here@"', value)


def _send(person, route, text):
    method = "POST" if route == "fit" else "PUT"
    headers = {"X-CSRF-Token": person.csrf, "content-type": "application/json"}
    return person.http.request(method, f"{PATH}/{route}", headers=headers, content=text)


@pytest.mark.parametrize("route", ["label", "skip"])
def test_no_value_anywhere_in_a_body_breaks_the_server(shared_client, route):
    ada = shared_client("ada")
    for place in _places(GOOD[route]):
        for value in HARD:
            answer = _send(ada, route, _with(GOOD[route], place, value))
            assert answer.status_code in (200, 409, 422), (place, value, answer.text)
            if value in ("NaN", "Infinity", "-Infinity", "1e400", r'"\ud800"'):
                assert answer.status_code == 422, (place, value)
                assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("value", HARD)
def test_no_value_of_a_fit_breaks_the_server(shared_client, value):
    for place in _places(GOOD["fit"]):
        if value != "null":  # fits over all redshifts: nothing wrong with that
            answer = _send(shared_client("ada"), "fit", _with(GOOD["fit"], place, value))
            assert answer.status_code == 422, (place, value)


@pytest.mark.parametrize("text", ["NaN", "[]", "{", r'{"\ud800": 1}', "", '"' * 3, "[" * 20000])
@pytest.mark.parametrize("route", GOOD)
def test_no_body_at_all_breaks_the_server(shared_client, route, text):
    assert _send(shared_client("ada"), route, text).status_code in (400, 422)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(value=ANY_JSON, data=st.data())
def test_invented_values_do_not_break_the_server(shared_client, value, data):
    route = data.draw(st.sampled_from(["label", "skip"]))
    place = data.draw(st.sampled_from(list(_places(GOOD[route]))))
    answer = _send(shared_client("ada"), route, _with(GOOD[route], place, json.dumps(value)))
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("verdict", "quality"), "true"),
        (("verdict", "quality"), '"4"'),
        (("verdict", "z"), "false"),
        (("verdict", "z"), '"2.5"'),
        (("verdict", "is_bal"), "1"),
        (("verdict", "is_bal"), '"yes"'),
        (("base_version",), "false"),
        (("base_version",), '"0"'),
        (("seconds",), "true"),
        (("z_err",), "true"),
    ],
)
def test_types_are_not_guessed(shared_client, place, value):
    answer = _send(shared_client("ada"), "label", _with(GOOD["label"], place, value))
    assert answer.status_code == 422
    assert place[-1] in answer.json()["detail"]


def test_types_of_other_bodies_are_not_guessed_either(shared_client):
    assert _send(shared_client("ada"), "skip", '{"skipped": 1}').status_code == 422
    assert _send(shared_client("ada"), "fit", '{"z": "2.5"}').status_code == 422
    root = shared_client("root")
    assert root.put("/api/settings", {"per_object": True}).status_code == 422
    assert root.put("/api/people/2", {"active": 1}).status_code == 422


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_database_and_its_journals_are_ours_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        opened = open_database(f"sqlite:///{tmp_path / 'labels.db'}")
        files = sorted(tmp_path.iterdir())
        assert [path.name for path in files] == ["labels.db", "labels.db-shm", "labels.db-wal"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        opened.close()
        (tmp_path / "labels.db").chmod(0o644)  # as older versions left it
        again = open_database(f"sqlite:///{tmp_path / 'labels.db'}")
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
        again.close()
    finally:
        os.umask(before)


def test_errors_show_neither_folders_nor_what_other_files_contain(
    client, database, tmp_path, caplog
):
    secret = tmp_path / "private folder" / "secret.fits"
    secret.parent.mkdir()
    secret.write_text("root:hash:of:a:password\n" * 200, encoding="ascii")
    with database.write() as session:
        session.execute(sa.text("UPDATE item SET source = :s"), {"s": str(secret)})
    ada = client("ada")
    spectrum = ada.get(f"{PATH}/spectrum")
    fit = ada.post(f"{PATH}/fit", {"z": 1.0})
    assert (spectrum.status_code, fit.status_code) == (404, 422)
    for answer in (spectrum, fit):
        assert "secret.fits" in answer.json()["detail"]
        assert "private folder" not in answer.text
        assert "root" not in answer.text
    assert str(secret) in caplog.text, "whoever runs the server finds it in the log"


def test_objects_and_spectra_name_their_file_without_its_folder(client, database):
    with database.read() as session:
        source = session.scalar(sa.text("SELECT source FROM item WHERE row >= 0 ORDER BY rank"))
    assert "/" in source
    ada, merger = client("ada"), client("max")
    for answer in (ada.get(PATH), ada.get(f"{PATH}/spectrum"), merger.get(f"/api/merge/{BIG_ID}")):
        assert answer.json()["source"] == source.rsplit("/", 1)[1]
        assert source.rsplit("/", 1)[0] not in answer.text


def test_a_failure_that_may_pass_is_no_fault_of_the_save(client, database, monkeypatch, caplog):
    ada = client("ada")

    def locked(*_args):
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr(inspect_api, "save_label", locked)
    with caplog.at_level(logging.ERROR):
        answer = _send(ada, "label", json.dumps(GOOD["label"]))
    assert answer.status_code == 503
    assert "sqlite" not in answer.text
    assert database.name in caplog.text


def test_an_unforeseen_error_of_ours_names_no_file(client, monkeypatch):
    def broken(*_args):
        raise DataFormatError("/home/somebody/labels: broken")

    monkeypatch.setattr(inspect_api, "save_label", broken)
    answer = _send(client("ada"), "label", json.dumps(GOOD["label"]))
    assert answer.status_code == 422
    assert "somebody" not in answer.text


def test_browsers_keep_to_https_once_they_came_by_it(client):
    http = client().http
    assert "strict-transport-security" not in http.get("/login").headers
    policy = http.get("https://testserver/login").headers["strict-transport-security"]
    assert int(policy.removeprefix("max-age=")) >= 180 * 86400


def test_invitations_do_not_lead_where_a_request_says(client):
    root = client("root")
    headers = {"X-CSRF-Token": root.csrf, "host": "evil.example.org"}
    body = {"name": "new", "role": "inspector"}
    answer = root.http.post("/api/invites", headers=headers, json=body)
    assert answer.json()["link"].startswith("http://127.0.0.1:8765/join/")


@pytest.mark.parametrize(("proxies", "trusted"), [((), False), (("10.1.1.1",), True)])
def test_only_named_proxies_name_the_visitor(database, monkeypatch, proxies, trusted):
    started = {}
    monkeypatch.setattr(
        server.uvicorn.Server, "run", lambda self, sockets: started.update(vars(self.config))
    )
    files = open_spectra([])
    with listen("127.0.0.1", 0) as listener:
        server.serve(database, files, listener, proxies=proxies)
    assert started["proxy_headers"] is trusted
    assert started["forwarded_allow_ips"] == list(proxies)
