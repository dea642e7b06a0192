"""Every page for everybody: axe-core finds nothing to complain about, light and dark."""

import pytest

from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.tables import Practice
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright",
    reason="checking for accessibility needs the package axe-playwright-python",
)

BIG_ID = 39627945488154697
PASSWORD = "correct horse battery"


def _complaints(page, theme):
    page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{theme}'; }}")
    # Colours fade, on a busy machine for longer than it takes to count them.
    page.evaluate("() => Promise.all(document.getAnimations().map((fade) => fade.finished))")
    page.wait_for_timeout(300)
    return [
        (theme, found["id"], node["html"][:200], node.get("failureSummary", "")[:300])
        for found in axe.Axe().run(page).response["violations"]
        for node in found["nodes"]
    ]


# Page, and whose it is.
PAGES = {
    "/list": "ada",
    f"/inspect?target={BIG_ID + 1}": "ada",
    "/people": "root",
    "/statistics": "root",
    "/merge": "max",
    f"/merge/object?target={BIG_ID}": "max",
}
# The name of what has the focus, through the shadow trees of Bokeh; "" for none, None for the page.
FOCUS = """() => {
  let node = document.activeElement;
  while (node?.shadowRoot?.activeElement) node = node.shadowRoot.activeElement;
  if (!node || node === document.body) return null;
  const named = (node.getAttribute("aria-labelledby") ?? "").split(" ")
    .map((id) => document.getElementById(id)?.textContent ?? "").join("");
  const name = node.getAttribute("aria-label") || named || node.labels?.[0]?.textContent
    || node.textContent || node.title;
  return { name: name.trim(), html: node.outerHTML.slice(0, 150) };
}"""


@pytest.fixture(scope="module", autouse=True)
def merger(page_server):
    """Somebody who merges, and a verdict of two that conflict."""
    with page_server[1].write() as session:
        join(session, invite(session, "max", "merger"), PASSWORD)
        item = item_of(session, BIG_ID)
        for user, kind in enumerate((SpecType.QSO, SpecType.GALAXY), start=1):
            verdict = Verdict(kind, 1.23456 * user, 4.0 / user, issues="RC")
            save_label(session, item, user, Save(verdict, 0, f"conflict-{user}", seconds=123.4))


@pytest.mark.parametrize("path", PAGES)
def test_pages_of_those_inside(browser_of, page_server, path):
    page = browser_of(PAGES[path]).new_page()
    page.goto(f"{page_server[0].url}{path}")
    page.locator("body[data-ready=true], body[data-target]").first.wait_for()
    found = _complaints(page, "light") + _complaints(page, "dark")
    stops = []
    for _ in range(100):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUS))
    page.close()
    assert found == []
    assert len({stop["html"] for stop in stops if stop}) > 4
    assert [stop["html"] for stop in stops if stop and not stop["name"]] == []


def test_dialogs(desk):
    page = desk(2)
    for key in ("?", "h", "j"):
        page.press([key])
        page.locator("dialog[open]").wait_for()
        found = _complaints(page, "light")
        page.press(["Escape"])
        assert found == []


def test_the_dialog_of_a_verdict_that_was_changed_elsewhere(desk):
    one, other = desk(3), desk(3)
    one.bring_to_front()
    one.press(["q", "4"])
    one.saved()
    other.bring_to_front()
    other.press(["1"])
    other.locator("#clash[open]").wait_for()
    assert _complaints(other, "light") + _complaints(other, "dark") == []
    other.keyboard.press("Escape")


def test_practice_before_and_after_a_verdict(browser_of, page_server, write_coadd):
    server, database = page_server
    path = write_coadd(server.log.parent / "coadd-practice.fits", [3], [2.2], step=2.4)
    with database.write() as session:
        place = {"target_id": 3, "source": str(path), "row": 0}
        session.add(Practice(**place, spectype=SpecType.QSO, z=2.2))
    page = browser_of("ada").new_page()
    page.goto(f"{server.url}/practice")
    page.locator("body[data-target='3']").wait_for()
    found = _complaints(page, "light") + _complaints(page, "dark")
    for key in "g4n":
        page.keyboard.press(key)
    page.locator("#practice-result", has_text="Not right").wait_for()
    found += _complaints(page, "light") + _complaints(page, "dark")
    page.close()
    assert found == []


def test_the_merger_sends_back_and_sees_every_column(browser_of, page_server):
    page = browser_of("max").new_page()
    page.goto(f"{page_server[0].url}/merge/object?target={BIG_ID}")
    page.locator("body[data-ready=true]").wait_for()
    for width in (1366, 1024, 1920):
        page.set_viewport_size({"width": width, "height": 768})
        too_wide = "({ scrollWidth, clientWidth }) => scrollWidth - clientWidth"
        assert page.locator("#verdicts").evaluate(too_wide) <= 0
        assert page.locator(".side").evaluate(too_wide) <= 0
    page.get_by_role("button", name="send back to ada").click()
    page.locator("#send-back[open]").wait_for()
    found = _complaints(page, "light") + _complaints(page, "dark")
    page.close()
    assert found == []


def test_pages_of_those_outside(browser, page_server):
    server, database = page_server
    with database.write() as session:
        token = invite(session, "guest", "inspector")
    page = browser.new_page()
    found = []
    for path in ("/login", f"/join/{token}", "/join/unknown"):
        page.goto(f"{server.url}{path}")
        found += _complaints(page, "light") + _complaints(page, "dark")
    page.close()
    assert found == []
