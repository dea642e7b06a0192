"""Truth tables: visual-inspection CSVs, the DR12Q superset, redrock's catalogues, our own format.

The kind is found from the columns. Nothing is guessed about a label: an unknown word, a
redshift that is no number or two different labels of one target stop the reading.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from quasarloop.columns import integer_ids
from quasarloop.constants import Zwarn
from quasarloop.errors import TruthError, check_regular, reading
from quasarloop.read.desi import on_target
from quasarloop.read.fits_reader import open_fits
from quasarloop.read.formats import named_id, sdss_target_id
from quasarloop.tables import read_table, write_table
from quasarloop.truth import SECURE_QUALITY, SpecType, TruthTable, join_truth

__all__ = ["read_truth", "read_truths", "write_truth"]

logger = logging.getLogger(__name__)

Table = Mapping[str, NDArray[Any]]  # names in capitals -> values; text where unsure
Columns = dict[str, NDArray[Any]]  # fields of TruthTable; those a file lacks are left out

# Our own columns, in the order written.
_OWN_COLUMNS: Final = ("TARGETID", "OBJECT_ID", "SPECTYPE", "Z", "QUALITY", "IS_BAL", "SOURCE")
# Source: docs/reference/labels.md, "Truth tables": SDSS Superset DR12Q (Pâris et al. 2017).
_PERSON_CLASS: Final = {1: SpecType.STAR, 3: SpecType.QSO, 30: SpecType.QSO, 4: SpecType.GALAXY}
_PERSON_BAL: Final = 30
_PERSON_SURE: Final = 3
# Redshifts outside this range are typing errors. Our choice.
_Z_RANGE: Final = (-0.1, 20.0)
_QUALITY_RANGE: Final = (0.0, 4.0)
# Nulls make floats of integer columns, and some tables hold logicals.
_BAL_WORDS: Final = {
    **dict.fromkeys(("", "nan", "-1", "-1.0"), -1),
    **dict.fromkeys(("0", "0.0", "False"), 0),
    **dict.fromkeys(("1", "1.0", "True"), 1),
}


def read_truth(path: str | Path, *, unvetted: bool = False) -> TruthTable:
    """Read labels from a CSV, FITS or Parquet file of any known kind.

    Args:
        path: our own table (TARGETID, SPECTYPE, Z and optionally OBJECT_ID, QUALITY, IS_BAL,
            SOURCE), prospect's inspections (VI_*) or merged inspections (best_*), the
            Superset_DR12Q catalogue, or a ``truth.csv`` with OBJECT_GROUP and SOURCE_OF_LABEL.
        unvetted: take redrock's catalogues (TARGETID, Z, ZWARN, SPECTYPE) too, which nobody has
            inspected; rows with a warning, and those of no target, get quality 0.

    Returns:
        One row per target, in the file's order; equal repeats are merged.

    Raises:
        TruthError: unknown columns, impossible values, different labels of one target, or a
            catalogue of redrock and not `unvetted`.
        DataFormatError: the file is missing or damaged.
    """
    file = Path(path)
    table = _load(file)
    for marks, convert in _KINDS:
        if marks <= set(table):
            vetted = convert is not _own or "ZWARN" not in table or "QUALITY" in table
            if not vetted and not unvetted:
                raise TruthError(
                    f"{file}: a redshift catalogue (it has ZWARN, and no QUALITY), whose labels "
                    "nobody has inspected; give inspections, or --unvetted (unvetted=True) to take "
                    "those without a warning"
                )
            try:
                columns = convert(file, table)
                columns = columns if vetted else _without_warning(file, table, columns)
            except (ValueError, TypeError, OverflowError) as exc:
                raise TruthError(f"{file}: {exc}; correct it (a label may be empty)") from exc
            source = np.full(len(columns["target_id"]), file.name)
            return _merge_repeats(file, {"source": source} | columns)
    expected = "; or ".join(" ".join(sorted(marks)) for marks, _ in _KINDS)
    raise TruthError(f"{file}: found the columns {' '.join(table)}; expected {expected}")


def read_truths(paths: Iterable[str | Path], *, unvetted: bool = False) -> TruthTable:
    """Read several tables as one; of one target's labels the last table's wins.

    Raises:
        TruthError, DataFormatError: as `read_truth`, or no table.
    """
    return join_truth([read_truth(path, unvetted=unvetted) for path in paths])


def write_truth(truth: TruthTable, path: str | Path) -> None:
    """Write labels as our own table; the suffix (.csv, .parquet, .fits) decides the kind.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    values: tuple[NDArray[Any], ...] = (
        truth.target_id,
        truth.object_id,
        np.array([SpecType(int(value)).word for value in truth.spectype], np.str_),
        truth.z,
        truth.quality,
        truth.bal.astype(np.int16),
        truth.source,
    )
    columns = dict(zip(_OWN_COLUMNS, values, strict=True))
    # An empty word of FITS is a blank here: bytes of zeros mean an undefined value.
    write_table(columns, path, hdu="TRUTH", blank=" ")


