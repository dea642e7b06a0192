"""Simulated objects as arrays: kinds of each class, the typical quasar, every hidden property.

Numbers of stars and of quasar lines, with their sources, are in ``data/star_kinds.ecsv`` and
``quasar_lines.ecsv``, wavelengths of the latter in `quasarloop.lines.QUASAR_AA`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from quasarloop.lines import NEBULAR_AA, QUASAR_AA
from quasarloop.simulate import Floats32, Floats64
from quasarloop.simulate.published import published

__all__ = [
    "BROAD_LINES",
    "CONTINUUM_PIVOT_AA",
    "EW_LOG_L",
    "GALAXY_KINDS",
    "HIGH_IONISATION_AA",
    "MEAN_SLOPE",
    "QUASAR_LINES",
    "STAR_KINDS",
    "AbsorberTraits",
    "BalTraits",
    "GalaxyTraits",
    "Objects",
    "QuasarTraits",
    "StarKind",
    "StarTraits",
    "blank",
    "concatenate",
    "line_number",
]

Traits = TypeVar("Traits")

GALAXY_KINDS: Final = ("passive", "star_forming", "post_starburst", "strong_line", "type2_agn")


class StarKind(NamedTuple):
    """One kind of star.

    Attributes:
        name: subtype in truth.
        low_k, high_k: temperatures it occurs at.
        n_grid: temperatures tabulated, evenly in log T.
        dispersion_kms: scatter of its radial velocities.
        weight: default share among stars.
        templates: redrock templates to make it of, the best first, with blanks between.
    """

    name: str
    low_k: float
    high_k: float
    n_grid: int
    dispersion_kms: float
    weight: float
    templates: str


STAR_KINDS: Final = tuple(StarKind(*row) for row in published("star_kinds").rows())


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


def _quasar_lines(region: str) -> tuple[QuasarLine, ...]:
    return tuple(
        QuasarLine(name, QUASAR_AA[name.removesuffix("_n")], *numbers)
        for _, name, *numbers, _ in published("quasar_lines").filter(region=region).rows()
    )


BROAD_LINES: Final = _quasar_lines("broad")
NARROW_LINES: Final = _quasar_lines("narrow")
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


@dataclass(frozen=True)
class BalTraits:
    """Broad absorption; every field has one row per object.

    Attributes:
        is_bal: (n,) bool, BI of C IV > 0.
        is_lobal: (n,) bool, low ions (Mg II, Al III) as well.
        bi_civ_kms: (n,) balnicity index of C IV, km/s.
        ai_civ_kms: (n,) absorption index of C IV, km/s.
        velocity_kms, width_kms, depth: (n, 3) troughs: centre towards the blue, FWHM, depth.
    """

    is_bal: NDArray[np.bool_]
    is_lobal: NDArray[np.bool_]
    bi_civ_kms: Floats32
    ai_civ_kms: Floats32
    velocity_kms: Floats32
    width_kms: Floats32
    depth: Floats32


@dataclass(frozen=True)
class QuasarTraits:
    """Hidden properties of quasars; every field has one row per object.

    Attributes:
        log_l3000: (n,) log10 of νLν at 3000 Å, erg/s.
        eigen1: (n,) eigenvector 1, mean 0, σ 1: high is strong Fe II, weak [O III].
        slope: (n,) α_ν of the continuum.
        curvature: (n,) change of α_λ per e-folding of wavelength, about 3000 Å.
        roundness: (n,) of the line profiles: low is peaked with wings, high near Gaussian.
        balmer, iron_uv, iron_optical: (n,) strengths relative to the power law.
        host_fraction: (n,) share of the host in the light at 5100 Å.
        host_young: (n,) share of young stars in the host.
        width_kms: (n,) FWHM of broad Hβ.
        civ_blueshift_kms: (n,) positive towards the blue.
        weak_line: (n,) bool.
        peak_separation_kms: (n,) of double-peaked Balmer lines, else 0.
        line_ew_aa, line_fwhm_kms, line_shift_kms: (n, n_lines) as in `QUASAR_LINES`.
        bal: broad absorption.
    """

    log_l3000: Floats32
    eigen1: Floats32
    slope: Floats32
    curvature: Floats32
    roundness: Floats32
    balmer: Floats32
    iron_uv: Floats32
    iron_optical: Floats32
    host_fraction: Floats32
    host_young: Floats32
    width_kms: Floats32
    civ_blueshift_kms: Floats32
    weak_line: NDArray[np.bool_]
    peak_separation_kms: Floats32
    line_ew_aa: Floats32
    line_fwhm_kms: Floats32
    line_shift_kms: Floats32
    bal: BalTraits


@dataclass(frozen=True)
class AbsorberTraits:
    """Systems in front of each object; every field has one row per object.

    Attributes:
        n_dla: (n,) number of damped systems (log N(HI) >= 20.3) kept below.
        dla_z, dla_log_nhi: (n, 3) damped and sub-damped systems, NaN where there is none.
        lls_z: (n, 2) Lyman limit systems, NaN where none; lls_tau their depth at the limit.
        metal_z: (n, 4) metal systems, NaN where none; metal_ew_aa the strongest line's rest
            equivalent width; metal_is_low whether it is a Mg II (else C IV) system.
    """

    n_dla: NDArray[np.int32]
    dla_z: Floats32
    dla_log_nhi: Floats32
    lls_z: Floats32
    lls_tau: Floats32
    metal_z: Floats32
    metal_ew_aa: Floats32
    metal_is_low: NDArray[np.bool_]


@dataclass(frozen=True)
class GalaxyTraits:
    """Hidden properties of galaxies; every field has one row per object.

    Attributes:
        light: (n, 3) share of old, middle-aged and young stars in the light at 5500 Å.
        halpha_ew_aa: (n,) rest-frame equivalent width of Hα, Å.
        log_nii_halpha, log_oiii_hbeta: (n,) the two axes of the BPT diagram.
        line_fwhm_kms: (n,) width of the nebular lines.
        line_ratio: (n, n_lines) intrinsic flux relative to Hβ, as in `NEBULAR_AA`.
    """

    light: Floats32
    halpha_ew_aa: Floats32
    log_nii_halpha: Floats32
    log_oiii_hbeta: Floats32
    line_fwhm_kms: Floats32
    line_ratio: Floats32


@dataclass(frozen=True)
class StarTraits:
    """Hidden properties of stars; every field has one row per object.

    Attributes:
        temperature_k: (n,) effective temperature, NaN for cataclysmic variables.
        metals: (n,) abundance of metals, solar = 1.
        velocity_kms: (n,) radial velocity.
        table_place: (n,) place in its kind's grid, from 0 to n_grid - 1.
    """

    temperature_k: Floats32
    metals: Floats32
    velocity_kms: Floats32
    table_place: Floats32


@dataclass(frozen=True)
class Objects:
    """Simulated objects; every field has one row per object.

    Traits of another class are there too, filled with NaN, 0 or False.

    Attributes:
        index: (n,) int64 number of the object in its simulation.
        spectype: (n,) int8 of `SpecType`.
        subtype: (n,) text: ``"BAL"``, ``"WLQ"`` or ``""`` for quasars, kinds of galaxies and stars.
        z: (n,) float64 redshift; v/c of stars.
        r_mag: (n,) float32 AB magnitude of the spectrum as seen.
        ebv: (n,) float32 reddening inside the object (SMC dust in quasars), magnitudes.
        seed: (n,) uint64 seed of the object's own random structure (its forest).
        quasar, absorbers, galaxy, star: traits of each class.
    """

    index: NDArray[np.int64]
    spectype: NDArray[np.int8]
    subtype: NDArray[np.str_]
    z: Floats64
    r_mag: Floats32
    ebv: Floats32
    seed: NDArray[np.uint64]
    quasar: QuasarTraits
    absorbers: AbsorberTraits
    galaxy: GalaxyTraits
    star: StarTraits

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.index)

    def __getitem__(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> "Objects":
        """Return some rows."""
        return _map_arrays(lambda values: values[rows], self)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every property as named (n,) columns, nested and many-valued ones taken apart.

        A trait of a class has the class before its name (``quasar_slope``), a line its name after
        (``quasar_line_ew_aa_civ``), a slot its number (``absorbers_dla_z_0``).
        """
        return dict(_flat_columns("", self))


