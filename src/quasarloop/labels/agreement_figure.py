"""The agreement figure: alpha of class and quality, pairs, confusion."""

import io
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quasarloop.labels.agreement import Agreement
from quasarloop.truth import CLASSES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["agreement_figure", "agreement_svg"]

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
    stream = io.StringIO()
    figure = agreement_figure(found)
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
