"""``quasarloop ingest``: survey files in, a store of rebinned spectra out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from quasarloop.cli.common import Scheduler, Workers, console, progress_bar

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
    files = find_files(paths)
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
            engine=Engine(workers=workers, scheduler=scheduler),
            on_file=step,
        )
    _print_counts(summary.n_rows, len(summary.reports), summary.n_skipped, summary.flags)
    if summary.failures:
        _name_failures(summary.failures)
        raise typer.Exit(1)


def _print_counts(n_rows: int, n_files: int, n_skipped: int, flags: dict[str, int]) -> None:
    from rich.table import Table

    typer.echo(f"{n_rows} spectra of {n_files} files in the store ({n_skipped} were there before)")
    table = Table("flag", "spectra", "share", title="Flagged spectra (a spectrum can have several)")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in flags.items():
        table.add_row(name, f"{count}", f"{count / n_rows:.2%}")
    if flags:
        from rich.console import Console

        Console().print(table)
    else:
        typer.echo("no spectrum is flagged")


def _name_failures(failures: Mapping[str, str]) -> None:
    console.print(f"[bold red]{len(failures)} files could not be ingested[/]:")
    for text in list(failures.values())[:_NAMED_FAILURES]:
        console.print(f"  {text}", highlight=False, soft_wrap=True, markup=False)
    if len(failures) > _NAMED_FAILURES:
        console.print(f"  … and {len(failures) - _NAMED_FAILURES} more")
