"""Tiles: coadd and redrock file in, a row-matched output out; many on the engine.

They are found in a reduction's folders, done once, and skipped when there.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.network_step import Network, classify_coadd, load_network
from quasarloop.afterburner.options import ON_CPU
from quasarloop.afterburner.output import (
    FirstFits,
    build_table,
    merge_runs,
    put_fits,
    read_output,
    wait_for_runs,
    write_output,
)
from quasarloop.afterburner.provenance import files_used
from quasarloop.afterburner.redrock_file import RedrockFits, read_fits, read_redrock_rows
from quasarloop.afterburner.redrock_run import (
    Priors,
    RedrockOptions,
    Run,
    later_folder,
    plan_runs,
    run_redrock,
    write_for_later,
)
from quasarloop.afterburner.reruns import (
    RerunBit,
    RerunPlan,
    Selection,
    plan_reruns,
    policy_named,
    unfit_rows,
)
from quasarloop.artefacts import check_folder, check_output, checksum, versions
from quasarloop.catalogue.classify import ClassifyOptions, options_record
from quasarloop.engine import Engine, TaskReport, run_tasks
from quasarloop.errors import DataFormatError, OutputError, RedrockError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.network.device import place_tasks
from quasarloop.network.options import PredictOptions

__all__ = [
    "AfterburnerOptions",
    "RunOptions",
    "Tile",
    "TileSummary",
    "find_tiles",
    "finish_all",
    "finish_tile",
    "recipe_of",
    "run_tile",
    "run_tiles",
    "summarise",
]


@dataclass(frozen=True)
class AfterburnerOptions(RedrockOptions):
    """How a tile is done, apart from the network.

    Attributes:
        selection: which rows may be rerun.
        red_end: redshift of a line past the red end of the grid (see `network.decode`).
    """

    selection: Selection = field(default_factory=Selection)
    red_end: RedEnd = RED_END


@dataclass(frozen=True)
class TileSummary:
    """What an output holds.

    Attributes:
        output: the file.
        n_rows: rows, as redrock's.
        n_quasars: rows the network calls quasars.
        counts: `RerunBit` name -> rows.
        script: commands to run where rows wait for redrock, else None.
        kept: found done from an earlier run.
    """

    output: Path
    n_rows: int
    n_quasars: int
    counts: dict[str, int]
    script: Path | None = None
    kept: bool = False


def run_tile(
    coadd: str | Path,
    redrock: str | Path,
    output: str | Path,
    network: Network,
    options: AfterburnerOptions,
    *,
    overwrite: bool = False,
) -> TileSummary:
    """Classify every spectrum of a coadd, rerun redrock where the policy requires it.

    Args:
        coadd: DESI coadd, tile or healpix.
        redrock: redrock's results of the same rows.
        output: file to write, one row per row of `redrock`, in its order.
        network: from `load_network`.
        options: how.
        overwrite: replace an existing output.

    Raises:
        DataFormatError: the files are damaged or do not belong together.
        RedrockError: redrock failed.
        OutputError: the output exists or cannot be written.
    """
    target = check_output(output, overwrite=overwrite)
    rows = read_redrock_rows(redrock)
    selection = options.selection
    used = selection.over(network.predictor.thresholds)
    classify = ClassifyOptions(used.confidence, used.n_lines, used.high_z_min, options.red_end)
    result = classify_coadd(coadd, rows.target_id, network, classify)
    plan = plan_reruns(
        policy_named(options.policy),
        rows,
        result,
        network.predictor.config,
        unfit_rows(rows, result, selection),
        tuple(template.redshifts for template in options.found) or None,
    )
    runs = plan_runs(rows.target_id, plan.priors, plan.window)
    first = FirstFits(rows.target_id, rows.fits.z, rows.fits.spectype)
    script: Path | None = None
    results: Sequence[RedrockFits] = ()
    if runs and options.how == "later":
        script = write_for_later(target, Path(coadd), runs, options)
        new = wait_for_runs(plan)
    else:
        results = run_redrock(Path(coadd).resolve(), runs, options)
        new = merge_runs(plan, first, runs, results)
    record = {**options_record(classify, network.predictor), "thresholds_from": used.origins}
    recipe = recipe_of(network, options) | {"options": record}
    recipe["inputs"] = {
        "coadd": Path(coadd).name,
        "redrock": Path(redrock).name,
        "redrock_sha256": checksum(redrock),
        "first_version": rows.fits.version,
        "first_templates": list(rows.fits.templates),
    }
    if results:
        recipe["redrock"]["version"] = results[0].version
        recipe["redrock"]["used"] = list(results[0].templates)
    table = build_table(rows, result, plan, new)
    write_output(target, table, recipe)
    return replace(summarise(target, table), script=script)


def recipe_of(network: Network, options: AfterburnerOptions) -> dict[str, Any]:
    """Return what must be equal for an output to be kept, as JSON values, and the versions."""
    config = network.predictor.config
    used = options.selection.over(network.predictor.thresholds)
    policy = policy_named(options.policy)
    return {
        "network": {
            "weights": network.name,
            "sha256": network.sha256,
            "offsets_rescaled": config.rescales_offsets,
            "grid": config.grid.describe(),
            "red_end": options.red_end,
        },
        "selection": {
            "c_thresh": used.confidence,
            "n_thresh": used.n_lines,
            "target_classes": list(options.selection.target_classes),
        },
        "policy": {
            "name": options.policy,
            "text": policy.text,
            "window": policy.window(config),
        },
        "redrock": {
            "version": "not run",
            "templates": [
                {"name": t.path.name, "version": t.version, "sha256": t.sha256}
                for t in options.found
            ],
        },
        "files": files_used(network.path, [t.path for t in options.found]),
        "versions": versions(),
    }


def summarise(output: Path, table: NDArray[np.void]) -> TileSummary:
    """Count the rows of an output."""
    bits = table["RERUN_BITS"]
    counts = {str(bit.name): int(np.count_nonzero(bits & bit)) for bit in RerunBit}
    return TileSummary(output, len(table), int(table["IS_QSO_QN"].sum()), counts)


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
    bits = table["RERUN_BITS"] & ~np.int32(RerunBit.WAITING)
    window = before.recipe["policy"].get("window", 0.0)  # outputs until 0.1 have none
    plan = RerunPlan(bits, Priors(table["PRIOR_Z"], table["PRIOR_WIDTH"]), window)
    runs = plan_runs(table["TARGETID"], plan.priors, plan.window)
    found = _read(path, runs, results)
    spectype = np.char.strip(table["SPECTYPE_RR"].astype(np.str_))
    first = FirstFits(table["TARGETID"], table["Z_RR"], spectype)
    put_fits(table, merge_runs(plan, first, runs, found))
    recipe = before.recipe
    recipe["redrock"]["version"] = found[0].version
    recipe["redrock"]["used"] = list(found[0].templates)
    write_output(path, table, recipe)
    return summarise(path, table)


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


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tile:
    """One output to make.

    Attributes:
        coadd, redrock: inputs of the same rows.
        output: file to write.
    """

    coadd: Path
    redrock: Path
    output: Path


@dataclass(frozen=True)
class RunOptions:
    """What all tiles share; the network is read once per worker.

    Attributes:
        tile: how a tile is done.
        weights: weights file; None is the one shipped.
        predict: how it is read, and where it computes.
        overwrite: do tiles again whose output is there.
    """

    tile: AfterburnerOptions
    weights: Path | None = None
    predict: PredictOptions = ON_CPU
    overwrite: bool = False

    @cached_property
    def network(self) -> Network:
        """The network, read at first use."""
        return load_network(self.weights, self.predict)


def find_tiles(reduction: str | Path, out: str | Path) -> list[Tile]:
    """Find pairs of coadd and redrock files below a folder.

    Args:
        reduction: e.g. ``tiles/cumulative`` or ``healpix`` of a DESI reduction.
        out: folder the outputs go to, in folders as below `reduction`; it may be the same one.

    Raises:
        DataFormatError: no pairs there.
    """
    top = Path(reduction)
    coadds = sorted(p for end in (".fits", ".fits.gz") for p in top.rglob(f"coadd-*{end}"))
    tiles = []
    for coadd in coadds:
        rest = coadd.name.removeprefix("coadd-")
        redrock = coadd.with_name(f"redrock-{rest}")
        plain = coadd.with_name(f"redrock-{rest.removesuffix('.gz')}")
        partner = redrock if redrock.is_file() else plain
        if not partner.is_file():
            logger.warning("%s has no %s beside it: left out", coadd, redrock.name)
            continue
        name = f"qso_qn-{rest.removesuffix('.gz')}"
        tiles.append(Tile(coadd, partner, Path(out) / coadd.relative_to(top).parent / name))
    if not tiles:
        raise DataFormatError(
            f"{top}: {len(coadds)} coadds, none with its redrock file beside it; expected "
            "coadd-*.fits and redrock-*.fits in pairs"
        )
    return tiles


def run_tiles(
    tiles: Sequence[Tile],
    options: RunOptions,
    *,
    engine: Engine | None = None,
    on_tile: Callable[[Tile, TileSummary], None] | None = None,
) -> TaskReport[TileSummary]:
    """Do many tiles, on any engine; those whose output is there already are skipped.

    Args:
        tiles: from `find_tiles`, or named one by one.
        options: what they share.
        engine: where to run; None is this process.
        on_tile: called with each tile done or found done.

    Returns:
        One summary per tile, in order; failed tiles are named, the others are done.
    """
    for folder in {tile.output.parent for tile in tiles}:
        check_folder(folder)
    return run_tasks(
        _do_tile,
        tiles,
        engine=place_tasks(options.predict.device, engine)[1],
        shared=options,
        name_of=lambda tile: tile.coadd.name,
        on_result=on_tile,
        retries=1,  # a pure function of files: what fails once fails again
    )


def _do_tile(tile: Tile, options: RunOptions) -> TileSummary:
    if not tile.output.exists() or options.overwrite:
        return run_tile(
            tile.coadd, tile.redrock, tile.output, options.network, options.tile, overwrite=True
        )
    there = read_output(tile.output)
    wanted: dict[str, Any] = recipe_of(options.network, options.tile)
    # What two runs must share for the outputs of one to serve the other.
    for name in ("network", "selection", "policy"):
        if there.recipe.get(name) != wanted[name]:
            raise OutputError(
                f"{tile.output} exists and was made with another {name}: "
                f"{there.recipe.get(name)}; --overwrite to make it again"
            )
    return replace(summarise(tile.output, there.table), kept=True)


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
