"""Nobody reads or writes anything without a session, the right role, and their own objects."""

import re

import pytest
from starlette.routing import Mount

BIG_ID = 39627945488154697
VERDICT = {"spectype": "QSO", "z": 2.5, "quality": 4}
SAVE = {"verdict": VERDICT, "base_version": 0, "save_id": "save-0001"}
EVERYBODY = {"inspector", "merger", "admin"}

# Every route: method, path → (roles let in, body). A new route that is not here fails the test.
ROUTES = {
    ("GET", "/"): (EVERYBODY, None),
    ("GET", "/list"): ({"inspector"}, None),
    ("GET", "/inspect"): ({"inspector"}, None),
    ("GET", "/practice"): ({"inspector"}, None),
    ("GET", "/api/practice"): ({"inspector"}, None),
    ("GET", "/api/practice/{known_id}"): ({"inspector"}, None),
    ("PUT", "/api/practice/{known_id}"): ({"inspector"}, {"verdict": VERDICT}),
    ("GET", "/merge"): ({"merger"}, None),
    ("GET", "/merge/object"): ({"merger"}, None),
    ("GET", "/statistics"): ({"merger", "admin"}, None),
    ("GET", "/people"): ({"admin"}, None),
    ("GET", "/api/me"): (EVERYBODY, None),
    ("GET", "/api/reference"): ({"inspector", "merger"}, None),
    ("GET", "/api/list"): ({"inspector"}, None),
    ("GET", "/api/progress"): ({"inspector"}, None),
    ("GET", "/api/objects/{target_id}"): ({"inspector"}, None),
    ("GET", "/api/objects/{target_id}/spectrum"): ({"inspector", "merger"}, None),
    ("GET", "/api/objects/{target_id}/repeats"): ({"inspector", "merger"}, None),
    ("POST", "/api/objects/{target_id}/machine"): ({"inspector", "merger"}, {}),
    ("PUT", "/api/objects/{target_id}/label"): ({"inspector"}, SAVE),
    ("PUT", "/api/objects/{target_id}/skip"): ({"inspector"}, {"skipped": False}),
    ("PUT", "/api/objects/{target_id}/answer"): ({"inspector"}, {"text": "yes"}),
    ("POST", "/api/objects/{target_id}/fit"): ({"inspector", "merger"}, {"z": 2.5}),
    ("GET", "/api/merge"): ({"merger"}, None),
    ("GET", "/api/merge/{target_id}"): ({"merger"}, None),
    ("PUT", "/api/merge/{target_id}"): ({"merger"}, SAVE),
    ("POST", "/api/merge/{target_id}/question"): (
        {"merger"},
        {"inspector": "ada", "text": "sure?"},
    ),
    ("GET", "/api/statistics"): ({"merger", "admin"}, None),
    ("GET", "/api/statistics/figure.svg"): ({"merger", "admin"}, None),
    ("GET", "/api/people"): ({"admin"}, None),
    ("POST", "/api/invites"): ({"admin"}, {"name": "new", "role": "inspector"}),
    ("GET", "/api/invites"): ({"admin"}, None),
    ("DELETE", "/api/invites/{invite_id}"): ({"admin"}, None),
    ("POST", "/api/people/{user_id}/reset"): ({"admin"}, {}),
    ("PUT", "/api/people/{user_id}"): ({"admin"}, {"active": True}),
    ("POST", "/api/balance"): ({"admin"}, {}),
    ("PUT", "/api/settings"): ({"admin"}, {"blind": "ask"}),
}
# Open to strangers: the doors themselves. Nothing of the campaign can be read through them.
DOORS = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("POST", "/logout"),
    ("GET", "/join/{token}"),
    ("POST", "/join/{token}"),
}
# Style, scripts and icons of ours, and Bokeh's own: public software.
OPEN_FILES = {"/static", "/bokeh"}
NAMES = {"inspector": "ada", "merger": "max", "admin": "root"}


def _all_routes(app):
    """Every (method, path) the application answers to, also of included routers."""

    def walk(routes):
        for route in routes:
            if isinstance(route, Mount):
                yield ("MOUNT", route.path)
            elif hasattr(route, "methods"):
                yield from ((method, route.path) for method in route.methods - {"HEAD"})
            else:
                nested = getattr(route, "routes", None) or route.original_router.routes
                yield from walk(nested)

    return set(walk(app.routes))


