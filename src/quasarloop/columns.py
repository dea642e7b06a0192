"""Every column that spectra bring from file to store to catalogue: name, type, unit, meaning.

The identity columns are the fields of `Keys`, and only they: readers, store, votes and
catalogues take names and types from here. A new one is a new field; those surveys that have
it under other names list them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Any, Final, get_type_hints

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import DataFormatError
from quasarloop.lines import Line

__all__ = [
    "IDENTITY",
    "STORED",
    "Block",
    "Column",
    "Identity",
    "Index",
    "Keys",
    "as_column",
    "catalogue_columns",
    "check_lengths",
    "columns_named",
    "columns_of_lines",
    "integer_id",
    "integer_ids",
]

Index = slice | NDArray[np.integer] | NDArray[np.bool_]

# Column name -> (n,) array.
Block = dict[str, NDArray[np.generic]]

# Kind of a column -> type of its values in memory and in stores, and the value that means unknown.
_IN_MEMORY: Final = {"i": ("i8", -1), "f": ("f8", np.nan), "U": ("U", "")}


# A number beyond it is not always held exactly by a float.
_EXACT_IN_FLOAT: Final = 2**53


def integer_id(value: object, name: str = "TARGETID") -> int:
    """Return the 64-bit identifier in a cell of a file: a whole number, as number or text.

    Raises:
        ValueError: anything else; the message names the column and the remedy.

    >>> integer_id(" 39633345008634465 ")
    39633345008634465
    """
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 -- NaN
    if not text:
        raise ValueError(f"{name} is blank; every row needs one: fill it in, or take the row out")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_IN_FLOAT:
        return int(value)
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise ValueError(
            f"{name} is {text!r} and not an integer; identifiers have up to 19 digits, no point, "
            "exponent or letter: where a spreadsheet changed it, export the table again with the "
            "column as text"
        )
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(
            f"{name} is {text}, which does not fit into 64 bits; take the survey's identifier"
        )
    return int(text)


def integer_ids(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Return a column of identifiers as int64, whatever a blank or a spreadsheet made of it.

    Raises:
        ValueError: as `integer_id`, with the row.
    """
    if values.dtype.kind == "i":
        return values.astype(np.int64)
    ids = []
    for row, value in enumerate(values.tolist()):
        try:
            ids.append(integer_id(value, name))
        except ValueError as exc:
            raise ValueError(f"row {row} (the first is 0): {exc}") from exc
    return np.array(ids, np.int64)


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: survey style, upper case.
        dtype: numpy type; ``"U"`` columns get their width from the data's longest word.
        text: description.
        unit: FITS unit, ``""`` for none.
    """

    name: str
    dtype: str
    text: str
    unit: str = ""

    @property
    def in_memory(self) -> str:
        """Type of its values in memory and in stores."""
        return self.dtype


@dataclass(frozen=True, kw_only=True)
class Identity(Column):
    """An identity column, with its names in DESI files.

    Attributes:
        fibermap: names in a FIBERMAP, the first there is taken; None is `name`.
        cards: header keywords that hold for all rows, used where the FIBERMAP has no column.
    """

    fibermap: tuple[str, ...] | None = None
    cards: tuple[str, ...] = ()

    @property
    def in_memory(self) -> str:
        """The widest type of its kind: a survey's numbers may be larger than a catalogue's."""
        return _IN_MEMORY[np.dtype(self.dtype).kind][0]

    def missing(self, n: int) -> NDArray[Any]:
        """Return (n,) times the value that means unknown."""
        return np.full(n, _IN_MEMORY[np.dtype(self.dtype).kind][1])


_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Words = NDArray[np.str_]


@dataclass(frozen=True)
class Keys:
    """Identity of each spectrum; every field is an (n,) array, annotated with its column.

    Missing numbers are -1, missing coordinates NaN, missing words ``""``. For SDSS, target_id is
    plate·10⁹ + mjd·10⁴ + fiber, tile_id the plate and night the MJD; for SDSS-V, target_id is
    CATALOGID, object_id SDSS_ID and tile_id the field.
    """

    target_id: Annotated[
        _Ints, Identity("TARGETID", "i8", "survey's 64-bit target identifier", fibermap=())
    ]
    object_id: Annotated[
        _Ints, Identity("OBJECT_ID", "i8", "equal for all spectra of one object", fibermap=())
    ]
    ra_deg: Annotated[_Floats, Identity("TARGET_RA", "f8", "right ascension, ICRS", "deg")]
    dec_deg: Annotated[_Floats, Identity("TARGET_DEC", "f8", "declination, ICRS", "deg")]
    survey: Annotated[_Words, Identity("SURVEY", "U10", "survey", cards=("SURVEY",))]
    program: Annotated[
        _Words, Identity("PROGRAM", "U20", "program within the survey", cards=("PROGRAM",))
    ]
    tile_id: Annotated[
        _Ints,
        Identity("TILEID", "i4", "tile (SDSS: plate or field), -1 unknown", cards=("TILEID",)),
    ]
    healpix: Annotated[
        _Ints,
        Identity(
            "HEALPIX",
            "i4",
            "healpix pixel, -1 unknown",
            fibermap=("HPXPIXEL",),
            cards=("HPXPIXEL",),
        ),
    ]
    night: Annotated[
        _Ints, Identity("NIGHT", "i4", "night (SDSS: MJD), -1 unknown", cards=("NIGHT",))
    ]
    exposure_id: Annotated[_Ints, Identity("EXPID", "i8", "exposure, -1 unknown", cards=("EXPID",))]
    petal: Annotated[
        _Ints,
        Identity(
            "PETAL",
            "i2",
            "petal or spectrograph, -1 unknown",
            fibermap=("PETAL_LOC",),
            cards=("PETAL", "SPECTRO"),
        ),
    ]
    fiber: Annotated[_Ints, Identity("FIBER", "i4", "fibre, -1 unknown")]
    object_type: Annotated[_Words, Identity("OBJTYPE", "U4", "TGT, SKY, ... as in the survey")]
    fiber_status: Annotated[
        _Ints,
        Identity(
            "FIBERSTATUS",
            "i4",
            "fibre bits of the survey, 0 good, -1 unknown",
            fibermap=("COADD_FIBERSTATUS", "FIBERSTATUS"),
        ),
    ]

    def __post_init__(self) -> None:
        check_lengths("Keys", {name: len(getattr(self, name)) for name in IDENTITY})

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.target_id)

    def __repr__(self) -> str:
        """Return one line: arrays are not printed."""
        return f"Keys({len(self)} spectra)"

    def __getitem__(self, index: Index) -> "Keys":
        """Return the keys of some rows."""
        return Keys(**{name: getattr(self, name)[index] for name in IDENTITY})

    def columns(self, *names: str) -> Block:
        """Return survey column names and values; all columns by default."""
        wanted = names or tuple(column.name for column in IDENTITY.values())
        named = {column.name: field for field, column in IDENTITY.items()}
        return {name: getattr(self, named[name]) for name in wanted}

    @classmethod
    def join(cls, parts: "Sequence[Keys]") -> "Keys":
        """Return the keys of several parts, in order."""
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in IDENTITY})

    @classmethod
    def make(cls, target_id: NDArray[Any], **known: NDArray[Any]) -> "Keys":
        """Build keys from what is known, everything else missing.

        Args:
            target_id: (n,) int64; also taken as `object_id` unless that is given.
            known: any other field, (n,) each.

        >>> Keys.make(np.array([7]), night=np.array([20210107])).fiber.tolist()
        [-1]
        """
        given = {"object_id": target_id} | known | {"target_id": target_id}
        n = len(target_id)
        return cls(
            **{
                name: np.asarray(given.get(name, column.missing(n)), column.in_memory)
                for name, column in IDENTITY.items()
            }
        )


def as_column(values: NDArray[Any], column: Column, file: str) -> NDArray[Any]:
    """Return values of a file of others as numbers or logicals of the column's kind.

    Raises:
        DataFormatError: values of another kind; names file, row and column.
    """
    kind, found = np.dtype(column.dtype).kind, values.dtype.kind
    same, convert = _FROM_OTHERS.get(kind, (found, str))
    if values.ndim == 1 and found in same:
        return values
    made = []
    for row, value in enumerate(values.tolist()):
        try:
            made.append(convert(value))
        except (ValueError, TypeError) as exc:
            raise DataFormatError(f"{file}: row {row}: {column.name}: {exc}") from exc
    return np.array(made, bool if kind == "b" else f"{kind}8")


def _logical(word: object) -> bool:
    text = str(word).strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return text in ("true", "1")


# Kind of a column -> kinds that are it already, and how a value becomes one.
_FROM_OTHERS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "i": ("iu", lambda value: integer_id(value, "it")),
    "f": ("fiu", lambda value: float(value) if str(value).strip() else np.nan),
    "b": ("b", _logical),
}


def check_lengths(what: str, lengths: Mapping[str, int]) -> None:
    """Check that columns are of one length.

    Raises:
        DataFormatError: they are not.
    """
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataFormatError(f"{what}: columns differ in length ({found}); expected one length")


# Field of `Keys` -> its column.
_HINTS: Final = get_type_hints(Keys, include_extras=True)
IDENTITY: Final[Mapping[str, Identity]] = MappingProxyType(
    {field.name: _HINTS[field.name].__metadata__[0] for field in fields(Keys)}
)

_SN: Final = (
    Column("SN_B", "f4", "median S/N per pixel, blue"),
    Column("SN_R", "f4", "median S/N per pixel, red"),
    Column("SN_Z", "f4", "median S/N per pixel, near infrared"),
)
_TRACE: Final = (
    Column("FLAGS", "i4", "quality bit mask, names in the header"),
    Column("SOURCE", "U", "file the spectrum came from"),
    Column("ROW", "i8", "row in that file"),
)
# What a store holds of a spectrum besides flux and ivar; identity columns in memory's types.
STORED: Final = (
    *IDENTITY.values(),
    *_SN,
    Column("MEAN_FLUX", "f8", "mean removed by normalising"),
    Column("RMS_FLUX", "f8", "rms removed by normalising"),
    *_TRACE,
)
_RESULT: Final = (
    Column("IS_QSO", "?", "enough lines above the threshold"),
    Column("CLASS", "U7", "NOT_QSO, LOW_Z or HIGH_Z (redshift >= 2.1)"),
    Column("Z_BEST", "f8", "redshift of the most confident line"),
    Column("BEST_LINE", "U12", "the most confident line"),
)
_JOINT: Final = (
    Column("Z_JOINT", "f8", "redshift of all lines together"),
    Column("ZERR_JOINT", "f4", "standard deviation of Z_JOINT"),
    Column("Z_ALT", "f8", "next likely redshift, NaN for none"),
    Column("P_ALT", "f4", "probability of Z_ALT, at most 0.5"),
)


def columns_named(*names: str) -> tuple[Column, ...]:
    """Return columns of spectra and of network results by name, in that order.

    >>> columns_named("FIBER")[0].dtype
    'i4'
    """
    known = {column.name: column for column in (*STORED, *_RESULT, *_JOINT)}
    return tuple(known[name] for name in names)


def columns_of_lines(lines: Sequence[Line]) -> tuple[Column, ...]:
    """Return confidence and redshift columns, all confidences first, BAL last in each."""
    confidence = tuple(
        Column(f"C_{line.column}", "f4", f"confidence of {_finder(line)}") for line in lines
    )
    redshift = tuple(
        Column(f"Z_{line.column}", "f4", f"redshift if it is {line.name}") for line in lines
    )
    return confidence + redshift


def catalogue_columns(lines: Sequence[Line], *, joint: bool = True) -> tuple[Column, ...]:
    """Return all columns of the catalogue a network with these lines gives, in order.

    Args:
        lines: of the network.
        joint: with the redshift of all lines together.
    """
    results = _RESULT + (_JOINT if joint else ())
    return (*IDENTITY.values(), *results, *columns_of_lines(lines), *_SN, *_TRACE)


def _finder(line: Line) -> str:
    return f"broad absorption at {line.name}" if line.is_bal else line.name
