"""Columns of DESI's quasar files: qso_qn and quasar catalogues (data/columns.csv), qso_mgii."""

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Final

from quasarloop.afterburner.survey_targets import PHASES
from quasarloop.columns import Column, columns_named, columns_of_lines
from quasarloop.lines import BAL_LINE, EMISSION_LINES
from quasarloop.zwarn import N_COEFF

__all__ = ["DESI_COLUMNS", "MGII_COLUMNS", "NETWORK_COLUMNS", "output_columns"]

# Source: desispec.scripts.qsomgii, HDU MGII.
MGII_COLUMNS: Final = (
    "TARGETID", "IS_QSO_MGII", "DELTA_CHI2", "A", "SIGMA", "B", "VAR_A", "VAR_SIGMA", "VAR_B",
)  # fmt: skip


def output_columns(target_column: str = "DESI_TARGET") -> tuple[Column, ...]:
    """Return the columns of a qso_qn file: desispec's in its order, then quasarloop's.

    Args:
        target_column: of the survey's phase, e.g. ``"SV3_DESI_TARGET"``.

    Source: desispec.scripts.qsoqn; docs/reference/desi.md, "Afterburner output".
    """
    return tuple(
        replace(column, name=target_column) if column.name == "DESI_TARGET" else column
        for column in _TABLES["qso_qn"]
    )


def _read_tables() -> dict[str, tuple[Column, ...]]:
    """Return table -> columns. Rows without a type name columns that are described elsewhere."""
    c_bal, z_bal = columns_of_lines((BAL_LINE,))
    elsewhere = {
        "C_BAL": (c_bal,),
        "Z_BAL": (z_bal,),
        "LINES": columns_of_lines(EMISSION_LINES),
        "PHASES": tuple(Column(p.column, "i8", f"target bits, {p.name}") for p in PHASES),
        "COEFF_NEW": (Column("COEFF_NEW", f"{N_COEFF}f4", "its template coefficients"),),
    }
    tables: dict[str, tuple[Column, ...]] = defaultdict(tuple)
    path = Path(__file__).parent / "data" / "columns.csv"
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        table, name = row.pop("table"), row["name"]
        if row["dtype"]:
            tables[table] += (Column(**row),)
        else:
            tables[table] += elsewhere.get(name) or columns_named(name)
    return tables


_TABLES: Final = _read_tables()
# Source of the names: desidatamodel, QSO_cat_{SPECPROD}_cumulative (DR1).
DESI_COLUMNS: Final = _TABLES["catalogue"]
# The same catalogue without redrock.
NETWORK_COLUMNS: Final = _TABLES["network"]
