"""Many tiles on the engine: found in a reduction's folders, done once, skipped when there."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from quasarloop.afterburner.network_step import Network, load_network
from quasarloop.afterburner.options import ON_CPU
from quasarloop.afterburner.output import read_output
from quasarloop.afterburner.tile import (
    AfterburnerOptions,
    TileSummary,
    finish_tile,
    recipe_of,
    run_tile,
    summarise,
)
from quasarloop.artefacts import check_folder
from quasarloop.engine import Engine, TaskReport, run_tasks
from quasarloop.errors import DataFormatError, OutputError, RedrockError
from quasarloop.network.options import PredictOptions

__all__ = ["RunOptions", "Tile", "find_tiles", "finish_all", "run_tiles"]

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
        engine=engine,
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
