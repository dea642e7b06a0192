"""Figures of redshifts: repeats (Figs. 8, 9), comparisons (Fig. 10), oscillation."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from quasarloop.evaluate.compare import AGREEMENT_KMS, Comparison, confused_redshift
from quasarloop.evaluate.figures import COLOURS, use_style
from quasarloop.evaluate.metrics import recession_velocity_kms
from quasarloop.evaluate.oscillation import Oscillation
from quasarloop.evaluate.repeats import ObjectRepeats, ScatterBins
from quasarloop.lines import line_label

__all__ = ["comparison_figure", "confusion_figure", "oscillation_figure", "scatter_figure"]

# Line confusions drawn in the comparison, most frequent first; more would hide the points.
_CONFUSIONS_DRAWN: Final = 7
_LABEL_ROOM: Final = (0.17, 0.03)  # of a confusion's label, in parts of the panel
_DZ_SHOWN: Final = 0.025  # of Δz / (1 + z), both signs
_ENTROPY_BINS: Final = np.linspace(0, 1, 21)


@use_style()
def confusion_figure(repeats: Mapping[str, ObjectRepeats]) -> Figure:
    """Draw how confused repeats are: 2-D (of the first two), 1-D histograms (paper, Fig. 8)."""
    labels = list(repeats)
    figure = Figure(figsize=(10, 4.2))
    left, right = figure.subplots(1, 2)
    _plot_pair(left, repeats, labels)
    most = 0.0
    for label, colour in zip(labels, COLOURS * 2, strict=False):
        entropy = repeats[label].entropy_bits
        confused = entropy[entropy > 0]
        text = f"{label}: {len(confused)} of {len(entropy)} confused"
        counts, *_ = right.hist(
            confused, bins=_ENTROPY_BINS.tolist(), histtype="step", lw=2, color=colour, label=text
        )
        most = max(most, float(np.max(counts)))
    right.set_xlim(0, 1.02)
    if most:
        right.set_yscale("log")
        right.set_ylim(0.5, 4 * most)  # a single object is seen, and the legend hides none
    right.set(xlabel="confusion of exposures, bits (zeros not drawn)", ylabel="objects")
    right.legend(fontsize=8)
    return figure


@use_style()
def scatter_figure(bins: Mapping[str, ScatterBins]) -> Figure:
    """Draw the mean redshift scatter of repeat exposures against redshift (paper, Fig. 9)."""
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    for (label, one), colour in zip(bins.items(), COLOURS * 2, strict=False):
        axes.errorbar(
            one.z, one.scatter, yerr=one.error, fmt="o-", color=colour, capsize=2, label=label
        )
    if any((one.scatter > 0).any() for one in bins.values()):
        axes.set_yscale("log")
    axes.set(xlabel="redshift", ylabel="mean standard deviation of redshift")
    axes.legend(fontsize=8)
    return figure


@use_style()
def comparison_figure(comparison: Comparison, label_a: str, label_b: str) -> Figure:
    """Draw redshift against redshift, with line confusions, and Δz/(1+z) (paper, Fig. 10)."""
    figure = Figure(figsize=(6.5, 8.5))
    top, bottom = figure.subplots(2, 1, height_ratios=[3, 1.3], sharex=True)
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
    bottom.set_title(shares, fontsize=9)
    return figure


@use_style()
def oscillation_figure(oscillations: Mapping[str, Mapping[str, Oscillation]]) -> Figure:
    """Draw bias against the position in the box: a panel per line, a curve per weights file."""
    n = max(len(oscillations), 1)
    figure = Figure(figsize=(4.2 * n, 3.8))
    panels: Sequence[Axes] = figure.subplots(1, n, sharey=True, squeeze=False)[0]
    for axes, (line, by_label) in zip(panels, oscillations.items(), strict=False):
        for (label, one), colour in zip(by_label.items(), COLOURS * 2, strict=False):
            text = f"{label}: {one.half_amplitude_kms:.0f} ± {one.error_kms:.0f} km/s"
            axes.plot(one.position, one.bias_kms, "o", ms=4, color=colour)
            axes.plot(one.position, one.curve_kms, "-", color=colour, label=text)
        axes.axhline(0, color="0.6", lw=1)
        axes.set_title(line_label(line), fontsize=10)
        axes.set_xlabel("position in the box")
        axes.legend(fontsize=8, title="half amplitude", title_fontsize=8)
    panels[0].set_ylabel("redshift bias, km/s")
    return figure


def _plot_pair(axes: Axes, repeats: Mapping[str, ObjectRepeats], labels: Sequence[str]) -> None:
    first, second = labels[0], labels[min(1, len(labels) - 1)]
    common, row_a, row_b = np.intersect1d(
        repeats[first].object_id, repeats[second].object_id, return_indices=True
    )
    counts, _, _ = np.histogram2d(
        repeats[first].entropy_bits[row_a],
        repeats[second].entropy_bits[row_b],
        bins=[_ENTROPY_BINS, _ENTROPY_BINS],
    )
    filled = np.ma.masked_equal(counts.T, 0)
    image = axes.pcolormesh(
        _ENTROPY_BINS, _ENTROPY_BINS, filled, norm=LogNorm(1, max(2, counts.max())), cmap="cividis"
    )
    axes.figure.colorbar(image, ax=axes, label="objects")
    axes.set(xlabel=f"confusion, {first}, bits", ylabel=f"confusion, {second}, bits")
    axes.set_title(f"{len(common)} objects seen several times", fontsize=10)


def _plot_agreement(axes: Axes, cosmology: str, limit: float) -> None:
    """Draw where recession velocities differ by the limits of agreement: curves in Δz / (1 + z)."""
    z_a, dz = np.linspace(0, limit, 201), np.linspace(-_DZ_SHOWN, _DZ_SHOWN, 201)
    z_b = z_a + dz[:, None] * (1 + z_a)
    dv = recession_velocity_kms(z_b, cosmology) - recession_velocity_kms(z_a, cosmology)
    for limit_kms, style in zip(AGREEMENT_KMS, ("--", "-"), strict=True):
        levels = [-limit_kms, limit_kms]
        axes.contour(z_a, dz, dv, levels=levels, colors=COLOURS[1], linestyles=style, linewidths=1)


def _plot_confusions(axes: Axes, comparison: Comparison, limit: float) -> None:
    drawn = [confusion for confusion in comparison.confusions if confusion.n][:_CONFUSIONS_DRAWN]
    ends = np.array([0.0, limit])
    placed: list[tuple[float, float]] = []
    for confusion in drawn:
        a, b = confusion.line_a, confusion.line_b
        z_b = confused_redshift(ends, a, b)
        axes.plot(ends, z_b, "--", color="0.45", lw=0.8)
        # Write the label where the dashed line leaves the panel, further in where another is.
        slope = (z_b[1] - z_b[0]) / limit
        x = min(limit, (limit - z_b[0]) / slope)
        room_x, room_y = (part * limit for part in _LABEL_ROOM)
        while any(
            abs(x - other_x) < room_x and abs(z_b[0] + slope * x - other_y) < room_y
            for other_x, other_y in placed
        ):
            x -= room_x
        placed.append((x, z_b[0] + slope * x))
        text = f"{line_label(a.name)} → {line_label(b.name)} ({confusion.n})"
        axes.annotate(
            text,
            (x, z_b[0] + slope * x),
            xytext=(-2, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7,
            color="0.25",
        )
    axes.set_title(f"{len(comparison.z_a)} quasars of both", fontsize=10)