def _load(file: Path) -> Table:
    try:
        with check_regular(file).open("rb") as stream:
            magic = stream.read(4)
    except OSError as exc:
        raise TruthError(f"{file}: cannot be read ({exc.strerror}); check the name") from exc
    if magic[:2] == b"\x1f\x8b" or magic == b"SIMP":
        return _load_fits(file)
    with reading(file, "a truth table", "give CSV, Parquet or FITS", TruthError):
        table = read_table(file, as_text=True)
    return {name.strip().upper(): values for name, values in table.items()}


def _load_fits(file: Path) -> Table:
    with open_fits(file) as fits:
        tables = [hdu for hdu in fits.hdus if hdu.is_table]
        if not tables:
            raise TruthError(f"{file}: no table in this FITS file; expected one with labels")
        simple = [name for name in tables[0].columns if name in _FITS_COLUMNS]
        table = fits.columns(tables[0], simple)
        fibermap = fits.named("FIBERMAP")  # of a redrock file, row by row as its redshifts
        if "ZWARN" in table and fibermap and fibermap.n_rows == tables[0].n_rows:
            table = fits.columns(fibermap, ["OBJTYPE"]) | table
        return table


def _without_warning(file: Path, table: Table, columns: Columns) -> Columns:
    """Give rows of redrock their quality, and keep one row of each target."""
    ids = columns["target_id"]
    zwarn = _each(table, "ZWARN", float, np.float64)
    sound = np.isin(zwarn, (0, Zwarn.SMALL_DELTA_CHI2))  # a close second is common for quasars
    aimed = on_target(_text(table.get("OBJTYPE", np.full(len(ids), ""))), ids)
    quality = np.where(sound & aimed, SECURE_QUALITY, 0.0)
    # Catalogues of many tiles have a target's repeats: its clearest redshift is the label.
    margin = table.get("DELTACHI2", zwarn).astype(np.float64)
    order = np.lexsort((-margin, -quality))
    keep = np.sort(order[np.unique(ids[order], return_index=True)[1]])
    logger.warning(
        "%s: labels of redrock, not of inspectors: of %d rows %d are of targets and without a "
        "warning (ZWARN 0 or 4); the others have quality 0. %d repeats left out",
        *(file, len(ids), np.count_nonzero(quality), len(ids) - len(keep)),
    )
    return {name: values[keep] for name, values in (columns | {"quality": quality}).items()}


def _own(file: Path, table: Table) -> Columns:
    return _labels(table, "SPECTYPE", "Z", "QUALITY") | _known(
        table,
        object_id=("OBJECT_ID", int, np.int64),
        bal=("IS_BAL", _bal, np.int8),
        source=("SOURCE", str, np.str_),
    )


def _merged_inspections(file: Path, table: Table) -> Columns:
    bal = _known(table, bal=("IS_BAL", _bal, np.int8))
    return _labels(table, "BEST_SPECTYPE", "BEST_Z", "BEST_QUALITY") | bal


def _inspections(file: Path, table: Table) -> Columns:
    # A blank VI_z or VI_spectype means that the shown redrock value was accepted.
    accepted = dict(table)
    for name, shown in (("VI_SPECTYPE", "REDROCK_SPECTYPE"), ("VI_Z", "REDROCK_Z")):
        words = _text(table[name])
        accepted[name] = np.where(words == "", _text(table.get(shown, words)), words)
    return _labels(accepted, "VI_SPECTYPE", "VI_Z", "VI_QUALITY")


def _superset_dr12q(file: Path, table: Table) -> Columns:
    ids = sdss_target_id(table["PLATE"], table["MJD"], table["FIBERID"])
    thing_id = np.asarray(table["THING_ID"], dtype=np.int64)
    person = np.asarray(table["CLASS_PERSON"])
    confidence = np.asarray(table["Z_CONF_PERSON"], dtype=np.float64)
    spectype = np.full(len(ids), SpecType.UNKNOWN, dtype=np.int8)
    for value, kind in _PERSON_CLASS.items():
        spectype[person == value] = kind
    return {
        "target_id": ids,
        "object_id": np.where(thing_id > 0, thing_id, ids),
        "spectype": spectype,
        "z": np.asarray(table["Z_VI"], dtype=np.float64),
        # Z_CONF_PERSON 3 is "use"; 0 to 2 mean the same as an inspector's quality 0 to 2.
        "quality": np.where(confidence >= _PERSON_SURE, SECURE_QUALITY, confidence),
        "bal": _superset_bal(table, person, spectype),
        "source": np.full(len(ids), "Superset_DR12Q"),
    }


def _superset_bal(
    table: Table, person: NDArray[Any], spectype: NDArray[np.int8]
) -> NDArray[np.int8]:
    if {"BAL_FLAG_VI", "BI_CIV"} <= set(table):
        flagged = np.asarray(table["BAL_FLAG_VI"]) > 0
        balnicity = np.asarray(table["BI_CIV"]) > 0
        return np.where(flagged & balnicity, 1, np.where(flagged | balnicity, -1, 0)).astype(
            np.int8
        )
    # Cut-down catalogues leave only the inspector's class as indicator, for quasars.
    known = np.where(person == _PERSON_BAL, 1, 0)
    return np.where(spectype == SpecType.QSO, known, -1).astype(np.int8)


