"""Spectra in, catalogue rows out: one row per spectrum, in order, none dropped.

Spectra come from survey files or stores, block by block.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.arrays import MEMORY
from quasarloop.artefacts import checksum, versions
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.classes import ThresholdOptions, Thresholds, Vote
from quasarloop.columns import Block, as_column, catalogue_columns
from quasarloop.errors import DataFormatError, reading
from quasarloop.grid import RED_END, RedEnd
from quasarloop.lines import NETWORK_LINES
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.joint import JointCalibration, joint_redshifts
from quasarloop.network.options import Offsets, PredictOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, read_weights, weights_path
from quasarloop.quality import UNUSABLE, count_flags
from quasarloop.read import Sources
from quasarloop.spectra import Flag, RebinnedSpectra
from quasarloop.tables import open_writer, read_table

__all__ = [
    "ClassifyOptions",
    "Summary",
    "catalogue_header",
    "catalogue_thresholds",
    "classify_spectra",
    "classify_to_file",
    "line_columns",
    "options_record",
    "read_catalogue",
]


@dataclass(frozen=True)
class ClassifyOptions(ThresholdOptions):
    """What makes a quasar; thresholds that are not given are those of the weights.

    Attributes:
        red_end: what a line past the red end of the grid gives (see `network.decode`).
        joint: add the redshift of all lines together (see `network.joint`).
        calibration: how far its lines are trusted; None takes the weights' own.
        mend_outliers: give impossible pixels ivar 0 (`quality.prepare`); stores must agree.
    """

    red_end: RedEnd = RED_END
    joint: bool = True
    calibration: JointCalibration | None = None
    mend_outliers: bool = True


def classify_spectra(
    spectra: RebinnedSpectra, predictor: Predictor, options: ClassifyOptions | None = None
) -> Block:
    """Classify spectra with one network.

    Returns:
        Columns as `catalogue_columns` lists them. Spectra without a prediction (`UNUSABLE` flags)
        are not quasars, and their confidences and redshifts are NaN.
    """
    chosen = options or ClassifyOptions()
    config = predictor.config
    usable = np.flatnonzero((spectra.flags & UNUSABLE) == 0)
    outputs = predictor.predict(spectra.flux[usable], redshifts=chosen.joint)
    finds = decode(outputs, config, red_end=chosen.red_end)
    result = classify_finds(finds, config, chosen.over(predictor.thresholds))
    n = len(spectra)
    line_names = np.array([line.name for line in config.lines])
    values: dict[str, NDArray[Any]] = spectra.columns()
    values["IS_QSO"] = _spread(result.is_qso, usable, n, fill=False)
    vote = _spread(result.vote, usable, n, fill=Vote.NOT_QSO)
    values["CLASS"] = np.array([member.name for member in Vote])[vote]
    values["Z_BEST"] = _spread(result.z_best.astype(np.float64), usable, n, fill=np.nan)
    values["BEST_LINE"] = _spread(line_names[result.best_line], usable, n, fill="")
    if chosen.joint:
        found = joint_redshifts(outputs, config, chosen.calibration or predictor.joint)
        values["Z_JOINT"] = _spread(found.z, usable, n, fill=np.nan)
        values["ZERR_JOINT"] = _spread(found.z_err, usable, n, fill=np.nan)
        values["Z_ALT"] = _spread(found.z_alt, usable, n, fill=np.nan)
        values["P_ALT"] = _spread(found.p_alt, usable, n, fill=np.nan)
    for index, line in enumerate(config.lines):
        values[f"C_{line.column}"] = _spread(finds.confidence[:, index], usable, n, fill=np.nan)
        values[f"Z_{line.column}"] = _spread(finds.z[:, index], usable, n, fill=np.nan)
    return {
        column.name: values[column.name].astype(column.dtype)
        for column in catalogue_columns(config.lines, joint=chosen.joint)
    }


def options_record(options: ClassifyOptions, weights: Weights | Predictor) -> Mapping[str, Any]:
    """Return what makes the same catalogue again with those weights."""
    used = options.over(weights.thresholds)
    return {
        "threshold": used.confidence,
        "n_lines": used.n_lines,
        "red_end": options.red_end,
        "high_z_min": used.high_z_min,
        "thresholds_from": used.origins,
        "joint": asdict(options.calibration or weights.joint) if options.joint else None,
        "mend_outliers": options.mend_outliers,
        "flag_bits": {str(flag.name): int(flag) for flag in Flag},
    }


def _spread(values: NDArray[Any], rows: NDArray[np.intp], n: int, *, fill: object) -> NDArray[Any]:
    """Put the values of some rows back among all rows."""
    out = np.full(n, fill, dtype=values.dtype)
    out[rows] = values
    return out


@dataclass(frozen=True)
class Summary:
    """What a catalogue holds: rows, rows with IS_QSO, rows per quality flag."""

    n_spectra: int
    n_quasars: int
    flag_counts: dict[str, int]


def classify_to_file(
    paths: Sources,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    options: ClassifyOptions | None = None,
    format: str = "",  # noqa: A002 -- as in astropy
    offsets: Offsets = PredictOptions.offsets,
    device: str = PredictOptions.device,
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_step: Callable[[int, int, int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> Summary:
    """Classify files, folders or stores into one catalogue file.

    Memory does not grow with the number of spectra: blocks are read, classified, appended.

    Args:
        paths: survey files, folders of them, stores, or spectra in memory.
        out: catalogue, by its ending .fits, .parquet, .csv or .ecsv.
        weights: a file, or ``shipped`` (`network.weights_path`); None is ``shipped``.
        options: thresholds.
        format: of the files, where they are read by specutils (`read.read_spectra`).
        offsets: how to read the weights' line offsets (see `network.weights`).
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        on_bad: takes files that cannot be read; None stops at the first.
        on_step: called with (steps done, steps in all, spectra, quasars) as they grow.
        overwrite: replace an existing catalogue.

    Returns:
        Counts.

    Raises:
        DataFormatError: no spectra, or a broken file.
        WeightsError: weights that cannot be read.
        OutputError: the catalogue cannot be written.
    """
    chosen = options or ClassifyOptions()
    inputs = find_inputs(paths, mend_outliers=chosen.mend_outliers, format=format)
    path = weights_path(weights, inputs.grid)
    network = read_weights(path, offsets=offsets)
    predictor = Predictor(network, device=device)
    counts: Counter[str] = Counter()
    n_spectra = n_quasars = n_done = 0

    def done() -> None:
        nonlocal n_done
        n_done += 1

    header = catalogue_header(path, network, chosen)
    columns = catalogue_columns(network.config.lines, joint=chosen.joint)
    with open_writer(out, columns, header, overwrite=overwrite) as append:
        for spectra in iter_inputs(
            inputs,
            network.config.grid,
            mend_outliers=chosen.mend_outliers,
            on_bad=on_bad,
            on_done=done,
        ):
            block = classify_spectra(spectra, predictor, chosen)
            append(block)
            n_spectra += len(spectra)
            n_quasars += int(block["IS_QSO"].sum())
            counts.update(count_flags(spectra.flags))
            on_step(n_done, len(inputs), n_spectra, n_quasars)
    on_step(len(inputs), len(inputs), n_spectra, n_quasars)
    return Summary(n_spectra, n_quasars, dict(counts))


def catalogue_header(
    path: Path | None, weights: Weights, options: ClassifyOptions
) -> dict[str, Any]:
    """Return the record of how a catalogue was made.

    Args:
        path: the weights file; None for weights in memory, known by `Weights.digest`.
        weights: what it contains.
        options: of the classification.
    """
    head = weights.config.redshift
    return {
        "weights": MEMORY if path is None else path.name,
        "weights_sha256": weights.digest() if path is None else checksum(path),
        "offsets_rescaled": weights.config.rescales_offsets,
        "grid": weights.config.grid.describe(),
        "lines": [line.name for line in weights.config.lines],
        # Which of two ways Z_JOINT was made: with a head, `options.joint` was not used.
        "redshift_head": asdict(head) if options.joint and head is not None else None,
        "options": options_record(options, weights),
        "versions": versions(),
    }


def read_catalogue(path: str | Path, needed: Sequence[str] = (), *, judged: bool = False) -> Block:
    """Read a catalogue as arrays.

    Args:
        path: a file `classify_to_file` wrote, or any table with the same column names.
        needed: columns that must be there.
        judged: read only these and the lines', which a judgement needs: a third of the memory.

    Returns:
        Column name -> (n,) array; words as str, names as written.

    Raises:
        DataFormatError: missing, unreadable, or without a needed column.
    """
    if not Path(path).exists():
        raise DataFormatError(f"{path}: no such catalogue; make it with quasarloop classify")
    with reading(path, "a catalogue", "make it with quasarloop classify"):
        block = read_table(
            path, wanted=lambda name: not judged or name in needed or name[:2] in ("C_", "Z_")
        )
    missing = [name for name in needed if name not in block]
    if missing:
        raise DataFormatError(
            f"{path}: no column {', '.join(missing)}; expected a catalogue of quasarloop classify"
        )
    used = {*needed, *(f"{letter}_{line}" for line in line_columns(block) for letter in "CZ")}
    for column in catalogue_columns(NETWORK_LINES):
        if column.name in used:
            block[column.name] = as_column(block[column.name], column, str(path))
    return block


def catalogue_thresholds(record: Mapping[str, Any]) -> Thresholds:
    """Return the thresholds in a `catalogue_header`, the package's where it has none."""
    options = record.get("options", {})
    names = {"confidence": "threshold", "n_lines": "n_lines", "high_z_min": "high_z_min"}
    return Thresholds.from_dict({n: options.get(key) for n, key in names.items()}, "catalogue")


def line_columns(block: Block) -> list[str]:
    """Return the names after ``C_`` of the emission lines, in order, the BAL finder left out."""
    names = [name[2:] for name in block if name.startswith("C_") and f"Z_{name[2:]}" in block]
    return [name for name in names if name != "BAL"]
