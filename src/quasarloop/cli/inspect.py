"""``quasarloop inspect``: the visual-inspection page, its people and assignments."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from quasarloop.cli.common import console
from quasarloop.inspect import HOST, LIVE_AFTER, PORT, listen, require_extra

__all__ = ["InspectGroup", "app"]


class InspectGroup(TyperGroup):
    """Commands that need the ``inspect`` extra; their help does not."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check for the extra before a command's own options are read."""
        if args and not ctx.resilient_parsing and not {*args} & {*ctx.help_option_names}:
            require_extra()
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=InspectGroup,
    no_args_is_help=True,
    help="Let experts label spectra in the browser.",
)

Db = Annotated[
    str,
    typer.Option(
        "--db", help="sqlite:///labels.db, or postgresql+psycopg://user@host/name for teams."
    ),
]
_LABELS = "sqlite:///labels.db"


@app.command("serve")
def serve(
    campaign: Annotated[
        Path | None,
        typer.Option(
            help="A campaign's folder: the worklist and spectra of its present round, and the "
            "inspectors per object of its campaign.toml."
        ),
    ] = None,
    worklist: Annotated[
        Path | None,
        typer.Option(help="What to look at: JSON, CSV or Parquet with TARGETIDs. Once is enough."),
    ] = None,
    spectra: Annotated[
        list[Path] | None, typer.Option(help="Spectrum files, folders of them, or a store.")
    ] = None,
    redrock: Annotated[
        list[Path] | None, typer.Option(help="redrock-*.fits whose best fits are shown.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="Folder of redrock's templates: its fits are drawn.")
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            help="A page about a place on the sky, NAME=ADDRESS with {ra} and {dec} (degrees); "
            "several replace the usual ones."
        ),
    ] = None,
    practice: Annotated[
        list[Path] | None,
        typer.Option(
            help="Truth tables of objects to practise on, with spectra among --spectra; they do "
            "not count."
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Rank what nobody has begun anew as labels come in; needs --campaign, with heads.",
        ),
    ] = False,
    live_after: Annotated[
        int, typer.Option(min=1, help="Merged labels between two rankings of --live.")
    ] = LIVE_AFTER,
    db: Db = _LABELS,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535)] = PORT,
    address: Annotated[
        str | None,
        typer.Option(help="Where people find the page, for invitations: https://vi.example.org."),
    ] = None,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a web server before this one, whose X-Forwarded-For and "
            "X-Forwarded-Proto are believed."
        ),
    ] = None,
) -> None:
    """Serve the inspection page.

    The first start prints a one-time link for the admin, for inviting the others.

    Example: [bold]quasarloop inspect serve --worklist worklist.json --spectra store/[/]
    """
    from quasarloop.errors import InspectionError

    if live and campaign is None:
        raise InspectionError("--live ranks the objects of a campaign; give its folder: --campaign")
    # First of all: what people save while a killed server starts again waits, and is not refused.
    with ExitStack() as until_end:
        listener = until_end.enter_context(listen(host, port))
        from quasarloop.inspect.database import open_database
        from quasarloop.inspect.server import first_admin, prepare
        from quasarloop.inspect.server import serve as run
        from quasarloop.inspect.spectra_files import open_spectra
        from quasarloop.read import read_truths

        rule, ranker, spectra = None, None, spectra or []
        if campaign is not None:
            from quasarloop.campaign.inspection import inspection_of, live_ranker

            ranker = live_ranker(campaign) if live else None
            given = inspection_of(campaign)
            rule, worklist = given.rule, worklist or given.worklist
            spectra = [*spectra, given.spectra]
        files = open_spectra(spectra, worklist.parent if worklist is not None else Path())
        place = f"http://{host}:{listener.getsockname()[1]}"
        database = until_end.enter_context(closing(open_database(db)))
        prepare(
            database,
            files,
            worklist=worklist,
            redrock=redrock or [],
            links=link or [],
            address=address or place,
            rule=rule,
            known=read_truths(practice) if practice else None,
        )
        invitation = first_admin(database)
        if invitation is not None:
            console.print(f"Become the admin (works once): {invitation}", soft_wrap=True)
        console.print(f"Serving {place} until Ctrl+C", soft_wrap=True)
        queue = None
        if ranker is not None:
            from quasarloop.inspect.live import LiveQueue

            queue = LiveQueue(database, ranker, live_after)
        run(database, files, listener, templates=templates, proxies=proxy or [], live=queue)


@app.command("invite")
def invite(
    name: Annotated[str, typer.Argument(help="Letters, digits, dots, dashes, underscores.")],
    role: Annotated[
        str, typer.Option(help="inspector, merger or admin; several with commas: inspector,merger.")
    ] = "inspector",
    db: Db = _LABELS,
    address: Annotated[
        str | None, typer.Option(help="Where people find the page; default: as it was served last.")
    ] = None,
) -> None:
    """Print a one-time link with which somebody joins; it is valid for seven days.

    Example: [bold]quasarloop inspect invite ada --role inspector[/]
    """
    from quasarloop.inspect import people
    from quasarloop.inspect.database import open_database

    with open_database(db).closing(write=True) as session:
        typer.echo(people.link(session, people.invite(session, name, role), address))


@app.command("assign")
def assign(
    db: Db = _LABELS,
    per_object: Annotated[
        str | None,
        typer.Option(
            help="Inspectors per object, from now on: 3; or 2+1, two, and a third where they "
            "differ or are unsure, and for a random tenth."
        ),
    ] = None,
) -> None:
    """Share objects out among the present inspectors; what is begun stays.

    Example: [bold]quasarloop inspect assign --per-object 2+1[/]
    """
    from quasarloop.inspect.campaign import balance
    from quasarloop.inspect.database import open_database, set_setting
    from quasarloop.labels.rule import InspectionRule

    with open_database(db).closing(write=True) as session:
        if per_object is not None:
            set_setting(session, "per_object", str(InspectionRule.from_text(per_object)))
            session.flush()
        plan = balance(session)
    typer.echo(
        f"{len(plan.add)} assignments made, {len(plan.drop)} taken back, "
        f"{len(plan.short)} objects short of inspectors"
    )


@app.command("shut-out")
def shut_out(
    name: Annotated[str, typer.Argument(help="Person to shut out.")], db: Db = _LABELS
) -> None:
    """End somebody's sessions, keep them out, and share out their open work.

    Example: [bold]quasarloop inspect shut-out ada[/]
    """
    from quasarloop.inspect.campaign import balance
    from quasarloop.inspect.database import open_database
    from quasarloop.inspect.people import person_called, set_active

    with open_database(db).closing(write=True) as session:
        set_active(session, person_called(session, name), active=False)
        session.flush()
        plan = balance(session)
    typer.echo(f"{name} is out; {len(plan.add)} objects given to others")


@app.command("reset")
def reset(
    name: Annotated[str, typer.Argument(help="Who needs a new password.")],
    db: Db = _LABELS,
    address: Annotated[
        str | None, typer.Option(help="Where people find the page; default: as it was served last.")
    ] = None,
) -> None:
    """Print a one-time link to a new password; using it ends the person's sessions.

    Example: [bold]quasarloop inspect reset ada[/]
    """
    from quasarloop.inspect import people
    from quasarloop.inspect.database import open_database

    with open_database(db).closing(write=True) as session:
        token = people.reset_password(session, people.person_called(session, name))
        typer.echo(people.link(session, token, address))
