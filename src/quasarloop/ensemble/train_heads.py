"""Train heads on one trunk: an ensemble in seconds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quasarloop.artefacts import check_folder, checksum, write_atomically
from quasarloop.engine.processes import single_thread
from quasarloop.ensemble.heads import LabelledFeatures, Standard, fit_heads
from quasarloop.ensemble.manifest import HEADS, MANIFEST, Ensemble, write_ensemble_manifest
from quasarloop.errors import OutputError
from quasarloop.network.features import compute_features
from quasarloop.network.labelled import TrainingData
from quasarloop.network.predict import Predictor
from quasarloop.network.training_run import array_digest
from quasarloop.network.weights import Weights, write_weights

__all__ = ["labelled_features", "train_heads"]

_TRUNK = "trunk.h5"

log = logging.getLogger(__name__)


def labelled_features(data: TrainingData, weights: Weights) -> LabelledFeatures:
    """Apply weights to labelled spectra; rows whose label must not train are left out.

    Rows are sorted by what they hold: the last bit of a feature depends on a row's company.
    """
    rows = data.usable_rows
    rows = rows[np.lexsort((*data.flux[rows].T, data.object_id[rows]))]
    features = compute_features(Predictor(weights), data.flux[rows])
    return LabelledFeatures(features, data.is_qso[rows], data.object_id[rows])


def train_heads(
    data: TrainingData,
    weights: Weights,
    out: str | Path,
    *,
    n_heads: int,
    seed: int,
    standard: Standard | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Ensemble:
    """Fit heads to labelled spectra and write them as an ensemble, with a copy of their trunk.

    Args:
        data: labelled spectra; rows whose label must not train are left out.
        weights: the trunk.
        out: folder of the ensemble.
        n_heads: members.
        seed: same seed, same bytes.
        standard: of the unlabelled spectra (`FeaturesFolder.standard`); None measures the
            labelled ones.
        inputs: what the data came from, for the manifest (names and checksums).

    Raises:
        OutputError: the folder holds an ensemble of whole networks.
        TruthError: labels of one class only, or too few.
    """
    folder = check_folder(out)
    if (folder / "members").exists():
        raise OutputError(f"{folder} holds an ensemble of whole networks; give another folder")
    (folder / MANIFEST).unlink(missing_ok=True)
    with single_thread():  # so that bytes do not depend on the machine's cores
        heads = fit_heads(
            labelled_features(data, weights),
            weights.config,
            n_heads=n_heads,
            seed=seed,
            standard=standard,
            n_lines=weights.thresholds.n_lines,
        )
    log.info("%d heads, prior %s", n_heads, heads.widths)
    write_weights(weights, folder / _TRUNK)
    with write_atomically(folder / HEADS) as temporary:
        np.save(temporary, heads.table, allow_pickle=False)
    record = {
        "kind": "heads",
        "seed": seed,
        "heads": {
            "sha256": checksum(folder / HEADS),
            "mean": heads.standard.mean.tolist(),
            "factor": heads.standard.factor.tolist(),
            "widths": heads.widths._asdict(),
            "n_lines": heads.n_lines,
        },
        "data_sha256": array_digest(data),
        "n_spectra": int(np.count_nonzero(data.trains)),
        "n_objects": len(np.unique(data.object_id[data.trains])),
        "inputs": dict(inputs or {}),
    }
    trunk = {"file": _TRUNK, "sha256": checksum(folder / _TRUNK), "digest": weights.digest()}
    return write_ensemble_manifest(folder, weights.config, [trunk], record, n_heads)
