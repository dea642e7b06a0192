"""Which rows redrock fits again, with which priors, and the bits that record it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import target_mask
from quasarloop.afterburner.network_step import NetworkResult
from quasarloop.afterburner.redrock_file import RedrockRows
from quasarloop.afterburner.redrock_run import Priors, clear_priors
from quasarloop.classes import CONFIDENCE_THRESHOLD, ThresholdOptions, Thresholds
from quasarloop.errors import SelectionError
from quasarloop.lines import line_named
from quasarloop.network.config import NetworkConfig
from quasarloop.quality import in_missing_arm
from quasarloop.read.desi import on_target

__all__ = [
    "NOT_TAKEN",
    "PAPER_WIDTH",
    "POLICIES",
    "THRESHOLDS",
    "RerunBit",
    "RerunPlan",
    "Selection",
    "box_widths",
    "plan_reruns",
    "policy_named",
    "published_threshold",
    "todays_width",
    "unfit_rows",
]


class RerunBit(IntFlag):
    """Bits of column RERUN_BITS; a row can have several. Their names are in the file's header."""

    RERUN = 1  # redrock was run again, with a prior
    CHANGED = 2  # class or redshift is another one since
    NOT_TARGET = 4  # sky or broken fibre by OBJTYPE, without it by TARGETID
    CLASS_NOT_ASKED = 8  # of no requested target class
    NO_SPECTRUM = 16  # nothing the network could read
    NOT_QUASAR = 32  # no quasar by the network
    REDROCK_AGREES = 64  # redrock had a quasar at that redshift already
    CLASS_EXEMPT = 128  # the policy leaves this class of redrock's alone
    NO_TEMPLATE = 256  # no quasar template reaches the prior's redshifts
    TWO_PRIORS = 512  # two redshifts were likely: run with a prior on each
    SECOND_WON = 1024  # and the second fits better
    WAITING = 2048  # to be rerun, but redrock's result is not in yet
    NO_ANSWER = 4096  # redrock has no fit: no data left, or the target is missing in its file
    OUTSIDE_PRIOR = 8192  # redrock's redshift is outside the prior, so it was not taken
    WARNED = 16384  # redrock's second fit has a warning
    MISSING_ARM = 32768  # in a prior the strongest line would be in an arm without data: not rerun


# With any of these, a second fit is shown but not taken.
NOT_TAKEN: Final = RerunBit.NO_ANSWER | RerunBit.OUTSIDE_PRIOR
# Any of these keeps a row from being rerun.
_AGAINST: Final = (
    RerunBit.NOT_TARGET
    | RerunBit.CLASS_NOT_ASKED
    | RerunBit.NO_SPECTRUM
    | RerunBit.NOT_QUASAR
    | RerunBit.REDROCK_AGREES
    | RerunBit.CLASS_EXEMPT
    | RerunBit.NO_TEMPLATE
    | RerunBit.MISSING_ARM
)


Floats = NDArray[np.float64]

# Flat prior, full width in z. Source: paper, Section 2.
PAPER_WIDTH: Final = 0.1
# Ours: the prior reaches so many standard deviations of the joint redshift to both sides, …
_REACH_SIGMA: Final = 5.0
# … at least half a box of the best line, since lines of quasars are shifted against each other, …
_REACH_LEAST: Final = 0.5
# … and at most one box of the best line: a network cannot be trusted less than its boxes.
_REACH_MOST: Final = 1.0
# A second redshift is tried if it has at least this probability.
_P_ALT_LEAST: Final = 0.02
# Redrock's finest step between redshifts is 5e-4 in log10(1 + z): fewer than so many steps of it
# inside a prior leave no minimum to be found. Our choice.
_LEAST_STEPS: Final = 5
# Lines by their flux in a composite of quasars. Source: Vanden Berk et al. 2001, AJ 122, 549.
_BY_STRENGTH_AA: Final = tuple(
    line_named(name).wave_rest_aa
    for name in ("LYA", "Halpha", "CIV(1548)", "CIII(1909)", "MgII(2796)", "Hbeta")
)
# Of DESI's spectra.
_BLUE_END_AA: Final = 3600.0
_RED_END_AA: Final = 9824.0


@dataclass(frozen=True)
class RerunPolicy:
    """One way to choose.

    Attributes:
        text: one line for people.
        classes: redrock's classes that are rerun; empty means all.
        priors: network's result and shape -> priors of every row.
        careful: no rerun where the arm of the strongest line is missing; and a second fit is
            compared with others outside its prior, too. desispec does neither.
    """

    text: str
    classes: tuple[str, ...]
    priors: Callable[[NetworkResult, NetworkConfig], Priors]
    careful: bool = False

    def window(self, config: NetworkConfig) -> float:
        """Return a of the width a (1 + z) in which fits are compared; 0: in their priors alone."""
        return todays_width(config) if self.careful else 0.0


