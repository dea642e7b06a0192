"""Results of a redrock that ran elsewhere, merged into an output that waits for them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from quasarloop.afterburner.merge import Before, merge_runs
from quasarloop.afterburner.output import put_fits, read_output, write_output
from quasarloop.afterburner.policies import RerunPlan
from quasarloop.afterburner.priors import Priors
from quasarloop.afterburner.redrock_file import RedrockFits, read_fits
from quasarloop.afterburner.redrock_run import Run, later_folder, plan_runs
from quasarloop.afterburner.rerun_bits import Why
from quasarloop.afterburner.run import TileSummary, summarise
from quasarloop.errors import DataFormatError, RedrockError

__all__ = ["finish_all", "finish_tile"]

logger = logging.getLogger(__name__)


def finish_tile(output: str | Path, results: Sequence[str | Path] = ()) -> TileSummary:
    """Merge redrock's results into an output; one that does not wait stays as it is.

    Args:
        output: written with the rerun left for later.
        results: redrock's files, in the order of the prior files; nothing means those that the
            commands in the folder beside the output write.

    Raises:
        DataFormatError: not an output of ours, or not results of redrock.
        RedrockError: results are missing, or of other targets.
    """
    path = Path(output)
    before = read_output(path)
    table = before.table
    if not before.waiting:
        return summarise(path, table)
    bits = table["RERUN_BITS"] & ~np.int32(Why.WAITING)
    plan = RerunPlan(bits, Priors(table["PRIOR_Z"], table["PRIOR_WIDTH"]))
    runs = plan_runs(table["TARGETID"], plan.priors)
    found = _read(path, runs, results)
    spectype = np.char.strip(table["SPECTYPE_RR"].astype(np.str_))
    first = Before(table["TARGETID"], table["Z_RR"], spectype)
    put_fits(table, merge_runs(plan, first, runs, found))
    recipe = before.recipe
    recipe["redrock"]["version"] = found[0].version
    recipe["redrock"]["used"] = list(found[0].templates)
    write_output(path, table, recipe)
    return summarise(path, table)


def finish_all(folder: str | Path) -> tuple[list[TileSummary], dict[str, str]]:
    """Merge the results of all outputs below a folder.

    Returns:
        Summaries of the outputs that are complete now, and output -> what is missing.

    Raises:
        DataFormatError: no outputs there.
    """
    outputs = sorted(Path(folder).rglob("qso_qn-*.fits"))
    if not outputs:
        raise DataFormatError(f"{folder}: no qso_qn-*.fits below it; give the folder they are in")
    done: list[TileSummary] = []
    failures: dict[str, str] = {}
    for output in outputs:
        try:
            done.append(finish_tile(output))
        except (DataFormatError, RedrockError) as exc:
            logger.warning("%s", exc)
            failures[str(output)] = str(exc)
    return done, failures


def _read(output: Path, runs: Sequence[Run], results: Sequence[str | Path]) -> list[RedrockFits]:
    folder = later_folder(output)
    paths = [Path(path) for path in results] or [folder / run.result_name for run in runs]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or len(paths) != len(runs):
        raise RedrockError(
            f"{output} waits for {len(runs)} results of redrock; "
            + (f"missing: {', '.join(missing)}" if missing else f"{len(paths)} given")
            + f". Run the commands in {folder} first"
        )
    found = [read_fits(path) for path in paths]
    for path, run, fits in zip(paths, runs, found, strict=True):
        if not np.isin(fits.target_id, run.target_id).any():
            raise RedrockError(
                f"{path} holds none of the {len(run.target_id)} targets of {run.prior_name}; "
                "give the results in the order of the prior files"
            )
    return found
