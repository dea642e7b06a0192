"""``quasarloop evaluate``: hold a catalogue against truth."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from quasarloop.classes import CONFIDENCE_THRESHOLD, N_LINES_THRESHOLD
from quasarloop.cli import evaluate_redshifts

__all__ = ["app"]

app = typer.Typer(
    invoke_without_command=True,
    help="Completeness, purity and redshift errors against truth; repeats; comparisons.",
)

app.command("repeats")(evaluate_redshifts.repeats)
app.command("compare")(evaluate_redshifts.compare)
app.command("oscillation")(evaluate_redshifts.oscillation)


@app.callback()
def evaluate(
    context: typer.Context,
    catalogue: Annotated[
        list[Path] | None,
        typer.Option(help="Catalogue of quasarloop classify; give several to compare them."),
    ] = None,
    truth: Annotated[
        list[Path] | None, typer.Option(help="Truth table: CSV, FITS or Parquet; several join.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the numbers and the figure.")] = Path(
        "evaluation"
    ),
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence threshold of the numbers.")
    ] = CONFIDENCE_THRESHOLD,
    n_lines: Annotated[
        int, typer.Option(min=1, help="Lines that must be above the threshold.")
    ] = N_LINES_THRESHOLD,
) -> None:
    """Completeness, purity and redshift errors of a catalogue against a truth table.

    Example: [bold]quasarloop evaluate --catalogue quasars.fits --truth truth.csv --out eval[/]
    """
    if context.invoked_subcommand is not None:
        return
    if not catalogue or not truth:
        raise typer.BadParameter("give --catalogue and --truth, or a subcommand; see --help")
    from quasarloop.artefacts import check_folder, checksum, versions, write_manifest
    from quasarloop.catalogue import line_columns, read_catalogue
    from quasarloop.evaluate.figures import judgement_figure, save_figure
    from quasarloop.evaluate.judge import judge_catalogue, judgement_record
    from quasarloop.read import read_truth
    from quasarloop.truth import join_truth

    folder = check_folder(out)
    labels = join_truth([read_truth(path) for path in truth])
    judgements = {}
    for path in catalogue:
        block = read_catalogue(path, ["TARGETID"])
        judgements[path.stem] = judge_catalogue(
            block, labels, lines=line_columns(block), threshold=threshold, n_lines=n_lines
        )
    save_figure(judgement_figure(judgements), folder / "evaluation.png")
    numbers = {name: judgement_record(judgement) for name, judgement in judgements.items()}
    inputs = {str(path): checksum(path) for path in [*catalogue, *truth]}
    write_manifest(
        folder / "evaluation.json",
        {"judgements": numbers, "inputs": inputs, "versions": versions()},
    )
    _print_table(json.loads(json.dumps(numbers)))
    typer.echo(f"figure and numbers -> {folder}")


def _print_table(numbers: dict[str, dict[str, Any]]) -> None:
    table = Table("", *numbers, title="against truth")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "spectra judged (quasars)": lambda n: f"{n['n_judged']} ({n['n_true']})",
        "completeness": lambda n: _share(n["completeness"]),
        "purity": lambda n: _share(n["purity"]),
        "stars, galaxies called quasars": lambda n: (
            f"{n['false_found']['STAR']}, {n['false_found']['GALAXY']}"
        ),
        "complete at purity": lambda n: ", ".join(
            f"{purity}: {value:.3f}" for purity, value in n["completeness_at_purity"].items()
        ),
        "redshift right within 0.05(1+z)": lambda n: _share(n["redshift"]["right"]),
        "redshift NMAD, Δz/(1+z)": lambda n: _plain(n["redshift"]["nmad"]),
    }
    for title, cell in rows.items():
        table.add_row(title, *(cell(n) for n in numbers.values()))
    Console().print(table)


def _share(record: dict[str, Any]) -> str:
    if record["value"] is None:
        return "–"
    return (
        f"{record['value']:.3f} ({record['low']:.3f}–{record['high']:.3f}), "
        f"{record['part']}/{record['whole']}"
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"