@dataclass(frozen=True)
class RerunPlan:
    """Which rows are rerun, and how.

    Attributes:
        bits: (n,) int32 of `RerunBit`, so far.
        priors: of the rows to rerun; none for the others.
        window: of `RerunPolicy.window`.
    """

    bits: NDArray[np.int32]
    priors: Priors
    window: float = 0.0

    @property
    def chosen(self) -> NDArray[np.bool_]:
        """(n,) True where redrock is to run again."""
        return np.asarray(self.priors.present[:, 0])


def plan_reruns(
    policy: RerunPolicy,
    redrock: RedrockRows,
    network: NetworkResult,
    config: NetworkConfig,
    unfit: NDArray[np.int32],
    grids: tuple[Floats, ...] | None = None,
) -> RerunPlan:
    """Choose the rows to rerun, and their priors.

    Args:
        policy: how.
        redrock: its first fits.
        network: the network's results, same rows.
        config: the network's shape.
        unfit: (n,) int32 of `RerunBit`, rows that may not be rerun.
        grids: redshifts redrock tries its quasar templates at; None if not known.
    """
    bits = unfit.copy()
    priors = policy.priors(network, config)
    open_ = (unfit & _AGAINST) == 0
    if policy.classes:
        bits[open_ & ~np.isin(redrock.fits.spectype, policy.classes)] |= RerunBit.CLASS_EXEMPT
    agrees = (redrock.fits.spectype == "QSO") & priors.contain(redrock.fits.z).any(axis=1)
    bits[open_ & agrees] |= RerunBit.REDROCK_AGREES
    if grids is not None:
        priors = clear_priors(priors, grids, least=_LEAST_STEPS)
    priors = _first_first(priors)
    bits[((bits & _AGAINST) == 0) & ~priors.present[:, 0]] |= RerunBit.NO_TEMPLATE
    if policy.careful:
        unseen = _need_missing_arm(priors, network.columns["FLAGS"])
        bits[((bits & _AGAINST) == 0) & unseen] |= RerunBit.MISSING_ARM
    chosen = (bits & _AGAINST) == 0
    priors = priors.only(chosen[:, None])
    if priors.z.shape[1] > 1:
        bits[priors.present[:, 1]] |= RerunBit.TWO_PRIORS
    return RerunPlan(bits, priors, policy.window(config))


def policy_named(name: str) -> RerunPolicy:
    """Return a policy.

    Raises:
        SelectionError: no such name.
    """
    if name not in POLICIES:
        raise SelectionError(f"no rerun policy named {name!r}; known: {', '.join(POLICIES)}")
    return POLICIES[name]


def todays_width(config: NetworkConfig) -> float:
    """Return a of today's width a (1 + z): two boxes, as desispec computes them.

    Source: desispec.scripts.qsoqn; docs/reference/desi.md, "Reruns and priors".
    """
    edges = config.grid.lower_edges_aa
    return float(2 * ((edges[-1] / edges[0]) ** (1 / config.n_boxes) - 1))


def box_widths(z: Floats, line_rest_aa: Floats, config: NetworkConfig) -> Floats:
    """Return the width in redshift of the box a line is found in, on either kind of grid.

    On the log grid a box is the same in ln(1 + z) everywhere. On a linear grid it is the same in
    wavelength, so that it spans more redshift for a blue line than for a red one.

    Args:
        z: (n,) redshifts.
        line_rest_aa: (n,) rest wavelength of the line that gave them.
        config: grid and number of boxes.
    """
    bins = config.grid.n_bins / config.n_boxes
    if config.grid.kind == "log":
        return np.asarray((1 + z) * (10 ** (config.grid.step * bins) - 1))
    return np.asarray(config.grid.step * bins / line_rest_aa + 0 * z)


def _papers_priors(network: NetworkResult, _config: NetworkConfig) -> Priors:
    z = network.z_qn[:, None]
    return Priors(z, np.where(np.isfinite(z), PAPER_WIDTH, np.nan))


def _todays_priors(network: NetworkResult, config: NetworkConfig) -> Priors:
    z = network.z_qn[:, None]
    return Priors(z, todays_width(config) * (1 + z))


def _our_priors(network: NetworkResult, config: NetworkConfig) -> Priors:
    joint = np.isfinite(network.z_joint)
    z = np.where(joint, network.z_joint, network.z_qn)
    # Without a joint redshift the reach is the box itself.
    sigma = np.where(joint, network.z_joint_err, np.inf)
    box = box_widths(network.z_qn, network.line_rest_aa, config)
    first = _reach(sigma, box)
    likely = np.nan_to_num(network.p_alt) >= _P_ALT_LEAST
    z_alt = np.where(likely, network.z_alt, np.nan)
    # How sharp the second peak is is not known: it gets the reach of the box.
    box_alt = box_widths(z_alt, network.line_rest_aa, config)
    second = _reach(np.full(len(z), np.inf), box_alt)
    return Priors(np.column_stack([z, z_alt]), 2 * np.column_stack([first, second]))


