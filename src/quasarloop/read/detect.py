"""Find a file's format from its content, read it whole or in blocks, and name its content."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from quasarloop.artefacts import checksum
from quasarloop.errors import DataFormatError
from quasarloop.read.desi import DESI_COADD, DESI_FRAME, DESI_TABLE
from quasarloop.read.eso import ESO_SPECTRUM
from quasarloop.read.fits_reader import FitsFile, open_fits
from quasarloop.read.formats import Format, Identity, assemble
from quasarloop.read.lamost import LAMOST
from quasarloop.read.quasarnet import QUASARNET_DATA
from quasarloop.read.refused import refusal
from quasarloop.read.sdss import SDSS_PLATE, SDSS_SPEC
from quasarloop.read.sdssv import SDSSV_FIELD, SDSSV_SPEC
from quasarloop.read.sixdf import SIXDF
from quasarloop.read.specutils_files import read_with_specutils
from quasarloop.read.twodf import TWODF
from quasarloop.read.weave import WEAVE_L1, WEAVE_L2
from quasarloop.spectra import Spectra

__all__ = [
    "FORMATS",
    "SpectraFile",
    "content_digest",
    "find_files",
    "find_format",
    "iter_spectra",
    "open_spectra",
    "read_spectra",
]

logger = logging.getLogger(__name__)

# The first that matches is taken; no file matches two.
FORMATS: Final[tuple[Format, ...]] = (
    SDSS_SPEC,
    SDSSV_SPEC,
    DESI_COADD,
    DESI_FRAME,
    SDSS_PLATE,
    SDSSV_FIELD,
    LAMOST,
    ESO_SPECTRUM,
    WEAVE_L1,
    WEAVE_L2,
    SIXDF,
    TWODF,
    QUASARNET_DATA,
    DESI_TABLE,
)
# Rows read at once when streaming: some 30 MB of DESI flux and ivar.
_BLOCK_ROWS: Final = 512
# What a folder is searched for; a file given by name may be called anything.
_SUFFIXES: Final = (".fits", ".fits.gz", ".fit", ".fits.fz")
# Names surveys give to spectra and to nothing else.
_SPECTRUM_NAMES: Final = ("coadd-", "spectra-", "cframe-", "spec-", "spPlate-", "spField-")


def read_spectra(
    path: str | Path,
    rows: slice | None = None,
    *,
    masks: bool = True,
    format: str = "",  # noqa: A002 -- as in astropy
) -> Spectra:
    """Read spectra, whatever the survey; the format is found from the content.

    Args:
        path: a FITS file, plain or gzipped.
        rows: which rows (step 1); all by default.
        masks: read the surveys' pixel masks too; only showing spectra needs them.
        format: ``"specutils:NAME"`` reads with that loader of specutils, ``"specutils"`` with the
            one it finds.

    Returns:
        The spectra as observed, native float32, NaN and negative ivar cleaned and flagged.

    Raises:
        DataFormatError: not FITS, truncated, of no known format, or not what its format
            promises; the message names file, HDU and remedy.
    """
    if format:
        parts = read_with_specutils(path, format)
        if len(parts) > 1:
            raise DataFormatError(
                f"{path}: spectra on {len(parts)} wavelength grids; read them with iter_spectra"
            )
        return parts[0][rows or slice(None)]
    with open_fits(path) as fits:
        found, identity = _identify(fits)
        start, stop, _ = (rows or slice(None)).indices(len(identity.keys))
        wanted = slice(start, max(start, stop))
        return _block(fits, found, identity, wanted, masks)


def iter_spectra(
    path: str | Path,
    block_rows: int = _BLOCK_ROWS,
    *,
    masks: bool = True,
    format: str = "",  # noqa: A002 -- as in astropy
) -> Iterator[Spectra]:
    """Read a file in blocks of rows, so that memory does not grow with its length.

    With a `format` of specutils (`read_spectra`) it is read whole, a block per wavelength grid.

    Yields:
        Consecutive blocks; duplicates are flagged across the whole file.

    Raises:
        DataFormatError: as `read_spectra`.
    """
    with open_spectra(path, format) as file:
        yield from file.blocks(block_rows, masks=masks)


@contextmanager
def open_spectra(
    path: str | Path,
    format: str = "",  # noqa: A002 -- as in astropy
) -> "Iterator[SpectraFile]":
    """Open a file of spectra once, for its digest and its rows.

    Raises:
        DataFormatError: missing, not FITS, truncated or damaged.
    """
    if format:
        yield SpectraFile(Path(path), None, format)
        return
    with open_fits(path) as fits:
        yield SpectraFile(fits.path, fits)


@dataclass(frozen=True)
class SpectraFile:
    """An open file of spectra.

    Attributes:
        path: where it is.
        fits: the open file; None where specutils reads it.
        format: of specutils.
    """

    path: Path
    fits: FitsFile | None
    format: str = ""

    def blocks(self, block_rows: int = _BLOCK_ROWS, *, masks: bool = True) -> Iterator[Spectra]:
        """Read block after block; see `iter_spectra`."""
        if self.fits is None:
            yield from read_with_specutils(self.path, self.format)
            return
        found, identity = _identify(self.fits)
        for start in range(0, len(identity.keys), block_rows):
            stop = min(start + block_rows, len(identity.keys))
            yield _block(self.fits, found, identity, slice(start, stop), masks)

    def digest(self) -> str:
        """Return the digest of its content; see `content_digest`."""
        if self.fits is None:
            return sha256(f"{self.format} {checksum(self.path)}".encode()).hexdigest()
        digest = sha256()
        for hdu in self.fits.hdus:
            digest.update(hdu.cards)
            if not hdu.name.endswith(_LEFT_OUT):
                for chunk in self.fits.chunks(hdu):
                    digest.update(chunk)
        return digest.hexdigest()


def find_format(fits: FitsFile) -> Format:
    """Return the format of an open file.

    Raises:
        DataFormatError: no format matches (lists what was found and what is known), or the file
            must not be classified.
    """
    for known in FORMATS:
        if known.matches(fits):
            if reason := known.refuse(fits):
                raise DataFormatError(f"{fits.path}: {reason}")
            return known
    if reason := refusal(fits):
        raise DataFormatError(f"{fits.path}: {reason}")
    raise DataFormatError(
        f"{fits.path}: FITS, but no spectra of a known format; found {fits.describe()}. Known are "
        + ", ".join(known.name for known in FORMATS)
    )


def find_files(paths: Iterable[str | Path], *, every: bool = False) -> list[Path]:
    """Expand folders into the spectrum files below them, sorted; files stay as given.

    In a folder, FITS files that hold no spectra (redrock results, catalogues) are left out, and
    those that must not be classified (DESI frames), with a warning; damaged ones stay in, to be
    complained about when read. ``every`` takes all FITS files there: specutils reads them.

    Raises:
        DataFormatError: a path does not exist, or a folder holds no spectra.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = _fits_below(path)
            left_out: list[str] = []
            spectra = [p for p in below if every or _may_hold_spectra(p, left_out)]
            if not spectra:
                raise DataFormatError(
                    f"{path}: no spectra in this folder or below ({len(below)} FITS files)"
                    + (f"; {left_out[0]}" if left_out else "")
                )
            if left_out:
                logger.warning("%s: %d files left out, %s", path, len(left_out), left_out[0])
            files += spectra
        elif path.exists():
            files.append(path)
        else:
            raise DataFormatError(f"{path}: no such file or folder; check the name")
    return files


