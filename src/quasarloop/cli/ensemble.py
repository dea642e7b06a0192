"""``quasarloop ensemble``: train many networks, let them vote, look at what there is."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from quasarloop.cli.common import (
    OptionsOf,
    Scheduler,
    Unvetted,
    Workers,
    console,
    plain_console,
    progress_bar,
    two_columns,
    with_options,
)
from quasarloop.ensemble.options import EnsembleOptions, VoteOptions
from quasarloop.errors import TruthError, naming
from quasarloop.grid import WaveGrid
from quasarloop.network.options import PresetOptions, TrainingOptions

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Many networks as one: train them, let them vote.")

StoreFolder = Annotated[Path, typer.Option(help="Store of spectra (see quasarloop ingest).")]


@app.command()
@with_options(
    options=OptionsOf(EnsembleOptions, names={"n_networks": "--networks"}),
    network=OptionsOf(PresetOptions()),
    training=OptionsOf(
        TrainingOptions(),
        only=(
            *("epochs", "learning_rate", "batch_size", "schedule", "shift_bins"),
            *("precision", "device"),
        ),
    ),
)
def train(
    *,
    store: StoreFolder,
    truth: Annotated[list[Path], typer.Option(help="Truth table; give several to join them.")],
    unvetted: Unvetted = False,
    out: Annotated[Path, typer.Option(help="Folder of the ensemble.")],
    options: EnsembleOptions,
    network: PresetOptions,
    training: TrainingOptions,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Weights of the trunk of heads, by default those of the package; or an earlier "
            "ensemble of networks whose members to start from.",
        ),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(min=1, help="Train so many linear heads on one network, not networks."),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Features of the unlabelled spectra, to scale those of the labelled by."),
    ] = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
) -> None:
    """Train one network, or one linear head, per bootstrap sample of the truth table.

    After a kill, run the same command again: it goes on with the members it has.

    Example: [bold]quasarloop ensemble train --store sky --truth truth.csv --heads 200 --out
    round-1[/]

    Example: [bold]quasarloop ensemble train --store sky --truth truth.csv --networks 200 --out
    networks-1 --workers 8[/]
    """
    from quasarloop.artefacts import checksum
    from quasarloop.engine import Engine
    from quasarloop.ensemble.manifest import open_ensemble
    from quasarloop.ensemble.train import train_ensemble
    from quasarloop.ensemble.train_heads import train_heads
    from quasarloop.network.labelled import label_spectra
    from quasarloop.read import read_truths
    from quasarloop.store import iter_store, open_store

    spectra = open_store(store)
    table = read_truths(truth, unvetted=unvetted)
    with naming(TruthError, *truth):
        data, counts = label_spectra(iter_store(spectra), table)
    console.print(counts.describe())
    inputs = {"truth": [{"file": path.name, "sha256": checksum(path)} for path in truth]}
    if heads is not None:
        trunk = _trunk(start_from, features, spectra.grid)
        trunk |= {"device": training.device, "inputs": inputs}
        train_heads(data, out=out, n_heads=heads, seed=options.seed, **trunk)
        typer.echo(f"{heads} heads -> {out}")
        return
    options = replace(
        options,
        network=network.network(spectra.grid),
        training=training,
        start_from=None if start_from is None else open_ensemble(start_from),
    )
    with naming(TruthError, *truth), progress_bar() as progress:
        bar = progress.add_task("train", total=options.n_networks, note="")
        done = train_ensemble(
            data,
            options,
            out,
            inputs=inputs,
            engine=Engine(workers=workers, scheduler=scheduler),
            on_member=lambda index: progress.update(bar, advance=1, note=f"member {index}"),
        )
    typer.echo(f"{len(done)} networks -> {out}")


@app.command()
@with_options(
    options=OptionsOf(
        VoteOptions,
        names={"threshold": "--deciding-threshold", "counted_at": "--threshold"},
        leave_out=("red_end",),
    ),
)
def vote(
    *,
    ensemble: Annotated[Path, typer.Option(help="Folder of the ensemble.")],
    store: StoreFolder,
    out: Annotated[Path, typer.Option(help="Folder of the votes.")],
    options: VoteOptions,
    features: Annotated[
        Path | None,
        typer.Option(help="Folder of the features heads vote with; default: beside the store's."),
    ] = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
) -> None:
    """Classify every spectrum with every member; one Parquet file of votes per shard.

    After a kill, run the same command again: it goes on with what is missing.

    Example: [bold]quasarloop ensemble vote --ensemble round-1 --store sky --out votes-1
    --workers 8[/]
    """
    from quasarloop.engine import Engine
    from quasarloop.ensemble.manifest import open_ensemble
    from quasarloop.ensemble.vote import vote as vote_at_once
    from quasarloop.store import open_store

    members, spectra = open_ensemble(ensemble), open_store(store)
    rate = _Rate()
    with progress_bar() as progress:
        bar = progress.add_task("vote", total=spectra.n_rows, note="")

        def step(n: int) -> None:
            progress.update(bar, advance=n, note=rate.note(n * len(members)))

        votes = vote_at_once(
            members,
            spectra,
            out,
            options=options,
            features=features,
            engine=Engine(workers=workers, scheduler=scheduler),
            on_progress=step,
        )
    typer.echo(f"{votes.n_rows} spectra, {len(members)} {members.kind} -> {out}")


@app.command()
def info(
    folder: Annotated[Path, typer.Argument(help="Folder of an ensemble.", metavar="ENSEMBLE")],
) -> None:
    """Show what an ensemble is made of, and check its files.

    Example: [bold]quasarloop ensemble info round-1[/]
    """
    from quasarloop.ensemble.manifest import load_members, open_ensemble

    ensemble = open_ensemble(folder)
    load_members(ensemble)
    record, config = ensemble.record, ensemble.config
    lines = {
        "members": f"{len(ensemble)} {ensemble.kind}, all there and unchanged",
        "network": f"{config.n_conv} convolutions of {config.n_filters} filters, "
        f"padding {config.padding}, dropout {config.dropout:g}",
        "grid": config.grid.describe(),
        "lines": ", ".join(line.column for line in config.lines),
        "trained with": f"{record.get('n_spectra')} spectra of {record.get('n_objects')} objects",
        "seed": record.get("seed"),
        **_origin(record),
        **{f"training {key}": value for key, value in record.get("training", {}).items()},
        **{f"made with {key}": value for key, value in record.get("versions", {}).items()},
    }
    plain_console().print(two_columns(str(folder), lines))


def _trunk(start_from: Path | None, features: Path | None, grid: WaveGrid) -> dict[str, Any]:
    """Read the network of heads, and the scatter of its features where they are given."""
    from quasarloop.ensemble.features import open_features
    from quasarloop.network.weights import read_weights, weights_path

    weights, standard = read_weights(weights_path(start_from, grid)), None
    if features is not None:
        made = open_features(features)
        made.check_weights(weights)
        standard = made.standard()
    return {"weights": weights, "standard": standard}


def _origin(record: dict[str, Any]) -> dict[str, str]:
    """Return what the members started from, and of heads how far they may go from there."""
    if "heads" not in record:
        return {"started from": record.get("start_from") or "random weights"}
    widths = record["heads"]["widths"]
    return {
        "started from": f"the network {record['members'][0]['digest'][:16]}, in the folder",
        "prior": ", ".join(f"{name} {width:.3g}" for name, width in widths.items()),
    }


class _Rate:
    """Predictions per second since the first new ones; what was there does not count."""

    def __init__(self) -> None:
        self.started: float | None = None
        self.made = 0

    def note(self, predictions: int) -> str:
        """Count predictions just made and return words for the progress bar."""
        if self.started is None:  # the first call counts what was there already
            self.started = time.monotonic()
            return ""
        self.made += predictions
        seconds = max(time.monotonic() - self.started, 1e-9)
        return f"{self.made / seconds:,.0f} spectra × networks/s"
