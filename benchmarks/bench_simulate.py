"""Simulating: objects per second, from drawing them to files on disk.

The target is 1,000 objects a second on two cores. Wall time depends on what else runs on the
machine, so the rate is also given per CPU second used by all processes, times two cores: the rate
of two free cores. The reference is the target.
"""

import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from quasarloop.engine import Engine
from quasarloop.simulate.model import ModelSky
from quasarloop.simulate.observing import ObservingOptions
from quasarloop.simulate.population import Population
from quasarloop.simulate.survey import SurveyOptions, simulate_survey

_TARGET_PER_S = 1000.0
_CORES = 2


def run(quick: bool) -> list[dict[str, Any]]:
    n_objects = 2000 if quick else 10_000
    rows: list[dict[str, Any]] = []
    cases: list[tuple[str, Literal["desi", "sdss"], dict[str, Any]]] = [
        ("DESI", "desi", {}),
        ("DESI with RESOLUTION", "desi", {"with_resolution": True}),
        ("DESI, 3 exposures", "desi", {"observing": ObservingOptions(exposures=3)}),
        ("SDSS", "sdss", {}),
    ]
    for name, survey_format, options in cases:
        wall_s, cpu_s = _time(n_objects, survey_format, options)
        for what, seconds in (
            (f"simulate {name}, 2 workers, wall", wall_s),
            (f"simulate {name}, CPU time on 2 cores", cpu_s / _CORES),
        ):
            rows.append(
                {
                    "name": what,
                    "ours_per_s": n_objects / seconds,
                    "reference_per_s": _TARGET_PER_S,
                    "ratio": n_objects / seconds / _TARGET_PER_S,
                    "target": 1 if name == "DESI" else None,
                    "reference": "the rate wanted",
                }
            )
    return rows


def _time(
    n_objects: int, survey_format: Literal["desi", "sdss"], options: dict[str, Any]
) -> tuple[float, float]:
    folder = Path(tempfile.mkdtemp(prefix="quasarloop-bench-"))
    try:
        sky = ModelSky(Population())
        plan = SurveyOptions(
            folder,
            seed=1,
            source=sky,
            survey_format=survey_format,
            **options,
        )
        before, start = _cpu_s(), time.perf_counter()
        simulate_survey(plan, n_objects, engine=Engine(workers=_CORES))
        return time.perf_counter() - start, _cpu_s() - before
    finally:
        shutil.rmtree(folder)


def _cpu_s() -> float:
    """User and system time of this process and of all its children that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(one.ru_utime + one.ru_stime for one in used)
