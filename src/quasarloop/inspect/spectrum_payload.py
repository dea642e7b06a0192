"""One spectrum as the browser gets it: little-endian float32 in base64, and who it is."""

import base64
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quasarloop.inspect.spectra_files import Shown, SpectrumFiles
from quasarloop.quality import flag_names
from quasarloop.spectra import Arm

__all__ = ["MASKED", "SpectrumCache", "coadd_arms", "encode", "spectrum_payload"]

# Bits of a pixel's state.
MASKED: Final = 1  # no data: ivar is 0
FLAGGED: Final = 2  # the survey's mask says something, data may be fine
# Spectra kept ready: a quarter of a megabyte each.
CACHED: Final = 200
# Pixels of two arms closer than this share of a pixel are the same wavelength.
_SAME_PIXEL: Final = 0.5


def spectrum_payload(shown: Shown) -> dict[str, Any]:
    """Return what the page draws.

    Args:
        shown: one spectrum.

    Returns:
        JSON-ready: TARGETID as text, arms, their coadd where there are several, keys, notice.
    """
    spectra = shown.spectra
    arms = [arm[slice(0, 1)] for arm in spectra.arms]
    keys = spectra.keys
    return {
        "target_id": str(int(keys.target_id[0])),
        "source": spectra.source,
        "row": int(spectra.row[0]),
        "notice": shown.notice,
        "flags": flag_names(int(spectra.flags[0])),
        "ra_deg": _number(keys.ra_deg[0]),
        "dec_deg": _number(keys.dec_deg[0]),
        "survey": str(keys.survey[0]),
        "program": str(keys.program[0]),
        "arms": [_arm_out(arm) for arm in arms],
        "coadd": _arm_out(coadd_arms(arms)) if len(arms) > 1 else None,
    }


class SpectrumCache:
    """Spectra as JSON text, the latest kept: several inspectors look at the same ones."""

    def __init__(self, files: SpectrumFiles, size: int = CACHED) -> None:
        self._files, self._size = files, size
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._lock = Lock()

    def json_of(self, source: str, row: int, target_id: int) -> bytes:
        """Return one spectrum's JSON.

        Raises:
            InspectionError: it cannot be shown; nothing is remembered, it may come back.
        """
        key = (source, row, target_id)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        shown = self._files.load(source, row, target_id)
        body = json.dumps(spectrum_payload(shown)).encode()
        if not shown.notice:  # what stands in for a missing file is looked for again
            with self._lock:
                self._kept[key] = body
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
        return body


def coadd_arms(arms: Sequence[Arm]) -> Arm:
    """Join arms; pixels of the same wavelength are averaged by inverse variance.

    Args:
        arms: (1, n_pix) each.

    Returns:
        One arm ``"brz"``, wavelengths increasing.
    """
    wave = np.concatenate([arm.wave_aa for arm in arms])
    flux, ivar, mask = (
        np.concatenate(parts)
        for parts in zip(
            *((arm.flux[0], arm.ivar[0], _mask(arm)) for arm in arms),
            strict=True,
        )
    )
    order = np.argsort(wave, kind="stable")
    wave, flux, ivar, mask = wave[order], flux[order], ivar[order], mask[order]
    step = np.diff(wave, prepend=-np.inf)
    pixel = min(float(np.median(np.diff(arm.wave_aa))) for arm in arms)
    group = np.cumsum(step > _SAME_PIXEL * pixel) - 1  # pixels of one wavelength
    n = int(group[-1]) + 1
    ivar_sum = np.bincount(group, ivar, n)
    weighted = np.bincount(group, ivar * flux, n)
    plain = np.bincount(group, flux, n) / np.bincount(group, minlength=n)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    return Arm(
        "brz",
        wave[first],
        np.where(ivar_sum > 0, weighted / np.where(ivar_sum > 0, ivar_sum, 1), plain)
        .astype(np.float32)
        .reshape(1, n),
        ivar_sum.astype(np.float32).reshape(1, n),
        np.bitwise_or.reduceat(mask, first).reshape(1, n),
    )


def encode(values: ArrayLike, dtype: str) -> str:
    """Return numbers as base64 text of that (little-endian) type."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")


def _arm_out(arm: Arm) -> dict[str, Any]:
    flux, ivar = arm.flux[0], arm.ivar[0]
    state = np.where(ivar > 0, 0, MASKED) | np.where(_mask(arm) != 0, FLAGGED, 0)
    return {
        "name": arm.name,
        "n": len(arm.wave_aa),
        "wave": encode(arm.wave_aa, "<f4"),
        "flux": encode(flux, "<f4"),
        "ivar": encode(ivar, "<f4"),
        "state": encode(state, "u1"),
    }


def _mask(arm: Arm) -> NDArray[np.int64]:
    if arm.mask is None:
        return np.zeros(len(arm.wave_aa), dtype=np.int64)
    return np.asarray(arm.mask[0], dtype=np.int64)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
