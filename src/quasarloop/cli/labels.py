"""``quasarloop labels``: labels in, merged, out, and how far they are."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quasarloop.cli.common import console, plain_console
from quasarloop.cli.inspect import InspectGroup
from quasarloop.errors import InspectionError

__all__ = ["app"]

app = typer.Typer(
    cls=InspectGroup,
    no_args_is_help=True,
    help="Labels of an inspection campaign as files.",
)

Db = Annotated[str, typer.Option("--db", help="The campaign's database.")]
AtLeast = Annotated[
    int | None,
    typer.Option(
        min=1, help="Inspections an object needs to merge; default: the campaign's number."
    ),
]
_LABELS = "sqlite:///labels.db"


@app.command("import")
def import_(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="prospect's VI CSV files, merged tables, or any truth table (CSV, FITS, Parquet)."
        ),
    ],
    db: Db = _LABELS,
    merger: Annotated[
        str, typer.Option(help="Name given to the merger where a table names no inspector.")
    ] = "imported",
) -> None:
    """Bring in another tool's inspections or a merged truth table; twice changes nothing.

    Example: [bold]quasarloop labels import desi-vi_tile80609_*.csv[/]
    """
    from quasarloop.inspect.database import open_database
    from quasarloop.inspect.exchange import import_file

    with closing(open_database(db)) as database:
        for path in paths:
            with database.write() as session:
                done = import_file(session, path, merger)
            typer.echo(
                f"{path}: {done.new} labels new, {done.same} known, {done.new_objects} objects new"
            )


@app.command("export")
def export(
    out: Annotated[
        Path,
        typer.Argument(help="Folder for --format prospect; else a .csv, .fits or .parquet file."),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="merged: the merged table; truth: quasarloop's own truth table; "
            "prospect: one VI CSV per inspector; ranks: those that the live queue gave.",
        ),
    ] = "merged",
    db: Db = _LABELS,
    at_least: AtLeast = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="CSV word for word as prospect writes it, cells that begin with = + - @, too.",
        ),
    ] = False,
) -> None:
    """Write labels: final ones (both forms can be trained with as they are), or everybody's.

    Example: [bold]quasarloop labels export truth.fits --format truth[/]
    """
    from quasarloop.inspect.database import open_database
    from quasarloop.inspect.exchange import export_final, export_inspections
    from quasarloop.inspect.live import export_ranks

    with open_database(db).closing() as session:
        if form == "prospect":
            for path in export_inspections(session, out, exact=exact):
                typer.echo(str(path))
        elif form in ("merged", "truth"):
            n = export_final(
                session, out, form, at_least=at_least, overwrite=overwrite, exact=exact
            )
            typer.echo(f"{out}: {n} labels")
        elif form == "ranks":
            typer.echo(f"{out}: {export_ranks(session, out, overwrite=overwrite)} ranks")
        else:
            raise InspectionError(f"format is {form!r}; expected merged, truth, prospect or ranks")


@app.command("merge")
def merge(db: Db = _LABELS, at_least: AtLeast = None) -> None:
    """Apply the merge rules and list the objects that wait for the merger.

    Example: [bold]quasarloop labels merge --at-least 2[/]
    """
    from quasarloop.inspect.database import open_database
    from quasarloop.inspect.results import results

    with open_database(db).closing() as session:
        found = results(session, at_least=at_least)
    waiting = [result for result in found if result.state == "conflict"]
    for result in waiting:
        typer.echo(f"{result.item.target_id} {','.join(result.disagree_in)}")
    merged = sum(result.merged is not None for result in found)
    console.print(f"{merged} objects have a final label, {len(waiting)} wait for the merger")


@app.command("status")
def status(
    db: Db = _LABELS,
    at_least: AtLeast = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also draw the agreement figure: .svg, .png or .pdf.")
    ] = None,
) -> None:
    """Show how far everybody is and how well they agree.

    Example: [bold]quasarloop labels status --figure agreement.svg[/]
    """
    from quasarloop.inspect.database import open_database
    from quasarloop.inspect.results import (
        agreement_of,
        control_found,
        people_rows,
        results,
        state_rows,
    )
    from quasarloop.labels.agreement import agreement_figure, agreement_table

    with open_database(db).closing() as session:
        found = results(session, at_least=at_least)
        people = people_rows(session)
        control = control_found(session, found).describe()
    agreed = agreement_of(found)
    _print("Objects", state_rows(found))
    _print("People", people)
    _print("Agreement", agreement_table(agreed))
    if control:
        typer.echo(control)
    if figure is not None:
        from quasarloop.artefacts import write_atomically

        with write_atomically(figure) as temporary:
            agreement_figure(agreed).savefig(temporary, dpi=150)
        typer.echo(str(figure))


def _print(title: str, rows: list[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left")
    for column, name in enumerate(rows[0]):
        table.add_column(name, no_wrap=column == 0)  # names whole, headings may wrap
    for row in rows[1:]:
        table.add_row(*row)
    plain_console().print(table)
