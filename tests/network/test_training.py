"""Training: it learns what is planted, to the same bytes, whatever kills it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quasarloop.errors import GridError, TruthError, WeightsError
from quasarloop.grid import WaveGrid
from quasarloop.lines import EMISSION_LINES
from quasarloop.network.config import NetworkConfig, RedshiftGrid
from quasarloop.network.decode import classify_finds, decode
from quasarloop.network.joint import joint_redshifts
from quasarloop.network.labelled import TrainingData
from quasarloop.network.options import TrainingOptions
from quasarloop.network.predict import Predictor
from quasarloop.network.redshift_reading import CONFUSION
from quasarloop.network.training import CHECKPOINT_NAME, train
from quasarloop.network.training_run import Rows

GRID = WaveGrid("log", 3600.0, 0.005, 88)
CONFIG = NetworkConfig(n_conv=4, n_filters=12, n_dense=24, dropout=0.1, grid=GRID)
HEADED = replace(CONFIG, redshift=RedshiftGrid(n_channels=8, step=0.005, knot_steps=8))
FAST = TrainingOptions(epochs=3, batch_size=64, learning_rate=2e-3, schedule="constant")


def toy_sky(n, seed=0):
    """Quasars with Gaussian lines at 0.3 < z < 4, and stars with slopes; noise 0.2."""
    rng = np.random.default_rng(seed)
    quasar = rng.random(n) < 0.5
    z = np.where(quasar, rng.uniform(0.3, 4.0, n), 0.0)
    bins = np.arange(GRID.n_bins)
    flux = rng.normal(0, 0.2, (n, GRID.n_bins)) + rng.normal(0, 1, (n, 1)) * (bins / 44 - 1)
    for line in EMISSION_LINES:
        centre = np.log10(line.wave_rest_aa * (1 + z) / GRID.start_aa) / GRID.step
        flux += quasar[:, None] * 3 * np.exp(-0.5 * ((bins - centre[:, None]) / 1.5) ** 2)
    flux -= flux.mean(axis=1, keepdims=True)
    flux /= flux.std(axis=1, keepdims=True)
    return TrainingData.make(flux, np.where(quasar, 2, 0), z, object_id=np.arange(n))


def same_bytes(one, two):
    return all(
        one.arrays[name].tobytes() == two.arrays[name].tobytes() for name in one.arrays
    ) and set(one.arrays) == set(two.arrays)


def test_it_learns_planted_lines():
    data = toy_sky(1500)
    rows = Rows(np.arange(1200), np.arange(1200, 1500))
    options = replace(FAST, epochs=25, schedule="cosine", learning_rate=4e-3, threshold=0.5)
    result = train(data, CONFIG, options, seed=1, rows=rows)
    last = result.history[-1]
    assert last.completeness > 0.95
    assert last.purity > 0.98
    assert last.z_nmad < 0.01
    assert last.validation_loss < 0.4 * result.history[0].validation_loss


def test_a_redshift_head_learns_and_is_calibrated():
    data = toy_sky(1500)
    rows = Rows(np.arange(1100), np.arange(1100, 1500))
    options = replace(FAST, epochs=25, schedule="cosine", learning_rate=4e-3, threshold=0.5)
    result = train(data, HEADED, options, seed=1, rows=rows)
    last = result.history[-1]
    assert last.completeness > 0.95
    assert last.validation_redshift < 0.5 * result.history[0].validation_redshift
    assert last.loss == pytest.approx(
        last.loss_positive + last.loss_negative + last.loss_offset + last.loss_redshift
    )
    head = result.weights.config.redshift
    assert head.temperature != 1.0
    assert head.error_scale != 1.0
    fresh = toy_sky(600, seed=5)
    quasars = fresh[np.flatnonzero(fresh.is_qso)]
    outputs = Predictor(result.weights).predict(quasars.flux, redshifts=True)
    found = joint_redshifts(outputs, result.weights.config)
    right = np.abs(np.log((1 + found.z) / (1 + quasars.z))) < CONFUSION
    assert right.mean() > 0.97
    pull = ((found.z - quasars.z) / found.z_err)[right]
    assert 0.55 < np.mean(np.abs(pull) < 1) < 0.8
    one_line = classify_finds(decode(outputs, result.weights.config), result.weights.config).z_best
    joint_scatter, scatter = (
        np.median(np.abs(np.log((1 + z) / (1 + quasars.z)))) for z in (found.z, one_line)
    )
    assert joint_scatter < 0.6 * scatter


def test_a_redshift_head_leaves_the_first_loss_as_it_was():
    """Before the first step the shared network is the same; afterwards the head has a say."""
    data = toy_sky(64)
    options = replace(FAST, epochs=1)
    plain, headed = (train(data, c, options, seed=3).history[0] for c in (CONFIG, HEADED))
    assert headed.loss_positive == plain.loss_positive
    assert headed.loss_redshift > 0
    assert plain.loss_redshift == 0


@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau"])
def test_same_seed_same_bytes_another_seed_others(schedule):
    data = toy_sky(200)
    options = replace(FAST, schedule=schedule, epochs=2)
    one = train(data, CONFIG, options, seed=5).weights
    assert same_bytes(one, train(data, CONFIG, options, seed=5).weights)
    assert same_bytes(one, train(data, CONFIG, options, seed=np.random.SeedSequence(5)).weights)
    assert not same_bytes(one, train(data, CONFIG, options, seed=6).weights)


def test_the_callers_torch_state_is_left_alone():
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(toy_sky(100), CONFIG, replace(FAST, epochs=1), seed=0)
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_rows_of_a_bootstrap_equal_a_table_with_those_rows_copied():
    data = toy_sky(150)
    drawn = np.random.default_rng(0).integers(0, 150, 150)
    options = replace(FAST, statistics="running")
    by_index = train(data, CONFIG, options, seed=2, rows=Rows(drawn)).weights
    copied = train(data[drawn], CONFIG, options, seed=2).weights
    assert same_bytes(by_index, copied)


def test_labels_that_must_not_train_change_nothing():
    data = toy_sky(150)
    trains = np.ones(150, dtype=bool)
    trains[::5] = False
    flux = data.flux.copy()
    flux[::5] = 7.0
    spoiled = replace(data, flux=flux, trains=trains, z=np.where(trains, data.z, np.nan))
    one = train(spoiled, CONFIG, FAST, seed=3).weights
    two = train(data[trains], CONFIG, FAST, seed=3).weights
    assert same_bytes(one, two)


def test_validation_does_not_touch_training():
    data = toy_sky(200)
    plain = train(data, CONFIG, FAST, seed=4, rows=Rows(np.arange(150)))
    judged = train(data, CONFIG, FAST, seed=4, rows=Rows(np.arange(150), np.arange(150, 200)))
    assert same_bytes(plain.weights, judged.weights)
    assert [r.loss for r in plain.history] == [r.loss for r in judged.history]


def test_the_best_epoch_is_kept_and_patience_ends_it():
    # So few rows and so high a rate that the validation loss soon rises.
    data = toy_sky(120)
    rows = Rows(np.arange(40), np.arange(40, 120))
    options = replace(FAST, epochs=60, learning_rate=2e-2, monitor="loss", patience=4)
    result = train(data, replace(CONFIG, dropout=0.0), options, seed=1, rows=rows)
    losses = [r.validation_loss for r in result.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 4 < 60
    assert result.weights.provenance["epoch_kept"] == best + 1
    shorter = train(
        data, replace(CONFIG, dropout=0.0), replace(options, epochs=best + 1), seed=1, rows=rows
    )
    assert same_bytes(result.weights, shorter.weights)


def test_warm_start_goes_on_from_the_given_weights():
    data = toy_sky(300)
    first = train(data, CONFIG, replace(FAST, epochs=8), seed=1)
    second = train(data, first.weights, replace(FAST, epochs=1), seed=2)
    fresh = train(data, CONFIG, replace(FAST, epochs=1), seed=2)
    assert second.history[0].loss < 0.7 * fresh.history[0].loss
    assert second.weights.provenance["first_weights_sha256"] == first.weights.digest()


def test_shifts_teach_redshifts_the_sample_lacks():
    data = toy_sky(800, seed=1)
    near = (data.z < 1.5) | ~data.is_qso
    probe = toy_sky(800, seed=2)
    far = data.is_qso & (probe.z > 1.6) & (probe.z < 1.9) & probe.is_qso
    both = TrainingData.make(
        np.concatenate([data.flux[near], probe.flux[far]]),
        np.concatenate([data.spectype[near], probe.spectype[far]]),
        np.concatenate([data.z[near], probe.z[far]]),
    )
    n = int(near.sum())
    rows = Rows(np.arange(n), np.arange(n, len(both)))
    options = replace(FAST, epochs=15, learning_rate=4e-3, threshold=0.5)
    plain = train(both, CONFIG, options, seed=1, rows=rows).history[-1]
    moved = train(both, CONFIG, replace(options, shift_bins=15), seed=1, rows=rows).history[-1]
    assert moved.validation_loss < plain.validation_loss


def test_a_lone_last_spectrum_joins_the_batch_before():
    data = toy_sky(65)
    assert len(train(data, CONFIG, replace(FAST, epochs=1), seed=0).history) == 1


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_low_precision_learns_nearly_the_same(precision):
    data = toy_sky(300)
    full = train(data, CONFIG, FAST, seed=1).history[-1].loss
    low = train(data, CONFIG, replace(FAST, precision=precision), seed=1).history[-1].loss
    assert low == pytest.approx(full, rel=0.05)


def test_what_cannot_be_trained_says_why():
    data = toy_sky(10)
    with pytest.raises(GridError, match="88 bins"):
        train(data, NetworkConfig(), FAST, seed=0)
    with pytest.raises(TruthError, match="1 labelled"):
        train(data[:1], CONFIG, FAST, seed=0)
    with pytest.raises(WeightsError, match="lower the learning rate"):
        train(data, CONFIG, replace(FAST, learning_rate=1e30), seed=0)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    train(toy_sky(80), CONFIG, replace(FAST, epochs=1), seed=0, out_dir=tmp_path)
    with pytest.raises(WeightsError, match="data_sha256"):
        train(toy_sky(80, seed=9), CONFIG, replace(FAST, epochs=1), seed=0, out_dir=tmp_path)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("config", [CONFIG, HEADED], ids=["plain", "redshift head"])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_resumed_after_any_epoch_gives_the_same_bytes(tmp_path, after, config):
    data = toy_sky(150)
    rows = Rows(np.arange(100), np.arange(100, 150))
    options = replace(FAST, epochs=4, schedule="plateau", shift_bins=3, monitor="completeness")
    undisturbed = train(data, config, options, seed=7, rows=rows)

    def stop(record):
        if record.epoch == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(data, config, options, seed=7, rows=rows, out_dir=tmp_path, on_epoch=stop)
    seen = []
    resumed = train(
        data, config, options, seed=7, rows=rows, out_dir=tmp_path, on_epoch=seen.append
    )
    assert same_bytes(undisturbed.weights, resumed.weights)
    assert repr(resumed.history) == repr(undisturbed.history)  # NaN is not itself
    assert [r.epoch for r in seen] == list(range(after + 1, 5))


_CHILD = """
    import importlib.util, sys, time
    from dataclasses import replace
    from pathlib import Path
    import numpy as np
    spec = importlib.util.spec_from_file_location("toys", sys.argv[1])
    toys = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toys)
    options = replace(toys.FAST, epochs=12)
    result = toys.train(toys.toy_sky(400), toys.CONFIG, options, seed=11,
                        rows=toys.Rows(np.arange(300), np.arange(300, 400)), out_dir=sys.argv[2])
    trained = Path(sys.argv[3]).with_suffix(".trained")
    trained.touch()
    while not Path(sys.argv[3]).with_suffix(".enough").exists():
        time.sleep(0.01)
    Path(sys.argv[3]).write_text(result.weights.digest())
"""


def run_child(folder, done):
    command = [sys.executable, "-c", textwrap.dedent(_CHILD), __file__, str(folder), str(done)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    folder, done = tmp_path / "run", tmp_path / "digest"
    for _ in range(2):
        child = run_child(folder, done)
        wait_for_progress(folder / CHECKPOINT_NAME, done.with_suffix(".trained"))
        time.sleep(rng.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    done.with_suffix(".enough").touch()
    assert run_child(folder, done).wait() == 0
    undisturbed = train(
        toy_sky(400),
        CONFIG,
        replace(FAST, epochs=12),
        seed=11,
        rows=Rows(np.arange(300), np.arange(300, 400)),
    )
    assert done.read_text() == undisturbed.weights.digest()


def wait_for_progress(path: Path, trained: Path):
    """Wait until the checkpoint is written once more, so that every start gets somewhere."""
    before = path.stat().st_mtime_ns if path.exists() else None
    while not trained.exists() and (not path.exists() or path.stat().st_mtime_ns == before):
        time.sleep(0.005)
