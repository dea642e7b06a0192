"""Name the content of a file, without reading what no shard is made of."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from quasarloop.read.fits_reader import open_fits

__all__ = ["content_digest"]

# Of a DESI coadd these are four fifths of the bytes; their headers (with the survey's own
# DATASUM) count all the same.
_LEFT_OUT: Final = ("RESOLUTION", "MASK")


def content_digest(path: str | Path) -> str:
    """Return the SHA-256, in hex, of all headers and of the data spectra are made from.

    Args:
        path: a FITS file; gzipped or not, the same content has the same digest.

    Raises:
        DataFormatError: missing, not FITS, truncated or damaged.
    """
    digest = sha256()
    with open_fits(path) as fits:
        for hdu in fits.hdus:
            digest.update(hdu.cards)
            if not hdu.name.endswith(_LEFT_OUT):
                for chunk in fits.chunks(hdu):
                    digest.update(chunk)
    return digest.hexdigest()
