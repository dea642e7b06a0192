"""Ranking anew: the ranks of a whole round, from features alone."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import quasarloop
from quasarloop.ensemble.features import make_features, open_features
from quasarloop.ensemble.train_heads import train_heads
from quasarloop.ensemble.vote import vote
from quasarloop.errors import DataFormatError, SelectionError, TruthError
from quasarloop.network.labelled import label_spectra
from quasarloop.network.model import LineFinder
from quasarloop.network.weights import from_module
from quasarloop.query.options import KnownObjects, SelectionOptions
from quasarloop.query.rerank import features_of_truth, rerank
from quasarloop.query.select import select
from quasarloop.query.votes_input import read_votes_table
from quasarloop.store import iter_store
from quasarloop.truth import TruthTable

sys.path.insert(0, str(Path(__file__).parents[1] / "ensemble"))
import ensemble_fakes as fakes

OPTIONS = SelectionOptions(n=20)


@pytest.fixture(scope="module")
def weights():
    return from_module(LineFinder(fakes.SMALL_NETWORK, torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fakes.small_store(tmp_path_factory.mktemp("rerank") / "s", (120, 60))


@pytest.fixture(scope="module")
def features(weights, store):
    return make_features(weights, store)


@pytest.fixture(scope="module")
def truth():
    """Labels of the first 50 spectra of the first shard; one is unsure."""
    sky = fakes.small_sky(120, seed=1)
    quality = np.full(50, 4.0)
    quality[7] = 1.0
    ids = np.arange(50) + 1000
    return TruthTable.make(ids, sky.spectype[:50], sky.z[:50], quality=quality)


def test_the_ranks_are_those_of_a_round(weights, store, features, truth, tmp_path):
    chosen = quasarloop.rerank(features.folder, truth, n=20).chosen
    data, _ = label_spectra(iter_store(store), truth)
    heads = train_heads(
        data, weights, tmp_path / "e", n_heads=50, seed=0, standard=features.standard()
    )
    vote(heads, store, tmp_path / "v")
    known = KnownObjects(truth.target_id, truth.object_id)
    whole = select(read_votes_table(tmp_path / "v"), truth=known, options=OPTIONS).chosen
    assert chosen["TARGETID"].to_list() == whole["TARGETID"].to_list()
    np.testing.assert_allclose(chosen["SCORE"], whole["SCORE"], atol=1e-5)
    assert not set(chosen["TARGETID"]) & set(truth.target_id.tolist())


def test_new_labels_change_the_ranks_and_their_order_does_not(features, truth):
    def ids(labels):
        return rerank(features, labels, options=OPTIONS, n_heads=5).chosen["TARGETID"].to_list()

    rows = np.random.default_rng(1).permutation(len(truth))
    assert ids(truth) == ids(truth[rows])
    assert ids(truth) != ids(truth[np.arange(12)])


def test_labels_that_may_not_train_are_left_out(features, truth):
    known = features_of_truth([features], truth)
    assert len(known.features) == 48  # one is unsure, row 1 has no data
    with pytest.raises(TruthError, match="none of the 50 labels is secure"):
        elsewhere = TruthTable.make(np.arange(50), truth.spectype, truth.z)
        rerank(features, elsewhere)


def test_labels_of_another_store_train_too(weights, features, truth, tmp_path):
    other = fakes.small_store(tmp_path / "s", (120,))  # the same first shard, elsewhere
    twice = features_of_truth([features, make_features(weights, other)], truth)
    assert len(twice.features) == 2 * 48
    foreign = from_module(LineFinder(fakes.SMALL_NETWORK, torch.Generator().manual_seed(2)))
    with pytest.raises(SelectionError, match="features of different weights"):
        rerank(features, truth, labelled=[make_features(foreign, other)])
    with pytest.raises(DataFormatError, match="holds no finished features"):
        open_features(tmp_path)
