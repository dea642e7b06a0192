"""Reports: one self-contained HTML file, and the same as PDF."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from quasarloop.artefacts import write_atomically

__all__ = ["Picture", "Report", "Section", "Table", "write_html", "write_pdf"]

_PAGE_INCHES: Final = (8.27, 11.69)  # A4
_LINE_WIDTH: Final = 96  # characters of a line of text on a PDF page
_ROWS_PER_PAGE: Final = 40


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: what it shows.
        header: column names.
        rows: cells, as text.
        note: a sentence below, or ``""``.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        title: what it shows.
        figure: drawn already.
        caption: what to see in it; also the text for screen readers.
    """

    title: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a report: words, then tables, then pictures."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: its headline.
        verdict: a summary of a few lines.
        sections: in order.
        provenance: name -> value: settings, versions, checksums.
    """

    title: str
    verdict: Sequence[str]
    sections: Sequence[Section]
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_html(report: Report, path: str | Path) -> None:
    """Write a report as one HTML file with everything inside, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("quasarloop.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = _png_data
    text = environment.get_template("report.html").render(report=report)
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_pdf(report: Report, path: str | Path) -> None:
    """Write a report as PDF: words and tables on pages, then a page per figure.

    Raises:
        OutputError: the file cannot be written.
    """
    with (
        write_atomically(path) as temporary,
        # No date: the same report gives the same bytes.
        PdfPages(temporary, metadata={"Title": report.title, "CreationDate": None}) as pages,
    ):
        _text_page(pages, report.title, report.verdict)
        for section in report.sections:
            if section.text:
                _text_page(pages, section.title, section.text)
            for table in section.tables:
                _table_pages(pages, table)
            for picture in section.pictures:
                _save(pages, picture.figure)
        lines = [f"{name}: {value}" for name, value in report.provenance.items()]
        _text_page(pages, "Where it comes from", lines)


def _png_data(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _save(pages: PdfPages, figure: Figure) -> None:
    pages.savefig(figure)  # type: ignore[no-untyped-call]  # matplotlib has no types here


def _text_page(pages: PdfPages, title: str, lines: Sequence[str]) -> None:
    folded = [part for line in lines for part in (wrap(line, _LINE_WIDTH) or [""])]
    for start in range(0, max(len(folded), 1), _ROWS_PER_PAGE):
        page = Figure(figsize=_PAGE_INCHES)
        page.text(0.08, 0.94, title, size=15, weight="bold")
        body = "\n".join(folded[start : start + _ROWS_PER_PAGE])
        page.text(0.08, 0.91, body, size=9, va="top", linespacing=1.5)
        _save(pages, page)


def _table_pages(pages: PdfPages, table: Table) -> None:
    for start in range(0, max(len(table.rows), 1), _ROWS_PER_PAGE):
        page = Figure(figsize=_PAGE_INCHES)
        axes = page.add_axes((0.08, 0.08, 0.84, 0.82))
        axes.axis("off")
        page.text(0.08, 0.94, table.title, size=12, weight="bold")
        page.text(0.08, 0.05, table.note, size=8)
        rows = [list(row) for row in table.rows[start : start + _ROWS_PER_PAGE]]
        if rows:
            drawn = axes.table(
                cellText=rows, colLabels=list(table.header), loc="upper left", cellLoc="left"
            )
            drawn.auto_set_font_size(False)
            drawn.set_fontsize(8)
            drawn.auto_set_column_width(list(range(len(table.header))))
        _save(pages, page)
