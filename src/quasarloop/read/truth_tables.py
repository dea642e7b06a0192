"""Truth tables: visual-inspection CSVs, the DR12Q superset, and our own format.

The kind is found from the columns. Nothing is guessed about a label: an unknown word, a
redshift that is no number or two different labels of one target stop the reading.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.errors import TruthError
from quasarloop.read.fits_reader import open_fits
from quasarloop.read.formats import named_id, sdss_target_id
from quasarloop.tables import UNREADABLE, read_table, write_table
from quasarloop.truth import SECURE_QUALITY, SpecType, TruthTable

__all__ = ["read_truth", "write_truth"]

Table = Mapping[str, NDArray[Any]]  # names in capitals -> values; text where unsure

# Our own columns, in the order written.
_OWN_COLUMNS: Final = ("TARGETID", "OBJECT_ID", "SPECTYPE", "Z", "QUALITY", "IS_BAL", "SOURCE")
# Source: docs/reference/labels.md, "Truth tables": SDSS Superset DR12Q (Pâris et al. 2017).
_PERSON_CLASS: Final = {
    1: SpecType.STAR,
    3: SpecType.QSO,
    30: SpecType.QSO,
    4: SpecType.GALAXY,
}
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
_SHOWN: Final = 5  # clashing targets named in a message


def read_truth(path: str | Path) -> TruthTable:
    """Read labels from a CSV, FITS or Parquet file of any known kind.

    Args:
        path: our own table (TARGETID, SPECTYPE, Z and optionally OBJECT_ID, QUALITY, IS_BAL,
            SOURCE), prospect's inspections (VI_*) or merged inspections (best_*), the
            Superset_DR12Q catalogue, or a ``truth.csv`` with OBJECT_GROUP and SOURCE_OF_LABEL.

    Returns:
        One row per target, in the file's order; equal repeats are merged.

    Raises:
        TruthError: unknown columns, impossible values, or different labels of one target.
        DataFormatError: the file is missing or damaged.
    """
    file = Path(path)
    table = _load(file)
    for marks, convert in _KINDS:
        if marks <= set(table):
            try:
                columns = convert(file, table)
            except (ValueError, TypeError, OverflowError) as exc:
                raise TruthError(f"{file}: {exc}; correct that value or leave it empty") from exc
            return _merge_repeats(file, columns)
    expected = "; or ".join(" ".join(sorted(marks)) for marks, _ in _KINDS)
    raise TruthError(f"{file}: found the columns {' '.join(table)}; expected {expected}")


def write_truth(truth: TruthTable, path: str | Path) -> None:
    """Write labels as our own table; the suffix (.csv, .parquet, .fits) decides the kind.

    Raises:
        OutputError: another suffix, or the file cannot be written.
    """
    words = np.array([_word(value) for value in truth.spectype])
    values: tuple[NDArray[Any], ...] = (
        truth.target_id,
        truth.object_id,
        words,
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
        with file.open("rb") as stream:
            magic = stream.read(4)
    except OSError as exc:
        raise TruthError(f"{file}: cannot be read ({exc.strerror}); check the name") from exc
    if magic[:2] == b"\x1f\x8b" or magic == b"SIMP":
        return _load_fits(file)
    try:
        table = read_table(file, as_text=True)
    except UNREADABLE as exc:
        raise TruthError(f"{file}: neither CSV nor Parquet nor FITS: {exc}") from exc
    return {name.strip().upper(): values for name, values in table.items()}


def _load_fits(file: Path) -> Table:
    with open_fits(file) as fits:
        tables = [hdu for hdu in fits.hdus if hdu.is_table]
        if not tables:
            raise TruthError(f"{file}: no table in this FITS file; expected one with labels")
        simple = [name for name in tables[0].columns if name in _FITS_COLUMNS]
        return fits.columns(tables[0], simple)


def _own(file: Path, table: Table) -> dict[str, NDArray[Any]]:
    n = len(table["TARGETID"])
    ids = _integers(table, "TARGETID")
    return {
        "target_id": ids,
        "object_id": _integers(table, "OBJECT_ID") if "OBJECT_ID" in table else ids,
        "spectype": _spectypes(table["SPECTYPE"]),
        "z": _numbers(table, "Z", _Z_RANGE),
        "quality": _numbers(table, "QUALITY", _QUALITY_RANGE, empty=0.0)
        if "QUALITY" in table
        else np.full(n, SECURE_QUALITY),
        "bal": _bal(table["IS_BAL"]) if "IS_BAL" in table else np.full(n, -1),
        "source": _text(table["SOURCE"]) if "SOURCE" in table else np.full(n, file.name),
    }


def _merged_inspections(file: Path, table: Table) -> dict[str, NDArray[Any]]:
    ids = _integers(table, "TARGETID")
    return {
        "target_id": ids,
        "object_id": ids,
        "spectype": _spectypes(table["BEST_SPECTYPE"]),
        "z": _numbers(table, "BEST_Z", _Z_RANGE),
        "quality": _numbers(table, "BEST_QUALITY", _QUALITY_RANGE, empty=0.0),
        "bal": _bal(table["IS_BAL"]) if "IS_BAL" in table else np.full(len(ids), -1),
        "source": np.full(len(ids), file.name),
    }


def _inspections(file: Path, table: Table) -> dict[str, NDArray[Any]]:
    # A blank VI_z or VI_spectype means that the shown redrock value was accepted.
    ids = _integers(table, "TARGETID")
    blank = np.full(len(ids), "")
    types = _accepted(table["VI_SPECTYPE"], table.get("REDROCK_SPECTYPE", blank))
    shown_z = table.get("REDROCK_Z", blank)
    return {
        "target_id": ids,
        "object_id": ids,
        "spectype": _spectypes(types),
        "z": _numbers({"VI_Z": _accepted(table["VI_Z"], shown_z)}, "VI_Z", _Z_RANGE),
        "quality": _numbers(table, "VI_QUALITY", _QUALITY_RANGE, empty=0.0),
        "bal": np.full(len(ids), -1),
        "source": np.full(len(ids), file.name),
    }


def _superset_dr12q(file: Path, table: Table) -> dict[str, NDArray[Any]]:
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


def _shared_truth(file: Path, table: Table) -> dict[str, NDArray[Any]]:
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
        "spectype": _spectypes(table["CLASS"]),
        "z": _numbers(table, "Z", _Z_RANGE),
        "quality": np.full(len(ids), SECURE_QUALITY),
        "bal": _bal(table["IS_BAL"]),
        "source": _text(table["SOURCE_OF_LABEL"]),
    }


_KINDS: Final[
    tuple[tuple[frozenset[str], Callable[[Path, Table], dict[str, NDArray[Any]]]], ...]
] = (
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
}


def _merge_repeats(file: Path, columns: dict[str, NDArray[Any]]) -> TruthTable:
    ids = columns["target_id"]
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    original = first[inverse.ravel()]
    same = np.ones(len(ids), dtype=bool)
    for values in columns.values():
        a, b = values, values[original]
        same &= (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 -- NaN equals NaN here
    if not same.all():
        clashing = np.unique(ids[~same])
        names = ", ".join(str(value) for value in clashing[:_SHOWN])
        raise TruthError(
            f"{file}: {len(clashing)} TARGETIDs have two different labels (first: {names}); "
            "merge inspections first, one row per target"
        )
    keep = np.sort(first)
    rest = {name: values[keep] for name, values in columns.items() if name != "target_id"}
    return TruthTable.make(ids[keep], rest.pop("spectype"), rest.pop("z"), **rest)


def _word(value: np.int8) -> str:
    return "" if value == SpecType.UNKNOWN else SpecType(int(value)).name


def _spectypes(words: NDArray[Any]) -> NDArray[np.int8]:
    known = {kind.name: int(kind) for kind in SpecType if kind != SpecType.UNKNOWN} | {"": -1}
    result = []
    for row, word in enumerate(_text(words).tolist()):
        if word.upper() not in known:
            raise ValueError(f"row {row}: class {word!r} is none of STAR, GALAXY, QSO")
        result.append(known[word.upper()])
    return np.array(result, dtype=np.int8)


def _bal(values: NDArray[Any]) -> NDArray[np.int8]:
    result = []
    for row, word in enumerate(_text(values).tolist()):
        if word not in _BAL_WORDS:
            raise ValueError(f"row {row}: is_bal {word!r} is none of 0, 1, empty or -1")
        result.append(_BAL_WORDS[word])
    return np.array(result, dtype=np.int8)


def _integers(table: Table, name: str) -> NDArray[np.int64]:
    values = table[name]
    if values.dtype.kind == "f":
        raise ValueError(f"{name} is a floating-point column, which cannot hold 64-bit identifiers")
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    result = []
    for row, word in enumerate(_text(values).tolist()):
        try:
            result.append(int(word))
        except ValueError as exc:
            raise ValueError(f"row {row}: {name} {word!r} is not an integer") from exc
    return np.array(result, dtype=np.int64)


def _numbers(
    table: Table, name: str, allowed: tuple[float, float], empty: float = np.nan
) -> NDArray[np.float64]:
    result = []
    for row, value in enumerate(table[name]):
        word = str(value).strip()
        try:
            number = float(word) if word not in ("", "None") else empty
        except ValueError as exc:
            raise ValueError(f"row {row}: {name} {word!r} is not a number") from exc
        if not (np.isnan(number) or allowed[0] <= number <= allowed[1]):
            raise ValueError(f"row {row}: {name} {number} is outside {allowed[0]} … {allowed[1]}")
        result.append(empty if np.isnan(number) else number)
    return np.array(result, dtype=np.float64)


def _accepted(given: NDArray[Any], shown: NDArray[Any]) -> NDArray[np.str_]:
    words = _text(given)
    return np.where(words == "", _text(shown), words)


def _text(values: NDArray[Any]) -> NDArray[np.str_]:
    return np.array([str(value).strip() if value is not None else "" for value in values], np.str_)
