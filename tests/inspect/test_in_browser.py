"""Three inspectors and a merger in real Chromium, by keyboard alone, through every mishap.

Every verdict that the page said was saved must be there in the end, whatever happened to the page,
the network or the server in between.
"""

import asyncio
import contextlib
import json
import random
from dataclasses import replace
from itertools import combinations

import fitsio
import numpy as np
import pytest
from typer.testing import CliRunner

from quasarloop.cli import app
from quasarloop.inspect.database import open_database
from quasarloop.inspect.ledger import history, item_of
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.labels.merge import conflicts, from_decision, merge_verdicts
from quasarloop.labels.verdict import Verdict, verdict_json
from quasarloop.read import find_files, read_truth
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
PASSWORD = "correct horse battery"
INSPECTORS = ("ada", "bea", "cyd")
N_OBJECTS = 12
CLASS_KEYS = {SpecType.STAR: "s", SpecType.GALAXY: "g", SpecType.QSO: "q"}
# What the page shows as saved right now: target, version and verdict.
SAID = """() => {
  const saved = document.getElementById("save-state").dataset.state === "saved";
  return saved && {
    target: document.body.dataset.target,
    version: Number(document.body.dataset.savedVersion),
    verdict: window.quasarloop.desk.verdict,
  };
}"""


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A simulated sky, one object with a TARGETID beyond JavaScript's numbers."""
    folder = tmp_path_factory.mktemp("sky")
    _run("simulate", "--out", folder, "--objects", N_OBJECTS, "--seed", 3)
    (coadd,) = (path for path in find_files([folder]) if path.name.startswith("coadd-"))
    with fitsio.FITS(str(coadd), "rw") as file:
        ids = file["FIBERMAP"]["TARGETID"].read()
        replaced, ids[5] = ids[5], BIG_ID
        file["FIBERMAP"].write_column("TARGETID", ids)
    truth = read_truth(folder / "truth.csv")
    truth.target_id[truth.target_id == replaced] = BIG_ID
    return coadd, [int(target) for target in ids], truth


def _plan(targets, truth):
    """What each inspector will type of each object: mostly agreeing, some not."""
    rng = random.Random(11)
    known = {int(t): (SpecType(int(s)), float(z)) for t, s, z in _rows(truth)}
    plan = {}
    for number, target in enumerate(targets):
        spectype, z = known[target]
        for name in INSPECTORS:
            says, where, quality = spectype, round(max(z, 0.0), 4), rng.choice([3, 4])
            if number % 5 == 1 and name == "cyd":  # an odd one out
                says = SpecType.QSO if spectype != SpecType.QSO else SpecType.GALAXY
            elif number % 5 == 3 and name == "bea" and spectype == SpecType.STAR:
                quality = 1
            elif number % 5 == 3 and name == "bea":
                where = round(where + 0.02 * (1 + where), 4)
            if says == SpecType.STAR and where > 0.01:
                where = 0.0
            if spectype == SpecType.UNKNOWN:  # a sky fibre: no signal
                plan[name, target] = Verdict(quality=0.0)
                continue
            verdict = Verdict(says, where, float(quality))
            if says == SpecType.QSO and number % 4 == 0:
                verdict = replace(verdict, is_bal=True)
            if number % 6 == 2:
                verdict = replace(verdict, issues="R", comment=f"line {number}; by {name}")
            plan[name, target] = verdict
    return plan


def _rows(truth):
    return zip(truth.target_id, truth.spectype, truth.z, strict=True)


def _campaign(url, sky):
    coadd, ids, truth = sky
    targets = [BIG_ID, *[target for target in ids if target != BIG_ID]]
    worklist = coadd.with_name("worklist.json")
    worklist.write_text(json.dumps([str(target) for target in targets]), encoding="utf-8")
    database = open_database(url)
    with database.write() as session:
        for name in (*INSPECTORS, "max"):
            role = "merger" if name == "max" else "inspector"
            join(session, invite(session, name, role), PASSWORD)
    prepare(database, open_spectra([coadd]), worklist=worklist)
    return database, targets, _plan(targets, truth)


async def _log_in(browser, server, name):
    context = await browser.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(0)  # as long as it takes
    page = await context.new_page()
    # Leaving with something unsaved asks first; these people mean it.
    page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.goto(f"{server.url}/login")
    await page.locator("input[name=name]:focus").wait_for()
    await page.keyboard.type(name)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/list*" if name != "max" else "**/merge*")
    return page


async def _type(page, verdict):
    """Give a verdict as a person would, by keys."""
    if verdict.z is not None:
        await page.keyboard.press("z")
        await page.keyboard.type(f"{verdict.z:.5g}")
        await page.keyboard.press("Enter")
        await page.keyboard.press(CLASS_KEYS[verdict.spectype])
    if verdict.is_bal:
        await page.keyboard.press("b")
    for letter in verdict.issues:
        await page.keyboard.press(letter)
    if verdict.comment:
        await page.keyboard.press("c")
        await page.keyboard.type(verdict.comment)
        await page.keyboard.press("Enter")
    await page.keyboard.press(f"{verdict.quality:.0f}")


async def _shown(page, target):
    # (Waiting for a function would need eval, which the page's security policy forbids.)
    await page.locator(f"body[data-target='{target}']").wait_for()


async def _until_saved(page, quality):
    """Wait until the page says that this verdict is saved, and return what it says."""
    await page.locator(f"[data-quality='{quality:.0f}'][aria-pressed=true]").wait_for()
    while True:
        await page.locator("#save-state[data-state=saved]").wait_for()
        said = await page.evaluate(SAID)
        if said and said["verdict"]["quality"] == quality:
            return said


