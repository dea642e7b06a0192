"""A served campaign for real Chromium, and a window on it that types as an inspector would."""

import json

import pytest

from quasarloop.inspect.database import open_database
from quasarloop.inspect.people import invite, join
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra

BIG_ID = 39627945488154697
N_OBJECTS = 14
PASSWORD = "correct horse battery"


class Window:
    """A page of the browser with the keys an inspector types; all else is Playwright's page."""

    def __init__(self, page):
        self.page = page

    def __getattr__(self, name):
        return getattr(self.page, name)

    def log_in(self, name, home=None):
        self.locator("input[name=name]:focus").wait_for()
        self.keyboard.type(name)
        self.keyboard.press("Tab")
        self.keyboard.type(PASSWORD)
        self.keyboard.press("Enter")
        home = home or {"root": "people", "max": "merge"}.get(name, "list*")
        self.wait_for_url(f"**/{home}")

    def press(self, keys):
        for key in keys:
            self.keyboard.press(key)

    def type_z(self, text):
        self.keyboard.press("z")
        self.keyboard.type(text)
        self.keyboard.press("Enter")

    def trial(self):
        return self.evaluate("() => window.quasarloop.bench.z")

    def shown(self, number):
        self.locator(f"body[data-target='{BIG_ID + number}']").wait_for()

    def saved(self):
        self.locator("#save-state[data-state=saved]").wait_for()
        return self.evaluate("() => window.quasarloop.desk.verdict")

    def hold_spectra(self):
        """Keep the next spectra back; return a function that lets them arrive."""
        held = []

        def hold(route):
            held.append(route)

        self.route("**/api/objects/*/spectrum", hold)
        self.evaluate(
            "() => { window.quasarloop.bench.cache.clear(); window.quasarloop.desk.ahead = null; }"
        )

        def arrive():
            while not held:
                self.wait_for_timeout(5)
            for route in held:
                route.continue_()
            self.unroute("**/api/objects/*/spectrum")

        return arrive


@pytest.fixture(scope="module")
def page_server(tmp_path_factory, write_coadd, strong_hasher, module_server):
    """A served campaign; the first spectrum has DESI's pixels, the last but one is truncated."""
    folder = tmp_path_factory.mktemp("page")
    ids = [BIG_ID + i for i in range(N_OBJECTS)]
    redshifts = [2.5 - 0.1 * i for i in range(N_OBJECTS)]
    full = write_coadd(folder / "coadd-full.fits", ids[:1], redshifts[:1])
    path = write_coadd(folder / "coadd-1.fits", ids, redshifts, step=2.4)  # quick to draw
    again = write_coadd(folder / "coadd-again.fits", ids[9:10], redshifts[9:10], step=2.4, seed=5)
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
    server = module_server(url, [path, again], folder / "server.log")
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

    def of(name, home=None):
        if name not in known:
            context = browser.new_context(viewport={"width": 1366, "height": 768})
            context.set_default_timeout(0)  # as long as it takes
            page = Window(context.new_page())
            page.goto(f"{server.url}/login")
            page.log_in(name, home)
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
        page = Window(browser_of(name).new_page())
        pages.append(page)
        page.goto(f"{server.url}/inspect?target={BIG_ID + number}")
        page.shown(number)
        return page

    yield opened
    for page in pages:
        page.context.set_offline(False)  # also where a test failed on the way
        page.unroute_all(behavior="ignoreErrors")
        page.evaluate("() => localStorage.clear()")
        page.close()
