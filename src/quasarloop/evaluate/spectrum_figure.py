"""A figure of one spectrum: as observed and smoothed, its lines at a redshift, and p(z)."""

from collections.abc import Sequence
from io import BytesIO
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quasarloop.evaluate.figures import COLOURS, PlainFigure, use_style
from quasarloop.evaluate.selection_figures import draw_spectrum
from quasarloop.lines import Line, line_label
from quasarloop.spectra import Spectra

__all__ = ["spectrum_figure"]

# Of p(z), what is below this share of its peak is not drawn.
_LEAST_DENSITY: Final = 1e-4
_SHOWN_DPI: Final = 72
_NAME_AT: Final = 0.98  # part of the panel's height


class _Shown(PlainFigure):
    """A figure that a notebook shows without pyplot, whatever its backend."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=_SHOWN_DPI)
        return buffer.getvalue()


@use_style()
def spectrum_figure(
    spectra: Spectra,
    title: str,
    z: float,
    lines: Sequence[tuple[Line, float]],
    density: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Figure:
    """Draw one spectrum, with the lines of a redshift.

    Args:
        spectra: one row.
        title: above it.
        z: redshift at which lines are marked; NaN marks none.
        lines: emission lines and their confidences.
        density: (m,) redshifts and p(z) there; None leaves the second panel out.
    """
    figure = _Shown(figsize=(11, 3.8) if density else (8, 3.8))
    if density is None:
        left = figure.subplots()
    else:
        left, right = figure.subplots(1, 2, width_ratios=(3, 1))
        _draw_density(right, *density, z)
    draw_spectrum(left, spectra, title, COLOURS[0])
    left.set_xlabel("observed wavelength (Å)")
    left.set_ylabel("flux (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)")
    if np.isfinite(z):
        blue = min(arm.wave_aa[0] for arm in spectra.arms)
        red = max(arm.wave_aa[-1] for arm in spectra.arms)
        there = [pair for pair in lines if blue < pair[0].wave_rest_aa * (1 + z) < red]
        _mark_lines(left, z, there)
    return figure


def _mark_lines(axes: Axes, z: float, lines: Sequence[tuple[Line, float]]) -> None:
    for line, confidence in lines:
        place = line.wave_rest_aa * (1 + z)
        axes.axvline(place, color=COLOURS[1], lw=1, ls="--", alpha=0.8)
        axes.annotate(
            f"{line_label(line.name)} {confidence:.2f}",
            (place, _NAME_AT),
            xycoords=("data", "axes fraction"),
            xytext=(2, 0),
            textcoords="offset points",
            rotation=90,
            va="top",
            color=COLOURS[1],
        )


def _draw_density(axes: Axes, z: NDArray[np.float64], p: NDArray[np.float64], best: float) -> None:
    peak = float(np.nanmax(p, initial=0.0))
    axes.set(xlabel="redshift", ylabel="p(z)")
    if not peak > 0:
        axes.set_title("no redshift")
        return
    axes.plot(z, p / peak, color=COLOURS[0], lw=1.2)
    axes.set(yscale="log", ylim=(_LEAST_DENSITY, 2.0), ylabel="p(z) / its peak")
    if np.isfinite(best):
        axes.axvline(best, color=COLOURS[1], lw=1, ls="--")
        axes.set_title(f"z = {best:.4f}")
