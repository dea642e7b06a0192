"""Pictures of a report, and of the site, in Chromium.

    python studies/page_pictures.py report demo/campaign/rounds/02/report/report.html
    python studies/page_pictures.py site build/site
    python studies/page_pictures.py all build/site --out looked_at

`report` and `site` make the pictures of docs/guides/report.md and docs/gallery.md. `all` takes
every page of a site whole, at both widths, names what runs off the page, and ends with status 1
if anything does.
"""

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from inspect_browser import shrink

# Name, width in pixels, height of the picture, medium, colours. The paper is A4, of 96 pixels per
# inch, without its margins of 13.5 mm.
REPORT = (
    ("report", 1366, 1800, "screen", "light"),
    ("report_dark", 1366, 1800, "screen", "dark"),
    ("report_390", 390, 1800, "screen", "light"),
    ("report_a4", 692, 1020, "print", "light"),
)
# Name, page, width, height, colours.
SITE = (
    ("site", "index.html", 1366, 1000, "light"),
    ("site_390", "index.html", 390, 1000, "light"),
    ("site_dark", "reference/columns.html", 1366, 1000, "dark"),
)
WIDTHS = (1366, 390)
# What is wider than the page, unless it or something around it scrolls or is hidden.
RUNS_OFF = """() => {
  const wide = document.documentElement.clientWidth, clipped = (node) => {
    for (let part = node; part && part !== document.body; part = part.parentElement) {
      const style = getComputedStyle(part);
      if (style.overflowX !== 'visible' || style.visibility === 'hidden') return true;
      if (style.position === 'fixed') return true;
    }
    return node.closest('.md-nav, .md-search, .md-header');
  };
  return [...document.querySelectorAll('body *')]
    .filter((n) => n.getBoundingClientRect().right > wide + 1 && n.clientWidth && !clipped(n))
    .map((n) => `${n.tagName.toLowerCase()}: ${n.textContent.trim().slice(0, 60)}`).slice(0, 3);
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Open Chromium, the system's one or that of CHROMIUM."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def report(browser: Browser, file: Path, out: Path) -> int:
    """Photograph the beginning of a report."""
    for name, wide, high, medium, colours in REPORT:
        page = browser.new_page(viewport={"width": wide, "height": high})
        page.emulate_media(media=medium, color_scheme=colours)
        page.goto(file.resolve().as_uri())
        _keep(page.screenshot(), out / f"{name}.png")
        page.close()
    return 0


def site(browser: Browser, folder: Path, out: Path) -> int:
    """Photograph two pages of a site."""
    for name, file, wide, high, colours in SITE:
        page = browser.new_page(viewport={"width": wide, "height": high}, color_scheme=colours)
        page.goto((folder / file).resolve().as_uri())
        _keep(page.screenshot(), out / f"{name}.png")
        page.close()
    return 0


def whole(browser: Browser, folder: Path, out: Path) -> int:
    """Photograph every page whole, and count what runs off the page."""
    found = 0
    for wide in WIDTHS:
        page = browser.new_page(viewport={"width": wide, "height": 900})
        for file in sorted(folder.rglob("*.html")):
            page.goto(file.resolve().as_uri())
            name = "_".join(file.relative_to(folder).with_suffix("").parts)
            page.screenshot(path=out / f"{name}_{wide}.png", full_page=True)
            for part in page.evaluate(RUNS_OFF):
                found += 1
                print(f"{file.relative_to(folder)} at {wide}: {part}")
        page.close()
    return min(found, 1)


def _keep(picture: bytes, path: Path) -> None:
    path.write_bytes(picture)
    shrink(path)
    print(path, path.stat().st_size)


def main() -> None:
    """Parse, and photograph."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("of", choices=("report", "site", "all"))
    parser.add_argument("path", type=Path, help="a report's file, or the folder of a built site")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    take = {"report": report, "site": site, "all": whole}[given.of]
    with chromium() as browser:
        raise SystemExit(take(browser, given.path, given.out))


if __name__ == "__main__":
    main()
