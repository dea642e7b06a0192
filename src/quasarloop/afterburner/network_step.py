"""The network's part: its result for every row of a coadd, and the rows that may be rerun."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.redrock_file import RedrockRows, match_rows
from quasarloop.afterburner.rerun_bits import Why
from quasarloop.afterburner.survey_targets import target_mask
from quasarloop.artefacts import checksum
from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra
from quasarloop.classes import CONFIDENCE_THRESHOLD, N_LINES_THRESHOLD
from quasarloop.columns import CatalogueBlock
from quasarloop.errors import SelectionError
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import iter_spectra
from quasarloop.read.desi import TARGET_TYPE

__all__ = [
    "THRESHOLDS",
    "Network",
    "NetworkAnswer",
    "Selection",
    "ask_network",
    "load_network",
    "selection_named",
    "unfit_rows",
]


@dataclass(frozen=True)
class Network:
    """A network ready to be asked, and which one it is.

    Attributes:
        predictor: the network.
        name: its weights file.
        sha256: of that file.
    """

    predictor: Predictor
    name: str
    sha256: str


@dataclass(frozen=True)
class NetworkAnswer:
    """What a network says of each row; (n,) each.

    Attributes:
        usable: bool, there was a spectrum to read.
        is_qso: bool, enough lines above the threshold.
        z_qn: float64, redshift of the most confident line; NaN where not usable.
        line_rest_aa: float64, rest wavelength of that line.
        z_joint, z_joint_err: float64, redshift of all lines together.
        z_alt, p_alt: float64, next likely redshift and its probability; NaN, 0 without any.
        columns: the catalogue's columns, one array each.
    """

    usable: NDArray[np.bool_]
    is_qso: NDArray[np.bool_]
    z_qn: NDArray[np.float64]
    line_rest_aa: NDArray[np.float64]
    z_joint: NDArray[np.float64]
    z_joint_err: NDArray[np.float64]
    z_alt: NDArray[np.float64]
    p_alt: NDArray[np.float64]
    columns: CatalogueBlock

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.usable)


def load_network(
    weights: str | Path | None = None,
    *,
    offsets: Literal["auto", "rescaled", "plain"] = "auto",
    device: str = "cpu",
) -> Network:
    """Read a weights file; None takes the one shipped with the package.

    Raises:
        WeightsError: unreadable weights, or no such device.
    """
    path = Path(weights) if weights is not None else default_weights_path()
    predictor = Predictor(read_weights(path, offsets=offsets), device=device)
    return Network(predictor, path.name, checksum(path))


def ask_network(
    coadd: str | Path,
    target_id: NDArray[np.int64],
    network: Network,
    options: ClassifyOptions,
) -> NetworkAnswer:
    """Read a coadd, ask the network, and put its answers into redrock's order.

    Args:
        coadd: DESI coadd; arms may be missing or masked.
        target_id: (n,) of redrock's rows.
        network: whom to ask.
        options: thresholds.

    Raises:
        DataFormatError: not a coadd, or not of the same spectra.
    """
    config = network.predictor.config
    blocks = [
        classify_spectra(prepare(spectra, config.grid), network.predictor, options)
        for spectra in iter_spectra(coadd, masks=False)
    ]
    joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    place = match_rows(target_id, joined["TARGETID"].astype(np.int64), str(coadd), "the coadd")
    columns = {name: values[place] for name, values in joined.items()}
    rest = {line.name: line.wave_rest_aa for line in config.lines}
    usable = (columns["FLAGS"].astype(np.int64) & UNUSABLE) == 0
    lines = columns["BEST_LINE"].astype(np.str_).tolist()
    return NetworkAnswer(
        usable=usable,
        is_qso=columns["IS_QSO"].astype(np.bool_),
        z_qn=columns["Z_BEST"].astype(np.float64),
        line_rest_aa=np.array([rest.get(name, np.nan) for name in lines]),
        z_joint=columns["Z_JOINT"].astype(np.float64),
        z_joint_err=columns["ZERR_JOINT"].astype(np.float64),
        z_alt=columns["Z_ALT"].astype(np.float64),
        p_alt=columns["P_ALT"].astype(np.float64),
        columns=columns,
    )


# Source: INTEROP.md, "DESI afterburner": the pipeline's rerun, the paper, today's quasar catalogue.
THRESHOLDS: Final[Mapping[str, float]] = {
    "pipeline": 0.5,
    "paper": CONFIDENCE_THRESHOLD,
    "catalogue": 0.99,
}


@dataclass(frozen=True)
class Selection:
    """Who may be rerun.

    Attributes:
        c_thresh: a line counts if its confidence is strictly above.
        n_thresh: lines that must count.
        target_classes: only targets of these classes (desitarget's names); empty means all.
    """

    c_thresh: float = THRESHOLDS["pipeline"]
    n_thresh: int = N_LINES_THRESHOLD
    target_classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.c_thresh <= 1 or self.n_thresh < 1:
            raise SelectionError(
                f"c_thresh {self.c_thresh}, n_thresh {self.n_thresh}; expected a confidence from 0 "
                "to 1 and at least one line"
            )


def selection_named(name: str, **changes: object) -> Selection:
    """Return the selection ``"pipeline"``, ``"paper"`` or ``"catalogue"``, with changes.

    Raises:
        SelectionError: no such name.

    >>> selection_named("catalogue").c_thresh
    0.99
    """
    if name not in THRESHOLDS:
        raise SelectionError(f"no thresholds named {name!r}; known: {', '.join(THRESHOLDS)}")
    return replace(Selection(c_thresh=THRESHOLDS[name]), **changes)  # type: ignore[arg-type]  # by name


def unfit_rows(
    redrock: RedrockRows, network: NetworkAnswer, selection: Selection
) -> NDArray[np.int32]:
    """Say why rows may not be rerun, whatever redrock said of them.

    Args:
        redrock: redrock's rows.
        network: what the network said of the same rows.
        selection: thresholds (already in `network.is_qso`) and target classes.

    Returns:
        (n,) int32 of `Why`; 0 where a row may be rerun.

    Raises:
        SelectionError: a target class the survey's phase does not have.
    """
    bits = np.zeros(len(redrock), dtype=np.int32)
    bits[~_is_target(redrock)] |= Why.NOT_TARGET
    if selection.target_classes:
        mask = target_mask(redrock.phase, selection.target_classes)
        bits[(redrock.target_bits & mask) == 0] |= Why.CLASS_NOT_ASKED
    bits[~network.usable] |= Why.NO_SPECTRUM
    bits[network.usable & ~network.is_qso] |= Why.NOT_QUASAR
    return bits


def _is_target(redrock: RedrockRows) -> NDArray[np.bool_]:
    """Science fibres; where OBJTYPE is unknown, those that have a target's number."""
    unknown = redrock.object_type == ""
    return np.asarray(np.where(unknown, redrock.target_id >= 0, redrock.object_type == TARGET_TYPE))
