"""``quasarloop afterburner``: DESI's quasar afterburner, network and redrock together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quasarloop.afterburner.options import ON_CPU, Published, RerunOptions
from quasarloop.cli.common import OptionsOf, Overwrite, console, progress_bar, with_options
from quasarloop.errors import OutputError
from quasarloop.grid import RED_END, RedEnd
from quasarloop.network.options import PredictOptions

if TYPE_CHECKING:
    from quasarloop.afterburner.tiles import RunOptions, TileSummary
    from quasarloop.engine import Engine

__all__ = ["afterburner", "desi_qso_mgii", "desi_qso_qn"]


@with_options(rerun=OptionsOf(RerunOptions), predict=OptionsOf(ON_CPU))
def afterburner(
    *,
    output: Annotated[
        Path, typer.Option(help="File to write; with --reduction, the folder for the files.")
    ],
    coadd: Annotated[Path | None, typer.Option(help="coadd-*.fits of one tile or pixel.")] = None,
    redrock: Annotated[Path | None, typer.Option(help="redrock-*.fits of the same rows.")] = None,
    reduction: Annotated[
        Path | None, typer.Option(help="Folder with coadd-* and redrock-* pairs, however deep.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            envvar="QN_MODEL_FILE",
            help="QuasarNET weights file, or shipped-linear. Default: those shipped inside, of the "
            "log grid.",
        ),
    ] = None,
    thresholds: Annotated[
        Published | None,
        typer.Option(
            help="Confidence to exceed: 0.5, 0.95 or 0.99. Default: the weights', 0.5 without."
        ),
    ] = None,
    c_thresh: Annotated[
        float | None,
        typer.Option("--c-thresh", "--c_thresh", min=0, max=1, help="In place of --thresholds."),
    ] = None,
    n_thresh: Annotated[
        int | None,
        typer.Option(
            "--n-thresh", "--n_thresh", min=1, help="Lines that must count. Default: the weights'."
        ),
    ] = None,
    target_selection: Annotated[
        str,
        typer.Option(
            "--target-selection",
            "--target_selection",
            help="Rerun only targets of these classes (QSO,ELG,…); all rows are written anyway.",
        ),
    ] = "all",
    rerun: RerunOptions,
    clamp: Annotated[
        bool,
        typer.Option(
            "--clamp", help="Lines off the grid are put on its last edge, as QuasarNP does."
        ),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="Merge results of a redrock that ran elsewhere; one file or a folder."
        ),
    ] = False,
    result: Annotated[
        list[Path] | None,
        typer.Option(help="With --finish: redrock's result (repeat), if not at its usual place."),
    ] = None,
    predict: PredictOptions,
    workers: Annotated[int, typer.Option(min=1, help="With --reduction: processes.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="With --reduction: address of a Dask scheduler.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Find the quasars redrock missed, and run redrock on them again: one row per row.

    Example: [bold]quasarloop afterburner --coadd coadd-4-80613-thru20210324.fits
    --redrock redrock-4-80613-thru20210324.fits --output qso_qn-4-80613-thru20210324.fits[/]

    Whole reduction: [bold]quasarloop afterburner --reduction tiles/cumulative --output qn
    --workers 8[/]. Outputs that are there are skipped, so that a stopped run goes on.
    """
    if finish:
        _finish(output, result or [])
        return
    from quasarloop.afterburner.qsoqn import target_classes
    from quasarloop.afterburner.reruns import Selection, published_threshold
    from quasarloop.afterburner.tiles import AfterburnerOptions, RunOptions, run_tile
    from quasarloop.engine import Engine

    if c_thresh is None and thresholds is not None:
        c_thresh = published_threshold(thresholds)
    selection = Selection(c_thresh, n_thresh, target_classes=target_classes(target_selection))
    red_end: RedEnd = "clamp" if clamp else RED_END
    options = AfterburnerOptions(selection, red_end, **vars(rerun))
    if options.how == "later":
        console.print("redrock is not here: its reruns are left for later")
    run = RunOptions(options, weights, predict, overwrite)
    if reduction is not None:
        _many(reduction, output, run, Engine(workers=workers, scheduler=scheduler))
        return
    if coadd is None or redrock is None:
        raise OutputError("give --coadd and --redrock, or --reduction with a folder of pairs")
    _print_summary(run_tile(coadd, redrock, output, run.network, options, overwrite=overwrite))


def _finish(output: Path, results: list[Path]) -> None:
    from quasarloop.afterburner.tiles import finish_all, finish_tile

    if not output.is_dir():
        _print_summary(finish_tile(output, results))
        return
    if results:
        raise OutputError("--result goes with one output; several look beside themselves")
    done, failures = finish_all(output)
    typer.echo(f"{len(done)} files complete, {len(failures)} still wait -> {output}")
    if failures:
        raise typer.Exit(1)


def _many(reduction: Path, out: Path, options: "RunOptions", engine: "Engine") -> None:
    from quasarloop.afterburner.tiles import Tile, find_tiles, run_tiles

    tiles = find_tiles(reduction, out)
    kept = 0
    with progress_bar() as progress:
        task = progress.add_task("afterburner", total=len(tiles), note="")

        def done(_: Tile, summary: "TileSummary") -> None:
            nonlocal kept
            kept += summary.kept
            progress.update(task, advance=1, note=f"{kept} were there")

        report = run_tiles(tiles, options, engine=engine, on_tile=done)
    summaries = [summary for summary in report.results if summary is not None]
    rows, quasars = (sum(getattr(s, name) for s in summaries) for name in ("n_rows", "n_quasars"))
    again = sum(s.counts["RERUN"] for s in summaries)
    typer.echo(
        f"{len(summaries)} of {len(tiles)} files ({kept} were there), {rows} rows, {quasars} "
        f"quasars by the network, {again} rerun -> {out}"
    )
    waiting = [s.output for s in summaries if s.counts["WAITING"]]
    if waiting:
        typer.echo(f"{len(waiting)} files wait for redrock, such as {waiting[0]}")
    report.complete()


def _print_summary(summary: "TileSummary") -> None:
    for name, count in summary.counts.items():
        if count:
            console.print(f"  {name}: {count}")
    typer.echo(
        f"{summary.n_rows} rows, {summary.n_quasars} quasars by the network, "
        f"{summary.counts['RERUN']} rerun, {summary.counts['CHANGED']} changed -> {summary.output}"
    )
    if summary.script is not None:
        typer.echo(f"{summary.counts['WAITING']} rows wait for redrock: run sh {summary.script}")


def desi_qso_qn(context: typer.Context) -> None:
    """DESI's own command line of that name: the network, and redrock again, on a coadd."""
    from quasarloop.afterburner import qsoqn

    raise typer.Exit(qsoqn.main(context.args))


def desi_qso_mgii(context: typer.Context) -> None:
    """DESI's own command line of that name: broad Mg II in a coadd."""
    from quasarloop.afterburner import qsomgii

    raise typer.Exit(qsomgii.main(context.args))
