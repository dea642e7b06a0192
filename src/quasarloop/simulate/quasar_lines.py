"""Emission lines of quasars: wavelengths, strengths, widths, and how they vary together.

Strengths are typical rest-frame equivalent widths at log νLν(3000 Å) = 45.5. Sources, by key:

- VB01: Vanden Berk et al. 2001 (AJ 122, 549), Table 2: composite of 2200 SDSS quasars.
- DS09: Diamond-Stanic et al. 2009 (ApJ 699, 782): log-normal Lyα + N V, mean 63.6 Å
  with the forest's bite taken out, 1σ from 39.6 to 101.9 Å.
- S11: Shen et al. 2011 (ApJS 194, 45): distributions of C IV, Mg II, Hβ, Hα, Fe II of SDSS DR7.
- D02: Dietrich et al. 2002 (ApJ 581, 912): slopes of the Baldwin effect.
- R11: Richards et al. 2011 (AJ 141, 167): C IV blueshift against strength.
- BG92: Boroson & Green 1992 (ApJS 80, 109): eigenvector 1.

Where a composite hides part of a line (blends, pseudo-continuum), the value is ours and says so.
"""

from typing import Final, NamedTuple

from quasarloop.lines import LYA_AA, NEBULAR_AA

__all__ = ["BROAD_LINES", "EW_LOG_L", "NARROW_LINES", "QUASAR_LINES", "QuasarLine", "line_number"]

# log10 νLν(3000 Å) in erg/s at which the strengths below hold.
EW_LOG_L: Final = 45.5


class QuasarLine(NamedTuple):
    """One emission line or blend.

    Attributes:
        name: as written in truth columns (``ew_<name>``).
        wave_aa: vacuum rest wavelength, Å.
        ew_aa: typical rest-frame equivalent width, Å.
        scatter_dex: object-to-object scatter of log EW not explained by the rest.
        eigen1_dex: change of log EW per σ of eigenvector 1 (strong Fe II, weak [O III]).
        baldwin: β of EW ∝ L^β.
        width: FWHM in units of the object's broad (or narrow) width.
        blueshift: share of the object's C IV blueshift this line has.
        shift_kms: shift every object has, positive to the red.
    """

    name: str
    wave_aa: float
    ew_aa: float
    scatter_dex: float
    eigen1_dex: float
    baldwin: float
    width: float
    blueshift: float
    shift_kms: float


BROAD_LINES: Final[tuple[QuasarLine, ...]] = (
    QuasarLine("ciii977", 977.02, 4.0, 0.15, 0.0, -0.10, 1.0, 0.5, 0.0),  # ours
    QuasarLine("niii991", 991.58, 4.0, 0.15, 0.0, -0.10, 1.0, 0.5, 0.0),  # ours
    QuasarLine("lyb", 1025.72, 3.0, 0.15, -0.05, -0.10, 1.0, 0.3, 0.0),  # VB01, split with O VI
    QuasarLine("ovi", 1034.00, 14.0, 0.15, -0.08, -0.15, 1.1, 0.7, 0.0),  # VB01, split with Lyβ
    # VB01 has 93 Å for the blend with N V; DS09 64 Å after the forest.
    QuasarLine("lya", LYA_AA, 80.0, 0.12, -0.08, -0.10, 0.85, 0.25, 0.0),
    QuasarLine("nv", 1240.14, 27.0, 0.15, 0.05, 0.0, 1.1, 0.5, 0.0),  # VB01 lists 1 Å of a blend
    QuasarLine("siii1263", 1262.59, 2.5, 0.15, 0.05, 0.0, 1.0, 0.0, 0.0),  # ours, VB01 0.2 Å
    QuasarLine("oi1305", 1305.42, 3.0, 0.15, 0.05, 0.0, 0.8, 0.0, 0.0),  # VB01 1.7 Å
    QuasarLine("cii1335", 1335.30, 1.2, 0.15, 0.05, 0.0, 0.8, 0.0, 0.0),  # VB01 0.7 Å
    QuasarLine("siiv", 1396.76, 8.0, 0.13, 0.0, -0.08, 1.1, 0.5, 0.0),  # VB01 8.1 Å with O IV]
    QuasarLine("oiv1402", 1402.06, 4.3, 0.13, 0.0, -0.08, 1.1, 0.5, 0.0),
    QuasarLine("niv1486", 1486.50, 0.7, 0.2, 0.0, -0.10, 0.9, 0.5, 0.0),
    # VB01 24 Å above a high pseudo-continuum; S11 median 40 Å at L = 45.9.
    QuasarLine("civ", 1549.06, 50.0, 0.13, -0.12, -0.18, 1.0, 1.0, 0.0),
    QuasarLine("heii1640", 1640.42, 5.0, 0.2, -0.20, -0.20, 1.5, 1.2, 0.0),
    QuasarLine("oiii1663", 1663.48, 5.0, 0.15, -0.05, -0.10, 1.3, 0.7, 0.0),
    QuasarLine("niii1750", 1750.26, 1.5, 0.2, 0.05, 0.0, 1.1, 0.3, 0.0),
    QuasarLine("aliii", 1857.40, 2.8, 0.15, 0.12, 0.0, 1.0, 0.2, 0.0),
    QuasarLine("siiii1892", 1892.03, 4.5, 0.15, 0.08, 0.0, 0.9, 0.15, 0.0),
    QuasarLine("ciii", 1908.73, 19.0, 0.10, -0.06, -0.10, 1.15, 0.25, 0.0),  # VB01 21 Å, blend
    QuasarLine("cii2326", 2326.44, 2.0, 0.15, 0.0, 0.0, 0.9, 0.0, 0.0),
    QuasarLine("mgii", 2799.12, 38.0, 0.12, 0.0, -0.12, 0.85, 0.0, 0.0),  # VB01 32 Å, S11
    QuasarLine("hei3188", 3188.67, 1.0, 0.2, 0.0, 0.0, 1.0, 0.0, 0.0),
    QuasarLine("hdelta", NEBULAR_AA["hdelta"], 6.0, 0.12, 0.0, 0.0, 1.0, 0.0, 0.0),  # VB01 5.1 Å
    QuasarLine("hgamma", NEBULAR_AA["hgamma"], 15.0, 0.12, 0.0, 0.0, 1.0, 0.0, 0.0),  # VB01 12.6 Å
    QuasarLine("heii4687", 4687.02, 4.0, 0.2, -0.15, 0.0, 1.3, 0.5, 0.0),
    QuasarLine("hbeta", NEBULAR_AA["hbeta"], 60.0, 0.12, -0.03, 0.0, 1.0, 0.0, 0.0),  # VB01 46
    QuasarLine("hei5877", NEBULAR_AA["hei5877"], 6.0, 0.15, 0.0, 0.0, 1.1, 0.0, 0.0),  # VB01 4.9 Å
    QuasarLine("halpha", NEBULAR_AA["halpha"], 280.0, 0.12, 0.0, 0.0, 0.9, 0.0, 0.0),  # VB01 195
    QuasarLine("hei7067", 7067.2, 3.0, 0.15, 0.0, 0.0, 1.0, 0.0, 0.0),
    QuasarLine("oi8448", 8448.7, 9.0, 0.15, 0.0, 0.0, 0.7, 0.0, 0.0),
)

