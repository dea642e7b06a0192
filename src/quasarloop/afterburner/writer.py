"""qso_qn-*.fits written whole, with all that is needed to make it again; and read back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.reasons import Why
from quasarloop.afterburner.survey_targets import phase_of
from quasarloop.afterburner.table import HDU, OutputColumn, documented_columns, own_columns
from quasarloop.artefacts import write_atomically
from quasarloop.errors import DataFormatError, OutputError

__all__ = ["OutputFile", "read_output", "write_output"]

# History lines between these hold the recipe as JSON.
_OPEN: Final = "quasarloop afterburner recipe"
_CLOSE: Final = "end of recipe"
_LINE_WIDTH: Final = 70  # of a HISTORY card there are 72


@dataclass(frozen=True)
class OutputFile:
    """An output read back.

    Attributes:
        table: its rows.
        recipe: how it was made, JSON values.
    """

    table: NDArray[np.void]
    recipe: dict[str, Any]

    @property
    def waiting(self) -> bool:
        """True if rows wait for redrock."""
        return bool(((self.table["RERUN_BITS"] & Why.WAITING) != 0).any())


def write_output(path: Path, table: NDArray[np.void], recipe: Mapping[str, Any]) -> None:
    """Write the output.

    Args:
        path: the file; replaced if it is there.
        table: rows of `build_table`.
        recipe: JSON values: network, policy, templates, inputs, versions.

    Raises:
        OutputError: cannot be written.
    """
    try:
        with write_atomically(path) as temporary, fitsio.FITS(temporary, "rw", clobber=True) as out:
            out.write(table, extname=HDU)
            _write_header(out[HDU], table, recipe)
    except OSError as exc:
        raise OutputError(f"{path}: writing FITS failed ({exc}); is the disk full?") from exc


def read_output(path: str | Path) -> OutputFile:
    """Read an output of ours.

    Raises:
        DataFormatError: not one, or of another program.
    """
    try:
        with fitsio.FITS(str(path)) as file:
            table, header = file[HDU].read(), file[HDU].read_header()
    except (OSError, ValueError) as exc:
        raise DataFormatError(f"{path}: no afterburner output ({exc}); expected HDU {HDU}") from exc
    columns = _columns_of(table)
    missing = [column.name for column in columns if column.name not in (table.dtype.names or ())]
    recipe = _recipe(header)
    if missing or recipe is None:
        raise DataFormatError(
            f"{path}: an afterburner output, but not of quasarloop (no {', '.join(missing[:3])}); "
            "make it again with `quasarloop afterburner`"
        )
    # Native byte order, and bytes where the reading library makes words of them.
    rows = table[[column.name for column in columns]]
    return OutputFile(rows.astype([(c.name, c.dtype, c.shape) for c in columns]), recipe)


def _write_header(hdu: Any, table: NDArray[np.void], recipe: Mapping[str, Any]) -> None:
    for number, column in enumerate(_columns_of(table), start=1):
        hdu.write_key(f"TCOMM{number}", column.text)
    # As desiutil.depend records them, so that the survey's tools find them.
    for number, (name, value) in enumerate(_dependencies(recipe)):
        hdu.write_key(f"DEPNAM{number:02d}", name)
        hdu.write_key(f"DEPVER{number:02d}", value)
    for number, bit in enumerate(Why):
        hdu.write_key(f"RBIT{number:02d}", bit.name, comment=f"bit {number} of RERUN_BITS")
    hdu.write_history(_OPEN)
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True)
    for start in range(0, len(text), _LINE_WIDTH):
        # A mark at both ends: blanks there would be lost.
        hdu.write_history(f"|{text[start : start + _LINE_WIDTH]}|")
    hdu.write_history(_CLOSE)


def _columns_of(table: NDArray[np.void]) -> tuple[OutputColumn, ...]:
    """Return an output's columns; the one of target bits is called as the survey's phase does."""
    return (*documented_columns(phase_of(table.dtype.names or ()).column), *own_columns())


def _dependencies(recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = [(name, str(value)) for name, value in recipe["versions"].items()]
    found.append(("QN_MODEL_FILE", str(recipe["network"]["weights"])))
    found.append(("redrock", str(recipe["redrock"]["version"])))
    found += [
        (f"RR_TEMPLATE_{number}", str(template["name"]))
        for number, template in enumerate(recipe["redrock"]["templates"])
    ]
    return found


def _recipe(header: Any) -> dict[str, Any] | None:
    lines = [str(r["value"]) for r in header.records() if r["name"] == "HISTORY"]
    if _OPEN not in lines or _CLOSE not in lines:
        return None
    inside = lines[lines.index(_OPEN) + 1 : lines.index(_CLOSE)]
    recipe: dict[str, Any] = json.loads("".join(line.strip()[1:-1] for line in inside))
    return recipe
