"""What the page does under the fingers of one inspector, in real Chromium."""

import json
import re
from functools import partial

import pytest

from quasarloop.inspect.database import open_database
from quasarloop.inspect.ledger import history, item_of
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
N_OBJECTS = 14
PASSWORD = "correct horse battery"
# A redraw must fit into one frame of a 60 Hz screen.
FRAME_MS = 16


@pytest.fixture(scope="module")
def page_server(tmp_path_factory, write_coadd, strong_hasher, module_server):
    """A served campaign; the first spectrum has DESI's pixels, the last but one is truncated."""
    folder = tmp_path_factory.mktemp("page")
    ids = [BIG_ID + i for i in range(N_OBJECTS)]
    redshifts = [2.5 - 0.1 * i for i in range(N_OBJECTS)]
    full = write_coadd(folder / "coadd-full.fits", ids[:1], redshifts[:1])
    path = write_coadd(folder / "coadd-1.fits", ids, redshifts, step=2.4)  # quick to draw
    broken = folder / "coadd-broken.fits"
    broken.write_bytes(path.read_bytes()[:30000])
    objects = [
        {
            "TARGETID": str(target),
            "SOURCE": str(path),
            "ROW": row,
            "ENTROPY": 1.5,
            "VOTES": {"NOT_QSO": 3, "LOW_Z": 4, "HIGH_Z": 13},
            "PROPOSALS": [{"z": 2.41, "who": "median"}, {"z": 0.87, "count": 3}],
            "REDROCK": [
                {"z": 0.87, "spectype": "GALAXY", "zwarn": 4, "deltachi2": 31.2, "version": "1"}
            ],
            "CELL": 12,
        }
        for row, target in enumerate(ids)
    ]
    objects[0]["SOURCE"] = str(full)
    objects[-2]["SOURCE"] = str(broken)
    (folder / "steps.json").write_text(json.dumps({"counts": list(range(25))}), encoding="utf-8")
    worklist = folder / "worklist.json"
    worklist.write_text(json.dumps({"objects": objects}), encoding="utf-8")
    url = f"sqlite:///{folder / 'labels.db'}"
    database = open_database(url)
    with database.write() as session:
        for name in ("ada", "bea", "cyd"):
            join(session, invite(session, name, "inspector"), PASSWORD)
        join(session, invite(session, "root", "admin"), PASSWORD)
    prepare(database, open_spectra([path]), worklist=worklist)
    server = module_server(url, [path], folder / "server.log")
    yield server, database
    database.close()


@pytest.fixture(scope="module")
def browser(chromium_options):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(**chromium_options)
        yield started
        started.close()


@pytest.fixture(scope="module")
def browser_of(browser, page_server):
    """A function that returns somebody's browser, in which they logged in by keyboard, once."""
    server, _ = page_server
    known = {}

    def of(name):
        if name not in known:
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            context.set_default_timeout(60_000)
            page = context.new_page()
            page.goto(f"{server.url}/login")
            type_login(page, name)
            page.close()
            known[name] = context
        return known[name]

    return of


@pytest.fixture
def desk(page_server, browser_of):
    """A function that opens an object in a window of its own."""
    server, _ = page_server
    pages = []

    def opened(number, name="ada"):
        page = browser_of(name).new_page()
        pages.append(page)
        page.goto(f"{server.url}/inspect?target={BIG_ID + number}")
        shown(page, number)
        return page

    yield opened
    for page in pages:
        page.context.set_offline(False)  # also where a test failed on the way
        page.unroute_all(behavior="ignoreErrors")
        page.evaluate("() => localStorage.clear()")
        page.close()


def type_login(page, name):
    page.locator("input[name=name]:focus").wait_for()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/people" if name == "root" else "**/list*")


def shown(page, number):
    page.locator(f"body[data-target='{BIG_ID + number}']").wait_for()


def spectra_come_late(page):
    page.route(
        "**/api/objects/*/spectrum", lambda route: (page.wait_for_timeout(400), route.continue_())
    )
    page.evaluate(
        "() => { window.quasarloop.bench.cache.clear(); window.quasarloop.desk.ahead = null; }"
    )


def press(page, keys):
    for key in keys:
        page.keyboard.press(key)


