"""The inspection page in Chromium: pictures of every page, and how long a move takes.

    python studies/inspect_browser.py pictures --out docs/figures
    python studies/inspect_browser.py redraw

Simulates a small sky, lets three simulated inspectors label most of it with a few disagreements,
and serves it with the real server. `redraw` opens a DESI spectrum of three arms (7,800 pixels) with
all lines, noise and a template, moves the redshift 600 times and prints JSON, milliseconds.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from quasarloop.inspect.database import Database, open_database, set_setting
from quasarloop.inspect.ledger import Save, item_of, save_label
from quasarloop.inspect.people import invite, join, person_called
from quasarloop.inspect.server import prepare
from quasarloop.inspect.spectra_files import open_spectra
from quasarloop.labels.verdict import Verdict
from quasarloop.lines import line_named
from quasarloop.read import read_truth
from quasarloop.truth import SpecType, TruthTable

MAIN = [sys.executable, "-c", "from quasarloop.cli import main; main()"]
PASSWORD = "correct horse battery"
INSPECTORS = ("ada", "bea", "cyd")
N_OBJECTS, N_NETWORKS, N_CELLS = 40, 20, 45 * 45
PRACTICE = slice(1, 4)  # of the objects, best first
DISTANT_Z = 1.8
SLIPS = 0.12  # how often an inspector errs in class, or sees another quality
MIXED_UP = ("cyd", 6)  # takes C IV for Mg II, in this place of the worklist
MISTAKEN = line_named("CIV(1548)").wave_rest_aa / line_named("MgII(2796)").wave_rest_aa
QUALITY_SIGNAL = (0.3, 0.8, 1.5)  # S/N per pixel from which a quality of 2, 3, 4 is given
N_COLOURS = 256
# Ends of the pictures' names, and sizes of the window.
SIZES: dict[str, ViewportSize] = {
    "": {"width": 1366, "height": 768},
    "_1024": {"width": 1024, "height": 768},
    "_1920": {"width": 1920, "height": 1080},
}
START_PATIENCE_S = 120
N_MOVES = 600
MOVES = """async (n) => {
  const { bench } = window.quasarloop, took = [];
  for (let i = 0; i < n; i++) {
    const from = performance.now();
    bench.moveTo(0.3 + (4 * i) / n);
    took.push(performance.now() - from);
    await new Promise((done) => requestAnimationFrame(done));
  }
  return took.sort((a, b) => a - b);
}"""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def make_campaign(folder: Path) -> tuple[str, Path]:
    """Simulate a sky and a campaign on it; return the database's URL and the sky's folder."""
    sky = folder / "sky"
    simulate = [*MAIN, "simulate", "--out", str(sky), "--objects", str(N_OBJECTS), "--seed", "3"]
    subprocess.run(simulate, check=True, capture_output=True)
    truth = read_truth(sky / "truth.csv")
    rng = np.random.default_rng(1)
    best = _best_first(truth, sky)
    objects = [_opinion(truth, int(row), rng) for row in np.delete(best, PRACTICE)]
    worklist = folder / "worklist.json"
    worklist.write_text(json.dumps({"objects": objects}), encoding="utf-8")
    counts = {"counts": rng.poisson(40, N_CELLS).tolist()}
    (folder / "steps.json").write_text(json.dumps(counts), encoding="utf-8")
    url = f"sqlite:///{folder / 'labels.db'}"
    database = open_database(url)
    with database.write() as session:
        set_setting(session, "title", "round 1")
        for name in (*INSPECTORS, "max", "root"):
            role = {"max": "merger", "root": "admin"}.get(name, "inspector")
            join(session, invite(session, name, role), PASSWORD)
    files = open_spectra([sky])
    redrock, known = sorted(sky.rglob("redrock-*.fits")), truth[best[PRACTICE]]
    prepare(database, files, worklist=worklist, redrock=redrock, known=known)
    _label(database, truth, sky, [int(thing["TARGETID"]) for thing in objects], rng)
    database.close()
    return url, sky


def _best_first(truth: TruthTable, sky: Path) -> np.ndarray:
    """Rows with the brightest distant quasars first: pictures should show something."""
    bright = pl.read_csv(sky / "truth.csv")["FLUX_R"].to_numpy()
    distant = truth.is_qso & (truth.z > DISTANT_Z)
    return np.argsort(np.where(distant, -bright, 0.0), kind="stable")


def _opinion(truth: TruthTable, i: int, rng: np.random.Generator) -> dict[str, Any]:
    votes = rng.multinomial(N_NETWORKS, rng.dirichlet([0.7, 0.7, 0.7]))
    share = votes[votes > 0] / N_NETWORKS
    entropy = float(-(share * np.log2(share)).sum())
    z = float(np.nan_to_num(truth.z[i]))
    return {
        "TARGETID": str(truth.target_id[i]),
        "ENTROPY": entropy,
        "SCORE": entropy,
        "VOTES": dict(zip(("NOT_QSO", "LOW_Z", "HIGH_Z"), votes.tolist(), strict=True)),
        "PROPOSALS": [
            {"z": round(z * (1 + 1e-3 * rng.normal()), 5), "who": "median"},
            {"z": round(float(rng.uniform(0.4, 3.2)), 5), "who": "84 %"},
        ],
        "CONFIDENCES": {line: float(rng.beta(0.5, 0.5)) for line in ("LYA", "CIV", "MgII")},
        "CELL": int(rng.integers(N_CELLS)),
    }


def _label(
    database: Database,
    truth: TruthTable,
    sky: Path,
    targets: list[int],
    rng: np.random.Generator,
) -> None:
    rows = {int(target): row for row, target in enumerate(truth.target_id)}
    signal = pl.read_csv(sky / "truth.csv")["MEDIAN_SN_R"].to_numpy()
    with database.write() as session:
        for name in INSPECTORS:
            user = person_called(session, name)
            begin, end = (6, 36) if name == "ada" else (3, 38)
            for place, target in enumerate(targets[begin:end], begin):
                verdict = _verdict(truth, signal[rows[target]], rows[target], rng)
                if (name, place) == MIXED_UP:
                    z = round((1 + verdict.z) * MISTAKEN - 1, 4)
                    verdict = replace(verdict, z=z, quality=3, comment="Mg II?")
                save = Save(verdict, 0, f"{name}-{target}", seconds=float(rng.gamma(4, 2)))
                save_label(session, item_of(session, target), user, save)


def _verdict(truth: TruthTable, signal: float, row: int, rng: np.random.Generator) -> Verdict:
    spectype, z = SpecType(int(truth.spectype[row])), float(truth.z[row])
    if spectype == SpecType.UNKNOWN:
        return Verdict(quality=0)
    quality = int(np.searchsorted(QUALITY_SIGNAL, signal)) + 1
    if rng.random() < SLIPS and spectype != SpecType.STAR:
        spectype = SpecType.GALAXY if spectype == SpecType.QSO else SpecType.QSO
    if rng.random() < 2 * SLIPS:
        quality = max(1, quality - 1)
    comment = str(rng.choice(["", "", "", "C IV absorbed", "noisy blue end"]))
    return Verdict(spectype, round(z + 3e-4 * rng.normal(), 4), quality, comment=comment)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(url: str, sky: Path) -> Iterator[str]:
    """Serve the campaign on a free port."""
    port = free_port()
    server = start_server(url, sky, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def start_server(url: str, sky: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the real server; return when it answers."""
    command = [*MAIN, "inspect", "serve", "--db", url, "--spectra", str(sky), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + START_PATIENCE_S
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/login").raise_for_status()
        except httpx.HTTPError as exc:
            if server.poll() is not None or time.monotonic() > end:
                server.kill()
                raise TimeoutError("the server did not start") from exc
            time.sleep(0.2)
        else:
            return server


def photograph(browser: Browser, address: str, out: Path) -> None:
    """Visit every page and keep its pictures."""
    page = browser.new_page(viewport=SIZES[""])
    page.goto(f"{address}/login")
    _pictures(page, out / "inspect_login.png")
    page = log_in(browser, address, "ada")
    page.goto(f"{address}/list?state=all")
    page.locator("tbody tr").first.wait_for()
    _pictures(page, out / "inspect_list.png")
    page.goto(f"{address}/inspect?state=todo")
    page.locator("body[data-ready=true]").wait_for()
    page.keyboard.press("F")
    page.locator("#z-hint", has_text="best").wait_for()
    page.keyboard.press("q")
    page.keyboard.press("4")
    page.locator("#machine .chip").first.wait_for()
    _pictures(page, out / "inspect_page.png")
    page.keyboard.press("?")
    _picture(page, out / "inspect_keys.png")
    page.keyboard.press("Escape")
    page.keyboard.press("h")
    page.locator("#name-line[open]").wait_for()
    _picture(page, out / "inspect_line.png")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 820, "height": 1180})
    page.wait_for_timeout(500)
    _picture(page, out / "inspect_tablet.png")
    page = log_in(browser, address, "bea")
    page.goto(f"{address}/practice")
    page.locator("body[data-ready=true]").wait_for()
    page.keyboard.press("F")
    page.locator("#z-hint", has_text="best").wait_for()
    for key in "q4n":
        page.keyboard.press(key)
    page.locator("#practice-result", has_text=":").wait_for()
    _pictures(page, out / "inspect_practice.png")
    page = log_in(browser, address, "max")
    page.locator("body[data-ready=true]").wait_for()
    _pictures(page, out / "inspect_queue.png")
    page.goto(f"{address}/merge/object")
    page.locator("body[data-ready=true]").wait_for()
    page.keyboard.press("w")
    _pictures(page, out / "inspect_merge.png")
    page.goto(f"{address}/statistics")
    page.locator("body[data-ready=true]").wait_for()
    _pictures(page, out / "inspect_statistics.png", full=True)
    page = log_in(browser, address, "root")
    page.locator("body[data-ready=true]").wait_for()
    _pictures(page, out / "inspect_people.png")


