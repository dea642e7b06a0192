"""Truth tables: inspections of DESI, redrock's catalogues, quasar catalogues, our own format.

The kind is found from the columns; those of SDSS are in `truth_sdss`. Nothing is guessed about a
label: an unknown word, a redshift that is no number or two different labels of one target stop the
reading.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.columns import integer_ids
from quasarloop.constants import Zwarn
from quasarloop.errors import TruthError, check_regular, reading
from quasarloop.read.desi import on_target
from quasarloop.read.fits_reader import open_fits
from quasarloop.read.formats import named_id
from quasarloop.read.truth_sdss import SDSS_KINDS
from quasarloop.read.truth_words import (
    Columns,
    Kind,
    Table,
    bal_of,
    each,
    floats,
    known,
    labels,
    number,
    one_per_target,
    refuse_unvetted,
    text,
    z_err_of,
)
from quasarloop.tables import read_table, write_table
from quasarloop.truth import SECURE_QUALITY, SpecType, TruthTable, join_truth

__all__ = ["read_truth", "read_truths", "write_truth"]

logger = logging.getLogger(__name__)

# Our own columns, in the order written.
_OWN_COLUMNS: Final = (
    "TARGETID",
    "OBJECT_ID",
    "SPECTYPE",
    "Z",
    "QUALITY",
    "IS_BAL",
    "SOURCE",
    "ZERR",
)
# Name of the table of a DESI quasar catalogue, whose rows need no class: all are quasars.
_QSO_CATALOGUE: Final = "QSO_CAT"


def read_truth(path: str | Path, *, unvetted: bool = False) -> TruthTable:
    """Read labels from a CSV, FITS or Parquet file of any known kind.

    Args:
        path: our own table (TARGETID, SPECTYPE, Z and optionally OBJECT_ID, QUALITY, IS_BAL,
            SOURCE, ZERR), prospect's or published inspections (VI_*), merged inspections (best_*),
            SDSS's superset of DR12Q, DR14Q, DR16Q and its superset, or a ``truth.csv`` with
            OBJECT_GROUP and SOURCE_OF_LABEL.
        unvetted: take labels that nobody has inspected, too: redrock's catalogues (TARGETID, Z,
            ZWARN, SPECTYPE), DESI's quasar catalogues, SDSS's spAll, and rows of DR14Q and DR16Q
            of algorithms; rows with a warning, and those of no target, get quality 0.

    Returns:
        One row per target, in the file's order; equal repeats are merged.

    Raises:
        TruthError: unknown columns, impossible values, different labels of one target, or a
            catalogue of labels that nobody has inspected and not `unvetted`.
        DataFormatError: the file is missing or damaged.
    """
    file = Path(path)
    table = _load(file)
    for kind in _KINDS:
        if kind.marks <= set(table):
            try:
                columns = kind.convert(file, table, unvetted)
            except (ValueError, TypeError, OverflowError) as exc:
                raise TruthError(f"{file}: {exc}; correct it (a label may be empty)") from exc
            source = np.full(len(columns["target_id"]), file.name)
            return _merge_repeats(file, {"source": source} | columns)
    expected = "; or ".join(" ".join(sorted(kind.marks)) for kind in _KINDS)
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
        truth.z_err,
    )
    columns = dict(zip(_OWN_COLUMNS, values, strict=True))
    if np.isnan(truth.z_err).all():  # of most tables: their form stays as it was
        del columns["ZERR"]
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
        first = tables[0]
        simple = [name for name in first.columns if name in _FITS_COLUMNS]
        table = fits.columns(first, simple)
        fibermap = fits.named("FIBERMAP")  # of a redrock file, row by row as its redshifts
        if "ZWARN" in table and fibermap and fibermap.n_rows == first.n_rows:
            table = fits.columns(fibermap, ["OBJTYPE"]) | table
        if first.name == _QSO_CATALOGUE or "QSO_MASKBITS" in first.columns:
            table |= {_QSO_CATALOGUE: np.full(first.n_rows, True)}
        return table


def _own(file: Path, table: Table, unvetted: bool) -> Columns:
    columns = labels(table, "SPECTYPE", "Z", "QUALITY") | known(
        table,
        object_id=("OBJECT_ID", int, np.int64),
        bal=("IS_BAL", bal_of, np.int8),
        source=("SOURCE", str, np.str_),
        z_err=("ZERR", z_err_of, np.float64),
    )
    if "ZWARN" not in table or "QUALITY" in table:
        return columns
    if not unvetted:
        raise refuse_unvetted(file, "a redshift catalogue (it has ZWARN, and no QUALITY)")
    return _without_warning(file, table, columns)


def _quasar_catalogue(file: Path, table: Table, unvetted: bool) -> Columns:
    """DESI's quasar catalogues: SPECTYPE, where they have one, is redrock's first opinion."""
    if not unvetted:
        raise refuse_unvetted(file, "a quasar catalogue of DESI")
    ids = integer_ids(table["TARGETID"], "TARGETID")
    columns: Columns = {
        "target_id": ids,
        "spectype": np.full(len(ids), SpecType.QSO, dtype=np.int8),
        "z": each(table, "Z", number, np.float64),
    }
    return _without_warning(file, table, columns)


def _without_warning(file: Path, table: Table, columns: Columns) -> Columns:
    """Give rows of redrock their quality, and keep one row of each target."""
    ids = columns["target_id"]
    zwarn = floats(table, "ZWARN", 0.0)
    sound = np.isin(zwarn, (0, Zwarn.SMALL_DELTA_CHI2))  # a close second is common for quasars
    aimed = on_target(text(table.get("OBJTYPE", np.full(len(ids), ""))), ids)
    quality = np.where(sound & aimed, SECURE_QUALITY, 0.0)
    # Catalogues of many tiles or surveys have a target's repeats: the survey's choice is the label
    # (ZCAT_PRIMARY), else its clearest redshift.
    primary, margin = (floats(table, name, 0.0) for name in ("ZCAT_PRIMARY", "DELTACHI2"))
    kept = one_per_target(columns | {"quality": quality}, primary, quality, margin)
    logger.warning(
        "%s: labels of redrock, not of inspectors: of %d rows %d are of targets and without a "
        "warning (ZWARN 0 or 4); the others have quality 0. %d repeats left out",
        *(file, len(ids), np.count_nonzero(quality), len(ids) - len(kept["target_id"])),
    )
    return kept


def _merged_inspections(file: Path, table: Table, unvetted: bool) -> Columns:
    return labels(table, "BEST_SPECTYPE", "BEST_Z", "BEST_QUALITY") | known(
        table,
        bal=("IS_BAL", bal_of, np.int8),
        z_err=("BEST_Z_ERR", z_err_of, np.float64),
    )


def _inspections(file: Path, table: Table, unvetted: bool) -> Columns:
    # A blank VI_z or VI_spectype means that the shown redrock value was accepted.
    accepted = dict(table)
    for name, shown in (("VI_SPECTYPE", "REDROCK_SPECTYPE"), ("VI_Z", "REDROCK_Z")):
        words = text(table[name])
        accepted[name] = np.where(words == "", text(table.get(shown, words)), words)
    return labels(accepted, "VI_SPECTYPE", "VI_Z", "VI_QUALITY") | known(
        table, z_err=("VI_Z_ERR", z_err_of, np.float64)
    )


def _shared_truth(file: Path, table: Table, unvetted: bool) -> Columns:
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
        "spectype": each(table, "CLASS", SpecType.from_word, np.int8),
        "z": each(table, "Z", number, np.float64),
        "bal": each(table, "IS_BAL", bal_of, np.int8),
        "source": text(table["SOURCE_OF_LABEL"]),
    }


_REDROCK: Final = ("ZWARN", "OBJTYPE", "DELTACHI2", "ZCAT_PRIMARY")
_KINDS: Final = (
    Kind(
        frozenset({"TARGETID_OR_PLATE_MJD_FIBER", "CLASS", "Z", "OBJECT_GROUP"}), (), _shared_truth
    ),
    Kind(
        frozenset({"TARGETID", "BEST_SPECTYPE", "BEST_Z", "BEST_QUALITY"}),
        ("IS_BAL", "BEST_Z_ERR"),
        _merged_inspections,
    ),
    Kind(
        frozenset({"TARGETID", "VI_SPECTYPE", "VI_Z", "VI_QUALITY"}),
        ("REDROCK_SPECTYPE", "REDROCK_Z", "VI_Z_ERR"),
        _inspections,
    ),
    *SDSS_KINDS,
    Kind(frozenset({"TARGETID", "Z", _QSO_CATALOGUE}), _REDROCK, _quasar_catalogue),
    Kind(frozenset({"TARGETID", "SPECTYPE", "Z"}), (*_OWN_COLUMNS, *_REDROCK), _own),
)
_FITS_COLUMNS: Final = {name for kind in _KINDS for name in (*kind.marks, *kind.others)}


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
