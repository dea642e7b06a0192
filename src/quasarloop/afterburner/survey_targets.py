"""Target classes of DESI's phases: names and bits of their target masks (data/target_bits.toml)."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quasarloop.errors import SelectionError

__all__ = ["PHASES", "SECONDARY_COLUMNS", "Phase", "phase_of", "target_mask"]


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