def _shared_truth(file: Path, table: Table) -> Columns:
    ids = np.array([named_id(name) for name in table["TARGETID_OR_PLATE_MJD_FIBER"]], np.int64)
    # Groups are numbered within a data set, so the folder's name belongs to them.
    folder = file.resolve().parent.name
    objects = [
        named_id(f"{folder}/{group}") if group else target
        for group, target in zip(table["OBJECT_GROUP"], ids.tolist(), strict=True)
    ]
    return {
        "target_id": ids,
        "object_id": np.array(objects, dtype=np.int64),
        "spectype": _each(table, "CLASS", SpecType.from_word, np.int8),
        "z": _each(table, "Z", _number, np.float64),
        "bal": _each(table, "IS_BAL", _bal, np.int8),
        "source": _text(table["SOURCE_OF_LABEL"]),
    }


_KINDS: Final[tuple[tuple[frozenset[str], Callable[[Path, Table], Columns]], ...]] = (
    (frozenset({"TARGETID_OR_PLATE_MJD_FIBER", "CLASS", "Z", "OBJECT_GROUP"}), _shared_truth),
    (frozenset({"CLASS_PERSON", "Z_CONF_PERSON", "Z_VI", "PLATE"}), _superset_dr12q),
    (frozenset({"TARGETID", "BEST_SPECTYPE", "BEST_Z", "BEST_QUALITY"}), _merged_inspections),
    (frozenset({"TARGETID", "VI_SPECTYPE", "VI_Z", "VI_QUALITY"}), _inspections),
    (frozenset({"TARGETID", "SPECTYPE", "Z"}), _own),
)
_FITS_COLUMNS: Final = {
    *_OWN_COLUMNS,
    *("BEST_SPECTYPE", "BEST_Z", "BEST_QUALITY", "VI_SPECTYPE", "VI_Z", "VI_QUALITY"),
    *("CLASS_PERSON", "Z_CONF_PERSON", "Z_VI", "PLATE", "MJD", "FIBERID", "THING_ID"),
    *("BAL_FLAG_VI", "BI_CIV", "REDROCK_SPECTYPE", "REDROCK_Z"),
    *("ZWARN", "OBJTYPE", "DELTACHI2"),
}


def _merge_repeats(file: Path, columns: Columns) -> TruthTable:
    ids = columns["target_id"]
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    original = first[inverse.ravel()]
    same = np.ones(len(ids), dtype=bool)
    for values in columns.values():
        a, b = values, values[original]
        same &= (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 -- NaN equals NaN here
    if not same.all():
        clashing = np.unique(ids[~same])
        names = ", ".join(str(value) for value in clashing[:5])
        raise TruthError(
            f"{file}: {len(clashing)} TARGETIDs have two different labels (first: {names}); "
            "merge inspections first, one row per target"
        )
    keep = np.sort(first)
    rest = {name: values[keep] for name, values in columns.items() if name != "target_id"}
    return TruthTable.make(ids[keep], rest.pop("spectype"), rest.pop("z"), **rest)


def _labels(table: Table, spectype: str, z: str, quality: str) -> Columns:
    """Return the labels of targets named by TARGETID."""
    return {
        "target_id": integer_ids(table["TARGETID"], "TARGETID"),
        "spectype": _each(table, spectype, SpecType.from_word, np.int8),
        "z": _each(table, z, _number, np.float64),
        **_known(table, quality=(quality, _quality, np.float64)),
    }


def _known(table: Table, **columns: tuple[str, Callable[[str], Any], Any]) -> Columns:
    """Convert those columns that the table has: field -> name, conversion, type."""
    return {
        field: integer_ids(table[name], name)
        if convert is int
        else _each(table, name, convert, dtype)
        for field, (name, convert, dtype) in columns.items()
        if name in table
    }


def _each(table: Table, name: str, convert: Callable[[str], Any], dtype: DTypeLike) -> NDArray[Any]:
    """Convert every word of a column; errors name the row."""
    values = []
    for row, word in enumerate(_text(table[name]).tolist()):
        try:
            values.append(convert(word))
        except ValueError as exc:
            raise ValueError(f"row {row}: {name} {exc}") from exc
    return np.array(values, dtype)


def _bal(word: str) -> int:
    if word not in _BAL_WORDS:
        raise ValueError(f"{word!r} is none of 0, 1, empty or -1")
    return _BAL_WORDS[word]


def _quality(word: str) -> float:
    quality = _number(word, _QUALITY_RANGE)
    return 0.0 if math.isnan(quality) else quality


def _number(word: str, allowed: tuple[float, float] = _Z_RANGE) -> float:
    try:
        number = float(word) if word not in ("", "None") else math.nan
    except ValueError as exc:
        raise ValueError(f"{word!r} is not a number") from exc
    if not (math.isnan(number) or allowed[0] <= number <= allowed[1]):
        raise ValueError(f"{number} is outside {allowed[0]} … {allowed[1]}")
    return number


def _text(values: NDArray[Any]) -> NDArray[np.str_]:
    return np.array([str(value).strip() if value is not None else "" for value in values], np.str_)
