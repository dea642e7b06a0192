"""Fine-tuning remembers what it rehearses; statistics are measured, not guessed."""

from dataclasses import replace

import numpy as np
import pytest

from quasarloop.errors import TruthError, WeightsError
from quasarloop.grid import LINEAR_GRID, WaveGrid
from quasarloop.lines import EMISSION_LINES
from quasarloop.network.config import NetworkConfig, preset
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.finetune import adapt_statistics, finetune, sample_to_adapt_to
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import FinetuneOptions, TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.rehearsal import mixed_skies
from quasarloop.network.training import train
from quasarloop.network.training_run import Rows
from quasarloop.network.weights import Weights
from quasarloop.store import ingest, open_store

GRID = WaveGrid("log", 3600.0, 0.005, 88)
CONFIG = NetworkConfig(n_conv=4, n_filters=12, n_dense=24, dropout=0.1, grid=GRID)
OPTIONS = FinetuneOptions(epochs=12, learning_rate=3e-3, threshold=0.5)


def toy_sky(n, seed, z_range=(0.3, 4.0), stretch=1.0):
    """Quasars with Gaussian lines, and stars with slopes; noise 0.2."""
    rng = np.random.default_rng(seed)
    quasar = rng.random(n) < 0.5
    z = np.where(quasar, rng.uniform(*z_range, n), 0.0)
    bins = np.arange(GRID.n_bins)
    flux = rng.normal(0, 0.2, (n, GRID.n_bins)) + rng.normal(0, 1, (n, 1)) * (bins / 44 - 1)
    for line in EMISSION_LINES:
        centre = np.log10(line.wave_rest_aa * (1 + z) / GRID.start_aa) / GRID.step
        flux += quasar[:, None] * 3 * np.exp(-0.5 * ((bins - centre[:, None]) / 1.5) ** 2)
    flux -= flux.mean(axis=1, keepdims=True)
    flux /= flux.std(axis=1, keepdims=True) / stretch
    return TrainingData.make(flux, np.where(quasar, 2, 0), z)


def found(weights: Weights, data: TrainingData):
    finds = decode(Predictor(weights).predict(data.flux), weights.config)
    return classify_finds(finds, weights.config, weights.thresholds).is_qso


@pytest.fixture(scope="module")
def start():
    options = TrainingOptions(
        epochs=20, batch_size=64, learning_rate=4e-3, schedule="cosine", threshold=0.5
    )
    return train(toy_sky(1200, 1), CONFIG, options, seed=1).weights


def test_labels_alone_make_it_forget_and_rehearsal_keeps_it(start):
    easy = toy_sky(600, 2)
    assert found(start, easy)[easy.is_qso].mean() > 0.95
    stars = np.flatnonzero(~easy.is_qso)[:100]
    labels = easy[stars]  # chosen labels of one kind only
    long = replace(OPTIONS, epochs=60, rehearsal=0)
    forgot = finetune(start, labels, long, seed=3).weights
    kept = finetune(start, labels, long, seed=3, rehearsal=toy_sky(300, 4)).weights
    assert found(forgot, easy)[easy.is_qso].mean() < 0.5
    assert found(kept, easy)[easy.is_qso].mean() > 0.9


def test_it_learns_what_the_start_did_not_know(start):
    """Quasars turned upside down are nothing the start has seen; 150 labels teach it."""
    survey, judged = (toy_sky(n, seed) for n, seed in ((150, 5), (400, 6)))
    survey, judged = (replace(s, flux=-s.flux) for s in (survey, judged))
    before = (found(start, judged) == judged.is_qso).mean()
    result = finetune(start, survey, OPTIONS, seed=1, rehearsal=toy_sky(150, 7))
    assert (found(result.weights, judged) == judged.is_qso).mean() > max(0.9, before + 0.1)


def test_labels_and_rehearsal_weigh_alike(start, monkeypatch):
    seen = {}

    def record(data, network, options, *, rows, **more):
        seen.update(n=len(data), rows=rows)
        return train(data, network, options, rows=rows, **more)

    monkeypatch.setattr("quasarloop.network.finetune.train", record)
    data = toy_sky(50, 8)
    rows = Rows(np.arange(40), np.arange(40, 50))
    options = replace(OPTIONS, epochs=1)
    result = finetune(start, data, options, seed=1, rehearsal=toy_sky(120, 9), rows=rows)
    assert seen["n"] == 170
    assert np.bincount(seen["rows"].train).tolist() == [3] * 40 + [0] * 10 + [1] * 120
    assert seen["rows"].validation.tolist() == list(range(40, 50))
    record = result.weights.provenance
    assert (record["n_training_rows"], record["n_rehearsal_rows"]) == (40, 120)
    assert record["n_validation_rows"] == 10
    assert record["first_weights_sha256"] == start.digest()


