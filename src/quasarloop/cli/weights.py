"""``quasarloop weights``: what is inside a weights file, and the safe form of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from quasarloop.cli.common import (
    OptionsOf,
    Overwrite,
    Unvetted,
    console,
    plain_console,
    print_table,
    two_columns,
    with_options,
)
from quasarloop.errors import GridError, TruthError, naming
from quasarloop.grid import WaveGrid, grid_named
from quasarloop.network.options import PredictOptions

if TYPE_CHECKING:
    from quasarloop.network.keras_reading import FileFacts
    from quasarloop.network.weights import Weights

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Look into weights files; make them safe for every reader."
)

_OFFSETS = OptionsOf(PredictOptions, only=("offsets",))
GridOption = Annotated[str | None, typer.Option(help="log or linear, for a file without its grid.")]


@app.command("info")
@with_options(predict=_OFFSETS)
def info(
    *,
    path: Annotated[Path, typer.Argument(help="A Keras 2 HDF5 file.", metavar="FILE")],
    predict: PredictOptions,
    grid: GridOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the network into this file: .png, .pdf or .svg.")
    ] = None,
) -> None:
    """Print layers, grid, offsets, thresholds and provenance of a weights file.

    Example: [bold]quasarloop weights info W.h5[/]
    """
    weights, facts = _inspect(path, predict, grid)
    if figure is not None:
        from quasarloop.evaluate.figures import save_figure
        from quasarloop.evaluate.network_figure import network_figure

        save_figure(network_figure({path.name: weights.config}), figure)
    facts_of_file = _summary(weights, facts)
    if as_json:
        layers = [dict(zip(_COLUMNS, row, strict=True)) for row in _layer_rows(weights, facts)]
        record = {**facts_of_file, "layers": layers, "provenance": dict(weights.provenance)}
        typer.echo(json.dumps(record, indent=1, ensure_ascii=False))
        return
    console = plain_console(soft_wrap=True)
    console.print(two_columns(str(path), facts_of_file))
    table = Table(title="layers", box=SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for here, there, *rest in _layer_rows(weights, facts):
        table.add_row(here, "" if there == here else there, *rest)
    console.print(table)
    if weights.provenance:
        console.print(two_columns("provenance", dict(_flat(weights.provenance))))


@app.command("convert")
@with_options(predict=_OFFSETS)
def convert(
    *,
    path: Annotated[Path, typer.Argument(help="A Keras 2 HDF5 file.", metavar="IN")],
    out: Annotated[Path, typer.Argument(help="The file to write.", metavar="OUT")],
    predict: PredictOptions,
    grid: GridOption = None,
    overwrite: Overwrite = False,
) -> None:
    """Rewrite a weights file so that QuasarNP, desispec and quasarloop agree about it.

    Example: [bold]quasarloop weights convert old.h5 safe.h5[/]
    """
    from quasarloop.artefacts import check_output
    from quasarloop.network.keras_layout import quasarnp_obstacles
    from quasarloop.network.weights import write_weights

    check_output(out, overwrite=overwrite)
    weights, facts = _inspect(path, predict, grid)
    write_weights(weights, out)
    typer.echo(f"offsets {facts.offsets}")
    if facts.quasarnp_rescales != weights.config.rescales_offsets:
        before, after = _way(facts.quasarnp_rescales), _way(weights.config.rescales_offsets)
        typer.echo(f"QuasarNP read {path} as {before}; it reads {out} as {after}")
    for obstacle in quasarnp_obstacles(weights.config):
        typer.echo(f"QuasarNP cannot use this network: {obstacle}")
    typer.echo(f"weights -> {out}")


@app.command("adapt")
def adapt(
    *,
    weights: Annotated[Path, typer.Option(help="Weights to adapt, trained from nothing.")],
    store: Annotated[Path, typer.Option(help="Store of the survey's spectra; no label is read.")],
    out: Annotated[Path, typer.Option(help="Weights file to write (Keras HDF5, .h5).")],
    overwrite: Overwrite = False,
) -> None:
    """Measure a network's statistics anew, on a survey's own unlabelled spectra.

    For weights that were trained on other spectra than the survey's, before any label is used;
    not for the shipped ones, which were trained on from others, and not where quasars are much
    rarer than among the spectra that the weights learned from.

    Example: [bold]quasarloop weights adapt --weights N.h5 --store sky --out adapted.h5[/]
    """
    from quasarloop.artefacts import check_output
    from quasarloop.network.finetune import adapt_statistics, sample_to_adapt_to
    from quasarloop.network.weights import read_weights, weights_path, write_weights
    from quasarloop.store import open_store

    check_output(out, overwrite=overwrite)
    source = open_store(store)
    network = read_weights(weights_path(weights, source.grid))
    adapted = adapt_statistics(network, sample_to_adapt_to(source))
    record = adapted.provenance["adapted"]
    typer.echo(
        "of {spectra} spectra {quasars_before} were quasars and {quasars_after} are now: "
        "{became_quasars} became quasars, {ceased_to_be} ceased to be".format(**record)
    )
    typer.echo(f"weights -> {out}")
    write_weights(adapted, out)


@app.command("calibrate")
def calibrate(
    *,
    path: Annotated[Path, typer.Argument(help="Weights to calibrate: a file, or shipped.")],
    store: Annotated[Path, typer.Option(help="Store of spectra that did not train them.")],
    truth: Annotated[
        list[Path], typer.Option(help="Truth table: CSV, FITS or Parquet; several join.")
    ],
    out: Annotated[Path, typer.Option(help="Weights file to write (Keras HDF5, .h5).")],
    unvetted: Unvetted = False,
    overwrite: Overwrite = False,
) -> None:
    """Calibrate Z_JOINT's uncertainty and p(z) on a survey's own labelled quasars.

    Confidences, offsets and IS_QSO stay as they are. Pulls, (Z_JOINT - z) / ZERR_JOINT, are
    printed before and after: those after are of objects left out of the fit, a fifth at a time.

    Example: [bold]quasarloop weights calibrate W.h5 --store sky --truth truth.csv --out W2.h5[/]
    """
    from quasarloop.artefacts import check_output
    from quasarloop.network.calibration import recalibrate
    from quasarloop.network.labelled import label_spectra
    from quasarloop.network.weights import read_weights, weights_path, write_weights
    from quasarloop.read import read_truths
    from quasarloop.store import iter_store, open_store

    check_output(out, overwrite=overwrite)
    source = open_store(store)
    weights = read_weights(weights_path(path, source.grid))
    if not source.grid.matches(weights.config.grid):
        raise GridError(
            f"{store} is a store on a {source.grid.describe()}, the network on a "
            f"{weights.config.grid.describe()}; ingest the files on the network's grid"
        )
    with naming(TruthError, *truth):
        data, counts = label_spectra(iter_store(source), read_truths(truth, unvetted=unvetted))
        console.print(counts.describe(), soft_wrap=True)
        result = recalibrate(weights, data)
    n_spectra = result.before.n + result.before.confused
    print_table(
        f"pulls of {n_spectra} spectra of {result.n_objects} quasars",
        ("", "taken for another line", "median", "width", "within 1σ", "within 2σ", "beyond 3σ"),
        [
            (
                *(when, str(p.confused), f"{p.median:+.2f}", f"{p.width:.2f}"),
                *(f"{share:.1%}" for share in (p.within_1, p.within_2, p.beyond_3)),
            )
            for when, p in (("before", result.before), ("after", result.after))
        ],
    )
    write_weights(result.weights, out)
    typer.echo(f"weights -> {out}")


def _inspect(path: Path, predict: PredictOptions, grid: str | None) -> "tuple[Weights, FileFacts]":
    from quasarloop.network.weights import inspect_weights, weights_path

    chosen: WaveGrid | None = grid_named(grid) if grid else None
    return inspect_weights(weights_path(path), predict.offsets, grid=chosen)


def _summary(weights: "Weights", facts: "FileFacts") -> dict[str, str]:
    from quasarloop.network.keras_layout import quasarnp_obstacles

    config = weights.config
    norms = [there for there, here in facts.layers if here.startswith("batch_normalization")]
    obstacles = quasarnp_obstacles(config)
    limits = weights.thresholds
    sizes = {name: array.size for name, array in weights.arrays.items()}
    n_trained = sum(size for name, size in sizes.items() if "/moving_" not in name)
    return {
        "network": f"{config.n_conv} convolutions of {config.n_filters} filters, width "
        f"{config.kernel_width}, stride {config.stride}, padding {config.padding}",
        "widths": " → ".join(map(str, config.widths)),
        "numbers": f"{sum(sizes.values()):,}, {n_trained:,} of them trained",
        "dropout": f"{config.dropout:g}",
        "lines": ", ".join(f"{x.name}{' (BAL)' if x.is_bal else ''}" for x in config.lines),
        "boxes": str(config.n_boxes),
        "grid": f"{config.grid.describe()}; {facts.grid}",
        "offsets": f"{facts.offsets}; from {config.offset_low:g} to {config.offset_high:g}",
        "QuasarNP reads": f"{_way(facts.quasarnp_rescales)} offsets"
        + (
            ""
            if facts.quasarnp_rescales == config.rescales_offsets
            else ": WRONG, use weights convert"
        )
        + "".join(f"; cannot use it: {obstacle}" for obstacle in obstacles),
        "batch normalizations": f"{norms[0]} … {norms[-1]}",
        "Keras": facts.keras_version,
        "thresholds": f"confidence > {limits.confidence:g} on {limits.n_lines} line(s); "
        f"HIGH_Z from z = {limits.high_z_min:g}"
        + ("" if "thresholds" in weights.provenance else " (the paper's; none in the file)"),
        "digest": weights.digest(),
    }


_COLUMNS = ("layer", "name in file", "kernel", "width", "numbers")


def _layer_rows(weights: "Weights", facts: "FileFacts") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for there, here in facts.layers:
        arrays = {k: v for k, v in weights.arrays.items() if k.startswith(f"{here}/")}
        kernel = arrays.get(f"{here}/kernel")
        shape = "" if kernel is None else "×".join(map(str, kernel.shape))
        number = here.removeprefix("conv_")
        width = str(weights.config.widths[int(number)]) if number != here else ""
        rows.append((here, there, shape, width, str(sum(a.size for a in arrays.values()))))
    return rows


def _flat(content: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(content, dict):
        return [(prefix, str(content))]
    return [
        pair
        for key, value in content.items()
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]


def _way(rescaled: bool) -> str:
    return "rescaled" if rescaled else "plain"
