"""Heads: planted truth, independent code, exact folding, and orders that change no bit."""

import numpy as np
import pytest
from benchmarks.plain_network import plain_predict
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from quasarloop.ensemble.bootstrap import bootstrap_rows, member_seeds
from quasarloop.ensemble.heads import (
    Heads,
    LabelledFeatures,
    PriorWidths,
    Standard,
    deciding_logit,
    fit_head,
    fit_heads,
    fold_head,
)
from quasarloop.ensemble.manifest import load_members
from quasarloop.errors import TruthError, WeightsError
from quasarloop.network.config import NetworkConfig
from quasarloop.network.features import Features, compute_features
from quasarloop.network.predict import Predictor
from quasarloop.network.weights import read_weights, write_weights

N_DENSE = 12
CONFIG = NetworkConfig(n_dense=N_DENSE)


def made_up(n=200, seed=1, truth=(0.7, 1.5, -0.5), per_object=1):
    """Labels drawn from a planted head: gain, weight of hidden unit 3, offset."""
    rng = np.random.default_rng(seed)
    hidden = rng.gamma(2.0, 1.0, (n, N_DENSE)).astype(np.float32)
    lines = rng.normal(0, 3, (n, CONFIG.n_lines)).astype(np.float32)
    features = Features(hidden, lines, np.full(n, 2.0), np.full(n, 0.5, np.float32))
    gain, weight, offset = truth
    logit = gain * deciding_logit(features, CONFIG) + weight * (hidden[:, 3] - 2) + offset
    is_qso = rng.random(n) < 1 / (1 + np.exp(-logit))
    return LabelledFeatures(features, is_qso, np.arange(n) // per_object)


def test_a_planted_head_is_found():
    heads = fit_head(made_up(20_000), CONFIG)
    gain, weights, offset = heads.table[0, 0], heads.table[0, 1:-1], heads.table[0, -1]
    assert gain == pytest.approx(0.7, abs=0.03)
    assert weights[3] == pytest.approx(1.5, abs=0.08)
    assert np.abs(np.delete(weights, 3)).max() < 0.08
    assert offset == pytest.approx(-0.5 - 2 * 1.5, abs=0.4)


def test_a_label_counts_once_however_many_spectra_its_object_has():
    once = made_up(80)
    rows = np.repeat(np.arange(80), 3)
    thrice = LabelledFeatures(once.features[rows], once.is_qso[rows], once.object_id[rows])
    one, three = (
        fit_head(labelled, CONFIG, standard=Standard.of([once.features.hidden]))
        for labelled in (once, thrice)
    )
    assert three.widths == one.widths
    np.testing.assert_allclose(three.table, one.table, rtol=1e-6, atol=1e-8)


def test_independent_code_finds_the_same_optimum():
    labelled = made_up(300)
    heads = fit_head(labelled, CONFIG)
    widths, features = heads.widths, labelled.features
    # Shifted by the prior's centre, scaled by its widths: a plain ridge, the logit as an offset.
    logit = deciding_logit(features, CONFIG)
    columns = [
        widths.gain * logit[:, None],
        widths.weights * heads.standard.apply(features.hidden),
        np.full((300, 1), widths.offset),
    ]
    design = np.hstack(columns)

    def value(theta):
        sign = 2 * labelled.is_qso - 1
        return np.logaddexp(0, -sign * (logit + design @ theta)).sum() + 0.5 * theta @ theta

    units = heads.table[0, 1:-1] / heads.standard.factor
    offset = heads.table[0, -1] + heads.table[0, 1:-1] @ heads.standard.mean
    ours = np.concatenate(
        [
            [(heads.table[0, 0] - 1) / widths.gain],
            units / widths.weights,
            [offset / widths.offset],
        ]
    )
    theirs = minimize(value, np.zeros(design.shape[1]), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(ours, theirs.x, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(60)), st.integers(0, 5))
def test_order_of_labels_and_number_of_members_change_no_bit(order, extra):
    labelled = made_up(60, per_object=2)
    rows = np.array(order)
    mixed = LabelledFeatures(
        labelled.features[rows], labelled.is_qso[rows], labelled.object_id[rows]
    )
    one = fit_heads(labelled, CONFIG, n_heads=3, seed=4)
    other = fit_heads(mixed, CONFIG, n_heads=3 + extra, seed=4)
    assert np.array_equal(one.table, other.table[:3])
    assert len(np.unique(one.table, axis=0)) == 3


def test_heads_are_bootstrap_samples_by_object():
    """Fitting the drawn rows themselves gives the head that row weights give."""
    labelled = made_up(80, per_object=2).in_order()
    heads = fit_heads(labelled, CONFIG, n_heads=1, seed=7)
    seeds = member_seeds(7, 1)[0]
    rows = bootstrap_rows(labelled.object_id, np.random.default_rng(seeds.bootstrap))
    logit = deciding_logit(labelled.features, CONFIG)[rows]
    design = np.column_stack(
        [logit, heads.standard.apply(labelled.features.hidden[rows]), np.ones(len(rows))]
    )
    units = heads.table[0, 1:-1] / heads.standard.factor
    offset = heads.table[0, -1] + heads.table[0, 1:-1] @ heads.standard.mean
    theta = np.concatenate([heads.table[0, :1], units, [offset]])
    gradient = design.T @ (1 / (1 + np.exp(-design @ theta)) - labelled.is_qso[rows])
    width = np.array([heads.widths.gain, *[heads.widths.weights] * N_DENSE, heads.widths.offset])
    prior = (theta - np.eye(1, len(theta))[0]) / width**2
    # Of two spectra per object each counts half.
    np.testing.assert_allclose(0.5 * gradient + prior, 0.0, atol=1e-4)


def test_labels_that_agree_with_the_network_leave_it_as_it_is():
    """Evidence: where hidden units know nothing more, the prior is narrow."""
    heads = fit_head(made_up(2000, truth=(1.0, 0.0, 0.0)), CONFIG)
    told = fit_head(made_up(2000), CONFIG)
    assert heads.widths.weights < 0.1 < told.widths.weights
    units = heads.table[0, 1:-1] / heads.standard.factor
    assert np.abs(units).max() < 0.1


@pytest.mark.parametrize(
    ("is_qso", "found"),
    [
        (np.ones(50, dtype=bool), "50 quasars and 0 other objects"),
        (np.zeros(50, dtype=bool), "0 quasars and 50 other objects"),
        (np.array([True, False]), "1 quasars and 1 other objects"),
        (np.zeros(0, dtype=bool), "0 quasars and 0 other objects"),
    ],
)
def test_too_few_labels_are_an_error(is_qso, found):
    labelled = made_up(50)
    few = LabelledFeatures(
        labelled.features[: len(is_qso)], is_qso, labelled.object_id[: len(is_qso)]
    )
    with pytest.raises(TruthError, match=found):
        fit_heads(few, CONFIG, n_heads=2, seed=0)


def test_rows_without_features_are_an_error():
    labelled = made_up(50)
    labelled.features.hidden[7] = np.nan
    with pytest.raises(WeightsError, match="1 labelled spectra have no features"):
        fit_head(labelled, CONFIG)
    with pytest.raises(WeightsError, match="no spectrum has features"):
        Standard.of([np.full((3, N_DENSE), np.nan)])


def test_units_that_never_vary_take_no_part():
    labelled = made_up(100)
    labelled.features.hidden[:, 5] = 0.0
    labelled.features.hidden[3, 5] = 1e-5
    heads = fit_head(labelled, CONFIG)
    assert heads.table[0, 6] == 0.0
    assert np.isfinite(heads.table).all()


@pytest.mark.parametrize("n_lines", [1, 2])
def test_a_folded_head_is_the_network_with_that_head(ensemble, fakes, tmp_path, n_lines):
    trunk = load_members(ensemble, 1)[0]
    config, sky = trunk.config, fakes.small_sky(200, seed=5)
    features = compute_features(Predictor(trunk), sky.flux)
    labelled = LabelledFeatures(features, sky.is_qso, sky.object_id)
    heads = fit_heads(labelled, config, n_heads=2, seed=1, n_lines=n_lines)
    folded = fold_head(trunk, heads, 1)
    write_weights(folded, tmp_path / "folded.h5")
    after = compute_features(Predictor(read_weights(tmp_path / "folded.h5")), sky.flux)
    logits = heads.logits(features, config, n_lines)[1]
    np.testing.assert_allclose(deciding_logit(after, config, n_lines), logits, atol=1e-4)
    assert np.array_equal(after.z_best, features.z_best)
    assert np.array_equal(after.hidden, features.hidden)
    bal = list(config.bal_index)
    assert np.array_equal(after.line_logit[:, bal], features.line_logit[:, bal])
    assert folded.provenance["head"] == {"member": 1, "trunk": trunk.digest()}


@pytest.fixture(params=["test_weights.h5", "test_weights_6_layer.h5"])
def folded_fixture(request, shared_data, tmp_path):
    """QuasarNP's weights with a head drawn at random: the file, its spectra, its confidences."""
    folder = shared_data / "quasarnp_fixture"
    trunk, coadd = read_weights(folder / request.param), np.load(folder / "coadd_x.npy")
    coadd, n_dense = coadd.astype(np.float32), trunk.config.n_dense
    drawn = np.random.default_rng(1).normal(0, 0.2, n_dense)
    standard = Standard(np.zeros(n_dense), np.ones(n_dense))
    heads = Heads(np.array([[0.8, *drawn, 0.5]]), standard, PriorWidths(1, 1, 1))
    write_weights(fold_head(trunk, heads, 0), tmp_path / "folded.h5")
    features = compute_features(Predictor(trunk), coadd)
    confidence = 1 / (1 + np.exp(-heads.logits(features, trunk.config)[0]))
    assert np.ptp(confidence) > 0.9
    return tmp_path / "folded.h5", coadd, confidence


def test_quasarnps_weights_with_a_head_give_our_confidences(folded_fixture):
    path, coadd, confidence = folded_fixture
    outputs = plain_predict(read_weights(path), coadd)
    np.testing.assert_allclose(outputs.confidence[:, :6].max(axis=(1, 2)), confidence, atol=1e-5)


def test_quasarnp_reads_a_folded_head_as_we_do(folded_fixture, quasarnp_io):
    path, coadd, confidence = folded_fixture
    model, _ = quasarnp_io.load_model(path)
    outputs = np.stack(model.predict(coadd[:, :, None]), axis=1)
    np.testing.assert_allclose(outputs[:, :6, :13].max(axis=(1, 2)), confidence, atol=1e-5)


def test_a_head_of_another_network_is_not_folded(ensemble):
    heads = fit_head(made_up(50), CONFIG)
    with pytest.raises(WeightsError, match="12 hidden units does not fit a network of 16"):
        fold_head(load_members(ensemble, 1)[0], heads, 0)
