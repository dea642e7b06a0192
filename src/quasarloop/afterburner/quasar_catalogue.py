"""From redrock, qso_qn and qso_mgii files to the DESI quasar catalogue, a file at a time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from quasarloop.afterburner.maskbits import BIT_TEXT, QsoBit
from quasarloop.afterburner.mgii_file import mgii_block
from quasarloop.afterburner.quasar_columns import DESI_COLUMNS
from quasarloop.afterburner.quasar_inputs import (
    RedrockFile,
    read_mgii_file,
    read_network_file,
    read_redrock_file,
    read_target_ids,
)
from quasarloop.afterburner.quasar_rows import CatalogueOptions, quasar_rows
from quasarloop.artefacts import versions
from quasarloop.catalogue.columns import CatalogueBlock
from quasarloop.catalogue.writers import open_writer
from quasarloop.errors import DataFormatError, QuasarloopError

__all__ = ["CatalogueSummary", "write_quasar_catalogue"]

_PREFIX: Final = "redrock-"


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
    on_bad: Callable[[Path, QuasarloopError], None] | None = None,
    on_step: Callable[[int, int], None] = lambda *_: None,
    overwrite: bool = False,
) -> CatalogueSummary:
    """Make one catalogue of many redrock files, a file at a time.

    Args:
        redrocks: ``redrock-*.fits``; ``qso_qn-*``, ``qso_mgii-*`` and ``coadd-*`` of the same
            name are looked for beside each.
        out: .fits, .parquet, .csv or .ecsv.
        network_dir: where the qso_qn files are, if not beside.
        wise_variable: table whose TARGETIDs are variable in WISE, besides the target bits.
        options: recipe and choices.
        on_bad: takes redrock files that cannot be used; None stops at the first.
        on_step: called with (files done, quasars so far).
        overwrite: replace an existing catalogue.

    Raises:
        DataFormatError: missing or unfit files.
        SelectionError: no target bits, but they are asked for.
        OutputError: the catalogue cannot be written.
    """
    chosen = options or CatalogueOptions()
    variable = read_target_ids(wise_variable) if wise_variable is not None else _NO_IDS
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    with open_writer(
        out, DESI_COLUMNS, _header(chosen, wise_variable), overwrite=overwrite
    ) as append:
        for done, path in enumerate(map(Path, redrocks), start=1):
            try:
                redrock = read_redrock_file(path)
                rows = quasar_rows(
                    redrock, *_opinions(redrock, network_dir, chosen), variable, chosen
                )
            except QuasarloopError as exc:
                if on_bad is None:
                    raise
                on_bad(path, exc)
                continue
            append(rows)
            _count(counts, seen, redrock, rows)
            on_step(done, counts["quasars"])
    names = [str(bit.name) for bit in QsoBit]
    return CatalogueSummary(
        counts["spectra"],
        counts["quasars"],
        counts["repeated"],
        counts["waiting"],
        {name: counts[name] for name in names if counts[name]},
    )


_NO_IDS: Final = np.empty(0, dtype=np.int64)


def _opinions(
    redrock: RedrockFile, network_dir: str | Path | None, options: CatalogueOptions
) -> tuple[CatalogueBlock, CatalogueBlock | None]:
    network = _beside(redrock.path, "qso_qn-", network_dir)
    if not network.is_file():
        raise DataFormatError(
            f"{network} is missing; make it with quasarloop afterburner, or say where it is"
        )
    answers = read_network_file(network, redrock.target_id)
    if options.mgii == "none":
        return answers, None
    fitted = _beside(redrock.path, "qso_mgii-")
    if options.mgii == "file" or (options.mgii == "auto" and fitted.is_file()):
        return answers, read_mgii_file(fitted, redrock.target_id)
    coadd = _beside(redrock.path, "coadd-")
    if not coadd.is_file():
        raise DataFormatError(
            f"neither {fitted.name} nor {coadd.name} stands beside {redrock.path}; put one there, "
            "or go without Mg II"
        )
    return answers, mgii_block(coadd, redrock, options.mgii_templates, options.mgii_options)


def _beside(redrock: Path, prefix: str, folder: str | Path | None = None) -> Path:
    if not redrock.name.startswith(_PREFIX):
        raise DataFormatError(
            f"{redrock}: expected a name {_PREFIX}…, from which those of the other files follow"
        )
    return Path(folder or redrock.parent) / (prefix + redrock.name.removeprefix(_PREFIX))


def _count(
    counts: Counter[str], seen: set[int], redrock: RedrockFile, rows: CatalogueBlock
) -> None:
    bits = rows["QSO_MASKBITS"].astype(np.int64)
    ids = rows["TARGETID"].tolist()
    counts["spectra"] += len(redrock)
    counts["quasars"] += len(bits)
    counts["repeated"] += sum(target in seen for target in ids)
    seen.update(ids)
    counts["waiting"] += int(np.isin(rows["Z_SOURCE"], ("WAITING", "NETWORK")).sum())
    for bit in QsoBit:
        counts[str(bit.name)] += int(((bits & bit) != 0).sum())


def _header(options: CatalogueOptions, wise_variable: str | Path | None) -> dict[str, Any]:
    return {
        "recipe": asdict(options.recipe),
        "targets": options.targets,
        "waiting": options.waiting,
        "mgii": options.mgii,
        "mgii_reference": "constant" if options.mgii_templates is None else "redrock",
        "mgii_options": asdict(options.mgii_options),
        "wise_variable": None if wise_variable is None else Path(wise_variable).name,
        "maskbits": {f"{bit.name} ({int(bit)})": BIT_TEXT[bit] for bit in QsoBit},
        "versions": versions(),
    }
