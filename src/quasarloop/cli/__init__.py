"""The command line: one command per arrow of the loop; parse, call, print.

Each command lives in a file of its own here and imports what it needs when it runs,
so that ``quasarloop --help`` stays quick.
"""

from typing import Final

import typer

from quasarloop import __version__
from quasarloop.cli import (
    campaign,
    ensemble,
    evaluate,
    fetch,
    inspect,
    labels,
    qsocat,
    som,
    weights,
)
from quasarloop.cli.afterburner import afterburner, desi_qso_mgii, desi_qso_qn
from quasarloop.cli.classify import classify
from quasarloop.cli.common import start_logging
from quasarloop.cli.demo import demo
from quasarloop.cli.ending import guard
from quasarloop.cli.ingest import ingest
from quasarloop.cli.select import select
from quasarloop.cli.simulate import simulate
from quasarloop.cli.train import train

__all__ = ["app", "main"]

app = typer.Typer(
    name="quasarloop",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find quasars in survey spectra, and label the fewest spectra to find the most.",
)

app.command("demo")(demo)
app.command("simulate")(simulate)
app.add_typer(fetch.app, name="fetch")
app.command("ingest")(ingest)
app.command("train")(train)
app.command("classify")(classify)
app.add_typer(ensemble.app, name="ensemble")
app.add_typer(som.app, name="som")
app.command("select")(select)
app.add_typer(qsocat.app, name="qsocat")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(weights.app, name="weights")
app.add_typer(inspect.app, name="inspect")
app.add_typer(labels.app, name="labels")
app.add_typer(campaign.app, name="campaign")
app.command("afterburner")(afterburner)
# Their words are desispec's, and read as desispec reads them.
_AS_GIVEN: Final = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
app.command("desi_qso_qn_afterburner", context_settings=_AS_GIVEN)(desi_qso_qn)
app.command("desi_qso_mgii_afterburner", context_settings=_AS_GIVEN)(desi_qso_mgii)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log more on stderr."),
) -> None:
    start_logging(verbose=verbose)
    if version:
        typer.echo(f"quasarloop {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; whatever ends a command badly becomes one line and exit status 1."""
    with guard():
        app()
