"""The columns of a quasar catalogue: names, types, units and what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quasarloop.lines import Line

__all__ = ["CatalogueBlock", "Column", "catalogue_columns", "columns_of_lines"]

# Column name -> (n,) array, in the order of `catalogue_columns`.
CatalogueBlock = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: survey style, upper case.
        dtype: numpy type; ``"U"`` columns get their width from the data's longest word.
        unit: FITS unit, ``""`` for none.
        text: what it holds.
    """

    name: str
    dtype: str
    unit: str
    text: str


_IDENTITY = (
    Column("TARGETID", "i8", "", "survey's 64-bit target identifier"),
    Column("OBJECT_ID", "i8", "", "equal for all spectra of one object"),
    Column("TARGET_RA", "f8", "deg", "right ascension, ICRS"),
    Column("TARGET_DEC", "f8", "deg", "declination, ICRS"),
    Column("SURVEY", "U10", "", "survey"),
    Column("PROGRAM", "U10", "", "program within the survey"),
    Column("TILEID", "i4", "", "tile (SDSS: plate), -1 unknown"),
    Column("HEALPIX", "i4", "", "healpix pixel, -1 unknown"),
    Column("NIGHT", "i4", "", "night (SDSS: MJD), -1 unknown"),
    Column("EXPID", "i8", "", "exposure, -1 unknown"),
    Column("PETAL", "i2", "", "petal or spectrograph, -1 unknown"),
    Column("FIBER", "i4", "", "fibre, -1 unknown"),
    Column("OBJTYPE", "U4", "", "TGT, SKY, ... as the survey says"),
)
_RESULT = (
    Column("IS_QSO", "?", "", "enough lines above the threshold"),
    Column("CLASS", "U7", "", "NOT_QSO, LOW_Z or HIGH_Z (redshift >= 2.1)"),
    Column("Z_BEST", "f8", "", "redshift of the most confident line"),
    Column("BEST_LINE", "U12", "", "the most confident line"),
)
_JOINT = (
    Column("Z_JOINT", "f8", "", "redshift of all lines together"),
    Column("ZERR_JOINT", "f4", "", "standard deviation of Z_JOINT"),
    Column("Z_ALT", "f8", "", "next likely redshift, NaN for none"),
    Column("P_ALT", "f4", "", "probability of Z_ALT, at most 0.5"),
)
_TRACE = (
    Column("SN_B", "f4", "", "median S/N per pixel, blue"),
    Column("SN_R", "f4", "", "median S/N per pixel, red"),
    Column("SN_Z", "f4", "", "median S/N per pixel, near infrared"),
    Column("FLAGS", "i4", "", "quality bit mask, names in the header"),
    Column("SOURCE", "U", "", "file the spectrum came from"),
    Column("ROW", "i8", "", "row in that file"),
)


def columns_of_lines(lines: Sequence[Line]) -> tuple[Column, ...]:
    """Return confidence and redshift columns, all confidences first, BAL last in each."""
    confidence = tuple(
        Column(f"C_{line.column}", "f4", "", f"confidence of {_finder(line)}") for line in lines
    )
    redshift = tuple(
        Column(f"Z_{line.column}", "f4", "", f"redshift if it is {line.name}") for line in lines
    )
    return confidence + redshift


def catalogue_columns(lines: Sequence[Line], *, joint: bool = True) -> tuple[Column, ...]:
    """Return all columns of the catalogue a network with these lines gives, in order.

    Args:
        lines: of the network.
        joint: with the redshift of all lines together.
    """
    return _IDENTITY + _RESULT + (_JOINT if joint else ()) + columns_of_lines(lines) + _TRACE


def _finder(line: Line) -> str:
    return f"broad absorption at {line.name}" if line.is_bal else line.name
