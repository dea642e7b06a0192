"""Training of the weights that ship: the calibration of their classes."""

import numpy as np
from scipy.special import expit

from quasarloop.classes import CONFIDENCE_THRESHOLD
from quasarloop.ensemble.heads import Heads, PriorWidths, Standard
from train_default_weights import FALSE_SHARE, at_false_share


def test_the_constant_calls_the_share_that_is_wanted():
    """With a head of two hidden units: what it called before, more or less, does not matter."""
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(4000, 2)).astype(np.float32)
    own = rng.normal(size=4000) * 3
    units = Standard(np.zeros(2), np.ones(2))
    for constant in (-4.0, 5.0):
        table = np.array([[1.5, 0.3, -0.2, constant]])
        head = Heads(table, units, PriorWidths(1, 1, 1))
        after = at_false_share(head, 1.5 * own + head.shift(hidden)[0])
        called = expit(1.5 * own + after.shift(hidden)[0]) > CONFIDENCE_THRESHOLD
        assert called.sum() == FALSE_SHARE * 4000
        assert head.table[0, -1] == constant
        assert np.array_equal(after.table[0, :-1], table[0, :-1])
