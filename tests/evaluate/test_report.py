"""A report is whole in each of its forms, escapes what it quotes, and is the same each time."""

import json
import re
from html.parser import HTMLParser

import pytest

from quasarloop.evaluate import report as written
from quasarloop.evaluate.figures import new_figure
from quasarloop.evaluate.report import Picture, Report, Section, Table, write_report

WIDE = Table("A wide table", [f"column {i}" for i in range(10)], [["0.478 (+0.019; 341/713)"] * 10])
LONG = Table(
    "A long table", ["row", "what"], [[str(i), "word " * 12] for i in range(120)], "a note"
)


def report(*tables):
    figure = new_figure(2)
    figure.subplots().plot([1, 2, 3])
    table = Table("Counts", ["step", "n"], [["all", "3,600,000"], ["<b>", "1"]], note="a note")
    picture = Picture("P", figure, "a line")
    section = Section("Selection", ["words & more"], [table, *tables], [picture, picture])
    summary = Table("Compared", ["network", "complete"], [["T0", "0.9"]])
    verdict = ["The labels helped.", "complete: 0.9"]
    return Report("Round 1", verdict, summary, [section], {"hours": 8.5}, {"seed": "1"})


def test_html_stands_alone(tmp_path):
    write_report(report(), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>")
    assert not re.search(r"(src|href)=\"(?!data:|#)", text), "nothing may be fetched"
    assert "<script" not in text
    assert "&lt;b&gt;" in text
    assert "words &amp; more" in text
    assert text.index("The labels helped.") < text.index("Compared") < text.index("Selection")

    images = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "img":
                images.append(dict(attrs))

    Parser().feed(text)
    assert [image["alt"] for image in images] == ["a line", "a line"]
    assert images[0]["src"].startswith("data:image/png;base64,iVBOR")


def test_same_report_same_bytes_and_numbers_beside(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_report(report(), tmp_path / name)
    for kind in ("html", "pdf", "json"):
        first, second = ((tmp_path / n / f"report.{kind}").read_bytes() for n in ("a", "b"))
        assert first == second
    numbers = json.loads((tmp_path / "a" / "report.json").read_text())
    assert numbers == {
        "title": "Round 1",
        "verdict": ["The labels helped.", "complete: 0.9"],
        "hours": 8.5,
    }


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """The PDF's pages as figures, and the file's content."""
    kept = []

    class Kept(written.PdfPages):
        def savefig(self, figure):
            kept.append(figure)
            super().savefig(figure)

    monkeypatch.setattr(written, "PdfPages", Kept)
    written.write_pdf(report(WIDE, LONG), tmp_path / "r.pdf")
    return kept, (tmp_path / "r.pdf").read_bytes()


def test_pdf_is_a4_with_everything_on_its_pages(pages):
    figures, content = pages
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    assert len(boxes) == len(figures) > 3
    for wide, high in boxes:
        assert float(wide) == pytest.approx(210 / 25.4 * 72, abs=1)
        assert float(high) == pytest.approx(297 / 25.4 * 72, abs=1)
    for figure in figures:
        edge = figure.bbox
        for text in figure.texts:
            box = text.get_window_extent()
            assert edge.x0 < box.x0 < box.x1 < edge.x1, text.get_text()
            assert edge.y0 < box.y0 < box.y1 < edge.y1, text.get_text()


def test_pdf_keeps_titles_with_what_they_are_of(pages):
    figures, _ = pages
    words = [[t.get_text().replace("\n", " ") for t in figure.texts] for figure in figures]
    for title, belongs in (
        ("Selection", "Counts"),
        ("words & more", "Counts"),
        ("A wide table", "column 0"),
        ("A long table", "what"),
    ):
        assert sum(title in page and belongs in page for page in words) == 1, title
    # The header is on every page of a long table, and no row is lost.
    assert sum("what" in page for page in words) == sum("row" in page for page in words) > 1
    assert {str(i) for i in range(120)} <= {text for page in words for text in page}
    with_figures = [page for page, figure in zip(words, figures, strict=True) if figure.axes]
    assert sum(page.count("a line") for page in with_figures) == 2


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark(tmp_path):
    """Source: WCAG 2.2, success criterion 1.4.3: at least 4.5 to 1."""
    written.write_html(report(), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    schemes = [
        dict(re.findall(r"--(\w+): (#\w{6})", line))
        for line in text.splitlines()
        if ":root" in line
    ]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "soft", "accent"):
            for ground in ("paper", "box"):
                low, high = sorted((luminance(scheme[ink]), luminance(scheme[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground, scheme)


# Of a page in a browser, as JavaScript.
EVERY = "[...document.querySelectorAll('{}')]"
SCROLLED = EVERY.format(".scroll") + ".filter(e => e.scrollWidth > e.clientWidth)"
TEXT_SIZES = EVERY.format("p, td, th, figcaption") + ".map(e => getComputedStyle(e).fontSize)"
ENDS = EVERY.format("td, th, img") + ".map(e => e.getBoundingClientRect().right)"
BREAKS = EVERY.format("h3") + ".map(e => getComputedStyle(e.parentElement).breakInside)"
A4_TEXT_PIXELS = round((210 - 27) / 25.4 * 96)  # wide


@pytest.mark.browser
def test_wide_tables_scroll_on_screens_and_fit_a_page(tmp_path, chromium_options):
    from playwright.sync_api import sync_playwright

    written.write_html(report(WIDE, LONG), tmp_path / "r.html")
    with sync_playwright() as play:
        browser = play.chromium.launch(**chromium_options)
        try:
            page = browser.new_page()
            page.goto((tmp_path / "r.html").as_uri())
            for width in (1366, 390):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert "A wide table" in page.evaluate(f"{SCROLLED}.map(e => e.ariaLabel)")
            # The headline's, and that of all else.
            assert len(set(page.evaluate(TEXT_SIZES))) == 2
            page.emulate_media(media="print")
            page.set_viewport_size({"width": A4_TEXT_PIXELS, "height": 1000})
            assert 0 < max(page.evaluate(ENDS)) <= A4_TEXT_PIXELS
            assert set(page.evaluate(BREAKS)) == {"avoid"}
            page.emulate_media(media="screen", color_scheme="dark")
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == "rgb(20, 20, 20)"
        finally:
            browser.close()