def _path(template, target=BIG_ID):
    path = template.replace("{target_id}", str(target)).replace("{known_id}", str(BIG_ID + 500))
    return path.replace("{user_id}", "1").replace("{invite_id}", "1")


def test_every_route_stands_in_this_test(campaign):
    mounts = {("MOUNT", path) for path in OPEN_FILES}
    assert _all_routes(campaign) == set(ROUTES) | DOORS | mounts
    described = {
        (method.upper(), path)
        for path, methods in campaign.openapi()["paths"].items()
        for method in methods
    }
    assert described == set(ROUTES) | DOORS


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_without_a_session_nothing_is_told_or_done(shared_client, route):
    method, template = route
    _, body = ROUTES[route]
    stranger = shared_client()
    answer = stranger.send(method, _path(template), body)
    assert answer.status_code == (401 if template.startswith("/api/") else 303)
    if answer.status_code == 303:
        assert answer.headers["location"] == "/login"
    assert str(BIG_ID) not in answer.text


@pytest.mark.parametrize("role", NAMES)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_only_the_right_roles_come_through(shared_client, route, role):
    method, template = route
    allowed, body = ROUTES[route]
    if role in allowed and template == "/api/merge/{target_id}" and method == "PUT":
        # Something to decide on; its answer tells whether it was there already.
        said = shared_client("bea").put(f"/api/objects/{BIG_ID}/label", SAVE)
        assert said.status_code in (200, 409)
        body = {**SAVE, "save_id": "decision-1"}
    if role in allowed and template.endswith(("/question", "/answer")):
        # A question can be of one object only at a time, and an answer needs one.
        target = BIG_ID + template.endswith("/answer")
        shared_client("ada").put(f"/api/objects/{target}/label", {**SAVE, "save_id": f"s-{target}"})
        if template.endswith("/answer"):
            ask = {"inspector": "ada", "text": "sure?"}
            shared_client("max").post(f"/api/merge/{target}/question", ask)
        template = template.replace("{target_id}", str(target))
    answer = shared_client(NAMES[role]).send(method, _path(template), body)
    if role in allowed:
        assert answer.status_code in (200, 303), answer.text
        assert answer.headers.get("location") != "/login"
    else:
        assert answer.status_code == 403
        assert str(BIG_ID) not in answer.text


@pytest.mark.parametrize("route", [r for r in ROUTES if r[0] != "GET"], ids=" ".join)
def test_no_change_without_the_csrf_token(shared_client, route):
    method, template = route
    allowed, body = ROUTES[route]
    person = shared_client(NAMES[sorted(allowed)[0]])
    other = shared_client(NAMES[next(r for r in NAMES if r != sorted(allowed)[0])])
    for token in ("", "0" * 64, other.csrf):
        answer = person.http.request(
            method, _path(template), json=body, headers={"X-CSRF-Token": token}
        )
        assert answer.status_code == 403


@pytest.mark.parametrize("door", ["/login", "/logout", "/join/token"])
def test_doors_want_the_token_too(client, door):
    stranger = client()
    stranger.csrf = "0" * 64
    answer = stranger.form(door, name="ada", password="correct horse battery")
    assert answer.status_code == 403


@pytest.fixture
def moved_on(client, add_person, database):
    """One inspector too many, so that somebody lacks an object: (name, foreign TARGETID)."""
    from quasarloop.inspect.campaign import balance

    add_person("eve")
    with database.write() as session:
        balance(session)
    ids = {BIG_ID, BIG_ID + 1, BIG_ID + 2}
    mine = {int(row["target_id"]) for row in client("eve").get("/api/list").json()["objects"]}
    return "eve", (ids - mine).pop()


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if "{target_id}" in route[1] and "inspector" in ROUTES[route][0]],
    ids=" ".join,
)
def test_another_inspectors_object_does_not_exist_for_me(client, moved_on, route):
    method, template = route
    name, foreign = moved_on
    _, body = ROUTES[route]
    person = client(name)
    answer = person.send(method, _path(template, foreign), body)
    unknown = person.send(method, _path(template, 999), body)
    assert answer.status_code == unknown.status_code == 404
    assert answer.json() == unknown.json()


