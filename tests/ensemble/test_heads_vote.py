"""Features on disk and votes of heads: row for row, the folded networks' votes, the same bytes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quasarloop.classes import Vote
from quasarloop.engine import Engine
from quasarloop.ensemble.features import features_folder, make_features, open_features
from quasarloop.ensemble.heads import Standard
from quasarloop.ensemble.manifest import load_heads, load_members, member_thresholds, open_ensemble
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.train_heads import labelled_features, train_heads
from quasarloop.ensemble.vote import apply_members, vote
from quasarloop.ensemble.votes import VoteRule, count_column
from quasarloop.errors import OutputError, TruthError, WeightsError
from quasarloop.network.features import compute_features
from quasarloop.network.labelled import label_spectra
from quasarloop.network.predict import Predictor
from quasarloop.quality import UNUSABLE
from quasarloop.store import iter_store
from quasarloop.truth import TruthTable

N_HEADS = 5


@pytest.fixture(scope="module")
def trunk(ensemble):
    return load_members(ensemble, 1)[0]


@pytest.fixture(scope="module")
def heads(fakes, trunk, tmp_path_factory):
    out = tmp_path_factory.mktemp("heads") / "e"
    return train_heads(fakes.small_sky(), trunk, out, n_heads=N_HEADS, seed=3)


@pytest.fixture(scope="module")
def undisturbed(heads, store, tmp_path_factory):
    root = tmp_path_factory.mktemp("heads-vote")
    options = VoteOptions(keep_members=True)
    return vote(heads, store, root / "v", options=options, features=root / "f")


def test_features_follow_the_store_row_for_row(trunk, store, undisturbed):
    made = open_features(undisturbed.folder.parent / "f")
    assert made.n_rows == store.n_rows
    shards = [spectra for spectra in iter_store(store) if len(spectra)]
    for spectra, (names, features) in zip(shards, made.shards(), strict=True):
        assert names["TARGETID"].tolist() == spectra.keys.target_id.tolist()
        assert names["ROW"].tolist() == list(range(len(spectra)))
        usable = (spectra.flags & UNUSABLE) == 0
        assert np.isnan(features.hidden[~usable]).all()
        assert np.isnan(features.z_best[~usable]).all()
        alone = compute_features(Predictor(trunk), spectra.flux[usable])
        for name in ("hidden", "line_logit", "z_best", "p_high"):
            found = getattr(features, name)[usable]
            np.testing.assert_allclose(found, getattr(alone, name), rtol=1e-3, atol=1e-5)


def test_spectra_are_uploaded_once_for_all_members(heads, store, monkeypatch):
    uploads, upload = [], Predictor.upload
    monkeypatch.setattr(
        Predictor, "upload", lambda self, flux: uploads.append(len(flux)) or upload(self, flux)
    )
    spectra = next(s for s in iter_store(store) if len(s))
    apply_members(spectra, [Predictor(one) for one in load_members(heads)], VoteRule())
    assert uploads == [np.count_nonzero((spectra.flags & UNUSABLE) == 0)]


def test_heads_vote_as_the_folded_networks_do(heads, store, undisturbed):
    members = load_members(heads)
    assert len(members) == len(heads) == N_HEADS
    table = pl.concat([pl.read_parquet(path) for path in undisturbed.files])
    predictors = [Predictor(one) for one in members]
    spectra = [s for s in iter_store(store) if len(s)]
    finds = [apply_members(s, predictors, VoteRule()) for s in spectra]
    confidence = np.concatenate([one.confidence for one in finds], axis=1)
    z_best = np.concatenate([one.z_best for one in finds], axis=1)
    near = (np.abs(confidence - 0.95) < 1e-5).any(axis=0)
    assert near.mean() < 0.01
    counts = {one: np.zeros(len(table), int) for one in Vote}
    for one, z in zip(confidence, z_best, strict=True):
        with np.errstate(invalid="ignore"):
            quasar, high = one > 0.95, z >= 2.1
        counts[Vote.HIGH_Z] += quasar & high
        counts[Vote.LOW_Z] += quasar & ~high
    for one in (Vote.HIGH_Z, Vote.LOW_Z):
        assert np.array_equal(table[count_column(one, 0.95)].to_numpy()[~near], counts[one][~near])
    assert 0 < counts[Vote.HIGH_Z].sum() < N_HEADS * len(table)
    means = np.concatenate([one.line_mean for one in finds])
    np.testing.assert_allclose(table["C_LYA"], means[:, 0], atol=1e-5)
    np.testing.assert_allclose(table["C_BAL"], means[:, -1], atol=1e-5)


def test_doubt_about_redshift_is_in_the_soft_classes(undisturbed):
    """All heads share z_best; the split of their quasars is that of p(z)."""
    table = pl.concat([pl.read_parquet(path) for path in undisturbed.files])
    made = open_features(undisturbed.folder.parent / "f")
    p_high = np.concatenate([features.p_high for _, features in made.shards()])
    quasar = table["P_LOW_Z"] + table["P_HIGH_Z"]
    np.testing.assert_allclose(table["P_HIGH_Z"], quasar * p_high, atol=1e-6)
    unsure = (p_high > 0.2) & (p_high < 0.8) & (quasar.to_numpy() > 0.9)
    assert unsure.any()
    assert table["SOFT_ENTROPY"].to_numpy()[unsure].min() > 0.5


@pytest.mark.parametrize("workers", [2, "cluster"])
def test_the_same_bytes_anywhere(heads, undisturbed, fakes, tmp_path, workers, request):
    store = request.getfixturevalue("store")
    engine = (
        Engine(scheduler=request.getfixturevalue("cluster"))
        if workers == "cluster"
        else request.getfixturevalue("two_workers")
    )
    options = VoteOptions(keep_members=True)
    vote(heads, store, tmp_path / "v", options=options, features=tmp_path / "f", engine=engine)
    for part in ("v", "f"):
        digests = fakes.folder_digest(tmp_path / part)
        assert digests == fakes.folder_digest(undisturbed.folder.parent / part)


def test_the_same_labels_give_the_same_heads(heads, trunk, fakes, tmp_path):
    sky = fakes.small_sky()
    again = train_heads(sky, trunk, tmp_path / "e", n_heads=N_HEADS, seed=3)
    assert fakes.folder_digest(again.folder) == fakes.folder_digest(heads.folder)
    order = np.random.default_rng(0).permutation(len(sky))
    mixed = train_heads(sky[order], trunk, tmp_path / "m", n_heads=N_HEADS + 2, seed=3)
    found, expected = (load_heads(one)[1].table for one in (mixed, heads))
    assert np.array_equal(found[:N_HEADS], expected)


_MAIN = """
import sys
from quasarloop.ensemble.manifest import open_ensemble
from quasarloop.ensemble.options import VoteOptions
from quasarloop.ensemble.vote import vote
from quasarloop.store import open_store
if __name__ == "__main__":
    vote(open_ensemble({ensemble!r}), open_store({store!r}), {out!r}, features={features!r},
         options=VoteOptions(keep_members=True))
