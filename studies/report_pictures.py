"""Pictures of a report in Chromium, for docs/guides/report.md.

quasarloop demo --out demo
python studies/report_pictures.py demo/campaign/rounds/02/report/report.html --out docs/figures
"""

import argparse
import os
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from inspect_browser import shrink

# Name, width in pixels, height of the picture, medium, colours. The paper is A4, of 96 pixels per
# inch, without its margins of 13.5 mm.
PICTURES = (
    ("report", 1366, 1800, "screen", "light"),
    ("report_dark", 1366, 1800, "screen", "dark"),
    ("report_390", 390, 1800, "screen", "light"),
    ("report_a4", 692, 1020, "print", "light"),
)


def main() -> None:
    """Parse, and photograph the beginning of a report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    given = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, wide, high, medium, colours in PICTURES:
            page = browser.new_page(viewport={"width": wide, "height": high})
            page.emulate_media(media=medium, color_scheme=colours)
            page.goto(given.report.resolve().as_uri())
            path = given.out / f"{name}.png"
            page.screenshot(path=path)
            shrink(path)
            print(path, path.stat().st_size)
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
