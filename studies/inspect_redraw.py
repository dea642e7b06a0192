"""How long a move of the trial redshift takes on the inspection page, and what it asks the server.

    python studies/inspect_redraw.py

Serves a simulated campaign, opens a DESI spectrum of three arms (7,800 pixels) in Chromium with all
lines, noise and a template shown, and moves the redshift 600 times. Prints JSON, milliseconds.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from inspect_screenshots import FLAGS, log_in, make_campaign, served

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


def main() -> None:
    """Serve, open, move, print."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name:
        url, sky = make_campaign(Path(name))
        with served(url, sky) as address, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
            page = log_in(browser, address, "ada")
            page.goto(f"{address}/inspect")
            page.locator("body[data-ready=true]").wait_for()
            page.keyboard.press("i")  # all lines
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            took = page.evaluate(MOVES, N_MOVES)
            pixels = page.evaluate("() => quasarloop.bench.plot.arms[0].wave.length")
            browser.close()
    report = {
        "pixels": pixels,
        "moves": N_MOVES,
        "median_ms": round(took[N_MOVES // 2], 2),
        "p95_ms": round(took[int(0.95 * N_MOVES)], 2),
        "requests": len(asked),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
