"""An emulated tablet held upright: a whole verdict by touch alone, in real Chromium."""

import pytest

from quasarloop.inspect.ledger import history, item_of
from quasarloop.inspect.people import person_called
from quasarloop.lines import line_named
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
PASSWORD = "correct horse battery"
NUMBER, Z = 6, 1.9  # of the worklist, and its redshift
TABLET = {
    "viewport": {"width": 820, "height": 1180},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
# What a finger needs: success criterion 2.5.8 of WCAG 2.2.
LEAST_PX = 24
X_RANGE = "() => [window.quasarloop.bench.plot.x.start, window.quasarloop.bench.plot.x.end]"


@pytest.fixture
def tablet(browser, page_server):
    """A page of an inspector who never touches a keyboard but to log in."""
    context = browser.new_context(**TABLET)
    context.set_default_timeout(0)  # as long as it takes
    page = context.new_page()
    page.goto(f"{page_server[0].url}/login")
    for name, text in (("name", "cyd"), ("password", PASSWORD)):
        page.locator(f"input[name={name}]").tap()
        page.keyboard.insert_text(text)
    page.locator("button.main").tap()
    page.wait_for_url("**/list*")
    yield page
    context.close()


def _act(page, action):
    page.locator(f"[data-action={action}]").tap()


def _touch_line(page, wave_aa):
    """Tap the spectrum at a wavelength."""
    place = page.evaluate(
        """(wave) => {
          const { plot } = window.quasarloop.bench;
          const box = plot.host.getBoundingClientRect();
          const steps = [...Array(1 + Math.floor(box.width)).keys()];
          const off = (dx) => {
            const at = plot.waveAt({ clientX: box.left + dx, clientY: box.top + box.height / 2 });
            return at === null ? Infinity : Math.abs(at - wave);
          };
          const best = steps.reduce((known, dx) => (off(dx) < off(known) ? dx : known), 0);
          return [box.left + best, box.top + box.height / 2];
        }""",
        wave_aa,
    )
    page.touchscreen.tap(*place)


def _drag(page, by):
    """One finger over the middle of the spectrum, pixels to the right."""
    box = page.locator("#plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def send(kind, points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", [{"x": x, "y": y}])
    for step in range(1, 11):
        send("touchMove", [{"x": x + by * step / 10, "y": y}])
    send("touchEnd", [])


def test_a_verdict_by_touch_alone(tablet, page_server):
    page, (_, database) = tablet, page_server
    page.locator(f"#rows a[href*='{BIG_ID + NUMBER}']").first.tap()
    page.locator(f"body[data-target='{BIG_ID + NUMBER}']").wait_for()
    assert page.evaluate("() => matchMedia('(pointer: coarse)').matches")

    before = page.evaluate(X_RANGE)
    _drag(page, 150)
    page.wait_for_function(f"(old) => ({X_RANGE})()[0] < old - 100", arg=before[0])
    assert page.locator("#name-line[open]").count() == 0, "a drag is no tap"
    _act(page, "view")

    mg_ii = line_named("MgII(2796)").wave_rest_aa
    _touch_line(page, mg_ii * (1 + Z))
    page.locator("#name-line[open]").wait_for()
    page.locator("#name-line-choices button", has_text="Mg II").first.tap()
    page.wait_for_function(f"() => Math.abs(window.quasarloop.bench.z - {Z}) < 0.02 * (1 + {Z})")
    _act(page, "fit-wide")
    page.locator("#z-hint", has_text="best: QSO").wait_for()
    _act(page, "take")
    _act(page, "class-QSO")
    _act(page, "quality-4")
    page.locator("#save-state[data-state=saved]").wait_for()
    _act(page, "next")
    page.locator(f"body[data-target='{BIG_ID + NUMBER + 1}']").wait_for()

    with database.read() as session:
        item = item_of(session, BIG_ID + NUMBER)
        *_, label = history(session, item.id, person_called(session, "cyd"))
    assert (label.verdict.spectype, label.verdict.quality) == (SpecType.QSO, 4)
    assert label.verdict.z == pytest.approx(Z, abs=2e-3)


def test_everything_is_large_enough_for_a_finger(tablet, page_server):
    page, (server, _) = tablet, page_server
    page.goto(f"{server.url}/inspect?target={BIG_ID + 1}")
    page.locator(f"body[data-target='{BIG_ID + 1}']").wait_for()
    small = page.evaluate(
        """(least) => [...document.querySelectorAll("button, input, select")]
             .filter((node) => node.checkVisibility())
             .map((node) => [node.id || node.outerHTML, node.getBoundingClientRect()])
             .filter(([, box]) => box.width < least || box.height < least)
             .map(([name, box]) => `${name} ${box.width}x${box.height}`)""",
        LEAST_PX,
    )
    assert small == []
