"""From a coadd and its redrock file to a qso_mgii file, row for row."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import MGII_COLUMNS
from quasarloop.afterburner.mgii import (
    MGII_DOUBLET_AA,
    MgIIFits,
    MgIIOptions,
    fit_mgii,
    is_broad_line,
)
from quasarloop.afterburner.quasar_inputs import read_redrock_file
from quasarloop.afterburner.redrock_file import RedrockRows
from quasarloop.afterburner.templates import basis_of, model_flux, read_bases, with_resolution
from quasarloop.artefacts import check_output, versions
from quasarloop.columns import Block
from quasarloop.errors import DataFormatError
from quasarloop.fits_tables import new_fits
from quasarloop.read import iter_spectra
from quasarloop.read.fits_reader import FitsFile, open_fits
from quasarloop.spectra import Arm, Spectra

__all__ = ["fit_mgii_file", "mgii_block"]

_HDU: Final = "MGII"
# Pixels beyond the window that the resolution of its last pixels needs.
_MARGIN_PIXELS: Final = 12


def mgii_block(
    coadd: str | Path,
    redrock: RedrockRows,
    templates: str | Path | None = None,
    options: MgIIOptions | None = None,
) -> Block:
    """Fit Mg II in every spectrum of a coadd whose redshift brings it into view.

    Args:
        coadd: the spectra redrock fitted.
        redrock: its fits, same rows.
        templates: folder of the templates redrock used; the Gaussian must then beat redrock's
            own best fit. None: it must beat the best constant, which every real line does,
            also the narrow or noisy ones of galaxies; the other conditions remain.
        options: window and conditions.

    Returns:
        The columns of a qso_mgii file (`MGII_COLUMNS`).

    Raises:
        DataFormatError: unreadable files, rows that do not match, or no usable template.
    """
    chosen = options or MgIIOptions()
    parts = [np.empty((len(fields(MgIIFits)), 0))]
    for spectra in _matched(coadd, redrock):
        wave = np.concatenate([arm.wave_aa for arm in spectra.arms])
        order = np.argsort(wave, kind="stable")
        flux = np.concatenate([arm.flux for arm in spectra.arms], axis=1)[:, order]
        ivar = np.concatenate([arm.ivar for arm in spectra.arms], axis=1)[:, order]
        model = None
        if templates is not None:
            model = _models(spectra, coadd, redrock, templates, chosen)[:, order]
        z = redrock.fits.z[spectra.row]
        parts.append(np.stack(astuple(fit_mgii(wave[order], flux, ivar, z, model, chosen))))
    columns = np.concatenate(parts, axis=1)
    return {
        "TARGETID": redrock.target_id,
        "IS_QSO_MGII": is_broad_line(MgIIFits(*columns), chosen),
        **dict(zip(MGII_COLUMNS[2:], columns.astype(np.float32), strict=True)),
    }


def fit_mgii_file(
    coadd: str | Path,
    redrock: str | Path,
    out: str | Path,
    *,
    templates: str | Path | None = None,
    options: MgIIOptions | None = None,
    rows: Callable[[RedrockRows, Block], NDArray[np.bool_]] | None = None,
    overwrite: bool = False,
) -> Block:
    """Write desispec's qso_mgii file; return its columns.

    Args:
        coadd: the spectra.
        redrock: redrock's file of the same rows.
        out: file to write.
        templates: as in `mgii_block`.
        options: as in `mgii_block`.
        rows: returns which rows to write, given all of them; None writes every row.
        overwrite: replace an existing file.

    Raises:
        DataFormatError: as `mgii_block`.
        OutputError: the file cannot be written.
    """
    check_output(out, overwrite=overwrite)
    chosen = options or MgIIOptions()
    first = read_redrock_file(redrock)
    block = mgii_block(coadd, first, templates, chosen)
    numbers = enumerate(asdict(chosen).items())
    cards = {
        "COADD": Path(coadd).name,
        "REDROCK": Path(redrock).name,
        "MGIIREF": "redrock" if templates is not None else "constant",
        "QLVER": versions()["quasarloop"],
        **{f"MGII_{i}": f"{key}={value:g}" for i, (key, value) in numbers},
    }
    table: Block = {
        "TARGETID": first.target_id,
        "RA": first.ra_deg,
        "DEC": first.dec_deg,
        "Z_RR": first.fits.z,
        "ZERR": first.fits.zerr.astype(np.float32),
        "IS_QSO_MGII": block["IS_QSO_MGII"],
        first.phase.column: first.target_bits,
        "SPECTYPE": first.fits.spectype.astype("S10"),
    }
    table |= {name: block[name] for name in block if name not in table}
    dtype = np.dtype([(name, values.dtype) for name, values in table.items()])
    kept = slice(None) if rows is None else rows(first, block)
    written = np.rec.fromarrays(list(table.values()), dtype=dtype)[kept]
    with new_fits(out) as fits:
        fits.create_table_hdu(dtype=written.dtype, extname=_HDU)
        if len(written):
            fits[_HDU].append(written)
        for key, value in cards.items():
            fits[_HDU].write_key(key, value)
    return {name: values[kept] for name, values in block.items()}


def _matched(coadd: str | Path, redrock: RedrockRows) -> Iterator[Spectra]:
    n = 0
    for spectra in iter_spectra(coadd, masks=False):
        ours = redrock.target_id[n : n + len(spectra)]
        theirs = spectra.keys.target_id
        if not np.array_equal(ours, theirs):
            same = ours == theirs[: len(ours)]
            row = n + (len(ours) if same.all() else int(np.argmin(same)))
            raise DataFormatError(
                f"{coadd} and {redrock.path} differ from row {row} on; expected the spectra that "
                "redrock fitted, in the same rows"
            )
        n += len(spectra)
        yield spectra
    if n != len(redrock):
        raise DataFormatError(
            f"{coadd} has {n} spectra but {redrock.path} {len(redrock)}; expected the spectra that "
            "redrock fitted, in the same rows"
        )


def _models(
    spectra: Spectra,
    coadd: str | Path,
    redrock: RedrockRows,
    templates: str | Path,
    options: MgIIOptions,
) -> NDArray[np.float64]:
    """Return (n, all pixels) redrock's fit within the windows, NaN elsewhere."""
    first = redrock.fits
    bases = read_bases(templates)
    starts = np.cumsum([0, *(len(arm.wave_aa) for arm in spectra.arms)])
    out = np.full((len(spectra), starts[-1]), np.nan)
    with open_fits(coadd) as fits:
        for i, row in enumerate(map(int, spectra.row)):
            for start, arm in zip(starts, spectra.arms, strict=False):
                part = _window_pixels(arm, float(first.z[row]), options)
                if part.stop > part.start:
                    basis = basis_of(
                        bases, first.spectype[row], first.subtype[row], first.templates
                    )
                    model = model_flux(basis, first.coeff[row], first.z[row], arm.wave_aa[part])
                    model = _blurred(fits, arm, part, model, row)
                    out[i, start + part.start : start + part.stop] = model
    return out


