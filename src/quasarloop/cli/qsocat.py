"""``quasarloop qsocat``: the final quasar catalogue, of DESI or of any other survey."""

from pathlib import Path
from typing import Annotated

import typer

from quasarloop.afterburner.mgii import MgIIOptions
from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.classes import ThresholdOptions
from quasarloop.cli.common import (
    CatalogueFile,
    OptionsOf,
    Overwrite,
    SkipBad,
    SpectraPaths,
    Workers,
    console,
    name_bad_files,
    progress_bar,
    with_options,
)
from quasarloop.errors import QuasarloopError
from quasarloop.network.options import PredictOptions

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Quasar catalogues: redrock, Mg II and the network joined into one.",
)


_TEMPLATES = {"mgii_templates": "--templates"}


@app.command("desi")
@with_options(options=OptionsOf(CatalogueOptions, names=_TEMPLATES))
def desi(
    *,
    redrocks: Annotated[
        list[Path],
        typer.Argument(
            help="redrock-*.fits or folders of them; qso_qn-*, and qso_mgii-* or coadd-*, of the "
            "same name are beside each.",
            metavar="REDROCK…",
        ),
    ],
    out: CatalogueFile,
    options: CatalogueOptions,
    qn_dir: Annotated[
        Path | None, typer.Option(help="Folder of the qso_qn files, or of folders as redrock's.")
    ] = None,
    wise_variable: Annotated[
        Path | None,
        typer.Option(
            help="Table with the TARGETIDs of quasars variable in WISE, if the target "
            "bits do not have it."
        ),
    ] = None,
    workers: Workers = 1,
    skip_bad_files: SkipBad = False,
    overwrite: Overwrite = False,
) -> None:
    """Join redrock, Mg II and the network (QSO_MASKBITS) into one catalogue of quasars.

    Example: [bold]quasarloop qsocat desi redrock-*.fits --out QSO_cat.fits[/]
    """  # fmt: skip
    from quasarloop.afterburner.quasar_catalogue import write_quasar_catalogue
    from quasarloop.engine import Engine

    bad: list[tuple[Path, QuasarloopError]] = []
    with progress_bar() as progress:
        task = progress.add_task("catalogue", total=None, note="")
        summary = write_quasar_catalogue(
            redrocks,
            out,
            network_dir=qn_dir,
            wise_variable=wise_variable,
            options=options,
            on_bad=(lambda path, exc: bad.append((path, exc))) if skip_bad_files else None,
            engine=Engine(workers=workers),
            on_step=lambda done, total, found: progress.update(
                task, completed=done, total=total, note=f"{found:,} quasars"
            ),
            overwrite=overwrite,
        )
    for name, count in summary.bit_counts.items():
        console.print(f"  {name}: {count}")
    if summary.n_repeated:
        console.print(f"  targets met before in another file: {summary.n_repeated}")
    if summary.n_waiting:
        console.print(
            f"  {summary.n_waiting} quasars wait for redrock's second run (Z_SOURCE): "
            "quasarloop afterburner --finish"
        )
    typer.echo(f"{summary.n_spectra} spectra, {summary.n_quasars} quasars -> {out}")
    name_bad_files(bad)


@app.command("mgii")
@with_options(
    options=OptionsOf(
        MgIIOptions(),
        names={"window_aa": "--window"},
        only=("window_aa", "min_delta_chi2", "min_significance"),
    ),
    catalogue=OptionsOf(CatalogueOptions, names=_TEMPLATES, only=("mgii_templates",)),
)
def mgii_command(
    *,
    coadd: Annotated[Path, typer.Option(help="Coadded spectra.")],
    redrock: Annotated[Path, typer.Option(help="Redrock file of the same rows.")],
    out: Annotated[Path, typer.Option(help="qso_mgii-*.fits to write.")],
    catalogue: CatalogueOptions,
    options: MgIIOptions,
    overwrite: Overwrite = False,
) -> None:
    """Look for broad Mg II at redrock's redshift; one row per row of the redrock file.

    Example: [bold]quasarloop qsocat mgii --coadd coadd-0-1.fits --redrock redrock-0-1.fits
    --out qso_mgii-0-1.fits[/]
    """
    from quasarloop.afterburner.mgii_file import fit_mgii_file

    block = fit_mgii_file(
        coadd,
        redrock,
        out,
        templates=catalogue.mgii_templates,
        options=options,
        overwrite=overwrite,
    )
    n_fitted = int((block["SIGMA"] == block["SIGMA"]).sum())  # NaN where Mg II is out of view
    typer.echo(
        f"{len(block['SIGMA'])} spectra, {n_fitted} with Mg II in view, "
        f"{int(block['IS_QSO_MGII'].sum())} with a broad line -> {out}"
    )


@app.command("network")
@with_options(
    thresholds=OptionsOf(ThresholdOptions),
    predict=OptionsOf(PredictOptions, only=("device",)),
)
def network(
    *,
    paths: SpectraPaths,
    out: CatalogueFile,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="QuasarNET weights file, or shipped-linear. Default: those shipped inside, of a "
            "store's grid, of the log grid for files."
        ),
    ] = None,
    thresholds: ThresholdOptions,
    predict: PredictOptions,
    skip_bad_files: SkipBad = False,
    overwrite: Overwrite = False,
) -> None:
    """The same catalogue for SDSS, BOSS, LAMOST, …: no redrock, the network alone.

    Example: [bold]quasarloop qsocat network spec-*.fits --out found.fits[/]
    """
    from quasarloop.afterburner.quasar_catalogue import write_network_catalogue
    from quasarloop.catalogue.classify import ClassifyOptions

    bad: list[tuple[Path, QuasarloopError]] = []
    with progress_bar() as progress:
        task = progress.add_task("catalogue", total=None, note="")
        summary = write_network_catalogue(
            paths,
            out,
            weights=weights,
            options=ClassifyOptions(**vars(thresholds)),
            device=predict.device,
            on_bad=(lambda path, exc: bad.append((path, exc))) if skip_bad_files else None,
            on_step=lambda done, total, found: progress.update(
                task, completed=done, total=total, note=f"{found:,} quasars"
            ),
            overwrite=overwrite,
        )
    if summary.n_refused:
        console.print(f"  called quasars, but no science targets: {summary.n_refused}")
    console.print(f"  with a second likely redshift (ZWARN): {summary.n_ambiguous}")
    typer.echo(
        f"{summary.n_spectra} spectra, {summary.n_quasars} quasars "
        f"({summary.n_objects} objects) -> {out}"
    )
    name_bad_files(bad)