def test_rehearsed_spectra_are_simulated_from_the_seed():
    data = mixed_skies(12, 3)
    options = FinetuneOptions(epochs=1, rehearsal=2)
    first = train(
        data, preset("busca2018", n_filters=4, n_dense=4), TrainingOptions(epochs=1), seed=0
    )
    one, same, other = (finetune(first.weights, data, options, seed=s).weights for s in (1, 1, 2))
    assert one.provenance["n_rehearsal_rows"] == 24
    assert one.digest() == same.digest()
    assert one.provenance["data_sha256"] != other.provenance["data_sha256"]


def test_resumes_to_the_same_bytes(start, tmp_path):
    data, more = toy_sky(60, 10), toy_sky(60, 11)
    whole = finetune(start, data, replace(OPTIONS, epochs=3), seed=2, rehearsal=more).weights

    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    options, given = replace(OPTIONS, epochs=3), {"rehearsal": more, "out_dir": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        finetune(start, data, options, seed=2, on_epoch=stop, **given)
    assert finetune(start, data, options, seed=2, **given).weights.digest() == whole.digest()


def test_too_few_labels(start):
    with pytest.raises(TruthError, match="at least 2"):
        finetune(start, toy_sky(5, 1)[:0], replace(OPTIONS, rehearsal=0), seed=1)


def spoiled(weights):
    """The same network with statistics of another survey: every variance twice as large."""
    arrays = {
        name: a * np.float32(2) if "moving_variance" in name else a
        for name, a in weights.arrays.items()
    }
    return replace(weights, arrays=arrays)


def test_adapting_recovers_statistics_of_the_survey(start):
    survey = toy_sky(2000, 12)
    right = Predictor(start).predict(survey.flux).confidence
    wrong = Predictor(spoiled(start)).predict(survey.flux).confidence
    adapted = adapt_statistics(spoiled(start), survey.flux)
    got = Predictor(adapted).predict(survey.flux).confidence
    assert np.abs(got - right).mean() < 0.15 * np.abs(wrong - right).mean()
    record = adapted.provenance["adapted"]
    assert record["spectra"] == 2000
    before, after = found(spoiled(start), survey), found(adapted, survey)
    assert record["quasars_before"] == before.sum()
    assert record["quasars_after"] == after.sum()
    assert record["became_quasars"] == (after & ~before).sum()
    assert record["ceased_to_be"] == (before & ~after).sum()
    assert record["became_quasars"] > 0


def test_adapting_measures_the_mean_over_all_spectra(start):
    """The first layer's statistics by hand: of the convolution alone, over spectra and places."""
    survey = toy_sky(700, 13)
    adapted = adapt_statistics(start, survey.flux)
    kernel = start.arrays["conv_1/kernel"][:, 0]
    padded = np.pad(survey.flux, ((0, 0), CONFIG.paddings()[0]))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=1)
    outputs = windows[:, :: CONFIG.stride].astype(np.float64) @ kernel
    mean = adapted.arrays["batch_normalization_1/moving_mean"]
    np.testing.assert_allclose(mean, outputs.mean((0, 1)), atol=2e-4)
    variance = adapted.arrays["batch_normalization_1/moving_variance"]
    np.testing.assert_allclose(variance, outputs.var((0, 1)), rtol=0.02)


def test_what_labels_have_trained_is_not_adapted(start):
    tuned = finetune(
        start, toy_sky(60, 14), replace(OPTIONS, epochs=1, rehearsal=0), seed=1
    ).weights
    headed = replace(start, provenance={**start.provenance, "head": {"member": 0}})
    for weights in (tuned, headed):
        with pytest.raises(WeightsError, match="trained on from others"):
            adapt_statistics(weights, toy_sky(600, 15).flux)


def test_too_few_spectra_and_another_grid(start):
    with pytest.raises(WeightsError, match="511 spectra cannot"):
        adapt_statistics(start, toy_sky(511, 16).flux)
    with pytest.raises(WeightsError, match="network reads"):
        adapt_statistics(start, np.zeros((600, LINEAR_GRID.n_bins), np.float32))


def test_sample_of_a_store_is_spread_over_it(spectrum_files, tmp_path, monkeypatch, shared_data):
    files = sorted((shared_data / "boss_plate7102").glob("spec-*.fits"))
    ingest(files, tmp_path / "store", preset("busca2018").grid)
    store = open_store(tmp_path / "store")
    whole = sample_to_adapt_to(store)
    assert whole.shape == (101, 443)
    monkeypatch.setattr("quasarloop.network.finetune._MOST_SPECTRA", 25)
    some = sample_to_adapt_to(store)
    assert np.array_equal(some, whole[::4])
