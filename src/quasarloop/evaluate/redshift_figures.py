"""Figures of redshifts: repeats (Figs. 8, 9), comparisons (Fig. 10), oscillation."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quasarloop.evaluate.compare import AGREEMENT_KMS, Comparison, confused_redshift
from quasarloop.evaluate.figures import COLOURS, legend_above, new_figure, use_style
from quasarloop.evaluate.metrics import recession_velocity_kms
from quasarloop.evaluate.oscillation import Oscillation
from quasarloop.evaluate.repeats import ObjectRepeats, ScatterBins
from quasarloop.lines import line_label

__all__ = ["comparison_figure", "confusion_figure", "oscillation_figure", "scatter_figure"]

# Line confusions drawn in the comparison, most frequent first; more would hide the points.
_CONFUSIONS_DRAWN: Final = 7
_LABEL_ROOM: Final = 0.045  # of a confusion's label, in parts of the panel
_DZ_SHOWN: Final = 0.025  # of Δz / (1 + z), both signs
_MOST_VALUES: Final = 6  # of the entropy that are drawn one by one
_TINY: Final = 1e-9  # bits
_DARK: Final = 0.5  # mean of red, green and blue below which text is white


@use_style()
def confusion_figure(repeats: Mapping[str, ObjectRepeats]) -> Figure:
    """Draw how confused repeats are: of the first two in pairs, and of each (paper, Fig. 8).

    Few exposures give few values of the entropy: then each is a column with its number of objects.
    """
    labels = list(repeats)
    figure = new_figure(3.4)
    left, right = figure.subplots(1, 2)
    edges, names = _entropy_bins(np.concatenate([one.entropy_bits for one in repeats.values()]))
    _plot_pair(left, repeats, labels, edges, names)
    width, most = 0.8 / len(labels), 1
    for k, (label, colour) in enumerate(zip(labels, COLOURS * 2, strict=False)):
        entropy = repeats[label].entropy_bits
        counts, _ = np.histogram(entropy, edges)
        text = f"{label}: {np.count_nonzero(entropy > 0)} of {len(entropy)} confused"
        place = np.arange(len(counts)) + width * (k - (len(labels) - 1) / 2)
        bars = right.bar(place, counts, width, color=colour, label=text)
        right.bar_label(bars, [f"{n:,}" if n else "" for n in counts], padding=1)
        most = max(most, int(counts.max(initial=0)))
    right.grid(visible=False, axis="x")
    right.set_xticks(range(len(names)), names)
    right.set(yscale="log", ylim=(0.5, 3 * most), xlabel="confusion, bits", ylabel="objects")
    legend_above(right)
    return figure


def _entropy_bins(
    entropy: NDArray[np.float64],
) -> tuple[NDArray[np.float64], list[str]]:
    """Return edges of bins and their names: each value, or 0 and up to tenths of a bit."""
    values = np.unique(np.round(entropy, 6))
    if 0 < len(values) <= _MOST_VALUES:
        middle = (values[1:] + values[:-1]) / 2
        return np.concatenate([[-1.0], middle, [2.0]]), [f"{value:.2g}" for value in values]
    tenths = np.linspace(0, 1, 11)
    return np.append(-1.0, tenths + _TINY), ["0", *(f"{edge:.1f}" for edge in tenths[1:])]


@use_style()
def scatter_figure(bins: Mapping[str, ScatterBins]) -> Figure:
    """Draw the mean redshift scatter of repeat exposures against redshift (paper, Fig. 9)."""
    figure = new_figure(3.8)
    axes = figure.subplots()
    for (label, one), colour in zip(bins.items(), COLOURS * 2, strict=False):
        axes.errorbar(
            one.z, one.scatter, yerr=one.error, fmt="o-", color=colour, capsize=2, label=label
        )
    if any((one.scatter > 0).any() for one in bins.values()):
        axes.set_yscale("log")
    axes.set(xlabel="redshift", ylabel="mean standard deviation of redshift")
    legend_above(axes)
    return figure


@use_style()
def comparison_figure(comparison: Comparison, label_a: str, label_b: str) -> Figure:
    """Draw redshift against redshift, with line confusions, and Δz/(1+z) (paper, Fig. 10)."""
    figure = new_figure(8.6)
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 1.2], sharex=True)
    top.plot(comparison.z_a, comparison.z_b, ".", ms=2, alpha=0.5, rasterized=True)
    limit = float(np.nanmax([*comparison.z_a, *comparison.z_b, 1.0])) * 1.03
    _plot_confusions(top, comparison, limit)
    top.set(xlim=(0, limit), ylim=(0, limit), ylabel=f"redshift, {label_b}")
    bottom.plot(comparison.z_a, comparison.dz, ".", ms=2, alpha=0.5, rasterized=True)
    _plot_agreement(bottom, comparison.cosmology, limit)
    bottom.set(ylim=(-_DZ_SHOWN, _DZ_SHOWN), xlabel=f"redshift, {label_a}", ylabel="Δz / (1 + z)")
    shares = ", ".join(
        f"{share.value:.1%} within {limit_kms:,.0f} km/s"
        for share, limit_kms in zip(comparison.within, AGREEMENT_KMS, strict=True)
    )
    bottom.set_title(shares)
    return figure


@use_style()
def oscillation_figure(oscillations: Mapping[str, Mapping[str, Oscillation]]) -> Figure:
    """Draw bias against the position in the box: a panel per line, a curve per weights file."""
    n = max(len(oscillations), 1)
    n_columns = min(n, 2)
    n_rows = -(-n // n_columns)
    figure = new_figure(3.2 * n_rows)
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    for axes, (line, by_label) in zip(panels, oscillations.items(), strict=False):
        for (label, one), colour in zip(by_label.items(), COLOURS * 2, strict=False):
            text = f"{label}: {one.half_amplitude_kms:.0f} ± {one.error_kms:.0f} km/s"
            axes.plot(one.position, one.bias_kms, "o", ms=4, color=colour)
            axes.plot(one.position, one.curve_kms, "-", color=colour, label=text)
        axes.axhline(0, color="0.6", lw=1)
        axes.set_title(line_label(line))
        axes.set_xlabel("position in the box")
        axes.legend(title="half amplitude")
    for axes in panels[::n_columns]:
        axes.set_ylabel("redshift bias, km/s")
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure


def _plot_pair(
    axes: Axes,
    repeats: Mapping[str, ObjectRepeats],
    labels: Sequence[str],
    edges: NDArray[np.float64],
    names: Sequence[str],
) -> None:
    first, second = labels[0], labels[min(1, len(labels) - 1)]
    _, row_a, row_b = np.intersect1d(
        repeats[first].object_id, repeats[second].object_id, return_indices=True
    )
    counts, _, _ = np.histogram2d(
        repeats[first].entropy_bits[row_a], repeats[second].entropy_bits[row_b], bins=[edges, edges]
    )
    norm = LogNorm(1, max(10, counts.max(initial=0)))
    filled = np.ma.masked_equal(counts.T, 0)
    image = axes.imshow(filled, norm=norm, cmap="cividis_r", origin="lower", aspect="auto")
    for (x, y), n in np.ndenumerate(counts):
        if n:
            dark = np.mean(image.cmap(norm(n))[:3]) < _DARK
            colour = "white" if dark else "black"
            axes.text(x, y, f"{n:,.0f}", ha="center", va="center", color=colour)
    axes.grid(visible=False)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel=f"confusion, {first}, bits", ylabel=f"confusion, {second}, bits")


def _plot_agreement(axes: Axes, cosmology: str, limit: float) -> None:
    """Draw where recession velocities differ by the limits of agreement: curves in Δz / (1 + z)."""
    z_a, dz = np.linspace(0, limit, 201), np.linspace(-_DZ_SHOWN, _DZ_SHOWN, 201)
    z_b = z_a + dz[:, None] * (1 + z_a)
    dv = recession_velocity_kms(z_b, cosmology) - recession_velocity_kms(z_a, cosmology)
    for limit_kms, style in zip(AGREEMENT_KMS, ("--", "-"), strict=True):
        levels = [-limit_kms, limit_kms]
        axes.contour(z_a, dz, dv, levels=levels, colors=COLOURS[1], linestyles=style, linewidths=1)


def _plot_confusions(axes: Axes, comparison: Comparison, limit: float) -> None:
    """Draw lines of confusion, named in the margin where they leave the panel (right or top)."""
    drawn = [confusion for confusion in comparison.confusions if confusion.n][:_CONFUSIONS_DRAWN]
    at_right, at_top = [], []
    for confusion in drawn:
        a, b = confusion.line_a, confusion.line_b
        start, end = confused_redshift(np.array([0.0, limit]), a, b)
        axes.plot([0, limit], [start, end], "--", color="0.45", lw=0.8)
        text = f"{line_label(a.name)} → {line_label(b.name)} ({confusion.n})"
        if end <= limit:
            at_right.append((float(end), text))
        else:
            at_top.append((float(limit * (limit - start) / (end - start)), text))
    room = _LABEL_ROOM * limit
    ends: dict[str, Any] = {"clip_on": False, "color": "0.45", "lw": 0.6}
    for (at, text), place in zip(sorted(at_right), _apart(sorted(at_right), room), strict=True):
        axes.plot([limit, 1.03 * limit], [at, place], **ends)
        axes.text(1.04 * limit, place, text, va="center")
    for (at, text), place in zip(sorted(at_top), _apart(sorted(at_top), room), strict=True):
        axes.plot([at, place], [limit, 1.03 * limit], **ends)
        axes.text(place, 1.04 * limit, text, ha="center", va="bottom", rotation=90)


def _apart(ends: Sequence[tuple[float, str]], room: float) -> list[float]:
    """Return places for sorted labels, each at least `room` beyond the one before."""
    places: list[float] = []
    for at, _ in ends:
        places.append(max([at, *(place + room for place in places[-1:])]))
    return places
