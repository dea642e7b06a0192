"""An inspector's keys in Firefox, over WebDriver BiDi (w3.org/TR/webdriver-bidi)."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time

import pytest
from tornado.websocket import websocket_connect

from quasarloop.inspect.ledger import history, item_of
from quasarloop.inspect.people import person_called
from quasarloop.labels.verdict import Verdict
from quasarloop.truth import SpecType

pytestmark = pytest.mark.browser

BIG_ID = 39627945488154697
PASSWORD = "correct horse battery"
PATIENCE_S = 120
# Code points of keys: w3.org/TR/webdriver2, "keyboard actions".
CODES = {"Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c"}
CODES |= {"ArrowLeft": "\ue012", "ArrowRight": "\ue014"}


class Firefox:
    """A window of Firefox: keys, and what the page's JavaScript returns."""

    def __init__(self, socket):
        self.socket, self.number, self.window = socket, 0, None

    async def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        await self.socket.write_message(json.dumps(message))
        while True:
            answer = json.loads(await self.socket.read_message())
            if answer.get("id") == self.number:
                if answer["type"] == "error":
                    raise RuntimeError(answer["message"])
                return answer["result"]

    async def open(self, url):
        await self.send("browsingContext.navigate", context=self.window, url=url, wait="complete")

    async def value(self, expression):
        found = await self.send(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self.window},
            awaitPromise=False,
        )
        if found["type"] == "exception":
            raise RuntimeError(found["exceptionDetails"]["text"])
        return json.loads(found["result"].get("value", "null"))

    async def until(self, expression):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if await self.value(expression):
                    return
            except RuntimeError:  # one page is being changed for another
                pass
            await asyncio.sleep(0.05)
        raise TimeoutError(expression)

    async def press(self, *keys):
        """Press keys, without a pause between them."""
        strokes = [
            {"type": kind, "value": CODES.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        board = {"type": "key", "id": "keyboard", "actions": strokes}
        await self.send("input.performActions", context=self.window, actions=[board])

    async def shown(self, number):
        await self.until(f"document.body.dataset.target === '{BIG_ID + number}'")

    async def saved(self):
        await self.until("document.getElementById('save-state').dataset.state === 'saved'")
        return await self.value("window.quasarloop.desk.verdict")


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    """A function that runs a story in a Firefox of its own; skips where there is none."""
    path = os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
    if path is None:
        pytest.skip("no Firefox: install Debian's package firefox-esr, or set FIREFOX to its path")
    folder = tmp_path_factory.mktemp("firefox")
    (folder / "profile").mkdir()
    command = [path, "--headless", "--no-remote", "--profile", str(folder / "profile")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--remote-debugging-port", "0"],
            stdout=log,
            stderr=log,
            env=os.environ | {"HOME": str(folder)},
        )
    try:
        end, listens = time.monotonic() + PATIENCE_S, None
        while listens is None:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")
            listens = re.search(r"BiDi listening on (ws://\S+)", said)
            assert process.poll() is None and time.monotonic() < end, said
            time.sleep(0.1)

        async def played(story):
            socket = await websocket_connect(f"{listens[1]}/session")
            try:
                page = Firefox(socket)
                await page.send("session.new", capabilities={})
                page.window = (await page.send("browsingContext.getTree"))["contexts"][0]["context"]
                await page.send("browsingContext.activate", context=page.window)
                await story(page)
            finally:
                socket.close()

        yield lambda story: asyncio.run(played(story))
    finally:
        process.terminate()
        process.wait(30)


def test_an_inspector_by_keyboard(firefox, page_server):
    server, database = page_server

    async def story(page):
        await page.open(f"{server.url}/login")
        await page.press(*"ada", "Tab", *PASSWORD, "Enter")
        await page.until("location.pathname === '/list' && document.body.dataset.ready")
        await page.open(f"{server.url}/inspect?target={BIG_ID + 1}")  # z = 2.4
        await page.shown(1)
        await page.press("z", *"0.1", "Enter", "F")
        await page.until("document.getElementById('z-hint').textContent.startsWith('best: QSO')")
        assert abs(await page.value("window.quasarloop.bench.z") - 2.4) < 3e-3
        await page.press("ArrowRight", "ArrowLeft", "q", "4", "b", "R", "u", "c", *"ok", "Enter")
        verdict = await page.saved()
        assert (verdict["spectype"], verdict["quality"], verdict["comment"]) == ("QSO", 4, "ok")
        assert (verdict["is_bal"], verdict["issues"]) == (True, "")
        await page.press("?")
        await page.until("document.getElementById('help').open")
        await page.press("Escape")
        await page.until("!document.getElementById('help').open")
        # All at once: what comes before the next object is there has to wait for it.
        await page.press(
            "n", "z", *"1.8", "Backspace", "9", "Enter", "q", "3", "c", *"hm", "Escape"
        )
        await page.shown(2)
        await page.until("window.quasarloop.desk.verdict.comment === 'hm'")
        assert (await page.saved())["z"] == 1.9
        await page.press("j", *str(BIG_ID + 4), "Enter")
        await page.shown(4)
        await page.press("g", "2", "n")
        await page.shown(5)
        await page.press("k")
        await page.shown(6)
        await page.press("l")
        await page.until("location.pathname === '/list' && document.body.dataset.ready")

    firefox(story)
    with database.read() as session:
        ada = person_called(session, "ada")
        newest = {n: history(session, item_of(session, BIG_ID + n).id, ada)[-1] for n in (1, 2, 4)}
    assert newest[1].verdict.spectype == SpecType.QSO
    assert newest[2].verdict == Verdict(SpecType.QSO, 1.9, 3, comment="hm")
    assert newest[4].verdict.spectype == SpecType.GALAXY
