"""Rehearsed spectra: known classes, two instruments, the same for the same seed."""

import numpy as np

from quasarloop.grid import LINEAR_GRID, LOG_GRID
from quasarloop.network.rehearsal import mixed_skies, observed
from quasarloop.simulate.population import Population
from quasarloop.truth import SpecType


def test_same_seed_same_spectra():
    one, same, other = (mixed_skies(40, seed) for seed in (5, 5, 6))
    assert one.flux.tobytes() == same.flux.tobytes()
    assert one.flux.tobytes() != other.flux.tobytes()


def test_two_surveys_of_known_classes():
    data = mixed_skies(500, 1)
    assert len(data) == 500
    assert len(np.unique(data.object_id)) == 500
    assert set(np.unique(data.spectype)) == {SpecType.STAR, SpecType.GALAXY, SpecType.QSO}
    assert data.trains.all()
    assert (data.bal[~data.is_qso] == 0).all()
    # BOSS reaches redder than DESI: bins past 9824 Å are empty in DESI's three fifths only.
    last = data.flux[:, -1] == data.empty
    assert last[:300].all()
    assert not last[300:].any()


def test_of_the_network_s_grid():
    desi = observed(Population(), "desi", 3, 2, LINEAR_GRID)
    assert desi.flux.shape == (3, LINEAR_GRID.n_bins)
    assert mixed_skies(1, 1).flux.shape == (1, LOG_GRID.n_bins)
