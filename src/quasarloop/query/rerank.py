"""Rank anew while people label: heads on the labels so far, and the choice, in seconds.

The steps of a round on features that are there already: heads are fitted, vote in memory, and the
selection takes its course. Nothing is written.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from quasarloop.engine.processes import single_thread
from quasarloop.ensemble.features import FeaturesFolder
from quasarloop.ensemble.heads import LabelledFeatures, fit_heads
from quasarloop.ensemble.vote import apply_heads
from quasarloop.ensemble.votes import VoteRule, vote_columns
from quasarloop.errors import SelectionError, TruthError
from quasarloop.network.features import Features
from quasarloop.quality import NOT_TRAINED
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.select import Selection, select
from quasarloop.query.som_files import CellsFile
from quasarloop.query.votes_input import VotesTable
from quasarloop.truth import SpecType, TruthTable, match_truth

__all__ = ["features_of_truth", "rerank"]


def rerank(
    features: FeaturesFolder,
    truth: TruthTable,
    cells: CellsFile | None = None,
    *,
    labelled: Sequence[FeaturesFolder] = (),
    options: SelectionOptions | None = None,
    n_heads: int = 50,
    seed: int = 0,
    targets: NDArray[np.int64] | None = None,
    rule: VoteRule | None = None,
) -> Selection:
    """Choose the next objects to label, from all labels so far.

    Args:
        features: of the spectra to choose from.
        truth: labels so far, by TARGETID.
        cells: the map's assignment of the same store; None rejects no outliers.
        labelled: features of other stores with labelled spectra, by the same weights.
        options: what to choose.
        n_heads: members that vote; a quarter of a campaign's is enough to rank by.
        seed: same seed, same ranks.
        targets: only these are ranked, without `cells`, which number all spectra; None ranks all.
        rule: what makes a vote.

    Returns:
        ``.chosen`` is ranked, best first; objects in `truth` are not in it.

    Raises:
        SelectionError: features by different weights, or none of `targets`.
        TruthError: labels of one class only, or too few.
    """
    for other in labelled:
        if other.record["weights"] != features.record["weights"]:
            raise SelectionError(
                f"{other.folder} and {features.folder} hold features of different weights"
            )
    config, rule = features.config, rule or VoteRule()
    known = features_of_truth([features, *labelled], truth)
    with single_thread():  # so that ranks do not depend on the machine's cores
        standard = features.standard()
        heads = fit_heads(known, config, n_heads=n_heads, seed=seed, standard=standard)
        tables = [
            pa.table(
                names | vote_columns(apply_heads(part, heads, config, rule), rule, config.lines)
            )
            for names, part in _only(features, targets)
        ]
    if not tables:
        raise SelectionError(f"{features.folder} holds features of none of the objects to rank")
    record: dict[str, Any] = {"path": str(features.folder), "weights": features.record["weights"]}
    frame = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(frame, pl.DataFrame)  # for mypy: a table is no series
    decision = rule.decision.confidence
    votes = VotesTable(frame.lazy(), rule.thresholds, decision, len(frame), record)
    return select(
        votes, cells, truth=KnownObjects(truth.target_id, truth.object_id), options=options
    )


def _only(
    features: FeaturesFolder, targets: NDArray[np.int64] | None
) -> Iterator[tuple[dict[str, NDArray[Any]], Features]]:
    for names, part in features.shards():
        if targets is None:
            yield names, part
            continue
        rows = np.flatnonzero(np.isin(names["TARGETID"], targets))
        if len(rows):
            yield {name: column[rows] for name, column in names.items()}, part[rows]


def features_of_truth(folders: Sequence[FeaturesFolder], truth: TruthTable) -> LabelledFeatures:
    """Return the features of all spectra with a label that may train.

    Raises:
        TruthError: there are none.
    """
    parts: list[Features] = []
    rows: list[NDArray[np.int64]] = []
    for folder in folders:
        for names, features in folder.shards():
            row = match_truth(names["TARGETID"], truth)
            trains = (row >= 0) & ((names["FLAGS"] & int(NOT_TRAINED)) == 0)
            if len(truth):
                trains &= truth.trains[row]
            parts.append(features[trains])
            rows.append(row[trains])
    row = np.concatenate([np.empty(0, np.int64), *rows])
    if not len(row):
        raise TruthError(
            f"none of the {len(truth)} labels is secure and of a spectrum with features: do both "
            "use the same TARGETIDs?"
        )
    is_qso = np.asarray(truth.spectype[row] == SpecType.QSO)
    return LabelledFeatures(Features.concatenate(parts), is_qso, truth.object_id[row])
