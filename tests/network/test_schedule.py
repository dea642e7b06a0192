"""Learning rates by hand."""

import pytest

from quasarloop.network.options import learning_rate, plateau_drops


def test_constant():
    assert learning_rate("constant", 2e-4, 0.7, [1.0]) == 2e-4


def test_cosine_ends_at_a_hundredth():
    rates = [learning_rate("cosine", 1.0, p, []) for p in (0, 0.25, 0.5, 1)]
    assert rates == pytest.approx([1.0, 0.01 + 0.99 * 0.8535533906, 0.505, 0.01])


def test_plateau_halves_after_five_epochs_without_a_new_best():
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92]
    assert plateau_drops(losses) == 0  # four epochs since 0.9
    assert plateau_drops([*losses, 0.93]) == 1
    assert plateau_drops([*losses, 0.89]) == 0
    assert plateau_drops([*losses, *[1.0] * 6]) == 2
    assert learning_rate("plateau", 0.4, 0.0, [*losses, 0.93]) == 0.2
