"""Weights of a small network."""

import pytest
from tests.network.weights_files import random_weights

from quasarloop.network.weights import write_weights


@pytest.fixture
def ours(tmp_path):
    path = tmp_path / "ours.h5"
    write_weights(random_weights(), path)
    return path
