"""``quasarloop demo``: the whole story in one command."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from quasarloop.cli.common import Workers, print_table, progress_bar

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the sky, the campaign and the report.")
    ] = Path("demo"),
    workers: Workers = 2,
    paper_scale: Annotated[
        bool,
        typer.Option("--paper-scale", help="As large as the paper's; prints the cost first."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="--paper-scale without a question.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin anew instead of going on.")
    ] = False,
) -> None:
    """Simulate a sky, run two rounds of the loop with an oracle, write the report.

    Killed and started again it goes on where it was.

    Example: [bold]quasarloop demo --out demo[/]
    """
    from quasarloop.campaign.config_file import read_config
    from quasarloop.campaign.demo import PAPER_SCALE, SMALL, estimate_cost, simulate_demo
    from quasarloop.campaign.state import Context
    from quasarloop.campaign.steps.verdict import verdict_of
    from quasarloop.cli.campaign import run_with_progress

    scale = PAPER_SCALE if paper_scale else SMALL
    if paper_scale:
        typer.echo(estimate_cost(PAPER_SCALE, workers).describe())
        if not yes:
            typer.confirm("Do it?", abort=True)
    if overwrite and (out / "campaign").exists():
        shutil.rmtree(out)
    started = time.monotonic()
    with progress_bar() as bar:
        total = scale.n_pool + scale.n_repeated + scale.n_first + scale.n_test
        task = bar.add_task("simulate the sky", total=total, note="")
        campaign = simulate_demo(out, scale, workers, lambda n: bar.advance(task, n))
    report = run_with_progress(campaign, workers=workers)
    config = read_config(campaign)
    verdict = verdict_of(Context(campaign, config.of_round(config.rounds), config.rounds))
    for sentence in verdict.sentences:
        typer.echo(sentence)
    print_table(verdict.table.title, verdict.table.header, verdict.table.rows)
    minutes = (time.monotonic() - started) / 60
    typer.echo(f"\nIt took {minutes:.1f} minutes. Try next:")
    networks = report.parent.parent / "networks" if report else campaign
    sky = out / "sky" / "test"
    for command in (
        f"quasarloop campaign status {campaign}",
        f"quasarloop classify {sky} --weights {networks / 'final.h5'} --out quasars.fits",
        f"quasarloop evaluate --catalogue quasars.fits --truth {sky / 'truth.csv'}",
        f"quasarloop inspect serve --campaign {campaign} --db sqlite:///labels.db",
    ):
        typer.echo(f"  {command}")
    typer.echo(f"\nThe report: {report}")
