"""Quasar catalogues row by row: which targets of a file are quasars, at which redshift.

Redshift, error, warning bits and class of a row always come from one and the same fit, which
Z_SOURCE names: REDROCK's first fit, or its RERUN at the network's redshift. WAITING is redrock's
first fit too, but the network has another redshift and the second run is not there; NETWORK is
the network's own redshift in its place, if requested.
"""

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import (
    DESI_COLUMNS,
    MGII_COLUMNS,
    SECONDARY_COLUMNS,
    target_mask,
)
from quasarloop.afterburner.maskbits import (
    Evidence,
    QsoBit,
    is_usable,
    maskbits,
    recipe_for,
    spurious_redshift,
    takes_rerun,
)
from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.afterburner.redrock_file import RedrockRows
from quasarloop.afterburner.reruns import NOT_TAKEN, PAPER_WIDTH, RerunBit
from quasarloop.columns import Block
from quasarloop.constants import Zwarn
from quasarloop.errors import SelectionError
from quasarloop.lines import EMISSION_LINES
from quasarloop.read.desi import on_target

__all__ = ["network_zwarn", "quasar_rows"]

# Bit of the secondary programme of quasars variable in WISE, the same in all phases that have it.
# Source: desitarget 4.4, scnd_mask WISE_VAR_QSO of main, sv1 and sv3.
_WISE_VARIABLE_BIT: Final = 35
# A second redshift with at least this probability is warned of. Our choice: one in ten.
_P_ALT_WARNED: Final = 0.1


def quasar_rows(
    redrock: RedrockRows,
    network: Block,
    mgii: Block | None,
    wise_variable: NDArray[np.int64],
    options: CatalogueOptions,
) -> Block:
    """Join the classifications of one file and return its quasars.

    Args:
        redrock: from `read_redrock_file`.
        network: from `read_network_file`, same rows.
        mgii: from `read_mgii_file` or `mgii_block`, same rows; None for none.
        wise_variable: sorted TARGETIDs.
        options: recipe and choices.

    Returns:
        `DESI_COLUMNS`, only rows with a bit of QSO_MASKBITS.

    Raises:
        SelectionError: target bits are needed and the file has none.
    """
    evidence = _evidence(redrock, network, mgii, wise_variable, options)
    recipe = recipe_for(options)
    science = on_target(redrock.object_type, redrock.target_id)
    usable = is_usable(_known(redrock, "COADD_FIBERSTATUS"), science, recipe)
    bits = maskbits(evidence, recipe, usable)
    taken = takes_rerun(evidence, recipe)
    values = _redshifts(redrock, network, bits, taken, options.waiting)
    c_lya, c_civ = (network[name].astype(np.float32) for name in ("C_LYA", "C_CIV"))
    bits[spurious_redshift(values["Z"], c_lya, c_civ, recipe)] = 0
    first = redrock.fits
    values |= {
        "TARGETID": redrock.target_id,
        "TARGET_RA": redrock.ra_deg,
        "TARGET_DEC": redrock.dec_deg,
        "OBJTYPE": redrock.object_type,
        "QSO_MASKBITS": bits,
        "Z_RR": first.z,
        "ZWARN_RR": first.zwarn,
        "SPECTYPE_RR": first.spectype,
        "SOURCE": np.full(len(redrock), redrock.path.name),
        "ROW": np.arange(len(redrock)),
    }
    if mgii is not None:
        values |= {f"{name}_MGII": mgii[name] for name in MGII_COLUMNS[2:]}
    missing = {c.name: np.nan if c.dtype.startswith("f") else 0 for c in DESI_COLUMNS}
    unknown = {name: np.full(len(redrock), value) for name, value in missing.items()}
    known = {**unknown, **redrock.known, **network, **values}
    return {c.name: known[c.name].astype(c.dtype)[bits > 0] for c in DESI_COLUMNS}


