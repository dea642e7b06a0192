"""Look at one spectrum of what was classified: its lines and p(z)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from quasarloop.api.classify import catalogue_of, network_of
from quasarloop.artefacts import checksum
from quasarloop.catalogue.inputs import find_inputs
from quasarloop.errors import DataFormatError, WeightsError
from quasarloop.grid import WaveGrid
from quasarloop.network.joint import redshift_density
from quasarloop.network.options import SHIPPED
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import Sources, iter_spectra, read_spectra
from quasarloop.spectra import Arm, RebinnedSpectra, Spectra
from quasarloop.store import iter_store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_spectrum"]


def plot_spectrum(
    spectra: Sources,
    row: int = 0,
    catalogue: Table | None = None,
    *,
    weights: str | Path | Weights = SHIPPED,
) -> "Figure":
    """Draw a spectrum with the lines of its redshift and their confidences, and p(z).

    Args:
        spectra: what was classified (`quasarloop.classify`).
        row: which spectrum, counted from 0 over all of them; a row of the catalogue.
        catalogue: of `classify`; None classifies this spectrum.
        weights: those the catalogue was made with.

    Returns:
        The figure, which a notebook shows; ``.savefig("spectrum.png")`` saves it. Lines are
        marked at Z_JOINT, at Z_BEST where there is none.

    Raises:
        DataFormatError: no such row, or the catalogue is of other spectra.
        WeightsError: the catalogue was made with other weights.
    """
    from quasarloop.evaluate.spectrum_figure import spectrum_figure  # noqa: PLC0415 -- matplotlib

    path, network = network_of(weights, find_inputs(spectra).grid)
    one = _row(spectra, row, catalogue)
    config = network.config
    rebinned = one if isinstance(one, RebinnedSpectra) else prepare(one, config.grid)
    predictor = Predictor(network)
    if catalogue is None:
        entry = catalogue_of([rebinned], predictor, path, network)[0]
    else:
        own = network.digest() if path is None else checksum(path)
        _check_weights(catalogue, own)
        entry = catalogue[row]
        if int(entry["TARGETID"]) != int(rebinned.keys.target_id[0]):
            raise DataFormatError(
                f"row {row} of the catalogue is TARGETID {entry['TARGETID']}, of the spectra "
                f"{rebinned.keys.target_id[0]}; give what was classified, in the same order"
            )
    names = [name for name in ("Z_JOINT", "Z_BEST") if name in entry.colnames]
    z = next((float(entry[name]) for name in names if np.isfinite(entry[name])), np.nan)
    density = None
    if not int(rebinned.flags[0]) & int(UNUSABLE):
        outputs = predictor.predict(rebinned.flux, redshifts=True)
        density = redshift_density(outputs, config, predictor.joint)
    lines = [(line, float(entry[f"C_{line.column}"])) for line in config.lines if not line.is_bal]
    title = f"{entry['TARGETID']}   {str(entry['CLASS']).replace('_', ' ')}"
    shown = _observed(one) if isinstance(one, RebinnedSpectra) else one
    drawn = None if density is None else (density[0], density[1][0])
    return spectrum_figure(shown, title, z, lines, drawn)


def _check_weights(catalogue: Table, own: str) -> None:
    """Check that a catalogue was made with the weights of a checksum, where it has a record."""
    made = catalogue.meta.get("weights_sha256")
    if made is not None and made != own:
        raise WeightsError(
            f"the catalogue was made with {catalogue.meta.get('weights')} ({made[:12]}), these "
            f"weights are others ({own[:12]}); give those, by weights=…"
        )


def _row(spectra: Sources, row: int, catalogue: Table | None) -> Spectra | RebinnedSpectra:
    """Return one spectrum, as observed where its file is there."""
    if catalogue is not None and 0 <= row < len(catalogue):
        source = Path(str(catalogue["SOURCE"][row]))
        if source.is_file():
            at = int(catalogue["ROW"][row])
            return read_spectra(source, slice(at, at + 1), masks=False)
    start = 0
    for part in _parts(spectra):
        if start <= row < start + len(part):
            return part[row - start : row - start + 1]
        start += len(part)
    raise DataFormatError(f"there is no row {row}: {start} spectra, the first is row 0")


def _parts(spectra: Sources) -> Iterator[Spectra | RebinnedSpectra]:
    inputs = find_inputs(spectra)
    for store in inputs.stores:
        yield from iter_store(store)
    for path in inputs.files:
        yield from iter_spectra(path, masks=False)
    yield from inputs.spectra


def _observed(one: RebinnedSpectra) -> Spectra:
    """Return rebinned flux in the survey's units, at the middles of the bins."""
    grid: WaveGrid = one.grid
    edges = np.append(grid.lower_edges_aa, grid.end_aa)
    rms = one.rms_flux[:, None]
    flux = one.flux * rms + one.mean_flux[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ivar = np.nan_to_num(one.ivar / np.square(rms))
    arm = Arm("brz", (edges[1:] + edges[:-1]) / 2, flux.astype("f4"), ivar.astype("f4"))
    return Spectra((arm,), one.keys, one.flags, str(one.source[0]), one.row)
