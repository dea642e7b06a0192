"""Target classes of DESI's phases: the names and bits of their target masks, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quasarloop.errors import SelectionError

__all__ = ["PHASES", "Phase", "phase_of", "target_mask"]


@dataclass(frozen=True)
class Phase:
    """One phase of the survey.

    Attributes:
        name: ``"main"``, ``"sv1"``, …
        column: its column of target bits in a FIBERMAP.
        bits: class name -> bit number.
        aliases: names that other phases use -> the classes here that stand for them.
    """

    name: str
    column: str
    bits: Mapping[str, int]
    aliases: Mapping[str, tuple[str, ...]]


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


# Source: desitarget 4.4.0: targetmask.desi_mask, sv1/sv2/sv3 desi_mask, cmx.cmx_mask. A test
# compares with the installed desitarget.
_MAIN_BITS: Final = {
    "LRG": 0, "ELG": 1, "QSO": 2, "LGE": 3, "QSO_HIZ": 4, "ELG_LOP": 5, "ELG_HIP": 6,
    "ELG_VLO": 7, "LRG_NORTH": 8, "ELG_NORTH": 9, "QSO_NORTH": 10, "ELG_LOP_NORTH": 11,
    "ELG_VLO_NORTH": 12, "LGE_NORTH": 13, "LRG_SOUTH": 16, "ELG_SOUTH": 17, "QSO_SOUTH": 18,
    "ELG_LOP_SOUTH": 19, "ELG_VLO_SOUTH": 20, "LGE_SOUTH": 21, "SKY": 32, "STD_FAINT": 33,
    "STD_WD": 34, "STD_BRIGHT": 35, "BAD_SKY": 36, "SUPP_SKY": 37, "NO_TARGET": 49,
    "BRIGHT_OBJECT": 50, "IN_BRIGHT_OBJECT": 51, "NEAR_BRIGHT_OBJECT": 52, "BGS_ANY": 60,
    "MWS_ANY": 61, "SCND_ANY": 62,
}  # fmt: skip
_SV3_BITS: Final = {
    "LRG": 0, "ELG": 1, "QSO": 2, "LRG_LOWDENS": 3, "QSO_HIZ": 4, "ELG_LOP": 5, "ELG_HIP": 6,
    "LRG_NORTH": 8, "ELG_NORTH": 9, "QSO_NORTH": 10, "ELG_LOP_NORTH": 11, "ELG_HIP_NORTH": 12,
    "LRG_LOWDENS_NORTH": 13, "LRG_SOUTH": 16, "ELG_SOUTH": 17, "QSO_SOUTH": 18,
    "ELG_LOP_SOUTH": 19, "ELG_HIP_SOUTH": 20, "LRG_LOWDENS_SOUTH": 21, "SKY": 32, "STD_FAINT": 33,
    "STD_WD": 34, "STD_BRIGHT": 35, "BAD_SKY": 36, "SUPP_SKY": 37, "NO_TARGET": 49,
    "BRIGHT_OBJECT": 50, "IN_BRIGHT_OBJECT": 51, "NEAR_BRIGHT_OBJECT": 52, "BGS_ANY": 60,
    "MWS_ANY": 61, "SCND_ANY": 62,
}  # fmt: skip
_SV2_BITS: Final = {
    "LRG": 0, "ELG": 1, "QSO": 2, "QSO_HIZ": 4, "LRG_NORTH": 8, "ELG_NORTH": 9, "QSO_NORTH": 10,
    "LRG_SOUTH": 16, "ELG_SOUTH": 17, "QSO_SOUTH": 18, "SKY": 32, "STD_FAINT": 33, "STD_WD": 34,
    "STD_BRIGHT": 35, "BAD_SKY": 36, "SUPP_SKY": 37, "NO_TARGET": 49, "BRIGHT_OBJECT": 50,
    "IN_BRIGHT_OBJECT": 51, "NEAR_BRIGHT_OBJECT": 52, "BGS_ANY": 60, "MWS_ANY": 61,
    "SCND_ANY": 62,
}  # fmt: skip
_SV1_BITS: Final = {
    "LRG": 0, "ELG": 1, "QSO": 2, "LRG_OPT": 3, "LRG_IR": 4, "LRG_SV_OPT": 5, "LRG_SV_IR": 6,
    "LOWZ_FILLER": 7, "ELG_SV_GTOT": 8, "ELG_SV_GFIB": 9, "ELG_FDR_GTOT": 10, "ELG_FDR_GFIB": 11,
    "QSO_COLOR_4PASS": 12, "QSO_RF_4PASS": 13, "QSO_COLOR_8PASS": 14, "QSO_RF_8PASS": 15,
    "QSO_HZ_F": 16, "QSO_Z5": 17, "LRG_OPT_NORTH": 18, "LRG_IR_NORTH": 19, "LRG_SV_OPT_NORTH": 20,
    "LRG_SV_IR_NORTH": 21, "LOWZ_FILLER_NORTH": 22, "LRG_OPT_SOUTH": 23, "LRG_IR_SOUTH": 24,
    "LRG_SV_OPT_SOUTH": 25, "LRG_SV_IR_SOUTH": 26, "LOWZ_FILLER_SOUTH": 27,
    "ELG_SV_GTOT_NORTH": 28, "ELG_SV_GFIB_NORTH": 29, "ELG_FDR_GTOT_NORTH": 30,
    "ELG_FDR_GFIB_NORTH": 31, "SKY": 32, "STD_FAINT": 33, "STD_WD": 34, "STD_BRIGHT": 35,
    "BAD_SKY": 36, "SUPP_SKY": 37, "ELG_SV_GTOT_SOUTH": 38, "ELG_SV_GFIB_SOUTH": 39,
    "ELG_FDR_GTOT_SOUTH": 40, "ELG_FDR_GFIB_SOUTH": 41, "QSO_COLOR_4PASS_NORTH": 42,
    "QSO_RF_4PASS_NORTH": 43, "QSO_COLOR_8PASS_NORTH": 44, "QSO_RF_8PASS_NORTH": 45,
    "QSO_HZ_F_NORTH": 46, "QSO_Z5_NORTH": 47, "QSO_COLOR_4PASS_SOUTH": 48, "NO_TARGET": 49,
    "BRIGHT_OBJECT": 50, "IN_BRIGHT_OBJECT": 51, "NEAR_BRIGHT_OBJECT": 52,
    "QSO_RF_4PASS_SOUTH": 53, "QSO_COLOR_8PASS_SOUTH": 54, "QSO_RF_8PASS_SOUTH": 55,
    "QSO_HZ_F_SOUTH": 56, "QSO_Z5_SOUTH": 57, "BGS_ANY": 60, "MWS_ANY": 61, "SCND_ANY": 62,
}  # fmt: skip
_CMX_BITS: Final = {
    "STD_GAIA": 0, "SV0_STD_FAINT": 1, "SV0_STD_BRIGHT": 2, "STD_TEST": 3, "STD_CALSPEC": 4,
    "STD_DITHER": 5, "SV0_MWS_CLUSTER": 6, "SV0_MWS_CLUSTER_VERYBRIGHT": 7, "SV0_BGS": 8,
    "SV0_MWS": 9, "SV0_LRG": 10, "SV0_ELG": 11, "SV0_QSO": 12, "SV0_WD": 13, "SV0_QSO_Z5": 14,
    "BACKUP_BRIGHT": 16, "BACKUP_FAINT": 17, "M31_STD_BRIGHT": 18, "M31_H2PN": 19, "M31_GC": 20,
    "M31_QSO": 21, "M31_VAR": 22, "M31_BSPL": 23, "M31_M31cen": 24, "M31_M31out": 25,
    "ORI_STD_BRIGHT": 26, "ORI_QSO": 27, "ORI_ORI": 28, "ORI_HA": 29, "ROS_STD_BRIGHT": 30,
    "ROS_QSO": 31, "SKY": 32, "STD_FAINT": 33, "STD_BRIGHT": 35, "BAD_SKY": 36, "SUPP_SKY": 37,
    "ROS_ROSM17": 38, "ROS_ROS1": 39, "ROS_HA": 40, "ROS_ROS2": 41, "M33_STD_BRIGHT": 42,
    "M33_H2PN": 43, "M33_GC": 44, "M33_QSO": 45, "M33_M33cen": 46, "M33_M33out": 47,
    "MINI_SV_LRG": 53, "MINI_SV_ELG": 54, "MINI_SV_QSO": 55, "MINI_SV_BGS_BRIGHT": 56,
    "SV0_MWS_FAINT": 57, "STD_DITHER_GAIA": 58,
}  # fmt: skip
# Commissioning had no single class of quasars. Source: desispec.scripts.qsoqn; the other classes
# alike, our choice.
_CMX_ALIASES: Final = {
    "QSO": ("MINI_SV_QSO", "SV0_QSO"),
    "LRG": ("MINI_SV_LRG", "SV0_LRG"),
    "ELG": ("MINI_SV_ELG", "SV0_ELG"),
    "BGS_ANY": ("MINI_SV_BGS_BRIGHT", "SV0_BGS"),
}
_MAIN: Final = Phase("main", "DESI_TARGET", _MAIN_BITS, {})
PHASES: Final[tuple[Phase, ...]] = (
    Phase("cmx", "CMX_TARGET", _CMX_BITS, _CMX_ALIASES),
    Phase("sv1", "SV1_DESI_TARGET", _SV1_BITS, {}),
    Phase("sv2", "SV2_DESI_TARGET", _SV2_BITS, {}),
    Phase("sv3", "SV3_DESI_TARGET", _SV3_BITS, {}),
    _MAIN,
)
