"""Windows, mishaps, people and screens of the inspection page, in real Chromium."""

import re
from functools import partial

import pytest

from quasarloop.inspect.ledger import history, item_of
from quasarloop.inspect.people import person_called

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
N_OBJECTS = 14
PASSWORD = "correct horse battery"


def labels(page_server, number, name="bea"):
    """Every version of somebody's label, from the database."""
    with page_server[1].read() as session:
        item = item_of(session, BIG_ID + number)
        return history(session, item.id, person_called(session, name))


def test_skip_jump_and_the_list(desk, page_server):
    page = desk(7)
    page.press(["k"])
    page.shown(8)
    page.press(["j"])
    page.keyboard.type(str(BIG_ID + 7))
    page.keyboard.press("Enter")
    page.shown(7)
    assert "skipped" in page.locator("#verdict-hint").inner_text()
    page.press(["j"])
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    page.locator("#jump-problem", has_text="not among your objects").wait_for()
    page.keyboard.press("Escape")
    page.locator("#jump:not([open])").wait_for(state="attached")
    page.context.set_offline(True)
    page.press(["j"])
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
    page.shown(7)
    page.press(["k"])
    page.locator("#skip", has_text="skip").wait_for()
    page.press(["l"])
    page.wait_for_url("**/list?state=skipped")
    page.locator("#none").wait_for()


def test_two_windows_cannot_overwrite_each_other_silently(desk):
    one = desk(8)
    other = desk(8)
    one.bring_to_front()  # windows behind others are not drawn, and wait
    one.type_z("2.0")
    one.press(["q", "4"])
    assert one.saved()["quality"] == 4
    other.bring_to_front()
    other.press(["1"])
    dialog = other.locator("#clash[open]")
    dialog.wait_for()
    assert "QSO, z = 2, quality 4" in dialog.inner_text()
    other.keyboard.press("Enter")  # keep what stands there
    other.locator("#save-state[data-state=saved]").wait_for()
    assert other.saved()["quality"] == 4
    other.press(["2"])
    assert other.saved()["quality"] == 2
    one.bring_to_front()
    one.press(["3"])
    one.locator("#clash[open] button[value=mine]").click()
    assert one.saved()["quality"] == 3
    one.reload()
    one.shown(8)
    assert one.saved()["quality"] == 3


def test_a_session_that_ends_keeps_the_label_until_the_next_login(desk, page_server):
    page = desk(9)
    page.context.clear_cookies()
    page.press(["g", "2"])
    badge = page.locator("#save-state[data-state=unsaved]")
    badge.wait_for()
    assert "log in again" in badge.inner_text()
    again = type(page)(page.context.new_page())
    again.goto(f"{page_server[0].url}/login")
    again.log_in("ada")
    again.close()
    assert page.saved()["quality"] == 2
    page.reload()
    page.shown(9)
    assert page.saved()["spectype"] == "GALAXY"


def test_a_broken_spectrum_says_why_and_the_next_one_works(desk):
    page = desk(N_OBJECTS - 2)
    why = page.locator("#missing")
    why.wait_for()
    assert "cannot be shown" in why.inner_text()
    assert "coadd-broken.fits" in why.inner_text()
    page.press(["0", "S"])
    assert page.saved()["issues"] == "S"
    page.press(["n"])
    page.shown(N_OBJECTS - 1)
    assert not why.is_visible()
    assert page.evaluate("() => window.quasarloop.bench.plot.arms[0].wave.length") > 2000


def test_the_machines_stay_silent_until_asked_and_speak_after_the_verdict(desk, page_server):
    page = desk(10, name="bea")
    assert page.locator("#machine button").count() == 1
    assert "2.41" not in page.locator("#machine").inner_text()
    page.type_z("1.5")
    page.press(["q", "4"])
    page.locator(".chip", has_text="2.41").wait_for()
    page.press(["n"])
    page.shown(11)
    assert "2.41" not in page.locator("#machine").inner_text()
    page.press(["m"])
    page.locator(".chip", has_text="2.41").wait_for()
    page.type_z("1.4")
    page.press(["q", "3"])
    page.saved()
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
    page.shown(10)
    page.press(["D", "D", "a", "t", "i", "?"])
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
    for width, height in ((1366, 768), (1024, 768), (820, 1180), (1180, 820)):
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
    page.shown(11)
    assert all(left < 0 for left in away.values())
