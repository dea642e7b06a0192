"""``quasarloop classify``: spectra and weights in, a quasar catalogue out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from quasarloop.cli.common import HighZMin, NLines, Threshold, console, progress_bar
from quasarloop.errors import DataFormatError

__all__ = ["classify"]


def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Survey files, folders of them, or a store.", metavar="PATH…"),
    ],
    out: Annotated[Path, typer.Option(help="Catalogue to write: .fits, .parquet, .csv or .ecsv.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="QuasarNET weights file (Keras HDF5). Default: those shipped inside."),
    ] = None,
    threshold: Threshold = None,
    n_lines: NLines = None,
    high_z_min: HighZMin = None,
    offsets: Annotated[
        Literal["auto", "rescaled", "plain"],
        typer.Option(help="How to read line offsets of the weights; auto decides from the file."),
    ] = "auto",
    joint: Annotated[
        bool,
        typer.Option(
            help="Add the redshift of all lines together: Z_JOINT, ZERR_JOINT, Z_ALT, P_ALT; from "
            "the redshift head of the weights if they have one, else from boxes and offsets."
        ),
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    skip_bad_files: Annotated[
        bool, typer.Option(help="Go on past files that cannot be read; they are named at the end.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing catalogue.")] = False,
) -> None:
    """Find the quasars in spectra: one row per spectrum, in order.

    Example: [bold]quasarloop classify coadd-*.fits --out quasars.fits[/]
    """
    from quasarloop.catalogue import ClassifyOptions, classify_to_file

    bad: list[tuple[Path, DataFormatError]] = []
    with progress_bar() as progress:
        task = progress.add_task("classify", total=None, note="")

        def step(done: int, total: int, n_spectra: int, n_quasars: int) -> None:
            note = f"{n_spectra:,} spectra, {n_quasars:,} quasars"
            progress.update(task, completed=done, total=total, note=note)

        summary = classify_to_file(
            paths,
            out,
            weights=weights,
            options=ClassifyOptions(threshold, n_lines, high_z_min, joint=joint),
            offsets=offsets,
            device=device,
            on_bad=(lambda path, exc: bad.append((path, exc))) if skip_bad_files else None,
            on_step=step,
            overwrite=overwrite,
        )
    _report(summary.flag_counts, bad)
    typer.echo(f"{summary.n_spectra} spectra, {summary.n_quasars} quasars -> {out}")
    if bad:
        raise typer.Exit(1)


def _report(flag_counts: dict[str, int], bad: list[tuple[Path, DataFormatError]]) -> None:
    for name, count in flag_counts.items():
        console.print(f"  flag {name}: {count}", highlight=False)
    for path, exc in bad:
        console.print(f"  [red]not read[/] {path}: {exc}", highlight=False, soft_wrap=True)
