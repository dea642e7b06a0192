"""Classify every set of real spectra of a folder and print a table for the docs.

    python studies/real_sky_table.py --data $DATA --weights W.h5 --weights W2.h5 --out FILE.md

Repeats of one object are judged as the spectra they are.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from quasarloop.catalogue.classify import classify_to_file, line_columns, read_catalogue
from quasarloop.classes import Thresholds
from quasarloop.errors import QuasarloopError
from quasarloop.evaluate.judge import Judgement, judge_catalogue
from quasarloop.read import read_truth
from skies import REAL_SETS

HEADER = (
    "| set | weights | spectra | quasars | found | false | redshift right | NMAD |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|\n"
)


def main() -> int:
    """Print the table, and write it to --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of real sets")
    parser.add_argument("--weights", type=Path, action="append", required=True)
    parser.add_argument("--threshold", type=float, default=Thresholds().confidence)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [
        _row(options.data / name, path, options.threshold)
        for name in REAL_SETS
        for path in options.weights
    ]
    table = HEADER + "".join(rows)
    print(table)
    if options.out:
        options.out.write_text(table, encoding="utf-8")
    return 0


def _row(folder: Path, weights: Path, threshold: float) -> str:
    try:
        judged = _judge(folder, weights, threshold)
    except QuasarloopError as exc:
        print(f"{folder.name}: {exc}", file=sys.stderr)
        return f"| {folder.name} | {weights.name} | not judged: {exc} | | | | | |\n"
    false_found = sum(judged.false_found.values())
    n_other = judged.n_judged - judged.n_true
    right = judged.redshift.right
    nmad = f"{judged.redshift.nmad:.5f}" if judged.redshift.n else "–"
    return (
        f"| {folder.name} | {weights.name} | {judged.n_judged} | {judged.n_true} "
        f"| {judged.completeness.part}/{judged.n_true} | {false_found}/{n_other} "
        f"| {right.part}/{right.whole} | {nmad} |\n"
    )


def _judge(folder: Path, weights: Path, threshold: float) -> Judgement:
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "catalogue.parquet"
        classify_to_file([folder], made, weights=weights)
        block = read_catalogue(made)
    truth = read_truth(folder / "truth.csv")
    return judge_catalogue(
        block, truth, lines=line_columns(block), thresholds=Thresholds(threshold)
    )


if __name__ == "__main__":
    sys.exit(main())
