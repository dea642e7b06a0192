"""The output: redrock's second fits put back on their rows, and the qso_qn-*.fits file.

Fits are matched by TARGETID, the best one kept; the file is written whole and read back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import fitsio
import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import output_columns, phase_of
from quasarloop.afterburner.network_step import NetworkResult
from quasarloop.afterburner.provenance import dependencies
from quasarloop.afterburner.redrock_file import RedrockFits, RedrockRows, find_rows
from quasarloop.afterburner.redrock_run import Priors, Run
from quasarloop.afterburner.reruns import NOT_TAKEN, RerunBit, RerunPlan
from quasarloop.columns import columns_of_lines
from quasarloop.constants import BAD_FIT, LEAST_DELTA_CHI2, N_COEFF, SPEED_OF_LIGHT_KMS, Zwarn
from quasarloop.errors import DataFormatError, check_regular
from quasarloop.fits_tables import new_fits
from quasarloop.lines import BAL_LINE, EMISSION_LINES

__all__ = [
    "FirstFits",
    "NewFits",
    "build_table",
    "merge_runs",
    "put_fits",
    "read_output",
    "wait_for_runs",
    "write_output",
]

# Fits nearer than this are one minimum to redrock.
_SAME_KMS: Final = 1000.0
_Rows = NDArray[np.intp]


class FirstFits(NamedTuple):
    """Redrock's first fits, (n,) each, as far as the second are compared with them."""

    target_id: NDArray[np.int64]
    z: NDArray[np.float64]
    spectype: NDArray[np.str_]


@dataclass(frozen=True)
class NewFits:
    """The fits of the second runs, one row per row of the file; blank where there is none.

    Attributes:
        z: (n,) float64, NaN none.
        zerr, chi2, deltachi2: (n,) float64, NaN none.
        zwarn: (n,) int64, of `z`, 0 none.
        spectype, subtype: (n,) words, ``""`` none.
        coeff: (n, 10) float64, NaN none; 0 beyond the template's.
        bits: (n,) int32 of `RerunBit`, complete.
    """

    z: NDArray[np.float64]
    zerr: NDArray[np.float64]
    chi2: NDArray[np.float64]
    deltachi2: NDArray[np.float64]
    zwarn: NDArray[np.int64]
    spectype: NDArray[np.str_]
    subtype: NDArray[np.str_]
    coeff: NDArray[np.float64]
    bits: NDArray[np.int32]

    @property
    def taken(self) -> NDArray[np.bool_]:
        """(n,) True where the new fit takes the place of the old one."""
        return np.asarray(((self.bits & RerunBit.RERUN) != 0) & ((self.bits & NOT_TAKEN) == 0))


def merge_runs(
    plan: RerunPlan,
    first: FirstFits,
    runs: Sequence[Run],
    results: Sequence[RedrockFits],
) -> NewFits:
    """Put the results of all runs on their rows; of several, keep the one with the lowest chi².

    With the fit come its own warning bits. If the fit of another prior, or of a wide run, is nearly
    as good or better, DELTACHI2 is small and has redrock's warning, as within one run.

    Args:
        plan: the rows to rerun.
        first: redrock's first fits, all rows.
        runs: of redrock, with their priors.
        results: redrock's, run by run.
    """
    new = _blank(len(first.target_id), plan.bits)
    for run, result in sorted(zip(runs, results, strict=True), key=lambda pair: pair[0].wide):
        pairs = _pairs(plan, first.target_id, run, result)
        if run.wide:
            _compare_wide(new, result, *pairs)
        else:
            _take(new, result, *pairs, plan.priors, run.prior)
    chosen = plan.chosen
    got = chosen & np.isfinite(new.chi2)
    new.bits[chosen] |= RerunBit.RERUN
    new.bits[chosen & ~got] |= RerunBit.NO_ANSWER
    new.bits[got & ((new.zwarn & Zwarn.NODATA) != 0)] |= RerunBit.NO_ANSWER
    inside = plan.priors.contain(new.z).any(axis=1)
    new.bits[got & ~inside & ((new.bits & RerunBit.NO_ANSWER) == 0)] |= RerunBit.OUTSIDE_PRIOR
    new.bits[got & (new.zwarn != 0)] |= RerunBit.WARNED
    moved = np.abs(new.z - first.z) * SPEED_OF_LIGHT_KMS > _SAME_KMS * (1 + first.z)
    new.bits[new.taken & (moved | (new.spectype != first.spectype))] |= RerunBit.CHANGED
    return new


def wait_for_runs(plan: RerunPlan) -> NewFits:
    """Return blank fits whose bits mark the rows that wait for redrock."""
    new = _blank(len(plan.bits), plan.bits)
    new.bits[plan.chosen] |= RerunBit.WAITING
    return new


