"""Pages of the site that are made from the package; mkdocs calls the hooks (see mkdocs.yml).

Commands come from the command line itself (typer), columns and options from their one home, and
CONTRIBUTING, the changelog and the list of studies from the files of the repository.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from html import unescape
from html.parser import HTMLParser
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urldefrag

import numpy as np
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from quasarloop.afterburner.file_columns import DESI_COLUMNS, NETWORK_COLUMNS, output_columns
from quasarloop.campaign.config import CampaignOptions
from quasarloop.cli import app
from quasarloop.columns import STORED, Column, catalogue_columns
from quasarloop.lines import NETWORK_LINES
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.options import described_fields, field_types
from quasarloop.query.options import SelectionOptions

__all__ = [
    "broken_links",
    "column_page",
    "command_pages",
    "configuration_page",
    "made_pages",
    "marked_cells",
    "moved_links",
]

_ROOT: Final = Path(__file__).resolve().parents[1]
# File of the repository -> page of the site.
_OF_REPOSITORY: Final = {
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
    "studies/README.md": "development/studies.md",
}
# Options that single steps take in Python, besides those of a campaign.
_OPTIONS: Final = (TrainingOptions, FinetuneOptions, SelectionOptions)
_COMMANDS: Final = "reference/cli"
_LONG_CELL: Final = 20  # characters
_KINDS: Final = {
    "b": "logical", "i": "integer", "u": "unsigned integer", "f": "float", "U": "text", "S": "text",
}  # fmt: skip


def made_pages() -> dict[str, str]:
    """Return page -> text of all pages that are made here."""
    return {
        **command_pages(),
        "reference/columns.md": column_page(),
        "reference/configuration.md": configuration_page(),
        **{to: (_ROOT / of).read_text(encoding="utf-8") for of, to in _OF_REPOSITORY.items()},
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of commands in the navigation, where mkdocs.yml names their folder."""

    def filled(item: Any) -> Any:
        if isinstance(item, list):
            return [filled(part) for part in item]
        if isinstance(item, dict):
            return {
                title: list(command_pages()) if part == _COMMANDS else filled(part)
                for title, part in item.items()
            }
        return item

    config.nav = filled(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for name, text in made_pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links lead to pages of the site, wherever in the repository both files are."""
    return moved_links(markdown, page.file.src_uri)


def on_page_content(html: str, page: Page, files: Files, **_: Any) -> str:
    """Mark cells of words; let links of notebooks lead to pages as mkdocs does for Markdown."""
    html = marked_cells(html)
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def moved(match: re.Match[str]) -> str:
        name = normpath(PurePosixPath(page.file.src_uri).parent / match[1])
        found = files.get_file_from_path(name)
        return f'href="{found.url_relative_to(page.file)}' if found else match[0]

    return re.sub(r'href="([\w./]+\.(?:md|ipynb))', moved, html)


def marked_cells(html: str) -> str:
    """Return a page whose cells of many words have a class, so that they stay wide enough to read.

    >>> marked_cells("<td>7</td><td><b>lowest redshift</b> of a class</td>")
    '<td>7</td><td class="words"><b>lowest redshift</b> of a class</td>'
    """

    def marked(match: re.Match[str]) -> str:
        long = len(re.sub(r"<[^>]*>", "", match[2])) >= _LONG_CELL
        return f'<td class="words"{match[1]}>{match[2]}</td>' if long else match[0]

    return re.sub(r"<td((?: style=[^>]*)?)>(.*?)</td>", marked, html, flags=re.DOTALL)


def on_post_build(config: MkDocsConfig) -> None:
    """Stop where a page that was built links what is not there.

    Raises:
        Abort: names each page and link; mkdocs itself looks at Markdown only.
    """
    if broken := broken_links(Path(config.site_dir)):
        raise Abort("\n".join(["links that lead nowhere:", *broken]))


class _Links(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Return the links inside a built site that lead to no file, or to no place in it."""
    pages: dict[Path, _Links] = {}
    for path in sorted(site.rglob("*.html")):
        pages[path] = _Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, page in pages.items():
        for link in sorted(page.links):
            where, anchor = urldefrag(unquote(link))
            if re.match(r"\w+:|//", link) or path.name == "404.html":
                continue
            target = Path(normpath(path.parent / where)) if where else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else set()
            if not target.exists() or (anchor and target in pages and anchor not in known):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def moved_links(markdown: str, page: str) -> str:
    """Return a page's text with its links between files as links between pages.

    Args:
        markdown: the text; its links are relative to its file in the repository.
        page: where the text is on the site, relative to docs/.

    >>> moved_links("[log](../../CHANGELOG.md#a), [up](../index.md)", "start/tutorial.md")
    '[log](../development/changelog.md#a), [up](../index.md)'
    """
    origin = {to: of for of, to in _OF_REPOSITORY.items()}.get(page, f"docs/{page}")

    def moved(match: re.Match[str]) -> str:
        name, mark, anchor = match[1].partition("#")
        if not name or re.match(r"\w+:", name):
            return match[0]
        file = normpath(PurePosixPath(origin).parent / name)
        target = _OF_REPOSITORY.get(file, file.removeprefix("docs/"))
        return f"]({relpath(target, PurePosixPath(page).parent)}{mark}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, markdown)


def command_pages() -> dict[str, str]:
    """Return page -> text: an overview of the command line, and a page for each command."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="quasarloop", obj={"TYPER_RICH_MARKUP_MODE": "rich"})
    text = get_docs_for_click(obj=group, ctx=context, name="quasarloop")
    # Bold words of a help text are commands to be typed, however many lines they take there.
    bold = '<span style="font-weight: bold">'
    text = text.replace(f"</span>\n{bold}", " ")
    text = re.sub(f"{bold}(.*?)</span>", lambda match: f"`{unescape(match[1])}`", text)
    overview, *parts = re.split(r"^## `quasarloop (\w+)`\n", text, flags=re.MULTILINE)
    bodies = dict(zip(parts[::2], parts[1::2], strict=True))
    summaries = {name: _summary(command) for name, command in group.commands.items()}
    overview = overview.replace("# `quasarloop`", "# Commands", 1)
    pages = {f"{_COMMANDS}/index.md": _linked(overview, summaries, "{0}.md")}
    for name, body in bodies.items():
        raised = re.sub(r"^(#+)# ", r"\1 ", body, flags=re.MULTILINE)
        inner = getattr(group.commands[name], "commands", {})
        linked = _linked(
            raised, {n: _summary(c) for n, c in inner.items()}, f"#quasarloop-{name}-{{0}}"
        )
        pages[f"{_COMMANDS}/{name}.md"] = f"# quasarloop {name}\n{linked}"
    return pages


def _summary(command: Any) -> str:
    """Return the first paragraph of a command's help, whole."""
    return " ".join(command.help.split("\n\n")[0].split())


def _linked(text: str, summaries: dict[str, str], target: str) -> str:
    """Return a list of commands with links, and with sentences that were cut short whole again."""
    for name, summary in summaries.items():
        entry = f"* [`{name}`]({target.format(name)}): {summary}"
        text = re.sub(rf"^\* `{name}`:.*$", lambda _, e=entry: e, text, count=1, flags=re.MULTILINE)
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (" | ".join(line) for line in (head, ["---"] * len(head), *rows))
    return "\n".join(f"| {line} |" for line in lines)


def _column_table(columns: Iterable[Column]) -> str:
    rows = ([f"`{c.name}`", _kind(c.dtype), c.unit, c.text] for c in columns)
    return _table(("column", "type", "unit", "meaning"), rows)


def _kind(dtype: str) -> str:
    """Return a numpy type in words.

    >>> _kind("f4"), _kind("U7"), _kind("10f4")
    ('float, 32 bits', 'text, up to 7', 'float, 32 bits, 10 of them')
    """
    element, shape = np.dtype(dtype).base, np.dtype(dtype).shape
    word = _KINDS[element.kind]
    if element.kind in "US":
        width = element.itemsize // np.dtype(f"{element.kind}1").itemsize
        word += f", up to {width}" if width else ""
    elif element.kind != "b":
        word += f", {8 * element.itemsize} bits"
    return word + (f", {shape[0]} of them" if shape else "")


def column_page() -> str:
    """Return every column that files of quasarloop have, from the one place each is described."""
    catalogue = catalogue_columns(NETWORK_LINES)
    known = {column.name for column in catalogue}
    lines = (
        [
            f"`{line.column}`",
            line.name,
            f"{line.wave_rest_aa:g}",
            "absorption" if line.is_bal else "",
        ]
        for line in NETWORK_LINES
    )
    parts = {
        "Catalogues": (
            "`quasarloop classify` writes them, in this order. Unknown numbers are -1 or NaN, "
            "unknown words empty.",
            _column_table(catalogue),
        ),
        "Lines": (
            "Names in columns and in weights files; rest wavelengths in Å, vacuum.",
            _table(("in columns", "in weights files", "Å", ""), lines),
        ),
        "Stores": (
            "Of each spectrum a store holds the identity columns above, in the widest type of "
            "their kind, its flux and inverse variance, and these. Bits of `FLAGS` are in "
            "[formats](formats.md#flags).",
            _column_table(
                c for c in STORED if c.name not in known or c.name in ("FLAGS", "SOURCE", "ROW")
            ),
        ),
        "Votes": (
            "Columns of an ensemble's votes are in [the ensemble](../guides/ensemble.md#columns).",
        ),
        "Afterburner": (
            "The table `QN+RR` of `quasarloop afterburner`: desispec's columns in its order, then "
            "ours.",
            _column_table(output_columns()),
        ),
        "Quasar catalogues": (
            "`quasarloop qsocat desi`:",
            _column_table(DESI_COLUMNS),
            "`quasarloop qsocat network`, without redrock:",
            _column_table(NETWORK_COLUMNS),
        ),
    }
    intro = (
        "# Columns\n\nName, type, unit and meaning of every column, as the package holds them.\n\n"
    )
    return intro + "\n".join(f"## {t}\n\n" + "\n\n".join(p) + "\n" for t, p in parts.items())


def configuration_page() -> str:
    """Return every option of a campaign, section by section, from the classes of options."""
    text = [
        "# Configuration of a campaign",
        "`campaign.toml` in the campaign's folder. `quasarloop campaign init` writes every option "
        "with its meaning; what a file leaves out keeps its default. Paths are relative to the "
        "folder. A list gives one value per round, the last for all later ones.",
        "Options of single commands are in [Commands](cli/index.md).",
    ]
    single = [part for options in _OPTIONS for part in _sections(options(), options.__name__)]
    return "\n\n".join([*text, *_sections(CampaignOptions(), ""), *single]) + "\n"


def _sections(section: Any, name: str) -> list[str]:
    """Return headings and tables of a class of options, and of those inside it."""
    types = field_types(section)
    rows = []
    for key, (_, described) in described_fields(section).items():
        default = getattr(section, key)
        shown = "–" if default is None else f"`{_as_toml(default)}`"
        allowed = described.range or _choices(types[key])
        rows.append([f"`{key}`", shown, allowed, described.help, described.source])
    shown = name if type(section) in _OPTIONS else f"[{name}]" if name else "top level"
    title = f"## `{shown}`\n\n{type(section).__doc__.splitlines()[0]}"
    found = [
        title,
        _table(("option", "default", "values", "meaning", "source of the default"), rows),
    ]
    for key in (f.name for f in fields(section) if is_dataclass(f.type)):
        found += _sections(getattr(section, key), f"{name}.{key}".lstrip("."))
    return found


def _as_toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_as_toml(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _choices(kind: Any) -> str:
    choices = getattr(kind, "__args__", ())
    return ", ".join(choices) if all(isinstance(c, str) for c in choices) else ""
