"""The docs name what is there: files, sections, modules; hooks run the pinned versions."""

import importlib
import itertools
import re
from pathlib import Path

import pytest

from site_pages import made_pages

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = [
    *sorted(_ROOT.glob("docs/**/*.md")),
    *(_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "studies/README.md")),
]

_MADE = {_ROOT / "docs" / name: text for name, text in made_pages().items()}


def _slug(heading):
    """Return the anchor that GitHub and mkdocs give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", _PAGES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http", "mailto")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        made = _MADE.get(file)
        assert made or file.exists(), f"{page.name} links {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", made or file.read_text(encoding="utf-8"), re.M)
            assert anchor in {_slug(heading) for heading in headings}, f"{page.name}: {target}"


@pytest.mark.parametrize("page", _PAGES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_named_files_and_modules_exist(page):
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:src|tests|studies|docs|benchmarks)/[\w/.]+\.\w+)`", text):
        assert (_ROOT / name).exists(), f"{page.name} names {name}"
    rooms = "|".join(p.name for p in (_ROOT / "src" / "quasarloop").iterdir() if p.is_dir())
    for name in re.findall(rf"`((?:{rooms})/[\w/]+\.(?:py|ecsv|csv|js))`", text):
        assert (_ROOT / "src" / "quasarloop" / name).exists(), f"{page.name} names {name}"
    for name in set(re.findall(r"\bquasarloop(?:\.[a-z_]\w*)+", text)):
        parts = name.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:cut]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[cut:]:
                assert hasattr(found, attribute), f"{page.name} names {name}"
                found = getattr(found, attribute)
            break


def test_every_page_is_in_the_navigation():
    nav = (_ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = _ROOT / "docs"
    for page in [*docs.rglob("*.md"), *docs.rglob("*.ipynb")]:
        name = page.relative_to(docs).as_posix()
        assert re.search(rf"^ +- (?:.+: )?{re.escape(name)}$", nav, re.M), (
            f"mkdocs.yml lacks {name}"
        )


def test_hooks_run_the_pinned_ruff():
    pinned = re.search(r"^ruff==(.+)$", (_ROOT / "constraints.txt").read_text(), re.M)[1]
    hooks = (_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.search(rf"ruff-pre-commit\n    rev: v{re.escape(pinned)}\n", hooks)


@pytest.mark.parametrize("page", _PAGES, ids=lambda p: str(p.relative_to(_ROOT)))
def test_lists_are_lists_on_the_site(page):
    """Python-Markdown, unlike GitHub, joins what follows a line of text, or is indented by two."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for before, line in itertools.pairwise(text.splitlines()):
        if re.match(r" *(?:[-*]|\d+\.) ", line):
            assert not before or re.match(r" |<!|(?:[-*]|\d+\.) ", before), f"{page.name}: {line}"
        elif not before:
            assert not re.match(r" {1,3}\S", line), f"{page.name}: {line}"
