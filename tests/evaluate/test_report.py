"""A report stands alone, escapes what it quotes, and is the same bytes each time."""

import re
from html.parser import HTMLParser

from matplotlib.figure import Figure

from quasarloop.evaluate.report import Picture, Report, Section, Table, write_html, write_pdf


def report():
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([1, 2, 3])
    table = Table("Counts", ["step", "n"], [["all", "3,600,000"], ["<b>", "1"]], note="a note")
    section = Section("Selection", ["words & more"], [table], [Picture("P", figure, "a line")])
    return Report("Round 1", ["complete: 0.9", "pure: 0.99"], [section], {"seed": "1"})


def test_html_stands_alone(tmp_path):
    write_html(report(), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", text), "nothing may be fetched"
    assert "<script" not in text
    assert "&lt;b&gt;" in text
    assert "words &amp; more" in text

    images = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "img":
                images.append(dict(attrs))

    Parser().feed(text)
    assert [image["alt"] for image in images] == ["a line"]
    assert images[0]["src"].startswith("data:image/png;base64,iVBOR")


def test_same_report_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_html(report(), tmp_path / f"{name}.html")
        write_pdf(report(), tmp_path / f"{name}.pdf")
    for kind in ("html", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_pdf_has_a_page_for_everything(tmp_path):
    write_pdf(report(), tmp_path / "r.pdf")
    content = (tmp_path / "r.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    # verdict, words, table, picture, provenance
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == 5