def _blurred(
    fits: FitsFile, arm: Arm, part: slice, model: NDArray[np.float64], row: int
) -> NDArray[np.float64]:
    hdu = fits.named(f"{arm.name.upper()}_RESOLUTION")
    if hdu is None:
        return model
    resolution = fits.image(hdu, slice(row, row + 1))[0][:, part]
    blurred = with_resolution(model, resolution)
    # At the ends of an arm the matrix is cut off: what would come from beyond is missing.
    reach = len(resolution) // 2
    whole = with_resolution(np.ones(len(model)), resolution)
    for end in (slice(0, reach), slice(len(model) - reach, None)):
        blurred[end] /= np.where(whole[end] > 0, whole[end], 1.0)
    return blurred


def _window_pixels(arm: Arm, z: float, options: MgIIOptions) -> slice:
    line = (1 + z) * float(np.mean(MGII_DOUBLET_AA))
    half = options.window_aa / 2
    first = int(np.searchsorted(arm.wave_aa, line - half)) - _MARGIN_PIXELS
    last = int(np.searchsorted(arm.wave_aa, line + half)) + _MARGIN_PIXELS
    if last <= _MARGIN_PIXELS or first >= len(arm.wave_aa) - _MARGIN_PIXELS:
        return slice(0, 0)
    return slice(max(0, first), min(len(arm.wave_aa), last))