def saved(page):
    page.locator("#save-state[data-state=saved]").wait_for()
    return page.evaluate("() => window.quasarloop.desk.verdict")


def type_z(page, text):
    page.keyboard.press("z")
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def labels(page_server, number, name="bea"):
    """Every version of somebody's label, from the database."""
    with page_server[1].read() as session:
        item = item_of(session, BIG_ID + number)
        return history(session, item.id, person_called(session, name))


def trial(page):
    return page.evaluate("() => window.quasarloop.bench.z")


def test_moving_the_redshift_takes_less_than_a_frame_and_asks_nobody(desk):
    page = desk(0)
    press(page, ["m"])
    page.locator(".chip").first.wait_for()
    press(page, ["i"])  # all lines: the most there is to draw
    assert page.evaluate("() => window.quasarloop.bench.plot.arms[0].wave.length") > 7000
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    took = page.evaluate(
        """async () => {
          const { bench } = window.quasarloop, took = [];
          for (let i = 0; i < 300; i++) {
            const from = performance.now();
            bench.moveTo(0.5 + 0.01 * i);
            took.push(performance.now() - from);
            if (i % 20 === 0) await new Promise((done) => requestAnimationFrame(done));
          }
          return took.sort((a, b) => a - b);
        }"""
    )
    for _ in range(10):
        press(page, ["ArrowRight", "Shift+ArrowLeft", ".", ",", "x"])
    assert asked == []
    # The median: this machine may be busy with other things for a frame or two.
    assert took[len(took) // 2] < FRAME_MS


def test_zoom_and_pan_stay_where_they_are_put(desk):
    page = desk(0)

    def view():
        plot = "const { x, y } = window.quasarloop.bench.plot;"
        return page.evaluate(f"() => {{ {plot} return [x.start, x.end, y.start, y.end]; }}")

    whole = view()
    press(page, ["+", "+", ">"])
    zoomed = view()
    assert zoomed[1] - zoomed[0] < 0.6 * (whole[1] - whole[0])
    press(page, ["ArrowRight", "]", "[", "a", "a", "e", "e", "i", "t"])
    type_z(page, "1.2")
    assert view() == zoomed
    press(page, ["v"])
    assert view() == whole
    press(page, ["+", "y"])
    held = view()
    press(page, ["n"])
    shown(page, 1)
    assert view() == held, "held for the next object"
    press(page, ["y", "p"])
    shown(page, 0)
    assert view() != held


def test_every_key_of_the_help_page_is_a_key_that_works(desk):
    page = desk(1)
    press(page, ["?"])
    help_keys = page.locator("#help-keys dt").count()
    table = page.evaluate(
        """async () => (await import("/static/keys.js")).KEYS.flatMap(([, actions, only]) =>
             only ? [] : actions.map(([action, keys]) => [action, keys]))"""
    )
    assert help_keys == len(table)
    every = [key for _, keys in table for key in keys]
    assert len(every) == len(set(every)), "no key means two things"
    page.keyboard.press("Escape")
    buttons = page.evaluate(
        "() => [...document.querySelectorAll('[data-action]')].map((b) => b.dataset.action)"
    )
    assert set(buttons) <= {action for action, _ in table}, "every button has a key"


def test_nudges_chips_and_fits_find_the_redshift(desk):
    page = desk(2)  # z = 2.3
    type_z(page, "2.29")
    press(page, ["ArrowRight"])
    assert trial(page) == pytest.approx(2.29 + 5e-4 * 3.29)
    press(page, ["Shift+ArrowLeft"])
    assert trial(page) < 2.28
    press(page, ["f"])
    page.locator("#z-hint", has_text="correlation").wait_for()
    assert trial(page) == pytest.approx(2.3, abs=1e-3)
    type_z(page, "0.1")
    press(page, ["F"])
    page.locator("#z-hint", has_text=re.compile(r"correlation 0\.\d+")).wait_for()
    page.locator("#z >> visible=true").wait_for()
    assert trial(page) == pytest.approx(2.3, abs=1e-3)
    press(page, ["m"])
    page.locator(".chip").first.wait_for()
    press(page, ["x"])
    assert trial(page) == 2.41
    press(page, ["x"])
    assert trial(page) == 0.87
    page.locator(".chip", has_text="2.41").click()
    assert trial(page) == 2.41
    page.locator(".chip", has_text="redrock GALAXY ZWARN 4").click()
    assert trial(page) == 0.87
    assert "GALAXY" in page.locator("#template").inner_text()
    assert page.locator(".map .cell").count() == 25
    assert page.locator(".votes").inner_text().split()[-1] == "13"


def test_undo_redo_and_the_way_back_to_the_last_change(desk):
    page = desk(3)
    type_z(page, "2.2")
    press(page, ["q", "3", "b", "R"])
    assert saved(page)["issues"] == "R"
    press(page, ["u", "u"])
    verdict = saved(page)
    assert (verdict["issues"], verdict["is_bal"], verdict["quality"]) == ("", None, 3)
    press(page, ["U"])
    assert saved(page)["is_bal"] is True
    press(page, ["u", "u", "u", "u"])
    assert "nothing to undo" in page.locator("#verdict-hint").inner_text()
    press(page, ["U", "U", "U", "U", "n"])
    shown(page, 4)
    press(page, ["u"])  # nothing was changed here: back to where something was
    shown(page, 3)
    assert saved(page)["issues"] == "R"
    page.reload()
    shown(page, 3)
    press(page, ["u"])
    assert saved(page)["issues"] == "", "undo knows what happened before the reload"


def test_a_save_that_overtakes_the_way_back_is_shown(desk):
    page = desk(3)
    page.evaluate(  # the save waits until the server was asked, the answer until it was saved
        """(back) => {
            const real = window.fetch;
            const wait = (ms) => new Promise((done) => setTimeout(done, ms));
            let release;
            const asked = new Promise((done) => (release = done));
            window.fetch = async (path, options) => {
                if (options.method === "PUT") await asked;
                const answer = await real(path, options);
                if (path === back) {
                    release();
                    await wait(500);
                }
                return answer;
            };
        }""",
        f"/api/objects/{BIG_ID + 3}",
    )
    press(page, ["S"])
    press(page, ["n"])
    shown(page, 4)
    press(page, ["p"])
    shown(page, 3)
    assert "S" in saved(page)["issues"]
    press(page, ["S"])
    assert "S" not in saved(page)["issues"], "saved over the newest version, so without a question"


def test_leaving_with_a_redshift_moved_but_not_taken_warns_once(desk):
    page = desk(4)
    type_z(page, "2.1")
    press(page, ["q", "4"])
    saved(page)
    press(page, ["ArrowRight", "n"])
    assert "Enter takes it" in page.locator("#verdict-hint").inner_text()
    press(page, ["Enter"])
    assert saved(page)["z"] == pytest.approx(2.1 + 5e-4 * 3.1, abs=1e-5)
    press(page, ["n"])
    shown(page, 5)


def test_keys_typed_while_the_next_object_is_on_its_way_wait_for_it(desk):
    page = desk(5)
    spectra_come_late(page)
    press(page, ["n", "z", "1", ".", "9", "Enter", "q", "4", "c", "o", "k", "Enter"])
    shown(page, 6)
    verdict = saved(page)
    assert (verdict["spectype"], verdict["z"], verdict["quality"]) == ("QSO", 1.9, 4)
    assert verdict["comment"] == "ok"
    press(page, ["p"])
    shown(page, 5)
    assert saved(page)["spectype"] == "", "nothing of it went to the object before"


def test_skip_jump_and_the_list(desk, page_server):
    page = desk(7)
    press(page, ["k"])
    shown(page, 8)
    press(page, ["j"])
    page.keyboard.type(str(BIG_ID + 7))
    page.keyboard.press("Enter")
    shown(page, 7)
    assert "skipped" in page.locator("#verdict-hint").inner_text()
    press(page, ["j"])
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    page.locator("#jump-problem", has_text="not among your objects").wait_for()
    page.keyboard.press("Escape")
    page.locator("#jump:not([open])").wait_for(state="attached")
    page.context.set_offline(True)
    press(page, ["j"])
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    page.locator("#verdict-hint", has_text="does not answer").wait_for()
    page.context.set_offline(False)
    page.goto(f"{page_server[0].url}/list?state=skipped")
    page.locator("body[data-ready=true]").wait_for()
    rows = page.locator("#rows tr")
    assert rows.count() == 1
    assert str(BIG_ID + 7) in rows.inner_text()
    page.locator("#rows a").click()
    shown(page, 7)
    press(page, ["k"])
    page.locator("#skip", has_text="skip").wait_for()
    press(page, ["l"])
    page.wait_for_url("**/list?state=skipped")
    page.locator("#none").wait_for()


def test_a_jump_typed_while_the_next_object_is_on_its_way(desk):
    page = desk(5)
    spectra_come_late(page)
    press(page, ["n", "j", *str(BIG_ID + 3), "Enter"])
    shown(page, 3)
    press(page, ["n"])
    shown(page, 4)


def test_the_first_key_after_a_dialog_is_a_shortcut(desk):
    page = desk(7)
    press(page, ["j"])
    page.locator("#jump[open]").wait_for()
    page.evaluate(  # at once: the field of the closed dialog still has the focus then
        """() => {
            const field = document.getElementById("jump-id");
            document.getElementById("jump").close();
            field.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
        }"""
    )
    assert page.locator("#jump[open]").count() == 1
    page.keyboard.press("Escape")


def test_escape_leaves_a_jump_that_failed(desk):
    page = desk(7)
    press(page, ["j"])
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    page.locator("#jump-problem", has_text="not among your objects").wait_for()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Escape")
    page.locator("#jump:not([open])").wait_for(state="attached")
    page.wait_for_timeout(300)  # a second search would have opened the dialog again by then
    assert page.locator("#jump[open]").count() == 0
    assert not [url for url in asked if "/api/list" in url]


def test_two_windows_cannot_overwrite_each_other_silently(desk):
    one = desk(8)
    other = desk(8)
    one.bring_to_front()  # windows behind others are not drawn, and wait
    type_z(one, "2.0")
    press(one, ["q", "4"])
    assert saved(one)["quality"] == 4
    other.bring_to_front()
    press(other, ["1"])
    dialog = other.locator("#clash[open]")
    dialog.wait_for()
    assert "QSO, z = 2, quality 4" in dialog.inner_text()
    other.keyboard.press("Enter")  # keep what stands there
    other.locator("#save-state[data-state=saved]").wait_for()
    assert saved(other)["quality"] == 4
    press(other, ["2"])
    assert saved(other)["quality"] == 2
    one.bring_to_front()
    press(one, ["3"])
    one.locator("#clash[open] button[value=mine]").click()
    assert saved(one)["quality"] == 3
    one.reload()
    shown(one, 8)
    assert saved(one)["quality"] == 3


def test_a_session_that_ends_keeps_the_label_until_the_next_login(desk, page_server):
    page = desk(9)
    page.context.clear_cookies()
    press(page, ["g", "2"])
    badge = page.locator("#save-state[data-state=unsaved]")
    badge.wait_for()
    assert "log in again" in badge.inner_text()
    again = page.context.new_page()
    again.goto(f"{page_server[0].url}/login")
    type_login(again, "ada")
    again.close()
    assert saved(page)["quality"] == 2
    page.reload()
    shown(page, 9)
    assert saved(page)["spectype"] == "GALAXY"


def test_a_broken_spectrum_says_why_and_the_next_one_works(desk):
    page = desk(N_OBJECTS - 2)
    why = page.locator("#missing")
    why.wait_for()
    assert "cannot be shown" in why.inner_text()
    assert "coadd-broken.fits" in why.inner_text()
    press(page, ["0", "S"])
    assert saved(page)["issues"] == "S"
    press(page, ["n"])
    shown(page, N_OBJECTS - 1)
    assert not why.is_visible()
    assert page.evaluate("() => window.quasarloop.bench.plot.arms[0].wave.length") > 2000


def test_the_machines_stay_silent_until_asked_and_speak_after_the_verdict(desk, page_server):
    page = desk(10, name="bea")
    assert page.locator("#machine button").count() == 1
    assert "2.41" not in page.locator("#machine").inner_text()
    type_z(page, "1.5")
    press(page, ["q", "4"])
    page.locator(".chip", has_text="2.41").wait_for()
    press(page, ["n"])
    shown(page, 11)
    assert "2.41" not in page.locator("#machine").inner_text()
    press(page, ["m"])
    page.locator(".chip", has_text="2.41").wait_for()
    type_z(page, "1.4")
    press(page, ["q", "3"])
    saved(page)
    informed = [label.saw_machine for number in (10, 11) for label in labels(page_server, number)]
    assert informed == [False, False, True, True], "the first verdict was given blind"


def test_an_admin_invites_somebody_who_joins_with_the_link(browser, browser_of, page_server):
    page = browser_of("root").new_page()
    page.goto(f"{page_server[0].url}/people")
    page.locator("body[data-ready=true]").wait_for()
    assert page.locator("#people tr").count() == 4
    page.locator("#invite input[name=name]").focus()
    page.keyboard.type("max")
    page.keyboard.press("Tab")
    page.keyboard.type("merger")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("#link", has_text="/join/").wait_for()
    guest = browser.new_page()
    guest.goto(page.locator("#link").inner_text())
    assert "Welcome, max" in guest.locator("h1").inner_text()
    guest.keyboard.type(PASSWORD)
    guest.keyboard.press("Enter")
    guest.wait_for_url("**/merge")
    guest.goto(f"{page_server[0].url}/statistics")
    guest.locator("body[data-ready=true]").wait_for()
    assert guest.locator("#numbers dt").count() == 9
    guest.close()
    page.locator("#settings input[name=title]").fill("round 7")
    page.keyboard.press("Enter")
    page.locator("#message", has_text="Saved").wait_for()
    page.reload()
    assert "round 7" in page.title()
    page.close()


def test_nothing_comes_from_anywhere_else_and_nothing_fails(desk, page_server):
    server, _ = page_server
    page = desk(10)
    hosts, complaints = set(), []
    page.on("request", lambda request: hosts.add(re.match(r"\w+:(//[^/]+)?", request.url)[0]))
    page.on(
        "console",
        lambda said: complaints.append(said.text) if said.type == "error" else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.reload()
    shown(page, 10)
    press(page, ["D", "D", "a", "t", "i", "?"])
    assert hosts <= {server.url, "data:", "blob:"}
    assert complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_names_and_contrast_for_everybody(desk, theme):
    page = desk(12, name="cyd")
    page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{theme}'; }}")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a")]
             .filter((node) => node.type !== "hidden" && !(node.textContent.trim() ||
               node.getAttribute("aria-label") || node.labels?.length || node.title))
             .map((node) => node.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("h1, h2").count() >= 3
    assert page.locator("main").count() == 1
    weak = page.evaluate(
        """() => {
          const style = getComputedStyle(document.documentElement);
          const light = (name) => {
            const hex = style.getPropertyValue(name).trim().slice(1);
            const parts = [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
              .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
          };
          const pairs = [["--text", "--panel"], ["--text", "--ground"], ["--faint", "--panel"],
            ["--faint", "--ground"], ["--accent", "--panel"], ["--accent-text", "--accent"],
            ["--warn", "--panel"], ["--good", "--panel"], ["--emission", "--panel"],
            ["--absorption", "--panel"], ["--text", "--soft"]];
          return pairs.map(([a, b]) => {
            const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
            return [a, b, (high + 0.05) / (low + 0.05)];
          }).filter(([, , ratio]) => ratio < 4.5);
        }"""
    )
    assert weak == []


def test_everything_fits_on_small_screens(desk):
    page = desk(1, name="bea")
    for width, height in ((1366, 768), (820, 1180), (1180, 820)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(100)
        overflow = page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0
        for name in ("class-STAR", "quality-4", "undo"):
            box = page.locator(f"[data-action={name}]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            if width > 960:
                assert box["y"] + box["height"] <= height, "the verdict needs no scrolling"


def test_a_page_that_comes_half_or_while_the_server_is_away_tries_again(desk):
    page = desk(11, name="cyd")
    away = {"**/api/reference": 1, "**/api/list*": 1, "**/static/keys.js": 1}

    def refuse(pattern, route):
        away[pattern] -= 1
        if away[pattern] >= 0:
            route.abort()
        else:
            route.continue_()

    for pattern in away:
        page.route(pattern, partial(refuse, pattern))
    page.reload()
    shown(page, 11)
    assert all(left < 0 for left in away.values())