def _take(
    new: NewFits, result: RedrockFits, rows: _Rows, place: _Rows, every: Priors, prior: int
) -> None:
    priors = Priors(every.z[rows], every.width[rows])
    chi2, old_chi2 = result.chi2[place], new.chi2[rows]
    poor = (result.zwarn[place] & BAD_FIT) != 0
    poor |= ~priors.contain(result.z[place])[:, prior]
    old_poor = (new.zwarn[rows] & BAD_FIT) != 0
    old_poor |= ~priors.contain(new.z[rows]).any(axis=1)
    # Sound fits first, then by chi², as redrock sorts its minima; a row's first fit is taken.
    better = ~np.isfinite(old_chi2) | (old_poor & ~poor)
    better |= (poor == old_poor) & (chi2 < old_chi2)
    better &= np.isfinite(chi2)
    # One minimum found twice is no rival.
    rivals = _apart(result.z[place], new.z[rows]) & np.isfinite(old_chi2) & ~poor & ~old_poor
    rival = np.where(rivals, np.abs(chi2 - old_chi2), np.inf)
    won, place = rows[better], place[better]
    for name in ("z", "zerr", "chi2", "deltachi2", "zwarn", "spectype", "subtype"):
        getattr(new, name)[won] = getattr(result, name)[place]
    n_coeff = min(result.coeff.shape[1], N_COEFF)
    new.coeff[won] = 0.0
    new.coeff[won, :n_coeff] = result.coeff[place, :n_coeff]
    if prior > 0:
        new.bits[won] |= RerunBit.SECOND_WON
    _compare(new, rows, rival)


def _compare_wide(new: NewFits, result: RedrockFits, rows: _Rows, place: _Rows) -> None:
    """Compare fits with the others around them: where those are better, Δχ² is 0."""
    others = np.where(result.deltachi2[place] > 0, result.deltachi2[place], np.inf)
    elsewhere = np.maximum(result.chi2[place] - new.chi2[rows], 0)
    rival = np.where(_apart(result.z[place], new.z[rows]), elsewhere, others)
    rival[((result.zwarn[place] & BAD_FIT) != 0) | ~np.isfinite(rival)] = np.inf
    _compare(new, rows, rival)


def _compare(new: NewFits, rows: _Rows, rival: NDArray[np.float64]) -> None:
    """Lower DELTACHI2 to what a rival fit differs by, inf where there is none."""
    fitted = np.isfinite(new.chi2[rows])
    rows, rival = rows[fitted], rival[fitted]
    # Redrock has 0 where it knows no other fit, and then does not warn.
    known = np.where(new.deltachi2[rows] == 0, np.inf, new.deltachi2[rows])
    lowest = np.minimum(known, rival)
    new.deltachi2[rows] = np.where(np.isinf(lowest), 0, lowest)
    new.zwarn[rows[rival < LEAST_DELTA_CHI2]] |= Zwarn.SMALL_DELTA_CHI2


def _pairs(
    plan: RerunPlan, target_id: NDArray[np.int64], run: Run, result: RedrockFits
) -> tuple[_Rows, _Rows]:
    """Return rows of the file and of the result of a run that belong together."""
    rows = np.flatnonzero(plan.priors.present[:, run.prior] & np.isin(target_id, run.target_id))
    place = find_rows(target_id[rows], result.target_id)
    return rows[place >= 0], place[place >= 0]