"""


def test_after_a_kill_the_pass_goes_on(heads, store, undisturbed, fakes, tmp_path, wait_until):
    places = {"ensemble": str(heads.folder), "store": str(store.path)}
    places |= {"out": str(tmp_path / "v"), "features": str(tmp_path / "f")}
    (tmp_path / "main.py").write_text(_MAIN.format(**places))
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    wait_until(lambda: any((tmp_path / "f").glob("*.parquet")))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    options = VoteOptions(keep_members=True)
    vote(heads, store, tmp_path / "v", options=options, features=tmp_path / "f")
    for part in ("v", "f"):
        digests = fakes.folder_digest(tmp_path / part)
        assert digests == fakes.folder_digest(undisturbed.folder.parent / part)


def test_features_are_kept_beside_the_store_and_made_once(trunk, fakes, tmp_path):
    store = fakes.small_store(tmp_path / "s", (30, 0, 4))
    made = make_features(trunk, store)
    assert made.folder == features_folder(trunk, store)
    assert made.folder.parent == store.path / "features"
    assert trunk.digest().startswith(made.folder.name.split("-")[0])
    before = made.files[0].stat().st_mtime_ns
    seen = []
    make_features(trunk, store, on_progress=seen.append)
    assert sum(seen) == 34
    assert made.files[0].stat().st_mtime_ns == before
    assert store.n_rows == 34  # features are no shards
    grown = fakes.small_store(tmp_path / "s", (30, 0, 4, 5))
    assert features_folder(trunk, grown) != made.folder


def test_units_of_the_pool_are_kept_with_its_features(undisturbed):
    made = open_features(undisturbed.folder.parent / "f")
    measured = Standard.of(features.hidden for _, features in made.shards())
    earlier = replace(made, record={k: v for k, v in made.record.items() if k != "standard"})
    for folder in (replace(made, files=()), earlier):
        np.testing.assert_array_equal(folder.standard().mean, measured.mean)
        np.testing.assert_array_equal(folder.standard().factor, measured.factor)


def test_other_features_are_refused(ensemble, trunk, heads, store, fakes, tmp_path):
    other = load_members(ensemble, 2)[1]
    made = make_features(other, store, tmp_path / "f")
    with pytest.raises(OutputError, match="features that differ in weights; give another folder"):
        vote(heads, store, tmp_path / "v", features=tmp_path / "f")
    with pytest.raises(WeightsError, match="holds features of other weights"):
        made.check_weights(trunk)
    elsewhere = fakes.small_store(tmp_path / "s", (3,))
    with pytest.raises(OutputError, match="features that differ in store"):
        make_features(other, elsewhere, tmp_path / "f")
    with pytest.raises(OutputError, match="features that differ in high_z_min"):
        make_features(other, store, tmp_path / "f", high_z_min=3.0)


def test_an_ensemble_of_heads_is_checked_as_others_are(heads, ensemble, trunk, fakes, tmp_path):
    assert open_ensemble(heads.folder) == heads
    assert heads.kind == "heads"
    assert ensemble.kind == "networks"
    assert member_thresholds(heads, VoteOptions()).confidence == 0.95
    with pytest.raises(WeightsError, match="whole networks; expected heads"):
        load_heads(ensemble)
    with pytest.raises(OutputError, match="holds an ensemble of whole networks"):
        train_heads(fakes.small_sky(), trunk, ensemble.folder, n_heads=2, seed=1)
    own = train_heads(fakes.small_sky(), trunk, tmp_path / "e", n_heads=2, seed=1)
    np.save(own.folder / "heads.npy", np.zeros((2, 18)))
    with pytest.raises(WeightsError, match=r"heads\.npy is not the file the manifest"):
        load_members(own)


def test_labels_that_are_all_unsure_are_an_error(fakes, store):
    spectra = next(iter_store(store))
    ids = spectra.keys.target_id
    unsure = TruthTable.make(
        ids, np.full(len(ids), 2), np.full(len(ids), 2.0), quality=np.ones(len(ids))
    )
    with pytest.raises(TruthError, match="of low quality"):
        label_spectra([spectra], unsure)


def test_rows_that_must_not_train_are_left_out(trunk, fakes):
    sky = fakes.small_sky(40)
    sky.trains[::4] = False
    assert len(labelled_features(sky, trunk).features) == 30
