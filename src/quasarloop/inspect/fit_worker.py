"""A process of its own that fits spectra: saves need not wait for it, nor it for them."""

import asyncio
import json
import logging
import math
import os
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from quasarloop.engine.processes import ProcessPool
from quasarloop.errors import InspectionError, QuasarloopError
from quasarloop.inspect.library import LOG_STEP, library
from quasarloop.inspect.spectra_files import SpectrumFiles, encode
from quasarloop.truth import SpecType

if TYPE_CHECKING:
    from quasarloop.inspect.fit import Fits

__all__ = ["FitTask", "FitWorker", "template_json"]

_LOG: Final = logging.getLogger(__name__)
# Fits kept ready: 0.1 MB each.
_KEPT: Final = 200
_TRIES: Final = 2  # a process that was killed is replaced
_NICE: Final = 5  # other processes go first
_FLUX_DIGITS: Final = 2


@dataclass(frozen=True)
class FitTask:
    """One spectrum to fit, by its place; templates of one class near a redshift, or all."""

    source: str
    row: int
    target_id: int
    spectype: SpecType | None = None
    z_near: float | None = None


class FitWorker:
    """Fits one spectrum after the other in a process of its own; the latest results are kept.

    Args:
        files: where spectra are.
    """

    def __init__(self, files: SpectrumFiles) -> None:
        self._pool = ProcessPool(1)
        self._files = files
        self._kept: OrderedDict[FitTask, bytes] = OrderedDict()
        # One thread, so that tasks queue up here and not in the threads that answer requests.
        self._queue = ThreadPoolExecutor(1, "fit")

    async def fit(self, task: FitTask) -> bytes:
        """Return a spectrum's fits as JSON.

        Raises:
            InspectionError: the spectrum cannot be read or fitted.
        """
        if task in self._kept:
            self._kept.move_to_end(task)
            return self._kept[task]
        body = await self._run(task)
        self._kept[task] = body
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return body

    async def templates(self) -> bytes:
        """Return every kind's mean template as JSON."""
        return await self._run(None)

    def start(self) -> None:
        """Begin to make the templates, so that the first request finds them."""
        self._queue.submit(self._work, None)

    def close(self) -> None:
        """End the process."""
        self._queue.shutdown(wait=True, cancel_futures=True)
        self._pool.close()

    async def _run(self, task: FitTask | None) -> bytes:
        done = asyncio.get_running_loop().run_in_executor(self._queue, self._work, task)
        body, error = await done
        if error:
            raise InspectionError(error)
        return body

    def _work(self, task: FitTask | None) -> tuple[bytes, str]:
        if self._pool.loaded is None:
            self._pool.load(_work, self._files)
            self._pool.loaded = self._files
        for _ in range(_TRIES):
            outcome = next(iter(self._pool.run([task], deque([0]))))
            if outcome.error is None:
                body, error = outcome.result
                return body, error
        _LOG.error("the fit of %s failed: %s", task, outcome.error)
        return b"", "the fit failed; try again, or look into the server's log"


def _work(task: FitTask | None, files: SpectrumFiles) -> tuple[bytes, str]:
    """In the process: a result as JSON, or a message."""
    with suppress(OSError):
        os.nice(max(0, _NICE - os.nice(0)))
    if task is None:
        return json.dumps(_templates()).encode(), ""
    from quasarloop.inspect.fit import fit_spectrum  # noqa: PLC0415 -- scipy, here only

    try:
        shown = files.load(task.source, task.row, task.target_id)
        arms = shown.spectra.arms
        fits = fit_spectrum(arms, spectype=task.spectype, z_near=task.z_near)
    except QuasarloopError as exc:
        return b"", str(exc)
    return json.dumps(_fits_out(fits)).encode(), ""


def _templates() -> dict[str, Any]:
    """By class and subtype: what the page draws."""
    found: dict[str, Any] = {}
    for kind in library():
        of_class = found.setdefault(kind.spectype.word, {})
        of_class[kind.subtype] = template_json(kind.first, kind.vectors[0])
    return found


def template_json(first: int, flux: ArrayLike) -> dict[str, Any]:
    """Return a rest-frame template from its first pixel, as the page decodes it."""
    return {
        "log_start": first * LOG_STEP,
        "log_step": LOG_STEP,
        "flux": encode(flux, "<f4"),
    }


def _fits_out(fits: "Fits") -> dict[str, Any]:
    from quasarloop.inspect.fit import PROFILE_STEP  # noqa: PLC0415

    best = [
        {
            "spectype": fit.spectype.word,
            "subtype": fit.subtype,
            "z": fit.z,
            "z_err": fit.z_err if math.isfinite(fit.z_err) else None,
            "delta_chi2": round(fit.delta_chi2, _FLUX_DIGITS),
            "at_edge": fit.at_edge,
            "template": template_json(fit.first, fit.flux),
        }
        for fit in fits.best
    ]
    # JSON has no infinity; nothing is worse than what fits worst.
    worst = float(np.max(fits.profile[np.isfinite(fits.profile)], initial=0.0))
    profile = np.where(np.isfinite(fits.profile), fits.profile, worst)
    return {
        "fits": best,
        "profile": {"log_step": PROFILE_STEP, "delta_chi2": np.round(profile, 1).tolist()},
    }
