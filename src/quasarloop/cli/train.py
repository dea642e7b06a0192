"""``quasarloop train``: labelled spectra in, a weights file out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quasarloop.cli.common import console, progress_bar

if TYPE_CHECKING:
    from quasarloop.network.config import NetworkConfig
    from quasarloop.network.history import EpochRecord
    from quasarloop.network.train_files import TrainedFiles, TrainingPlan
    from quasarloop.network.weights import Weights

__all__ = ["train"]


def train(
    store: Annotated[Path, typer.Option(help="Store of quasarloop ingest; its grid is used.")],
    truth: Annotated[
        list[Path], typer.Option(help="Truth table: CSV, FITS or Parquet; several join.")
    ],
    out: Annotated[Path, typer.Option(help="Weights file to write (Keras HDF5, .h5).")],
    preset: Annotated[
        str, typer.Option(help="Network: green2025, busca2018 or quasarloop2026.")
    ] = "green2025",
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights to go on from, in place of --preset.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the spectra at most.")] = 60,
    learning_rate: Annotated[float, typer.Option(help="First learning rate of Adam.")] = 3e-3,
    schedule: Annotated[str, typer.Option(help="constant, cosine or plateau.")] = "cosine",
    dropout: Annotated[
        float | None,
        typer.Option(min=0, max=0.99, help="Part of activations dropped. Default: the preset's."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Spectra per step.")] = 256,
    amsgrad: Annotated[bool, typer.Option(help="Adam's variant AMSGrad.")] = True,
    shift_bins: Annotated[
        int, typer.Option(min=0, help="Move spectra at random by up to so many log-λ bins.")
    ] = 0,
    validation: Annotated[
        float, typer.Option(min=0, max=0.9, help="Part of the objects held out; 0: none.")
    ] = 0.3,
    monitor: Annotated[
        str, typer.Option(help="Epoch kept: none (the last), or best by loss or completeness.")
    ] = "none",
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="With --monitor: stop after so many epochs without a better one."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto (bfloat16 on CUDA only).")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; others round others.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with a killed training.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing result.")] = False,
) -> None:
    """Train a network on labelled spectra; write weights that QuasarNP and desispec load.

    Beside W.h5 stand W.history.parquet, W.history.png and W.json. A checkpoint is kept every
    epoch: killed at any moment, the same command with --resume ends with the same bytes.

    Example: [bold]quasarloop train --store sky --truth truth.csv --out W.h5 --seed 1[/]
    """
    from quasarloop.network.train_files import TrainingPlan

    options: dict[str, Any] = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "batch_size": batch_size,
        "amsgrad": amsgrad,
        "shift_bins": shift_bins,
        "monitor": monitor,
        "patience": patience,
        "device": device,
        "precision": precision,
        "threads": threads,
    }
    plan = TrainingPlan(store, truth, out, validation, seed, resume, overwrite)
    _report(plan, _run(plan, _network(store, preset, start, dropout), options))


def _network(
    store: Path, preset_name: str, start: Path | None, dropout: float | None
) -> "NetworkConfig | Weights":
    from dataclasses import replace

    from quasarloop.network.config import preset
    from quasarloop.network.weights import read_weights
    from quasarloop.store import open_store

    changes: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    if start is None:
        return preset(preset_name, open_store(store).grid, **changes)
    weights = read_weights(start)
    return replace(weights, config=replace(weights.config, **changes))


def _run(
    plan: "TrainingPlan", network: "NetworkConfig | Weights", options: dict[str, Any]
) -> "TrainedFiles":
    from quasarloop.evaluate.figures import history_figure, save_figure
    from quasarloop.network.options import TrainingOptions
    from quasarloop.network.train_files import train_to_files

    settings = TrainingOptions(**options)
    with progress_bar() as progress:
        task = progress.add_task("train", total=settings.epochs, note="")

        def step(record: "EpochRecord") -> None:
            progress.update(task, completed=record.epoch, note=_note(record))

        files = train_to_files(
            plan,
            network,
            settings,
            on_start=lambda counts, rows: console.print(
                f"{counts.describe()}; {len(rows.train)} train, "
                f"{0 if rows.validation is None else len(rows.validation)} validate",
                highlight=False,
                soft_wrap=True,
            ),
            on_epoch=step,
        )
    save_figure(history_figure(files.result.history, plan.out.name), plan.figure)
    return files


def _note(record: "EpochRecord") -> str:
    if record.validation_loss != record.validation_loss:  # NaN: nothing was held out
        return f"loss {record.loss:.3f}"
    return (
        f"loss {record.loss:.3f}, validation {record.validation_loss:.3f}, completeness "
        f"{record.completeness:.3f}, purity {record.purity:.3f}"
    )


def _report(plan: "TrainingPlan", files: "TrainedFiles") -> None:
    kept = files.result.history[files.result.weights.provenance["epoch_kept"] - 1]
    typer.echo(f"epoch {kept.epoch} kept: {_note(kept)}")
    for path in (plan.out, plan.history, plan.figure, plan.manifest):
        typer.echo(f"-> {path}")