def _fits_below(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.rglob("*") if path.name.endswith(_SUFFIXES))
    except OSError as exc:  # a folder below was removed, or may not be read
        raise DataFormatError(
            f"{exc.filename or folder}: cannot be searched for spectra ({exc.strerror}); if files "
            "are moved just now, start again when that is done"
        ) from exc


def _may_hold_spectra(path: Path, left_out: list[str]) -> bool:
    """Return whether a file may hold spectra; add to ``left_out`` why those of it are not read."""
    if path.name.startswith(_SPECTRUM_NAMES):
        return True  # saves opening 100,000 files; the reader looks at the content anyway
    try:
        with open_fits(path) as fits:
            found = next((known for known in FORMATS if known.matches(fits)), None)
            reason = found.refuse(fits) if found else ""
            left_out += [f"{path}: {reason}"] if reason else []
            return found is not None and not reason
    except DataFormatError:
        return True


def _identify(fits: FitsFile) -> tuple[Format, Identity]:
    with _damage_explained(fits):
        found = find_format(fits)
        return found, found.identify(fits)


def _block(fits: FitsFile, found: Format, identity: Identity, rows: slice, masks: bool) -> Spectra:
    with _damage_explained(fits):
        return assemble(fits, identity, found.observe(fits, rows, masks), rows)


@contextmanager
def _damage_explained(fits: FitsFile) -> Iterator[None]:
    # Readers check what can be expected to go wrong; one damaged byte can do anything.
    try:
        with np.errstate(all="ignore"):
            yield
    except DataFormatError as exc:
        if str(fits.path) in str(exc):
            raise
        raise DataFormatError(f"{fits.path}: {exc}") from exc
    except (ValueError, TypeError, LookupError, ArithmeticError) as exc:
        raise DataFormatError(
            f"{fits.path}: a header or column is damaged ({type(exc).__name__}: {exc}); "
            "copy or download the file again"
        ) from exc


# Of a DESI coadd these are four fifths of the bytes; their headers (with the survey's own
# DATASUM) count all the same.
_LEFT_OUT: Final = ("RESOLUTION", "MASK")


def content_digest(path: str | Path, format: str = "") -> str:  # noqa: A002 -- as in astropy
    """Return the SHA-256, in hex, of all headers and of the data spectra are made from.

    Gzipped or not, the same content has the same digest. With a `format` of specutils it is of the
    format and of all bytes.

    Raises:
        DataFormatError: missing, not FITS, truncated or damaged.
    """
    with open_spectra(path, format) as file:
        return file.digest()
