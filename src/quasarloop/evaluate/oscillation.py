"""Do line positions clump inside the boxes? One number for it: an amplitude in km/s.

QuasarNET divides its grid into boxes and tends to put a line nearer to the centre of its box
than it is; redshifts then oscillate with the boxes (paper, Section 4.3.2). With truth the
oscillation is the redshift error against the true position in the box; without truth it is
the density of predicted positions against the uniform one a smooth n(z) would give.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import SPEED_OF_LIGHT_KMS, nmad
from quasarloop.errors import TruthError
from quasarloop.evaluate.metrics import error_kms
from quasarloop.evaluate.repeats import usable_rows
from quasarloop.grid import WaveGrid, grid_named
from quasarloop.lines import EMISSION_LINES, Line
from quasarloop.truth import TruthTable, match_truth

__all__ = [
    "Oscillation",
    "measure_lines",
    "oscillation_of_best_lines",
    "oscillation_with_truth",
    "oscillation_without_truth",
    "position_in_box",
]

# Bins of the position in the box; enough for three harmonics, few enough to be filled.
_N_BINS: Final = 20
_CENTRES: Final = (np.arange(_N_BINS) + 0.5) / _N_BINS
_N_HARMONICS: Final = 3
_N_BOOTSTRAPS: Final = 200
# Redshift errors beyond this are line confusions, not clumping. Source: paper, Section 4.3.2,
# the wider of its two limits for agreement.
_MAX_ERROR_KMS: Final = 5000.0
_MIN_PER_FIT: Final = 2 * _N_BINS


@dataclass(frozen=True)
class Oscillation:
    """How strongly positions clump.

    Attributes:
        half_amplitude_kms: half of the range of the fitted curve over one box.
        error_kms: its bootstrap standard deviation.
        noise_kms: half amplitude that noise alone would give (positions shuffled), median.
        position: (k,) centres of the bins of the position in the box, 0 to 1.
        bias_kms: (k,) median error in each bin (with truth) or displacement (without).
        curve_kms: (k,) what the amplitude is of: three harmonics fitted to `bias_kms` (with
            truth), or the displacement itself (without).
        scatter_kms: (k,) robust scatter in each bin; NaN without truth.
        n: lines used.
    """

    half_amplitude_kms: float
    error_kms: float
    noise_kms: float
    position: NDArray[np.float64]
    bias_kms: NDArray[np.float64]
    curve_kms: NDArray[np.float64]
    scatter_kms: NDArray[np.float64]
    n: int


def position_in_box(z: ArrayLike, line: Line, grid: WaveGrid, n_boxes: int) -> NDArray[np.float64]:
    """Return where in its box a line at (n,) redshifts falls, 0 to 1; NaN outside the grid."""
    wave = line.wave_rest_aa * (1 + np.asarray(z, dtype=np.float64))
    boxes = grid.position_of(wave) / grid.n_bins * n_boxes
    return np.asarray(boxes - np.floor(boxes))


def oscillation_with_truth(
    z: ArrayLike, z_true: ArrayLike, line: Line, grid: WaveGrid, n_boxes: int, *, seed: int = 0
) -> Oscillation:
    """Measure the error of (n,) redshifts from one line against its true position in the box.

    Raises:
        TruthError: fewer lines than a fit over one box needs.
    """
    position = position_in_box(z_true, line, grid, n_boxes)
    return _of_errors(position, error_kms(z, z_true), line.name, seed)


def oscillation_of_best_lines(
    z: ArrayLike,
    z_true: ArrayLike,
    best_line: ArrayLike,
    lines: Sequence[Line],
    grid: WaveGrid,
    n_boxes: int,
    *,
    seed: int = 0,
) -> Oscillation:
    """Measure redshift error against the true position of the line each redshift came from.

    One number for a network: every quasar counts once, by the line that decided.

    Args:
        z: (n,) redshifts.
        z_true: (n,) true redshifts.
        best_line: (n,) which of `lines` gave each.
        lines: the network's emission lines.
        grid: the network's bins.
        n_boxes: boxes across them.
        seed: of the bootstrap.

    Raises:
        TruthError: fewer redshifts than a fit over one box needs.
    """
    rows = np.asarray(best_line)
    position = np.full(len(rows), np.nan)
    for i, line in enumerate(lines):
        mine = rows == i
        position[mine] = position_in_box(np.asarray(z_true)[mine], line, grid, n_boxes)
    return _of_errors(position, error_kms(z, z_true), "the best lines", seed)


def oscillation_without_truth(
    z: ArrayLike, line: Line, grid: WaveGrid, n_boxes: int, *, seed: int = 0
) -> Oscillation:
    """Measure how far predicted positions are displaced from a uniform density.

    The positions of a smooth n(z) fill every box evenly. If the network moves each line
    without changing their order, the predicted position g was F(g) in truth, F being the
    cumulative density of predictions; its displacement is g − F(g) boxes.

    Raises:
        TruthError: fewer lines than needed.
    """
    position = position_in_box(z, line, grid, n_boxes)
    position = position[np.isfinite(position)]
    _check_enough(len(position), line.name)
    rng = np.random.default_rng(seed)
    box_kms = _box_width_kms(grid, n_boxes)
    bias = _displacement(position) * box_kms

    def amplitude(positions: NDArray[np.float64]) -> float:
        return _half_range(_displacement(positions)) * box_kms

    return _with_errors(
        (_CENTRES, bias, bias, np.full(_N_BINS, np.nan)),
        lambda rows: amplitude(position[rows]),
        lambda: amplitude(rng.random(len(position))),
        len(position),
        rng,
    )


def _of_errors(
    position: NDArray[np.float64], error: NDArray[np.float64], name: str, seed: int
) -> Oscillation:
    keep = np.isfinite(position) & (np.abs(error) <= _MAX_ERROR_KMS)
    position, error = position[keep], error[keep]
    _check_enough(len(position), name)
    rng = np.random.default_rng(seed)
    centres, bias, scatter = _profile(position, error)
    return _with_errors(
        (centres, bias, _smooth(centres, bias), scatter),
        lambda rows: _amplitude(position[rows], error[rows]),
        lambda: _amplitude(position, rng.permutation(error)),
        len(error),
        rng,
    )


def _with_errors(
    profile: tuple[NDArray[np.float64], ...],
    amplitude: Callable[[NDArray[np.int64]], float],
    noise: Callable[[], float],
    n: int,
    rng: np.random.Generator,
) -> Oscillation:
    """Bootstrap the half amplitude over n rows; ``profile`` is position, bias, curve, scatter."""
    position, bias, curve, scatter = profile
    return Oscillation(
        half_amplitude_kms=_half_range(curve),
        error_kms=float(np.std([amplitude(rng.integers(0, n, n)) for _ in range(_N_BOOTSTRAPS)])),
        noise_kms=float(np.median([noise() for _ in range(_N_BOOTSTRAPS // 4)])),
        position=position,
        bias_kms=bias,
        curve_kms=curve,
        scatter_kms=scatter,
        n=n,
    )


def _profile(
    position: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median and robust scatter of the error in bins of the position."""
    number = _bin_of(position)
    scatter = np.array([nmad(error[number == n]) for n in np.unique(number)])
    return *_medians(position, error), scatter


