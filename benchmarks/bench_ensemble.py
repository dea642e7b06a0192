"""Voting against a plain loop over members and files.

The reference loads each member, and for each sends one file at a time through QuasarNP's
arithmetic in numpy (QuasarNP itself where QUASARNP_DIR names a checkout). Both sides read the same
store with one thread, in this process; verdicts and entropies must be identical. Rates are per
second of processor time: others may use the machine. The reference would take hours for all
spectra: it is timed on one file of the store and all members.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from benchmarks.bench_classify import _reference
from benchmarks.ensemble_inputs import Inputs, first_shards, inputs
from quasarloop.classes import CONFIDENCE_THRESHOLD, Vote, vote_class
from quasarloop.ensemble.entropy import count_votes, vote_entropy
from quasarloop.ensemble.manifest import Ensemble
from quasarloop.ensemble.options import EnsembleOptions
from quasarloop.ensemble.train import train_ensemble
from quasarloop.ensemble.vote import vote
from quasarloop.ensemble.votes import count_column
from quasarloop.network.config import preset
from quasarloop.network.labelled import label_spectra
from quasarloop.network.options import TrainingOptions
from quasarloop.network.weights import read_weights
from quasarloop.quality import UNUSABLE
from quasarloop.read import read_truth
from quasarloop.store import Store, iter_store, open_store, read_shard

_TARGET = 4
_UNIT = "spectra × networks per second of one core"


def run(quick: bool) -> list[dict[str, Any]]:
    with inputs(quick) as made, tempfile.TemporaryDirectory() as out:
        folder = Path(out)
        few = first_shards(made.store, folder / "few", n_shards=1 if quick else 6)
        rows = _against_reference(made.ensemble, few, folder / "votes", "")
        whole = _whole_networks(made, folder / "whole")
        one = first_shards(made.store, folder / "one", n_shards=1)
        rows += _against_reference(whole, one, folder / "whole-votes", "whole ")
        return rows


def _against_reference(
    ensemble: Ensemble, store: Store, out: Path, kind: str
) -> list[dict[str, Any]]:
    started = time.process_time()
    votes = vote(ensemble, store, out)
    ours_s = time.process_time() - started
    started = time.process_time()
    with threadpool_limits(1):
        counts, usable, said_by = _reference_counts(ensemble, store.shards[0])
    theirs_s = time.process_time() - started
    ours = pl.read_parquet(votes.files[0])
    found = ours.select([count_column(one, 0.95) for one in Vote]).to_numpy()
    different = np.count_nonzero((found != counts).any(axis=1))
    entropy = ours["ENTROPY"].to_numpy()
    wrong = np.count_nonzero(entropy[usable] != vote_entropy(counts)[usable])
    ours_per_s = store.n_rows * len(ensemble) / ours_s
    theirs_per_s = len(counts) * len(ensemble) / theirs_s
    what = f"{len(ensemble)} {kind}networks of {ensemble.config.n_filters} filters"
    return [
        {
            "name": f"vote, {what}, {store.n_rows:,} spectra",
            "ours_per_s": ours_per_s,
            "reference_per_s": theirs_per_s,
            "ratio": ours_per_s / theirs_per_s,
            "target": _TARGET,
            "reference": f"{said_by}, member by member, file by file ({len(counts):,} spectra)",
            "unit": _UNIT,
        },
        {
            "name": f"vote, {what}: spectra with other counts or entropies, of {len(counts):,}",
            "ratio": float(different + wrong),
            "target": 0,
            "reference": said_by,
        },
    ]


def _whole_networks(made: Inputs, out: Path) -> Ensemble:
    """Two networks of published size, hardly trained: for rates alone."""
    truth = read_truth(made.folder / "labelled-sky" / "vi_truth.csv")
    data, _ = label_spectra(iter_store(open_store(made.folder / "labelled")), truth)
    options = TrainingOptions(epochs=2, batch_size=128, learning_rate=3e-3, precision="bfloat16")
    settings = EnsembleOptions(2, seed=5, network=preset("green2025"), training=options)
    return train_ensemble(data, settings, out)


def _reference_counts(ensemble: Ensemble, file: Path) -> tuple[np.ndarray, np.ndarray, str]:
    votes, said_by = [], ""
    for member in ensemble.members:
        classify, said_by = _reference(read_weights(member))
        votes.append(_verdicts(classify(read_shard(file).flux)))
    usable = (read_shard(file, with_flux=False).flags & UNUSABLE) == 0
    return count_votes(votes) * usable[:, None], usable, said_by


def _verdicts(said: Any) -> np.ndarray:
    if isinstance(said, list):  # ours in numpy: (confidence, z) of every line, BAL last
        confidence = np.stack([line[0] for line in said[:-1]])
        z = np.stack([line[1] for line in said[:-1]])
    else:  # QuasarNP: (n_lines, n) confidences and redshifts of emission lines, then the rest
        confidence, z = np.asarray(said[0]), np.asarray(said[1])
    z_best = z[confidence.argmax(axis=0), np.arange(z.shape[1])]
    return vote_class(confidence.max(axis=0) > CONFIDENCE_THRESHOLD, z_best)