def network_zwarn(p_alt: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return (n,) warning bits of the network's redshifts: redrock's bit of a close second."""
    with np.errstate(invalid="ignore"):
        return np.where(p_alt >= _P_ALT_WARNED, Zwarn.SMALL_DELTA_CHI2, 0)


def _redshifts(
    redrock: RedrockRows,
    network: Block,
    bits: NDArray[np.int32],
    taken: NDArray[np.bool_],
    waiting: Literal["redrock", "network"],
) -> dict[str, Any]:
    """Return the columns of the redshift, each row's from one fit.

    A row waits where the network contradicts redrock's redshift and no second run decides. A
    broad line at redrock's redshift is no excuse: it may be another line than Mg II.
    """
    first = redrock.fits
    z_joint = network["Z_JOINT"].astype(np.float64)
    joint = np.isfinite(z_joint)
    z = np.where(joint, z_joint, network["Z_QN"].astype(np.float64))
    apart = np.abs(first.z - z) > PAPER_WIDTH / 2 * (1 + z)
    queued = (network["RERUN_BITS"].astype(np.int64) & RerunBit.WAITING) != 0
    decided = ((bits & QsoBit.REDROCK) != 0) & ~queued
    waits = ((bits & QsoBit.NETWORK) != 0) & ~taken & apart & ~decided
    source = np.where(taken, "RERUN", np.where(waits, "WAITING", "REDROCK"))
    columns = {
        "Z": np.where(taken, network["Z_NEW"], first.z).astype(np.float64),
        "ZERR": np.where(taken, network["ZERR_NEW"], first.zerr),
        "ZWARN": np.where(taken, network["ZWARN_NEW"], first.zwarn),
        "SPECTYPE": np.where(taken, network["SPECTYPE_NEW"], first.spectype),
    }
    if waiting == "network":
        own = {
            "Z": z,
            "ZERR": np.where(joint, network["ZERR_JOINT"], np.nan),
            "ZWARN": network_zwarn(network["P_ALT"].astype(np.float64)),
            "SPECTYPE": np.full(len(redrock), "QSO"),
        }
        columns = {name: np.where(waits, own[name], columns[name]) for name in columns}
        source = np.where(waits, "NETWORK", source)
    return {**columns, "Z_SOURCE": source}


def _evidence(
    redrock: RedrockRows,
    network: Block,
    mgii: Block | None,
    wise_variable: NDArray[np.int64],
    options: CatalogueOptions,
) -> Evidence:
    confidence = np.stack([network[f"C_{line.column}"] for line in EMISSION_LINES])
    refused = (network["RERUN_BITS"].astype(np.int64) & NOT_TAKEN) != 0
    secondary = np.stack([_known(redrock, name) for name in SECONDARY_COLUMNS])
    broad_line = np.zeros(len(redrock)) if mgii is None else mgii["IS_QSO_MGII"]
    wise = ((secondary >> _WISE_VARIABLE_BIT) & 1).any(axis=0)
    return Evidence(
        **_classes(redrock, options),
        wise_variable=wise | np.isin(redrock.target_id, wise_variable),
        redrock_qso=redrock.fits.spectype == "QSO",
        mgii=broad_line.astype(bool),
        # A line that cannot be judged is NaN; the others still count.
        confidence=np.fmax.reduce(confidence, axis=0),
        rerun=network["IS_QSO_QN_NEW_RR"].astype(bool) & np.isfinite(network["Z_NEW"]) & ~refused,
    )


def _classes(redrock: RedrockRows, options: CatalogueOptions) -> dict[str, NDArray[np.bool_]]:
    n = len(redrock)
    none = np.zeros(n, dtype=bool)
    if options.targets == "all":
        return {"qso_target": np.ones(n, dtype=bool), "bgs_target": none, "elg_target": none}
    if redrock.phase.column not in redrock.known:
        raise SelectionError(
            f"{redrock.path}: no column {redrock.phase.column}, so quasar targets are not "
            "known; choose targets 'all' to treat every science fibre as one"
        )
    phase, bits = redrock.phase, redrock.target_bits
    names = {"qso_target": "QSO", "bgs_target": "BGS_ANY", "elg_target": "ELG"}
    return {key: (bits & target_mask(phase, [name])) != 0 for key, name in names.items()}


def _known(redrock: RedrockRows, name: str) -> NDArray[np.int64]:
    return redrock.known.get(name, np.zeros(len(redrock))).astype(np.int64)
