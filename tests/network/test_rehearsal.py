"""Rehearsed spectra: known classes, every instrument, the same for the same seed."""

import numpy as np
import pytest

from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.network.rehearsal import SampleOptions, mixed_skies, observed, training_mix
from quasarloop.simulate.faults import NO_FAULTS
from quasarloop.simulate.instrument import INSTRUMENTS
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType


def test_same_seed_same_spectra():
    one, same, other = (mixed_skies(40, seed) for seed in (5, 5, 6))
    assert one.flux.tobytes() == same.flux.tobytes()
    assert one.flux.tobytes() != other.flux.tobytes()


def test_every_sample_of_the_mix_has_its_share():
    data, samples = mixed_skies(1000, 1), training_mix().values()
    assert len(data) == 1000
    assert len(np.unique(data.object_id)) == 1000
    assert set(np.unique(data.spectype)) == {SpecType.STAR, SpecType.GALAXY, SpecType.QSO}
    assert data.trains.all()
    assert (data.bal[~data.is_qso] == 0).all()
    # BOSS reaches redder than DESI: bins past 9824 Å are empty in DESI's samples only.
    instrument = np.repeat(
        [s.instrument for s in samples], [round(1000 * s.share) for s in samples]
    )
    last = data.flux[:, -1] == data.empty
    assert set(instrument) == set(INSTRUMENTS)
    assert last[np.isin(instrument, ["desi", "lamost", "4most", "weave"])].all()
    assert last[instrument == "sdss"].mean() < 0.05  # those whose red arm is masked
    # The old mix ended at z = 4.5.
    assert data.z[data.is_qso].max() > 6


@pytest.mark.parametrize("n", [1, 2, 7, 33])
def test_so_many_spectra_as_wanted(n):
    assert len(mixed_skies(n, 4)) == n


def test_shares_add_up():
    assert sum(sample.share for sample in training_mix().values()) == pytest.approx(1.0)


def test_of_the_network_s_grid():
    desi = observed(Population(), "desi", 3, 2, LINEAR_GRID)
    assert desi.flux.shape == (3, LINEAR_GRID.n_bins)
    assert mixed_skies(1, 1).flux.shape == (1, LOG_GRID.n_bins)


def test_a_sample_may_be_fainter_and_have_faults():
    usual, dim, broken = (
        observed(Population(), "desi", 200, 7, sample=sample)
        for sample in (
            SampleOptions(),
            SampleOptions(light_dex=(-1.0, -1.0)),
            SampleOptions(faults=NO_FAULTS.model_copy(update={"masked_arm": 1.0})),
        )
    )
    assert (usual.z == dim.z).all()
    # Noise in units of the spectrum's rms: neighbouring bins differ more.
    noise = [np.median(np.abs(np.diff(data.flux)), axis=1) for data in (usual, dim)]
    assert np.mean(noise[1] > noise[0]) > 0.9
    empty = [(data.flux == data.empty[:, None]).sum(axis=1) for data in (usual, broken)]
    assert (empty[1] > empty[0] + 50).all()