def _medians(
    position: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median of the error in bins of the position, all bins at once: thousands are drawn."""
    number = _bin_of(position)
    ordered, count = error[np.lexsort((error, number))], np.bincount(number, minlength=_N_BINS)
    filled = count > 0
    first, count = (np.cumsum(count) - count)[filled], count[filled]
    below, above = ordered[first + (count - 1) // 2], ordered[first + count // 2]
    return _CENTRES[filled], (below + above) / 2


def _bin_of(position: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((position * _N_BINS).astype(np.int64), _N_BINS - 1)


def _smooth(position: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit the first harmonics of one box: the clumping repeats from box to box."""
    angle = 2 * np.pi * np.outer(position, np.arange(1, _N_HARMONICS + 1))
    basis = np.column_stack([np.ones(len(position)), np.sin(angle), np.cos(angle)])
    coefficients, *_ = np.linalg.lstsq(basis, values, rcond=None)
    return np.asarray(basis @ coefficients)


def _displacement(position: NDArray[np.float64]) -> NDArray[np.float64]:
    displaced = _CENTRES - np.searchsorted(np.sort(position), _CENTRES, "right") / len(position)
    return np.asarray(displaced - displaced.mean())  # a constant shift is no clumping


def _half_range(values: NDArray[np.float64]) -> float:
    return float((values.max() - values.min()) / 2)


def _amplitude(position: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    return _half_range(_smooth(*_medians(position, error)))


def _box_width_kms(grid: WaveGrid, n_boxes: int) -> float:
    if grid.kind == "log":
        return SPEED_OF_LIGHT_KMS * float(np.log(10)) * grid.step * grid.n_bins / n_boxes
    # On a linear grid boxes have a constant width in Å: quote it at the grid's middle.
    middle = (grid.start_aa + grid.end_aa) / 2
    return SPEED_OF_LIGHT_KMS * grid.step * grid.n_bins / n_boxes / middle


def _check_enough(n: int, name: str) -> None:
    if n < _MIN_PER_FIT:
        raise TruthError(
            f"{n} redshifts from {name}: too few to see an oscillation, at least "
            f"{_MIN_PER_FIT} are needed; give more spectra"
        )


Block = Mapping[str, NDArray[Any]]
ByLine = dict[str, dict[str, Oscillation]]


def measure_lines(
    catalogues: Mapping[str, Block],
    truth: TruthTable | None,
    *,
    line_columns: Sequence[str],
    min_confidence: float,
    grid_name: str,
    n_boxes: int,
    joint: bool = False,
) -> dict[str, ByLine]:
    """Measure every line of every catalogue.

    Args:
        catalogues: label -> columns TARGETID, FLAGS, C_<line>, Z_<line>.
        truth: true redshifts; None measures without truth only.
        line_columns: which lines, by column name.
        min_confidence: lines below it are not used.
        grid_name: the networks' grid.
        n_boxes: the networks' boxes.
        joint: measure column Z_JOINT too, where the line is found; its label ends in ", joint".

    Returns:
        ``"with_truth"`` and ``"without_truth"`` -> line name -> label -> oscillation. Lines with
        too few redshifts are left out.
    """
    grid = grid_named(grid_name)
    known = {line.column: line for line in EMISSION_LINES}
    unknown = [column for column in line_columns if column not in known]
    if unknown:
        raise TruthError(f"no line {', '.join(unknown)}; known: {', '.join(known)}")
    found: dict[str, ByLine] = {"with_truth": {}, "without_truth": {}}
    for column in line_columns:
        line = known[column]
        for label, block in catalogues.items():
            rows = usable_rows(block) & (block[f"C_{column}"] >= min_confidence)
            columns = {label: f"Z_{column}"} | ({f"{label}, joint": "Z_JOINT"} if joint else {})
            for name, source in columns.items():
                z = block[source].astype(np.float64)
                for kind, one in _both(block, z, rows, truth, line, (grid, n_boxes)).items():
                    found[kind].setdefault(line.name, {})[name] = one
    return found


def _both(
    block: Block,
    z: NDArray[np.float64],
    rows: NDArray[np.bool_],
    truth: TruthTable | None,
    line: Line,
    shape: tuple[WaveGrid, int],
) -> dict[str, Oscillation]:
    result = {}
    try:
        result["without_truth"] = oscillation_without_truth(z[rows], line, *shape)
    except TruthError:
        return {}
    if truth is None:
        return result
    match = match_truth(block["TARGETID"].astype(np.int64), truth)
    labelled = rows & (match >= 0)
    labelled[labelled] &= (truth.trains & truth.is_qso)[match[labelled]]
    with suppress(TruthError):
        result["with_truth"] = oscillation_with_truth(
            z[labelled], truth.z[match[labelled]], line, *shape
        )
    return result
