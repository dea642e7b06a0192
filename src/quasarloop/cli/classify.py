"""``quasarloop classify``: spectra and weights in, a quasar catalogue out."""

from pathlib import Path
from typing import Annotated

import typer

from quasarloop.classes import ThresholdOptions
from quasarloop.cli.common import (
    CatalogueFile,
    FileFormat,
    MendOutliers,
    OptionsOf,
    Overwrite,
    SkipBad,
    SpectraPaths,
    console,
    name_bad_files,
    progress_bar,
    with_options,
)
from quasarloop.errors import DataFormatError
from quasarloop.network.options import PredictOptions

__all__ = ["classify"]


@with_options(thresholds=OptionsOf(ThresholdOptions), predict=OptionsOf(PredictOptions))
def classify(
    *,
    paths: SpectraPaths,
    out: CatalogueFile,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="QuasarNET weights file (Keras HDF5), or shipped-linear. Default: those shipped "
            "inside, of a store's grid, of the log grid for files."
        ),
    ] = None,
    thresholds: ThresholdOptions,
    predict: PredictOptions,
    joint: Annotated[
        bool,
        typer.Option(
            help="Add the redshift of all lines together: Z_JOINT, ZERR_JOINT, Z_ALT, P_ALT; from "
            "the redshift head of the weights if they have one, else from boxes and offsets."
        ),
    ] = True,
    mend_outliers: MendOutliers = True,
    file_format: FileFormat = "",
    skip_bad_files: SkipBad = False,
    overwrite: Overwrite = False,
) -> None:
    """Find the quasars in spectra: one row per spectrum, in order.

    Example: [bold]quasarloop classify coadd-*.fits --out quasars.fits[/]
    """
    from quasarloop.catalogue.classify import ClassifyOptions, classify_to_file

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
            options=ClassifyOptions(**vars(thresholds), joint=joint, mend_outliers=mend_outliers),
            format=file_format,
            **vars(predict),
            on_bad=(lambda path, exc: bad.append((path, exc))) if skip_bad_files else None,
            on_step=step,
            overwrite=overwrite,
        )
    for name, count in summary.flag_counts.items():
        console.print(f"  flag {name}: {count}")
    typer.echo(f"{summary.n_spectra} spectra, {summary.n_quasars} quasars -> {out}")
    name_bad_files(bad)
