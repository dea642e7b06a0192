"""Two hundred heads against one pass of their network, and against QuasarNP member by member.

The network is the one shipped. A pass is what classifying does: boxes, offsets and p(z) of every
spectrum of the store. Votes of heads make the features first. All are of processor time, one
thread, in this process; QuasarNP reads folded heads, a few of them, on one file of the store.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.bench_classify import _reference
from benchmarks.ensemble_inputs import skies
from quasarloop.ensemble.heads import fold_head
from quasarloop.ensemble.manifest import load_heads
from quasarloop.ensemble.pieces import cut_pieces, read_piece
from quasarloop.ensemble.train_heads import train_heads
from quasarloop.ensemble.vote import vote
from quasarloop.network.labelled import label_spectra
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import default_weights_path, read_weights
from quasarloop.read import read_truth
from quasarloop.store import Store, iter_store, open_store, read_shard

_HEADS, _REFERENCE_HEADS = 200, 3
_PASS_TARGET, _REFERENCE_TARGET = 1 / 1.1, 500
_UNIT = "spectra × members per second of one core"


def run(quick: bool) -> list[dict[str, Any]]:
    with skies(quick) as folder, tempfile.TemporaryDirectory() as out, threadpool_limits(1):
        truth = read_truth(folder / "labelled-sky" / "vi_truth.csv")
        data, _ = label_spectra(iter_store(open_store(folder / "labelled")), truth)
        weights, store = read_weights(default_weights_path()), open_store(folder / "pool")
        root = Path(out)
        train_s = _seconds(
            lambda: train_heads(data, weights, root / "heads", n_heads=_HEADS, seed=1)
        )
        ensemble = train_heads(data, weights, root / "heads", n_heads=_HEADS, seed=1)
        pass_s = _seconds(lambda: _one_pass(Predictor(weights), store))
        whole_s = _seconds(lambda: vote(ensemble, store, root / "v", features=root / "f"))
        again_s = _seconds(lambda: vote(ensemble, store, root / "w", features=root / "f"))
        trunk, heads = load_heads(ensemble)
        folded = [fold_head(trunk, heads, index) for index in range(_REFERENCE_HEADS)]
        references = [_reference(one) for one in folded]
        flux = read_shard(store.shards[0]).flux
        reference_s = _seconds(lambda: [classify(flux) for classify, _ in references])
    reference_per_s = len(flux) * len(references) / reference_s
    what = f"{_HEADS} heads, {store.n_rows:,} spectra"
    rows: list[dict[str, Any]] = [
        {
            "name": f"one network pass over features and vote, {what}",
            "ratio": pass_s / whole_s,
            "target": _PASS_TARGET,
            "reference": f"the pass alone, with p(z): {pass_s:.1f} s of one core",
        },
        {
            "name": f"train {_HEADS} heads on {len(data):,} labels, in passes of the store",
            "ratio": train_s / pass_s,
            "target": None,
            "reference": f"{train_s:.1f} s of one core",
        },
    ]
    for name, seconds in (("features and vote", whole_s), ("vote, features there", again_s)):
        ours_per_s = store.n_rows * _HEADS / seconds
        rows.append(
            {
                "name": f"{name}, {what}",
                "ours_per_s": ours_per_s,
                "reference_per_s": reference_per_s,
                "ratio": ours_per_s / reference_per_s,
                "target": _REFERENCE_TARGET,
                "reference": f"{references[0][1]}, member by member ({len(references)} heads, "
                f"{len(flux)} spectra)",
                "unit": _UNIT,
            }
        )
    return rows


def _one_pass(predictor: Predictor, store: Store) -> None:
    for piece in cut_pieces(store.shards):
        outputs = predictor.predict(read_piece(piece).flux, redshifts=True)
        assert np.isfinite(outputs.confidence).any()


def _seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
