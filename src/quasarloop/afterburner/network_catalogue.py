"""The quasar catalogue of surveys without redrock: SDSS, BOSS, LAMOST, any file we can read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.maskbits import BIT_TEXT, QsoBit
from quasarloop.afterburner.quasar_rows import NETWORK_COLUMNS, network_zwarn
from quasarloop.catalogue.classify import ClassifyOptions, catalogue_header, classify_spectra
from quasarloop.catalogue.files import open_writer
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.columns import CatalogueBlock
from quasarloop.errors import DataFormatError
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.spectra import Flag

__all__ = ["NetworkSummary", "network_quasar_rows", "write_network_catalogue"]


@dataclass(frozen=True)
class NetworkSummary:
    """What was made.

    Attributes:
        n_spectra: spectra read.
        n_quasars: rows written.
        n_refused: called quasars, but no science target.
        n_ambiguous: quasars with a warning about their redshift.
        n_objects: different objects among the quasars.
    """

    n_spectra: int
    n_quasars: int
    n_refused: int
    n_ambiguous: int
    n_objects: int


def write_network_catalogue(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    weights: str | Path | None = None,
    options: ClassifyOptions | None = None,
    device: str = "auto",
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_step: Callable[[int, int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> NetworkSummary:
    """Find the quasars in files, folders or stores; the network's opinion alone.

    Args:
        paths: survey files, folders of them, stores.
        out: .fits, .parquet, .csv or .ecsv.
        weights: None takes the weights shipped with the package.
        options: thresholds.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        on_bad: takes files that cannot be read; None stops at the first.
        on_step: called with (steps done, steps in all, quasars so far).
        overwrite: replace an existing catalogue.

    Raises:
        DataFormatError: no spectra, or a broken file.
        WeightsError: weights that cannot be read.
        OutputError: the catalogue cannot be written.
    """
    chosen = options or ClassifyOptions()
    path = Path(weights) if weights is not None else default_weights_path()
    network = read_weights(path)
    predictor = Predictor(network, device=device)
    inputs = find_inputs(paths)
    counts: Counter[str] = Counter()
    objects: set[int] = set()

    def done() -> None:
        counts["steps"] += 1

    header = {
        **catalogue_header(path, network, chosen),
        "maskbits": {f"NETWORK ({int(QsoBit.NETWORK)})": BIT_TEXT[QsoBit.NETWORK]},
    }
    with open_writer(out, NETWORK_COLUMNS, header, overwrite=overwrite) as append:
        for spectra in iter_inputs(inputs, network.config.grid, on_bad=on_bad, on_done=done):
            block = classify_spectra(spectra, predictor, chosen)
            rows = network_quasar_rows(block)
            append(rows)
            counts["spectra"] += len(spectra)
            counts["called"] += int(block["IS_QSO"].sum())
            counts["quasars"] += len(rows["TARGETID"])
            counts["ambiguous"] += int((rows["ZWARN"] != 0).sum())
            objects.update(rows["OBJECT_ID"].tolist())
            on_step(counts["steps"], len(inputs), counts["quasars"])
    return NetworkSummary(
        counts["spectra"],
        counts["quasars"],
        counts["called"] - counts["quasars"],
        counts["ambiguous"],
        len(objects),
    )


def network_quasar_rows(block: CatalogueBlock) -> CatalogueBlock:
    """Return the quasars of a classified block as rows of the catalogue.

    The redshift is the joint one of all lines where it is known, else the best line's. Fibres
    that were not aimed at a target are left out, whatever the network says.

    Args:
        block: of `catalogue.classify_spectra`.

    Returns:
        `NETWORK_COLUMNS`.
    """
    values: dict[str, NDArray[Any]] = dict(block)
    n = len(values["TARGETID"])
    nothing: Mapping[str, NDArray[Any]] = {
        name: np.full(n, np.nan) for name in ("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT", "C_BAL")
    }
    values = {**nothing, **values}
    joint = np.isfinite(values["Z_JOINT"])
    values["Z"] = np.where(joint, values["Z_JOINT"], values["Z_BEST"])
    values["ZERR"] = values["ZERR_JOINT"]
    values["Z_SOURCE"] = np.where(joint, "JOINT", "LINE")
    values["ZWARN"] = network_zwarn(values["P_ALT"])
    values["Z_QN"] = values["Z_BEST"]
    values["QSO_MASKBITS"] = np.full(n, int(QsoBit.NETWORK))
    quasar = values["IS_QSO"].astype(bool) & ((values["FLAGS"] & Flag.NOT_TARGET) == 0)
    return {
        column.name: values[column.name][quasar].astype(column.dtype) for column in NETWORK_COLUMNS
    }
