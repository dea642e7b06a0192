"""Run every benchmark and write what it measured: ``python -m benchmarks --out bench``.

A row is a ratio of two rates measured side by side in one run: absolute times mean nothing
on shared machines. Modules are named ``bench_*.py`` and have ``run(quick) -> list[dict]``.
"""

import argparse
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import benchmarks
from quasarloop.artefacts import check_folder, versions, write_manifest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--only", nargs="*", help="names such as rebin classify", default=[])
    options = parser.parse_args()
    folder = check_folder(options.out)
    rows: list[dict[str, Any]] = []
    failed = []
    for name in _names(options.only):
        print(f"== {name}", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(f"benchmarks.{name}").run(options.quick)
        except Exception:  # noqa: BLE001 -- the other benchmarks still count
            traceback.print_exc()
            failed.append(name)
    write_manifest(folder / "bench.json", {"rows": rows, "versions": versions()})
    table = as_table(rows)
    (folder / "bench.md").write_text(table, encoding="utf-8")
    print(table)
    print(f"numbers -> {folder / 'bench.json'}, table -> {folder / 'bench.md'}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def as_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | ours, per s | reference, per s | ratio | target | reference is |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for row in rows:
        ours, reference, ratio, target = (
            _number(row.get(key)) for key in ("ours_per_s", "reference_per_s", "ratio", "target")
        )
        lines.append(
            f"| {row['name']} | {ours} | {reference} | {ratio} | {target} "
            f"| {row.get('reference', '')} |"
        )
    return "\n".join(lines) + "\n"


def _names(only: list[str]) -> list[str]:
    names = sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__))
    names = [name for name in names if name.startswith("bench_")]
    return [name for name in names if not only or name.removeprefix("bench_") in only]


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