def _pictures(page: Page, path: Path, *, full: bool = False) -> None:
    """A page at every size, and dark."""
    for suffix, size in SIZES.items():
        page.set_viewport_size(size)
        _picture(page, path.with_stem(path.stem + suffix), full=full)
    page.set_viewport_size(SIZES[""])
    page.locator("#theme").click()
    _picture(page, path.with_stem(f"{path.stem}_dark"), full=full)
    page.locator("#theme").click()


def log_in(browser: Browser, address: str, name: str) -> Page:
    """Open a window and log somebody in."""
    page = browser.new_page(viewport=SIZES[""])
    page.goto(f"{address}/login")
    page.fill("input[name=name]", name)
    page.fill("input[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(
        "**/list*" if name in INSPECTORS else "**/merge*" if name == "max" else "**/people"
    )
    return page


def _picture(page: Page, path: Path, *, full: bool = False) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=path, full_page=full)


def time_moves(browser: Browser, address: str) -> dict[str, float]:
    """Move the trial redshift; return times, ms, and the requests that the moves made."""
    page = log_in(browser, address, "ada")
    page.goto(f"{address}/inspect")
    page.locator("body[data-ready=true]").wait_for()
    page.keyboard.press("i")  # all lines
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    took = page.evaluate(MOVES, N_MOVES)
    return {
        "pixels": page.evaluate("() => quasarloop.bench.plot.arms[0].wave.length"),
        "moves": N_MOVES,
        "median_ms": round(took[N_MOVES // 2], 2),
        "p95_ms": round(took[int(0.95 * N_MOVES)], 2),
        "requests": len(requests),
    }


def main() -> None:
    """Parse, serve, photograph or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("pictures", "redraw"))
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name:
        url, sky = make_campaign(Path(name))
        with served(url, sky) as address, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
            if given.what == "redraw":
                print(json.dumps(time_moves(browser, address), indent=1))
                return
            given.out.mkdir(parents=True, exist_ok=True)
            photograph(browser, address, given.out)
            browser.close()
    for path in sorted(given.out.glob("inspect_*.png")):
        shrink(path)
        print(path, path.stat().st_size)


def shrink(path: Path) -> None:
    """Few colours are enough for a picture of a page: a third of the bytes."""
    with Image.open(path) as image:
        image.convert("RGB").quantize(N_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
