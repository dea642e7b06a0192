"""The typical quasar: slope of the continuum; strengths and widths of lines, and their relations.

Wavelengths are in `quasarloop.lines.QUASAR_AA`, all other numbers and their sources in
``data/quasar_lines.ecsv``.
"""

from typing import Final, NamedTuple

from quasarloop.lines import QUASAR_AA
from quasarloop.simulate import published

__all__ = [
    "BROAD_LINES",
    "CONTINUUM_PIVOT_AA",
    "EW_LOG_L",
    "HIGH_IONISATION_AA",
    "MEAN_SLOPE",
    "NARROW_LINES",
    "QUASAR_LINES",
    "QuasarLine",
    "line_number",
]

# Where continua and luminosities are defined, and where power laws cross, Å.
CONTINUUM_PIVOT_AA: Final = 3000.0
# Frequency slope of the typical continuum. Source: Vanden Berk et al. 2001, median composite.
MEAN_SLOPE: Final = -0.46
# log10 νLν(3000 Å) in erg/s at which the strengths hold.
EW_LOG_L: Final = 45.5
# High-ionisation lines lie below this wavelength (C III] and bluer), Å.
HIGH_IONISATION_AA: Final = 2000.0


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
    """

    name: str
    wave_aa: float
    ew_aa: float
    scatter_dex: float
    eigen1_dex: float
    baldwin: float
    width: float
    blueshift: float


def _lines(region: str) -> tuple[QuasarLine, ...]:
    return tuple(
        QuasarLine(name, QUASAR_AA[name.removesuffix("_n")], *numbers)
        for _, name, *numbers, _ in published("quasar_lines").filter(region=region).rows()
    )


BROAD_LINES: Final = _lines("broad")
NARROW_LINES: Final = _lines("narrow")
QUASAR_LINES: Final = (*BROAD_LINES, *NARROW_LINES)


def line_number(name: str) -> int:
    """Return a line's column in every (n, n_lines) array of quasar traits.

    Raises:
        KeyError: no such line.
    """
    names = [line.name for line in QUASAR_LINES]
    if name not in names:
        raise KeyError(f"no quasar line {name!r}; known: {', '.join(names)}")
    return names.index(name)
