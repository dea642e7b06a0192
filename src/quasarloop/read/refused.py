"""Files of surveys that hold no spectra to classify: what they are, and what to give instead.

Kinds are found from names of HDUs and columns, never from the name of the file.
"""

from dataclasses import dataclass
from typing import Final

from quasarloop.read.fits_reader import FitsFile

__all__ = ["refusal"]


@dataclass(frozen=True)
class _Kind:
    """A kind of file: it has all these HDUs, and one table with all these columns or cards.

    Attributes:
        what: what it is.
        instead: what to give.
        hdus: names of HDUs; ``"A|B"`` is either.
        columns: names of columns of one table.
        cards: keywords of one header.
    """

    what: str
    instead: str
    hdus: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()


_UNREAD: Final = "is not read"
_TRUTH: Final = "give spectra here, and this file as truth"
_COADD: Final = "give the coadd or cframe file"
# The first that fits is named: special kinds come before catalogues in general.
_KINDS: Final = (
    _Kind("a template of redrock", "give observed spectra", ("BASIS_VECTORS",)),
    _Kind("output of the afterburner", "give the coadd of the same tile", ("QN_RR",)),
    _Kind("results of the Mg II afterburner", "give the coadd of the same tile", ("MGII",)),
    _Kind(
        "redshifts of redrock",
        "give the coadd file of the same tile or pixel",
        ("REDSHIFTS|ZBEST",),
    ),
    _Kind("a DESI redshift catalogue", _TRUTH + " (--unvetted)", ("ZCATALOG",)),
    _Kind("a truth table", _TRUTH, ("TRUTH|MERGED",)),
    _Kind("a DESI sky model", _COADD, ("SKY", "IVAR", "WAVELENGTH")),
    _Kind("DESI standard stars", _COADD, ("FLUX", "WAVELENGTH", "FIBERS")),
    _Kind("a DESI flux calibration", _COADD, ("FLUXCALIB",)),
    _Kind("a DESI fibre flat", _COADD, ("FIBERFLAT",)),
    _Kind(
        "a single exposure of SDSS (spFrame, spCFrame)",
        "give the spec, spField or spPlate file",
        ("FLUX", "WAVELENGTH", "PLUGMAP"),
    ),
    _Kind(
        "an spSpec file of the first SDSS surveys, which is not read",
        "give the spec file of DR8 or later with this plate, MJD and fibre",
        cards=("SPEC_CLN", "PLATEID"),
    ),
    _Kind(
        "a 2dFGRS file of a target, which is not read",
        "give --format specutils:2dFGRS",
        cards=("BJSEL", "SEQNUM"),
    ),
    _Kind(
        "a frame of 2dfdr, which is not read",
        'give --format "specutils:Data Central AAOmega"',
        ("VARIANCE", "FIBRES"),
    ),
    _Kind("a spectrum of APOGEE (near infrared)", "give spectra of BOSS", cards=("APRED",)),
    _Kind("a catalogue of SDSS-V (spAll)", _TRUTH, columns=("CATALOGID", "MJD", "CLASS", "Z")),
    _Kind("a catalogue of SDSS", _TRUTH, columns=("PLATE", "MJD", "FIBERID")),
    _Kind(
        "a catalogue of LAMOST", "give the spectra it lists", columns=("OBSID", "PLANID", "SPID")
    ),
    _Kind("a WEAVE catalogue without spectra", "give the L1 or L2 spectra", ("CLASS_TABLE",)),
    _Kind("a catalogue of DESI redshifts", _TRUTH, columns=("TARGETID", "Z", "SPECTYPE")),
    _Kind("a catalogue of targets", "give the spectra of its targets", columns=("TARGETID",)),
    _Kind("a catalogue of redshifts", _TRUTH, columns=("RA", "DEC", "Z")),
)


def refusal(fits: FitsFile) -> str:
    """Return what a file without spectra is, and what to give instead; empty where unknown."""
    names = {hdu.name for hdu in fits.hdus}
    for kind in _KINDS:
        if not all(set(wanted.split("|")) & names for wanted in kind.hdus):
            continue
        tables = any(set(kind.columns) <= set(hdu.columns) for hdu in fits.hdus)
        headers = any(set(kind.cards) <= set(hdu.header) for hdu in fits.hdus)
        if tables and headers:
            return f"{kind.what}{'' if _UNREAD in kind.what else ', not spectra'}; {kind.instead}"
    return ""
