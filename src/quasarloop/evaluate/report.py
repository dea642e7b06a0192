"""Reports: one self-contained HTML file, the same as PDF, and its numbers as JSON."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.image import imread

from quasarloop.artefacts import write_atomically, write_manifest
from quasarloop.evaluate.figures import FIGURE_INCHES, use_style

__all__ = ["Picture", "Report", "Section", "Table", "write_report"]

_PAGE_INCHES: Final = (8.27, 11.69)  # A4
_LEFT: Final = (1 - FIGURE_INCHES / _PAGE_INCHES[0]) / 2
_TOP: Final = 0.95
_BOTTOM: Final = 0.05
_LINE: Final = 0.0165  # of the page's height
_LINE_LETTERS: Final = 100
_GAP: Final = 3  # letters between columns, the bold ones of headers being wider
_DPI: Final = 200  # of figures: 1440 pixels across


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

    @cached_property
    def png(self) -> bytes:
        """The figure as a PNG file: without a software's name, the same for the same figure."""
        stream = io.BytesIO()
        self.figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
        return stream.getvalue()


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
        verdict: a summary of a few sentences, the first of which is its headline.
        summary: the numbers behind it.
        sections: in order.
        numbers: all numbers, as JSON can hold them.
        provenance: name -> value: options, versions, checksums.
    """

    title: str
    verdict: Sequence[str]
    summary: Table
    sections: Sequence[Section]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)


def write_report(report: Report, folder: Path) -> None:
    """Write ``report.html``, ``report.pdf`` and ``report.json`` into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    write_html(report, folder / "report.html")
    write_pdf(report, folder / "report.pdf")
    content = {"title": report.title, "verdict": list(report.verdict), **report.numbers}
    write_manifest(folder / "report.json", content)


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
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    text = environment.get_template("report.html").render(report=report)
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@use_style()
def write_pdf(report: Report, path: str | Path) -> None:
    """Write a report as PDF: A4 pages of words, tables and figures with their captions.

    Raises:
        OutputError: the file cannot be written.
    """
    with (
        write_atomically(path) as temporary,
        # No date: the same report gives the same bytes.
        PdfPages(temporary, metadata={"Title": report.title, "CreationDate": None}) as pages,
    ):
        paper = _Paper(pages)
        headline, *sentences = report.verdict
        paper.write([(report.title, _HEADING), (headline, _BOLD)])
        paper.write([(line, _PLAIN) for line in sentences])
        paper.table(report.summary, [])
        for section in report.sections:
            above = [(section.title, _HEADING), *((line, _PLAIN) for line in section.text)]
            for table in section.tables:
                paper.table(table, above)
                above = []
            for picture in section.pictures:
                paper.picture(picture, above)
                above = []
            paper.write(above)
        origin = [(f"{name}: {value}", _PLAIN) for name, value in report.provenance.items()]
        paper.write([("Where it comes from", _HEADING), *origin])
        paper.end()


Style = Mapping[str, Any]  # of `Figure.text`
Words = tuple[str, Style]
_PLAIN: Final[Style] = {}
_BOLD: Final[Style] = {"weight": "bold"}
_SOFT: Final[Style] = {"color": "0.35"}
_HEADING: Final[Style] = {"weight": "bold", "size": "x-large"}


class _Paper:
    """Pages that fill from the top; what does not fit begins a new one."""

    def __init__(self, pages: PdfPages) -> None:
        self._pages = pages
        self._page, self._y = _empty_page(), _TOP

    def end(self) -> None:
        """Write the page and begin another."""
        self._pages.savefig(self._page)  # type: ignore[no-untyped-call]  # matplotlib has no types
        self._page, self._y = _empty_page(), _TOP

    def write(self, above: Sequence[Words], below: float = 0.0) -> None:
        """Write words, all on one page with what is `below` them (in heights of the page)."""
        lines = [
            (line, style) for words, style in above for line in wrap(words, _LINE_LETTERS) or [""]
        ]
        if self._y < _TOP and self._y - len(lines) * _LINE - below < _BOTTOM:
            self.end()
        for line, style in lines:
            if self._y - _LINE < _BOTTOM:
                self.end()
            high = _LINE * (2 if "size" in style else 1)
            self._page.text(_LEFT, self._y - high, line, va="bottom", **style)
            self._y -= high + _LINE / 5

    def table(self, table: Table, above: Sequence[Words]) -> None:
        """Write a table under its title, cells folded; its header again on every page."""
        widths = _column_letters(table)
        header, *rows = (
            [wrap(cell, width - 2) or [""] for cell, width in zip(row, widths, strict=True)]
            for row in (table.header, *table.rows)
        )
        first = sum(max(map(len, row)) * _LINE for row in (header, *rows[:3]))
        self._y -= _LINE
        self.write([*above, (table.title, _BOLD)], first)
        self._row(header, widths, _BOLD)
        for row in rows:
            if self._y - max(map(len, row)) * _LINE < _BOTTOM:
                self.end()
                self._row(header, widths, _BOLD)
            self._row(row, widths, _PLAIN)
        self.write([(table.note, _SOFT)] if table.note else [])

    def _row(self, cells: Sequence[Sequence[str]], widths: Sequence[int], style: Style) -> None:
        x = _LEFT
        for lines, width in zip(cells, widths, strict=True):
            self._page.text(x, self._y, "\n".join(lines), va="top", linespacing=1.2, **style)
            x += width / _LINE_LETTERS * FIGURE_INCHES / _PAGE_INCHES[0]
        self._y -= (max(map(len, cells)) + 1 / 3) * _LINE

    def picture(self, picture: Picture, above: Sequence[Words]) -> None:
        """Put a figure between its title and its caption."""
        wide, high = picture.figure.get_size_inches() / _PAGE_INCHES
        self._y -= _LINE
        self.write([*above, (picture.title, _BOLD)], high + 4 * _LINE)
        axes = self._page.add_axes((_LEFT, self._y - high, wide, high))
        # In bytes: a quarter faster than in fractions.
        pixels = np.rint(255 * imread(io.BytesIO(picture.png))).astype(np.uint8)
        axes.imshow(pixels, aspect="auto", interpolation="none")
        axes.set_axis_off()
        self._y -= high
        self.write([(picture.caption, _SOFT)])


def _empty_page() -> Figure:
    page = Figure(figsize=_PAGE_INCHES)
    page.set_layout_engine("none")
    return page


def _column_letters(table: Table) -> list[int]:
    """Return how many letters wide each column is: as its longest cell, or less to fit a page."""
    columns = list(zip(table.header, *table.rows, strict=True))
    wish = [max(map(len, column)) + _GAP for column in columns]
    least = [
        max(len(word) for cell in column for word in cell.split()) + _GAP for column in columns
    ]
    spare = _LINE_LETTERS - sum(least)
    share = min(1.0, max(0.0, spare / max(1, sum(wish) - sum(least))))
    return [low + int(share * (high - low)) for low, high in zip(least, wish, strict=True)]
