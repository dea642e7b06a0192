"""The emission and absorption lines drawn over a spectrum at the trial redshift."""

from dataclasses import dataclass
from typing import Final, Literal

from quasarloop.lines import line_named
from quasarloop.simulate.quasar_lines import QUASAR_LINES

__all__ = ["MARKS", "Mark"]


@dataclass(frozen=True)
class Mark:
    """One line to draw.

    Attributes:
        name: as astronomers write it.
        wave_aa: vacuum rest wavelength, Å.
        kind: ``"emission"`` or ``"absorption"``.
        major: drawn in the short list too.
    """

    name: str
    wave_aa: float
    kind: Literal["emission", "absorption"]
    major: bool = False


# The six lines the network looks for, under the names people read.
_NETWORK: Final = {
    "LYA": "Lyα",
    "CIV(1548)": "C IV",
    "CIII(1909)": "C III]",
    "MgII(2796)": "Mg II",
    "Hbeta": "Hβ",
    "Halpha": "Hα",
}
# Further emission lines by their name in the simulator's line list (whose sources hold here).
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
    ("nev3427", "[Ne V]", False),
    ("oii3727", "[O II]", True),
    ("neiii3870", "[Ne III]", False),
    ("hdelta", "Hδ", False),
    ("hgamma", "Hγ", False),
    ("oiii4364", "[O III]", False),
    ("oiii4960", "[O III]", False),
    ("oiii5008", "[O III]", True),
    ("hei5877", "He I", False),
    ("oi6302", "[O I]", False),
    ("nii6585", "[N II]", False),
    ("sii6718", "[S II]", False),
    ("sii6733", "[S II]", False),
    ("siii9533", "[S III]", False),
)
# Vacuum wavelengths, Å. Source: NIST Atomic Spectra Database (air values of the optical lines
# brought to vacuum with Morton 2000, ApJS 130, 403, eq. 8).
_ABSORPTION: Final = (
    Mark("Lyman limit", 911.76, "absorption"),
    Mark("Fe II", 2382.76, "absorption"),
    Mark("Fe II", 2600.17, "absorption"),
    Mark("Mg I", 2852.96, "absorption"),
    Mark("Ca K", 3934.78, "absorption", major=True),
    Mark("Ca H", 3969.59, "absorption", major=True),
    Mark("Ca I", 4227.92, "absorption"),
    Mark("G band", 4305.61, "absorption", major=True),
    Mark("Mg b", 5176.63, "absorption", major=True),
    Mark("Na D", 5895.6, "absorption", major=True),
    Mark("TiO", 7053.0, "absorption"),
    Mark("Ca II", 8500.36, "absorption"),
    Mark("Ca II", 8544.44, "absorption", major=True),
    Mark("Ca II", 8664.52, "absorption"),
)


def _marks() -> tuple[Mark, ...]:
    waves = {line.name: line.wave_aa for line in QUASAR_LINES}
    network = [
        Mark(shown, line_named(name).wave_rest_aa, "emission", major=True)
        for name, shown in _NETWORK.items()
    ]
    others = [Mark(shown, waves[key], "emission", major) for key, shown, major in _EMISSION]
    return tuple(sorted([*network, *others, *_ABSORPTION], key=lambda mark: mark.wave_aa))


MARKS: Final = _marks()
