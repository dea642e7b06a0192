"""Train the same network in several ways, on the same spectra, and compare: a table and a figure.

    quasarloop simulate --out sky --objects 10000 --seed 11
    quasarloop ingest sky --store skystore
    python studies/training_study.py --store skystore --truth sky/truth.csv --out study \
        --vary dropout=0,0.2,0.5,0.8 --seeds 3 --train 4700 --set epochs=40

`--vary` names one setting of the training (or the network's ``dropout``, or ``precision``) and
its values; `--set` fixes others. Every run has its own seed, the same for each value. Objects to
judge on are held out once, for all runs. Finished runs are in the folder and are not repeated.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from quasarloop.artefacts import check_folder, write_manifest
from quasarloop.constants import SPEED_OF_LIGHT_KMS
from quasarloop.evaluate.figures import COLOURS, save_figure, use_style
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import decode
from quasarloop.network.labelled import TrainingData, hold_out, label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.records import EpochRecord, read_history, write_history
from quasarloop.network.training import TrainingResult, train
from quasarloop.network.training_run import Rows
from quasarloop.read import read_truth
from quasarloop.store import iter_store, open_store

_PURITY = 0.99
_SPLIT_SEED = 0
_HELD_OUT = 0.3  # of the objects, to judge on
# Column, its heading, its format, and what it is multiplied by.
_COLUMNS = (
    ("validation_loss", "validation loss", ".3f", 1.0),
    ("completeness", "completeness", ".4f", 1.0),
    ("purity", "purity", ".4f", 1.0),
    ("completeness_at_purity", f"completeness at purity {_PURITY}", ".4f", 1.0),
    ("z_nmad", "NMAD, km/s", ".0f", SPEED_OF_LIGHT_KMS),
)


class Run(NamedTuple):
    """One training of the study."""

    value: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.value}-seed{self.seed}"


def main() -> int:
    """Make the runs that are missing, then table and figure."""
    options = _arguments()
    folder = check_folder(options.out)
    key, _, values = options.vary.partition("=")
    runs = [Run(value, seed) for seed in range(options.seeds) for value in values.split(",")]
    if any(not (folder / f"{run.name}.json").exists() for run in runs):
        store = open_store(options.store)
        data, counts = label_spectra(iter_store(store), read_truth(options.truth))
        rows = _rows(data, options.train)
        print(f"{counts.describe()}; {len(rows.train)} train", file=sys.stderr, flush=True)
        for run in runs:
            if not (folder / f"{run.name}.json").exists():
                settings = {**dict(pair.split("=") for pair in options.set), key: run.value}
                config = preset(options.preset, store.grid)
                _train(run, data, rows, *_settings(config, settings), folder)
    table = as_table(key, runs, folder) + "\n" + kept_table(key, runs, folder)
    (folder / "table.md").write_text(table, encoding="utf-8")
    save_figure(_figure(key, runs, folder), folder / "figure.png")
    print(table)
    return 0


def as_table(key: str, runs: list[Run], folder: Path) -> str:
    """Return one row per value: mean and scatter over the seeds."""
    lines = [f"| {key} | runs | " + " | ".join(title for _, title, _, _ in _COLUMNS) + " |"]
    lines.append("|---|---:|" + "---:|" * len(_COLUMNS))
    for value in dict.fromkeys(run.value for run in runs):
        found = [_numbers(run, folder) for run in runs if run.value == value]
        cells = [
            _cell([row[name] for row in found], form, scale) for name, _, form, scale in _COLUMNS
        ]
        lines.append(f"| {value} | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def kept_table(key: str, runs: list[Run], folder: Path) -> str:
    """Return what keeping the epoch of lowest validation loss would change against the last."""
    lines = [f"| {key} | epoch kept | number | completeness | purity | NMAD, km/s |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    for value in dict.fromkeys(run.value for run in runs):
        histories = [
            read_history(folder / f"{run.name}.history.parquet")
            for run in runs
            if run.value == value
        ]
        lowest = [min(epochs, key=lambda e: e.validation_loss) for epochs in histories]
        for title, kept in (("lowest loss", lowest), ("last", [h[-1] for h in histories])):
            cells = [
                _cell([e.epoch for e in kept], ".0f", 1.0),
                _cell([e.completeness for e in kept], ".4f", 1.0),
                _cell([e.purity for e in kept], ".4f", 1.0),
                _cell([e.z_nmad for e in kept], ".0f", SPEED_OF_LIGHT_KMS),
            ]
            lines.append(f"| {value} | {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: list[float], form: str, scale: float) -> str:
    array = scale * np.array(values, dtype=float)
    scatter = f" ± {array.std(ddof=1):{form}}" if len(array) > 1 else ""
    return f"{array.mean():{form}}{scatter}"


def _numbers(run: Run, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{run.name}.json").read_text(encoding="utf-8"))
    return content


def _rows(data: TrainingData, n_train: int) -> Rows:
    held = hold_out(data, _HELD_OUT, _SPLIT_SEED)
    left = np.flatnonzero(~held)
    chosen = np.random.default_rng(_SPLIT_SEED).permutation(left)[:n_train]
    return Rows(np.sort(chosen), np.flatnonzero(held))


def _settings(
    config: NetworkConfig, settings: dict[str, str]
) -> tuple[NetworkConfig, TrainingOptions]:
    kinds = {f.name: type(getattr(TrainingOptions(), f.name)) for f in fields(TrainingOptions)}
    network: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "dropout":
            network[name] = float(value)
        elif kinds[name] is bool:
            changes[name] = value == "true"
        else:
            changes[name] = kinds[name](value)
    return replace(config, **network), replace(TrainingOptions(monitor="none"), **changes)


def _train(
    run: Run,
    data: TrainingData,
    rows: Rows,
    config: NetworkConfig,
    options: TrainingOptions,
    folder: Path,
) -> None:
    def report(record: EpochRecord) -> None:
        if record.epoch % 10 == 0 or record.epoch == options.epochs:
            print(f"{run.name}: {record}", file=sys.stderr, flush=True)

    result = train(
        data, config, options, seed=run.seed, rows=rows, out_dir=folder / run.name, on_epoch=report
    )
    write_history(result.history, folder / f"{run.name}.history.parquet")
    last = result.history[-1]
    numbers = {name: getattr(last, name) for name, *_ in _COLUMNS if hasattr(last, name)}
    numbers["completeness_at_purity"] = _at_purity(result, data[rows.validation])
    numbers["options"] = asdict(options) | {"dropout": config.dropout}
    write_manifest(folder / f"{run.name}.json", numbers)
    for path in sorted((folder / run.name).iterdir()):
        path.unlink()
    (folder / run.name).rmdir()


def _at_purity(result: TrainingResult, data: TrainingData) -> float:
    config = result.weights.config
    finds = decode(Predictor(result.weights).predict(data.flux), config)
    best = finds.confidence[:, list(config.emission_index)].max(axis=1)
    return float(completeness_at_purity(best.astype(float), data.is_qso, _PURITY))


def _figure(key: str, runs: list[Run], folder: Path) -> Figure:
    with use_style():
        figure = Figure(figsize=(12, 3.9))
        panels = figure.subplots(1, 3)
        for value, colour in _coloured(runs):
            for number, run in enumerate(run for run in runs if run.value == value):
                epochs = read_history(folder / f"{run.name}.history.parquet")
                label = f"{key} {value}" if number == 0 else None
                style = {"color": colour, "lw": 1, "alpha": 0.8, "label": label}
                x = [e.epoch for e in epochs]
                panels[0].plot(x, [e.validation_loss for e in epochs], **style)
                panels[1].plot(x, [e.completeness for e in epochs], **style)
                panels[2].plot(x, [SPEED_OF_LIGHT_KMS * e.z_nmad for e in epochs], **style)
        for axes, name in zip(
            panels,
            ("validation loss, summed over lines", "completeness at 0.95", "NMAD, km/s"),
            strict=True,
        ):
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
        panels[0].set_yscale("log")
        panels[2].set_yscale("log")
        panels[0].legend(fontsize=8)
        return figure


def _coloured(runs: list[Run]) -> Iterator[tuple[str, str]]:
    return zip(dict.fromkeys(run.value for run in runs), COLOURS * 3, strict=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of runs, table and figure")
    parser.add_argument("--vary", required=True, help="e.g. dropout=0,0.2,0.5,0.8")
    parser.add_argument("--set", nargs="*", default=[], help="e.g. epochs=40 schedule=cosine")
    parser.add_argument("--preset", default="green2025")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=4700, help="training spectra")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
