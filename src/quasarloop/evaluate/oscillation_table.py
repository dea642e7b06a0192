"""The oscillation of several catalogues and lines, with truth and without."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import TruthError
from quasarloop.evaluate.catalogue_rows import usable_rows
from quasarloop.evaluate.oscillation import (
    Oscillation,
    oscillation_with_truth,
    oscillation_without_truth,
)
from quasarloop.grid import WaveGrid, grid_named
from quasarloop.lines import EMISSION_LINES, Line
from quasarloop.truth import TruthTable, match_truth

__all__ = ["measure_lines"]

Block = Mapping[str, NDArray[Any]]
ByLine = dict[str, dict[str, Oscillation]]


def measure_lines(
    catalogues: Mapping[str, Block],
    truth: TruthTable | None,
    *,
    line_columns: Sequence[str],
    min_confidence: float,
    grid_name: str,
    n_boxes: int,
    joint: bool = False,
) -> dict[str, ByLine]:
    """Measure every line of every catalogue.

    Args:
        catalogues: label -> columns TARGETID, FLAGS, C_<line>, Z_<line>.
        truth: true redshifts; None measures without truth only.
        line_columns: which lines, by column name.
        min_confidence: lines below it are not used.
        grid_name: the networks' grid.
        n_boxes: the networks' boxes.
        joint: measure column Z_JOINT too, where the line is found; its label ends in ", joint".

    Returns:
        ``"with_truth"`` and ``"without_truth"`` -> line name -> label -> oscillation. Lines with
        too few redshifts are left out.
    """
    grid = grid_named(grid_name)
    known = {line.column: line for line in EMISSION_LINES}
    unknown = [column for column in line_columns if column not in known]
    if unknown:
        raise TruthError(f"no line {', '.join(unknown)}; known: {', '.join(known)}")
    found: dict[str, ByLine] = {"with_truth": {}, "without_truth": {}}
    for column in line_columns:
        line = known[column]
        for label, block in catalogues.items():
            rows = usable_rows(block) & (block[f"C_{column}"] >= min_confidence)
            columns = {label: f"Z_{column}"} | ({f"{label}, joint": "Z_JOINT"} if joint else {})
            for name, source in columns.items():
                z = block[source].astype(np.float64)
                for kind, one in _both(block, z, rows, truth, line, (grid, n_boxes)).items():
                    found[kind].setdefault(line.name, {})[name] = one
    return found


def _both(
    block: Block,
    z: NDArray[np.float64],
    rows: NDArray[np.bool_],
    truth: TruthTable | None,
    line: Line,
    shape: tuple[WaveGrid, int],
) -> dict[str, Oscillation]:
    result = {}
    try:
        result["without_truth"] = oscillation_without_truth(z[rows], line, *shape)
    except TruthError:
        return {}
    if truth is None:
        return result
    match = match_truth(block["TARGETID"].astype(np.int64), truth)
    labelled = rows & (match >= 0)
    labelled[labelled] &= (truth.trains & truth.is_qso)[match[labelled]]
    try:
        result["with_truth"] = oscillation_with_truth(
            z[labelled], truth.z[match[labelled]], line, *shape
        )
    except TruthError:
        return result
    return result
