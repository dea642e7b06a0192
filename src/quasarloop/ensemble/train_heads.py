"""Train heads on one trunk: an ensemble in seconds."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quasarloop.artefacts import check_folder, checksum, write_atomically
from quasarloop.engine.processes import single_thread
from quasarloop.ensemble.heads import LabelledFeatures, Standard, fit_head, fit_heads
from quasarloop.ensemble.manifest import HEADS, MANIFEST, Ensemble, write_ensemble_manifest
from quasarloop.errors import OutputError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.features import compute_features
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.training_run import array_digest
from quasarloop.network.weights import Weights, write_weights

__all__ = ["canonical_rows", "cross_validated_logits", "labelled_features", "train_heads"]

_TRUNK = "trunk.h5"
# Parts of the labels that are left out in turn. Source: our choice; 5 to 10 are common (Hastie,
# Tibshirani & Friedman 2009, The Elements of Statistical Learning, Section 7.10).
_FOLDS: Final = 5

log = logging.getLogger(__name__)


def canonical_rows(data: TrainingData) -> NDArray[np.int64]:
    """Return the rows whose label may train, in an order that depends on what they hold alone.

    The last bit of a feature depends on a row's company.
    """
    rows = data.usable_rows
    return np.asarray(rows[np.lexsort((*data.flux[rows].T, data.object_id[rows]))])


def labelled_features(
    data: TrainingData, weights: Weights, device: str = TrainingOptions.device
) -> LabelledFeatures:
    """Apply weights to labelled spectra, in the order of `canonical_rows`."""
    rows = canonical_rows(data)
    features = compute_features(Predictor(weights, device), data.flux[rows])
    return LabelledFeatures(features, data.is_qso[rows], data.object_id[rows])


def cross_validated_logits(
    labelled: LabelledFeatures,
    config: NetworkConfig,
    *,
    seed: int,
    standard: Standard | None = None,
    n_lines: int = 1,
) -> NDArray[np.float64]:
    """Return what decides of every labelled spectrum with a head that has not seen its object.

    The objects of each class are shared out among `_FOLDS` folds by chance; for each fold a head is
    fitted to the others, its prior's widths as well.

    Args:
        labelled: what to fit.
        config: the trunk's network.
        seed: of the folds.
        standard: as for `fit_heads`.
        n_lines: lines that must count for a quasar.

    Returns:
        (n,) logits.

    Raises:
        TruthError: too few labels of a class to leave a part of them out.
    """
    objects, first, place = np.unique(labelled.object_id, return_index=True, return_inverse=True)
    chance = np.random.default_rng(seed).random(len(objects))
    fold = np.empty(len(objects), np.int64)
    fold[np.lexsort((chance, labelled.is_qso[first]))] = np.arange(len(objects)) % _FOLDS
    logit = np.empty(len(place))
    for number in range(min(_FOLDS, len(objects))):
        out = fold[place] == number
        head = fit_head(labelled[~out], config, standard=standard, n_lines=n_lines)
        logit[out] = head.logits(labelled.features[out], config, n_lines)[0]
    return logit


def train_heads(
    data: TrainingData,
    weights: Weights,
    out: str | Path,
    *,
    n_heads: int,
    seed: int,
    standard: Standard | None = None,
    device: str = TrainingOptions.device,
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
        device: where the trunk computes.
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
            labelled_features(data, weights, device),
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
