"""From redrock, qso_qn and qso_mgii files to the DESI quasar catalogue, on the engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.file_columns import DESI_COLUMNS, NETWORK_COLUMNS
from quasarloop.afterburner.maskbits import BIT_TEXT, QsoBit, recipe_for
from quasarloop.afterburner.mgii_file import mgii_block
from quasarloop.afterburner.options import CatalogueOptions
from quasarloop.afterburner.quasar_inputs import (
    find_redrocks,
    input_files,
    read_mgii_file,
    read_network_file,
    read_redrock_file,
    read_target_ids,
)
from quasarloop.afterburner.quasar_rows import network_zwarn, quasar_rows
from quasarloop.artefacts import versions
from quasarloop.catalogue.classify import ClassifyOptions, catalogue_header, classify_spectra
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.columns import Block
from quasarloop.engine import Engine, open_session
from quasarloop.errors import DataFormatError, QuasarloopError
from quasarloop.network.options import PredictOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights, weights_path
from quasarloop.spectra import Flag
from quasarloop.tables import open_writer

__all__ = ["network_quasar_rows", "write_network_catalogue", "write_quasar_catalogue"]

# Files whose quasars are held in memory until they are written, in order.
_LOT: Final = 64


@dataclass(frozen=True)
class CatalogueSummary:
    """What was made.

    Attributes:
        n_spectra: rows of all redrock files.
        n_quasars: rows written.
        n_repeated: rows whose TARGETID an earlier row has (overlapping tiles).
        n_waiting: quasars at a redshift the network contradicts, and redrock's second run is not
            in the file: Z_SOURCE is WAITING (Z likely wrong) or NETWORK.
        bit_counts: rows per bit.
    """

    n_spectra: int
    n_quasars: int
    n_repeated: int
    n_waiting: int
    bit_counts: dict[str, int]


def write_quasar_catalogue(
    redrocks: Sequence[str | Path],
    out: str | Path,
    *,
    network_dir: str | Path | None = None,
    wise_variable: str | Path | None = None,
    options: CatalogueOptions | None = None,
    engine: Engine | None = None,
    on_bad: Callable[[Path, QuasarloopError], None] | None = None,
    on_step: Callable[[int, int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> CatalogueSummary:
    """Make one catalogue of many redrock files, some dozens at a time.

    Args:
        redrocks: ``redrock-*.fits`` or folders of them; ``qso_qn-*``, ``qso_mgii-*`` and
            ``coadd-*`` of the same name are looked for beside each.
        out: .fits, .parquet, .csv or .ecsv.
        network_dir: where the qso_qn files are, if not beside.
        wise_variable: table whose TARGETIDs are variable in WISE, besides the target bits.
        options: recipe and choices.
        engine: where files are read and fitted; None is this process. The catalogue is the same.
        on_bad: takes redrock files that cannot be used; None stops at the first.
        on_step: called with (files done, files in all, quasars so far).
        overwrite: replace an existing catalogue.

    Raises:
        DataFormatError: missing or unfit files.
        SelectionError: no target bits, but they are needed.
        OutputError: the catalogue cannot be written.
    """
    chosen = options or CatalogueOptions()
    paths = find_redrocks(redrocks)
    variable = np.empty(0, np.int64) if wise_variable is None else read_target_ids(wise_variable)
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    header = {
        "recipe": asdict(recipe_for(chosen)),
        "targets": chosen.targets,
        "waiting": chosen.waiting,
        "mgii": chosen.mgii,
        "mgii_reference": "constant" if chosen.mgii_templates is None else "redrock",
        "mgii_options": asdict(chosen.mgii_options),
        "wise_variable": None if wise_variable is None else Path(wise_variable).name,
        "maskbits": {f"{bit.name} ({int(bit)})": BIT_TEXT[bit] for bit in QsoBit},
        "versions": versions(),
    }
    with (
        open_writer(out, DESI_COLUMNS, header, overwrite=overwrite) as append,
        open_session(_petal, engine=engine, shared=(network_dir, variable, chosen)) as session,
    ):
        for start in range(0, len(paths), _LOT):
            for path, petal in zip(
                paths[start:], session.run(paths[start : start + _LOT]).complete(), strict=False
            ):
                if not isinstance(petal, QuasarloopError):
                    n_spectra, rows = petal
                    append(rows)
                    _count(counts, seen, rows)
                    counts["spectra"] += n_spectra
                elif on_bad is None:
                    raise petal
                else:
                    on_bad(path, petal)
            on_step(min(start + _LOT, len(paths)), len(paths), counts["quasars"])
    bits = {str(bit.name): counts[str(bit.name)] for bit in QsoBit}
    return CatalogueSummary(
        counts["spectra"],
        counts["quasars"],
        counts["repeated"],
        counts["waiting"],
        {name: count for name, count in bits.items() if count},
    )


def _petal(
    path: Path, shared: tuple[str | Path | None, NDArray[np.int64], CatalogueOptions]
) -> tuple[int, Block] | QuasarloopError:
    """Return a redrock file's number of spectra, and its quasars.

    Errors are values: a file that does not fit today will not fit when tried again.
    """
    network_dir, wise_variable, options = shared
    try:
        redrock = read_redrock_file(path)
        network, fitted, coadd = input_files(path, network_dir, options.mgii)
        network_rows = read_network_file(network, redrock.target_id)
        mgii = None
        if fitted is not None:
            mgii = read_mgii_file(fitted, redrock.target_id)
        elif coadd is not None:
            mgii = mgii_block(coadd, redrock, options.mgii_templates, options.mgii_options)
        rows = quasar_rows(redrock, network_rows, mgii, wise_variable, options)
    except QuasarloopError as exc:
        return exc
    return len(redrock), rows


def _count(counts: Counter[str], seen: set[int], rows: Block) -> None:
    bits = rows["QSO_MASKBITS"].astype(np.int64)
    ids = rows["TARGETID"].tolist()
    counts["quasars"] += len(bits)
    counts["repeated"] += sum(target in seen for target in ids)
    seen.update(ids)
    counts["waiting"] += int(np.isin(rows["Z_SOURCE"], ("WAITING", "NETWORK")).sum())
    for bit in QsoBit:
        counts[str(bit.name)] += int(((bits & bit) != 0).sum())


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
    device: str = PredictOptions.device,
    on_bad: Callable[[Path, DataFormatError], None] | None = None,
    on_step: Callable[[int, int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> NetworkSummary:
    """Find the quasars in files, folders or stores by the network alone.

    Args:
        paths: survey files, folders of them, stores.
        out: .fits, .parquet, .csv or .ecsv.
        weights: a file, or ``shipped`` (`network.weights_path`); None is ``shipped``.
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
    inputs = find_inputs(paths)
    path = weights_path(weights, inputs.grid)
    network = read_weights(path)
    predictor = Predictor(network, device=device)
    counts: Counter[str] = Counter()
    objects: set[int] = set()
    header = catalogue_header(path, network, chosen)
    header["maskbits"] = {f"NETWORK ({int(QsoBit.NETWORK)})": BIT_TEXT[QsoBit.NETWORK]}
    with open_writer(out, NETWORK_COLUMNS, header, overwrite=overwrite) as append:
        blocks = iter_inputs(
            inputs, network.config.grid, on_bad=on_bad, on_done=lambda: counts.update(steps=1)
        )
        for spectra in blocks:
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


def network_quasar_rows(block: Block) -> Block:
    """Return the quasars of a classified block as rows of the catalogue.

    The redshift is the joint one of all lines where it is known, else the best line's. Fibres
    that were not aimed at a target are left out.

    Args:
        block: of `catalogue.classify_spectra`.

    Returns:
        `NETWORK_COLUMNS`.
    """
    n = len(block["TARGETID"])
    optional = ("Z_JOINT", "ZERR_JOINT", "Z_ALT", "P_ALT", "C_BAL")
    values = {**{name: np.full(n, np.nan) for name in optional}, **block}
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
