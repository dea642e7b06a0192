"""From redrock, qso_qn and qso_mgii files to the DESI quasar catalogue, on the engine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.maskbits import BIT_TEXT, QsoBit
from quasarloop.afterburner.mgii_file import mgii_block
from quasarloop.afterburner.quasar_inputs import (
    read_mgii_file,
    read_network_file,
    read_redrock_file,
    read_target_ids,
)
from quasarloop.afterburner.quasar_rows import DESI_COLUMNS, CatalogueOptions, quasar_rows
from quasarloop.artefacts import versions
from quasarloop.catalogue.files import open_writer
from quasarloop.columns import CatalogueBlock
from quasarloop.engine import Engine, open_session
from quasarloop.errors import DataFormatError, QuasarloopError

__all__ = [
    "CatalogueSummary",
    "companion",
    "find_redrocks",
    "opinion_files",
    "write_quasar_catalogue",
]

_PREFIX: Final = "redrock-"
_PACKED: Final = ".gz"


def find_redrocks(paths: Sequence[str | Path]) -> list[Path]:
    """Expand folders into the redrock files below them, sorted; files stay as given.

    Raises:
        DataFormatError: a path does not exist, or a folder has none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = sorted(p for end in ("", _PACKED) for p in path.rglob(f"{_PREFIX}*.fits{end}"))
            if not below:
                raise DataFormatError(f"{path}: no {_PREFIX}*.fits in this folder or below")
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise DataFormatError(f"{path}: no such file or folder; check the name")
    return found


def companion(redrock: Path, prefix: str, folder: str | Path | None = None) -> Path:
    """Return the file of the same spectra that another step made, whether it is there or not.

    Args:
        redrock: ``redrock-NAME.fits``.
        prefix: ``"coadd-"``, ``"qso_qn-"``, ...; of NAME.fits and NAME.fits.gz the one that is
            there.
        folder: where it is, there itself or in folders as those of the redrock file; None is
            beside the redrock file.

    Raises:
        DataFormatError: the redrock file has another kind of name.
    """
    if not redrock.name.startswith(_PREFIX):
        raise DataFormatError(
            f"{redrock}: expected a name {_PREFIX}…, from which those of the other files follow"
        )
    plain = prefix + redrock.name.removeprefix(_PREFIX).removesuffix(_PACKED)
    folders = [redrock.parent]
    if folder is not None:
        parts = redrock.parent.parts
        # The longest common path wins: several folders may hold files of one name.
        folders = [Path(folder).joinpath(*parts[start:]) for start in range(1, len(parts) + 1)]
    candidates = [place / (plain + end) for place in folders for end in ("", _PACKED)]
    return next((path for path in candidates if path.is_file()), folders[-1] / plain)


def opinion_files(
    redrock: Path,
    network_dir: str | Path | None,
    mgii: Literal["auto", "file", "fit", "none"],
) -> tuple[Path, Path | None, Path | None]:
    """Return the qso_qn file, and a qso_mgii file or a coadd to fit (or neither).

    Raises:
        DataFormatError: one that is needed is not there.
    """
    network = companion(redrock, "qso_qn-", network_dir)
    if not network.is_file():
        raise DataFormatError(
            f"{network} is missing; make it with quasarloop afterburner, or say where it is"
        )
    fitted, coadd = companion(redrock, "qso_mgii-"), companion(redrock, "coadd-")
    if mgii == "none":
        return network, None, None
    if mgii != "fit" and fitted.is_file():
        return network, fitted, None
    if mgii != "file" and coadd.is_file():
        return network, None, coadd
    wanted = {"file": fitted.name, "fit": coadd.name, "auto": f"{fitted.name} or {coadd.name}"}
    raise DataFormatError(f"no {wanted[mgii]} beside {redrock}; put it there, or go without Mg II")


# Files whose quasars are held in memory until they are written, in order.
_LOT: Final = 64
_NO_IDS: Final = np.empty(0, dtype=np.int64)


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
        SelectionError: no target bits, but they are asked for.
        OutputError: the catalogue cannot be written.
    """
    chosen = options or CatalogueOptions()
    paths = find_redrocks(redrocks)
    variable = read_target_ids(wise_variable) if wise_variable is not None else _NO_IDS
    work = _Work(network_dir, variable, chosen)
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    header = _header(chosen, wise_variable)
    with (
        open_writer(out, DESI_COLUMNS, header, overwrite=overwrite) as append,
        open_session(_petal, engine=engine, shared=work) as session,
    ):
        for start in range(0, len(paths), _LOT):
            for path, petal in zip(
                paths[start:], session.run(paths[start : start + _LOT]).complete(), strict=False
            ):
                if petal.error is not None:
                    if on_bad is None:
                        raise petal.error
                    on_bad(path, petal.error)
                    continue
                append(petal.rows)
                _count(counts, seen, petal)
            on_step(min(start + _LOT, len(paths)), len(paths), counts["quasars"])
    names = [str(bit.name) for bit in QsoBit]
    return CatalogueSummary(
        counts["spectra"],
        counts["quasars"],
        counts["repeated"],
        counts["waiting"],
        {name: counts[name] for name in names if counts[name]},
    )


@dataclass(frozen=True)
class _Work:
    """What all files share."""

    network_dir: str | Path | None
    wise_variable: NDArray[np.int64]
    options: CatalogueOptions


@dataclass(frozen=True)
class _Petal:
    """What became of one redrock file."""

    n_spectra: int
    rows: CatalogueBlock
    error: QuasarloopError | None = None


def _petal(path: Path, work: _Work) -> _Petal:
    # Errors travel as values: a file that does not fit today will not fit when tried again.
    try:
        redrock = read_redrock_file(path)
        network, fitted, coadd = opinion_files(path, work.network_dir, work.options.mgii)
        answers = read_network_file(network, redrock.target_id)
        mgii = None
        if fitted is not None:
            mgii = read_mgii_file(fitted, redrock.target_id)
        elif coadd is not None:
            chosen = work.options
            mgii = mgii_block(coadd, redrock, chosen.mgii_templates, chosen.mgii_options)
        rows = quasar_rows(redrock, answers, mgii, work.wise_variable, work.options)
    except QuasarloopError as exc:
        return _Petal(0, {}, exc)
    return _Petal(len(redrock), rows)


def _count(counts: Counter[str], seen: set[int], petal: _Petal) -> None:
    rows = petal.rows
    bits = rows["QSO_MASKBITS"].astype(np.int64)
    ids = rows["TARGETID"].tolist()
    counts["spectra"] += petal.n_spectra
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