def test_inspectors_never_see_anothers_verdict(client):
    ada, bea = client("ada"), client("bea")
    secret = {**VERDICT, "comment": "seen by nobody else", "z": 2.34567}
    path = f"/api/objects/{BIG_ID}"
    assert ada.put(f"{path}/label", {**SAVE, "verdict": secret}).status_code == 200
    for route in ("/api/list", "/api/progress", path, f"{path}/spectrum", "/list", "/inspect"):
        answer = bea.get(route)
        assert answer.status_code == 200
        assert "seen by nobody else" not in answer.text
        assert "2.34567" not in answer.text
    predictions = bea.post(f"{path}/machine").text
    assert "2.34567" not in predictions


def test_a_forged_or_foreign_cookie_is_nobodys(client, campaign):
    person = client("ada")
    (name,) = person.http.cookies.keys()
    value = person.http.cookies[name]
    for forged in (value[:-2] + "xx", "x", "", value.split(".")[0]):
        stranger = client()
        stranger.http.cookies.clear()
        stranger.http.cookies.set(name, forged)
        assert stranger.get("/api/me").status_code == 401


def test_cookies_are_out_of_scripts_reach(client):
    answer = client().http.get("/login")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie  # plain http on 127.0.0.1
    https = client().http.get("https://testserver/login")
    assert "Secure" in https.headers["set-cookie"]


def test_logging_out_ends_the_session_everywhere_the_cookie_went(client):
    person, thief = client("ada"), client()
    (name,) = person.http.cookies.keys()
    thief.http.cookies.clear()
    thief.http.cookies.set(name, person.http.cookies[name])
    assert thief.get("/api/me").status_code == 200
    assert person.form("/logout").status_code == 303
    assert thief.get("/api/me").status_code == 401


def test_logins_are_slowed_down(client):
    stranger = client()
    for _ in range(5):
        assert stranger.form("/login", name="ada", password="wrong password").status_code == 401
    answer = stranger.form("/login", name="ada", password="correct horse battery")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert client("bea").get("/api/me").status_code == 200


def test_a_link_lets_one_person_in_once(client):
    admin = client("root")
    link = admin.post("/api/invites", {"name": "new", "role": "inspector"}).json()["link"]
    path = re.sub(r"^https?://[^/]+", "", link)
    stranger = client()
    assert "Welcome, new" in stranger.http.get(path).text
    short = stranger.form(path, password="short")
    assert short.status_code == 409
    joined = stranger.form(path, password="a good long password")
    assert joined.status_code == 303
    assert stranger.get("/api/me").json()["role"] == "inspector"
    assert stranger.get("/api/list").json()["progress"]["total"] > 0, "work is shared out at once"
    late = client()
    assert late.http.get(path).status_code == 404
    assert late.form(path, password="a good long password").status_code == 409


def test_shutting_somebody_out_ends_their_session_and_moves_their_work(client):
    ada, admin = client("ada"), client("root")
    people = {p["name"]: p for p in admin.get("/api/people").json()["people"]}
    answer = admin.put(f"/api/people/{people['ada']['id']}", {"active": False})
    assert answer.status_code == 200
    assert ada.get("/api/me").status_code == 401
    assert admin.put(f"/api/people/{people['root']['id']}", {"active": False}).status_code == 409
    assert admin.put("/api/people/9999", {"active": False}).status_code == 404


def test_headers_keep_other_sites_and_the_internet_out(client):
    answer = client().http.get("/login")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert client().http.get("/openapi.json").status_code == 404
    assert client().http.get("/docs").status_code == 404
    bokeh = client().http.get("/bokeh/bokeh.min.js")
    assert bokeh.status_code == 200
    assert len(bokeh.content) > 1e6


def test_bodies_without_end_are_refused(client):
    person = client("ada")
    headers = {"X-CSRF-Token": person.csrf, "content-type": "application/json"}
    path = f"/api/objects/{BIG_ID}/label"
    large = person.http.put(path, headers=headers, content=b" " * 70_000)
    assert large.status_code == 413
    endless = person.http.put(path, headers=headers, content=iter([b"{}"]))
    assert endless.status_code == 411
