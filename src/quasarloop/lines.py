"""The emission lines a QuasarNET line finder looks for.

Wavelengths are vacuum, in Å, those of the public QuasarNET line list: a network must be decoded
with the rest wavelengths it was trained with, so they are never "improved" here.
"""

from dataclasses import dataclass
from typing import Final

__all__ = [
    "BALMER_AA",
    "BAL_LINE",
    "EMISSION_LINES",
    "LYA_AA",
    "NEBULAR_AA",
    "NETWORK_LINES",
    "OII_AA",
    "QUASAR_AA",
    "SCATTER_KMS",
    "Line",
    "line_label",
    "line_named",
]


@dataclass(frozen=True)
class Line:
    """A line of the network's line finder.

    Attributes:
        name: name used in QuasarNET files, e.g. ``"CIV(1548)"``.
        wave_rest_aa: vacuum rest wavelength, Å.
        column: the name used in survey columns (``C_<column>``, ``Z_<column>``).
        is_bal: True for broad absorption, not emission.
    """

    name: str
    wave_rest_aa: float
    column: str
    is_bal: bool = False


# In the order of the network's outputs. Source: docs/reference/network.md, "Lines and boxes".
EMISSION_LINES: tuple[Line, ...] = (
    Line("LYA", 1215.67, "LYA"),
    Line("CIV(1548)", 1548.2049, "CIV"),
    Line("CIII(1909)", 1908.734, "CIII"),
    Line("MgII(2796)", 2796.3511, "MgII"),
    Line("Hbeta", 4862.68, "Hbeta"),
    Line("Halpha", 6562.8, "Halpha"),
)

# The seventh finder looks for broad absorption at C IV.
BAL_LINE = Line("CIV(1548)", 1548.2049, "BAL", is_bal=True)

NETWORK_LINES: tuple[Line, ...] = (*EMISSION_LINES, BAL_LINE)


def line_named(name: str, *, bal: bool = False) -> Line:
    """Return the line of that QuasarNET name.

    Args:
        name: e.g. ``"MgII(2796)"``.
        bal: the broad absorption of that name, not the emission.

    Raises:
        KeyError: no such line; the message lists those there are.

    >>> line_named("LYA").wave_rest_aa
    1215.67
    """
    for line in NETWORK_LINES:
        if line.name == name and line.is_bal == bal:
            return line
    known = ", ".join(f"{line.name}{' (BAL)' if line.is_bal else ''}" for line in NETWORK_LINES)
    raise KeyError(f"no line {name!r} (bal={bal}); known: {known}")


_LABELS: Final = {
    "LYA": "Lyα", "CIV": "C IV", "CIII": "C III]", "MgII": "Mg II", "Hbeta": "Hβ", "Halpha": "Hα",
}  # fmt: skip


def line_label(name: str) -> str:
    """Return a line's name as figures and pages write it.

    Args:
        name: in QuasarNET files or in columns; any other is returned unchanged.

    >>> line_label("CIII(1909)"), line_label("Hbeta"), line_label("BAL")
    ('C III]', 'Hβ', 'BAL')
    """
    columns = {line.name: line.column for line in EMISSION_LINES}
    return _LABELS.get(columns.get(name, name), name)


LYA_AA: Final = line_named("LYA").wave_rest_aa

# Hα to H12, vacuum Å. Source: NIST, Ritz wavelengths. (The network's Hα is another number.)
BALMER_AA: Final = (
    6564.61,
    line_named("Hbeta").wave_rest_aa,
    4341.68,
    4102.89,
    3971.20,
    3890.15,
    3836.47,
    3798.98,
    3771.70,
    3751.22,
    3735.43,
    3722.94,
    3712.97,
)

# Lines of ionised gas, vacuum Å. Source: NIST, Ritz wavelengths.
NEBULAR_AA: Final[dict[str, float]] = {
    "oii3727": 3727.09,
    "oii3730": 3729.88,
    "neiii3870": 3869.86,
    "hdelta": BALMER_AA[3],
    "hgamma": BALMER_AA[2],
    "hbeta": BALMER_AA[1],
    "oiii4960": 4960.30,
    "oiii5008": 5008.24,
    "hei5877": 5877.25,
    "oi6302": 6302.05,
    "nii6550": 6549.85,
    "halpha": BALMER_AA[0],
    "nii6585": 6585.28,
    "sii6718": 6718.29,
    "sii6733": 6732.67,
    "siii9071": 9071.1,
    "siii9533": 9533.2,
}

# The blended doublet of [O II], vacuum Å: the mean of both lines.
OII_AA: Final = 3728.5

# Lines and blends of quasars, vacuum Å, by the names of truth columns. Source: Vanden Berk et al.
# 2001 (AJ 122, 549), Table 2; those of ionised gas as above.
QUASAR_AA: Final[dict[str, float]] = {
    "ciii977": 977.02,
    "niii991": 991.58,
    "lyb": 1025.72,
    "ovi": 1034.00,
    "lya": LYA_AA,
    "nv": 1240.14,
    "siii1263": 1262.59,
    "oi1305": 1305.42,
    "cii1335": 1335.30,
    "siiv": 1396.76,
    "oiv1402": 1402.06,
    "niv1486": 1486.50,
    "civ": 1549.06,
    "heii1640": 1640.42,
    "oiii1663": 1663.48,
    "niii1750": 1750.26,
    "aliii": 1857.40,
    "siiii1892": 1892.03,
    "ciii": 1908.73,
    "cii2326": 2326.44,
    "mgii": 2799.12,
    "hei3188": 3188.67,
    "nev3347": 3346.79,
    "nev3427": 3426.85,
    "neiii3969": 3968.59,
    "oiii4364": 4364.44,
    "heii4687": 4687.02,
    "hei7067": 7067.2,
    "oi8448": 8448.7,
    **NEBULAR_AA,
}

# How far the lines of a quasar scatter about its systemic redshift, km/s, by wavelengths above.
# Source: Shen et al. 2016 (ApJ 831, 7), abstract: 849 quasars. Not there: Lyα, half absorbed, taken
# to be as uncertain as the worst of them (our choice).
SCATTER_KMS: Final[dict[float, float]] = {
    OII_AA: 46.0,
    NEBULAR_AA["oiii5008"]: 56.0,
    QUASAR_AA["nev3427"]: 119.0,
    QUASAR_AA["mgii"]: 205.0,
    QUASAR_AA["ciii"]: 233.0,
    QUASAR_AA["heii1640"]: 242.0,
    NEBULAR_AA["hbeta"]: 400.0,
    QUASAR_AA["civ"]: 415.0,
    QUASAR_AA["siiv"]: 477.0,
    LYA_AA: 477.0,
}
