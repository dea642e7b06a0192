"""The network's part: its results for every row of a coadd."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quasarloop.afterburner.options import ON_CPU
from quasarloop.afterburner.redrock_file import match_rows
from quasarloop.artefacts import checksum
from quasarloop.catalogue.classify import ClassifyOptions, classify_spectra
from quasarloop.columns import Block
from quasarloop.network.options import PredictOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights, weights_path
from quasarloop.quality import UNUSABLE, prepare
from quasarloop.read import iter_spectra

__all__ = ["Network", "NetworkResult", "classify_coadd", "load_network"]


@dataclass(frozen=True)
class Network:
    """A network ready for use, and its weights file.

    Attributes:
        predictor: the network.
        path: its weights file, absolute.
        sha256: of that file.
    """

    predictor: Predictor
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        """Name of the weights file."""
        return self.path.name


@dataclass(frozen=True)
class NetworkResult:
    """Results of a network, (n,) each.

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
    columns: Block


def load_network(weights: str | Path | None = None, options: PredictOptions = ON_CPU) -> Network:
    """Read a weights file; None takes the one shipped with the package.

    Raises:
        WeightsError: unreadable weights, or no such device.
    """
    path = weights_path(weights)
    predictor = Predictor(read_weights(path, options.offsets), options.device)
    return Network(predictor, path.absolute(), checksum(path))


def classify_coadd(
    coadd: str | Path,
    target_id: NDArray[np.int64],
    network: Network,
    options: ClassifyOptions,
) -> NetworkResult:
    """Read and classify a coadd; return the results in redrock's order.

    Args:
        coadd: DESI coadd; arms may be missing or masked.
        target_id: (n,) of redrock's rows.
        network: from `load_network`.
        options: thresholds.

    Raises:
        DataFormatError: not a coadd, or not of the same spectra.
    """
    config = network.predictor.config
    blocks = [
        classify_spectra(
            prepare(spectra, config.grid, mend_outliers=options.mend_outliers),
            network.predictor,
            options,
        )
        for spectra in iter_spectra(coadd, masks=False)
    ]
    joined = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    place = match_rows(target_id, joined["TARGETID"].astype(np.int64), str(coadd), "the coadd")
    columns = {name: values[place] for name, values in joined.items()}
    rest = {line.name: line.wave_rest_aa for line in config.lines}
    usable = (columns["FLAGS"].astype(np.int64) & UNUSABLE) == 0
    lines = columns["BEST_LINE"].astype(np.str_).tolist()
    return NetworkResult(
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
