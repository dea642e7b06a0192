"""``quasarloop som``: train a map, find every spectrum's cell, draw it."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from quasarloop.cli.common import (
    OptionsOf,
    Overwrite,
    Scheduler,
    Unvetted,
    Workers,
    progress_bar,
    with_options,
)
from quasarloop.query.options import SelectionOptions, SomOptions
from quasarloop.query.som import CellGrid

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="The self-organizing map: what is common, what is odd."
)


@app.command()
@with_options(
    cells=OptionsOf(CellGrid(), names={"n_rows": "--rows", "n_columns": "--columns"}),
    options=OptionsOf(SomOptions(), names={"n_epochs": "--epochs"}, only=("n_epochs", "start")),
)
def fit(
    *,
    store: Annotated[Path, typer.Argument(help="Store of `quasarloop ingest`.")],
    out: Annotated[Path, typer.Option(help="The map, .npz; its cells go beside it.")],
    cells: CellGrid,
    options: SomOptions,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Train as the released code; all in memory, slow.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    assign_too: Annotated[
        bool, typer.Option("--assign/--no-assign", help="Also find every spectrum's cell.")
    ] = True,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a map on every usable spectrum of a store, shard by shard.

    Example: [bold]quasarloop som fit sky --out map.npz --workers 8[/]
    """
    from dataclasses import asdict

    from quasarloop.artefacts import check_output
    from quasarloop.engine import Engine, keep_workers
    from quasarloop.errors import DataFormatError
    from quasarloop.quality import UNUSABLE
    from quasarloop.query.som_files import cells_name, write_map
    from quasarloop.query.som_parts import parts_of_shards
    from quasarloop.query.som_train import SequentialOptions, fit_map, fit_sequential
    from quasarloop.store import fingerprint, iter_store, open_store

    if out.suffix != ".npz":
        raise DataFormatError(f"{out}: a map is an .npz file; name it {out.with_suffix('.npz')}")
    check_output(out, overwrite=overwrite)
    opened = open_store(store)
    with keep_workers(Engine(workers=workers, scheduler=scheduler)) as engine:
        if sequential:
            usable = [part.flux[(part.flags & UNUSABLE) == 0] for part in iter_store(opened)]
            one_by_one = SequentialOptions()
            som = fit_sequential(np.concatenate(usable), cells, one_by_one, seed=seed)
            record: dict[str, Any] = {"options": asdict(one_by_one)}
        else:
            with progress_bar() as progress:
                task = progress.add_task("map", total=options.n_epochs, note="")
                trained = fit_map(
                    parts_of_shards(opened.shards),
                    cells,
                    options,
                    seed=seed,
                    engine=engine,
                    on_epoch=lambda epoch: progress.update(task, advance=1, note=epoch.describe()),
                )
            torn = f"topographic error {trained.topographic_error:.4f}"
            error = f"quantization error {trained.quantization_error:.4f}"
            typer.echo(f"{trained.n_spectra:,} spectra, {error}, {torn}")
            som, record = trained.som, {"options": asdict(options), "training": trained.summary()}
        write_map(out, som, opened.grid, {"data": fingerprint(opened), "seed": seed, **record})
        typer.echo(f"map of {cells.describe()} -> {out}")
        if assign_too:
            _assign(out, opened, cells_name(out), engine)


