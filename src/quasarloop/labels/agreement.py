"""How well inspectors agree: Krippendorff's alpha, pairs, confusion, redshift scatter; a figure."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal

import krippendorff
import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.constants import MAD_TO_SIGMA, SPEED_OF_LIGHT_KMS
from quasarloop.labels.merge import MAX_Z_RANGE
from quasarloop.labels.verdict import Verdict, is_complete
from quasarloop.truth import CLASSES, SpecType

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Agreement",
    "PairAgreement",
    "agreement",
    "agreement_figure",
    "agreement_svg",
    "agreement_table",
    "krippendorff_alpha",
]

Level = Literal["nominal", "ordinal", "interval"]
# Columns of the table of pairs: attribute and format.
_COLUMNS: Final = {
    "same class": ("same_class", ".3f"),
    "α class": ("alpha_class", ".3f"),
    "α quality": ("alpha_quality", ".3f"),
    "Δ quality": ("quality_difference", "+.2f"),
    "z scatter / km/s": ("z_scatter_kms", ".0f"),
    "z apart": ("z_outliers", ".3f"),
}


@dataclass(frozen=True)
class _Statistics:
    """What is known of every group of inspectors.

    Attributes:
        alpha_class: Krippendorff's alpha of the class, nominal; NaN if undefined.
        alpha_quality: the same of the quality, ordinal.
        z_scatter_kms: 1.48 times the median absolute velocity difference of two redshifts of one
            object, km/s; NaN for none.
        z_outliers: share of those that differ by the merge rule's limit or more.
        confusion: (3, 3) counts in the order of `CLASSES`: a pair's first by its second
            inspector; over all pairs, symmetric.
    """

    alpha_class: float
    alpha_quality: float
    z_scatter_kms: float
    z_outliers: float
    confusion: NDArray[np.int64]


@dataclass(frozen=True)
class PairAgreement(_Statistics):
    """How two inspectors agree on the objects both labelled.

    Attributes:
        first, second: their names.
        n_common: objects with complete verdicts of both.
        same_class: share of those with the same class.
        quality_difference: mean of first minus second.
    """

    first: str
    second: str
    n_common: int
    same_class: float
    quality_difference: float


@dataclass(frozen=True)
class Agreement(_Statistics):
    """How all inspectors agree.

    Attributes:
        n_objects: objects with at least two complete verdicts.
        pairs: per pair of inspectors with common objects, by name.
    """

    n_objects: int
    pairs: tuple[PairAgreement, ...]


def agreement(verdicts: Mapping[int, Mapping[str, Verdict]]) -> Agreement:
    """Compare inspectors' verdicts.

    Args:
        verdicts: per object, per inspector; incomplete ones do not count.
    """
    known = {
        target: {name: v for name, v in by_name.items() if is_complete(v)}
        for target, by_name in verdicts.items()
    }
    known = {target: by_name for target, by_name in known.items() if len(by_name) > 1}
    names = sorted({name for by_name in known.values() for name in by_name})
    spectype, quality, z = _as_arrays(known, names)
    pairs = tuple(
        _pair(names[i], names[j], spectype[[i, j]], quality[[i, j]], z[[i, j]])
        for i, j in combinations(range(len(names)), 2)
        if np.any(np.isfinite(quality[i]) & np.isfinite(quality[j]))
    )
    confusion = sum((p.confusion for p in pairs), start=np.zeros((3, 3), dtype=np.int64))
    return Agreement(
        **_statistics(spectype, quality, z),
        confusion=confusion + confusion.T,
        n_objects=len(known),
        pairs=pairs,
    )


def agreement_table(found: Agreement) -> list[tuple[str, ...]]:
    """Return, as text, the heading, a row for every pair, and a row for all inspectors."""

    def row(name: str, n: int, part: Agreement | PairAgreement) -> tuple[str, ...]:
        values = ((getattr(part, key, np.nan), form) for key, form in _COLUMNS.values())
        cells = (format(value, form) if np.isfinite(value) else "–" for value, form in values)
        return (name, str(n), *cells)

    pairs = [row(f"{pair.first} – {pair.second}", pair.n_common, pair) for pair in found.pairs]
    heading = ("inspectors", "objects", *_COLUMNS)
    return [heading, *pairs, row("all", found.n_objects, found)]


def _statistics(
    spectype: NDArray[np.float64], quality: NDArray[np.float64], z: NDArray[np.float64]
) -> dict[str, float]:
    velocity = _velocities(z)
    some = len(velocity) > 0
    scatter = MAD_TO_SIGMA * SPEED_OF_LIGHT_KMS * np.median(velocity) if some else np.nan
    return {
        "alpha_class": krippendorff_alpha(spectype, "nominal"),
        "alpha_quality": krippendorff_alpha(quality, "ordinal"),
        "z_scatter_kms": float(scatter),
        "z_outliers": float(np.mean(velocity >= MAX_Z_RANGE)) if some else float("nan"),
    }


def krippendorff_alpha(values: ArrayLike, level: Level) -> float:
    """Krippendorff's alpha: 1 is perfect agreement, 0 what chance would give.

    Args:
        values: (n_observers, n_units), NaN where an observer did not judge a unit.
        level: how differences count: ``"nominal"`` (any), ``"ordinal"`` (ranks apart),
            ``"interval"`` (squared difference).

    Returns:
        alpha; NaN if no unit has two values, or all values are the same (no variation to judge).

    Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), with the
    metric differences of its sections C to E.

    >>> krippendorff_alpha([[0, 1, 1], [0, 1, 1]], "nominal")
    1.0
    """
    data = np.atleast_2d(np.asarray(values, dtype=np.float64))
    data = data[:, np.isfinite(data).sum(axis=0) > 1]  # units that can be compared
    if len(np.unique(data[np.isfinite(data)])) < 2:  # noqa: PLR2004 -- no variation
        return float("nan")
    return float(krippendorff.alpha(data, level_of_measurement=level))


def _as_arrays(
    known: Mapping[int, Mapping[str, Verdict]], names: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    shape = (len(names), len(known))
    spectype, quality, z = (np.full(shape, np.nan) for _ in range(3))
    index = {name: i for i, name in enumerate(names)}
    for column, by_name in enumerate(known.values()):
        for name, verdict in by_name.items():
            row = index[name]
            quality[row, column] = np.nan if verdict.quality is None else verdict.quality
            z[row, column] = np.nan if verdict.z is None else verdict.z
            if verdict.spectype != SpecType.UNKNOWN:
                spectype[row, column] = verdict.spectype
    return spectype, quality, z


def _pair(
    first: str,
    second: str,
    spectype: NDArray[np.float64],
    quality: NDArray[np.float64],
    z: NDArray[np.float64],
) -> PairAgreement:
    both = np.isfinite(quality).all(axis=0)
    classed = np.isfinite(spectype).all(axis=0)
    confusion = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    np.add.at(confusion, tuple(spectype[:, classed].astype(np.int64)), 1)
    # A class left open by both is agreement too; by one of them, it is not.
    same = (spectype[0] == spectype[1]) | np.isnan(spectype).all(axis=0)
    return PairAgreement(
        **_statistics(spectype, quality, z),
        confusion=confusion,
        first=first,
        second=second,
        n_common=int(both.sum()),
        same_class=float(same[both].mean()),
        quality_difference=float((quality[0] - quality[1])[both].mean()),
    )


def _velocities(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """|Δz| / (1 + lower z) of every pair of redshifts of one object, as in the merge rule."""
    parts = [
        np.abs(z[i] - z[j]) / (1 + np.fmin(z[i], z[j]))
        for i, j in combinations(range(z.shape[0]), 2)
    ]
    joined = np.concatenate(parts) if parts else np.zeros(0)
    return np.asarray(joined[np.isfinite(joined)])


# Okabe and Ito's colours, safe for colour-blind eyes.
_BLUE, _ORANGE, _GREY = "#0072B2", "#E69F00", "#999999"
_LIGHT_TEXT_FROM: Final = 0.5


def agreement_figure(found: Agreement) -> "Figure":
    """Draw how well inspectors agree: over all, per pair, and class by class."""
    from matplotlib.figure import Figure  # noqa: PLC0415 -- slow, and rarely needed

    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    alpha, pairs, confusion = figure.subplots(1, 3, width_ratios=[0.8, 1.4, 1])
    _draw_alpha(alpha, found)
    _draw_pairs(pairs, found)
    _draw_confusion(confusion, found)
    return figure


def agreement_svg(found: Agreement) -> str:
    """Return the figure as SVG text, the same for the same numbers."""
    from matplotlib import rc_context  # noqa: PLC0415 -- as above

    stream = io.StringIO()
    figure = agreement_figure(found)
    with rc_context({"svg.hashsalt": "quasarloop"}):  # or its inner names are random
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _draw_alpha(axes: Any, found: Agreement) -> None:
    values = {"class": found.alpha_class, "quality": found.alpha_quality}
    for x, value in enumerate(values.values()):
        axes.bar(x, np.nan_to_num(value), width=0.6, color=(_BLUE, _ORANGE)[x])
    names = [f"{n}\n{v:.2f}" if math.isfinite(v) else f"{n}\n–" for n, v in values.items()]
    by_pair = np.array([(pair.alpha_class, pair.alpha_quality) for pair in found.pairs])
    for x, alphas in enumerate(by_pair.reshape(-1, 2).T):
        axes.plot(np.full(len(alphas), x), alphas, "o", color="black", mfc="white", ms=5)
    axes.set_xticks(range(2), names)
    axes.set_xlim(-0.6, 1.6)
    lowest = np.nanmin([0, *values.values(), *by_pair.ravel()])
    axes.set_ylim(lowest - 0.05 if lowest < 0 else 0, 1.08)
    axes.set_ylabel("Krippendorff's α")
    axes.set_title(f"{found.n_objects} objects; ○ each pair", fontsize="medium")


def _draw_pairs(axes: Any, found: Agreement) -> None:
    names = [f"{pair.first} – {pair.second}" for pair in found.pairs]
    y = np.arange(len(names))
    same = [100 * pair.same_class for pair in found.pairs]
    outliers = [100 * pair.z_outliers for pair in found.pairs]
    axes.plot(same, y, "o", color=_BLUE, label="same class")
    axes.plot(outliers, y, "D", color=_ORANGE, label="redshifts apart")
    axes.set_yticks(y, names)
    axes.set_ylim(len(names) - 0.4 if names else 0.6, -0.6)
    axes.set_xlim(-4, 104)
    axes.grid(axis="x", color=_GREY, alpha=0.3)
    axes.set_xlabel("share of common objects / %")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, frameon=False)


def _draw_confusion(axes: Any, found: Agreement) -> None:
    names = [spectype.word for spectype in CLASSES]
    total = found.confusion.sum(axis=1, keepdims=True)
    share = np.divide(found.confusion, total, out=np.zeros((3, 3)), where=total > 0)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(len(names)):
        for j in range(len(names)):
            colour = "white" if share[i, j] > _LIGHT_TEXT_FROM else "black"
            axes.annotate(
                str(found.confusion[i, j]), (j, i), ha="center", va="center", color=colour
            )
    axes.set_xticks(range(3), names)
    axes.set_yticks(range(3), names)
    axes.set_xlabel("class by another inspector")
    axes.set_ylabel("class by one inspector")
