"""``quasarloop train``: labelled spectra in, a weights file out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quasarloop.cli.common import (
    OptionsOf,
    Overwrite,
    Unvetted,
    console,
    given_on_command_line,
    progress_bar,
    unless_given,
    with_options,
)
from quasarloop.errors import TruthError, WeightsError, naming
from quasarloop.network.options import (
    FinetuneOptions,
    HoldOutOptions,
    PredictOptions,
    PresetOptions,
    TrainingOptions,
)

if TYPE_CHECKING:
    from quasarloop.network.records import EpochRecord

__all__ = ["train"]


@with_options(
    network=OptionsOf(PresetOptions(), only=("preset", "dropout")),
    options=OptionsOf(
        TrainingOptions(device=PredictOptions.device),
        leave_out=("mean_over", "statistics", "threshold", "n_lines"),
    ),
    hold_out=OptionsOf(HoldOutOptions),
)
def train(
    *,
    store: Annotated[Path, typer.Option(help="Store of quasarloop ingest; its grid is used.")],
    truth: Annotated[
        list[Path], typer.Option(help="Truth table: CSV, FITS or Parquet; several join.")
    ],
    out: Annotated[Path, typer.Option(help="Weights file to write (Keras HDF5, .h5).")],
    unvetted: Unvetted = False,
    network: PresetOptions,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Weights to train on: a file, or shipped, the default unless --preset is given: "
            "that trains from nothing, for thousands of labels. From weights 10 epochs in batches "
            "of 64 at a constant 1e-3, unless given.",
        ),
    ] = None,
    rehearsal: Annotated[
        int,
        typer.Option(min=0, help="From weights: simulated spectra per label, trained on besides."),
    ] = FinetuneOptions.rehearsal,
    options: TrainingOptions,
    hold_out: HoldOutOptions,
    context: typer.Context,
    resume: Annotated[bool, typer.Option(help="Go on with a killed training.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train on labelled spectra: the shipped weights further, or a network from nothing.

    The weights that it writes are such that QuasarNP and desispec load them.
    Beside W.h5 are W.history.parquet, W.history.png and W.json. A checkpoint is kept every
    epoch: killed at any moment, the same command with --resume ends with the same bytes.

    Example: [bold]quasarloop train --store sky --truth truth.csv --out W.h5 --seed 1[/]

    From nothing: [bold]quasarloop train --preset green2025 --store sky --truth truth.csv --out N.h5
    --seed 1[/]
    """
    from quasarloop.evaluate.figures import history_figure, save_figure
    from quasarloop.network.config import NetworkConfig
    from quasarloop.network.train_files import TrainingFiles, train_to_files
    from quasarloop.network.weights import Weights, read_weights, weights_path
    from quasarloop.store import open_store

    files = TrainingFiles(store, truth, unvetted, out, hold_out, resume, overwrite)
    first: NetworkConfig | Weights
    grid = open_store(store).grid
    if given_on_command_line(context, "preset"):
        if start is not None:
            raise WeightsError(
                f"--preset {network.preset} trains from nothing, --from {start} trains weights "
                "further; give one of them"
            )
        first = network.network(grid)
    else:
        weights = read_weights(weights_path(start, grid))
        options = unless_given(
            context, options, FinetuneOptions(rehearsal=rehearsal, device="auto")
        )
        first = weights.with_changes(**network.changes)
    with naming(TruthError, *truth), progress_bar() as progress:
        task = progress.add_task("train", total=options.epochs, note="")

        def step(record: "EpochRecord") -> None:
            progress.update(task, completed=record.epoch, note=record.describe())

        result = train_to_files(
            files,
            first,
            options,
            on_start=lambda counts, rows: console.print(
                f"{counts.describe()}; {len(rows.train)} train, "
                f"{0 if rows.validation is None else len(rows.validation)} validate",
                soft_wrap=True,
            ),
            on_epoch=step,
        )
    save_figure(history_figure(result.history, files.out.name), files.figure)
    kept = result.history[result.weights.provenance["epoch_kept"] - 1]
    typer.echo(f"epoch {kept.epoch} kept: {kept.describe()}")
    for path in (files.out, files.history, files.figure, files.manifest):
        typer.echo(f"-> {path}")