def _apart(z: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where two fits are two minima to redrock."""
    return np.asarray(np.abs(z - other) * SPEED_OF_LIGHT_KMS > _SAME_KMS * (1 + z))


def _blank(n: int, bits: NDArray[np.int32]) -> NewFits:
    z, zerr, chi2, deltachi2 = np.full((4, n), np.nan)
    return NewFits(
        z,
        zerr,
        chi2,
        deltachi2,
        zwarn=np.zeros(n, dtype=np.int64),
        spectype=np.full(n, "", dtype="U6"),
        subtype=np.full(n, "", dtype="U20"),
        coeff=np.full((n, N_COEFF), np.nan),
        bits=bits.copy(),
    )


_HDU: Final = "QN_RR"


def build_table(
    redrock: RedrockRows, network: NetworkResult, plan: RerunPlan, new: NewFits
) -> NDArray[np.void]:
    """Return the output's rows, as redrock's.

    Args:
        redrock: first fits.
        network: the network's results, same rows.
        plan: what was to be rerun, with which priors.
        new: second fits; their bits are the final ones.
    """
    columns = output_columns(redrock.phase.column)
    values: dict[str, NDArray[Any]] = {
        redrock.phase.column: redrock.target_bits,
        "TARGETID": redrock.target_id,
        "RA": redrock.ra_deg,
        "DEC": redrock.dec_deg,
        "IS_QSO_QN": network.is_qso,
        "Z_QN": network.z_qn,
    }
    for name in ("Z", "SPECTYPE", "ZERR", "ZWARN", "DELTACHI2"):
        values[f"{name}_RR"] = getattr(redrock.fits, name.lower())
    for column in columns_of_lines((*EMISSION_LINES, BAL_LINE)):
        values[column.name] = network.columns.get(column.name, np.full(len(redrock), np.nan))
    for name in ("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT", "FLAGS"):
        values[name] = network.columns[name]
    table = np.zeros(len(redrock), dtype=[(c.name, c.dtype) for c in columns])
    for name, given in values.items():
        _put(table, name, given)
    for name, given in (("PRIOR_Z", plan.priors.z), ("PRIOR_WIDTH", plan.priors.width)):
        table[name] = np.nan
        table[name][:, : given.shape[1]] = given
    put_fits(table, new)
    return table


def put_fits(table: NDArray[np.void], new: NewFits) -> None:
    """Put second fits into an output's rows, and the final redshift of both.

    Args:
        table: changed in place; its ``*_RR`` columns are filled.
        new: second fits of the same rows.
    """
    # Readers take Z_NEW where this is True: not while redrock's result is not in, nor where its fit
    # lies outside the row's prior, as of a TARGETID whose two rows have different priors.
    table["IS_QSO_QN_NEW_RR"] = new.taken
    table["RERUN_BITS"] = new.bits
    for name in ("Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "CHI2", "DELTACHI2", "COEFF"):
        _put(table, f"{name}_NEW", getattr(new, name.lower()))
    # Redshift, error, warning and class always come from the same fit.
    for name in ("Z", "ZERR", "ZWARN", "SPECTYPE"):
        table[name] = table[f"{name}_RR"]
        _put(table, name, getattr(new, name.lower()), new.taken)


def _put(
    table: NDArray[np.void],
    name: str,
    values: NDArray[Any],
    rows: NDArray[np.bool_] | slice = slice(None),
) -> None:
    if table.dtype[name].kind == "S":
        words = [word.encode("ascii", "replace") for word in values.tolist()]
        values = np.array(words, dtype=table.dtype[name])
    table[name][rows] = values[rows]


# History lines between these hold the recipe as JSON.
_OPEN: Final = "quasarloop afterburner recipe"
_CLOSE: Final = "end of recipe"
_LINE_WIDTH: Final = 70  # of a HISTORY card there are 72


@dataclass(frozen=True)
class OutputFile:
    """An output read back.

    Attributes:
        table: its rows.
        recipe: how it was made, JSON values.
    """

    table: NDArray[np.void]
    recipe: dict[str, Any]

    @property
    def waiting(self) -> bool:
        """True if rows wait for redrock."""
        return bool(((self.table["RERUN_BITS"] & RerunBit.WAITING) != 0).any())


def write_output(path: Path, table: NDArray[np.void], recipe: Mapping[str, Any]) -> None:
    """Write the output.

    Args:
        path: the file; replaced if it is there.
        table: rows of `build_table`.
        recipe: JSON values: network, policy, templates, inputs, versions.

    Raises:
        OutputError: cannot be written.
    """
    columns = output_columns(phase_of(table.dtype.names or ()).column)
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=True)
    with new_fits(path) as out:
        out.write(table, extname=_HDU)
        hdu = out[_HDU]
        for number, column in enumerate(columns, start=1):
            hdu.write_key(f"TCOMM{number}", column.text)
        for number, (name, value) in enumerate(dependencies(recipe).items()):
            hdu.write_key(f"DEPNAM{number:02d}", name)
            hdu.write_key(f"DEPVER{number:02d}", value)
        for number, bit in enumerate(RerunBit):
            hdu.write_key(f"RBIT{number:02d}", bit.name, comment=f"bit {number} of RERUN_BITS")
        hdu.write_history(_OPEN)
        for start in range(0, len(text), _LINE_WIDTH):
            # A mark at both ends: blanks there would be lost.
            hdu.write_history(f"|{text[start : start + _LINE_WIDTH]}|")
        hdu.write_history(_CLOSE)


def read_output(path: str | Path) -> OutputFile:
    """Read an output of ours.

    Raises:
        DataFormatError: not one, or of another program.
    """
    try:
        with fitsio.FITS(str(check_regular(path))) as file:
            table, header = file[_HDU].read(), file[_HDU].read_header()
    except (OSError, ValueError) as exc:
        raise DataFormatError(
            f"{path}: no afterburner output ({exc}); expected HDU {_HDU}"
        ) from exc
    columns = output_columns(phase_of(table.dtype.names or ()).column)
    missing = [column.name for column in columns if column.name not in (table.dtype.names or ())]
    recipe = _recipe(header)
    if missing or recipe is None:
        raise DataFormatError(
            f"{path}: an afterburner output, but not of quasarloop (no {', '.join(missing[:3])}); "
            "make it again with `quasarloop afterburner`"
        )
    # Native byte order, and bytes where the reading library makes words of them.
    rows = table[[column.name for column in columns]]
    return OutputFile(rows.astype([(c.name, c.dtype) for c in columns]), recipe)


def _recipe(header: Any) -> dict[str, Any] | None:
    lines = [str(r["value"]) for r in header.records() if r["name"] == "HISTORY"]
    if _OPEN not in lines or _CLOSE not in lines:
        return None
    inside = lines[lines.index(_OPEN) + 1 : lines.index(_CLOSE)]
    recipe: dict[str, Any] = json.loads("".join(line.strip()[1:-1] for line in inside))
    return recipe