class Mishaps:
    """What goes wrong, when, and what was said to be saved before it did."""

    def __init__(self, server, database):
        self.server, self.database = server, database
        self.said = []
        self.kill_at = N_OBJECTS * len(INSPECTORS) // 2
        self.killed = False

    def record(self, name, said):
        self.said.append((name, said))

    async def watch(self):
        """Kill the server without warning half way, look at what is on disk, start it again."""
        while len(self.said) < self.kill_at:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self.server.kill)
        self.killed = True
        before = list(self.said)
        await asyncio.to_thread(_check_said, self.database, before)
        await asyncio.to_thread(self.server.start)


async def _inspect(browser, server, name, plan, targets, mishaps):
    page = await _log_in(browser, server, name)
    await _open(lambda: page.goto(f"{server.url}/inspect"))
    for number, target in enumerate(targets):
        await _shown(page, target)
        verdict = plan[name, target]
        if name == "bea" and number == 2:
            await page.context.set_offline(True)
        await _type(page, verdict)
        if name == "bea" and number == 2:
            badge = page.locator("#save-state[data-state=unsaved]")
            await badge.wait_for()
            assert "not saved" in await badge.inner_text()
            await page.context.set_offline(False)
        if name == "ada" and number == 1:
            await _open(page.reload)  # at once, whether the last key was saved or not
            await _shown(page, target)
        mishaps.record(name, await _until_saved(page, verdict.quality))
        await page.keyboard.press("n")
        if number + 1 < len(targets):
            await _get_there(page, targets[number + 1])
    await page.context.close()


async def _open(load):
    """Load a page; where the server is gone, try again as a person would."""
    from playwright.async_api import Error

    while True:
        with contextlib.suppress(Error):
            return await load()
        await asyncio.sleep(0.5)


async def _get_there(page, target):
    """Wait for the next object; with the server gone the page stays, and a person tries again."""
    from playwright.async_api import TimeoutError as TooLong

    there = page.locator(f"body[data-target='{target}']")
    while True:
        with contextlib.suppress(TooLong):
            return await there.wait_for(timeout=1500)
        if "cannot be loaded" in await page.locator("#verdict-hint").inner_text():
            await page.keyboard.press("n")


async def _merge(browser, server, decisions):
    page = await _log_in(browser, server, "max")
    await page.goto(f"{server.url}/merge/object")
    for target, decision in decisions.items():
        await _shown(page, target)
        await _type(page, decision)
        await page.keyboard.press("d")
        await page.locator(f"body[data-decided='{target}:1']").wait_for()
    await page.goto(f"{server.url}/merge")
    await page.locator("#none").wait_for()
    await page.goto(f"{server.url}/statistics")
    await page.locator("body[data-ready=true]").wait_for()
    assert await page.locator("#pairs tr").count() == len(list(combinations(INSPECTORS, 2)))
    await page.context.close()


async def _everybody(options, server, database, plan, targets, decisions):
    from playwright.async_api import async_playwright

    mishaps = Mishaps(server, database)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(**options)
        people = (_inspect(browser, server, n, plan, targets, mishaps) for n in INSPECTORS)
        await asyncio.gather(mishaps.watch(), *people)
        await _merge(browser, server, decisions)
        await browser.close()
    return mishaps


def _check_said(database, said):
    """Every version the pages called saved stands in the database as they showed it."""
    with database.read() as session:
        for name, one in said:
            item = item_of(session, int(one["target"]))
            labels = history(session, item.id, person_called(session, name))
            assert verdict_json(labels[one["version"] - 1].verdict) == one["verdict"]


def _export(url, tmp_path, form):
    path = tmp_path / f"{form}.csv"
    _run("labels", "export", path, "--format", form, "--db", url)
    return read_truth(path)


def _run(*arguments):
    result = CliRunner().invoke(app, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_no_verdict_is_lost(backend, tmp_path, sky, chromium_options, request):
    url = f"sqlite:///{tmp_path / 'labels.db'}"
    if backend == "postgresql":
        url = request.getfixturevalue("new_postgres_database")()
    start_server = request.getfixturevalue("start_server")
    database, targets, plan = _campaign(url, sky)
    with contextlib.closing(database):
        said_of = {t: [plan[name, t] for name in INSPECTORS] for t in targets}
        disputed = [target for target, verdicts in said_of.items() if conflicts(verdicts)]
        decisions = {
            target: Verdict(SpecType.QSO, round(0.5 + 0.01 * i, 4), 3.0, comment=f"for {i}")
            for i, target in enumerate(disputed)
        }
        assert len(decisions) >= 2
        server = start_server(url, [sky[0]])
        work = _everybody(chromium_options, server, database, plan, targets, decisions)
        mishaps = asyncio.run(work)
        assert mishaps.killed
        assert len(mishaps.said) == N_OBJECTS * len(INSPECTORS)
        _check_said(database, mishaps.said)
    expected = {
        target: from_decision(decisions[target], verdicts)
        if target in decisions
        else merge_verdicts(verdicts)
        for target, verdicts in said_of.items()
    }
    _check_exported(url, tmp_path, expected)


def _check_exported(url, tmp_path, expected):
    """The exported tables hold what was typed, to the last digit."""
    final = list(expected.values())
    for form in ("truth", "merged"):
        exported = _export(url, tmp_path, form)
        assert exported.target_id.tolist() == list(expected)
        assert BIG_ID in exported.target_id
        assert exported.spectype.tolist() == [label.spectype for label in final]
        z = [np.nan if label.z is None else label.z for label in final]
        np.testing.assert_array_equal(exported.z, z)
        assert exported.quality.tolist() == pytest.approx([label.quality for label in final])
        if form == "truth":
            bal = [{True: 1, False: 0, None: -1}[label.is_bal] for label in final]
            assert exported.bal.tolist() == bal
