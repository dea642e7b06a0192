"""Columns of DESI's files, as published: names, types, and bits of target classes.

Target classes by phase are in data/target_bits.toml; columns of qso_qn and quasar catalogues in
data/columns.csv.
"""

import csv
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from quasarloop.columns import Column, columns_named, columns_of_lines
from quasarloop.constants import N_COEFF
from quasarloop.errors import SelectionError
from quasarloop.lines import BAL_LINE, EMISSION_LINES

__all__ = [
    "DESI_COLUMNS",
    "MGII_COLUMNS",
    "NETWORK_COLUMNS",
    "PHASES",
    "SECONDARY_COLUMNS",
    "Phase",
    "output_columns",
    "phase_of",
    "target_mask",
]


@dataclass(frozen=True)
class Phase:
    """One phase of the survey.

    Attributes:
        name: ``"main"``, ``"sv1"``, …
        column: its column of target bits in a FIBERMAP.
        bits: class name -> bit number.
        aliases: names that other phases use -> the classes of this one.
    """

    name: str
    column: str
    bits: Mapping[str, int]
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict)


def phase_of(columns: Sequence[str]) -> Phase:
    """Return the phase a FIBERMAP is of, from its column names in order.

    As desitarget decides: the first SV or commissioning column wins over the main survey's.

    >>> phase_of(["TARGETID", "SV1_DESI_TARGET", "DESI_TARGET"]).name
    'sv1'
    >>> phase_of(["TARGETID"]).name
    'main'
    """
    special = {phase.column: phase for phase in PHASES if phase.name != "main"}
    found = (special[name.upper()] for name in columns if name.upper() in special)
    return next(found, _MAIN)


def target_mask(phase: Phase, names: Sequence[str]) -> int:
    """Return the bit mask of some classes.

    Args:
        phase: whose bits.
        names: classes, in any case; a class's usual name works in every phase.

    Raises:
        SelectionError: no such class in that phase; the message lists those there are.

    >>> target_mask(phase_of(["CMX_TARGET"]), ["QSO"]) == 1 << 12 | 1 << 55
    True
    """
    mask = 0
    bits = {name.upper(): bit for name, bit in phase.bits.items()}
    for name in names:
        known = phase.aliases.get(name.upper(), (name.upper(),))
        for one in known:
            if one not in bits:
                raise SelectionError(
                    f"no target class {name!r} in {phase.column}; there are: "
                    f"{', '.join(phase.bits)}"
                )
            mask |= 1 << bits[one]
    return mask


_FILE: Final = Path(__file__).parent / "data" / "target_bits.toml"
PHASES: Final = tuple(
    Phase(name, **table) for name, table in tomllib.loads(_FILE.read_text()).items()
)
_MAIN: Final = next(phase for phase in PHASES if phase.name == "main")
# Bits of the secondary programmes, by phase; commissioning and SV2 have none for quasars.
SECONDARY_COLUMNS: Final = ("SCND_TARGET", "SV1_SCND_TARGET", "SV3_SCND_TARGET")


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
