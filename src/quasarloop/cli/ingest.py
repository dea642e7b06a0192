"""``quasarloop ingest``: survey files in, a store of rebinned spectra out."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column

from quasarloop.cli.common import (
    FileFormat,
    MendOutliers,
    Scheduler,
    Workers,
    console,
    print_error,
    print_table,
    progress_bar,
)

__all__ = ["ingest"]

# Bad files named at the end; the log of a verbose run names all.
_NAMED_FAILURES = 20


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Survey files, or folders of them.", metavar="PATH…")
    ],
    store: Annotated[Path, typer.Option(help="Folder of the store; made if absent.")],
    grid: Annotated[
        str, typer.Option(help="Wavelength bins of a new store: log (443) or linear (458).")
    ] = "",
    mend_outliers: MendOutliers = True,
    file_format: FileFormat = "",
    workers: Workers = 1,
    scheduler: Scheduler = None,
) -> None:
    """Rebin spectra onto a network's grid, once, and keep them with flags and keys.

    Files already in the store are skipped; after a kill, run the same command again.

    Example: [bold]quasarloop ingest coadd-*.fits --store sky --workers 8[/]
    """
    from quasarloop.engine import Engine
    from quasarloop.grid import LOG_GRID, grid_named
    from quasarloop.read import find_files
    from quasarloop.store import IngestReport, is_store, open_store
    from quasarloop.store import ingest as run_ingest

    default = open_store(store).grid if is_store(store) else LOG_GRID
    files = find_files(paths, every=bool(file_format))
    done = bad = spectra = 0
    with progress_bar() as progress:
        task = progress.add_task("ingest", total=len(files), note="")

        def step(path: str, outcome: IngestReport | str) -> None:
            nonlocal done, bad, spectra
            done += 1
            if isinstance(outcome, IngestReport):
                spectra += outcome.n_rows
            else:
                bad += 1
            note = f"{spectra:,} spectra" + (f", {bad} bad files" if bad else "")
            progress.update(task, completed=done, note=note)

        summary = run_ingest(
            files,
            store,
            grid_named(grid) if grid else default,
            mend_outliers=mend_outliers,
            format=file_format,
            engine=Engine(workers=workers, scheduler=scheduler),
            on_file=step,
        )
    typer.echo(
        f"{summary.n_rows} spectra of {len(summary.reports)} files in the store "
        f"({summary.n_skipped} were there before)"
    )
    if summary.flags:
        title = "Flagged spectra (a spectrum can have several)"
        counts = summary.flags.items()
        rows = ([name, f"{count}", f"{count / summary.n_rows:.2%}"] for name, count in counts)
        right = (Column(name, justify="right") for name in ("spectra", "share"))
        print_table(title, ["flag", *right], rows)
    else:
        typer.echo("no spectrum is flagged")
    if not summary.failures:
        return
    print_error(f"{len(summary.failures)} files could not be ingested:", "")
    for text in list(summary.failures.values())[:_NAMED_FAILURES]:
        console.print(f"  {text}", soft_wrap=True)
    if len(summary.failures) > _NAMED_FAILURES:
        console.print(f"  … and {len(summary.failures) - _NAMED_FAILURES} more")
    raise typer.Exit(1)