def _reach(sigma: Floats, box: Floats) -> Floats:
    return np.asarray(np.clip(_REACH_SIGMA * sigma, _REACH_LEAST * box, _REACH_MOST * box))


def _need_missing_arm(priors: Priors, flags: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,) where a fit inside a prior could have its strongest line in a missing arm.

    The edge of a missing arm looks like a break at Lyα. Where that line, or the strongest one of
    any other redshift, should be in the missing arm, neither network nor redrock can distinguish.
    """
    unseen = np.zeros(len(flags), dtype=bool)
    for z, width in zip(priors.z.T, priors.width.T, strict=True):
        for place in (-0.5, 0.0, 0.5):
            unseen |= in_missing_arm(_strongest_line(z + place * width), flags)
    return unseen


def _strongest_line(z: Floats) -> Floats:
    """Return (n,) Å where the strongest line of a quasar at each redshift is seen, or NaN."""
    seen = np.full(len(z), np.nan)
    for wave_rest_aa in reversed(_BY_STRENGTH_AA):
        wave_aa = wave_rest_aa * (1 + z)
        seen = np.where((wave_aa >= _BLUE_END_AA) & (wave_aa < _RED_END_AA), wave_aa, seen)
    return seen


def _first_first(priors: Priors) -> Priors:
    """Move a row's only prior to the first place."""
    if priors.z.shape[1] == 1:
        return priors
    order = np.argsort(~priors.present, axis=1, kind="stable")
    return Priors(*(np.take_along_axis(part, order, axis=1) for part in (priors.z, priors.width)))


POLICIES: Final[Mapping[str, RerunPolicy]] = {
    "paper": RerunPolicy(
        "where redrock says galaxy; flat prior of width 0.1", ("GALAXY",), _papers_priors
    ),
    "today": RerunPolicy(
        "wherever redrock has no quasar near the network's redshift; width a (1 + z)",
        (),
        _todays_priors,
    ),
    "ours": RerunPolicy(
        "the same, with the joint redshift and its uncertainty; two priors for two peaks; "
        "DELTACHI2 within width a (1 + z); none where an arm is missing",
        (),
        _our_priors,
        careful=True,
    ),
}


# Source: docs/reference/desi.md, "Thresholds": the pipeline's rerun, the paper, today's catalogue.
THRESHOLDS: Final[Mapping[str, float]] = {
    "pipeline": 0.5,
    "paper": CONFIDENCE_THRESHOLD,
    "catalogue": 0.99,
}


@dataclass(frozen=True)
class Selection(ThresholdOptions):
    """Which rows may be rerun.

    Thresholds that are not given are those of the weights. Where those have no confidence, it is
    the pipeline's; `THRESHOLDS` holds all published ones.

    Attributes:
        target_classes: only targets of these classes (desitarget's names); empty means all.
    """

    target_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except ValueError as exc:
            raise SelectionError(str(exc)) from exc

    def over(self, own: Thresholds) -> Thresholds:
        """Return the thresholds to use, given those of the weights."""
        if own.origins["confidence"] == "default":
            own = own.replaced(THRESHOLDS["pipeline"], origin="default")
        return super().over(own)


def published_threshold(name: str) -> float:
    """Return the confidence ``"pipeline"``, ``"paper"`` or ``"catalogue"``.

    Raises:
        SelectionError: no such name.

    >>> published_threshold("catalogue")
    0.99
    """
    if name not in THRESHOLDS:
        raise SelectionError(f"no thresholds named {name!r}; known: {', '.join(THRESHOLDS)}")
    return THRESHOLDS[name]


def unfit_rows(
    redrock: RedrockRows, network: NetworkResult, selection: Selection
) -> NDArray[np.int32]:
    """Return why rows may not be rerun, whatever redrock's fits are.

    Args:
        redrock: redrock's rows.
        network: the network's results, same rows.
        selection: thresholds (already in `network.is_qso`) and target classes.

    Returns:
        (n,) int32 of `RerunBit`; 0 where a row may be rerun.

    Raises:
        SelectionError: a target class the survey's phase does not have.
    """
    bits = np.zeros(len(redrock), dtype=np.int32)
    bits[~on_target(redrock.object_type, redrock.target_id)] |= RerunBit.NOT_TARGET
    if selection.target_classes:
        mask = target_mask(redrock.phase, selection.target_classes)
        bits[(redrock.target_bits & mask) == 0] |= RerunBit.CLASS_NOT_ASKED
    bits[~network.usable] |= RerunBit.NO_SPECTRUM
    bits[network.usable & ~network.is_qso] |= RerunBit.NOT_QUASAR
    return bits
