"""QSO_MASKBITS of the DESI quasar catalogue: bits, limits and rules.

Three classifications are joined: redrock's, the broad Mg II line, and the network (with redrock
run again at its redshift). Quasar targets need one of them, galaxies of other target classes two,
because there are so many of those.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.afterburner.reruns import THRESHOLDS

__all__ = [
    "BIT_TEXT",
    "RECIPES",
    "Evidence",
    "QsoBit",
    "Recipe",
    "is_usable",
    "maskbits",
    "recipe_for",
    "spurious_redshift",
    "takes_rerun",
]

Bools = NDArray[np.bool_]


class QsoBit(IntFlag):
    """Bits of QSO_MASKBITS. Source: desihub/LSS, `qso_cat_utils.qso_catalog_maker`."""

    REDROCK = 1 << 1
    MGII = 1 << 2
    NETWORK = 1 << 3
    RERUN = 1 << 4
    BGS_TARGET = 1 << 5
    ELG_TARGET = 1 << 6
    WISE_VARIABLE = 1 << 7


# Descriptions of the bits in a catalogue's header.
BIT_TEXT: Final[Mapping[QsoBit, str]] = {
    QsoBit.REDROCK: "quasar target of redrock's class QSO",
    QsoBit.MGII: "quasar target with a broad Mg II line at redrock's redshift",
    QsoBit.NETWORK: "quasar target, quasar of the network",
    QsoBit.RERUN: "the same, and redrock was run again at the network's redshift",
    QsoBit.BGS_TARGET: "bright galaxy target: redrock's class is QSO, and the network (low "
    "threshold) or Mg II agrees",
    QsoBit.ELG_TARGET: "emission-line galaxy target: redrock's class is QSO and the network (low "
    "threshold) agrees",
    QsoBit.WISE_VARIABLE: "target for its variability in WISE: redrock, Mg II or the network",
}


@dataclass(frozen=True)
class Recipe:
    """The numbers of one published catalogue.

    Attributes:
        name: what it is called in headers and on the command line.
        c_thresh: confidence of the network for targets that need one classification.
        c_thresh_low: the same where redrock agrees, for bright and emission-line galaxies.
        good_fiberstatus: values of COADD_FIBERSTATUS that are kept; no other value is.
        spurious_z: redshift ranges where artefacts pile up ...
        spurious_c: ... kept only if both Lyα and C IV have this confidence.
        source: of the numbers.
    """

    name: str
    c_thresh: float
    c_thresh_low: float
    good_fiberstatus: tuple[int, ...]
    spurious_z: tuple[tuple[float, float], ...]
    spurious_c: float
    source: str


# Bits of desispec's fibermask: the fibre cannot reach everywhere; object or throughput vary; one
# amplifier of R or Z is bad.
_RESTRICTED: Final = 1 << 3
_VARIABLE: Final = 1 << 20
_BAD_AMPLIFIER_R: Final = 1 << 23
_BAD_AMPLIFIER_Z: Final = 1 << 24

_LSS_DR2: Final = Recipe(
    "lss-dr2",
    THRESHOLDS["catalogue"],
    0.6,
    (0, _RESTRICTED),
    (),
    0.0,
    "desihub/LSS, scripts/main/mkQSO_v2.py (from the reduction loa on; without --keep_variable)",
)
_RECIPES: Final = (
    _LSS_DR2,
    replace(
        _LSS_DR2,
        name="desispec-0.71.5",
        good_fiberstatus=(0, _RESTRICTED, _VARIABLE, _RESTRICTED | _VARIABLE),
        source="desispec 0.71.5, validredshifts.py (get_good_fiberstatus, actually_validate)",
    ),
    Recipe(
        "lss-dr1",
        THRESHOLDS["paper"],
        0.6,
        (0, _BAD_AMPLIFIER_R, _BAD_AMPLIFIER_Z),
        ((3.65, 3.9), (5.15, 5.35)),
        THRESHOLDS["paper"],
        "Chaussidon et al. 2023, ApJ 944, 107; desihub/LSS, py/LSS/qso_cat_utils.py",
    ),
)
RECIPES: Final[Mapping[str, Recipe]] = {recipe.name: recipe for recipe in _RECIPES}


def recipe_for(options: CatalogueOptions) -> Recipe:
    """Return the recipe that options name, with their threshold if they have one."""
    recipe, threshold = RECIPES[options.recipe], options.threshold
    if threshold is None:
        return recipe
    name = f"{recipe.name}, threshold {threshold:g}"
    return replace(recipe, name=name, c_thresh=threshold)


@dataclass(frozen=True)
class Evidence:
    """What is known about each object, (n,) each.

    Attributes:
        qso_target, bgs_target, elg_target, wise_variable: why it was observed.
        redrock_qso: redrock's own best class is QSO.
        mgii: `mgii.is_broad_line`.
        confidence: the network's highest of all emission lines; NaN for none.
        rerun: redrock was run again at the network's redshift and gave a finite one.
    """

    qso_target: Bools
    bgs_target: Bools
    elg_target: Bools
    wise_variable: Bools
    redrock_qso: Bools
    mgii: Bools
    confidence: NDArray[np.floating]
    rerun: Bools


def maskbits(evidence: Evidence, recipe: Recipe, usable: Bools) -> NDArray[np.int32]:
    """Return (n,) QSO_MASKBITS: 0 for whatever is no quasar, or not usable.

    Args:
        evidence: of each object.
        recipe: whose numbers.
        usable: (n,) False sets all bits to 0 (see `is_usable` and `spurious_redshift`).
    """
    e = evidence
    sure, likely = e.confidence > recipe.c_thresh, e.confidence > recipe.c_thresh_low
    # The rules of quasar targets come before those of ELG targets, and these before BGS targets.
    elg, bgs = e.elg_target & ~e.qso_target, e.bgs_target & ~e.elg_target & ~e.qso_target
    rules = {
        QsoBit.REDROCK: e.qso_target & e.redrock_qso,
        QsoBit.MGII: e.qso_target & e.mgii,
        QsoBit.NETWORK: e.qso_target & sure,
        QsoBit.RERUN: e.qso_target & sure & e.rerun,
        QsoBit.BGS_TARGET: bgs & e.redrock_qso & (likely | e.mgii),
        QsoBit.ELG_TARGET: elg & e.redrock_qso & likely,
        QsoBit.WISE_VARIABLE: e.wise_variable & (e.redrock_qso | e.mgii | sure),
    }
    bits = np.zeros(len(usable), dtype=np.int32)
    for bit, rows in rules.items():
        bits[rows & usable] |= bit
    return bits


def takes_rerun(evidence: Evidence, recipe: Recipe) -> Bools:
    """Return where the redshift of the second run replaces redrock's first.

    Only where the network is as sure as the object's target class needs: the pipeline runs
    redrock again from a confidence of 0.5 on, which is too little to overrule it.
    """
    needs_one = evidence.qso_target | evidence.wise_variable
    return evidence.rerun & (
        evidence.confidence > np.where(needs_one, recipe.c_thresh, recipe.c_thresh_low)
    )


def is_usable(fiberstatus: NDArray[np.integer], is_science: Bools, recipe: Recipe) -> Bools:
    """Return where a spectrum is of a science target and its fibre was good."""
    return np.asarray(is_science & np.isin(fiberstatus, recipe.good_fiberstatus))


def spurious_redshift(
    z: NDArray[np.floating],
    c_lya: NDArray[np.floating],
    c_civ: NDArray[np.floating],
    recipe: Recipe,
) -> Bools:
    """Return where a redshift is one of the recipe's artefacts: no sure Lyα, or no sure C IV.

    NaN confidences are never sure.
    """
    piled = np.zeros(len(z), dtype=bool)
    for low, high in recipe.spurious_z:
        piled |= (z > low) & (z < high)
    sure = (c_lya >= recipe.spurious_c) & (c_civ >= recipe.spurious_c)
    return np.asarray(piled & ~sure)
