"""Lines and bands that the page draws over a spectrum: of the object, of the sky, of the air."""

from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from quasarloop.lines import EMISSION_LINES, QUASAR_AA, line_label

__all__ = ["MARKS", "Band", "Mark", "bands"]


@dataclass(frozen=True)
class Mark:
    """One line of an object.

    Attributes:
        name: as astronomers write it; equal for the lines of a doublet.
        wave_aa: vacuum rest wavelength, Å.
        kind: ``"emission"`` or ``"absorption"``.
        major: drawn in the short list too.
    """

    name: str
    wave_aa: float
    kind: Literal["emission", "absorption"]
    major: bool = False


@dataclass(frozen=True)
class Band:
    """Wavelengths that the sky or the air spoils, as observed.

    Attributes:
        name: as astronomers write it.
        low_aa, high_aa: vacuum wavelengths, Å.
        kind: ``"telluric"`` absorption, or ``"sky"`` emission.
    """

    name: str
    low_aa: float
    high_aa: float
    kind: Literal["telluric", "sky"]


# Further emission lines by their name in `QUASAR_AA`.
_EMISSION: Final = (
    ("lyb", "Lyβ", False),
    ("ovi", "O VI", False),
    ("nv", "N V", False),
    ("oi1305", "O I", False),
    ("cii1335", "C II", False),
    ("siiv", "Si IV", True),
    ("heii1640", "He II", False),
    ("aliii", "Al III", False),
    ("cii2326", "C II]", False),
    ("nev3347", "[Ne V]", False),
    ("nev3427", "[Ne V]", True),
    ("oii3727", "[O II]", True),
    ("oii3730", "[O II]", True),
    ("neiii3870", "[Ne III]", True),
    ("neiii3969", "[Ne III]", False),
    ("hdelta", "Hδ", False),
    ("hgamma", "Hγ", False),
    ("oiii4364", "[O III]", False),
    ("oiii4960", "[O III]", False),
    ("oiii5008", "[O III]", True),
    ("hei5877", "He I", False),
    ("oi6302", "[O I]", False),
    ("nii6550", "[N II]", False),
    ("nii6585", "[N II]", False),
    ("sii6718", "[S II]", False),
    ("sii6733", "[S II]", False),
    ("siii9071", "[S III]", False),
    ("siii9533", "[S III]", False),
)
# The second line of the Mg II doublet; the first is the network's. Source: NIST.
_MGII_RED_AA: Final = 2803.53
# Vacuum wavelengths, Å. Source: NIST Atomic Spectra Database (air values of the optical lines
# brought to vacuum with Morton 2000, ApJS 130, 403, eq. 8).
_ABSORPTION: Final = (
    ("Lyman limit", 911.76, False),
    ("Si IV", 1393.76, False),
    ("Si IV", 1402.77, False),
    ("C IV", 1548.20, True),
    ("C IV", 1550.78, True),
    ("Al III", 1854.72, False),
    ("Al III", 1862.79, False),
    ("Fe II", 2344.21, False),
    ("Fe II", 2382.76, False),
    ("Fe II", 2600.17, False),
    ("Mg II", 2796.35, True),
    ("Mg II", _MGII_RED_AA, True),
    ("Mg I", 2852.96, False),
    ("Ca K", 3934.78, True),
    ("Ca H", 3969.59, True),
    ("Ca I", 4227.92, False),
    ("G band", 4305.61, True),
    ("Mg b", 5176.63, True),
    ("Na D", 5891.58, True),
    ("Na D", 5897.56, True),
    ("TiO", 7053.0, False),
    ("Ca II", 8500.36, False),
    ("Ca II", 8544.44, True),
    ("Ca II", 8664.52, False),
)
# Oxygen and water of the air. Source: Smette et al. 2015 (A&A 576, A77), Figure 1; rounded.
_TELLURIC: Final = (
    ("⊕ O₂ B", 6865.0, 6950.0),
    ("⊕ H₂O", 7160.0, 7340.0),
    ("⊕ O₂ A", 7590.0, 7710.0),
    ("⊕ H₂O", 8130.0, 8350.0),
    ("⊕ H₂O", 8940.0, 9800.0),
)
# Airglow of at least this surface brightness, 1e-17 erg/s/cm²/arcsec², and half the width that is
# shaded, Å. Our choice: the lines whose residuals are seen in most spectra.
_SKY_BRIGHT: Final = 25.0
_SKY_HALF_AA: Final = 4.0


def _marks() -> tuple[Mark, ...]:
    network = [
        Mark(line_label(line.name), line.wave_rest_aa, "emission", major=True)
        for line in EMISSION_LINES
    ]
    red = Mark(line_label("MgII(2796)"), _MGII_RED_AA, "emission", major=True)
    others = [Mark(shown, QUASAR_AA[key], "emission", major) for key, shown, major in _EMISSION]
    absorption = [Mark(name, wave, "absorption", major) for name, wave, major in _ABSORPTION]
    every = [*network, red, *others, *absorption]
    return tuple(sorted(every, key=lambda mark: mark.wave_aa))


@cache
def bands() -> tuple[Band, ...]:
    """Return what the air absorbs and where the sky is bright."""
    from quasarloop.simulate.published import published  # noqa: PLC0415 -- polars: not at start

    telluric = [Band(name, low, high, "telluric") for name, low, high in _TELLURIC]
    airglow = [
        Band("", wave - _SKY_HALF_AA, wave + _SKY_HALF_AA, "sky")
        for wave, flux in published("sky_lines").select("wave_aa", "flux").rows()
        if flux >= _SKY_BRIGHT
    ]
    return (*telluric, *airglow)


MARKS: Final = _marks()
