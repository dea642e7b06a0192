"""Every page for everybody: axe-core finds nothing to complain about, light and dark."""

import pytest

from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.people import invite, join
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
    page.wait_for_timeout(300)  # colours fade
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
        for user, kind in enumerate((SpecType.QSO, SpecType.STAR), start=1):
            save_label(session, item, user, Save(Verdict(kind, 0.0, 4.0), 0, f"conflict-{user}"))


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
