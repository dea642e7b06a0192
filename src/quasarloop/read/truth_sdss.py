"""Truth tables of SDSS: DR12Q superset, DR14Q, DR16Q and its superset, spAll of every phase.

Source: docs/reference/labels.md, "Truth tables": Pâris et al. 2017 (DR12Q), Pâris et al. 2018
(DR14Q), Lyke et al. 2020 (DR16Q), sdss/idlspec2d ``datamodel/spall_dm.par``.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.columns import integer_ids
from quasarloop.read.formats import sdss_target_id
from quasarloop.read.sdssv import sdssv_ids
from quasarloop.read.truth_words import (
    Columns,
    Kind,
    Table,
    each,
    floats,
    one_per_target,
    refuse_unvetted,
    text,
)
from quasarloop.truth import SECURE_QUALITY, SpecType

__all__ = ["SDSS_KINDS"]

logger = logging.getLogger(__name__)

# CLASS_PERSON: 30 is a quasar with broad absorption, 50 a blazar.
_PERSON_CLASS: Final[Mapping[int, SpecType]] = {
    1: SpecType.STAR,
    3: SpecType.QSO,
    30: SpecType.QSO,
    4: SpecType.GALAXY,
    50: SpecType.QSO,
}
_PERSON_BAL: Final = 30
# Z_CONF and Z_CONF_PERSON: 3 means "use"; 0 to 2 mean the same as a quality of 0 to 2.
_SURE: Final = 3
# A quasar has broad absorption from this BAL_PROB on, and surely none at 0.
_SURE_BAL: Final = 0.75
# Redshifts are -1 or -999 where missing.
_LEAST_Z: Final = -0.1


def _ids(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return TARGETID, and the object: THING_ID where there is one (-1 or 0: none)."""
    target_id = sdss_target_id(*(integer_ids(table[n], n) for n in ("PLATE", "MJD", "FIBERID")))
    if "THING_ID" not in table:
        return target_id, target_id
    thing_id = integer_ids(table["THING_ID"], "THING_ID")
    return target_id, np.where(thing_id > 0, thing_id, target_id)


def _by_person(table: Table) -> NDArray[np.int8]:
    person = floats(table, "CLASS_PERSON")
    spectype = np.full(len(person), SpecType.UNKNOWN, dtype=np.int8)
    for value, kind in _PERSON_CLASS.items():
        spectype[person == value] = kind
    return spectype


