"""Pages of the site that are made from the package hold all of it; dead links are found."""

import re
from pathlib import Path

import pytest
import typer

import quasarloop
from quasarloop.campaign.config_file import config_text
from quasarloop.cli import app
from quasarloop.columns import catalogue_columns
from quasarloop.lines import NETWORK_LINES
from site_pages import broken_links, column_page, command_pages, configuration_page, moved_links

_DOCS = Path(__file__).resolve().parents[2] / "docs"


def _commands(command, name):
    yield name, command
    for inner, sub in getattr(command, "commands", {}).items():
        yield from _commands(sub, f"{name} {inner}")


def test_every_command_and_option_has_a_place():
    pages = command_pages()
    group = typer.main.get_command(app)
    text = "\n".join(pages.values())
    for name, command in _commands(group, "quasarloop"):
        if name != "quasarloop":
            page = pages[f"reference/cli/{name.split()[1]}.md"]
            assert re.search(rf"^#+ `?{name}`?$", page, re.M), name
        for option in command.params:
            assert all(opt in text for opt in option.opts if opt.startswith("--")), name
    assert "span" not in text
    assert not re.search(r"^\* .*\.\.\.$", text, re.M), "a sentence is cut short"


def test_every_column_of_a_catalogue_is_there():
    page = column_page()
    for column in catalogue_columns(NETWORK_LINES):
        assert re.search(rf"^\| `{column.name}` \| .*\| {re.escape(column.text)} \|$", page, re.M)


def test_every_option_of_a_campaign_is_there():
    page = configuration_page()
    sections = re.findall(r"^\[(.+)\]$", config_text(quasarloop.CampaignOptions()), re.M)
    assert set(sections) <= set(re.findall(r"^## `\[(.+)\]`$", page, re.M))
    for name in re.findall(r"^(?:# )?(\w+) =", config_text(quasarloop.CampaignOptions()), re.M):
        assert f"| `{name}` |" in page


def test_page_of_python_lists_the_public_names():
    text = (_DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: quasarloop\.(\w+)$", text, re.M)
    assert sorted(named) == sorted(set(quasarloop.__all__) - {"__version__"})


def test_tables_have_as_many_cells_in_every_row():
    for page in (column_page(), configuration_page()):
        for table in re.findall(r"(?:^\|.*\n)+", page, re.M):
            assert len({line.count(" | ") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("development/contributing.md", "docs/guides/selection.md", "../guides/selection.md"),
        ("development/contributing.md", "studies/README.md", "studies.md"),
        ("development/studies.md", "../CONTRIBUTING.md", "contributing.md"),
        ("measurements/real_sky.md", "../../studies/README.md", "../development/studies.md"),
        ("guides/selection.md", "#the-map", "#the-map"),
        ("guides/selection.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_of_files_become_links_of_pages(page, link, expected):
    assert moved_links(f"[a]({link})", page) == f"[a]({expected})"


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text('<h2 id="here">x</h2><a href="../b.html#gone">')
    (tmp_path / "b.html").write_text(
        '<a href="a/#here"></a><a href="a/#not"></a><img src="no.png">'
    )
    assert broken_links(tmp_path) == [
        "a/index.html: ../b.html#gone",
        "b.html: a/#not",
        "b.html: no.png",
    ]
