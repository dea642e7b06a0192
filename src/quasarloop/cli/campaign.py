"""``quasarloop campaign``: the loop itself, run for years."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from quasarloop.cli.common import Scheduler, console, print_table, progress_bar

__all__ = ["app", "run_with_progress"]

app = typer.Typer(no_args_is_help=True, help="Rounds of training, voting, choosing, labelling.")

Folder = Annotated[Path, typer.Argument(help="The campaign's folder.")]


@app.command()
def init(
    folder: Folder,
    recipe: Annotated[
        Literal["quasarloop", "paper"],
        typer.Option(help="Settings to write: ours, or those of Green et al. 2025."),
    ] = "quasarloop",
) -> None:
    """Make a campaign folder with a commented campaign.toml to fill in.

    Ours begins from the weights of the package; the paper's trains all networks from nothing.

    Example: [bold]quasarloop campaign init my-campaign[/]
    """
    from quasarloop.campaign.config_file import CONFIG_NAME
    from quasarloop.campaign.config_file import recipe as recipe_named
    from quasarloop.campaign.run import Campaign

    Campaign.create(folder, recipe_named(recipe))
    typer.echo(f"edit {folder / CONFIG_NAME}, then: quasarloop campaign run {folder}")


@app.command()
def status(folder: Folder) -> None:
    """Show the state of every step of every round.

    Example: [bold]quasarloop campaign status my-campaign[/]
    """
    from quasarloop.campaign.run import campaign_status

    colours = {"done": "green", "stale": "yellow", "to do": "dim"}
    rows: Iterable[Sequence[str | Text]] = (
        [str(number), step.name, step.title, Text(state.value, colours[state.value]), why]
        for number, step, state, why in campaign_status(folder)
    )
    print_table("", ["round", "step", "", "state", "changed"], rows)


@app.command()
def run(
    folder: Folder,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds, instead of the file's.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.")] = None,
    scheduler: Scheduler = None,
    redo: Annotated[bool, typer.Option(help="Make stale steps again without a question.")] = False,
) -> None:
    """Go on from where the campaign is, until people are needed or it is done.

    Example: [bold]quasarloop campaign run my-campaign --workers 2[/]
    """
    given = {"rounds": rounds, "workers": workers, "scheduler": scheduler}
    overrides = {name: value for name, value in given.items() if value is not None}
    if report := run_with_progress(folder, redo=redo, **overrides):
        typer.echo(f"report: {report}")


@app.command()
def close(
    folder: Folder,
    db: Annotated[
        str | None, typer.Option(help="The inspection page's database, as given to it.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Or merged labels: CSV, FITS or Parquet.")
    ] = None,
    inspections: Annotated[
        list[Path] | None,
        typer.Option(help="With --labels: an inspector's own VI CSV, for the agreement."),
    ] = None,
) -> None:
    """Bring the merged labels of the present round in.

    Example: [bold]quasarloop campaign close my-campaign --db sqlite:///labels.db[/]
    """
    from quasarloop.campaign.people import close_round

    n = close_round(folder, labels, database=db, inspections=inspections or ())
    typer.echo(f"{n} labels are in; go on with: quasarloop campaign run {folder}")


@app.command("next")
def next_command(folder: Folder) -> None:
    """Begin one more round.

    Example: [bold]quasarloop campaign next my-campaign[/]
    """
    from quasarloop.campaign.run import Campaign

    number = Campaign(folder).next()
    typer.echo(f"round {number} begun; run it with: quasarloop campaign run {folder}")


@app.command()
def withdraw(
    folder: Folder,
    target_id: Annotated[list[int], typer.Argument(help="TARGETIDs to take out of T.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")],
) -> None:
    """Take targets out of the truth table, with a reason.

    Example: [bold]quasarloop campaign withdraw my-campaign 39627 --reason "corrupted"[/]
    """
    from quasarloop.campaign.people import withdraw_targets

    withdraw_targets(folder, target_id, reason)
    typer.echo(f"{len(target_id)} withdrawn; what depends on them is stale now")


@app.command()
def verify(folder: Folder) -> None:
    """Recompute the checksum of every file the campaign wrote.

    Example: [bold]quasarloop campaign verify my-campaign[/]
    """
    from quasarloop.campaign.state import damaged_files

    bad = damaged_files(folder)
    for line in bad:
        typer.echo(line)
    if bad:
        raise typer.Exit(1)
    typer.echo("every file is as it was written")


def run_with_progress(folder: Path, *, redo: bool = False, **overrides: Any) -> Path | None:
    """Run a campaign with a progress bar; None if it waits for people."""
    from quasarloop.campaign.run import Campaign, Progress
    from quasarloop.campaign.state import Step, Waiting
    from quasarloop.campaign.steps import STEPS

    with progress_bar() as bar:
        task = bar.add_task("campaign", total=len(STEPS), note="")

        def on_step(number: int, step: Step, place: int) -> None:
            bar.update(task, description=f"round {number}: {step.title}", completed=place, note="")

        def confirm(question: str) -> bool:
            if redo:
                return True
            bar.stop()
            answer = console.is_terminal and typer.confirm(f"{question}. Make them again?")
            bar.start()
            return bool(answer)

        progress = Progress(on_step, lambda line: bar.update(task, note=line))
        try:
            report = Campaign(folder).run(progress=progress, redo=confirm, **overrides)
        except Waiting as exc:
            bar.update(task, description="waiting for people", note="")
            bar.stop()
            typer.echo(str(exc))
            return None
        bar.update(task, description="campaign done", completed=len(STEPS), note="")
    return report
