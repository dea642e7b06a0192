"""Every command of the guides runs as it is written, page by page, on simulated spectra.

Blocks of ``sh`` and ``python`` in docs/*.md, docs/start and docs/guides run in order, each page
in a folder of its own. An HTML comment right before a block changes that:

    <!-- not run: REASON -->      the block is shown only
    <!-- runs until the end: TEXT -->  it goes on beside the next ones once it has printed TEXT
    <!-- before: COMMANDS -->     commands to prepare what the page takes for granted

``make docs-test`` runs all of it and prints how many blocks ran, and which did not and why.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_DOCS = _ROOT / "docs"
_PAGES = sorted([*_DOCS.glob("guides/*.md"), *_DOCS.glob("start/*.md"), *_DOCS.glob("*.md")])
_RUN = ("sh", "python")
_SHOWN = ("diff", "toml", "text")  # files and outputs
_LIMIT_S = 600
_PARTS = re.compile(
    r"<!-- (?P<word>not run|runs until the end|before):\s(?P<comment>.*?)\s-->"
    r"|^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.S | re.M,
)


@dataclass(frozen=True)
class Block:
    """Commands of a page: in `language`, from a line; with a comment's word and text."""

    language: str
    text: str
    line: int
    word: str = ""
    comment: str = ""


def blocks_of(text):
    """Return the blocks of a page in order; commands of ``before`` are blocks of their own."""
    blocks, comment = [], ("", "")
    for part in _PARTS.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["word"] == "before":
            blocks.append(Block("sh", part["comment"].strip(), line))
        elif part["word"]:
            comment = (part["word"], part["comment"].strip())
        else:
            blocks.append(Block(part["language"], part["text"], line, *comment))
            comment = ("", "")
    return blocks


def _command(block):
    if block.language == "python":
        return [sys.executable, "-c", block.text]
    return ["bash", "-euo", "pipefail", "-c", block.text]


def _environment():
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name != "QUASARLOOP_SHARED"}
    return {**kept, "PATH": path, "MPLBACKEND": "agg", "COLUMNS": "100"}


def _start(block, folder, log):
    """Start a block that goes on; return its process once it has printed what it has to."""
    with log.open("w") as output:
        process = subprocess.Popen(
            _command(block),
            cwd=folder,
            env=_environment(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    end = time.monotonic() + _LIMIT_S
    while block.comment not in log.read_text() and time.monotonic() < end:
        if process.poll() is not None:
            break
        time.sleep(0.1)
    return process


def run_page(blocks, folder):
    """Run the blocks in a folder; return how many ran."""
    ran, going = 0, []
    try:
        for number, block in enumerate(blocks):
            where = f"line {block.line}:\n{block.text}"
            if block.word == "not run" or block.language not in _RUN:
                continue
            if block.word == "runs until the end":
                log = folder.parent / f"block-{number}.log"
                going.append(_start(block, folder, log))
                assert block.comment in log.read_text(), f"{where}\n{log.read_text()}"
            else:
                done = subprocess.run(
                    _command(block), cwd=folder, env=_environment(), capture_output=True, text=True,
                    timeout=_LIMIT_S, check=False,
                )  # fmt: skip
                assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"
            ran += 1
    finally:
        for process in going:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
    return ran


def _name(page):
    return page.relative_to(_DOCS).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_commands_run(page, tmp_path, capsys):
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    (tmp_path / "here").mkdir()
    start = time.monotonic()
    ran = run_page(blocks, tmp_path / "here")
    skipped = [b for b in blocks if b.word == "not run"]
    seconds = time.monotonic() - start
    lines = [f"{_name(page)}: {ran} blocks ran in {seconds:.0f} s, {len(skipped)} not"]
    lines += [f"  line {b.line} not run: {b.comment}" for b in skipped]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines))


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_blocks_are_of_a_known_kind_and_need_nothing_of_ours(page):
    for block in blocks_of(page.read_text(encoding="utf-8")):
        where = f"{_name(page)}, line {block.line}"
        assert block.language in (*_RUN, *_SHOWN), f"{where}: write {', '.join((*_RUN, *_SHOWN))}"
        if block.word != "not run":
            assert "$DATA" not in block.text, f"{where} needs data that only we have"
        else:
            assert len(block.comment) > 10, f"{where}: why is it not run?"


def test_a_page_is_read_as_written():
    page = (
        "<!-- before: touch a -->\n\n<!-- not run: it needs a survey -->\n```sh\nb\n```\n"
        "word\n```toml\nc = 1\n```\n<!-- runs until the end: here -->\n```sh\nd\n```\n"
    )
    assert blocks_of(page) == [
        Block("sh", "touch a", 1),
        Block("sh", "b\n", 4, "not run", "it needs a survey"),
        Block("toml", "c = 1\n", 8),
        Block("sh", "d\n", 12, "runs until the end", "here"),
    ]


def test_a_failing_command_fails_and_nothing_goes_on(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    blocks = [
        Block("sh", "echo $$ > pid; echo on; exec sleep 600", 1, "runs until the end", "on"),
        Block("sh", "false | true", 2),
        Block("sh", "touch no", 3),
    ]
    with pytest.raises(AssertionError, match="line 2"):
        run_page(blocks, folder)
    assert not (folder / "no").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
