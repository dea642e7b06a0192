"""Lines of the package that tests run, by room: the table of docs/development/coverage.md.

    make coverage

runs the tests under coverage, their worker processes and commands too, then this script. It
reads the lines from `coverage json` and writes them between the page's two marks. After a run of
some rooms' tests alone, `--rooms` replaces what the page has of these rooms.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "development" / "coverage.md"
_MARKS = "<!-- table -->\n", "<!-- end of table -->\n"
_LEAST = 95  # percent of the lines of a room


def room_of(file: str) -> str:
    """Return a file's room.

    >>> room_of("src/quasarloop/read/desi.py"), room_of("src/quasarloop/classes.py")
    ('read', 'classes')
    """
    parts = Path(file).parts
    return Path(parts[parts.index("quasarloop") + 1]).stem


def table(files: dict[str, Any], before: str = "", rooms: Collection[str] = ()) -> str:
    """Return the table as Markdown, and the lines that no test runs.

    Args:
        files: of `coverage json`.
        before: the page's table, of which all but `rooms` is kept.
        rooms: rooms measured, if not all of them.
    """
    run: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    missing = {}
    for file, content in files.items():
        if rooms and room_of(file) not in rooms:
            continue
        run[room_of(file)] += content["summary"]["covered_lines"]
        lines[room_of(file)] += content["summary"]["num_statements"]
        if content["missing_lines"]:
            missing[file.split("quasarloop/", 1)[1]] = ", ".join(_ranges(content["missing_lines"]))
    rows = {room: f"{n:,} | {run[room] / max(n, 1):.1%}" for room, n in lines.items()}
    if rooms:
        kept = re.findall(r"^\| `(\w+)` \| (.*) \|$", before, re.MULTILINE)
        rows = {room: row for room, row in kept if room not in rooms} | rows
        left = re.findall(r"^- `([\w/.]+)`: (.*)$", before, re.MULTILINE)
        missing |= {file: n for file, n in left if room_of(f"quasarloop/{file}") not in rooms}
        total = []
    else:
        total = [
            f"| **all** | {sum(lines.values()):,} | {sum(run.values()) / sum(lines.values()):.1%} |"
        ]
    few = [
        f"`{room}`" for room, row in sorted(rows.items()) if float(row.split()[-1][:-1]) < _LEAST
    ]
    return "\n".join(
        [
            *("| room | statements | run by tests |", "|---|---:|---:|"),
            *(f"| `{room}` | {row} |" for room, row in sorted(rows.items())),
            *total,
            *("", f"Rooms below {_LEAST}%: {', '.join(few) or 'none'}."),
            *("", "Lines that no test runs:", ""),
            *(f"- `{file}`: {numbers}" for file, numbers in sorted(missing.items())),
        ]
    )


def _ranges(numbers: list[int]) -> list[str]:
    """Return line numbers as ranges: 1, 2, 3, 7 are 1–3 and 7."""
    if not numbers:
        return []
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(numbers)) if b > a + 1]
    parts = [numbers[a:b] for a, b in pairwise([0, *breaks, len(numbers)])]
    return [f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts]


def main() -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--rooms", nargs="+", default=(), help="the rooms measured, if not all")
    options = parser.parse_args()
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = options.page.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in _MARKS)
    made = f"{_MARKS[0]}{table(json.loads(found)['files'], text[start:end], options.rooms)}\n"
    options.page.write_text(text[:start] + made + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
