"""The whole way from paths to a catalogue file, a block at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from quasarloop.artefacts import checksum, versions
from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra, options_record
from quasarloop.catalogue.columns import catalogue_columns
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.catalogue.writers import open_writer
from quasarloop.errors import DataFormatError
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import Weights, default_weights_path, read_weights
from quasarloop.quality import count_flags

__all__ = ["Summary", "catalogue_header", "classify_to_file"]


@dataclass(frozen=True)
class Summary:
    """What a catalogue holds.

    Attributes:
        n_spectra: rows written.
        n_quasars: rows with IS_QSO.
        flag_counts: rows per quality flag.
    """

    n_spectra: int
    n_quasars: int
    flag_counts: dict[str, int]


def classify_to_file(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    weights: str | Path | None = None,
    options: ClassifyOptions | None = None,
    offsets: Literal["auto", "rescaled", "plain"] = "auto",
    device: str = "auto",
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_step: Callable[[int, int, int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> Summary:
    """Classify files, folders or stores into one catalogue file.

    Memory does not grow with the number of spectra: blocks are read, classified, appended.

    Args:
        paths: survey files, folders of them, stores.
        out: catalogue, by its ending .fits, .parquet, .csv or .ecsv.
        weights: weights file; None takes the one shipped with the package.
        options: thresholds.
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
    path = Path(weights) if weights is not None else default_weights_path()
    network = read_weights(path, offsets=offsets)
    inputs = find_inputs(paths)
    predictor = Predictor(network, device=device)
    counts: Counter[str] = Counter()
    n_spectra = n_quasars = n_done = 0

    def done() -> None:
        nonlocal n_done
        n_done += 1

    header = catalogue_header(path, network, chosen)
    columns = catalogue_columns(network.config.lines, joint=chosen.joint)
    with open_writer(out, columns, header, overwrite=overwrite) as append:
        for spectra in iter_inputs(inputs, network.config.grid, on_bad=on_bad, on_done=done):
            block = classify_spectra(spectra, predictor, chosen)
            append(block)
            n_spectra += len(spectra)
            n_quasars += int(block["IS_QSO"].sum())
            counts.update(count_flags(spectra.flags))
            on_step(n_done, len(inputs), n_spectra, n_quasars)
    on_step(len(inputs), len(inputs), n_spectra, n_quasars)
    return Summary(n_spectra, n_quasars, dict(counts))


def catalogue_header(path: Path, weights: Weights, options: ClassifyOptions) -> dict[str, Any]:
    """Return what a catalogue says of how it was made.

    Args:
        path: the weights file.
        weights: as read from it.
        options: thresholds.
    """
    head = weights.config.redshift
    return {
        "weights": path.name,
        "weights_sha256": checksum(path),
        "offsets_rescaled": weights.rescaled,
        "grid": weights.config.grid.describe(),
        "lines": [line.name for line in weights.config.lines],
        # Which of two ways Z_JOINT was made: with a head, `options.joint` was not used.
        "redshift_head": asdict(head) if options.joint and head is not None else None,
        "options": options_record(options),
        "versions": versions(),
    }
