"""What redrock says of targets, to show beside the networks' opinions and to export."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import fitsio

from quasarloop.errors import InspectionError

__all__ = ["read_redrock"]

# Older versions of redrock wrote zbest files.
_HDUS: Final = ("REDSHIFTS", "ZBEST")
_COLUMNS: Final = ("TARGETID", "Z", "ZERR", "ZWARN", "SPECTYPE", "SUBTYPE", "DELTACHI2")


def read_redrock(paths: Iterable[str | Path]) -> dict[int, list[dict[str, Any]]]:
    """Read best fits from redrock files.

    Args:
        paths: ``redrock-*.fits`` or ``zbest-*.fits``; several (another version, a rerun) give
            several fits.

    Returns:
        Per TARGETID its fits, in the files' order, JSON-ready.

    Raises:
        InspectionError: not a redrock file.
    """
    fits: dict[int, list[dict[str, Any]]] = {}
    for path in paths:
        try:
            with fitsio.FITS(str(path)) as file:
                version = str(file[0].read_header().get("RRVER", "") or "")
                hdu = next((name for name in _HDUS if name in file), _HDUS[0])
                table = file[hdu].read(columns=list(_COLUMNS))
        except (OSError, ValueError) as exc:
            raise InspectionError(
                f"{path}: no redrock results ({exc}); expected HDU {_HDUS[0]} with "
                f"{', '.join(_COLUMNS)}"
            ) from exc
        for row in table:
            fit = {
                "z": float(row["Z"]),
                "zerr": float(row["ZERR"]),
                "zwarn": int(row["ZWARN"]),
                "spectype": _word(row["SPECTYPE"]),
                "subtype": _word(row["SUBTYPE"]),
                "deltachi2": float(row["DELTACHI2"]),
                "version": version,
            }
            fits.setdefault(int(row["TARGETID"]), []).append(fit)
    return fits


def _word(value: Any) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()
