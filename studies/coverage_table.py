"""Lines of the package that tests run, by room: the table of docs/development/coverage.md.

    make coverage

runs the tests under coverage, their worker processes and commands too, then this script. It
reads the lines from `coverage json` and writes them between the page's two marks.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "development" / "coverage.md"
_MARKS = "<!-- table -->\n", "<!-- end of table -->\n"
_LEAST = 0.95  # of the lines of a room


def room_of(file: str) -> str:
    """Return a file's room.

    >>> room_of("src/quasarloop/read/desi.py"), room_of("src/quasarloop/classes.py")
    ('read', 'classes')
    """
    parts = Path(file).parts
    return Path(parts[parts.index("quasarloop") + 1]).stem


def table(files: dict[str, Any]) -> str:
    """Return the table as Markdown, from the files of `coverage json`, and what is not run."""
    run: dict[str, int] = defaultdict(int)
    lines: dict[str, int] = defaultdict(int)
    for file, content in files.items():
        run[room_of(file)] += content["summary"]["covered_lines"]
        lines[room_of(file)] += content["summary"]["num_statements"]
    rows = [
        f"| `{room}` | {lines[room]:,} | {run[room] / max(lines[room], 1):.1%} |"
        for room in sorted(lines)
    ]
    total = f"| **all** | {sum(lines.values()):,} | {sum(run.values()) / sum(lines.values()):.1%} |"
    few = [room for room in lines if run[room] < _LEAST * lines[room]]
    head = ["| room | statements | run by tests |", "|---|---:|---:|"]
    missing = [
        f"- `{file.split('quasarloop/', 1)[1]}`: {', '.join(_ranges(content['missing_lines']))}"
        for file, content in sorted(files.items())
        if content["missing_lines"]
    ]
    below = f"Rooms below {_LEAST:.0%}: {', '.join(f'`{room}`' for room in sorted(few)) or 'none'}."
    return "\n".join([*head, *rows, total, "", below, "", "Lines that no test runs:", "", *missing])


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
    options = parser.parse_args()
    command = [sys.executable, "-m", "coverage", "json", "-q", "-o", "-"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = options.page.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in _MARKS)
    made = f"{_MARKS[0]}{table(json.loads(found)['files'])}\n"
    options.page.write_text(text[:start] + made + text[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
