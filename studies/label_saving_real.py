"""Judge heads and fine-tuned networks on real spectra: few real labels against none.

    python studies/label_saving_real.py --data $DATA

adds to docs/measurements/label_saving_runs.jsonl what it lacks; `label_saving.py page` puts it into
the page. All sets of real spectra are put together and split by object, so that repeats stay
together: every seed draws labels, object after object, and judges on the spectra of all other
objects.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from label_saving import read_runs
from label_saving_arms import Floats, Ints, predicted, tuned
from label_saving_page import REAL
from quasarloop.catalogue.inputs import find_inputs, iter_inputs
from quasarloop.classes import Thresholds
from quasarloop.ensemble.heads import LabelledFeatures, fit_head, fold_head
from quasarloop.evaluate.judge import FIXED_PURITIES
from quasarloop.evaluate.metrics import completeness_at_purity
from quasarloop.grid import LOG_GRID, WaveGrid
from quasarloop.network.features import compute_features
from quasarloop.network.labelled import TrainingData, joined_data, label_spectra
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights
from quasarloop.quality import NOT_TRAINED
from quasarloop.read import read_truth
from quasarloop.truth import match_truth
from skies import REAL_SETS, TRUNK

LABELS: Final = (50, 100, 200)
ARMS: Final = {
    "heads": None,
    "fine-tuned": 0,
    "fine-tuned with rehearsal": 3,
    "fine-tuned, 1 rehearsed": 1,
}
NO_LABEL: Final = "no label"
ID: Final = "targetid_or_plate_mjd_fiber"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of real sets")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/measurements/label_saving_runs.jsonl")
    )
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(5)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, group, _ = real_spectra(options.data)
    done = {
        (r["arm"], r["seed"], r["labels"][0]) for r in read_runs(options.out) if r["case"] == REAL
    }
    for arm in (NO_LABEL, *options.arms):
        for seed in options.seeds:
            for labels in LABELS:
                if (arm, seed, labels) in done:
                    continue
                record = {"case": REAL, "seed": seed, "arm": arm, "labels": [labels]}
                record |= one_run(data, group, arm, labels, seed)
                with options.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(record) + "\n")
                print(record, file=sys.stderr, flush=True)


def real_spectra(folder: Path, grid: WaveGrid = LOG_GRID) -> tuple[TrainingData, Ints, list[str]]:
    """Read all sets; return spectra whose label trains, and the object and set of each."""
    parts, names = [], []
    for name in REAL_SETS:
        truth = read_truth(folder / name / "truth.csv")
        table = pl.read_csv(folder / name / "truth.csv", infer_schema=False)
        # As in the truth table: one row per identifier.
        column = table.unique(ID, keep="first", maintain_order=True)["object_group"]
        assert len(column) == len(truth), f"{name}: {len(column)} lines, {len(truth)} labels"
        for spectra in iter_inputs(find_inputs([folder / name]), grid):
            row = match_truth(spectra.keys.target_id, truth)
            sound = (spectra.flags & int(NOT_TRAINED)) == 0
            known = np.flatnonzero((row >= 0) & sound & truth.trains[row])
            if len(known):
                parts.append(label_spectra([spectra[known]], truth)[0])
                names += [f"{name} {column[int(i)] or i}" for i in row[known]]
    data = joined_data(*parts)
    assert len(data) == len(names), f"{len(data)} spectra, {len(names)} objects"
    group = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return data, group, [name.split()[0] for name in names]


def split(group: Ints, labels: int, seed: int) -> tuple[Ints, Ints]:
    """Return rows of labels and of what is judged; no object has rows in both.

    >>> learned, judged = split(np.array([0, 0, 1, 2, 2, 3]), 3, 0)
    >>> len(learned) >= 3, len(learned) + len(judged)
    (True, 6)
    """
    order = np.random.default_rng([seed, 1]).permutation(int(group.max()) + 1)
    place = np.argsort(order)[group]  # an object's rows follow each other
    sizes = np.bincount(place)
    last = int(np.searchsorted(np.cumsum(sizes), labels))
    return np.flatnonzero(place <= last), np.flatnonzero(place > last)


def one_run(data: TrainingData, group: Ints, arm: str, labels: int, seed: int) -> dict[str, Any]:
    """Train on some objects, judge on the others."""
    learned, rest = split(group, labels, seed)
    confidence = confidences(data, group, arm, learned, rest, seed)
    true = data.is_qso[rest]
    found = confidence > Thresholds().confidence
    measures: dict[str, Sequence[Any]] = {
        "judged": [len(rest)],
        "found": [float(found[true].mean())],
        "false": [float(found[~true].mean())],
    }
    at = {f"at_{p}": [float(completeness_at_purity(confidence, true, p))] for p in FIXED_PURITIES}
    return {**measures, **at}


def confidences(
    data: TrainingData, group: Ints, arm: str, learned: Ints, rest: Ints, seed: int
) -> NDArray[np.floating] | Floats:
    """Return the confidence of what is judged."""
    weights = read_weights(TRUNK)
    if arm == "heads":
        features = compute_features(Predictor(weights), data.flux[learned])
        some = LabelledFeatures(features, data.is_qso[learned], group[learned])
        weights = fold_head(weights, fit_head(some, weights.config), 0)
    elif (rehearsal := ARMS.get(arm)) is not None:
        weights = tuned(data[learned], weights, np.random.SeedSequence([seed, 77]), rehearsal)
    return predicted(weights, data.flux[rest]).confidence


if __name__ == "__main__":
    main()