@app.command()
def assign(
    som: Annotated[Path, typer.Argument(help="Map of `quasarloop som fit`.")],
    store: Annotated[Path, typer.Argument(help="Store of `quasarloop ingest`.")],
    out: Annotated[
        Path | None, typer.Option(help="Parquet of cells. Default: MAP.cells.parquet.")
    ] = None,
    other_data: Annotated[
        bool, typer.Option("--other-data", help="The store is not the one the map was made from.")
    ] = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the cell of every spectrum of a store, and its distance to its weights.

    Example: [bold]quasarloop som assign map.npz newsky --other-data --out newsky.cells.parquet[/]
    """
    from quasarloop.artefacts import check_output
    from quasarloop.engine import Engine
    from quasarloop.query.som_files import cells_name
    from quasarloop.store import open_store

    path = check_output(out or cells_name(som), overwrite=overwrite)
    engine = Engine(workers=workers, scheduler=scheduler)
    _assign(som, open_store(store), path, engine, other_data=other_data)


@app.command()
def plot(
    som: Annotated[Path, typer.Argument(help="Map of `quasarloop som fit`.")],
    out: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("map-figures"),
    cells: Annotated[
        Path | None, typer.Option(help="Cells to count. Default: those beside the map.")
    ] = None,
    truth: Annotated[
        list[Path] | None, typer.Option(help="Truth table: one panel per class (Fig. 2).")
    ] = None,
    unvetted: Unvetted = False,
    percentile: Annotated[
        float, typer.Option(min=0, max=100, help="Outline cells below this percentile.")
    ] = SelectionOptions.percentile,
    count_by: Annotated[
        str, typer.Option(help="Count by spectrum, exposure or object.")
    ] = SelectionOptions.count_by,
    store: Annotated[Path | None, typer.Option(help="The store, for --cell.")] = None,
    cell: Annotated[
        list[int] | None, typer.Option(min=0, help="Draw this cell's spectra (needs --store).")
    ] = None,
) -> None:
    """Draw the map: counts per class, walls between regions, the spectra of any cell.

    Example: [bold]quasarloop som plot map.npz --truth truth.csv --store sky --cell 7[/]
    """
    from quasarloop.artefacts import check_folder
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.map_figures import counts_by_class, counts_figure, walls_figure
    from quasarloop.query.som_files import cells_beside, count_cells, read_map
    from quasarloop.read import read_truths

    folder, map_file = check_folder(out), read_map(som)
    found = cells_beside(cells or som)
    counts = count_cells(found, count_by)  # type: ignore[arg-type]  # checked there
    by_class = {}
    if truth:
        ids = found.scan().select("TARGETID", "CELL").collect()
        labels = read_truths(truth, unvetted=unvetted)
        by_class = counts_by_class(
            ids["TARGETID"].to_numpy(), ids["CELL"].to_numpy(), labels, found.cells
        )
    least = float(np.percentile(counts, percentile))
    save_figure(counts_figure(counts, by_class, found.cells, least), folder / "counts.png")
    save_figure(walls_figure(map_file.som), folder / "walls.png")
    for number in cell or ():
        _draw_cell(map_file, found, store, number, folder)
    typer.echo(f"figures -> {folder}")


def _assign(som: Path, store: Any, out: Path, engine: Any, *, other_data: bool = False) -> None:
    from quasarloop.query.som_files import assign_store, count_cells, read_map

    with progress_bar() as progress:
        task = progress.add_task("cells", total=len(store.shards), note="")
        found = assign_store(
            read_map(som),
            store,
            out,
            engine=engine,
            other_data=other_data,
            on_shard=lambda: progress.advance(task),
        )
    counts = count_cells(found)
    typer.echo(
        f"{int(counts.sum()):,} spectra in {np.count_nonzero(counts)} of {len(counts)} cells "
        f"-> {found.path}"
    )


def _draw_cell(
    map_file: Any, cells_file: Any, store: Path | None, number: int, folder: Path
) -> None:
    import polars as pl

    from quasarloop.errors import SelectionError
    from quasarloop.evaluate.figures import save_figure
    from quasarloop.evaluate.map_figures import cell_figure
    from quasarloop.query.selection_files import store_features
    from quasarloop.store import open_store

    if number >= map_file.som.cells.n_cells or store is None:
        raise SelectionError(
            f"cell {number} of a {map_file.som.cells.describe()} cannot be drawn; give --store and "
            f"a number below {map_file.som.cells.n_cells}"
        )
    members = cells_file.scan().filter(pl.col("CELL") == number).select("SHARD", "ROW").collect()
    flux = store_features(open_store(store), members)
    weights = map_file.som.weights[number]
    figure = cell_figure(map_file.grid.lower_edges_aa, weights, flux, number)
    save_figure(figure, folder / f"cell-{number:04d}.png")