def _quality(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(confidence >= _SURE, SECURE_QUALITY, np.fmax(confidence, 0.0))


def _redshift(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(z < _LEAST_Z, np.nan, z)


def _superset_dr12q(file: Path, table: Table, unvetted: bool) -> Columns:
    target_id, object_id = _ids(table)
    spectype = _by_person(table)
    return {
        "target_id": target_id,
        "object_id": object_id,
        "spectype": spectype,
        "z": floats(table, "Z_VI"),
        "quality": _quality(floats(table, "Z_CONF_PERSON")),
        "bal": _superset_bal(table, spectype),
        "source": np.full(len(target_id), "Superset_DR12Q"),
    }


def _superset_bal(table: Table, spectype: NDArray[np.int8]) -> NDArray[np.int8]:
    if {"BAL_FLAG_VI", "BI_CIV"} <= set(table):
        flagged = floats(table, "BAL_FLAG_VI") > 0
        balnicity = floats(table, "BI_CIV") > 0
        return np.where(flagged & balnicity, 1, np.where(flagged | balnicity, -1, 0)).astype(
            np.int8
        )
    # Cut-down catalogues leave only the inspector's class as indicator, for quasars.
    is_bal = np.where(floats(table, "CLASS_PERSON") == _PERSON_BAL, 1, 0)
    return np.where(spectype == SpecType.QSO, is_bal, -1).astype(np.int8)


def _dr16q(file: Path, table: Table, unvetted: bool) -> Columns:
    """DR16Q, or its superset: inspected rows have CLASS_PERSON, the others are of algorithms."""
    spectype, quality = _by_person(table), _quality(floats(table, "Z_CONF"))
    inspected = spectype != SpecType.UNKNOWN
    final = floats(table, "IS_QSO_FINAL") == 1
    spectype[~inspected & final] = SpecType.QSO
    z_vi = _redshift(floats(table, "Z_VI"))
    z = _redshift(floats(table, "Z" if "Z" in table else "Z_VI"))
    sound = final & (floats(table, "ZWARNING", 0.0) == 0)
    quality = np.where(inspected, quality, _of_algorithms(file, inspected, sound, unvetted))
    target_id, object_id = _ids(table)
    return {
        "target_id": target_id,
        "object_id": object_id,
        "spectype": spectype,
        "z": np.where(inspected & np.isfinite(z_vi), z_vi, z),
        "quality": quality,
        "bal": _measured_bal(table, spectype),
    }


def _dr14q(file: Path, table: Table, unvetted: bool) -> Columns:
    """DR14Q: quasars only; inspected where SOURCE_Z is VI or there is a redshift Z_VI."""
    z_vi, z = _redshift(floats(table, "Z_VI")), _redshift(floats(table, "Z"))
    inspected = (text(table["SOURCE_Z"]) == "VI") | np.isfinite(z_vi)
    sound = floats(table, "ZWARNING", 0.0) == 0
    target_id, object_id = _ids(table)
    spectype = np.full(len(z), SpecType.QSO, dtype=np.int8)
    automatic = _of_algorithms(file, inspected, sound, unvetted)
    return {
        "target_id": target_id,
        "object_id": object_id,
        "spectype": spectype,
        "z": np.where(np.isfinite(z), z, z_vi),
        "quality": np.where(inspected, SECURE_QUALITY, automatic),
        "bal": _measured_bal(table, spectype),
    }


def _of_algorithms(
    file: Path, inspected: NDArray[np.bool_], sound: NDArray[np.bool_], unvetted: bool
) -> NDArray[np.float64]:
    """Return the quality of rows that nobody has inspected: 0 unless they are taken, too."""
    n = np.count_nonzero(~inspected)
    if n:
        what = "quality 4 without a warning" if unvetted else "quality 0 (--unvetted takes them)"
        logger.warning("%s: %d of %d rows were not inspected: %s", file, n, len(inspected), what)
    return np.where(sound & unvetted, SECURE_QUALITY, 0.0)


def _measured_bal(table: Table, spectype: NDArray[np.int8]) -> NDArray[np.int8]:
    """Broad absorption of quasars from BI_CIV, and BAL_PROB where there is one."""
    balnicity = floats(table, "BI_CIV", -1.0)
    if "BAL_PROB" not in table:  # 0 is also where C IV is not in the spectrum
        bal = np.where(balnicity > 0, 1, -1)
    else:
        probability = floats(table, "BAL_PROB")
        sure = (probability >= _SURE_BAL) & (balnicity > 0)
        bal = np.where(sure, 1, np.where((probability == 0) & (balnicity == 0), 0, -1))
    return np.where(spectype == SpecType.QSO, bal, -1).astype(np.int8)


def _spall(file: Path, table: Table, unvetted: bool) -> Columns:
    """The pipeline's classes of a whole reduction, of plates and fibres or of SDSS-V."""
    if not unvetted:
        raise refuse_unvetted(file, "a table of SDSS's pipeline (CLASS, Z, ZWARNING)")
    target_id, object_id = sdssv_ids(table) if "CATALOGID" in table else _ids(table)
    object_type = np.char.upper(text(table.get("OBJTYPE", np.full(len(target_id), ""))))
    sound = (floats(table, "ZWARNING") == 0) & ~np.char.startswith(object_type, "SKY")
    quality = np.where(sound & (target_id > 0), SECURE_QUALITY, 0.0)
    columns: Columns = {
        "target_id": target_id,
        "object_id": object_id,
        "spectype": each(table, "CLASS", SpecType.from_word, np.int8),
        "z": _redshift(floats(table, "Z")),
        "quality": quality,
    }
    # An SDSS-V target has a row for each field and MJD: the best spectrum's label is taken.
    primary, sn = (floats(table, name, 0.0) for name in ("SPECPRIMARY", "SN_MEDIAN_ALL"))
    kept = one_per_target(columns, primary, quality, sn)
    logger.warning(
        "%s: labels of SDSS's pipeline, not of inspectors: of %d rows %d are of targets and "
        "without a warning; the others have quality 0. %d repeats left out",
        *(file, len(target_id), np.count_nonzero(quality)),
        len(target_id) - len(kept["target_id"]),
    )
    return kept


_PLATE: Final = ("PLATE", "MJD", "FIBERID", "THING_ID")
SDSS_KINDS: Final = (
    Kind(
        frozenset({"CLASS_PERSON", "Z_CONF_PERSON", "Z_VI", "PLATE"}),
        (*_PLATE, "BAL_FLAG_VI", "BI_CIV"),
        _superset_dr12q,
    ),
    Kind(
        frozenset({"CLASS_PERSON", "Z_CONF", "Z_VI", "IS_QSO_FINAL", "PLATE"}),
        (*_PLATE, "Z", "ZWARNING", "BAL_PROB", "BI_CIV"),
        _dr16q,
    ),
    Kind(
        frozenset({"SOURCE_Z", "Z_VI", "Z", "PLATE", "MJD", "FIBERID"}),
        (*_PLATE, "ZWARNING", "BI_CIV"),
        _dr14q,
    ),
    *(
        Kind(
            frozenset({"CLASS", "Z", "ZWARNING", "MJD", *ids}),
            ("OBJTYPE", "SPECPRIMARY", "SN_MEDIAN_ALL", "SDSS_ID", "FIELD", "TARGET_INDEX",
             "THING_ID"),
            _spall,
        )
        for ids in (("CATALOGID",), ("PLATE", "FIBERID"))
    ),
)  # fmt: skip
