"""Hand-made votes and cells for the tests of the choice."""

import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from quasarloop.ensemble.entropy import vote_entropy
from quasarloop.ensemble.votes import MemberFinds, VoteRule, vote_columns
from quasarloop.lines import NETWORK_LINES as LINES
from quasarloop.query.som import CellGrid
from quasarloop.query.som_files import CellsFile, read_cells
from quasarloop.query.votes_input import VotesTable, read_votes_table

THRESHOLDS = (0.5, 0.95)


def random_votes(rng, n, n_networks=8):
    """All score columns of votes, made by the real code from random confidences."""
    centre = rng.uniform(-6, 6, n)
    confidence = 1 / (1 + np.exp(-(centre + rng.normal(0, 2, (n_networks, n)))))
    z = np.abs(rng.uniform(0, 4, n) + rng.normal(0, 0.3, (n_networks, n)))
    finds = MemberFinds(confidence.astype(np.float32), z, np.full((n, len(LINES)), 0.5))
    return vote_columns(finds, VoteRule(THRESHOLDS), LINES)


def write_votes(path, columns, **keys) -> VotesTable:
    n = len(columns["ENTROPY"])
    table = {
        "TARGETID": np.arange(n) + 1000,
        "OBJECT_ID": np.arange(n) + 5000,
        "SHARD": ["aa"] * n,
        "ROW": np.arange(n),
        "FLAGS": np.zeros(n, np.int32),
        "SURVEY": ["main"] * n,
        "PROGRAM": ["dark"] * n,
        "N_NETWORKS": np.full(n, 8, np.uint16),
        **columns,
        **keys,
    }
    pq.write_table(pa.table(table), path)
    return read_votes_table(path)


def votes_of_counts(path, counts, **keys) -> VotesTable:
    """Votes given by hand: (n, 3) counts at 0.95; soft columns follow them."""
    counts = np.asarray(counts)
    shares = counts / counts.sum(axis=1, keepdims=True)
    columns = {"N_ASKED": counts.sum(axis=1).astype(np.uint16)}
    for k, name in enumerate(("NOT_QSO", "LOW_Z", "HIGH_Z")):
        columns[f"N_{name}_050"] = columns[f"N_{name}_095"] = counts[:, k]
        columns[f"P_{name}"] = shares[:, k]
    columns["ENTROPY"] = vote_entropy(counts)
    for name in ("SOFT_ENTROPY", "MUTUAL_INFORMATION"):
        columns[name] = columns["ENTROPY"].astype(np.float32)
    for name in ("Z_Q16", "Z_Q50", "Z_Q84"):
        columns[name] = np.full(len(counts), 1.0, np.float32)
    return write_votes(
        path,
        {**columns, **{k: v for k, v in keys.items() if k in columns}},
        **{k: v for k, v in keys.items() if k not in columns},
    )


def write_cells(
    path, cell, cells: CellGrid, *, votes: VotesTable, expid=None, distance=0.0
) -> CellsFile:
    """An assignment of the rows of these votes."""
    keys = votes.frame.select("SHARD", "ROW", "TARGETID", "OBJECT_ID", "FLAGS").collect()
    n = len(keys)
    table = keys.with_columns(
        TILEID=pl.lit(-1, pl.Int64),
        NIGHT=pl.lit(-1, pl.Int64),
        EXPID=pl.Series(np.full(n, -1) if expid is None else np.asarray(expid), dtype=pl.Int64),
        CELL=pl.Series(np.asarray(cell), dtype=pl.Int32),
        DISTANCE=pl.Series(np.zeros(n) + distance, dtype=pl.Float32),
    ).to_arrow()
    record = {"format": "quasarloop cells 1", "cells": asdict(cells)}
    metadata = {b"quasarloop": json.dumps(record).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return read_cells(path)