def blank(traits: Traits, n: int | None = None) -> Traits:
    """Return traits with nothing in them (NaN, 0 or False), of n rows or of as many as before."""

    def nothing(values: NDArray[Any]) -> NDArray[Any]:
        shape = values.shape if n is None else (n, *values.shape[1:])
        return np.full(shape, np.nan if values.dtype.kind == "f" else 0, dtype=values.dtype)

    return _map_arrays(nothing, traits)


def concatenate(parts: Sequence[Traits]) -> Traits:
    """Join traits or whole objects, in order; at least one part."""
    return _map_arrays(lambda *values: np.concatenate(values), *parts)


def _map_arrays(change: Callable[..., NDArray[Any]], *parts: Traits) -> Traits:
    """Build a dataclass of arrays (or of such) from equal ones, array by array."""
    changed = {}
    for f in fields(parts[0]):  # type: ignore[arg-type]  # a TypeVar has no bound for "any dataclass"
        values = [getattr(part, f.name) for part in parts]
        nested = is_dataclass(values[0])
        changed[f.name] = _map_arrays(change, *values) if nested else change(*values)
    return type(parts[0])(**changed)


def _flat_columns(prefix: str, part: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    for f in fields(part):
        value, name = getattr(part, f.name), prefix + f.name
        if is_dataclass(value):
            yield from _flat_columns(f"{name}_", value)
        elif value.ndim == 1:
            yield name, value
        else:
            for slot, suffix in enumerate(_suffixes(name, value.shape[1])):
                yield f"{name}_{suffix}", value[:, slot]


def _suffixes(name: str, width: int) -> list[str]:
    if name.startswith("quasar_line"):
        return [line.name for line in QUASAR_LINES]
    if name == "galaxy_line_ratio":
        return list(NEBULAR_AA)
    if name == "galaxy_light":
        return ["old", "middle", "young"]
    return [str(slot) for slot in range(width)]