# Narrow-line region. Ratios: VB01, Table 2; Balmer lines from [O III]/Hβ = 10 and Hα/Hβ = 3.1
# (Osterbrock & Ferland 2006, Chapter 14, mean of Seyfert 2 nuclei).
NARROW_LINES: Final[tuple[QuasarLine, ...]] = (
    QuasarLine("nev3347", 3346.79, 0.5, 0.15, -0.10, -0.10, 1.5, 0.1, 0.0),
    QuasarLine("nev3427", 3426.85, 1.3, 0.15, -0.10, -0.10, 1.5, 0.1, 0.0),
    QuasarLine("oii3727", NEBULAR_AA["oii3727"], 1.2, 0.20, -0.05, -0.20, 0.9, 0.0, 0.0),
    QuasarLine("oii3730", NEBULAR_AA["oii3730"], 1.4, 0.20, -0.05, -0.20, 0.9, 0.0, 0.0),
    QuasarLine("neiii3870", NEBULAR_AA["neiii3870"], 1.8, 0.15, -0.15, -0.10, 1.1, 0.0, 0.0),
    QuasarLine("neiii3969", 3968.59, 0.5, 0.15, -0.15, -0.10, 1.1, 0.0, 0.0),
    QuasarLine("hgamma_n", NEBULAR_AA["hgamma"], 0.5, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("oiii4364", 4364.44, 0.5, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("hbeta_n", NEBULAR_AA["hbeta"], 1.6, 0.15, -0.25, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("oiii4960", NEBULAR_AA["oiii4960"], 5.3, 0.0, -0.28, -0.10, 1.0, 0.05, 0.0),
    QuasarLine("oiii5008", NEBULAR_AA["oiii5008"], 16.0, 0.0, -0.28, -0.10, 1.0, 0.05, 0.0),
    QuasarLine("oi6302", NEBULAR_AA["oi6302"], 0.8, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("nii6550", NEBULAR_AA["nii6550"], 2.3, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("halpha_n", NEBULAR_AA["halpha"], 8.0, 0.15, -0.25, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("nii6585", NEBULAR_AA["nii6585"], 7.0, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("sii6718", NEBULAR_AA["sii6718"], 2.3, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("sii6733", NEBULAR_AA["sii6733"], 2.1, 0.15, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("siii9071", NEBULAR_AA["siii9071"], 1.5, 0.2, -0.2, -0.10, 1.0, 0.0, 0.0),
    QuasarLine("siii9533", NEBULAR_AA["siii9533"], 3.7, 0.2, -0.2, -0.10, 1.0, 0.0, 0.0),
)

QUASAR_LINES: Final[tuple[QuasarLine, ...]] = (*BROAD_LINES, *NARROW_LINES)


def line_number(name: str) -> int:
    """Return a line's column in every (n, n_lines) array of quasar traits.

    Raises:
        KeyError: no such line.
    """
    for number, line in enumerate(QUASAR_LINES):
        if line.name == name:
            return number
    raise KeyError(f"no quasar line {name!r}; known: {', '.join(x.name for x in QUASAR_LINES)}")
